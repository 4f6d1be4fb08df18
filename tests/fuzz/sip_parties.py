"""Two user agents who call each other through the proxy under attack, and hardly get a word right.

What they send is what the dialog asks for, with the Record-Routes that the proxy wrote; then some
of it is changed, doubled or lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from natkit.address import Address
from natkit.errors import MalformedMessage
from natkit.machine import Path, Transmit, Transport
from natkit.sip import HeaderField, Request, Response
from natkit.sip.headers import Headers
from natkit.sip.kinds import CONTACT, RECORD_ROUTE, ROUTE
from tests.fuzz.sip_messages import HostileSip
from tests.fuzz.sip_seeds import SEEDS
from tests.fuzz.sip_target import Attacked, message_of
from tests.sip_proxy.world import DOMAIN, PROXY

STATUSES = (100, 180, 183, 200, 200, 200, 202, 302, 401, 407, 430, 486, 487, 503, 603)
WITHIN = ("ACK", "BYE", "INVITE", "UPDATE", "INFO", "NOTIFY", "CANCEL", "PRACK")
MOST_KEPT = 20
"""Requests and responses of each party that it may still take up."""


@dataclass
class Party:
    """A user agent, and what it has heard."""

    name: str
    path: Path
    requests: list[Request] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list)

    @property
    def contact(self) -> str:
        """Where it says it is."""
        suffix = ";transport=tcp" if self.path.transport is Transport.TCP else ""
        return f"sip:{self.name}@{self.path.remote}{suffix}"

    def hear(self, data: bytes) -> None:
        """Something came from the proxy."""
        heard = message_of(data)
        if isinstance(heard, Request):
            self.requests = [*self.requests, heard][-MOST_KEPT:]
        elif isinstance(heard, Response):
            self.responses = [*self.responses, heard][-MOST_KEPT:]


class Parties:
    """Alice over UDP and Bob over TCP, each with a flow to the proxy."""

    def __init__(self, target: Attacked, seed: int) -> None:
        self.target = target
        self.hostile = HostileSip(seed, SEEDS)
        self.random = self.hostile.random
        self.alice = Party("alice", Path(Transport.UDP, PROXY, Address("192.0.2.10", 5060)))
        self.bob = Party("bob", Path(Transport.TCP, PROXY, Address("192.0.2.11", 40_000)))
        self._sent = 0
        for party in (self.alice, self.bob):
            self._say(party, self._request(party, "REGISTER", f"sip:{DOMAIN}", ()), damaged=0.0)

    def step(self) -> None:
        """One of them says something, or time passes."""
        party, other = self.alice, self.bob
        if self.random.random() < 0.5:
            party, other = other, party
        draw = self.random.random()
        if draw < 0.2:
            uri = f"sip:{other.name}@{DOMAIN}"
            self._say(party, self._request(party, "INVITE", uri, ()))
        elif draw < 0.6:
            self._respond(party)
        elif draw < 0.9:
            self._go_on(party)
        elif draw < 0.95:
            self._take(self.target.wait(self.random.choice((0.1, 0.5, 5.0, 40.0))))
        elif draw < 0.96:
            self.target.proxy.disconnected(self.bob.path, self.target.now)
            self._take(self.target.drain())
            port = 40_000 + self.random.randrange(20_000)
            self.bob.path = self.bob.path._replace(remote=Address("192.0.2.11", port))
        else:
            self._say(party, self._request(party, "REGISTER", f"sip:{DOMAIN}", ()))

    # ── what they say ───────────────────────────────────────────────────────────────────────────

    def _respond(self, party: Party) -> None:
        if not party.requests:
            return
        request = self.random.choice(party.requests)
        status = self.random.choice(STATUSES)
        fields = [
            *request.headers.fields(RECORD_ROUTE),
            HeaderField.of_text("Contact", f"<{party.contact}>"),
        ]
        self._say(party, bytes(Response.to(request, status, tag=party.name, fields=fields)))

    def _go_on(self, party: Party) -> None:
        """Send a request within a dialog, as far as one can be made out of what was heard."""
        heard: list[Request | Response] = [*party.requests, *party.responses]
        if not heard:
            return
        base = self.random.choice(heard)
        try:
            routes = list(base.headers.get_all(RECORD_ROUTE))
            contact = base.headers.first(CONTACT)
        except MalformedMessage:
            return
        if isinstance(base, Response):
            routes.reverse()
        uri = (
            f"sip:{DOMAIN}" if contact is None else str(contact).partition("<")[2].partition(">")[0]
        )
        fields = [HeaderField.of(ROUTE, route) for route in routes]
        method = self.random.choice(WITHIN)
        if method in ("ACK", "CANCEL") and isinstance(base, Response):
            self._say(party, self._of_transaction(method, base, uri, fields))
        else:
            self._say(party, self._request(party, method, uri, fields, base))

    def _of_transaction(
        self, method: str, answer: Response, uri: str, fields: list[HeaderField]
    ) -> bytes:
        kept = [each for each in answer.headers if each.key in ("via", "from", "to", "call-id")]
        number = "".join(each.text for each in answer.headers.fields("CSeq")).split(" ")[0]
        cseq = HeaderField.of_text("CSeq", f"{number or 1} {method}")
        return bytes(Request(method, uri, Headers([*kept, cseq, *fields])))

    def _request(
        self,
        party: Party,
        method: str,
        uri: str,
        routes: Sequence[HeaderField],
        base: Request | Response | None = None,
    ) -> bytes:
        self._sent += 1
        to = f"sip:{party.name}@{DOMAIN}" if method == "REGISTER" else uri
        dialog = (
            [
                HeaderField.of_text("From", f"<sip:{party.name}@{DOMAIN}>;tag={party.name}"),
                HeaderField.of_text("To", f"<{to}>"),
                HeaderField.of_text("Call-ID", f"{self._sent}@{party.name}"),
            ]
            if base is None
            else [each for each in base.headers if each.key in ("from", "to", "call-id")]
        )
        transport = party.path.transport.upper()
        branch = f"z9hG4bK{self._sent}{party.name}"
        headers = [
            HeaderField.of_text("Via", f"SIP/2.0/{transport} {party.path.remote};branch={branch}"),
            HeaderField.of_text("Max-Forwards", "70"),
            *routes,
            *dialog,
            HeaderField.of_text("CSeq", f"{self._sent} {method}"),
            HeaderField.of_text("Contact", f"<{party.contact}>"),
            HeaderField.of_text("Content-Length", "0"),
        ]
        return bytes(Request(method, uri, Headers(headers)))

    # ── how it goes ─────────────────────────────────────────────────────────────────────────────

    def _say(self, party: Party, data: bytes, damaged: float = 0.3) -> None:
        if self.random.random() < damaged:
            data = self.hostile.changed(data)
        for _ in range(self.random.choice((0, 1, 1, 1, 1, 1, 2)) if damaged else 1):
            self.target.now += 0.01
            self._take(self.target.receive(data, party.path))

    def _take(self, sent: list[Transmit]) -> None:
        for transmit in sent:
            for party in (self.alice, self.bob):
                if transmit.path.remote.host == party.path.remote.host:
                    party.hear(transmit.data)
