"""Which chunks a selection touches, and where each one's values go: integer arithmetic, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

type Places = slice | npt.NDArray[np.int64]
type Select = slice | npt.NDArray[np.int64]  # of one axis: what is left after integers became slices


@dataclass(frozen=True, slots=True)
class Piece:
    """What one chunk gives: chunk ``place`` of its shard (C order), ``inside`` it, and ``out`` in the result."""

    place: int
    inside: tuple[Any, ...]
    out: tuple[Any, ...]


def normalise(key: Any, shape: tuple[int, ...]) -> tuple[tuple[Select, ...], tuple[int, ...]]:
    """Turn an index into one slice or array of row numbers an axis, and the axes to drop from the result.

    Integers and slices mean what they mean to numpy; arrays of integers select along their own axis (outer
    indexing).

    Raises
    ------
    IndexError
        For a place out of bounds, or too many indices.
    """
    keys = list(key) if isinstance(key, tuple) else [key]
    if any(one is Ellipsis for one in keys):
        at = next(place for place, one in enumerate(keys) if one is Ellipsis)
        keys[at : at + 1] = [slice(None)] * (len(shape) - len(keys) + 1)
    if len(keys) > len(shape):
        raise IndexError(f"expected at most {len(shape)} indices, found {len(keys)}")
    keys += [slice(None)] * (len(shape) - len(keys))
    selects: list[Select] = []
    dropped: list[int] = []
    for axis, (one, size) in enumerate(zip(keys, shape, strict=True)):
        if isinstance(one, slice):
            start, stop, step = one.indices(size)
            selects.append(slice(start, stop, step) if step > 0 else np.arange(start, stop, step, dtype=np.int64))
            continue
        if isinstance(one, int) and not isinstance(one, bool):  # the way of a single crop, kept short
            if not -size <= one < size:
                raise IndexError(f"axis {axis}: place {one} is out of bounds for size {size}")
            dropped.append(axis)
            selects.append(slice(one % size, one % size + 1, 1))
            continue
        places = np.asarray(one)
        if places.dtype.kind not in "iu" and places.size:
            raise IndexError(f"axis {axis}: expected integers or a slice, found {one!r}")
        inside = _bounded(places.astype(np.int64), size, axis)
        if places.ndim == 0:
            dropped.append(axis)
            selects.append(slice(int(inside), int(inside) + 1, 1))
        else:
            selects.append(inside)
    return tuple(selects), tuple(dropped)


def _bounded(places: npt.NDArray[np.int64], size: int, axis: int) -> npt.NDArray[np.int64]:
    if places.ndim > 1:
        raise IndexError(f"axis {axis}: expected one dimension of row numbers, found {places.ndim}")
    if places.size and (places.min() < -size or places.max() >= size):
        bad = places[(places < -size) | (places >= size)].flat[0]
        raise IndexError(f"axis {axis}: place {int(bad)} is out of bounds for size {size}")
    return np.where(places < 0, places + size, places)


def length(select: Select) -> int:
    """Count the places that one axis selects."""
    return len(range(select.start, select.stop, select.step)) if isinstance(select, slice) else len(select)


def pieces(selects: Sequence[Select], chunks: Sequence[int], grid: Sequence[int]) -> dict[tuple[int, ...], list[Piece]]:
    """Group the chunks that a selection touches by shard.

    Parameters
    ----------
    selects
        One slice or array an axis, in bounds.
    chunks
        The shape of a chunk.
    grid
        How many chunks a shard holds along each axis.

    Returns
    -------
    dict
        By the shard's place in the array's grid of shards.
    """
    axes = [_touched(select, chunk) for select, chunk in zip(selects, chunks, strict=True)]
    strides = [prod(grid[axis + 1 :]) for axis in range(len(grid))]
    crossed = sum(not isinstance(select, slice) for select in selects) > 1
    found: dict[tuple[int, ...], list[Piece]] = {}
    for combination in product(*axes):
        shard = tuple(touch[0] // size for touch, size in zip(combination, grid, strict=True))
        place = sum(touch[0] % size * stride for touch, size, stride in zip(combination, grid, strides, strict=True))
        inside: tuple[Any, ...] = tuple(touch[1] for touch in combination)
        out: tuple[Any, ...] = tuple(touch[2] for touch in combination)
        if crossed:  # numpy pairs several index arrays unless they are spread over axes of their own
            inside, out = np.ix_(*map(_spread, inside)), np.ix_(*map(_spread, out))
        found.setdefault(shard, []).append(Piece(place, inside, out))
    return found


def _spread(places: Places) -> npt.NDArray[np.int64]:
    if isinstance(places, slice):
        return np.arange(places.start, places.stop, places.step or 1, dtype=np.int64)
    return places


def _touched(select: Select, chunk: int) -> list[tuple[int, Places, Places]]:
    """Give (chunk, places inside it, places in the result) along one axis."""
    return _by_slice(select, chunk) if isinstance(select, slice) else _by_rows(select, chunk)


def _by_slice(select: slice, chunk: int) -> list[tuple[int, Places, Places]]:
    start, step, count = select.start, select.step, length(select)
    found: list[tuple[int, Places, Places]] = []
    done = 0
    while done < count:
        number, first = divmod(start + done * step, chunk)
        here = min(count - done, -(-(chunk - first) // step))
        found.append((number, slice(first, first + (here - 1) * step + 1, step), slice(done, done + here)))
        done += here
    return found


def _by_rows(rows: npt.NDArray[np.int64], chunk: int) -> list[tuple[int, Places, Places]]:
    if not len(rows):
        return []
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    numbers = ordered // chunk
    bounds = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(rows)]
    found: list[tuple[int, Places, Places]] = []
    for start, stop in pairwise(bounds):
        number = int(numbers[start])
        first, out = int(ordered[start]) - number * chunk, int(order[start])
        if stop - start == 1:  # slices keep numpy off its slow path for index arrays
            found.append((number, slice(first, first + 1), slice(out, out + 1)))
        else:
            found.append((number, ordered[start:stop] - number * chunk, order[start:stop]))
    return found
