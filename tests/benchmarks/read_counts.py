"""A dense matrix of counts as text into sparse rows, side by side with pandas; and the peak of memory as rows grow.

    python tests/benchmarks/read_counts.py --rows 3000 30000

The text is as in STimage-1K4M: 18,000 genes, 93 % zeros, written ``0.0``. Each reading is a process of its own, since a
peak never goes down again, and so is one that only imports. pandas reads the smallest file, as people do:
``read_csv(index_col=0)`` and then scipy's ``csr_matrix``. The file is in the cache of the system when it is read.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from zarrscope.readers import counts
from zarrscope.storage import Blob

GENES = 18_000
DENSITY = 0.07
LARGEST = 200
NOTHING, PANDAS = "imports only", "pandas and scipy"


def write(path: Path, rows: int, point: str) -> None:
    """Write a matrix row by row."""
    random = np.random.default_rng(0)
    cells = np.array([f"{count}{point}" for count in range(LARGEST)], object)
    with path.open("w") as file:
        file.write("," + ",".join(f"GENE{gene}" for gene in range(GENES)) + "\n")
        for row in range(rows):
            numbers = np.zeros(GENES, int)
            found = random.random(GENES) < DENSITY
            numbers[found] = np.minimum(random.geometric(0.4, found.sum()), LARGEST - 1)
            file.write(f"GSE0000000_GSM0000000_{row:016}-1," + ",".join(cells[numbers]) + "\n")


def with_zarrscope(path: Path, workers: int) -> int:
    """Read band by band, and let each band go."""
    file = Blob(str(path))
    header = counts.read_header(file)
    return sum(band.data.size for band in counts.stream(file, header, workers=workers))


def with_pandas(path: Path) -> int:
    """Read all at once."""
    import pandas as pd
    from scipy.sparse import csr_matrix

    return int(csr_matrix(pd.read_csv(path, index_col=0).to_numpy()).nnz)


def imports(path: Path) -> int:
    """Import and compile, and read nothing."""
    del path
    text = b",a\ns,1\n"
    header = counts.read_header(counts.Bytes(text))
    return len(counts.parse_band(memoryview(text)[header.body :], header))


READERS: dict[str, Callable[[Path], int]] = {
    NOTHING: imports,
    "zarrscope, 1 thread": lambda path: with_zarrscope(path, 1),
    "zarrscope, 2 threads": lambda path: with_zarrscope(path, 2),
    PANDAS: with_pandas,
}


def measure(name: str, path: Path) -> dict[str, float]:
    """Read in this process; give seconds, numbers kept, and the peak in MB."""
    imports(path)
    started = time.perf_counter()
    kept = READERS[name](path)
    seconds = time.perf_counter() - started
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": seconds,
        "kept": kept,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6,
    }


def in_a_process(name: str, path: Path) -> dict[str, float]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--one", name, "--scratch", str(path)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


def main() -> None:
    """Write each matrix, read it with each reader, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[3_000, 30_000], metavar="N")
    parser.add_argument("--integers", action="store_true", help="write 0 in place of 0.0")
    parser.add_argument("--rounds", type=int, default=3, help="the fastest is told")
    parser.add_argument("--scratch", type=Path, help="where matrices are written; temporary by default")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one is not None:
        print(json.dumps(measure(chosen.one, chosen.scratch)))
        return
    print(f"{'':24} {'rows':>8} {'MB':>8} {'s':>8} {'GB/s':>7} {'peak MB':>8} {'kept':>12}")
    for rows in sorted(chosen.rows):
        with tempfile.TemporaryDirectory(dir=chosen.scratch) as scratch:
            path = Path(scratch) / "counts.csv"
            write(path, rows, "" if chosen.integers else ".0")
            size = path.stat().st_size
            for name in READERS:
                if name == PANDAS and rows > min(chosen.rows):
                    continue
                rounds = 1 if name == PANDAS else chosen.rounds
                found = min((in_a_process(name, path) for _ in range(rounds)), key=lambda found: found["seconds"])
                rate = "" if name == NOTHING else f"{size / found['seconds'] / 1e9:.3f}"
                print(
                    f"{name:24} {rows:>8,} {size / 1e6:>8,.0f} {found['seconds']:>8.2f} {rate:>7} "
                    f"{found['peak']:>8,.0f} {found['kept']:>12,}"
                )


if __name__ == "__main__":
    main()
