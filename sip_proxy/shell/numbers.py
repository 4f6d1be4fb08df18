"""Telephone numbers in the DNS: what the machine's FindNumber gets (RFC 6116)."""

from collections.abc import Sequence
from typing import Final

from natkit.errors import NatkitError
from natkit.machine import Failure
from sipdns.enum_lookup import look_up_number
from sipdns.locator import Dns

__all__ = ["find_number"]

SERVICE: Final = "sip"
"""The Enumservice whose URIs a proxy can use (RFC 3764)."""


async def find_number(
    dns: Dns | None, number: str, suffixes: Sequence[str]
) -> tuple[str, ...] | Failure:
    """The SIP URIs of ``number``, in the order to try; a Failure too where nobody can be asked."""
    if dns is None:
        return Failure("there is nobody to ask for numbers")
    try:
        outcome = await look_up_number(number, dns, suffixes=suffixes, service=SERVICE)
    except NatkitError as error:
        return Failure(str(error))
    if outcome.error is not None:
        return Failure(str(outcome.error))
    return tuple(each.uri for each in outcome.uris)
