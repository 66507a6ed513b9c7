"""A count matrix as text becomes a store on disk, side by side with pandas and anndata; and the peak of memory.

    python tests/benchmarks/convert_counts.py --rows 3000
    python tests/benchmarks/convert_counts.py --rows 30000 --rounds 1 --without-pandas
    python tests/benchmarks/convert_counts.py --entries 500000000

The text is that of ``read_counts.py``. *pandas* is what people write: ``read_csv(index_col=0)``, ``csr_matrix`` and
``csc_matrix`` of scipy, and ``AnnData.write_zarr`` with the latter as a layer, so that both hold a gene-major twin;
*pandas, no twin* leaves that out. Each conversion is a process of its own, and they take turns; the time is that of
the work, after imports and the loading of compiled kernels. With ``--entries`` there is no text: bands of made-up
rows of 18,085 genes are written, as many as it takes, which shows what a slide costs that does not fit in memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
from read_counts import write

from zarrscope.model import strings
from zarrscope.readers import counts
from zarrscope.storage import Blob
from zarrscope.writers.codec import Codec
from zarrscope.writers.counts import BUDGET, write_counts

GENES = 18_085
PER_ROW = 826  # entries of a row of the largest slide: 500 million in 605,471 rows
BAND = 300  # rows


class Folder:
    """Writes objects below a folder, and reads them."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.read = 0

    def put(self, key: str, data: bytes) -> None:
        """Write an object."""
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def get(self, key: str) -> bytes:
        """Read an object."""
        data = (self._root / key).read_bytes()
        self.read += len(data)
        return data


def with_zarrscope(source: Path, store: Path, budget: int) -> None:
    """Stream the text into counts and by_gene."""
    file, folder = Blob(str(source)), Folder(store)
    header = counts.read_header(file)
    write_counts(
        folder.put,
        folder.get,
        lambda: counts.stream(file, header),
        header.symbols,
        codec=Codec.parse("zstd"),
        budget=budget,
    )


def with_pandas(source: Path, store: Path, budget: int) -> None:
    """Hold everything, twice."""
    _with_anndata(source, store, twin=True)
    del budget


def with_pandas_without_twin(source: Path, store: Path, budget: int) -> None:
    """Hold everything; one gene is then found by reading all."""
    _with_anndata(source, store, twin=False)
    del budget


def _with_anndata(source: Path, store: Path, *, twin: bool) -> None:
    import anndata
    import pandas as pd
    from scipy import sparse

    anndata.settings.zarr_write_format = 3
    frame = pd.read_csv(source, index_col=0)
    rows = sparse.csr_matrix(frame.to_numpy())
    table = anndata.AnnData(rows, obs=pd.DataFrame(index=frame.index), var=pd.DataFrame(index=frame.columns))
    if twin:
        table.layers["by_gene"] = sparse.csc_matrix(rows)
    table.write_zarr(store)


def made_up(source: Path, store: Path, budget: int) -> None:
    """Write as many entries as ``source`` is called; nothing is read."""
    entries, folder = int(source.name), Folder(store)
    write_counts(
        folder.put,
        folder.get,
        lambda: _rows(entries),
        strings([f"GENE{gene}" for gene in range(GENES)]),
        codec=Codec.parse("zstd"),
        budget=budget,
    )
    print(f"read again: {folder.read / 1e9:.1f} GB", file=sys.stderr)


def _rows(entries: int) -> Iterator[counts.Band]:
    """Make up bands: a few different ones, again and again, under names of their own."""
    random = np.random.default_rng(0)
    share = random.gamma(0.5, 1, GENES)
    share = np.minimum(1, share * PER_ROW / share.sum())
    bands = []
    for _ in range(8):
        found = random.random((BAND, GENES)) < share
        data = np.minimum(random.geometric(0.4, found.sum()), 500).astype(np.int32)
        lengths = np.concatenate([[0], np.cumsum(found.sum(1))])
        bands.append((lengths, np.nonzero(found)[1].astype(np.int32), data, found.sum(0)))
    written = 0
    while written < entries:
        lengths, indices, data, found = bands[random.integers(8)]
        yield counts.Band(
            names=strings([f"s_008um_{written + row:015}-1" for row in range(BAND)]),
            indptr=lengths,
            indices=indices,
            data=data,
            row_totals=np.add.reduceat(data, lengths[:-1], dtype=np.int64),
            column_totals=np.zeros(GENES, np.int64),
            column_counts=found,
            negative=False,
            terminated=True,
        )
        written += len(data)


CONVERTERS: dict[str, Callable[[Path, Path, int], None]] = {
    "zarrscope": with_zarrscope,
    "pandas": with_pandas,
    "pandas, no twin": with_pandas_without_twin,
}


def measure(convert: Callable[[Path, Path, int], None], source: Path, budget: int) -> dict[str, float]:
    """Convert in this process; give seconds, and the peak and the size of the store in MB."""
    with tempfile.TemporaryDirectory() as scratch:
        small, store = Path(scratch) / "small.csv", Path(scratch) / "store"
        small.write_text(",a,b\n" + "".join(f"s{row},{row}.0,0.0\n" for row in range(9)))
        convert(Path("1") if convert is made_up else small, Path(scratch) / "warm", budget)
        unit = 1 if sys.platform == "darwin" else 1024
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
        started = time.perf_counter()
        convert(source, store, budget)
        seconds = time.perf_counter() - started
        return {
            "seconds": seconds,
            "before": before,
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6,
            "size": sum(path.stat().st_size for path in store.rglob("*") if path.is_file()) / 1e6,
        }


def in_a_process(name: str, source: Path, budget: int) -> dict[str, float]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--one", name, "--scratch", str(source), "--budget", str(budget)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


def show(name: str, size: float, found: list[dict[str, float]]) -> None:
    """Print the medians of some runs."""
    middle = {key: median(one[key] for one in found) for key in found[0]}
    print(
        f"{name:18} {size:>10,.0f} {middle['seconds']:>8.2f} {middle['peak']:>8,.0f} "
        f"{middle['peak'] - middle['before']:>8,.0f} {middle['size']:>8,.1f}",
        flush=True,
    )


def main() -> None:
    """Write a matrix, convert it with each converter in turn, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=3_000)
    parser.add_argument("--rounds", type=int, default=3, help="of which medians are told")
    parser.add_argument("--budget", type=int, default=BUDGET, help="bytes of memory for zarrscope")
    parser.add_argument("--entries", type=int, help="write so many made-up entries instead")
    parser.add_argument("--without-pandas", action="store_true")
    parser.add_argument("--scratch", type=Path, help="where the matrix is written; temporary by default")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one is not None:
        print(json.dumps(measure(CONVERTERS.get(chosen.one, made_up), chosen.scratch, chosen.budget)))
        return
    print(f"{'':18} {'source':>10} {'s':>8} {'peak MB':>8} {'of it':>8} {'store MB':>8}")
    if chosen.entries is not None:
        found = in_a_process("made up", Path(str(chosen.entries)), chosen.budget)
        show("zarrscope", chosen.entries, [found])
        return
    with tempfile.TemporaryDirectory(dir=chosen.scratch) as scratch:
        source = Path(scratch) / "counts.csv"
        write(source, chosen.rows, ".0")
        names = ["zarrscope"] if chosen.without_pandas else list(CONVERTERS)
        rounds = [{name: in_a_process(name, source, chosen.budget) for name in names} for _ in range(chosen.rounds)]
        for name in names:
            show(name, source.stat().st_size / 1e6, [found[name] for found in rounds])


if __name__ == "__main__":
    main()
