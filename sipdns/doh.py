"""DNS over HTTPS (RFC 8484)."""

import ssl
from typing import Final

import httpx2

from natkit.machine import Failure
from sipdns.dot import tls_reason
from sipdns.servers import HttpsServer

__all__ = ["HttpsClient"]

MEDIA_TYPE: Final = "application/dns-message"
LARGEST_MESSAGE: Final = 65535

MOST_CONNECTIONS: Final = 8
"""To all servers together: HTTP/2 needs one for each, HTTP/1.1 one for each question under way."""


class HttpsClient:
    """Asks by POST, over HTTP/2 where the server has it.  Belongs to one event loop."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._client = httpx2.AsyncClient(
            http2=True,
            verify=context,
            # The machine that asks has the time limits; a proxy would be one more who listens.
            timeout=None,
            trust_env=False,
            limits=httpx2.Limits(max_connections=MOST_CONNECTIONS, max_keepalive_connections=1),
        )

    async def ask(self, server: HttpsServer, query: bytes) -> bytes | Failure:
        """The message that the server sent."""
        try:
            return await self._post(server.url, query)
        except httpx2.HTTPError as error:
            return Failure(_reason(error))
        except httpx2.InvalidURL as error:
            return Failure(f"no URL: {error}")

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _post(self, url: str, query: bytes) -> bytes | Failure:
        headers = {"content-type": MEDIA_TYPE, "accept": MEDIA_TYPE}
        async with self._client.stream("POST", url, content=query, headers=headers) as response:
            if response.status_code != httpx2.codes.OK:
                return Failure(f"HTTP status {response.status_code}")
            found = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if found != MEDIA_TYPE:
                return Failure(f"HTTP content is {found[:60] or 'of no type'}, not {MEDIA_TYPE}")
            data = bytearray()
            # Raw: nobody asked for a compressed body, whose size would have no bound.
            async for chunk in response.aiter_raw():
                data += chunk
                if len(data) > LARGEST_MESSAGE:
                    return Failure("the answer is larger than any DNS message")
        return bytes(data)


def _reason(error: httpx2.HTTPError) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return tls_reason(cause)
        cause = cause.__cause__ or cause.__context__
    return str(error).lower() or type(error).__name__
