"""Exact statistics over pixels: sums and a histogram that can be taken shard by shard and merged.

Integers of up to 16 bits are counted by value, so that everything else (extremes, sums, percentiles) follows exactly
from the counts. Other types are counted by a key of 16 bits that increases with the value: the upper half of the
float32 nearest to it, which puts 128 bins into each doubling, a relative width of at most 0.8 %.

NaN and infinities are left out of everything: ``Statistics.count`` says how many pixels are finite.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from zarrscope.model import Statistics

TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64")
_KEYS = 1 << 16
_FULL = 2**32 - 1  # a cell of a table is a uint32: half the cache that an int64 would take
_PART = 1 << 30  # pixels that are taken in at a time


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
        self._by_value = _by_value(self._dtype)
        self._tables = np.zeros((2, _KEYS), np.uint32)
        self._counts = np.zeros(_KEYS, np.int64)
        self._pending = 0  # how much a cell of the tables may hold
        self._padding = 0
        self._extremes = (math.inf, -math.inf)
        self._sums: tuple[float, float] = (0, 0)  # ints of any size, or floats

    def add(self, pixels: npt.NDArray[Any]) -> None:
        """Take in the pixels of an array of any shape; contiguous arrays are not copied. Other threads run meanwhile.

        Raises
        ------
        TypeError
            If the array is of another type.
        """
        if pixels.dtype.newbyteorder("=") != self._dtype:
            raise TypeError(f"expected pixels of type {self._dtype}, found {pixels.dtype}.")
        flat = np.ascontiguousarray(pixels, self._dtype).reshape(-1)
        for start in range(0, flat.size, _PART):
            part = flat[start : start + _PART]
            if self._pending + _PART > _FULL:
                self._fold()
            self._pending += part.size + 8  # with the padding
            if self._by_value:
                self._count_values(part)
            else:
                self._count_keys(part)

    def _count_keys(self, flat: npt.NDArray[Any]) -> None:
        if flat.dtype.itemsize == 2:
            flat = flat.astype(np.float32)
        kernel = _integer_kernel() if flat.dtype.kind in "iu" else _float_kernel()
        low, high, total, *squares = kernel(flat, self._tables[0])
        # Integers come back as sums over halves of their digits, which no number of pixels here overflows.
        square = (squares[0] << 32) + (squares[1] << 17) + squares[2] if len(squares) > 1 else squares[0]
        self._sums = self._sums[0] + total, self._sums[1] + square
        self._extremes = min(self._extremes[0], float(low)), max(self._extremes[1], float(high))

    def _count_values(self, flat: npt.NDArray[Any]) -> None:
        octets = flat.view(np.uint8)
        whole = octets.size // 8 * 8
        kernel = _value_kernel()
        kernel(octets[:whole].view(np.uint64), self._tables)
        if whole < octets.size:  # the last few pixels, and zeros that are taken off again
            last = np.zeros(8, np.uint8)
            last[: octets.size - whole] = octets[whole:]
            kernel(last.view(np.uint64), self._tables)
            self._padding += (8 - (octets.size - whole)) // flat.itemsize

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


def merge(statistics: Iterable[Statistics]) -> Statistics:
    """Put statistics of disjoint pixels of one type together.

    Counts and extremes are exact. Sums are added without error and rounded once, so the order does not matter, and for
    integers the result is that of taking all pixels at once wherever the sums are below 2**53.
    """
    parts = [part for part in statistics if part.count]
    counts: dict[int, int] = {}
    for part in parts:
        for key, count in zip(part.bins, part.counts, strict=True):
            counts[key] = counts.get(key, 0) + count
    keys = sorted(counts)
    return Statistics(
        count=sum(part.count for part in parts),
        minimum=min((part.minimum for part in parts), default=math.inf),
        maximum=max((part.maximum for part in parts), default=-math.inf),
        sum=_total(part.sum for part in parts),
        sum_of_squares=_total(part.sum_of_squares for part in parts),
        bins=tuple(keys),
        counts=tuple(counts[key] for key in keys),
    )


def mean(statistics: Statistics) -> float:
    """Give the mean; NaN without pixels."""
    return statistics.sum / statistics.count if statistics.count else math.nan


def std(statistics: Statistics) -> float:
    """Give the standard deviation of the pixels as the whole population; NaN without pixels, or if a sum overflowed."""
    count, total, squares = statistics.count, statistics.sum, statistics.sum_of_squares
    if not count or not math.isfinite(total) or not math.isfinite(squares):
        return math.nan
    # In floats the difference of two large numbers would lose what matters of it.
    variance = (count * Fraction(squares) - Fraction(total) ** 2) / count**2
    return math.sqrt(max(variance, 0))


@overload
def percentile(statistics: Statistics, dtype: npt.DTypeLike, q: float) -> float: ...
@overload
def percentile(statistics: Statistics, dtype: npt.DTypeLike, q: Sequence[float]) -> list[float]: ...
def percentile(statistics: Statistics, dtype: npt.DTypeLike, q: float | Sequence[float]) -> float | list[float]:
    """Give percentiles, as ``np.percentile`` with its default method ``linear``.

    Exact for integers of up to 16 bits. For other types pixels are taken to lie evenly within their bin, so a
    percentile is off by at most a bin's width, 0.8 % of its value; 0 and 100 are exact.

    Parameters
    ----------
    statistics, dtype
        What :meth:`Accumulator.result` or :func:`merge` gave, and the type of the pixels.
    q
        From 0 to 100.

    Returns
    -------
    A float for a number, a list for a sequence; NaN without pixels.
    """
    if isinstance(q, Sequence):
        return [percentile(statistics, dtype, one) for one in q]
    if not 0 <= q <= 100:
        raise ValueError(f"expected percentiles from 0 to 100, found {q}.")
    if not statistics.count:
        return math.nan
    place = (statistics.count - 1) * (q / 100)
    below = math.floor(place)
    lower = _ranked(statistics, dtype, below)
    upper = _ranked(statistics, dtype, min(below + 1, statistics.count - 1))
    return lower + (upper - lower) * (place - below)


def _ranked(statistics: Statistics, dtype: npt.DTypeLike, rank: int) -> float:
    """Give the pixel of a rank in increasing order, from 0."""
    if rank == 0:
        return float(statistics.minimum)
    if rank == statistics.count - 1:
        return float(statistics.maximum)
    ends = np.cumsum(statistics.counts)
    found = int(np.searchsorted(ends, rank, side="right"))
    if _by_value(np.dtype(dtype)):
        return float(statistics.bins[found])
    low, high = (float(edge[0]) for edge in edges(dtype, statistics.bins[found : found + 1]))
    within = (rank - int(ends[found]) + statistics.counts[found] + 0.5) / statistics.counts[found]
    return min(max(low + (high - low) * within, statistics.minimum), statistics.maximum)


def edges(dtype: npt.DTypeLike, bins: Sequence[int]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Give the lower and the upper edge of bins, ``(n,)`` each, in pixel values.

    The bin of an integer of up to 16 bits ends where that of the next integer starts. A bin of a float32 above zero
    holds its lower edge, one below zero its upper edge; the other types are rounded to float32 first, and a float64
    beyond the range of float32 is counted in the outermost bin.

    Examples
    --------
    >>> [edge.tolist() for edge in edges(np.float32, [0xBF80])]
    [[1.0], [1.0078125]]
    """
    keys = np.asarray(bins, np.int64)
    if _by_value(np.dtype(dtype)):
        return keys.astype(np.float64), keys + 1.0
    below = keys < _KEYS // 2
    inner = np.where(
        below, _KEYS // 2 - 1 - keys, keys - _KEYS // 2
    )  # the upper half of the bits of the absolute value
    limit = float(np.finfo(np.float32).max)
    near, far = ((half << 16).astype(np.uint32).view(np.float32).astype(np.float64) for half in (inner, inner + 1))
    far = np.minimum(far, limit)
    return np.where(below, -far, near), np.where(below, -near, far)


def _by_value(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iu" and dtype.itemsize <= 2


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


def _total(parts: Iterable[float]) -> float:
    listed = list(parts)
    try:
        return math.fsum(listed)
    except (OverflowError, ValueError):  # a sum beyond the range of float64, or infinities of both signs
        return sum(listed)


def _compile(signatures: list[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile for arrays that may be read-only and at any address, as views of archives are."""
    import numba

    def decorate(kernel: Callable[..., Any]) -> Callable[..., Any]:
        try:
            compiled: Callable[..., Any] = numba.njit(signatures, nogil=True, cache=True)(kernel)
        except RuntimeError:  # there is no folder in which numba may keep what it compiles
            compiled = numba.njit(signatures, nogil=True)(kernel)
        return compiled

    return decorate


@functools.cache
def _value_kernel() -> Callable[..., Any]:
    """Count the 16-bit keys in words of eight bytes: one uint16 pixel or two uint8 pixels are one key.

    Counting bytes in pairs halves the increments, and increments (one store a cycle) are what counting costs. Two
    tables take turns, so that equal neighbours don't wait for each other's store.
    """
    from numba import types

    words = types.Array(types.uint64, 1, "C", readonly=True, aligned=False)

    @_compile([types.void(words, types.uint32[:, ::1])])
    def count(words: Any, tables: Any) -> None:
        one, key = np.uint32(1), np.uint64(0xFFFF)
        even, odd = np.uint64(0), np.uint64(1)
        for index in range(words.size):
            word = words[index]
            tables[even, word & key] += one
            tables[odd, (word >> np.uint64(16)) & key] += one
            tables[even, (word >> np.uint64(32)) & key] += one
            tables[odd, word >> np.uint64(48)] += one

    return count


@functools.cache
def _float_kernel() -> Callable[..., Any]:
    """Sum float32 or float64 pixels in float64, in their order, and count their keys."""
    from numba import types

    arrays = [types.Array(kind, 1, "C", readonly=True, aligned=False) for kind in (types.float32, types.float64)]
    result = types.UniTuple(types.float64, 4)

    @_compile([result(array, types.uint32[::1]) for array in arrays])
    def count(pixels: Any, table: Any) -> Any:
        low, high, total, squares = np.inf, -np.inf, 0.0, 0.0
        for index in range(pixels.size):
            value = np.float64(pixels[index])
            if np.isfinite(value):
                low, high = min(low, value), max(high, value)
                total += value
                squares += value * value
                bits = np.float32(value + 0.0).view(np.uint32)  # -0.0 becomes 0.0
                bits = ~bits if bits >> np.uint32(31) else bits | np.uint32(0x80000000)
                # A float64 may round to infinity: it stays with the largest finite float32 of its sign.
                table[min(max(bits >> np.uint32(16), np.uint32(0x0080)), np.uint32(0xFF7F))] += np.uint32(1)
        return low, high, total, squares

    return count


@functools.cache
def _integer_kernel() -> Callable[..., Any]:
    """Sum uint32 or int32 pixels exactly, their squares by halves of 16 bits, and count their keys as float32."""
    from numba import types

    arrays = [types.Array(kind, 1, "C", readonly=True, aligned=False) for kind in (types.uint32, types.int32)]
    result = types.Tuple((types.int64, types.int64, types.int64, types.uint64, types.uint64, types.uint64))

    @_compile([result(array, types.uint32[::1]) for array in arrays])
    def count(pixels: Any, table: Any) -> Any:
        low = high = np.int64(pixels[0])
        total = np.int64(0)
        squares, products, rest = np.uint64(0), np.uint64(0), np.uint64(0)
        for index in range(pixels.size):
            value = np.int64(pixels[index])
            low, high = min(low, value), max(high, value)
            total += value
            size = np.uint64(abs(value))
            upper, lower = size >> np.uint64(16), size & np.uint64(0xFFFF)
            squares += upper * upper
            products += upper * lower
            rest += lower * lower
            bits = np.float32(value).view(np.uint32)
            bits = ~bits if bits >> np.uint32(31) else bits | np.uint32(0x80000000)
            table[bits >> np.uint32(16)] += np.uint32(1)
        return low, high, total, squares, products, rest

    return count
