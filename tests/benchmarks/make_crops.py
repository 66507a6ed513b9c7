"""Write a STED-FM archive of any size, fast: the archive that conversions are timed on.

Names, headers, member sizes and dictionaries are those of the full collection; the content is fluorescence with photon
noise that compresses about as the real crops do. Run it as ``python tests/benchmarks/make_crops.py OUT.tar``.

Three ideas make it fast. Fields of expected light are drawn once, some hundreds of them. Photon noise is one look-up:
the level of the field (256 steps) and a random byte pick a Poisson quantile, already normalised as the picture wants
it. And the bytes around the pixels are the same for all crops of a picture, so ``numpy.savez`` is called once a picture
and only pixels and two checksums are set after that.
"""

from __future__ import annotations

import argparse
import io
import sys
import tarfile
import time
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from math import isqrt, lgamma
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from zarrscope.demo.metadata import Info, full_info
from zarrscope.demo.scenes import SCENES, Scene

FIELDS = 192
FIELD_MARGIN = 160  # pixels that a field is larger than a crop: room to cut it at random
LEVELS = 256  # steps of the field, as the square root of the light: fine where it is dim
NOISE_BYTES = 1 << 23

type Field = tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]


class NpzTemplate:
    """What ``numpy.savez(image=..., metadata=...)`` writes, with the pixels left open."""

    def __init__(self, shape: tuple[int, int], dtype: npt.DTypeLike, metadata: Info) -> None:
        buffer = io.BytesIO()
        blank = np.zeros(shape, dtype)
        np.savez(buffer, image=blank, metadata=np.array(metadata, dtype=object))
        self.content = bytearray(buffer.getvalue())
        with zipfile.ZipFile(buffer) as archive:
            image = archive.infolist()[0]
            directory = archive.start_dir
        name, extra = (int.from_bytes(self.content[at : at + 2], "little") for at in (26, 28))
        start = 30 + name + extra
        self.pixels = slice(start + image.file_size - blank.nbytes, start + image.file_size)
        self.header_crc = zlib.crc32(self.content[start : self.pixels.start])
        # The checksum of a zip member stands in its local header and in the central directory.
        self.crc_places = (14, directory + 16)

    def fill(self, crop: npt.NDArray[np.generic]) -> bytearray:
        """Set the pixels; the bytes are valid until the next call."""
        pixels = crop.tobytes()
        self.content[self.pixels] = pixels
        crc = zlib.crc32(pixels, self.header_crc).to_bytes(4, "little")
        for place in self.crc_places:
            self.content[place : place + 4] = crc
        return self.content


def poisson_quantiles(means: npt.NDArray[np.float64]) -> npt.NDArray[np.uint16]:
    """Give for each mean the Poisson counts at 256 evenly spaced probabilities, ``(means, 256)``."""
    top = int(means.max() + 8 * np.sqrt(means.max()) + 12)
    counts = np.arange(top + 1)
    factorials = np.array([lgamma(count + 1) for count in counts])
    logs = counts * np.log(np.maximum(means, 1e-9))[:, None] - means[:, None] - factorials
    cumulative = np.cumsum(np.exp(logs), axis=1)
    chances = (np.arange(256) + 0.5) / 256
    return np.stack([np.searchsorted(row, chances) for row in cumulative]).astype(np.uint16)


def draw_field(scene: Scene, rng: np.random.Generator, side: int, kind: str) -> Field:
    """Draw one field: 256 times the level of each pixel, ``(side, side)``, and the values by level and noise byte."""
    light = scene.field(rng, (side, side))
    photons = scene.photons * float(np.exp(rng.normal(0, 0.25)))
    steps = np.minimum(np.sqrt(light / max(float(light.max()), 1e-6)) * (LEVELS - 1) + 0.5, LEVELS - 1).astype(
        np.uint16
    )
    means = (np.arange(LEVELS) / (LEVELS - 1)) ** 2 * photons * float(light.max()) + scene.background
    table = poisson_quantiles(means)
    # One exposure of the whole field gives the quantiles that its crops are normalised by.
    whole = table[steps, rng.integers(0, 256, steps.shape, dtype=np.uint8)]
    if kind == "normalised":
        low, high = np.quantile(whole, [0.001, 0.999])
        values = (np.clip((table - low) / max(high - low, 1), 0, 1) * 255).astype(np.uint16)
    else:
        values = np.maximum(table, whole.min()) - whole.min()
    return steps * np.uint16(256), values.ravel()


def pictures(crops: int, per_image: int, size: int, seed: int) -> Iterator[tuple[Info, list[tuple[int, int]]]]:
    """Give each picture's dictionary and the grid places of its crops."""
    columns = max(1, isqrt(per_image))
    for number, done in enumerate(range(0, crops, per_image)):
        count = min(per_image, crops - done)
        places = [(place // columns * size, place % columns * size) for place in range(count)]
        shape = (-(-per_image // columns) * size - number % size, columns * size - number * 7 % size)
        shape = (max(shape[0], size + 1), max(shape[1], size + 1))
        source = f"benchmark-{seed}/cell_{number:06d}.msr"
        info = full_info(np.random.default_rng([seed, number]), source, number, 0, shape)
        yield info | {"image-id": str(uuid.uuid3(uuid.NAMESPACE_DNS, source))}, places


def write(out: BinaryIO, *, crops: int, size: int, seed: int, per_image: int, kind: str) -> int:
    """Stream an archive of ``crops`` members and return its size in bytes; memory does not grow with their number."""
    dtype = np.dtype(np.uint8 if kind == "normalised" else np.uint16)
    rng = np.random.default_rng([seed, 7])
    scenes = list(SCENES.values())
    wanted = min(FIELDS, -(-crops // per_image))
    fields = [draw_field(scenes[k % len(scenes)], rng, size + FIELD_MARGIN, kind) for k in range(wanted)]
    noise = rng.integers(0, 256, NOISE_BYTES, dtype=np.uint8)
    total = 0
    for number, (info, places) in enumerate(pictures(crops, per_image, size, seed)):
        steps, values = fields[number % wanted]
        values = values.astype(dtype)
        template = NpzTemplate((size, size), dtype, info)
        corners = rng.integers(0, FIELD_MARGIN, (len(places), 2)).tolist()
        starts = rng.integers(0, NOISE_BYTES - size * size, len(places)).tolist()
        for (j, i), (y, x), start in zip(places, corners, starts, strict=True):
            index = steps[y : y + size, x : x + size] | noise[start : start + size * size].reshape(size, size)
            content = template.fill(values[index])
            header = tarfile.TarInfo(f"{info['image-id']}-{j}-{i}")
            header.size = len(content)
            padding = bytes(-len(content) % tarfile.BLOCKSIZE)
            total += out.write(header.tobuf(tarfile.DEFAULT_FORMAT)) + out.write(content) + out.write(padding)
    end = 2 * tarfile.BLOCKSIZE
    return total + out.write(bytes(end + -(total + end) % tarfile.RECORDSIZE))


def main() -> None:
    """Write the archive that the command line asks for, and say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT.tar")
    parser.add_argument("--crops", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=224, help="side of a crop in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--per-image", type=int, default=26)
    parser.add_argument("--kind", choices=["normalised", "raw"], default="normalised")
    options = parser.parse_args()
    if min(options.crops, options.per_image) < 1 or not 8 <= options.size <= 2048:
        parser.error("expected --crops and --per-image of at least 1, and --size from 8 to 2048")
    begin = time.perf_counter()
    with options.out.open("wb", buffering=1 << 20) as out:
        size = write(
            out,
            crops=options.crops,
            size=options.size,
            seed=options.seed,
            per_image=options.per_image,
            kind=options.kind,
        )
    seconds = time.perf_counter() - begin
    sys.stderr.write(f"{options.crops:,} crops, {size:,} bytes, {seconds:.1f} s ({options.crops / seconds:,.0f}/s)\n")


if __name__ == "__main__":
    main()
