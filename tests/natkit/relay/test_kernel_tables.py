"""What is written into the kernel's tables while the program reads them."""

import json
import subprocess
import sys

import pytest

from natkit.relay.kernel_layout import HALF_SIZE, SIZES, Mark
from natkit.relay.kernel_tables import FLAGS_AT, KernelRelay, TableSizes

pytestmark = [pytest.mark.netns, pytest.mark.peer("libbpf")]

HALF = 3
SOON, LATER = 0x1111_2222_3333, 0x4444_5555_6666
# As the program would, that runs beside whoever writes.
READER = f"""
import json, mmap, sys
memory = mmap.mmap(int(sys.argv[1]), mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ)
lives, marks = (memoryview(memory).cast(letter) for letter in "QI")
life, mark = {HALF * HALF_SIZE // 8}, {(HALF * HALF_SIZE + FLAGS_AT) // 4}
print("ready", flush=True)
print(json.dumps([*{{(lives[life], marks[mark] > 0) for _ in range(300_000)}}]))
"""


def test_a_half_that_lives_on_is_never_seen_as_dead_nor_as_one_of_the_kernels_that_is_not() -> None:
    relay = KernelRelay.load(TableSizes(halves=8, permissions=8, channels=8), at_tc=False)
    tables = relay.tables
    tables.extend_half(HALF, SOON)
    tables.mark_half(HALF, Mark.HAND_UP)
    descriptor = tables.descriptors[list(SIZES).index("halves")]
    with subprocess.Popen(
        [sys.executable, "-c", READER, str(descriptor)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=(descriptor,),
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        while reader.poll() is None:
            for _ in range(1_000):
                tables.extend_half(HALF, LATER)
                tables.mark_half(HALF, Mark.HAND_UP)
                tables.extend_half(HALF, SOON)
        seen = reader.stdout.read()
    relay.close()
    assert {*map(tuple, json.loads(seen))} <= {(SOON, True), (LATER, True)}
