"""A query by one column over as many rows as STED-FM has: time, memory, and bytes read.

    python tests/benchmarks/query_rows.py --rows 976022

The rows have the columns of the real table; the pixels are one by one, since a query does not look at them. The
query runs in a process of its own, and its memory is what that process grew by.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = """
import json, resource, sys, time
import zarrscope as zs
from zarrscope.storage import Storage
read = 0
get = Storage.get
def counted(self, key, start=0, stop=None):
    global read
    data = get(self, key, start, stop)
    read += len(data)
    return data
Storage.get = counted
store = zs.open(sys.argv[1])
import numpy
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
io = open("/proc/self/io").read() if sys.platform == "linux" else ""
started = time.perf_counter()
found = store.query(sys.argv[2])
count = len(found)
seconds = time.perf_counter() - started
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
after = open("/proc/self/io").read() if sys.platform == "linux" else ""
def rchar(text):
    return int(text.split()[1]) if text else 0
print(json.dumps({"seconds": seconds, "mb": grown / 1024, "count": count, "bytes": rchar(after) - rchar(io)}))
"""


def build(store: Path, rows: int) -> int:
    """Write a store of one stack with that many rows; give the bytes of its rows table."""
    import numpy as np

    from zarrscope import convert
    from zarrscope.model import Index, Members, SampleSet, strings
    from zarrscope.recipe import Catalog, Recipe, arrange, stack

    proteins = ("FUS", "bassoon", "f-actin", "psd95", "tubulin", "vimentin")

    class Pile:
        """A source of one-pixel members, made up when they are read."""

        name, url, kind, size, sequential = "pile.tar", "pile.tar", "tar", rows, False

        def token(self) -> str:
            return "pile"

        def index(self, *, salvage: bool = False) -> Index:
            del salvage
            names = strings([f"{proteins[row // 7 % 6]}-{row // 26:08x}-{row % 26:02d}" for row in range(rows)])
            return Index(members=Members(names=names, sizes=np.ones(rows, int), offsets=np.arange(rows)))

        def read(self, members: Members):
            for offset in members.offsets.tolist():
                yield memoryview(bytes([offset % 251]))

    def layout(catalog: Catalog):
        obs = {name: catalog.columns[name] for name in ("protein", "image_id")}
        obs["grid_row"] = catalog.columns["crop"].astype(np.int64)
        places = np.arange(len(catalog))
        whole = stack(catalog, "subset/normalised", places, role="normalised", obs=obs, classes="protein")
        return arrange(catalog, [whole], sets=[SampleSet(name="subset", images=(("normalised", "subset/normalised"),))])

    def decode(data: memoryview):
        return np.frombuffer(data, np.uint8).reshape(1, 1), described[data[0] % len(described)]

    fields = {"SizeY": 1024, "SizeX": 2048, "PhysicalSizeX": 0.02, "PhysicalSizeXUnit": "µm", "AcquisitionDate": None}
    described = [{"chan-id": f"STED_640 {{{n}}}", "key": f"{n:064x}", "msr-metadata": fields} for n in range(64)]
    recipe = Recipe(
        name="pile",
        version=1,
        title="A pile",
        layout=layout,
        decode=decode,
        pattern=r"(?P<protein>[^/]+)-(?P<image_id>[0-9a-f]{8})-(?P<crop>\d\d)",
    )
    from zarrscope import api

    api._open_sources = lambda *_: (Pile(),)  # the one source that no file holds
    convert("pile.tar", store, recipe=recipe)
    table = store / "subset/normalised/rows"
    return sum(path.stat().st_size for path in table.rglob("*") if path.is_file())


def main() -> None:
    """Build the store, query it, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=976_022)
    parser.add_argument("--query", default="protein == 'psd95'")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        store = Path(scratch) / "rows.zarr"
        size = build(store, chosen.rows)
        command = [sys.executable, "-c", PROGRAM, str(store), chosen.query]
        told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(
            f"{chosen.query}: {told['count']:,} of {chosen.rows:,} rows in {told['seconds']:.3f} s, "
            f"{told['mb']:.0f} MB more memory, {told['bytes'] / 1e6:.1f} MB read of a table of {size / 1e6:.0f} MB"
        )


if __name__ == "__main__":
    main()
