"""Take statistics over any number of arrays of pixels, while other threads run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from zarrscope.model import Statistics
from zarrscope.statistics.kernels import KEYS, TOGETHER, float_kernel, integer_kernel, value_kernel
from zarrscope.statistics.measures import by_value

TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64")
_PART = (1 << 32) // (2 * TOGETHER)  # pixels of one array that are taken in at a time
_NONE = np.zeros(0, np.uint64)
_FULL = 2**32 - 1  # a cell of a table is a uint32: half the cache that an int64 would take


class Accumulator:
    """Takes statistics over any number of arrays of one type; for one thread at a time.

    Parameters
    ----------
    dtype
        One of ``TYPES``, in any byte order.

    Raises
    ------
    TypeError
        If the type is none of these.

    Examples
    --------
    >>> accumulator = Accumulator(np.uint8)
    >>> accumulator.add(np.array([[1, 2], [2, 250]], np.uint8))
    >>> accumulator.result().bins, accumulator.result().counts, accumulator.result().sum
    ((1, 2, 250), (1, 2, 1), 255.0)
    """

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._dtype = np.dtype(dtype).newbyteorder("=")
        if self._dtype.name not in TYPES:
            raise TypeError(f"expected pixels of type {', '.join(TYPES)}, found {self._dtype}.")
        self._by_value = by_value(self._dtype)
        self._tables = np.zeros((2, KEYS), np.uint32)
        self._counts = np.zeros(KEYS, np.int64)
        self._pending = 0  # how much a cell of the tables may hold
        self._padding = 0
        self._extremes = (math.inf, -math.inf)
        self._sums: tuple[float, float] = (0, 0)  # ints of any size, or floats

    def add(self, *arrays: npt.NDArray[Any]) -> None:
        """Take in the pixels of arrays of any shape; contiguous ones are not copied. Other threads run meanwhile.

        Many small arrays are best given in one call.

        Raises
        ------
        TypeError
            If an array is of another type.
        """
        parts = [part for pixels in arrays for part in self._parts(pixels)]
        step = TOGETHER if self._by_value else 1
        for first in range(0, len(parts), step):
            some = parts[first : first + step]
            pixels = sum(part.size + 8 for part in some)  # with the padding
            if self._pending + pixels > _FULL:
                self._fold()
            self._pending += pixels
            if self._by_value:
                self._count_values(some)
            else:
                self._count_keys(some[0])

    def _parts(self, pixels: npt.NDArray[Any]) -> Sequence[npt.NDArray[Any]]:
        if pixels.dtype != self._dtype and pixels.dtype.newbyteorder("=") != self._dtype:
            raise TypeError(f"expected pixels of type {self._dtype}, found {pixels.dtype}.")
        flat = np.ascontiguousarray(pixels, self._dtype).reshape(-1)
        return (
            [flat] if 0 < flat.size <= _PART else [flat[start : start + _PART] for start in range(0, flat.size, _PART)]
        )

    def _count_keys(self, flat: npt.NDArray[Any]) -> None:
        if flat.dtype.itemsize == 2:
            flat = flat.astype(np.float32)
        kernel = integer_kernel() if flat.dtype.kind in "iu" else float_kernel()
        low, high, total, *squares = kernel(flat, self._tables[0])
        # Integers come back as sums over halves of their digits, which no number of pixels here overflows.
        square = (squares[0] << 32) + (squares[1] << 17) + squares[2] if len(squares) > 1 else squares[0]
        self._sums = self._sums[0] + total, self._sums[1] + square
        self._extremes = min(self._extremes[0], float(low)), max(self._extremes[1], float(high))

    def _count_values(self, parts: Sequence[npt.NDArray[Any]]) -> None:
        words = []
        for part in parts:
            whole = part.nbytes // 8 * 8
            if whole == part.nbytes:
                words.append(part.view(np.uint64))
                continue
            octets = part.view(np.uint8)
            words.append(octets[:whole].view(np.uint64))
            last = np.zeros(8, np.uint8)  # the last few pixels, and zeros that are taken off again
            last[: octets.size - whole] = octets[whole:]
            self._padding += (8 - (octets.size - whole)) // part.itemsize
            value_kernel()((last.view(np.uint64), *[_NONE] * (TOGETHER - 1)), self._tables)
        value_kernel()((*words, *[_NONE] * (TOGETHER - len(words))), self._tables)

    def _fold(self) -> None:
        self._counts += self._tables.sum(axis=0, dtype=np.int64)
        self._tables[:] = 0
        self._pending = 0

    def result(self) -> Statistics:
        """Give the statistics of all pixels so far."""
        self._fold()
        if not self._by_value:
            bins = np.flatnonzero(self._counts)
            counts = self._counts[bins]
            return Statistics(
                count=int(counts.sum()),
                minimum=self._extremes[0],
                maximum=self._extremes[1],
                sum=float(self._sums[0]),
                sum_of_squares=float(self._sums[1]),
                bins=tuple(bins.tolist()),
                counts=tuple(counts.tolist()),
            )
        return _from_values(*self._values())

    def _values(self) -> tuple[list[int], list[int]]:
        """Give the values that occur, increasing, and how often each does."""
        counts = self._counts.copy()
        if self._dtype.itemsize == 1:  # bytes were counted in pairs: once as the low, once as the high byte of a key
            pairs = counts.reshape(256, 256)
            counts = pairs.sum(axis=0) + pairs.sum(axis=1)
        counts[0] -= self._padding
        if self._dtype.kind == "i":  # in two's complement the upper half of the keys stands for the negative values
            counts = np.roll(counts, len(counts) // 2)
        found = np.flatnonzero(counts)
        first = np.iinfo(self._dtype).min
        return (found + first).tolist(), counts[found].tolist()


def _from_values(values: Sequence[int], counts: Sequence[int]) -> Statistics:
    if not values:
        return Statistics()
    pairs = list(zip(values, counts, strict=True))
    return Statistics(
        count=sum(counts),
        minimum=float(values[0]),
        maximum=float(values[-1]),
        sum=float(sum(value * count for value, count in pairs)),
        sum_of_squares=float(sum(value * value * count for value, count in pairs)),
        bins=tuple(values),
        counts=tuple(counts),
    )
