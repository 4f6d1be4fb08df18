"""What the messages and bindings cost by themselves, without sockets."""

import gc
import tracemalloc
from collections.abc import Callable
from time import process_time
from typing import Final

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.sip import Request, Via, parse_message
from natkit.sip.kinds import MAX_FORWARDS, VIA
from natkit.sip.transactions import Transactions, TransactionSettings
from sip_proxy.location import BindingTable, ContactChange, Registration

__all__ = ["SIZE", "binding_bytes", "forwarding_microseconds", "transaction_bytes"]

SIZE: Final = 1000
"""Bytes of the INVITE."""

_CALLER: Final = Address("192.0.2.7", 5060)
_US: Final = Address("192.0.2.1", 5060)
_PATH: Final = Path(Transport.UDP, _US, _CALLER)

_HEAD: Final = """\
INVITE sip:bob{n}@example.org SIP/2.0
Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK{n};rport
Max-Forwards: 70
From: "Alice" <sip:alice{n}@example.org>;tag=a{n}
To: <sip:bob{n}@example.org>
Call-ID: {n}@192.0.2.7
CSeq: 1 INVITE
Contact: <sip:alice@192.0.2.7:5060>
Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY, MESSAGE, SUBSCRIBE, INFO, UPDATE
Supported: replaces, outbound, gruu, path, norefersub, 100rel, timer
User-Agent: a phone of an office/1.0
Content-Type: application/sdp
Content-Length: {length}

"""


def invite(number: int) -> bytes:
    """One of :data:`SIZE` bytes, with the name, tags, branch and Call-ID of no other."""
    head = _HEAD.format(n=number, length=100).replace("\n", "\r\n").encode("ascii")
    body = b"v=0\r\ns=-\r\n" + b"a=" + b"x" * (SIZE - len(head) - 14) + b"\r\n"
    head = _HEAD.format(n=number, length=len(body)).replace("\n", "\r\n").encode("ascii")
    return head + body


def forwarding_microseconds(count: int) -> float:
    """CPU to take an INVITE apart, check it, and write it with what a proxy changes.

    That is RFC 3261 §16.3 step 1, §18.2.1, and §16.6 steps 3 and 8.
    """
    messages = [invite(1_000_000 + number) for number in range(count)]
    gc.collect()
    began = process_time()
    for number, data in enumerate(messages):
        request = parse_message(data)
        assert isinstance(request, Request)
        request.check()
        headers = request.headers
        via = headers.first(VIA)
        assert via is not None
        headers = headers.replace_first(VIA, via.stamped(_CALLER))
        headers = headers.replace(MAX_FORWARDS, (headers.get(MAX_FORWARDS) or 70) - 1)
        headers = headers.prepend(VIA, Via.of(Transport.UDP, _US, f"z9hG4bK{number:x}"))
        bytes(Request(request.method, request.uri_text, headers, request.body))
    return (process_time() - began) / count * 1e6


def binding_bytes(count: int) -> float:
    """Memory of a binding in the table that the memory store is."""
    table = BindingTable(count)

    def bind(number: int) -> None:
        change = ContactChange(f"sip:user{number}@192.0.2.7:{number % 60000 + 1024}", 3600, 1000)
        asked = Registration((change,), f"{number}@192.0.2.7", 1, flow=_flow(number))
        table.update(f"sip:user{number}@example.org", asked, 0.0)

    return _growth(bind, count)


def transaction_bytes(count: int) -> float:
    """Memory of an INVITE's server transaction that has no final response yet."""
    layer = Transactions(TransactionSettings(largest_count=count))

    def open_one(number: int) -> None:
        layer.receive(invite(2_000_000 + number), _PATH, 0.0)
        while layer.next_event() is not None:
            pass
        layer.transmits()

    return _growth(open_one, count)


def _flow(number: int) -> Path:
    return Path(Transport.UDP, _US, Address("192.0.2.7", number % 60000 + 1024))


def _growth(make: Callable[[int], None], count: int) -> float:
    for number in range(count, count + 10):
        make(number)
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(count - 10):
            make(number)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / (count - 10)
    finally:
        tracemalloc.stop()
