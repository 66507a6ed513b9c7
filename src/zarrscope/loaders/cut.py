"""Many squares of one image as one array: each chunk of the image is read once for all squares of a read.

Chunks come in runs of neighbours, in parallel, and are let go once each square has its part of them. A read holds the
squares as they lie in the image, which is at most four times what it gives back (and a pixel around each).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, product
from typing import Any

import numpy as np
import numpy.typing as npt

from zarrscope.loaders.chunking import normalise
from zarrscope.loaders.resample import Taps, resample, taps
from zarrscope.loaders.shards import ShardedArray
from zarrscope.loaders.threads import each

type Pixels = npt.NDArray[Any]

_RUN = 8  # chunks that are read together: 6 MB of RGB


@dataclass(frozen=True, slots=True, kw_only=True)
class Square:
    """What is cut out: ``size`` pixels along each side, each ``step`` pixels of the image wide."""

    size: int
    step: float

    def low(self, centre: float) -> float:
        """Give where a square begins along an axis; where pixels are equally large it begins with a whole one."""
        low = centre - self.size * self.step / 2
        return math.ceil(low - 0.5) if self.step == 1 else low


@dataclass(frozen=True, slots=True, eq=False)
class _Window:
    """One square: its place in the result, its taps along y and x, and its pixels as they lie in the image."""

    place: int
    rows: Taps
    columns: Taps
    pixels: Pixels


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """Chunks side by side in one shard, and the windows that take from them: ``y``, ``x`` are pixels of the image."""

    shard: tuple[int, int]
    y: slice
    x: slice
    windows: list[_Window]


class Squares:
    """An array ``(n, c, size, size)``: nothing is read until asked for. Safe in threads and, pickled, elsewhere.

    Parameters
    ----------
    array
        One level of an image, ``(c, y, x)``.
    centres
        ``(n, 2)`` y and x of the centre of each square, from the outer edge of the first pixel; NaN where it has none:
        such a square is all ``fill``.
    square
        What is cut out around each.
    fill
        What lies beyond the image.
    remote
        Whether each read of the array is a request.
    """

    def __init__(
        self, array: ShardedArray, centres: npt.NDArray[np.float64], square: Square, fill: float, *, remote: bool
    ) -> None:
        self._array, self._centres, self._square, self._fill, self._remote = array, centres, square, fill, remote
        self.shape = (len(centres), array.shape[0], square.size, square.size)
        self.dtype = array.dtype
        self.ndim = 4

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        """Let dask name these squares without pickling them."""
        places = hashlib.sha256(np.ascontiguousarray(self._centres).tobytes()).hexdigest()
        return "zarrscope-squares", self._array.token, places, self._square.size, self._square.step, self._fill

    def __getitem__(self, key: Any) -> Pixels:
        """Read a selection: an integer, a slice or an array of integers an axis, each along its own axis."""
        selects, dropped = normalise(key, self.shape)
        rows = np.arange(len(self._centres))[selects[0]]
        pixels = self._cut(rows)
        for axis, select in enumerate(selects[1:], 1):
            pixels = pixels[(*[slice(None)] * axis, select)]
        return pixels[tuple(0 if axis in dropped else slice(None) for axis in range(self.ndim))]

    def _cut(self, rows: npt.NDArray[np.int64]) -> Pixels:
        out = np.full((len(rows), *self.shape[1:]), self._fill, self.dtype)
        windows = list(self._windows(rows))
        first, others = dict[tuple[int, int], _Run](), list[_Run]()
        for run in self._runs(windows):
            if first.setdefault(run.shard, run) is not run:
                others.append(run)
        # The first read of a shard keeps its index, so that the others need not ask for it.
        for some in (list(first.values()), others):
            each(self._take, some, remote=self._remote)
        each(lambda one: resample(one.pixels, one.rows, one.columns, self._fill, out[one.place]), windows, remote=False)
        return out

    def _windows(self, rows: npt.NDArray[np.int64]) -> Iterator[_Window]:
        """Give the squares that have a place and touch the image."""
        (channels, *lengths), square = self._array.shape, self._square
        for place, centre in enumerate(self._centres[rows].tolist()):
            if not all(map(math.isfinite, centre)):
                continue
            y, x = (
                taps(square.low(middle), square.step, square.size, length)
                for middle, length in zip(centre, lengths, strict=True)
            )
            if y.stop and x.stop:
                yield _Window(place, y, x, np.empty((channels, y.stop - y.start, x.stop - x.start), self.dtype))

    def _runs(self, windows: list[_Window]) -> list[_Run]:
        """Group the chunks that windows touch into runs along x, none of which lies in two shards."""
        (_, high, wide), (_, height, width) = self._array.chunks, self._array.shape
        touching: dict[tuple[int, int], list[_Window]] = {}
        for one in windows:
            down = range(one.rows.start // high, -(-one.rows.stop // high))
            across = range(one.columns.start // wide, -(-one.columns.stop // wide))
            for chunk in product(down, across):
                touching.setdefault(chunk, []).append(one)
        deep, per_shard = self._array.shards[1] // high, self._array.shards[2] // wide
        runs = []
        for row, chunks in groupby(sorted(touching), key=lambda chunk: chunk[0]):
            columns = [column for _, column in chunks]
            # Neighbours differ from their rank by the same number.
            runs_of = groupby(
                enumerate(columns), key=lambda one: (one[1] - one[0], one[1] // per_shard, one[1] // _RUN)
            )
            for (_, shard, _), some in runs_of:
                here = [column for _, column in some]
                inside = {id(one): one for column in here for one in touching[row, column]}
                y = slice(row * high, min(height, (row + 1) * high))
                x = slice(here[0] * wide, min(width, (here[-1] + 1) * wide))
                runs.append(_Run((row // deep, shard), y, x, list(inside.values())))
        return runs

    def _take(self, run: _Run) -> None:
        """Read a run of chunks and hand each window its part."""
        pixels = self._array.read((slice(None), run.y, run.x))
        for one in run.windows:
            y = slice(max(run.y.start, one.rows.start), min(run.y.stop, one.rows.stop))
            x = slice(max(run.x.start, one.columns.start), min(run.x.stop, one.columns.stop))
            one.pixels[
                :,
                y.start - one.rows.start : y.stop - one.rows.start,
                x.start - one.columns.start : x.stop - one.columns.start,
            ] = pixels[:, y.start - run.y.start : y.stop - run.y.start, x.start - run.x.start : x.stop - run.x.start]
