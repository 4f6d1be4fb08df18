"""The kinds of zones whose lookup is measured, and in how many round trips each can be done."""

from dataclasses import dataclass

__all__ = ["KINDS", "Kind"]

_HOSTS = """\
sip1.{domain}. A 192.0.2.1
sip1.{domain}. AAAA 2001:db8::1
sip2.{domain}. A 192.0.2.2
sip2.{domain}. AAAA 2001:db8::2
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of zone; ``{domain}`` stands for the domain and ``{hosting}`` for its provider's.

    ``rounds`` is the least number of round trips one after another, when nothing is known and no
    answer carries additional records.
    """

    title: str
    rounds: int
    text: str

    def zone(self, domain: str) -> list[str]:
        """The records, in the form of master files."""
        return self.text.format(domain=domain, hosting=f"hosting-{domain}").splitlines()


KINDS = (
    Kind(
        "NAPTR, SRV, addresses",
        2,
        """\
{domain}. NAPTR 10 50 "s" "SIPS+D2T" "" _sips._tcp.{domain}.
{domain}. NAPTR 20 50 "s" "SIP+D2T" "" _sip._tcp.{domain}.
{domain}. NAPTR 30 50 "s" "SIP+D2U" "" _sip._udp.{domain}.
_sips._tcp.{domain}. SRV 10 10 5061 sip1.{domain}.
_sips._tcp.{domain}. SRV 10 10 5061 sip2.{domain}.
_sip._tcp.{domain}. SRV 10 10 5060 sip1.{domain}.
_sip._tcp.{domain}. SRV 10 10 5060 sip2.{domain}.
_sip._udp.{domain}. SRV 10 10 5060 sip1.{domain}.
_sip._udp.{domain}. SRV 10 10 5060 sip2.{domain}.
"""
        + _HOSTS,
    ),
    Kind(
        "SRV for TCP alone, addresses",
        2,
        "_sip._tcp.{domain}. SRV 10 10 5060 sip1.{domain}.\n"
        "_sip._tcp.{domain}. SRV 20 10 5060 sip2.{domain}.\n" + _HOSTS,
    ),
    Kind(
        "addresses alone",
        1,
        "{domain}. A 192.0.2.9\n{domain}. AAAA 2001:db8::9\n",
    ),
    Kind(
        "hosted: NAPTR to another domain",
        3,
        """\
{domain}. NAPTR 10 50 "s" "SIP+D2T" "" _sip._tcp.{hosting}.
_sip._tcp.{hosting}. SRV 10 10 5060 sip1.{hosting}.
sip1.{hosting}. A 192.0.2.7
sip1.{hosting}. AAAA 2001:db8::7
""",
    ),
    Kind(
        "SRV, eight servers",
        2,
        "".join(
            f"_sip._udp.{{domain}}. SRV 10 10 5060 sip{number}.{{domain}}.\n"
            f"sip{number}.{{domain}}. A 192.0.2.{number}\n"
            f"sip{number}.{{domain}}. AAAA 2001:db8::{number}\n"
            for number in range(1, 9)
        ),
    ),
)
