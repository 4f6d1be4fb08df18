"""A virtual machine with a kernel of its own and this machine's file system, for one command."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import join

from tests.kernels.initramfs import SHARE, build
from tests.peering.process import PeerFailed
from tests.peering.roster import program_path

__all__ = ["Kernel", "Ran", "run"]

_QEMU = "qemu-system-x86_64"
_KVM = Path("/dev/kvm")
_PROCESSOR = Path("/proc/cpuinfo")
_MARK = "what was run has ended with"
_MEMORY = "4G"


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel that can be booted, and its modules, which ``depmod`` has listed."""

    release: str
    image: Path
    modules: Path


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command wrote, and its exit status: None when the machine ended without one."""

    status: int | None
    output: str


def run(kernel: Kernel, command: Sequence[str], directory: Path, limit: float) -> Ran:
    """Boot ``kernel`` and run ``command`` as root in ``directory``, for ``limit`` seconds at most.

    What it writes to files is gone with the machine.
    """
    qemu = program_path(_QEMU)
    if qemu is None:
        raise PeerFailed(f"{_QEMU} is not installed (apt-get install qemu-system-x86)")
    with tempfile.TemporaryDirectory(prefix="natkit-kernels-") as place:
        script = Path(place) / "script"
        script.write_text(_script(command, directory))
        initramfs = Path(place) / "initramfs"
        initramfs.write_bytes(build(kernel.modules.resolve(), script, _MARK))
        words = [qemu, *_hardware(), "-kernel", str(kernel.image), "-initrd", str(initramfs)]
        words += ["-append", "console=ttyS0 panic=-1 quiet loglevel=4 mitigations=off"]
        with subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            try:
                output = process.communicate(timeout=limit)[0]
            except subprocess.TimeoutExpired:
                process.kill()
                output = process.communicate()[0]
    text = output.decode(errors="replace").replace("\r", "")
    found = re.search(rf"^{_MARK} (\d+)$", text, re.MULTILINE)
    return Ran(int(found[1]) if found else None, text[: found.start()] if found else text)


def _hardware() -> list[str]:
    machine = ["-machine", "q35", "-cpu", "max", "-smp", "2", "-m", _MEMORY]
    # A machine that is virtual itself may have the device, but no processor for it.
    flags = set(_PROCESSOR.read_text().split())
    if flags & {"vmx", "svm"} and os.access(_KVM, os.R_OK | os.W_OK):
        machine = ["-machine", "q35,accel=kvm", "-cpu", "host", "-smp", "2", "-m", _MEMORY]
    else:
        print("no processor for virtual machines here: all takes longer", file=sys.stderr)
    share = f"local,path=/,mount_tag={SHARE},security_model=none,readonly=on,multidevs=remap"
    return [
        *machine,
        *("-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"),
        *("-device", "virtio-rng-pci", "-virtfs", share),
    ]


def _script(command: Sequence[str], directory: Path) -> str:
    kept = ("PATH", "HOME", "LANG")
    settings = [f"{name}={os.environ[name]}" for name in kept if name in os.environ]
    return f"cd {join([str(directory)])} && exec {join(['env', *settings, *command])}\n"
