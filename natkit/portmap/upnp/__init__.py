"""UPnP Internet gateway devices: SSDP, descriptions, SOAP, and the machine that uses them."""

from natkit.portmap.upnp.igd import Exchange, HttpResponse, IgdMapper

__all__ = ["Exchange", "HttpResponse", "IgdMapper"]
