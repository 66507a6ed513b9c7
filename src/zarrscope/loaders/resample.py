"""A square cut out of an image and brought to a size: exact means where pixels shrink, straight lines where they grow.

Both are sums of a few pixels along each axis, and the weights of an axis do not depend on the other: so one small
table an axis tells which pixels make an output pixel, and one loop applies both. Positions along an axis are counted
from the outer edge of the first pixel: pixel ``i`` covers ``i`` to ``i + 1``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from zarrscope.compiled import jit

type Pixels = npt.NDArray[Any]
type Floats = npt.NDArray[np.float64]


class Taps(NamedTuple):
    """Which pixels of an axis make each pixel of the output.

    ``start`` to ``stop`` are read. ``pixel`` and ``weight``, ``(size, k)``, are the pixels, counted from ``start``, and
    their shares; ``outside``, ``(size,)``, is the share of what lies beyond the image. Nothing is read where the whole
    square lies beyond it.
    """

    start: int
    stop: int
    pixel: npt.NDArray[np.int64]
    weight: Floats
    outside: Floats


def taps(low: float, step: float, size: int, length: int) -> Taps:
    """Find the pixels of one axis.

    Parameters
    ----------
    low
        Where the square begins, in pixels of the axis.
    step
        How many pixels of the axis make one of the output. From 1 on each output pixel is the mean of what it covers,
        below 1 it lies on the straight line between the centres of its two neighbours.
    size
        Pixels of the output.
    length
        Pixels of the axis.

    Examples
    --------
    >>> found = taps(0.5, 1.5, 2, 4)
    >>> (found.start, found.stop), found.weight.round(3).tolist()
    ((0, 4), [[0.333, 0.667, 0.0], [0.667, 0.333, 0.0]])
    """
    places = np.arange(size)
    if step >= 1:
        begin = low + step * places
        first = np.floor(begin)
        at = first[:, None] + np.arange(int(np.ceil(step)) + 1)
        ends = np.minimum((low + step * (places + 1))[:, None], at + 1)
        weight = np.clip(ends - np.maximum(begin[:, None], at), 0, None) / step
    else:
        centre = low + step * (places + 0.5) - 0.5
        first = np.floor(centre)
        at = first[:, None] + np.arange(2)
        weight = np.stack([1 - (centre - first), centre - first], axis=1)
    inside = (at >= 0) & (at < length)
    outside = np.where(inside, 0, weight).sum(axis=1)
    used = inside & (weight > 0)
    if not used.any():
        return Taps(0, 0, np.zeros(at.shape, np.int64), np.zeros(at.shape), np.ones(size))
    start, stop = int(at[used].min()), int(at[used].max()) + 1
    pixel = np.clip(at - start, 0, stop - start - 1).astype(np.int64)
    return Taps(start, stop, pixel, np.where(used, weight, 0.0), outside)


def resample(window: Pixels, rows: Taps, columns: Taps, fill: float, out: Pixels) -> None:
    """Bring a window to size; integers are rounded to the nearest, halves up.

    Parameters
    ----------
    window
        ``(c, y, x)``, contiguous: the rows ``rows.start`` to ``rows.stop`` and likewise the columns of an image.
    fill
        What lies beyond the image.
    out
        ``(c, size, size)`` of the same type.
    """
    _kernel(window.dtype.name)(window, *rows[2:], *columns[2:], fill, out)


@functools.cache
def _kernel(name: str) -> Callable[..., None]:
    """Compile the loop for a type of pixels; it holds no lock while it runs."""
    from numba import from_dtype, types

    pixel = from_dtype(np.dtype(name))
    axis = types.Array(types.int64, 2, "C"), types.Array(types.float64, 2, "C"), types.Array(types.float64, 1, "C")
    window = types.Array(pixel, 3, "C", readonly=True, aligned=False)
    half = 0.0 if np.dtype(name).kind == "f" else 0.5

    @jit([types.void(window, *axis, *axis, types.float64, types.Array(pixel, 3, "C"))])
    def loop(
        window: Any, y: Any, y_weight: Any, y_outside: Any, x: Any, x_weight: Any, x_outside: Any, fill: Any, out: Any
    ) -> None:
        line = np.empty(window.shape[2])
        for channel in range(window.shape[0]):
            for row in range(out.shape[1]):
                # No weight, no value: zero times NaN would be NaN.
                line[:] = fill * y_outside[row] if y_outside[row] > 0 else 0.0
                for tap in range(y.shape[1]):
                    share = y_weight[row, tap]
                    if share > 0:
                        taken = window[channel, y[row, tap]]
                        for column in range(line.size):
                            line[column] += share * taken[column]
                for column in range(out.shape[2]):
                    value = fill * x_outside[column] if x_outside[column] > 0 else 0.0
                    for tap in range(x.shape[1]):
                        share = x_weight[column, tap]
                        if share > 0:
                            value += share * line[x[column, tap]]
                    out[channel, row, column] = np.floor(value + half) if half > 0 else value

    return loop
