"""TCP connections through a proxy, with TLS on top where that is wanted."""

import asyncio
import socket

from natkit.address import Address
from natkit.aio.system_errors import unreachable
from natkit.aio.system_locator import look_up
from natkit.errors import UnreachableError
from natkit.net.proxy import Proxy, handshake_with

__all__ = ["connect_through"]

READ_AT_ONCE = 4096


async def connect_through(proxy: Proxy, server: Address) -> socket.socket:
    """A non-blocking socket that the proxy has connected to ``server``; the caller closes it.

    Raises UnreachableError when the proxy cannot be reached or refuses, MalformedMessage when it
    speaks another protocol, LocateError when its name leads nowhere.
    """
    loop = asyncio.get_running_loop()
    addresses = await look_up(proxy.host, proxy.port)
    failure: OSError | None = None
    for address in addresses:
        sock = socket.socket(address.family.socket_family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, (address.host, address.port))
            handshake = handshake_with(proxy, server)
            await loop.sock_sendall(sock, handshake.begin())
            while not handshake.is_done:
                data = await loop.sock_recv(sock, READ_AT_ONCE)
                if not data:
                    raise UnreachableError(f"the proxy {proxy} ended the connection")
                await loop.sock_sendall(sock, handshake.receive(data))
        except UnreachableError:
            sock.close()
            raise
        except OSError as error:
            sock.close()
            failure = error
            continue
        except BaseException:
            sock.close()
            raise
        return sock
    raise unreachable(f"reach the proxy {proxy}", failure or OSError("it has no address"))
