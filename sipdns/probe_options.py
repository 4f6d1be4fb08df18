"""One OPTIONS request, to see whether a SIP server answers (RFC 3261 §11, §17.1.2)."""

from collections import deque
from dataclasses import dataclass
from typing import Final

from natkit import __version__
from natkit.errors import MalformedMessage
from natkit.machine import Failure, Path, RandomBytes, RequestId, Transmit
from natkit.sip import HeaderField, NameAddress, Request, Response, SipUri, Via, parse_message
from natkit.sip.kinds import (
    CALL_ID,
    CONTACT,
    CSEQ,
    FROM,
    MAX_FORWARDS,
    TO,
    USER_AGENT,
    VIA,
    CSeq,
)
from natkit.sip.registry import BRANCH_COOKIE, T1, T2, TRANSACTION_TIMEOUT

__all__ = ["OptionsAnswered", "OptionsEvent", "OptionsFailed", "OptionsProbe"]

INITIAL_MAX_FORWARDS: Final = 70
"""RFC 3261 §8.1.1.6."""

_ANONYMOUS: Final = SipUri.build("anonymous.invalid", user="anonymous")
"""Who asks is nobody's concern (RFC 3323 §4.1.1.3)."""


@dataclass(frozen=True, slots=True)
class OptionsAnswered:
    """The final response, ``round_trip`` seconds after the first of ``sent`` transmissions."""

    response: Response
    round_trip: float
    sent: int


@dataclass(frozen=True, slots=True)
class OptionsFailed:
    """There is no answer to be had; ``reason`` is a line for a person."""

    reason: str
    sent: int


OptionsEvent = OptionsAnswered | OptionsFailed


class OptionsProbe:
    """One OPTIONS transaction over one path; a machine (see :mod:`natkit.machine`).

    Over UDP it is sent again after T1, twice that, and so on, up to every T2 (timer E), and given
    up after ``limit`` seconds, 64 T1 at most (timer F).  What is no response to it is passed over.
    """

    def __init__(
        self, path: Path, domain: str, *, random: RandomBytes, limit: float = TRANSACTION_TIMEOUT
    ) -> None:
        self._path = path
        self._limit = min(limit, TRANSACTION_TIMEOUT)
        self._branch = BRANCH_COOKIE + random(12).hex()
        self._request = _options(path, domain, self._branch, random)
        self._interval = T1
        self._sent = 0
        self._strange = 0
        self._started_at = 0.0
        self._resend_at: float | None = None
        self._give_up_at: float | None = None
        self._outgoing: list[Transmit] = []
        self._events: deque[OptionsEvent] = deque()

    def start(self, now: float) -> None:
        """Send the request."""
        self._started_at = now
        self._give_up_at = now + self._limit
        self._send(now)

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """Take a datagram or message."""
        if path != self._path or self._give_up_at is None or not data.strip():
            return
        try:
            response = parse_message(data)
            response.check()
            if not (isinstance(response, Response) and self._is_answer(response)):
                return
        except MalformedMessage:
            self._strange += 1
            return
        if response.status >= 200:
            self._end(OptionsAnswered(response, now - self._started_at, self._sent))
        elif self._resend_at is not None:
            # Proceeding: timer E runs at T2 from now on (§17.1.2.2).
            self._interval = T2

    def disconnected(self, path: Path, now: float) -> None:  # noqa: ARG002 - the contract's
        """The stream ended."""
        if path == self._path and self._give_up_at is not None:
            self._end(OptionsFailed(f"it closed the connection{self._seen()}", self._sent))

    def answer(self, request_id: RequestId, result: object | Failure, now: float) -> None:
        """There are no requests to the shell."""

    def handle_timer(self, now: float) -> None:
        """Send again, or give up."""
        if self._give_up_at is None:
            return
        if now >= self._give_up_at:
            times = "" if self._sent == 1 else f", asked {self._sent} times"
            reason = f"no answer within {self._limit:g} s{times}{self._seen()}"
            self._end(OptionsFailed(reason, self._sent))
        elif self._resend_at is not None and now >= self._resend_at:
            self._send(now)

    def next_deadline(self) -> float | None:
        """When to call :meth:`handle_timer`, in monotonic seconds."""
        if self._give_up_at is None or self._resend_at is None:
            return self._give_up_at
        return min(self._give_up_at, self._resend_at)

    def transmits(self) -> list[Transmit]:
        """Take what is to be sent."""
        taken, self._outgoing = self._outgoing, []
        return taken

    def next_event(self) -> OptionsEvent | None:
        """Take the outcome, or None."""
        return self._events.popleft() if self._events else None

    def _send(self, now: float) -> None:
        self._sent += 1
        self._outgoing.append(Transmit(self._request, self._path))
        if not self._path.transport.is_reliable:
            self._resend_at = now + self._interval
            self._interval = min(2 * self._interval, T2)

    def _is_answer(self, response: Response) -> bool:
        """RFC 3261 §17.1.3."""
        via = response.headers.first(VIA)
        cseq = response.headers.get(CSEQ)
        return via is not None and via.branch == self._branch and cseq == CSeq(1, "OPTIONS")

    def _seen(self) -> str:
        return f"; it sent {self._strange} messages that are not SIP" if self._strange else ""

    def _end(self, event: OptionsEvent) -> None:
        self._give_up_at = self._resend_at = None
        self._events.append(event)


def _options(path: Path, domain: str, branch: str, random: RandomBytes) -> bytes:
    server = SipUri.build(domain)
    here = SipUri.build(path.local.host.partition("%")[0], port=path.local.port)
    request = Request.build(
        "OPTIONS",
        server,
        [
            HeaderField.of(VIA, Via.of(path.transport, path.local, branch)),
            HeaderField.of(MAX_FORWARDS, INITIAL_MAX_FORWARDS),
            HeaderField.of(FROM, NameAddress(_ANONYMOUS).with_tag(random(8).hex())),
            HeaderField.of(TO, NameAddress(server)),
            HeaderField.of(CALL_ID, random(16).hex()),
            HeaderField.of(CSEQ, CSeq(1, "OPTIONS")),
            HeaderField.of(CONTACT, NameAddress(here)),
            HeaderField.of(USER_AGENT, f"natkit/{__version__}"),
        ],
    )
    return bytes(request)
