"""What statistics say: merging, mean, standard deviation, percentiles, and the edges of the bins."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from zarrscope.model import Statistics
from zarrscope.statistics.kernels import KEYS


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
    """Give the standard deviation of the pixels as the whole population; NaN without pixels, or if a sum overflowed.

    The sum of squares is kept as a float64: a spread below 1e-8 of the values themselves is lost.
    """
    count, total, squares = statistics.count, statistics.sum, statistics.sum_of_squares
    if not count or not math.isfinite(total) or not math.isfinite(squares):
        return math.nan
    # In floats the difference of two large numbers would lose what matters of it.
    variance = (count * Fraction(squares) - Fraction(total) ** 2) / count**2
    return math.sqrt(max(float(variance), 0.0))


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
    if by_value(np.dtype(dtype)):
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
    if by_value(np.dtype(dtype)):
        return keys.astype(np.float64), (keys + 1).astype(np.float64)
    below = keys < KEYS // 2
    inner = np.where(below, KEYS // 2 - 1 - keys, keys - KEYS // 2)  # the upper half of the bits of the absolute value
    near, far = ((half << 16).astype(np.uint32).view(np.float32) for half in (inner, inner + 1))
    far = np.minimum(far, np.finfo(np.float32).max)
    lower, upper = np.where(below, -far, near), np.where(below, -near, far)
    return lower.astype(np.float64), upper.astype(np.float64)


def by_value(dtype: np.dtype[Any]) -> bool:
    """Tell whether the pixels of a type are counted by value, rather than by the key of a float32."""
    return dtype.kind in "iu" and dtype.itemsize <= 2


def _total(parts: Iterable[float]) -> float:
    listed = list(parts)
    try:
        return math.fsum(listed)
    except (OverflowError, ValueError):  # a sum beyond the range of float64, or infinities of both signs
        return sum(listed)
