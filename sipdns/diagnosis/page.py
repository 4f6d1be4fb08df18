"""The catalogue of rules as Markdown: the part of docs/sipdns-check.md that is made from them."""

from typing import Final

from sipdns.diagnosis.catalogue import RULES
from sipdns.diagnosis.finding import Area

__all__ = ["BEGIN", "END", "catalogue_page", "renewed"]

BEGIN: Final = "<!-- rules: made from sipdns/diagnosis; `python -m sipdns.diagnosis` renews it -->"
END: Final = "<!-- end of rules -->"

_HEADINGS: Final = {
    Area.SERVICE: "Service",
    Area.NAPTR: "NAPTR",
    Area.SRV: "SRV",
    Area.ADDRESS: "Addresses",
    Area.SECURITY: "TLS",
    Area.ANSWER: "Answers",
    Area.DELEGATION: "Delegation",
    Area.DNSSEC: "DNSSEC",
}


def catalogue_page() -> str:
    """The rules by area, as tables."""
    lines = []
    for area in Area:
        lines += [f"### {_HEADINGS[area]}", ""]
        lines += [
            "| rule | severity | RFC | what holds | if not |",
            "| --- | --- | --- | --- | --- |",
        ]
        lines += [
            f"| `{one.id}` | {one.severity} | {one.rfc} | {one.claim} | {one.why} |"
            for one in RULES
            if one.area is area
        ]
        lines.append("")
    return "\n".join(lines)


def renewed(page: str) -> str:
    """The page with the catalogue as it is now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{catalogue_page()}\n{END}{after}"
