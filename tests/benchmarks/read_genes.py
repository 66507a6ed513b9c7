"""One gene across all slides of a store, side by side with anndata, which reads each slide to find it.

    python tests/benchmarks/read_genes.py --slides 30 --spots 3000 --genes 18000 --keep genes
    python tests/benchmarks/read_genes.py --store genes/slides.zarr --runs 7

The slides are those of ``zarrscope demo``, with counts as in STimage-1K4M, dense text, 93 % zeros, genes as unlike
as real ones; ``zarrscope.convert`` makes the store. *anndata* is what people write: ``read_zarr`` of a slide's counts,
then the column of the symbol. *its CSR alone* leaves out what a gene does not need: names, places and pictures, which
``store.gene`` reads. Each reading is a process of its own, and they take turns; the store is opened anew each time, and
the time is that of the work, after imports. All is in the cache of the system. Values are compared, bit by bit.
"""

from __future__ import annotations

import argparse
import hashlib
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

import zarrscope as zs
from zarrscope.demo import make_stimage

DENSITY = 0.07
BAND = 500  # rows
PANELS = 4  # lists of symbols, the same ones in other orders
ASKED = 20  # times as fast as anndata


def gene(store: Path, symbol: str) -> np.ndarray:
    """Ask the store."""
    return zs.open(store).gene(symbol, sum_duplicates=True)["value"].to_numpy()


def with_anndata(store: Path, symbol: str) -> np.ndarray:
    """Read each slide, and take a column of it."""
    import anndata

    def read(path: str) -> tuple[object, np.ndarray]:
        table = anndata.read_zarr(store / path / "counts")
        return table.X, table.var["symbol"].to_numpy()

    return _columns(store, symbol, read)


def with_matrix(store: Path, symbol: str) -> np.ndarray:
    """Read of each slide the matrix and the symbols alone, with anndata, and take a column."""
    import anndata
    import zarr

    def read(path: str) -> tuple[object, np.ndarray]:
        group = zarr.open_group(store / path / "counts", mode="r")
        symbols = anndata.io.read_elem(group["var/symbol"])
        return anndata.io.read_elem(group["X"]), np.asarray(symbols)

    return _columns(store, symbol, read)


def _columns(store: Path, symbol: str, read: Callable[[str], tuple[object, np.ndarray]]) -> np.ndarray:
    found = []
    for path in paths(store):
        matrix, symbols = read(path)
        here = np.flatnonzero(symbols == symbol)
        summed = np.asarray(matrix[:, here].sum(axis=1), np.float64).ravel()
        found.append(summed if len(here) else np.full(matrix.shape[0], np.nan))
    return np.concatenate(found)


READERS: dict[str, Callable[[Path, str], np.ndarray]] = {
    "store.gene": gene,
    "anndata": with_anndata,
    "its CSR alone": with_matrix,
}


def paths(store: Path) -> list[str]:
    """Give the slides that have counts, in the order of the record."""
    return [one.path for one in zs.open(store).record.elements if one.kind == "sample" and "counts" in one.holds]


def measure(name: str, store: Path, small: Path, symbol: str) -> dict[str, float | str]:
    """Read one gene in this process; give seconds, memory in MB before and at the peak, and what was read."""
    read = READERS[name]
    read(small, common(small)["frequent"])  # whatever is imported late is imported now
    before = peak()
    started = time.perf_counter()
    values = read(store, symbol)
    seconds = time.perf_counter() - started
    after = peak()
    digest = hashlib.sha256(np.ascontiguousarray(values, np.float64)).hexdigest()
    return {"seconds": seconds, "before": before, "peak": after, "values": f"{len(values)} {digest}"}


def peak() -> float:
    """Give the most memory that this process has held, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux hands ru_maxrss on to a new program: it would be that of whoever started this one
        return next(float(line.split()[1]) * 1024 / 1e6 for line in status.open() if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def common(store: Path) -> dict[str, str]:
    """Give a gene of middling frequency, and the most frequent one: it has the most to read."""
    import anndata
    import zarr

    group = zarr.open_group(store / paths(store)[0] / "counts" / "var", mode="r")
    found, symbols = (np.asarray(anndata.io.read_elem(group[name])) for name in ("n_cells_by_counts", "symbol"))
    order = np.argsort(found, kind="stable")
    return {"middling": str(symbols[order[len(order) // 2]]), "frequent": str(symbols[order[-1]])}


def make(folder: Path, slides: int, spots: int, genes: int) -> Path:
    """Write slides of the demo with counts of our own, and convert them; the text goes again."""
    started = time.perf_counter()
    tree = make_stimage(folder, slides=slides, spots=spots, genes=10, side=600)
    random = np.random.default_rng(0)
    share = random.gamma(0.5, 1, genes).astype(np.float32)
    for _ in range(20):  # a share is at most 1: the others make up for it
        share = np.minimum(1, share * np.float32(DENSITY / share.mean()))
    symbols = np.array([f"GENE{number}" for number in range(genes)])
    for number, path in enumerate(sorted(tree.glob("*/gene_exp/*_count.csv"))):
        order = np.roll(np.arange(genes), number % PANELS * 101)
        names = [line.split(",", 1)[0] for line in path.read_text().splitlines()[1:]]
        with path.open("wb") as file:
            file.write(f",{','.join(symbols[order])}\n".encode())
            file.writelines(_lines(random, names, share[order]))
    size = sum(path.stat().st_size for path in tree.glob("*/gene_exp/*"))
    written = time.perf_counter()
    store = folder / "slides.zarr"
    zs.convert(tree, store)
    for path in tree.glob("*/gene_exp/*"):
        path.unlink()
    seconds = written - started, time.perf_counter() - written
    print(f"{size / 1e9:.2f} GB of text written in {seconds[0]:.0f} s, converted in {seconds[1]:.0f} s", flush=True)
    return store


def _lines(random: np.random.Generator, names: list[str], share: np.ndarray) -> Iterator[bytes]:
    """Give rows of a table whose numbers are ``0.0`` to ``9.0``: all of one width, so that digits are put in place."""
    for start in range(0, len(names), BAND):
        rows = names[start : start + BAND]
        found = random.random((len(rows), len(share)), dtype=np.float32) < share
        text = np.tile(np.frombuffer(b"0.0,", np.uint8), (len(rows), len(share)))
        text[:, 0::4][found] += np.minimum(random.geometric(0.4, np.count_nonzero(found)), 9).astype(np.uint8)
        text[:, -1] = ord("\n")
        for name, line in zip(rows, text, strict=True):
            yield f"{name},".encode() + line.tobytes()


def in_a_process(name: str, store: Path, small: Path, symbol: str) -> dict[str, float | str]:
    """Measure in a process of its own: a peak never goes down again."""
    command = [sys.executable, __file__, "--one", name, "--store", store, "--small", small, "--symbol", symbol]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float | str] = json.loads(told)
    return found


def compare(store: Path, small: Path, symbol: str, label: str, runs: int) -> None:
    """Read one gene with each reader in turn, and print a line for each."""
    rounds = [{name: in_a_process(name, store, small, symbol) for name in READERS} for _ in range(runs)]
    values = {str(found["values"]) for one in rounds for found in one.values()}
    if len(values) > 1:
        sys.exit(f"{symbol}: the readers do not agree: {values}")
    middle = {
        name: {key: median(float(one[name][key]) for one in rounds) for key in ("seconds", "before", "peak")}
        for name in READERS
    }
    ours = middle["store.gene"]["seconds"]
    print(f"{symbol}, {label}, {int(values.pop().split()[0]):,} spots: all read the same values")
    for name, found in middle.items():
        row = f"  {name:16}{found['seconds']:9.3f} s {found['seconds'] / ours:8.1f} x"
        print(f"{row}{found['peak']:9.0f} MB at the peak, {found['peak'] - found['before']:.0f} MB of it", flush=True)
    ratio = middle["anndata"]["seconds"] / ours
    print(f"  {ratio:.1f} times as fast as anndata; at least {ASKED} is asked for")


def main() -> None:
    """Make a store, or take one, and compare the readers on two of its genes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slides", type=int, default=30)
    parser.add_argument("--spots", type=int, default=3_000, help="of a slide; one of Visium HD has twice as many")
    parser.add_argument("--genes", type=int, default=18_000)
    parser.add_argument("--runs", type=int, default=5, help="of which medians are told")
    parser.add_argument("--store", type=Path, help="a store that is there already, in place of the three above")
    parser.add_argument("--keep", type=Path, help="a new folder for the store, which then stays; temporary by default")
    parser.add_argument("--symbol", help="of the gene; by default a middling and the most frequent one")
    parser.add_argument("--small", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one is not None:
        print(json.dumps(measure(chosen.one, chosen.store, chosen.small, chosen.symbol)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        small = Path(scratch) / "small.zarr"
        zs.convert(make_stimage(Path(scratch) / "small", slides=1, spots=20, genes=20, side=80), small)
        sizes = chosen.slides, chosen.spots, chosen.genes
        store = chosen.store or make(chosen.keep or Path(scratch) / "made", *sizes)
        symbols = {"as asked": chosen.symbol} if chosen.symbol else common(store)
        slides = zs.open(store).slides
        filled = slides.nnz.sum() / (slides.n_spots * slides.n_genes).sum()
        print(f"{len(paths(store))} slides, {1 - filled:.1%} zeros; medians of {chosen.runs}")
        for label, symbol in symbols.items():
            compare(store, small, symbol, label, chosen.runs)


if __name__ == "__main__":
    main()
