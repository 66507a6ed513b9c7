"""Both forms of a sparse matrix, by row and by column, written while its rows arrive, within a given memory.

The rows are written as they come (:mod:`zarrscope.writers.vector`). What they hold is packed and kept as long as memory
allows, and the columns are made of that; where it does not, of the rows, read again as often as it takes
(:mod:`zarrscope.writers.transpose`). Numbers are int32, and wider only if one of them is: that is known when it comes,
and then the rows are asked for once more. No byte depends on bands, on memory or on the number of threads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash

from zarrscope.errors import LayoutError
from zarrscope.model import Integers, Strings, strings
from zarrscope.readers.counts import Band, combined_dtype
from zarrscope.writers.elements import Document, array_objects, group_document
from zarrscope.writers.transpose import STRETCH, Log, Rows, Tally, cuts, pack
from zarrscope.writers.vector import Cut, Get, Numbers, Put, Vector

BY_ROW, BY_COLUMN = "counts/X", "by_gene"

_KEPT = 0.3  # of the memory: packed entries
_BAND = 0.15  # the columns that are written next; the rest is for shards on their way

type Stream = Callable[[], Iterator[Band]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Form:
    """One form of the matrix: the documents of its group by their keys in it, and the digest of its numbers."""

    documents: Mapping[str, Document]
    values: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matrix:
    """What is known of a matrix that was written; see :class:`zarrscope.writers.counts.Counts`."""

    names: Strings
    dtype: np.dtype[Any]
    row_totals: Numbers
    row_counts: Integers
    column_totals: Numbers
    column_counts: Integers
    negative: bool
    terminated: bool
    by_row: Form
    by_column: Form


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What there is to write with: a way out and back, threads, and bytes of memory."""

    put: Put
    get: Get
    cut: Cut
    workers: int
    budget: int


def write_matrix(means: Means, stream: Stream, columns: int) -> Matrix:
    """Write all objects below ``BY_ROW`` and ``BY_COLUMN`` but documents, which are given back."""
    pool = ThreadPoolExecutor(means.workers, "zarrscope-counts")
    try:
        passed = _write_rows(means, pool, stream, columns)
        rows = Rows(path=BY_ROW, indptr=passed.indptr(), dtype=passed.dtype, cut=means.cut, get=means.get)
        shape = len(rows.indptr) - 1, columns
        by_row = _form(means, BY_ROW, "csr_matrix", shape, rows.indptr, passed.indices, passed.data)
        by_column, totals = _write_columns(means, pool, rows, passed, shape)
    finally:
        pool.shutdown(cancel_futures=True)
    return Matrix(
        names=np.concatenate([strings([]), *passed.names]),
        dtype=passed.dtype,
        row_totals=np.concatenate([np.zeros(0, np.int64), *passed.totals]),
        row_counts=np.diff(rows.indptr),
        column_totals=totals,
        column_counts=passed.tally.counts,
        negative=passed.negative,
        terminated=passed.terminated,
        by_row=by_row,
        by_column=by_column,
    )


def _write_rows(means: Means, pool: Executor, stream: Stream, columns: int) -> _Pass:
    """Pass over the rows until the type of numbers was wide enough from the first on."""
    dtype = np.dtype(np.int32)
    while True:
        bands, one = stream(), _Pass(means, pool, columns, dtype)
        try:
            wider = one.write(bands)
        finally:
            if isinstance(bands, Generator):
                bands.close()
        if wider is None:
            return one
        dtype = wider


class _Pass:
    """One pass over the rows."""

    def __init__(self, means: Means, pool: Executor, columns: int, dtype: np.dtype[Any]) -> None:
        given = means.cut, means.put, pool, means.workers
        self.dtype = dtype
        self.indices = Vector(f"{BY_ROW}/indices", np.dtype(np.int32), *given)
        self.data = Vector(f"{BY_ROW}/data", dtype, *given)
        self.names: list[Strings] = []
        self.totals: list[Numbers] = []
        self.tally = Tally(columns)
        self.log: Log | None = Log(range(columns))
        self.negative, self.terminated = False, True
        self._indptr = [np.zeros(1, np.int64)]
        self._rows = 0
        self._most = int(means.budget * _KEPT)

    def write(self, bands: Iterator[Band]) -> np.dtype[Any] | None:
        """Write all bands, or give the type that one of them needs."""
        for band in bands:
            wider = combined_dtype([self.dtype, band.data.dtype])
            if wider != self.dtype:
                self.indices.abandon()
                self.data.abandon()
                return wider
            self._add(band)
        self.indices.finish()
        self.data.finish()
        return None

    def indptr(self) -> Integers:
        """Give where each row starts, ``(rows + 1,)``."""
        return np.concatenate(self._indptr)

    def _add(self, band: Band) -> None:
        columns = len(self.tally.counts)
        if len(band.column_counts) != columns:
            raise LayoutError(f"expected bands of {columns} columns, found one of {len(band.column_counts)}.")
        data = np.ascontiguousarray(band.data, self.dtype)
        for start in range(0, len(data), STRETCH):
            some = slice(start, start + STRETCH)
            piece = pack(band.indptr, start, band.indices[some], data[some], range(columns), self.tally, self._rows)
            if self.log is not None:
                self.log.add(piece)
                self.log = self.log if self.log.nbytes <= self._most else None
        self._indptr.append(band.indptr[1:] + self.data.length)
        self.indices.add(band.indices)
        self.data.add(data)
        self.names.append(band.names)
        self.totals.append(band.row_totals)
        self._rows += len(band)
        self.negative |= band.negative
        self.terminated = band.terminated


def _write_columns(
    means: Means, pool: Executor, rows: Rows, passed: _Pass, shape: tuple[int, int]
) -> tuple[Form, Numbers]:
    """Write the matrix by column; give the sum of each column too."""
    columns = _Columns(means, pool, rows.dtype, passed.tally.counts)
    if passed.log is not None:
        columns.add(passed.log)
    else:
        room = int(means.budget * _KEPT) - Log.room(shape[0])
        for some in cuts(range(shape[1]), passed.tally.sizes, room):
            columns.add(rows.log(some, pool, means.workers))
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(passed.tally.counts)])
    columns.indices.finish()
    columns.data.finish()
    return _form(means, BY_COLUMN, "csc_matrix", shape, indptr, columns.indices, columns.data), columns.totals


class _Columns:
    """The matrix by column while it is written. It holds on to no log, and to no band of columns, behind a call."""

    def __init__(self, means: Means, pool: Executor, dtype: np.dtype[Any], counts: Integers) -> None:
        given = means.cut, means.put, pool, means.workers
        self.indices = Vector(f"{BY_COLUMN}/indices", np.dtype(np.int32), *given)
        self.data = Vector(f"{BY_COLUMN}/data", dtype, *given)
        self.totals: Numbers = np.zeros(len(counts), np.int64 if dtype == np.int32 else np.float64)
        self._counts, self._dtype = counts, dtype
        self._most = int(means.budget * _BAND)

    def add(self, log: Log) -> None:
        """Write the columns that a log has entries of, which are the next."""
        for some in cuts(log.genes, self._counts * (4 + self._dtype.itemsize), self._most):
            self._add(*log.take(some, self._counts, self._dtype, self.totals))

    def _add(self, row_numbers: Numbers, values: Numbers) -> None:
        self.indices.add(row_numbers)
        self.data.add(values)


def _form(
    means: Means, path: str, kind: str, shape: tuple[int, int], indptr: Integers, indices: Vector, data: Vector
) -> Form:
    """Put ``indptr``, and give the documents of the group."""
    documents = {
        "zarr.json": group_document(kind, shape=list(shape)),
        "data/zarr.json": data.document(),
        "indices/zarr.json": indices.document(),
    }
    for key, value in array_objects("indptr", indptr):
        if key == "indptr/zarr.json":
            documents[key] = json.loads(value)
        else:
            means.put(f"{path}/{key}", value)
    digest = xxhash.xxh3_128_digest(indptr.astype("<i8", copy=False).data)
    return Form(documents=documents, values=hashlib.sha256(digest + indices.digest() + data.digest()).hexdigest())
