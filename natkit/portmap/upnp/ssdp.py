"""Finding an Internet gateway device on the link: SSDP (UPnP Device Architecture 2.0 §1)."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from natkit.address import Address
from natkit.errors import MalformedMessage, MisuseError

__all__ = ["GROUP", "GROUP_IPV6", "SEARCH_TARGETS", "Found", "read_response", "search"]

GROUP: Final = Address("239.255.255.250", 1900)
"""Where devices are searched (UDA §1.3.2)."""

GROUP_IPV6: Final = Address("ff02::c", 1900)
"""The same on a link of IPv6 (UDA Annex A)."""

SEARCH_TARGETS: Final = (
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
)
"""The devices to ask for, the newer first (IGD:2 §2, IGD:1 §2)."""

LARGEST_RESPONSE: Final = 4096
"""Bytes; honest ones have some hundreds."""

SECONDS_TO_ANSWER: Final = 2
"""MX: devices spread their answers over so many seconds (UDA §1.3.2)."""


@dataclass(frozen=True, slots=True)
class Found:
    """A device says that it is here; ``location`` is the URL of its description."""

    location: str
    target: str


def search(group: Address, target: str) -> bytes:
    """An M-SEARCH for ``target`` (UDA §1.3.2)."""
    lines = (
        "M-SEARCH * HTTP/1.1",
        f"HOST: {group}",
        'MAN: "ssdp:discover"',
        f"MX: {SECONDS_TO_ANSWER}",
        f"ST: {target}",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def read_response(data: bytes, source: Address) -> Found:
    """Read an answer to a search (UDA §1.3.3).

    Raises MalformedMessage for what is none, and for one that leads to another host than the one
    that sent it: whoever is on the link can answer, and must not send us elsewhere.
    """
    if len(data) > LARGEST_RESPONSE:
        raise MalformedMessage(f"an SSDP response of {len(data)} bytes")
    lines = data.decode("latin-1").split("\r\n")
    status = lines[0].split(None, 2)
    if len(status) < 2 or not status[0].startswith("HTTP/1.") or status[1] != "200":
        raise MalformedMessage("no SSDP response")
    fields: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip().lower(), value.strip())
    location, target = fields.get("location", ""), fields.get("st", "")
    if not is_on(location, source.host):
        raise MalformedMessage(f"an SSDP response of {source.host} leads elsewhere")
    if "InternetGatewayDevice" not in target:
        raise MalformedMessage("an SSDP response for something else")
    return Found(location, target)


def is_on(url: str, host: str) -> bool:
    """Whether an ``http:`` URL names ``host``, an IP literal, in one way of reading it."""
    if not url.isascii() or not url.isprintable() or len(url) > 1024:
        return False
    try:
        parts = urlsplit(url)
        port = parts.port
        named = Address.of(parts.hostname or "", port or 80)
    except (ValueError, MisuseError):
        return False
    return parts.scheme == "http" and named.host == host.partition("%")[0] and not parts.username
