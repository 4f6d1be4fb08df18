"""What was dialled: the user or number of a Request-URI, and where it is valid (RFC 3966)."""

import re
from dataclasses import dataclass
from typing import Final

from natkit.sip import AbsoluteUri, SipUri, TelUri
from natkit.sip.grammar import domain_name

__all__ = ["Dialled", "dialled"]

_NUMBER: Final = re.compile(r"\+?[0-9*#]+")


@dataclass(frozen=True, slots=True)
class Dialled:
    """``user``: a number without visual separators, or a user's name, empty without one.

    ``domain``: the host of a SIP URI; of a local number in a ``tel:`` URI its phone-context, empty
    for a global one, which is valid everywhere (RFC 3966 §5.1.5).
    """

    user: str
    domain: str

    @property
    def is_number(self) -> bool:
        """Whether it can be dialled on a telephone."""
        return _NUMBER.fullmatch(self.user) is not None

    @property
    def is_global(self) -> bool:
        """Whether it is a number in the form that is valid everywhere."""
        return self.user.startswith("+") and self.is_number

    def changed(self, strip: int, prefix: str) -> str:
        """The user without its first ``strip`` characters and with ``prefix`` before it."""
        return prefix + self.user[strip:]


def dialled(uri: SipUri | TelUri | AbsoluteUri) -> Dialled:
    """What ``uri`` asks for."""
    if isinstance(uri, TelUri):
        return _of_number(uri, "")
    if isinstance(uri, AbsoluteUri):
        return Dialled("", "")
    subscriber = uri.telephone_subscriber
    host = uri.host if uri.address is not None else domain_name(uri.host)
    if subscriber is not None:
        return _of_number(subscriber, host)
    return Dialled(uri.user_text or "", host)


def _of_number(number: TelUri, host: str) -> Dialled:
    if number.is_global or host:
        return Dialled(number.digits, host)
    context = number.phone_context or ""
    return Dialled(number.digits, context if context.startswith("+") else domain_name(context))
