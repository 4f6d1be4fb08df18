"""Installs the peers that are missing: ``python -m tests.peering.install``; needs root."""

import subprocess
import sys
from pathlib import Path

from tests.peering import roster

APT_INSTALL = Path(__file__).parent.parent.parent / "scripts" / "apt-install.sh"


def main() -> int:
    """Install what is missing or too old; 0 when every peer can be used afterwards."""
    packages = [
        package
        for peer in roster.peers().values()
        if peer.packages and peer.fault() is not None
        for package in peer.packages
    ]
    if packages:
        installed = subprocess.run([APT_INSTALL, *packages], stdin=subprocess.DEVNULL, check=False)
        if installed.returncode != 0:
            return installed.returncode
    if any(peer.npm is not None and peer.fault() is not None for peer in roster.peers().values()):
        if roster.program_path("npm") is None:
            subprocess.run([APT_INSTALL, "npm"], stdin=subprocess.DEVNULL, check=False)
        # From the lock file, whose hashes npm checks; no package's own scripts are run.
        subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
            cwd=roster.NODE_MODULES.parent,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    faults = [fault for peer in roster.peers().values() if (fault := peer.fault()) is not None]
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
