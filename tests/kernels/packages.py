"""Kernels as packages have them: fetched, unpacked below ``.cache``, and never installed."""

import subprocess
import tempfile
from pathlib import Path

from tests.kernels.machine import Kernel
from tests.peering.process import PeerFailed
from tests.peering.roster import program_path
from tests.project.tree import ROOT

__all__ = ["fetch", "unpacked"]

_CACHE = ROOT / ".cache" / "kernels"


def unpacked(directory: Path) -> Kernel:
    """The kernel that a package was unpacked to; PeerFailed where there is not just one."""
    for below in (directory, directory / "usr"):
        found = sorted((below / "lib" / "modules").glob("*"))
        if len(found) == 1:
            release = found[0].name
            images = (directory / "boot" / f"vmlinuz-{release}", found[0] / "vmlinuz")
            image = next((each for each in images if each.exists()), None)
            if image is None:
                break
            _call("depmod", "-b", str(below), release)
            return Kernel(release, image, found[0])
    raise PeerFailed(f"{directory} has not one kernel with its modules")


def fetch(package: str) -> Kernel:
    """The kernel of a Debian package, or of the one that it depends on for it."""
    place = _CACHE / package
    if not place.exists():
        _CACHE.mkdir(parents=True, exist_ok=True)
        names = [package, *_needed_by(package)]
        with tempfile.TemporaryDirectory(dir=_CACHE) as name:
            archives, whole = Path(name), Path(name) / "unpacked"
            _call("apt-get", "download", *names, directory=archives)
            for archive in archives.glob("*.deb"):
                _call("dpkg", "-x", str(archive), str(whole))
            whole.rename(place)
    return unpacked(place)


def _needed_by(package: str) -> list[str]:
    """What else has parts of the kernel: it is split, or has another name for each release."""
    said = _call("apt-cache", "depends", "--recurse", "--important", package)
    kinds = ("linux-image-", "linux-binary-", "linux-modules-")
    names = {line.strip() for line in said.splitlines() if line.startswith(kinds)}
    return sorted(names - {package})


def _call(program: str, *arguments: str, directory: Path | None = None) -> str:
    path = program_path(program)
    if path is None:
        raise PeerFailed(f"{program} is not installed")
    done = subprocess.run(
        [path, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=directory,
        check=False,
    )
    if done.returncode:
        raise PeerFailed(f"{program} {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
