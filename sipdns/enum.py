"""ENUM (RFC 6116): from a telephone number to URIs, in the order to try.

All records that apply are used, ordered by order and then preference: a client that cannot use one
goes on to the next, whatever its order (RFC 5483).
"""

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import dns.exception
import dns.name

from natkit.errors import DnsFailure, LocateError, MalformedMessage, MisuseError, NoService
from natkit.machine import Failure, Path, Request, RequestId, Transmit
from natkit.sip.grammar import excerpt
from sipdns.records import Answer, NaptrRecord, Question, RecordType
from sipdns.substitution import Substitution

__all__ = [
    "E164_ARPA",
    "AskForNumber",
    "EnumOutcome",
    "EnumResolution",
    "EnumResolved",
    "EnumRule",
    "EnumUri",
    "Use",
    "enum_domain",
    "read_number",
]

E164_ARPA: Final = "e164.arpa"
"""The public tree (RFC 6116 §3)."""

MOST_DIGITS: Final = 15
"""ITU-T E.164 §6."""

MOST_INDIRECTIONS: Final = 5
"""Non-terminal records followed one after another: real trees have one or two."""

MOST_QUESTIONS: Final = 20
"""Names asked for one number, over all trees: non-terminal records may fan out."""

MOST_RULES: Final = 200
"""Records of one name that are looked at; real numbers have under twenty."""

_SEPARATORS: Final = str.maketrans("", "", " -.()")
_ENUMSERVICE: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}(?::[a-z0-9][a-z0-9-]{0,31})*")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")


class Use(StrEnum):
    """What became of a record."""

    URI = "uri"
    FOLLOWED = "followed"
    PASSED_OVER = "passed over"


@dataclass(frozen=True, slots=True)
class EnumRule:
    """One NAPTR record at ``domain``, what became of it, and why."""

    domain: str
    record: NaptrRecord
    use: Use
    reason: str


@dataclass(frozen=True, slots=True)
class EnumUri:
    """A URI for the number; ``services`` are the Enumservices of its record, in lower case."""

    uri: str
    services: tuple[str, ...]
    order: int
    preference: int
    domain: str
    ttl: int


@dataclass(frozen=True, slots=True)
class EnumOutcome:
    """The end of a lookup: the URIs in the order to try, or ``error``.

    ``asked`` are the answers to all questions, in the order they were asked.
    """

    number: str
    uris: tuple[EnumUri, ...]
    rules: tuple[EnumRule, ...]
    asked: tuple[tuple[Question, Answer | Failure], ...]
    error: LocateError | None


@dataclass(frozen=True, slots=True)
class AskForNumber(Request):
    """Ask the DNS.  Result: Answer, or Failure."""

    question: Question


@dataclass(frozen=True, slots=True)
class EnumResolved:
    """The lookup has ended."""

    outcome: EnumOutcome


def read_number(text: str) -> str:
    """``+`` and digits, from what people write and from ``tel:`` URIs (RFC 6116 §3.1, RFC 3966).

    MisuseError for what is no E.164 number with its country code.
    """
    written = text.strip()
    if written[:4].lower() == "tel:":
        written = written[4:].partition(";")[0]
    number = written.translate(_SEPARATORS)
    digits = number[1:]
    if not number.startswith("+") or not (digits.isascii() and digits.isdigit()):
        raise MisuseError(f"{excerpt(text)} is not a number with + and its country code")
    if len(digits) > MOST_DIGITS:
        raise MisuseError(f"{excerpt(text)} has more than the {MOST_DIGITS} digits of E.164")
    return number


def enum_domain(number: str, suffix: str = E164_ARPA) -> str:
    """Where the records of ``+441632960083`` stand: the digits from last to first (RFC 6116 §3)."""
    return ".".join(reversed(number[1:])) + f".{suffix}"


class EnumResolution:
    """Looks ``number`` (of :func:`read_number`) up, as a machine.

    ``suffixes`` are the trees to ask, the first that has a URI being the one that counts.
    ``service`` keeps to one Enumservice, ``sip`` or ``voice:tel``; a type includes its subtypes.
    MisuseError for a suffix or service that cannot exist.
    """

    def __init__(
        self, number: str, *, suffixes: Sequence[str] = (E164_ARPA,), service: str | None = None
    ) -> None:
        self._number = number
        self._suffixes = tuple(_read_suffix(one) for one in suffixes)
        self._service = None if service is None else _read_service(service)
        self._known: dict[Question, Answer | Failure] = {}
        self._open: dict[RequestId, Question] = {}
        self._asked = 0
        self._events: deque[AskForNumber | EnumResolved] = deque()
        self._rules: dict[EnumRule, None] = {}
        self._advance()

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """No data arrives here: the shell's answers carry records."""

    def disconnected(self, path: Path, now: float) -> None:
        """No stream is ours."""

    def transmits(self) -> Sequence[Transmit]:
        """Nothing: all is asked by Requests."""
        return ()

    def handle_timer(self, now: float) -> None:
        """No time is kept here: each question has its own limit, and their number is bounded."""

    def next_deadline(self) -> float | None:
        """None."""
        return None

    def next_event(self) -> AskForNumber | EnumResolved | None:
        """Take the next event."""
        return self._events.popleft() if self._events else None

    def answer(
        self,
        request_id: RequestId,
        result: Answer | Failure,
        now: float,  # noqa: ARG002 - the contract of machines
    ) -> None:
        """The DNS's answer."""
        question = self._open.pop(request_id, None)
        if question is not None:
            self._known[question] = result
            if not self._open:
                self._advance()

    def _advance(self) -> None:
        """Walk all trees from the start through what is known, until something must be asked."""
        self._rules.clear()
        uris: list[EnumUri] = []
        for suffix in self._suffixes:
            wanted: dict[Question, None] = {}
            uris = self._walk(enum_domain(self._number, suffix), (), wanted)
            if wanted:
                for question in wanted:
                    self._asked += 1
                    self._open[self._asked] = question
                    self._events.append(AskForNumber(self._asked, question))
                return
            if uris:
                break
        asked = tuple(self._known.items())
        error = None if uris else self._error()
        rules = tuple(self._rules)
        self._events.append(
            EnumResolved(EnumOutcome(self._number, tuple(uris), rules, asked, error))
        )

    def _walk(
        self, domain: str, above: tuple[str, ...], wanted: dict[Question, None]
    ) -> list[EnumUri]:
        question = Question(domain, RecordType.NAPTR)
        answer = self._known.get(question)
        if answer is None:
            wanted[question] = None
            return []
        if isinstance(answer, Failure):
            return []
        found = []
        records = [one for one in answer.records if isinstance(one, NaptrRecord)]
        records.sort(key=lambda one: (one.order, one.preference))
        for record in records[:MOST_RULES]:
            if record.flags.lower() == "u":
                uri = self._terminal(domain, record)
                found += [uri] if uri is not None else []
            elif record.flags == "":
                found += self._follow(domain, record, above, wanted)
            else:
                self._note(domain, record, Use.PASSED_OVER, "its flag is neither empty nor u")
        return found

    def _terminal(self, domain: str, record: NaptrRecord) -> EnumUri | None:
        try:
            services = _read_services(record.service)
            if self._service is not None and not any(map(self._is_wanted, services)):
                raise MalformedMessage(f"its service is not {self._service}")
            uri = Substitution.parse(record.regexp).apply(self._number)
            if uri is None:
                raise MalformedMessage(f"its regexp does not match {self._number}")
            if not _URI.fullmatch(uri):
                raise MalformedMessage(f"what its regexp makes is no URI: {excerpt(uri)}")
        except MalformedMessage as error:
            self._note(domain, record, Use.PASSED_OVER, str(error))
            return None
        self._note(domain, record, Use.URI, uri)
        return EnumUri(uri, services, record.order, record.preference, domain, record.ttl)

    def _is_wanted(self, service: str) -> bool:
        return service == self._service or service.startswith(f"{self._service}:")

    def _follow(
        self,
        domain: str,
        record: NaptrRecord,
        above: tuple[str, ...],
        wanted: dict[Question, None],
    ) -> list[EnumUri]:
        """A record without flag leads to the records of another name."""
        path = (*above, domain)
        following = record.replacement
        question = Question(following, RecordType.NAPTR)
        is_new = question not in self._known and question not in wanted
        reason = ""
        if following == ".":
            reason = "it has neither a flag nor a replacement"
        elif following in path:
            reason = "a loop"
        elif len(path) > MOST_INDIRECTIONS:
            reason = f"more than {MOST_INDIRECTIONS} indirections"
        elif is_new and self._asked + len(wanted) >= MOST_QUESTIONS:
            reason = f"more than {MOST_QUESTIONS} names to ask for"
        if reason:
            self._note(domain, record, Use.PASSED_OVER, reason)
            return []
        self._note(domain, record, Use.FOLLOWED, f"leads to {following}")
        return self._walk(following, path, wanted)

    def _note(self, domain: str, record: NaptrRecord, use: Use, reason: str) -> None:
        self._rules[EnumRule(domain, record, use, reason)] = None

    def _error(self) -> LocateError:
        for question, answer in self._known.items():
            if isinstance(answer, Failure):
                return DnsFailure(f"the DNS gave no answer for {question}: {answer.reason}")
        trees = " and ".join(self._suffixes)
        kind = f" of service {self._service}" if self._service else ""
        return NoService(f"{self._number} has no URI{kind} in {trees}")


def _read_services(text: str) -> tuple[str, ...]:
    """``E2U+sip+voice:tel`` (§3.4.3): the Enumservices; MalformedMessage for another field."""
    first, *services = text.lower().split("+")
    if first != "e2u" or not services:
        raise MalformedMessage("its service is not of ENUM: E2U+ and a type")
    for one in services:
        if not _ENUMSERVICE.fullmatch(one):
            raise MalformedMessage(f"{excerpt(one)} is not an Enumservice")
    return tuple(services)


def _read_service(text: str) -> str:
    service = text.lower()
    if not _ENUMSERVICE.fullmatch(service):
        raise MisuseError(f"{excerpt(text)} is not an Enumservice, such as sip or voice:tel")
    return service


def _read_suffix(text: str) -> str:
    try:
        name = dns.name.from_text(text)
        dns.name.from_text(enum_domain("+" + "0" * MOST_DIGITS, text))
    except dns.exception.DNSException as error:
        raise MisuseError(f"{excerpt(text)} is not a domain name: {error}") from error
    return name.to_text(omit_final_dot=True).lower()
