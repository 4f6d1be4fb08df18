"""NAT-PMP's messages and its timing (RFC 6886)."""

from dataclasses import dataclass
from typing import Final

from natkit.address import Address
from natkit.errors import MalformedMessage
from natkit.machine import RandomBytes
from natkit.portmap.dialect import ExternalHost, Granted, Refused, Reply, is_reachable
from natkit.portmap.mapping import Method, Wish
from natkit.portmap.registry import (
    NAT_PMP_VERSION,
    RESPONSE,
    NatPmpOpcode,
    NatPmpResult,
    Protocol,
)
from natkit.wire import Reader, Writer

__all__ = ["NatPmp"]

FIRST_INTERVAL: Final = 0.25
"""Seconds, doubled with each transmission (RFC 6886 §3.1)."""

LONGEST_INTERVAL: Final = 64.0
"""Seconds: the ninth and last of the RFC's intervals."""

_WORDS: Final = {
    NatPmpResult.NOT_AUTHORIZED: "mapping is switched off, or not allowed for this host",
    NatPmpResult.NETWORK_FAILURE: "it has no external address at the moment",
    NatPmpResult.OUT_OF_RESOURCES: "it has no room for another mapping",
    NatPmpResult.UNSUPPORTED_OPCODE: "it does not do that kind of mapping",
}
_OPCODES: Final = {Protocol.UDP: NatPmpOpcode.MAP_UDP, Protocol.TCP: NatPmpOpcode.MAP_TCP}


@dataclass(frozen=True, slots=True)
class NatPmp:
    """The :class:`~natkit.portmap.dialect.Dialect` of RFC 6886."""

    @property
    def method(self) -> Method:
        """NAT-PMP."""
        return Method.NAT_PMP

    @property
    def tells_host_apart(self) -> bool:
        """The external address is a question of its own (§3.2)."""
        return True

    def key(self, wish: Wish, nonce: bytes) -> bytes:  # noqa: ARG002 - PCP's
        """What must agree (§3.3)."""
        return _key(_OPCODES[wish.protocol], wish.internal_port)

    def request(
        self,
        wish: Wish,
        nonce: bytes,  # noqa: ARG002 - PCP's
        client: str,  # noqa: ARG002 - PCP's
        lifetime: int,
        external: Address | None,
    ) -> bytes:
        """A request for a mapping, or for its removal (§3.3, §3.4)."""
        suggested = wish.external_port if external is None else external.port
        out = Writer()
        out.u8(NAT_PMP_VERSION)
        out.u8(_OPCODES[wish.protocol])
        out.u16(0)
        out.u16(wish.internal_port)
        # §3.4: zero when it is removed.
        out.u16(suggested if lifetime else 0)
        out.u32(lifetime)
        return out.getvalue()

    def probe(self, client: str) -> bytes:  # noqa: ARG002 - PCP's
        """A request for the external address (§3.2)."""
        return bytes([NAT_PMP_VERSION, NatPmpOpcode.EXTERNAL_ADDRESS])

    def parse(self, data: bytes) -> Reply:
        """Read a response or an announcement (§3.2, §3.2.1, §3.3, §3.5)."""
        reader = Reader(data)
        version, opcode = reader.u8(), reader.u8()
        if version != NAT_PMP_VERSION or not opcode & RESPONSE:
            raise MalformedMessage("no response of NAT-PMP")
        kind, code = opcode & ~RESPONSE, reader.u16()
        if code == NatPmpResult.UNSUPPORTED_VERSION:
            # Who answers in this version speaks it: it is PCP's question that is answered so
            # (RFC 6887 §9), from the socket that both ask from.
            raise MalformedMessage("the answer to a question of another protocol")
        epoch = reader.u32()
        key = None
        if kind in (NatPmpOpcode.MAP_UDP, NatPmpOpcode.MAP_TCP) and reader.remaining >= 2:
            key = _key(kind, reader.u16())
        if code != NatPmpResult.SUCCESS:
            return Reply(_refusal(code), key, epoch)
        if kind == NatPmpOpcode.EXTERNAL_ADDRESS:
            host = Address.from_packed(reader.raw(4), 0).host
            if not is_reachable(host):
                # What gateways say that have none at the moment, and others that make one up.
                return Reply(_refusal(NatPmpResult.NETWORK_FAILURE), None, epoch)
            return Reply(ExternalHost(host), None, epoch)
        if key is None:
            raise MalformedMessage(f"NAT-PMP opcode {kind}, or a short response")
        external_port, lifetime = reader.u16(), reader.u32()
        return Reply(Granted(external_port, None, lifetime), key, epoch)

    def interval(self, sent: int, previous: float, random: RandomBytes) -> float:  # noqa: ARG002 - PCP's
        """§3.1: 250 ms, doubled each time."""
        return FIRST_INTERVAL if sent <= 1 else min(2 * previous, LONGEST_INTERVAL)

    def lost_state(self, client_delta: float, before: int, epoch: int) -> bool:
        """§3.6: more than two seconds short of seven eighths of our time."""
        return epoch < before + client_delta * 7 / 8 - 2


def _key(opcode: int, internal_port: int) -> bytes:
    return bytes([opcode]) + internal_port.to_bytes(2, "big")


def _refusal(code: int) -> Refused:
    try:
        result = NatPmpResult(code)
    except ValueError:
        name, words = str(code), None
    else:
        name, words = result.name, _WORDS.get(result)
    return Refused(code, f"{words or 'it refuses'} (NAT-PMP {name})", None)
