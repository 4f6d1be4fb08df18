"""PCP's messages and its timing (RFC 6887)."""

import ipaddress
from dataclasses import dataclass
from typing import Final

from natkit.address import Address
from natkit.errors import MalformedMessage
from natkit.machine import RandomBytes
from natkit.portmap.dialect import Announced, Granted, Refused, Reply, is_reachable
from natkit.portmap.mapping import Filter, Method, Wish
from natkit.portmap.registry import (
    LARGEST_MESSAGE,
    NONCE_LENGTH,
    PCP_VERSION,
    RESPONSE,
    PcpOpcode,
    PcpOption,
    PcpResult,
)
from natkit.wire import Reader, Writer

__all__ = ["Pcp"]

FIRST_INTERVAL: Final = 3.0
"""IRT, in seconds (RFC 6887 §8.1.1)."""

LONGEST_INTERVAL: Final = 1024.0
"""MRT, in seconds (RFC 6887 §8.1.1)."""

_RANDOMNESS: Final = 0.1
_WORDS: Final = {
    PcpResult.UNSUPP_VERSION: "it does not speak this version of PCP",
    PcpResult.NOT_AUTHORIZED: "mapping is switched off, or not allowed for this host",
    PcpResult.MALFORMED_REQUEST: "it could not read the request",
    PcpResult.UNSUPP_OPCODE: "it does not do that kind of mapping",
    PcpResult.UNSUPP_OPTION: "it does not know an option that must be understood",
    PcpResult.MALFORMED_OPTION: "it could not read an option",
    PcpResult.NETWORK_FAILURE: "it has no external address at the moment",
    PcpResult.NO_RESOURCES: "it has no room for another mapping at the moment",
    PcpResult.UNSUPP_PROTOCOL: "it maps no ports of this transport protocol",
    PcpResult.USER_EX_QUOTA: "this host has as many mappings as it may have",
    PcpResult.CANNOT_PROVIDE_EXTERNAL: "the suggested external address cannot be had",
    PcpResult.ADDRESS_MISMATCH: "another NAT lies between this host and the gateway",
    PcpResult.EXCESSIVE_REMOTE_PEERS: "it cannot filter for so many peers",
}


@dataclass(frozen=True, slots=True)
class Pcp:
    """The :class:`~natkit.portmap.dialect.Dialect` of RFC 6887."""

    @property
    def method(self) -> Method:
        """PCP."""
        return Method.PCP

    @property
    def tells_host_apart(self) -> bool:
        """The external address comes with each mapping."""
        return False

    def key(self, wish: Wish, nonce: bytes) -> bytes:
        """What must agree (RFC 6887 §11.4, §12.4)."""
        opcode = PcpOpcode.MAP if wish.remote is None else PcpOpcode.PEER
        return _key(opcode, nonce, wish.protocol, wish.internal_port)

    def request(
        self, wish: Wish, nonce: bytes, client: str, lifetime: int, external: Address | None
    ) -> bytes:
        """A MAP or PEER request (RFC 6887 §11.1, §12.1)."""
        opcode = PcpOpcode.MAP if wish.remote is None else PcpOpcode.PEER
        suggested_port = wish.external_port if external is None else external.port
        suggested_host = wish.external_host if external is None else external.host
        if suggested_host is None:
            suggested_host = "::" if ":" in (wish.third_party or client) else "0.0.0.0"  # noqa: S104 - §11.1: none suggested
        out = Writer()
        out.u8(PCP_VERSION)
        out.u8(opcode)
        out.u16(0)
        out.u32(lifetime)
        out.raw(_packed(client))
        out.raw(nonce)
        out.u8(wish.protocol)
        out.raw(bytes(3))
        out.u16(wish.internal_port)
        out.u16(suggested_port)
        out.raw(_packed(suggested_host))
        if wish.remote is not None:
            out.u16(wish.remote.port)
            out.u16(0)
            out.raw(_packed(wish.remote.host))
        _write_options(out, wish, deleting=not lifetime)
        return out.getvalue()

    def probe(self, client: str) -> bytes:
        """An ANNOUNCE request, which is answered with the epoch (RFC 6887 §14.1)."""
        return bytes([PCP_VERSION, PcpOpcode.ANNOUNCE]) + bytes(6) + _packed(client)

    def parse(self, data: bytes) -> Reply:
        """Read a response (RFC 6887 §7.2, §8.3)."""
        if not len(data) or len(data) > LARGEST_MESSAGE or len(data) % 4:
            raise MalformedMessage(f"a PCP message of {len(data)} bytes")
        reader = Reader(data)
        version, opcode = reader.u8(), reader.u8()
        if not opcode & RESPONSE:
            raise MalformedMessage("a PCP request in place of a response")
        reader.u8()
        code = reader.u8()
        if version != PCP_VERSION:
            if code == PcpResult.UNSUPP_VERSION:
                # §9: a gateway of NAT-PMP, or of a later PCP, says so in its own version.
                return Reply(_refusal(code, None), None, None)
            raise MalformedMessage(f"PCP version {version}")
        lifetime = reader.u32()
        epoch = reader.u32()
        reader.raw(12)
        kind = opcode & ~RESPONSE
        if kind == PcpOpcode.ANNOUNCE:
            # Who does not know ANNOUNCE speaks PCP all the same.
            if code in (PcpResult.SUCCESS, PcpResult.UNSUPP_OPCODE):
                return Reply(Announced(), None, epoch)
            return Reply(_refusal(code, lifetime), None, epoch)
        if kind not in (PcpOpcode.MAP, PcpOpcode.PEER):
            raise MalformedMessage(f"PCP opcode {kind}")
        nonce = reader.raw(NONCE_LENGTH)
        protocol = reader.u8()
        reader.raw(3)
        internal_port, external_port = reader.u16(), reader.u16()
        external_host = _unpacked(reader.raw(16))
        if kind == PcpOpcode.PEER:
            reader.raw(20)
        _read_options(reader)
        key = _key(kind, nonce, protocol, internal_port)
        if code != PcpResult.SUCCESS:
            return Reply(_refusal(code, lifetime), key, epoch)
        if lifetime and not is_reachable(external_host):
            raise MalformedMessage(f"a mapping at {external_host}, where nobody is reached")
        return Reply(Granted(external_port, external_host, lifetime), key, epoch)

    def interval(self, sent: int, previous: float, random: RandomBytes) -> float:
        """RFC 6887 §8.1.1: 3 s, doubled up to 1024 s, each within a tenth."""
        base = FIRST_INTERVAL if sent <= 1 else min(2 * previous, LONGEST_INTERVAL)
        share = int.from_bytes(random(2), "big") / 0xFFFF
        return base * (1 - _RANDOMNESS + 2 * _RANDOMNESS * share)

    def lost_state(self, client_delta: float, before: int, epoch: int) -> bool:
        """RFC 6887 §8.5."""
        if epoch + 1 < before:
            return True
        server_delta = epoch - before
        return (
            client_delta + 2 < server_delta - server_delta / 16
            or server_delta + 2 < client_delta - client_delta / 16
        )


def _key(opcode: int, nonce: bytes, protocol: int, internal_port: int) -> bytes:
    return bytes([opcode]) + nonce + bytes([protocol]) + internal_port.to_bytes(2, "big")


def _refusal(code: int, lifetime: int | None) -> Refused:
    try:
        result = PcpResult(code)
    except ValueError:
        name, words = str(code), None
    else:
        name, words = result.name, _WORDS.get(result)
    return Refused(code, f"{words or 'it refuses'} (PCP {name})", lifetime)


def _write_options(out: Writer, wish: Wish, *, deleting: bool) -> None:
    if wish.third_party is not None:
        _write_option(out, PcpOption.THIRD_PARTY, _packed(wish.third_party))
    if deleting:
        return
    if wish.prefer_failure:
        _write_option(out, PcpOption.PREFER_FAILURE, b"")
    for each in wish.filters:
        _write_option(out, PcpOption.FILTER, _filter(each))


def _write_option(out: Writer, code: PcpOption, data: bytes) -> None:
    out.u8(code)
    out.u8(0)
    out.u16(len(data))
    out.raw(data)


def _filter(wanted: Filter) -> bytes:
    # §13.3: the prefix counts from the start of the 128 bits.
    prefix = wanted.prefix + (96 if ":" not in wanted.remote.host else 0)
    return bytes([0, prefix]) + wanted.remote.port.to_bytes(2, "big") + _packed(wanted.remote.host)


def _read_options(reader: Reader) -> None:
    """Walk over them: what a response repeats of ours is known, what it adds is optional."""
    while reader.remaining:
        reader.raw(2)
        length = reader.u16()
        reader.raw(length + -length % 4)


def _packed(host: str) -> bytes:
    """Sixteen bytes, an IPv4 address in its mapped form (RFC 6887 §5)."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv4Address):
        return bytes(10) + b"\xff\xff" + address.packed
    return address.packed


def _unpacked(data: bytes) -> str:
    address = ipaddress.IPv6Address(data)
    return Address.from_packed((address.ipv4_mapped or address).packed, 0).host
