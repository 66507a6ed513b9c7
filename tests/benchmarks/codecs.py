"""Codecs and chunk sizes on crops of fluorescence: size, and encoding and decoding speed of one thread.

    python tests/benchmarks/make_crops.py crops.tar --crops 2000
    python tests/benchmarks/codecs.py crops.tar

Each codec is the one that zarr would use; ``zarrscope`` marks the encoder that conversions use for the same bytes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numcodecs.blosc import BITSHUFFLE, NOSHUFFLE, Blosc
from numcodecs.lz4 import LZ4
from numcodecs.zstd import Zstd

from zarrscope.readers.npz import decode_npz
from zarrscope.sources import open_source
from zarrscope.writers.codec import Codec


def crops_of(tar: Path, most: int) -> list[np.ndarray]:
    """Read the pixels of the first crops."""
    source = open_source(str(tar))
    members = source.index().members.take(slice(0, most))
    return [decode_npz(blob)["image"] for blob in source.read(members)]


def speed(act: Callable[[bytes], object], pieces: list[bytes], size: int) -> float:
    """Give the best of three in MB/s of pixels."""
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        for piece in pieces:
            act(piece)
        best = min(best, time.perf_counter() - started)
    return size / best / 1e6


def main() -> None:
    """Print one line a codec, and one a chunk size for zstd 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tar", type=Path)
    parser.add_argument("--crops", type=int, default=512)
    chosen = parser.parse_args()
    crops = crops_of(chosen.tar, chosen.crops)
    raw = [crop.tobytes() for crop in crops]
    size = sum(map(len, raw))
    ours = Codec.parse("zstd:1").encoder()
    codecs = {
        "zstd 1": Zstd(level=1, checksum=True),
        "zstd 3": Zstd(level=3, checksum=True),
        "zstd 5": Zstd(level=5, checksum=True),
        "lz4": LZ4(),
        "blosc zstd 1": Blosc("zstd", 1, NOSHUFFLE, typesize=1),
        "blosc zstd 1 bitshuffle": Blosc("zstd", 1, BITSHUFFLE, typesize=1),
        "blosc lz4 bitshuffle": Blosc("lz4", 1, BITSHUFFLE, typesize=1),
    }
    print(f"{len(crops)} crops of {crops[0].nbytes:,} bytes")
    print(f"{'codec':26}{'stored':>8}{'encode':>10}{'decode':>10}  MB/s")
    for name, codec in codecs.items():
        encoded = [codec.encode(piece) for piece in raw]
        stored = sum(map(len, encoded)) / size
        print(f"{name:26}{stored:8.3f}{speed(codec.encode, raw, size):10.0f}{speed(codec.decode, encoded, size):10.0f}")
    print(f"{'zstd 1, zarrscope':26}{'':8}{speed(lambda piece: ours([memoryview(piece)]), raw, size):10.0f}")
    zstd = codecs["zstd 1"]
    print(f"{'crops a chunk, zstd 1':26}{'stored':>8}{'one crop':>10}  us to decode")
    for together in (1, 2, 4, 8, 16):
        chunks = [b"".join(raw[start : start + together]) for start in range(0, len(raw), together)]
        encoded = [zstd.encode(chunk) for chunk in chunks]
        each = len(chunks[0]) / speed(zstd.decode, encoded, size)
        print(f"{together:<26}{sum(map(len, encoded)) / size:8.3f}{each:10.0f}")


if __name__ == "__main__":
    main()
