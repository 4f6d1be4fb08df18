"""Calls of a device's actions and what they return (UPnP Device Architecture 2.0 §3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from natkit.errors import MalformedMessage
from natkit.portmap.upnp.description import Service, read_xml

__all__ = ["Call", "Returned", "call", "read_result"]

ENVELOPE: Final = "{http://schemas.xmlsoap.org/soap/envelope/}"
CONTROL: Final = "{urn:schemas-upnp-org:control-1-0}"

NOT_AUTHORIZED: Final = 606
NO_SUCH_ENTRY: Final = 714
WILDCARD_NOT_PERMITTED_IN_EXTERNAL_PORT: Final = 716
CONFLICT: Final = 718
SAME_PORT_REQUIRED: Final = 724
ONLY_PERMANENT_LEASES: Final = 725
REMOTE_HOST_ONLY_WILDCARD: Final = 726
NO_PORT_MAPS_AVAILABLE: Final = 728
CONFLICT_WITH_OTHER_MECHANISM: Final = 729


@dataclass(frozen=True, slots=True)
class Call:
    """An HTTP POST: where to, with which header fields, and what."""

    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Returned:
    """What an action returned; ``error`` is UPnP's code of a fault, None for success."""

    values: Mapping[str, str]
    error: int | None = None
    description: str = ""


def call(service: Service, action: str, arguments: Mapping[str, str | int]) -> Call:
    """Call ``action`` with ``arguments`` in the order of its definition (UDA §3.2.1)."""
    given = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in arguments.items())
    body = (
        '<?xml version="1.0"?>\r\n'
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"'
        ' s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>'
        f'<u:{action} xmlns:u="{service.kind}">{given}</u:{action}>'
        "</s:Body></s:Envelope>\r\n"
    )
    headers = {
        "Content-Type": 'text/xml; charset="utf-8"',
        "SOAPAction": f'"{service.kind}#{action}"',
    }
    return Call(service.control, headers, body.encode())


def read_result(status: int, data: bytes, service: Service, action: str) -> Returned:
    """Read a response (UDA §3.2.2, §3.2.5); raises MalformedMessage for what is none."""
    root = read_xml(data)
    body = root.find(f"{ENVELOPE}Body")
    if root.tag != f"{ENVELOPE}Envelope" or body is None:
        raise MalformedMessage("no SOAP envelope")
    response = body.find(f"{{{service.kind}}}{action}Response")
    if status == 200 and response is not None:
        return Returned({each.tag: (each.text or "").strip() for each in response})
    error = body.find(f".//{CONTROL}UPnPError")
    if error is None:
        raise MalformedMessage(f"no result of {action} (HTTP status {status})")
    code = (error.findtext(f"{CONTROL}errorCode") or "").strip()
    if not code.isascii() or not code.isdigit() or len(code) > 4:
        raise MalformedMessage("a UPnP error without a code")
    words = (error.findtext(f"{CONTROL}errorDescription") or "").strip()
    shown = "".join(each for each in words if each.isprintable())[:100]
    return Returned({}, int(code), shown)
