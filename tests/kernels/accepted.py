"""Says which of the relay plane's programs a kernel takes; exit status 1 where it takes none."""

import os
import sys

from natkit.relay.kernel_tables import KernelRelay, TableSizes
from natkit.relay.libbpf import BpfError


def main() -> int:
    """Load them and tell."""
    release = os.uname().release
    try:
        relay = KernelRelay.load(TableSizes(16, 16, 16, buckets=2, networks=3))
    except BpfError as error:
        print(f"{release}: no program: {error}")
        return 1
    print(f"{release}: XDP{', tc' if relay.at_tc is not None else '; tc is refused'}")
    relay.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
