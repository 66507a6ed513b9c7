"""All pixels of a pyramid: every chunk decoded, the finest level against its digest, coarser ones against its means."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from zarrscope.errors import Problem, StoreError
from zarrscope.loaders.shards import ShardedArray
from zarrscope.model import Scalar
from zarrscope.proof.nodes import Nodes
from zarrscope.storage import Storage

_TOGETHER = 64  # rows of the finest level that go through the means at once: what they add up to stays small

type Pixels = npt.NDArray[Any]


def check_levels(target: Storage, path: str, values: Scalar, others: Mapping[str, str]) -> list[Problem]:
    """Decode an image ``(c, y, x)``, level by level from top to bottom.

    Parameters
    ----------
    target, path
        The store, and the image's group.
    values
        What the catalogue says of the pixels of level 0: SHA-256 over the lines ``SHA-256`` of each of its shards,
        which is over the XXH3-128 of the pixels of each chunk.
    others
        Names of samples by the same digest of theirs: whose pixels these are, if they are not its own.
    """
    try:
        levels = _levels(Nodes(target, path))
    except StoreError as error:
        return [Problem(where=target.at(path), kind="content", message=f"its pixels can't be checked: {error}")]
    found = _told(levels, values, others)
    return [Problem(where=target.at(path), kind="content", message=message) for message in found]


def _told(levels: Sequence[ShardedArray], values: Scalar, others: Mapping[str, str]) -> Iterator[str]:
    """Say what is wrong with the levels of an image."""
    finest, coarser = levels[0], [_Coarser(array) for array in levels[1:]]
    prints, whole = Prints(finest), True
    means = _Means(finest.shape, finest.dtype, len(levels))
    for rows in strips(finest):
        try:
            pixels = finest.read((slice(None), rows))
        except StoreError as error:
            yield f"rows {rows.start} to {rows.stop - 1} of level 0 can't be read: {error}"
            whole = False
            continue
        prints.add(pixels)
        for level, some in means.push(pixels) if whole else ():
            coarser[level - 1].compare(some)
    for number, one in enumerate(coarser, 1):
        if not whole:  # there is nothing to compare with, but what can't be read is told
            one.decode()
        if message := one.told():
            yield f"level {number}: {message}"
    if whole and values is not None and prints.text() != values:
        owner = others.get(prints.text())
        yield f"it holds the picture of {owner}" if owner else "the pixels of level 0 are not those that were written"


def _levels(nodes: Nodes) -> list[ShardedArray]:
    """Give the arrays of all levels ``(c, y, x)``, each half as high and as wide as the one before."""
    try:
        paths = [str(dataset["path"]) for dataset in nodes.attributes()["ome"]["multiscales"][0]["datasets"]]
    except (KeyError, IndexError, TypeError):
        paths = []
    if not paths:
        raise StoreError(f"{nodes.where}: its group has no OME-NGFF multiscales.")
    levels = [nodes.array(path) for path in paths]
    for number, array in enumerate(levels):
        channels, *sides = levels[0].shape
        wanted = (channels, *(-(-side >> number) for side in sides))
        if array.ndim != 3 or array.shape != wanted:
            raise StoreError(f"{array.where}: expected (c, y, x) of the shape {wanted}, found {array.shape}.")
    return levels


def strips(array: ShardedArray) -> Iterator[slice]:
    """Cut the rows of ``(c, y, x)`` into rows of chunks."""
    for start in range(0, array.shape[1], array.chunks[1]):
        yield slice(start, min(start + array.chunks[1], array.shape[1]))


class Prints:
    """The digests of the chunks of a level, which come row by row and are noted shard by shard."""

    def __init__(self, array: ShardedArray) -> None:
        self._array = array
        self._chunks: list[list[bytes]] = []  # rows of chunks

    def add(self, strip: Pixels) -> None:
        """Take the next row of chunks."""
        width = self._array.chunks[2]
        parts = (strip[:, :, start : start + width] for start in range(0, strip.shape[2], width))
        little = strip.dtype.newbyteorder("<")
        self._chunks.append([xxhash.xxh3_128_digest(np.ascontiguousarray(part, little).data) for part in parts])

    def text(self) -> str:
        """Give the digest of all."""
        high, wide = (self._array.shards[axis] // self._array.chunks[axis] for axis in (1, 2))
        lines = []
        for row in range(0, len(self._chunks), high):
            for column in range(0, len(self._chunks[0]), wide):
                held = b"".join(b"".join(one[column : column + wide]) for one in self._chunks[row : row + high])
                lines.append(f"{hashlib.sha256(held).hexdigest()}\n")
        return hashlib.sha256("".join(lines).encode()).hexdigest()


class _Means:
    """The rows of coarser levels: each pixel is the mean of all pixels of the finest that it covers, halves up.

    What goes from level to level are sums, exact for integers, and a last row that waits for its pair.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], levels: int) -> None:
        self._height, self._width = shape[1:]
        self._dtype, self._levels = dtype, levels
        self._sums = np.dtype(np.float64 if dtype.kind == "f" else np.int64)
        self._seen, self._given = [0] * levels, [0] * levels  # rows of each level
        self._alone: list[Pixels | None] = [None] * levels

    def push(self, rows: Pixels) -> Iterator[tuple[int, Pixels]]:
        """Take the next rows ``(c, n, x)`` of the finest level; give levels, and the next rows of theirs."""
        for start in range(0, rows.shape[1], _TOGETHER):
            yield from self._descend(0, rows[:, start : start + _TOGETHER])

    def _descend(self, level: int, rows: Pixels) -> Iterator[tuple[int, Pixels]]:
        if level + 1 == self._levels:
            return
        self._seen[level] += rows.shape[1]
        alone = self._alone[level]
        rows = rows if alone is None else np.concatenate([alone, rows], axis=1)
        ended = self._seen[level] == -(-self._height >> level)
        paired = rows.shape[1] if ended else rows.shape[1] // 2 * 2
        self._alone[level] = rows[:, paired:].copy() if paired < rows.shape[1] else None
        if paired:
            sums = self._halved(self._halved(rows[:, :paired], 2), 1)
            yield level + 1, self._divided(level + 1, sums)
            yield from self._descend(level + 1, sums)

    def _halved(self, values: Pixels, axis: int) -> Pixels:
        """Add up pairs along an axis; the last stays alone where the number is odd."""
        before = (slice(None),) * axis
        first, second = values[(*before, slice(0, None, 2))], values[(*before, slice(1, None, 2))]
        sums = first.astype(self._sums)
        sums[(*before, slice(second.shape[axis]))] += second
        return sums

    def _divided(self, level: int, sums: Pixels) -> Pixels:
        """Divide by how many pixels of the finest level were added up."""
        side, first = 1 << level, self._given[level]
        self._given[level] += sums.shape[1]
        down = np.minimum(side, self._height - side * np.arange(first, first + sums.shape[1]))
        across = np.minimum(side, self._width - side * np.arange(sums.shape[2]))
        count = down[:, None] * across
        means: Pixels = sums / count if self._sums.kind == "f" else (sums + count // 2) // count
        return means.astype(self._dtype)


class _Coarser:
    """One coarser level of a store, read row of chunks by row of chunks while its means come."""

    def __init__(self, array: ShardedArray) -> None:
        self._array = array
        self._strips = strips(array)
        self._left: Pixels = np.empty((array.shape[0], 0, array.shape[2]), array.dtype)  # decoded, not compared yet
        self._row = self._different = 0
        self._first = self._unread = ""

    def compare(self, means: Pixels) -> None:
        """Compare the next rows with what they should be."""
        while means.shape[1]:
            if not self._left.shape[1] and not self._next():
                return
            stored = self._left[:, : means.shape[1]]
            wanted, means = means[:, : stored.shape[1]], means[:, stored.shape[1] :]
            self._left = self._left[:, stored.shape[1] :]
            differ = (stored != wanted) & ~((stored != stored) & (wanted != wanted))  # noqa: PLR0124  (only NaN)
            if differ.any():
                c, y, x = (int(at[0]) for at in np.nonzero(differ))
                place = (
                    f"{stored[c, y, x]} at channel {c}, y {self._row + y}, x {x}, where the mean is {wanted[c, y, x]}"
                )
                self._first = self._first or place
                self._different += int(differ.sum())
            self._row += stored.shape[1]

    def decode(self) -> None:
        """Read what is left, for there is nothing to compare it with."""
        while self._next():
            pass

    def _next(self) -> bool:
        """Read the next row of chunks; after one that can't be read, none is."""
        rows = next(self._strips, None)
        if rows is None or self._unread:
            return False
        try:
            self._left = self._array.read((slice(None), rows))
        except StoreError as error:
            self._unread = f"rows {rows.start} to {rows.stop - 1} can't be read: {error}"
            return False
        return True

    def told(self) -> str | None:
        """Say what is wrong with it."""
        if self._different:
            return f"{self._different:,} pixels are not the means of those of level 0, first {self._first}"
        return self._unread or None
