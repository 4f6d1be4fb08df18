"""What belongs to the repository: its files, its packages, its modules."""

import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("natkit", "sip_proxy", "sipdns", "stun_server")


@cache
def files() -> tuple[Path, ...]:
    """The files that git tracks or would track, relative to the root."""
    listed = subprocess.run(
        # The checkout may belong to another user than the one who tests.
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    names = listed.stdout.decode().rstrip("\0").split("\0")
    return tuple(Path(name) for name in names if (ROOT / name).is_file())


def text_of(file: Path) -> str | None:
    """The text of a file of the repository, or None when it is binary."""
    try:
        return (ROOT / file).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


@cache
def modules() -> tuple[str, ...]:
    """The dotted names of all modules and packages of the distribution, by their files."""
    return tuple(
        sorted(
            ".".join(file.with_suffix("").parts).removesuffix(".__init__")
            for file in files()
            if file.parts[0] in PACKAGES and file.suffix == ".py"
        )
    )


def packages() -> list[str]:
    """Those that are packages."""
    return [
        ".".join(file.parent.parts)
        for file in files()
        if file.parts[0] in PACKAGES and file.name == "__init__.py"
    ]
