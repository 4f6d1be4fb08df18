"""Finds the servers of a SIP URI by NAPTR, SRV and address records (RFC 3263), and says why.

::

    targets = await sipdns.resolve("sip:alice@example.org")
    targets = sipdns.resolve_sync("sips:example.org")
    outcome = await sipdns.Locator(nameservers=[…]).explain("example.org")
"""

from natkit.errors import DnsFailure, LocateError, NoService
from sipdns.decisions import Decision, Step, Verdict
from sipdns.locator import Locator, resolve, resolve_sync
from sipdns.targets import Outcome, RankedTarget

__all__ = [
    "Decision",
    "DnsFailure",
    "LocateError",
    "Locator",
    "NoService",
    "Outcome",
    "RankedTarget",
    "Step",
    "Verdict",
    "resolve",
    "resolve_sync",
]
