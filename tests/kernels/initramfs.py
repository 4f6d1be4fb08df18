"""What a kernel finds when it has booted: this machine's file system, and what to run there."""

import gzip
import lzma
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.peering.process import PeerFailed
from tests.peering.roster import program_path

__all__ = ["SHARE", "build"]

SHARE = "machine"
"""What the file system is called that the virtual machine is given."""

# Without them it cannot be mounted, and nothing else can be read.
_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
_UNPACK = {".xz": lzma.decompress, ".gz": gzip.decompress}
_ZSTD = ".zst"

# In the end a line of its own has the exit status, whatever the command wrote before.
_INIT = r"""#!/bin/busybox sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t devtmpfs devtmpfs /dev
while read -r module; do $b insmod /modules/$module || $b poweroff -f; done </modules/order
$b mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=512000,cache=loose {share} /lower &&
$b mount -t tmpfs -o size=75% tmpfs /over && $b mkdir /over/upper /over/work &&
$b mount -t overlay -o lowerdir=/lower,upperdir=/over/upper,workdir=/over/work overlay /root ||
$b poweroff -f
cd /root
$b mount -t proc proc proc
$b mount -t sysfs sysfs sys
$b mount -t devtmpfs devtmpfs dev
for each in run dev/shm; do $b mkdir -p $each; $b mount -t tmpfs tmpfs $each; done
$b mkdir -p dev/pts && $b mount -t devpts devpts dev/pts
$b ln -s /proc/self/fd dev/fd
$b mkdir -p lib/modules && $b ln -sfn {modules} lib/modules/$($b uname -r)
$b ip link set lo up
ulimit -l unlimited
ulimit -n 65536
$b chroot . /bin/sh {script} </dev/null 2>&1
status=$?
echo
echo "{mark} $status"
$b sync
$b poweroff -f
"""


# The kernel looks for modules by itself, and does so outside of the root that the command has.
_MODPROBE = b'#!/bin/busybox sh\nexec /bin/busybox chroot /root /sbin/modprobe "$@"\n'


def build(modules: Path, script: Path, mark: str) -> bytes:
    """An archive for the kernel whose modules are there: it runs ``script``, then says ``mark``.

    ``mark`` stands on a line of its own, with the exit status after it.
    """
    files = [
        ("init", _INIT.format(share=SHARE, modules=modules, script=script, mark=mark).encode())
    ]
    files.append(("sbin/modprobe", _MODPROBE))
    busybox = program_path("busybox")
    if busybox is None:
        raise PeerFailed("busybox is not installed (apt-get install busybox-static)")
    files.append(("bin/busybox", Path(busybox).read_bytes()))
    order: list[str] = []
    for path in _needed(modules):
        name = path.name.split(".")[0] + ".ko"
        order.append(name)
        files.append((f"modules/{name}", _unpacked(path)))
    files.append(("modules/order", "".join(f"{each}\n" for each in order).encode()))
    directories = ("bin", "sbin", "modules", "proc", "lower", "over", "root", "dev")
    entries = [_entry(name, stat.S_IFDIR | 0o755) for name in directories]
    entries += [_entry(name, stat.S_IFREG | 0o755, data) for name, data in files]
    # The console, for what is written before there is a /dev.
    entries.append(_entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)))
    return b"".join((*entries, _entry("TRAILER!!!", 0)))


def _needed(modules: Path) -> Iterator[Path]:
    """The files of :data:`_MODULES` and of what those need, in the order to insert them.

    What the kernel itself has built in is none.
    """
    dependencies: dict[str, list[str]] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, needs = line.partition(":")
        dependencies[path] = needs.split()
    by_name = {Path(path).name.split(".")[0].replace("-", "_"): path for path in dependencies}
    listed = modules / "modules.builtin"
    built_in = {
        Path(line).stem.replace("-", "_")
        for line in (listed.read_text().split() if listed.exists() else ())
    }
    seen: set[str] = set()
    for name in _MODULES:
        if name in built_in:
            continue
        if name not in by_name:
            raise PeerFailed(f"{modules} has no module {name}")
        first = by_name[name]
        # depmod names them with the one to be inserted last first.
        for path in (*reversed(dependencies[first]), first):
            if path not in seen:
                seen.add(path)
                yield modules / path


def _unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == _ZSTD:
        zstd = shutil.which("zstd")
        if zstd is None:
            raise PeerFailed(f"{path.name}: zstd is not installed (apt-get install zstd)")
        return subprocess.run([zstd, "-dc"], input=data, capture_output=True, check=True).stdout
    return _UNPACK[path.suffix](data) if path.suffix in _UNPACK else data


def _entry(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    """A file of a cpio archive of the kind "newc"."""
    encoded = name.encode() + b"\0"
    numbers = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
    head = b"070701" + b"".join(b"%08x" % each for each in numbers) + encoded
    return _padded(head) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
