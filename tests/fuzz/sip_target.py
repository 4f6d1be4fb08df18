"""A proxy machine under attack, with users, phones and a shell that answers at once."""

import random
import re
from collections.abc import Mapping, Sequence
from itertools import count

from natkit.address import Address
from natkit.errors import MalformedMessage
from natkit.locate import Target
from natkit.machine import Failure, Path, Transmit, Transport
from natkit.machine import Request as Question
from natkit.sip import Request, Response, SipUri, parse_absolute_uri, parse_message
from natkit.sip.digest import Algorithm, ha1
from natkit.sip.parser import MessageLimits
from natkit.stun.demux import is_stun
from sip_proxy.events import (
    Answered,
    FindBindings,
    FindCredential,
    FindServers,
    OpenFlow,
    ProxyEvent,
    ProxyResult,
    UpdateBindings,
)
from sip_proxy.location import BindingTable
from sip_proxy.proxy import Proxy
from sip_proxy.trace.recorder import RecorderSettings
from tests.sip_proxy.world import DOMAIN, KEY, PROXY, UNIX, settings

PHONE = Address("192.0.2.77", 5060)
WITH_OURS = MessageLimits(head=40_000, message=70_000)
"""What comes within the limits, with the Via and the Record-Routes of the proxy."""

STRANGERS = 50
START = 1000.0
_REQUEST_LINE = re.compile(rb"(?:\r\n)*(?![Ss][Ii][Pp]/)[^ \r\n]+ [^\r\n]* [^ \r\n]*\r\n")
_VIA = re.compile(rb"\r\n(?:via|v)[ \t]*:", re.IGNORECASE)


def could_be_answered(data: bytes) -> bool:
    """Whether a datagram has what an answer needs, judged without the parser under test.

    That is a request line and, before an empty line, a Via.
    """
    head, empty, _ = (
        data.partition(b"\r\n\r\n") if not data.startswith(b"\r\n") else (data, b"\r\n", b"")
    )
    return bool(empty and _REQUEST_LINE.match(data) and _VIA.search(head))


class Attacked:
    """The machine, its clock, and what it sent."""

    def __init__(self, seed: int, *, authenticate: bool, largest_transactions: int = 2_000) -> None:
        self.random = random.Random(seed)
        self.now = START
        self.location = BindingTable(largest_count=300)
        self.answered: set[tuple[str, int]] = set()
        self._paths = count()
        self.proxy = Proxy(
            settings(
                authenticate=authenticate,
                largest_transactions=largest_transactions,
                largest_pending=100,
                recorder=RecorderSettings(0),
            ),
            key=KEY,
            random=self.random.randbytes,
            unix_offset=UNIX,
        )

    # ── inputs ──────────────────────────────────────────────────────────────────────────────────

    def receive(self, data: bytes, path: Path) -> list[Transmit]:
        """What is sent at once because of a datagram, or of one message of a stream."""
        self.proxy.receive(data, path, self.now)
        return self.drain()

    def wait(self, seconds: float) -> list[Transmit]:
        """Let time pass, timer by timer."""
        until = self.now + seconds
        sent: list[Transmit] = []
        while (deadline := self.proxy.next_deadline()) is not None and deadline <= until:
            self.now = max(self.now, deadline)
            self.proxy.handle_timer(self.now)
            sent += self.drain()
        self.now = until
        return sent

    def drain(self) -> list[Transmit]:
        """Answer what the machine asks, and take what it sends."""
        sent = [*self.proxy.transmits()]
        while (event := self.proxy.next_event()) is not None:
            self._on_event(event)
            sent += self.proxy.transmits()
        return sent

    @property
    def is_idle(self) -> bool:
        """Whether nothing of anybody is left but registrations."""
        return self.proxy.next_deadline() is None

    # ── the shell ───────────────────────────────────────────────────────────────────────────────

    def _on_event(self, event: ProxyEvent) -> None:
        unix_now = self.now + UNIX
        match event:
            case FindCredential(_, username, realm):
                self._answer(event, self._secrets(username, realm))
            case FindBindings(_, address):
                self._answer(event, self.location.find(address, unix_now))
            case UpdateBindings(_, address, registration):
                self._answer(event, self.location.update(address, registration, unix_now))
            case FindServers(_, uri):
                self._answer(event, self._servers(uri))
            case OpenFlow(_, target):
                local = Address(PROXY.host, 20_000 + next(self._paths) % 40_000)
                flow = Path(target.transport, local, target.address)
                # A quarter of those that we connect to are there.
                refused = self.random.random() < 0.75
                self._answer(event, Failure("refused") if refused else flow)
            case Answered(_, method, _, status, _):
                self.answered.add((method, status))
            case _:
                pass

    def _answer(self, question: Question, result: ProxyResult | Failure) -> None:
        self.proxy.answer(question.request_id, result, self.now)

    def _secrets(self, username: str, realm: str) -> Mapping[Algorithm, str]:
        if (username, realm) != ("alice", DOMAIN):
            return {}
        return {each: ha1(username, realm, "secret", each) for each in Algorithm}

    def _servers(self, text: str) -> Sequence[Target] | Failure:
        uri = parse_absolute_uri(text)
        if not isinstance(uri, SipUri) or self.random.random() < 0.02:
            return Failure("no such domain")
        transport = Transport.TCP if uri.transport == "tcp" else Transport.UDP
        return (Target(transport, PHONE, uri.host, ""),) * self.random.choice((1, 1, 2))


def replies(sent: Sequence[Transmit], path: Path) -> list[bytes]:
    """The responses to where something came from; a request goes there if it is a phone's flow."""
    return [
        transmit.data
        for transmit in sent
        if transmit.path.remote.host == path.remote.host and transmit.data.startswith(b"SIP/2.0 ")
    ]


def message_of(data: bytes) -> Request | Response | None:
    """What the proxy sent, which must be a message; None for a keep-alive."""
    if not data.strip(b"\r\n") or is_stun(data):
        return None
    try:
        return parse_message(data, WITH_OURS)
    except MalformedMessage as error:
        raise AssertionError(f"the proxy sent what is no message: {data!r}") from error
