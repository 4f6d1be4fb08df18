"""Messages and a bench for the tests of transactions."""

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.sip import HeaderField, NameAddress, Request, Response, Via
from natkit.sip.kinds import CALL_ID, CSEQ, FROM, MAX_FORWARDS, ROUTE, TO, VIA, CSeq
from natkit.sip.transactions import (
    SipTiming,
    TransactionEvent,
    Transactions,
    TransactionSettings,
)
from natkit.sip.uri import parse_absolute_uri

HERE = Address("192.0.2.1", 5060)
THERE = Address("192.0.2.2", 5060)
UDP = Path(Transport.UDP, HERE, THERE)
TCP = Path(Transport.TCP, HERE, THERE)


def request(
    method: str,
    *,
    branch: str = "z9hG4bKfirst",
    sent_by: Address = THERE,
    transport: Transport = Transport.UDP,
    number: int = 1,
    to_tag: str = "",
    cseq_method: str | None = None,
) -> Request:
    """A request as it stands in a dialog of alice with bob."""
    tag = f";tag={to_tag}" if to_tag else ""
    return Request.build(
        method,
        parse_absolute_uri("sip:bob@example.org"),
        [
            HeaderField.of(VIA, Via.of(transport, sent_by, branch)),
            HeaderField.of(ROUTE, NameAddress.parse("<sip:edge.example.org;lr>")),
            HeaderField.of(MAX_FORWARDS, 70),
            HeaderField.of(FROM, NameAddress.parse("<sip:alice@example.com>;tag=a")),
            HeaderField.of(TO, NameAddress.parse(f"<sip:bob@example.org>{tag}")),
            HeaderField.of(CALL_ID, "1@example.com"),
            HeaderField.of(CSEQ, CSeq(number, cseq_method or method)),
        ],
    )


class Bench:
    """One layer, its clock, and what came out of it."""

    def __init__(self, timing: SipTiming | None = None, largest_count: int = 100) -> None:
        self.now = 0.0
        self.layer = Transactions(
            TransactionSettings(timing=timing or SipTiming(), largest_count=largest_count)
        )

    def events(self) -> list[TransactionEvent]:
        """Take the events."""
        found: list[TransactionEvent] = []
        while (event := self.layer.next_event()) is not None:
            found.append(event)
        return found

    def sent(self) -> list[bytes]:
        """Take what is sent."""
        return [one.data for one in self.layer.transmits()]

    def sent_lines(self) -> list[str]:
        """Take the start lines of what is sent."""
        return [data.partition(b"\r\n")[0].decode() for data in self.sent()]

    def receive(self, message: Request | Response, path: Path = UDP) -> None:
        """Give a message as it would come from the network."""
        self.layer.receive(bytes(message), path, self.now)

    def sending_times(self, until: float) -> list[float]:
        """Let time pass, and say when something was sent."""
        times: list[float] = []
        while (deadline := self.layer.next_deadline()) is not None and deadline <= until:
            self.now = deadline
            self.layer.handle_timer(self.now)
            times.extend([self.now] * len(self.sent()))
        # What waits to be forgotten may stay a little longer, unless something happens.
        self.now = until
        self.layer.handle_timer(self.now)
        times.extend([self.now] * len(self.sent()))
        return times
