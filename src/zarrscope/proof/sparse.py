"""A compressed sparse matrix of a store, read in pieces of bounded size, and sums over its rows and columns.

A fingerprint of an entry is 64 bits made of its row, its column and its value; those of a row, or of a column, are
added up. Sums do not depend on the order of entries, so that a matrix by row and the same by column can be compared
row by row, though neither is ever held.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from zarrscope.errors import StoreError
from zarrscope.model import Integers
from zarrscope.proof.nodes import Nodes

TOGETHER = 1 << 22  # entries read at once, if chunks are not larger: some 200 MB with all that is made of them

type Numbers = npt.NDArray[Any]
type Prints = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """Some entries in the order of the store: rows, columns and values, ``(k,)`` each."""

    rows: Integers
    columns: Integers
    values: Numbers


class Compressed:
    """A ``csr_matrix`` or ``csc_matrix`` group.

    Parameters
    ----------
    nodes, key
        The group that it lies in, and its key there; "" where it is that group.

    Raises
    ------
    StoreError
        Where that is no such matrix, or its pointers can't be those of one.
    """

    def __init__(self, nodes: Nodes, key: str) -> None:
        self.where = nodes.at(key)
        below = f"{key}/" if key else ""
        attributes = nodes.attributes(key)
        self.data, self.indices, indptr = (nodes.array(f"{below}{name}") for name in ("data", "indices", "indptr"))
        try:
            self.by_row = attributes["encoding-type"] == "csr_matrix"
            self.shape: tuple[int, int] = (int(attributes["shape"][0]), int(attributes["shape"][1]))
        except (KeyError, IndexError, TypeError, ValueError):
            raise StoreError(f"{self.where}: expected a sparse matrix, found no shape of one.") from None
        self.indptr: Integers = indptr.read(()).astype(np.int64)
        lines, length = self.shape[0 if self.by_row else 1], self.data.shape[0]
        if len(self.indptr) != lines + 1 or self.indices.shape != self.data.shape:
            raise StoreError(f"{self.where}: {len(self.indptr):,} pointers for {lines:,} {self._line}s.")
        if self.indptr[0] != 0 or self.indptr[-1] != length or (np.diff(self.indptr) < 0).any():
            raise StoreError(f"{self.where}: its indptr does not cut {length:,} entries.")

    @property
    def _line(self) -> str:
        return "row" if self.by_row else "column"

    @property
    def _step(self) -> int:
        shard = self.data.shards[0]
        return max(1, TOGETHER // shard) * shard

    def lines(self, start: int, stop: int) -> tuple[Numbers, Numbers]:
        """Give indices and values of lines ``start`` to ``stop``, end to end."""
        span = (slice(int(self.indptr[start]), int(self.indptr[stop])),)
        return self.indices.read(span), self.data.read(span)

    def entries(self) -> Iterator[Entries]:
        """Give all entries in their order.

        Raises
        ------
        StoreError
            Where they can't be read, or an index is out of place: indices of a line increase.
        """
        across, last = self.shape[1 if self.by_row else 0], (-1, -1)
        for start in range(0, self.data.shape[0], self._step):
            stop = min(start + self._step, self.data.shape[0])
            values, indices = (array.read((slice(start, stop),)) for array in (self.data, self.indices))
            first = int(np.searchsorted(self.indptr, start, "right")) - 1
            end = int(np.searchsorted(self.indptr, stop, "left"))
            ends = np.clip(self.indptr[first : end + 1], start, stop)
            lines, indices = np.repeat(np.arange(first, end), ends[1:] - ends[:-1]), indices.astype(np.int64)
            self._require_order(lines, indices, across, last)
            last = int(lines[-1]), int(indices[-1])
            yield Entries(lines, indices, values) if self.by_row else Entries(indices, lines, values)

    def _require_order(self, lines: Integers, indices: Integers, across: int, last: tuple[int, int]) -> None:
        before = np.concatenate([[last[1] if last[0] == lines[0] else -1], indices[:-1]])
        before[1:][lines[1:] != lines[:-1]] = -1
        wrong = np.flatnonzero((indices <= before) | (indices >= across))
        if len(wrong):
            at = int(wrong[0])
            raise StoreError(
                f"{self.where}: {self._line} {lines[at]}: expected indices that increase up to {across - 1}, found "
                f"{indices[at]} behind {before[at]}."
            )


@dataclass(slots=True, eq=False)
class Sums:
    """What the entries of a matrix add up to, by row and by column.

    Parameters
    ----------
    shape, kind
        Of the matrix, and the type of totals: int64, or float64 of what is not int32.
    zeros
        How many entries hold nothing.
    values
        SHA-256 over the XXH3-128 of indptr, indices and data, end to end: what a conversion notes of a matrix.
    prints, totals, counts
        Of rows ``(rows,)`` and of columns ``(columns,)``: fingerprints and values added up, and how many entries.
    """

    shape: tuple[int, int]
    kind: np.dtype[Any]
    zeros: int = 0
    values: str = ""
    prints: tuple[Prints, Prints] = field(init=False)
    totals: tuple[Numbers, Numbers] = field(init=False)
    counts: tuple[Integers, Integers] = field(init=False)

    def __post_init__(self) -> None:
        rows, columns = self.shape
        self.prints = np.zeros(rows, np.uint64), np.zeros(columns, np.uint64)
        self.totals = np.zeros(rows, self.kind), np.zeros(columns, self.kind)
        self.counts = np.zeros(rows, np.int64), np.zeros(columns, np.int64)

    @classmethod
    def of(cls, matrix: Compressed) -> Sums:
        """Read a whole matrix; raises StoreError where that can't be done."""
        found = cls(matrix.shape, np.dtype(np.int64 if matrix.data.dtype == np.int32 else np.float64))
        states = [xxhash.xxh3_128() for _ in range(3)]
        states[0].update(matrix.indptr.astype("<i8").data)
        for some in matrix.entries():
            found.add(some)
            indices = some.columns if matrix.by_row else some.rows
            for state, numbers, array in ((states[1], indices, matrix.indices), (states[2], some.values, matrix.data)):
                state.update(np.ascontiguousarray(numbers, array.dtype.newbyteorder("<")).data)
        found.values = hashlib.sha256(b"".join(state.digest() for state in states)).hexdigest()
        return found

    def add(self, some: Entries) -> None:
        """Add some entries."""
        prints = fingerprints(some.rows, some.columns, some.values)
        values = some.values.astype(self.kind)
        self.zeros += int((values == 0).sum())
        for axis, places in enumerate((some.rows, some.columns)):
            np.add.at(self.prints[axis], places, prints)
            np.add.at(self.totals[axis], places, values)
            self.counts[axis][:] += np.bincount(places, minlength=self.shape[axis])


def fingerprints(rows: Numbers, columns: Numbers, values: Numbers) -> Prints:
    """Give 64 bits an entry, ``(k,)``; equal values of any type count as equal."""
    bits = values.astype(np.float64).view(np.uint64)
    return _mixed(_mixed(_mixed(rows.astype(np.uint64) + np.uint64(1)) + columns.astype(np.uint64)) ^ bits)


def _mixed(values: Prints) -> Prints:
    """Mix the bits of each number as splitmix64 does: a permutation in which every bit depends on every other."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
