"""The checkout that is measured."""

import subprocess
from pathlib import Path

__all__ = ["PAGE", "RESULTS", "ROOT", "commit"]

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"


def commit(*packages: str) -> str:
    """The commit, and whether those packages differ from it."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run(
        [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False
    )
    if head.returncode:
        return "unknown"
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--untracked-files=no", *packages],
        capture_output=True,
        text=True,
        check=False,
    )
    return head.stdout.strip() + ("-modified" if changed.stdout else "")
