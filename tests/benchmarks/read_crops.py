"""Random batches out of a store, side by side: zarrscope's samples, zarr-python, tensorstore, and the tar itself.

    python tests/benchmarks/make_crops.py crops.tar --crops 20000
    zarrscope convert crops.tar crops.zarr
    python tests/benchmarks/read_crops.py crops.zarr crops.tar

*the tar* is what a user has today: members by name through one open ``tarfile``, ``np.load`` with pickles allowed.
Every reader reads the same batches of 256 in turn, several rounds; the median round is told.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import zarr

import zarrscope as zs

BATCH = 256


def readers(store: Path, tar: Path | None) -> dict[str, Callable[[np.ndarray], object]]:
    """Give what reads a batch of rows, by name."""
    image = zs.open(store).images[0]
    samples = zs.open(store).samples(image)
    array = zarr.open_array(store / image / "0", mode="r")
    found: dict[str, Callable[[np.ndarray], object]] = {
        "zarrscope samples": samples.batch,
        "zarr-python": lambda rows: array.oindex[rows],
    }
    if importlib.util.find_spec("tensorstore"):
        import tensorstore

        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(store / image / "0")}}
        opened = tensorstore.open(spec).result()
        found["tensorstore"] = lambda rows: opened[rows.tolist()].read().result()
    if tar is not None:
        archive = tarfile.open(tar)  # noqa: SIM115  # read until the program ends
        members = archive.getmembers()

        def load(rows: np.ndarray) -> list[np.ndarray]:
            blobs = [archive.extractfile(members[row]).read() for row in rows.tolist()]
            return [np.load(io.BytesIO(blob), allow_pickle=True)["image"] for blob in blobs]

        found["the tar"] = load
    return found


def main() -> None:
    """Print samples a second of each, and the ratio to zarr-python."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("tar", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    found = readers(chosen.store, chosen.tar)
    length = len(zs.open(chosen.store).samples(zs.open(chosen.store).images[0]))
    random = np.random.default_rng(0)
    rates: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(chosen.rounds):
        rows = random.permutation(length)[:BATCH]
        for name, read in found.items():
            started = time.perf_counter()
            read(rows)
            rates[name].append(BATCH / (time.perf_counter() - started))
    base = median(rates["zarr-python"])
    for name, some in rates.items():
        print(f"{name:20}{median(some):9,.0f} samples/s  {median(some) / base:5.1f} x zarr-python")


if __name__ == "__main__":
    main()
