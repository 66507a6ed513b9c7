"""One large picture that arrives as bands of rows becomes a sharded OME-Zarr pyramid: one pass, bounded memory.

The calling thread reads the bands, which is where sources decode; all else happens in ``workers`` other threads.
Bands are cut into **strips**, one row of chunks each. A strip is encoded, measured, and added up into the strips of
the coarser levels (:mod:`zarrscope.writers.downsample`). Encoded chunks go into the shards that are open, one row of
shards a level, and a shard whose last chunk came is put and forgotten.

So memory holds a few strips of pixels and a row of shards as encoded; the rows of all coarser levels together take as
much again as the finest. Both grow with the width and not with the height, which is why shards are four times as wide
as they are high: 240 of them hold the finest level of a slide of 75,000 x 49,000 pixels. Measured on noise, which does
not compress, 60,000 pixels of RGB wide: a peak of 1.3 GB, against 2.0 GB with square shards as large. A chunk holds all
channels of its square, since viewers show colour only then.

Strips and groups of chunks follow from the shape alone, and are taken in their order: the bytes depend neither on the
number of workers nor on the heights of the bands.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xxhash

from zarrscope.errors import DecodeError, LayoutError
from zarrscope.model import Axis, Image, Statistics
from zarrscope.statistics import Accumulator
from zarrscope.writers.assembly import Assembly, Encoded, Put, Shard
from zarrscope.writers.codec import Encode
from zarrscope.writers.downsample import TYPES, Cascade, Pixels, Strips
from zarrscope.writers.image import level_shape

COARSEST = 512  # pixels: both sides of the coarsest level are below
CHUNK = 512  # rows and columns: 786 kB of RGB, which compresses to within 2 % of what four times as much does
SHARD = (2048, 8192)  # rows, columns: 50 MB of RGB before encoding
_TOGETHER = 4  # chunks encoded in one call


def pyramid_image(
    path: str,
    *,
    height: int,
    width: int,
    channels: int,
    dtype: npt.DTypeLike,
    role: str = "image",
    name: str = "",
    scale: float = 1.0,
    unit: str | None = None,
    chunk: int = CHUNK,
    shard: tuple[int, int] = SHARD,
) -> Image:
    """Declare a pyramid ``(c, y, x)``, with levels until both sides are below 512 pixels.

    Parameters
    ----------
    path, role, name
        As for :class:`Image`.
    height, width, channels, dtype
        Of the picture; the type is one of ``zarrscope.writers.downsample.TYPES``.
    scale, unit
        The side of a pixel of the finest level; without a unit it means nothing, and is 1.
    chunk, shard
        Rows and columns of a chunk, and of a shard.

    Raises
    ------
    LayoutError
        If a size is not positive, the type is none of these, or the shard is no multiple of the chunk.
    """
    kind = np.dtype(dtype)
    if min(height, width, channels, chunk, *shard) < 1:
        raise LayoutError(f"{path}: expected sizes above nought, found {channels} x {height} x {width} pixels.")
    if kind.name not in TYPES:
        raise LayoutError(f"{path}: expected pixels of type {', '.join(TYPES)}, found {kind.name}.")
    if any(size % chunk for size in shard):
        raise LayoutError(f"{path}: shards of {shard} are no multiple of chunks of {chunk} x {chunk}.")
    levels = 1
    while -(-max(height, width) >> (levels - 1)) >= COARSEST:
        levels += 1
    return Image(
        path=path,
        role=role,
        axes=(
            Axis(name="c", size=channels, type="channel"),
            Axis(name="y", size=height, type="space", unit=unit, scale=scale),
            Axis(name="x", size=width, type="space", unit=unit, scale=scale),
        ),
        dtype=kind.name,
        chunks=(channels, chunk, chunk),
        shards=(channels, *shard),
        levels=levels,
        name=name,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pyramid:
    """What is known of a pyramid that was written: its shards, by level, row and column, and statistics by channel."""

    shards: tuple[Shard, ...]
    statistics: tuple[Statistics, ...]


def write_pyramid(image: Image, bands: Iterable[Pixels], encode: Encode, put: Put, *, workers: int = 2) -> Pyramid:
    """Write a picture and all its coarser levels in one pass.

    Parameters
    ----------
    image
        What :func:`pyramid_image` gave.
    bands
        The picture from top to bottom: ``(rows, x, c)`` each, any number of rows. Pixels are copied before the next
        band is asked for, in the calling thread.
    encode
        :meth:`Codec.encoder`.
    put
        Called once a shard, with its key below the image's group (``0/c/0/3/5``) and its bytes, which are valid
        during the call; from several threads at once, in no particular order.
    workers
        Threads beside the calling one.

    Raises
    ------
    DecodeError
        If a band, or all bands together, do not have the shape and type of the image.

    Whatever ``bands``, ``encode`` or ``put`` raises is raised here, once the calls under way have ended. Nothing but
    whole shards is ever put.
    """
    pool = ThreadPoolExecutor(workers, "zarrscope-pyramid")
    try:
        return _Writer(image, encode, put, pool, workers).write(bands)
    finally:
        pool.shutdown(cancel_futures=True)


class _Writer:
    """One pass. Only the calling thread looks at open shards; only one thread at a time adds up and measures."""

    def __init__(self, image: Image, encode: Encode, put: Put, pool: ThreadPoolExecutor, workers: int) -> None:
        self._encode, self._put, self._pool = encode, put, pool
        self._dtype, self._padded = np.dtype(image.dtype), image.chunks
        self._shapes = [level_shape(image, level) for level in range(image.levels)]
        self._chunk = image.chunks[1]
        self._per_shard = image.shards[2] // self._chunk  # columns of chunks
        self._strips = [Strips(shape, self._dtype, self._chunk) for shape in self._shapes]
        self._rows = [0] * image.levels  # strips of each level that were handed to be encoded
        channels, height, width = self._shapes[0]
        self._cascade = Cascade((channels, height, width), self._dtype, image.levels)
        self._statistics = [Accumulator(self._dtype) for _ in range(channels)]
        self._encoding: deque[tuple[int, int, int, Future[list[Encoded]]]] = deque()
        self._putting: deque[Future[Shard]] = deque()
        self._assembly = Assembly(image, encode)
        self._done: list[Shard] = []
        # Enough under way that nobody waits while a band is decoded, and little more: each holds on to its strip.
        self._most = max(2 * -(-width // (self._chunk * _TOGETHER)), 2 * workers)
        self._most_put = 2 * workers

    def write(self, bands: Iterable[Pixels]) -> Pyramid:
        below: Future[list[tuple[int, Pixels]]] | None = None
        for rows in self._checked(bands):
            for strip in self._strips[0].cut(rows):
                coarser = below.result() if below is not None else []
                below = self._pool.submit(self._descend, strip)
                for level, one in (*coarser, (0, strip)):
                    self._hand_out(level, one)
        for level, one in below.result() if below is not None else []:
            self._hand_out(level, one)
        self._settle(0, 0)
        return Pyramid(
            shards=tuple(sorted(self._done, key=lambda shard: shard.place)),
            statistics=tuple(one.result() for one in self._statistics),
        )

    def _checked(self, bands: Iterable[Pixels]) -> Iterator[Pixels]:
        """Give bands as ``(c, rows, x)``, and see that they make up the picture."""
        channels, height, width = self._shapes[0]
        seen = 0
        for band in bands:
            if band.ndim != 3 or band.shape[1:] != (width, channels) or band.dtype.newbyteorder("=") != self._dtype:
                raise DecodeError(
                    f"expected rows of {width} pixels of {channels} channels of {self._dtype.name}, found a band of "
                    f"{band.dtype.name} {band.shape}."
                )
            seen += len(band)
            if seen > height:
                raise DecodeError(f"expected {height} rows of pixels, found at least {seen}.")
            yield band.transpose(2, 0, 1)
        if seen < height:
            raise DecodeError(f"expected {height} rows of pixels, found {seen}.")

    def _descend(self, strip: Pixels) -> list[tuple[int, Pixels]]:
        """Measure a strip of the finest level, and give the strips of coarser ones that it completes."""
        for channel, statistics in zip(strip, self._statistics, strict=True):
            statistics.add(channel)
        return [(level, one) for level, rows in self._cascade.push(strip) for one in self._strips[level].cut(rows)]

    def _hand_out(self, level: int, strip: Pixels) -> None:
        """Have a strip encoded, a few chunks a call, none of which lie in two shards."""
        row, self._rows[level] = self._rows[level], self._rows[level] + 1
        columns, per_shard = -(-strip.shape[2] // self._chunk), self._per_shard
        for first in range(0, columns, per_shard):
            stop = min(first + per_shard, columns)
            for start in range(first, stop, _TOGETHER):
                future = self._pool.submit(self._chunks, strip, range(start, min(start + _TOGETHER, stop)))
                self._encoding.append((level, row, start, future))
        self._settle(self._most, self._most_put)

    def _chunks(self, strip: Pixels, columns: range) -> list[Encoded]:
        """Encode some chunks of a strip; give each with the digest of its pixels. Short ones are padded with zeros."""
        digests, chunks = list[bytes](), list[memoryview]()
        for column in columns:
            part = strip[:, :, column * self._chunk : (column + 1) * self._chunk]
            pixels = np.ascontiguousarray(part, self._dtype.newbyteorder("<"))
            digests.append(xxhash.xxh3_128_digest(pixels.data))
            if pixels.shape != self._padded:
                padded = np.zeros(self._padded, pixels.dtype)
                padded[:, : pixels.shape[1], : pixels.shape[2]] = pixels
                pixels = padded
            chunks.append(pixels.data)
        return list(zip(digests, self._encode(chunks), strict=True))

    def _settle(self, encoding: int, putting: int) -> None:
        """Wait until no more than so many calls are under way, the oldest first."""
        while len(self._encoding) > encoding:
            level, row, start, future = self._encoding.popleft()
            shard = self._assembly.take(level, row, start, future.result())
            if shard is not None:
                self._putting.append(self._pool.submit(shard.finish, self._put))
        while len(self._putting) > putting:
            self._done.append(self._putting.popleft().result())
