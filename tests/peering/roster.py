"""What peers there are, and whether this machine has them."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.version import Version

ROSTER = Path(__file__).parent.parent / "peers.toml"
NODE_MODULES = Path(__file__).parent / "npm" / "node_modules"
# Where Debian keeps servers; not on everybody's PATH.
SERVER_DIRECTORIES = ("usr/sbin", "sbin", "usr/lib/postgresql/*/bin")


@dataclass(frozen=True, slots=True)
class Peer:
    """One entry of ``peers.toml``; one of ``probe``, ``distribution`` and ``npm`` is set."""

    name: str
    minimum: Version
    packages: Sequence[str] = ()
    probe: Sequence[str] = ()
    distribution: str | None = None
    npm: str | None = None

    @property
    def remedy(self) -> str:
        """What to do when the peer is missing."""
        if self.npm is not None:
            return "make test PEERS=install"
        if self.packages:
            return f"apt-get install {' '.join(self.packages)}, or make test PEERS=install"
        return f"{self.distribution} belongs to requirements/dev.txt: run make test"

    def version(self) -> Version | None:
        """The version found here, or None."""
        if self.distribution is not None:
            try:
                return Version(metadata.version(self.distribution))
            except metadata.PackageNotFoundError:
                return None
        if self.npm is not None:
            about = NODE_MODULES / self.npm / "package.json"
            return Version(json.loads(about.read_text())["version"]) if about.exists() else None
        program = program_path(self.probe[0])
        if program is None:
            return None
        answer = subprocess.run(
            [program, *self.probe[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=20,
            check=False,
        )
        found = re.search(r"\d+(?:\.\d+)+", answer.stdout)
        return Version(found.group()) if found else None

    def fault(self) -> str | None:
        """Why tests cannot use the peer, in one line; None when they can."""
        version = self.version()
        if version is None:
            return f"{self.name} is not installed ({self.remedy})"
        if version < self.minimum:
            return f"{self.name} {version} is older than {self.minimum} ({self.remedy})"
        return None


@cache
def peers() -> dict[str, Peer]:
    """The roster by name."""
    with ROSTER.open("rb") as file:
        entries = tomllib.load(file)["peer"]
    return {
        entry["name"]: Peer(
            name=entry["name"],
            minimum=Version(entry["minimum"]),
            packages=tuple(entry.get("packages", ())),
            probe=tuple(entry.get("probe", ())),
            distribution=entry.get("distribution"),
            npm=entry.get("npm"),
        )
        for entry in entries
    }


@cache
def fault(name: str) -> str | None:
    """Why the peer of that name cannot be used, asked once a run; None when it can."""
    return peers()[name].fault()


def program_path(program: str) -> str | None:
    """The full path of an installed program, or None."""
    # Looked for at each call: the installer asks before and after it has installed.
    root = Path("/")
    found = [str(directory) for name in SERVER_DIRECTORIES for directory in root.glob(name)]
    return shutil.which(program, path=":".join((os.environ.get("PATH", os.defpath), *found)))
