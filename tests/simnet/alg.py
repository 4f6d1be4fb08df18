"""Application level gateways: NATs that rewrite addresses in what they carry (RFC 4787 §7)."""

from enum import Enum, auto

from natkit.address import Address


class Gateway(Enum):
    """What a NAT rewrites in datagrams beside their headers."""

    OFF = auto()
    SIP = auto()  # addresses with their ports in text, both ways, as Linux's helper does
    SIP_OUT = auto()  # the same on the way out only
    ANYTHING = auto()  # the bytes of an address, wherever they stand (RFC 5780 §3.6)

    def leaving(self, data: bytes, inside: Address, outside: Address) -> bytes:
        """A datagram on its way out."""
        return self._rewritten(data, inside, outside)

    def entering(self, data: bytes, inside: Address, outside: Address) -> bytes:
        """A datagram on its way in."""
        if self is Gateway.SIP_OUT:
            return data
        if self is Gateway.SIP:
            told = f"received={outside.host}".encode()
            data = data.replace(told, f"received={inside.host}".encode())
        return self._rewritten(data, outside, inside)

    def _rewritten(self, data: bytes, old: Address, new: Address) -> bytes:
        match self:
            case Gateway.OFF:
                return data
            case Gateway.ANYTHING:
                return data.replace(old.ip.packed, new.ip.packed)
            case Gateway.SIP | Gateway.SIP_OUT:
                is_sip = b"SIP/2.0" in data
                return data.replace(str(old).encode(), str(new).encode()) if is_sip else data
