"""What a device says it can do: its description (UPnP Device Architecture 2.0 §2)."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml import DefusedXmlException

from natkit.errors import MalformedMessage
from natkit.portmap.upnp.ssdp import is_on

__all__ = ["Service", "read_description", "read_xml"]

LARGEST_DOCUMENT: Final = 256 * 1024
"""Bytes of a document that is read."""

MOST_ELEMENTS: Final = 5_000
"""Elements of a document that are looked at."""

DEVICE: Final = "{urn:schemas-upnp-org:device-1-0}"

KINDS: Final = (
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
)
"""The services that map ports, the best first."""

FIREWALL: Final = "urn:schemas-upnp-org:service:WANIPv6FirewallControl:1"
"""The service that opens pinholes for IPv6."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service and where its actions are called."""

    kind: str
    control: str

    @property
    def is_version_2(self) -> bool:
        """Whether it is WANIPConnection:2, which has AddAnyPortMapping and no endless leases."""
        return self.kind == KINDS[0]


def read_xml(data: bytes) -> Element:
    """Parse a device's document; MalformedMessage for DTDs, entities, and what is too large."""
    if len(data) > LARGEST_DOCUMENT:
        raise MalformedMessage(f"an XML document of {len(data)} bytes")
    try:
        root: Element = defusedxml.ElementTree.fromstring(data, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise MalformedMessage(f"no XML that can be read: {type(error).__name__}") from None
    if sum(1 for _ in root.iter()) > MOST_ELEMENTS:
        raise MalformedMessage("an XML document with too many elements")
    return root


def read_description(data: bytes, location: str, host: str) -> tuple[Service, ...]:
    """The services for mappings and pinholes, the best first.

    ``location`` is where the description came from, ``host`` the gateway's literal: a control URL
    that leads anywhere else is passed over.  Raises MalformedMessage.
    """
    root = read_xml(data)
    base = (root.findtext(f"{DEVICE}URLBase") or "").strip() or location
    found: dict[str, Service] = {}
    for service in root.iter(f"{DEVICE}service"):
        kind = (service.findtext(f"{DEVICE}serviceType") or "").strip()
        control = (service.findtext(f"{DEVICE}controlURL") or "").strip()
        try:
            url = urljoin(base, control)
        except ValueError:
            continue
        if control and is_on(url, host):
            found.setdefault(kind, Service(kind, url))
    return tuple(found[kind] for kind in (*KINDS, FIREWALL) if kind in found)
