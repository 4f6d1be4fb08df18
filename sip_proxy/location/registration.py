"""What a REGISTER does to the bindings of one address of record (RFC 3261 §10.3 steps 6 to 8).

A pure function of the bindings that are there: a store applies it in one transaction of its own,
whatever keeps them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from natkit.errors import MalformedMessage
from natkit.machine import Path
from natkit.sip import SipUri, parse_absolute_uri
from sip_proxy.location.binding import Binding

__all__ = [
    "Accepted",
    "ContactChange",
    "LostFlow",
    "Outcome",
    "Refused",
    "Registration",
    "RegistrationLimits",
]

CONTACTS: Final = 20
"""Of one address of record: all the phones of a family, with a few flows each."""


@dataclass(frozen=True, slots=True)
class RegistrationLimits:
    """How long bindings live, in seconds, and how many an address of record has."""

    default_expires: int = 3600
    min_expires: int = 60
    max_expires: int = 7200
    contacts: int = CONTACTS

    def granted(self, asked: int | None) -> int | None:
        """The lifetime for one that was asked for; None when it is too brief (§10.3 step 7)."""
        if asked is None:
            return min(self.default_expires, self.max_expires)
        if 0 < asked < self.min_expires:
            return None
        return min(asked, self.max_expires)


@dataclass(frozen=True, slots=True)
class ContactChange:
    """A Contact of a REGISTER; ``expires`` 0 takes the binding away.

    ``by_flow``: it is reached by the flow of the registration, where that has one.
    """

    contact: str
    expires: int
    q: int
    instance: str | None = None
    reg_id: int | None = None
    by_flow: bool = True


@dataclass(frozen=True, slots=True)
class LostFlow:
    """A flow that is gone, by the entry of a path that led along it (RFC 5626 §6).

    With ``contact`` that one alone was found to be unreachable.
    """

    entry: str
    contact: str | None = None

    def took(self, binding: Binding) -> bool:
        """Whether a binding was reached by this flow, and is by no other way."""
        if not binding.path or binding.path[0] != self.entry:
            return False
        if self.contact is not None:
            return binding.contact == self.contact
        return binding.needs_flow


@dataclass(frozen=True, slots=True)
class Accepted:
    """The bindings as they are now."""

    bindings: tuple[Binding, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was changed; the answer has this ``status``."""

    status: int
    reason: str


Outcome = Accepted | Refused

_OUT_OF_ORDER: Final = Refused(500, "A later registration was processed before")


@dataclass(frozen=True, slots=True)
class Registration:
    """A REGISTER whose sender may change the bindings; ``changes`` None is ``Contact: *``.

    With ``flow`` the first of ``path`` is the entry that leads along it.  Without changes it only
    asks.  ``lost`` is none that anybody sent: what it took goes.
    """

    changes: tuple[ContactChange, ...] | None
    call_id: str
    cseq: int
    path: tuple[str, ...] = ()
    flow: Path | None = None
    user_agent: str = ""
    largest_count: int = CONTACTS
    lost: LostFlow | None = None

    def apply(self, bindings: Sequence[Binding], unix_now: float) -> Outcome:
        """The bindings afterwards; those that have expired are gone in any case."""
        live = [binding for binding in bindings if binding.expires_at > unix_now]
        if self.lost is not None:
            live = [binding for binding in live if not self.lost.took(binding)]
        if self.changes is None:
            if any(self._is_stale(binding) for binding in live):
                return _OUT_OF_ORDER
            return Accepted(())
        for change in self.changes:
            found = [binding for binding in live if _is_same(binding, change)]
            if found:
                if any(self._is_stale(binding) for binding in found):
                    return _OUT_OF_ORDER
                live = [binding for binding in live if binding not in found]
            if change.expires > 0:
                live.append(self._bound(change, found, unix_now))
        if len(live) > self.largest_count:
            return Refused(403, f"More than {self.largest_count} contacts")
        return Accepted(tuple(live))

    def _is_stale(self, binding: Binding) -> bool:
        # §10.3 step 7: within one Call-ID only a higher CSeq counts.
        return binding.call_id == self.call_id and binding.cseq >= self.cseq

    def _bound(self, change: ContactChange, found: Sequence[Binding], unix_now: float) -> Binding:
        renewed = [each.since for each in found if each.call_id == self.call_id]
        path, flow = self.path, self.flow
        if flow is not None and not change.by_flow:
            path, flow = path[1:], None
        return Binding(
            change.contact,
            unix_now + change.expires,
            change.q,
            self.call_id,
            self.cseq,
            unix_now,
            path,
            flow,
            change.instance,
            change.reg_id,
            self.user_agent,
            min(renewed, default=unix_now),
        )


def _is_same(binding: Binding, change: ContactChange) -> bool:
    if change.reg_id is not None and change.instance is not None:
        # RFC 5626 §6: instance and reg-id name the flow, whatever the contact says.
        return (binding.instance, binding.reg_id) == (change.instance, change.reg_id)
    if binding.is_outbound:
        return False
    return _are_equivalent(binding.contact, change.contact)


def _are_equivalent(one: str, other: str) -> bool:
    if one == other:
        return True
    try:
        first, second = parse_absolute_uri(one), parse_absolute_uri(other)
    except MalformedMessage:
        return False
    return isinstance(first, SipUri) and isinstance(second, SipUri) and first.equivalent(second)
