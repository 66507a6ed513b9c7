"""The walk over the headers of a large tar: members a second, and bytes of memory a member.

    python tests/benchmarks/index_members.py --members 1000000

The tar is written with holes in place of pixels, so that a million members of 51 kB need little disk; the walk reads
each header at its place, as in a real archive.
"""

from __future__ import annotations

import argparse
import resource
import tarfile
import tempfile
import time
import uuid
from pathlib import Path

from zarrscope.sources import open_source

SIZE = 51_424  # bytes of one npz of STED-FM


def write(path: Path, members: int) -> None:
    """Write headers at their places and leave holes between them."""
    names = uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
    with path.open("wb") as file:
        for number in range(members):
            image = uuid.uuid3(names, str(number // 26))
            info = tarfile.TarInfo(f"{image}-{number % 26 // 6}-{number % 6}")
            info.size = SIZE
            file.write(info.tobuf(tarfile.PAX_FORMAT))
            file.seek(-(-SIZE // 512) * 512, 1)
        file.write(bytes(10_240))


def main() -> None:
    """Write, walk, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=1_000_000)
    parser.add_argument("--scratch", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.scratch) as scratch:
        path = Path(scratch) / "members.tar"
        write(path, chosen.members)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        members = open_source(str(path)).index().members
        seconds = time.perf_counter() - started
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        print(
            f"{len(members):,} members in {seconds:.1f} s ({len(members) / seconds:,.0f}/s), "
            f"{grown / len(members):.0f} bytes of memory a member at the peak"
        )


if __name__ == "__main__":
    main()
