"""Conversion of a tar of crops, side by side with the naive loop and with the physical limit.

    python tests/benchmarks/make_crops.py crops.tar --crops 20000
    python tests/benchmarks/convert_crops.py crops.tar --runs 5

*naive* is tarfile, ``np.load(allow_pickle=True)`` and zarr-python, shard by shard, with the same chunks, shards and
codec. *limit* is as many threads as there are workers that only compress the same crops, already in memory, with the
codec at its fastest here (one reused zstandard context a thread); *limit, numcodecs* does it with the encoder that
zarr-python uses. Each run is a process of its own; the time is that of the work, after imports and the loading of
compiled kernels. Runs alternate, and medians and ratios of medians are printed.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

KINDS = ("zarrscope", "naive", "limit", "limit, numcodecs")


def zarrscope(tar: Path, store: Path, workers: int) -> None:
    """Convert with everything on: checksums, digests, statistics, tables, record."""
    import zarrscope as zs

    zs.convert(tar, store, workers=workers)


def naive(tar: Path, store: Path, workers: int) -> None:
    """Loop as a user would write it."""
    import io
    import tarfile

    import numpy as np
    import zarr
    from zarr.codecs import ZstdCodec

    del workers
    with tarfile.open(tar) as archive:
        members = archive.getmembers()

        def load(member: tarfile.TarInfo) -> np.ndarray:
            held = np.load(io.BytesIO(archive.extractfile(member).read()), allow_pickle=True)
            held["metadata"].item()
            return held["image"]

        first = load(members[0])
        shard = min(1024, len(members))
        array = zarr.create_array(
            store,
            shape=(len(members), *first.shape),
            dtype=first.dtype,
            chunks=(1, *first.shape),
            shards=(shard, *first.shape),
            compressors=ZstdCodec(level=1, checksum=True),
            config={"write_empty_chunks": True},
        )
        for start in range(0, len(members), shard):
            array[start : start + shard] = np.stack([load(member) for member in members[start : start + shard]])


def warm() -> None:
    """Load the compiled kernel, as the imports of the others load theirs."""
    import numpy as np

    from zarrscope.statistics import Accumulator

    Accumulator(np.dtype("uint8")).add(np.zeros((8, 8), np.uint8))


def held_crops(tar: Path) -> list[bytes]:
    """Read the pixels of every crop into memory."""
    from zarrscope.readers.npz import decode_npz
    from zarrscope.sources import open_source

    source = open_source(str(tar))
    return [decode_npz(blob)["image"].tobytes() for blob in source.read(source.index().members)]


def limit(crops: list[bytes], workers: int, encode: Callable[[list[bytes]], object]) -> None:
    """Only compress, some crops a call."""
    some = [crops[start : start + 16] for start in range(0, len(crops), 16)]
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(encode, some):
            pass


def ours() -> Callable[[list[bytes]], object]:
    """Give the encoder that zarrscope writes with."""
    from zarrscope.writers.codec import Codec

    encode = Codec.parse("zstd:1").encoder()
    return lambda crops: encode([memoryview(crop) for crop in crops])


def numcodecs() -> Callable[[list[bytes]], object]:
    """Give the encoder that zarr-python writes with."""
    from numcodecs.zstd import Zstd

    encode = Zstd(level=1, checksum=True).encode
    return lambda crops: [encode(crop) for crop in crops]


def measure(kind: str, tar: Path, store: Path, workers: int) -> dict[str, float]:
    """Run one kind in this process."""
    import importlib

    for name in ("zarr", "numpy", "zarrscope.engine.conversion", "zarrscope.sources", "zarrscope.recipes.stedfm"):
        importlib.import_module(name)
    if kind == "zarrscope":
        warm()
    if kind.startswith("limit"):
        crops = held_crops(tar)
        encode = ours() if kind == "limit" else numcodecs()
        started = time.perf_counter()
        limit(crops, workers, encode)
    else:
        started = time.perf_counter()
        {"zarrscope": zarrscope, "naive": naive}[kind](tar, store, workers)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return {"seconds": seconds, "peak_mb": peak}


def main() -> None:
    """Alternate the kinds, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tar", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--scratch", type=Path, help="where stores are written; a temporary folder by default")
    parser.add_argument("--one", choices=KINDS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(measure(chosen.one, chosen.tar, chosen.scratch, chosen.workers)))
        return
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in chosen.kinds}
    for run in range(chosen.runs):
        for kind in chosen.kinds:
            with tempfile.TemporaryDirectory(dir=chosen.scratch) as scratch:
                store = Path(scratch) / "crops.zarr"
                command = [sys.executable, __file__, str(chosen.tar), "--one", kind]
                command += ["--workers", str(chosen.workers), "--scratch", str(store)]
                told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                found[kind].append(json.loads(told))
                shutil.rmtree(store, ignore_errors=True)
            print(f"run {run + 1} {kind}: {found[kind][-1]['seconds']:.2f} s", file=sys.stderr)
    ours = median(one["seconds"] for one in found["zarrscope"]) if "zarrscope" in found else None
    for kind, runs in found.items():
        seconds = [one["seconds"] for one in runs]
        ratio = "" if ours is None else f"  {median(seconds) / ours:5.2f} x zarrscope's time"
        peak = median(one["peak_mb"] for one in runs)
        spread = f"({min(seconds):.2f} to {max(seconds):.2f})"
        print(f"{kind:18} median {median(seconds):6.2f} s  {spread}  peak {peak:5.0f} MB{ratio}")


if __name__ == "__main__":
    main()
