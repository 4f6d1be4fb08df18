"""Renews the catalogue of rules in the page that is its argument, or in docs/sipdns-check.md."""

import sys
from pathlib import Path

from sipdns.diagnosis.page import renewed

if __name__ == "__main__":
    page = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/sipdns-check.md")
    page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")
