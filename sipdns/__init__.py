"""Finds the servers of a SIP URI by NAPTR, SRV and address records (RFC 3263), and says why.

::

    targets = await sipdns.resolve("sip:alice@example.org")
    targets = sipdns.resolve_sync("sips:example.org")

    async with sipdns.Locator() as locator:             # for more than one lookup: it has a cache
        targets = await locator.locate("turn:example.org")
        outcome = await locator.explain("example.org")  # with each decision, and each question

    failover = sipdns.Failover(targets, outliers=sipdns.Outliers())
"""

from natkit.errors import DnsFailure, LocateError, NoService
from sipdns.affinity import Affinity
from sipdns.cache import Cache, CacheStatistics
from sipdns.decisions import Decision, Step, Verdict
from sipdns.failover import Failover
from sipdns.happy_eyeballs import connection_starts
from sipdns.locator import Locator, resolve, resolve_sync
from sipdns.outliers import OutlierLimits, Outliers
from sipdns.targets import Outcome, RankedTarget

__all__ = [
    "Affinity",
    "Cache",
    "CacheStatistics",
    "Decision",
    "DnsFailure",
    "Failover",
    "LocateError",
    "Locator",
    "NoService",
    "Outcome",
    "OutlierLimits",
    "Outliers",
    "RankedTarget",
    "Step",
    "Verdict",
    "connection_starts",
    "resolve",
    "resolve_sync",
]
