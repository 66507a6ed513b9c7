"""From the rows of a sparse matrix to its columns, a band of genes at a time, within a given memory.

A :class:`Log` holds the entries of some genes, packed (:mod:`zarrscope.writers.packing`) in the order of the rows. It
gives them out gene by gene: each row has a cursor that moves on with the genes, so that every entry is unpacked once
however many bands are made of it. Of a matrix whose entries fit, one log is filled while the rows arrive, and nothing
is read again. Otherwise one log after the other is filled from the rows as they were written; what each gene takes is
known by then. A log takes two bytes for most entries, a quarter of what they take as numbers: it is a quarter of the
passes over the rows. (500 million entries take 23 within 157 MB.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from itertools import batched, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from zarrscope.errors import StoreError
from zarrscope.model import Integers
from zarrscope.writers.vector import Cut, Get, Numbers, read_chunks

type Int32s = npt.NDArray[np.int32]

STRETCH = 1 << 19  # entries packed in one call
_ROW = 12  # bytes that a log keeps for each row of a stretch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Packed:
    """Entries of a stretch of rows, the first and the last of which may go on in others.

    ``cursors`` and ``genes`` say how far each row was given out, and are moved on.
    """

    first_row: int
    data: npt.NDArray[np.uint8]
    ends: Int32s
    cursors: Int32s
    genes: Int32s

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.data.nbytes + _ROW * len(self.ends)


class Tally:
    """What each gene has: ``counts`` entries that take ``sizes`` bytes packed, both int64 ``(genes,)``."""

    def __init__(self, genes: int) -> None:
        self.counts = np.zeros(genes, np.int64)
        self.sizes = np.zeros(genes, np.int64)


def pack(
    indptr: Integers, start: int, indices: Int32s, data: Numbers, genes: range, tally: Tally, first_row: int = 0
) -> Packed:
    """Pack entries of some genes.

    Parameters
    ----------
    indptr
        ``(rows + 1,)`` of a matrix in CSR form.
    start, indices, data
        Its entries from number ``start`` on, which may be within a row.
    genes
        Which of them are wanted.
    tally
        They are added to it.
    first_row
        The number of the first row of ``indptr``.
    """
    from zarrscope.writers.packing import LONGEST, pack_kernel

    stop = start + len(indices)
    first = int(np.searchsorted(indptr, start, "right")) - 1
    last = max(first, int(np.searchsorted(indptr, stop, "left")))
    starts = np.clip(indptr[first : last + 1], start, stop) - start
    ends = np.empty(last - first, np.int32)
    packed = np.empty(len(indices) * (LONGEST + 1 + data.itemsize), np.uint8)
    used = pack_kernel()(
        *(starts, indices, data, data.view(np.uint8), genes.start, genes.stop),
        *(ends, tally.sizes, tally.counts, packed),
    )
    return Packed(
        first_row=first_row + first,
        data=packed[:used].copy(),
        ends=ends,
        cursors=np.concatenate([np.zeros(1, np.int32), ends[:-1]]) if len(ends) else ends.copy(),
        genes=np.full(len(ends), genes.start, np.int32),
    )


class Log:
    """Entries of some genes, added in the order of the rows and given out gene by gene."""

    def __init__(self, genes: range) -> None:
        self.genes = genes
        self.nbytes = 0
        self._pieces: list[Packed] = []

    @staticmethod
    def room(rows: int) -> int:
        """Give the bytes that rows take beside their entries."""
        return _ROW * rows

    def add(self, piece: Packed) -> None:
        """Add the entries that follow."""
        self._pieces.append(piece)
        self.nbytes += piece.nbytes

    def take(self, genes: range, counts: Integers, dtype: np.dtype[Any], totals: Numbers) -> tuple[Int32s, Numbers]:
        """Give the entries of the next genes: row numbers and values, by gene and then by row, ``(k,)`` both.

        Parameters
        ----------
        genes
            Those that follow what was taken before.
        counts
            ``(genes,)`` entries of each gene of the matrix.
        dtype
            Of the values.
        totals
            ``(genes,)`` int64 or float64: the values of each gene are added, in the order of the rows.
        """
        from zarrscope.writers.packing import scatter_kernel

        ends = np.cumsum(counts[genes.start : genes.stop])
        free = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
        rows, values = np.empty(ends[-1], np.int32), np.empty(ends[-1], dtype)
        scatter, raw = scatter_kernel(), values.view(np.uint8)
        for piece in self._pieces:
            scatter(
                *(piece.data, piece.ends, piece.cursors, piece.genes, piece.first_row),
                *(genes.stop, genes.start, free, rows, values, raw, totals),
            )
        return rows, values


def cuts(genes: range, sizes: Integers, limit: int) -> Iterator[range]:
    """Cut genes into bands whose sizes add up to a limit at most, or of one gene that is larger.

    >>> list(cuts(range(1, 6), np.array([9, 2, 2, 7, 1, 1]), 4))
    [range(1, 3), range(3, 4), range(4, 6)]
    """
    reached = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    start = genes.start
    while start < genes.stop:
        stop = int(np.searchsorted(reached, reached[start] + limit, "right")) - 1
        stop = min(max(stop, start + 1), genes.stop)
        yield range(start, stop)
        start = stop


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """A matrix in CSR form as it lies in a store: ``path/data/c/0``, ``path/indices/c/0`` and so on."""

    path: str
    indptr: Integers
    dtype: np.dtype[Any]
    cut: Cut
    get: Get

    def log(self, genes: range, pool: Executor, workers: int) -> Log:
        """Read all rows again, several shards at once, and keep the entries of some genes.

        Raises
        ------
        StoreError
            If the shards are not what was written.
        """
        log = Log(genes)
        shards = iter(range(-(-int(self.indptr[-1]) // self.cut.shard)))
        waiting: deque[Future[list[Packed]]] = deque()
        while True:
            waiting.extend(pool.submit(self._read, shard, genes) for shard in islice(shards, workers - len(waiting)))
            if not waiting:
                return log
            for piece in waiting.popleft().result():
                log.add(piece)

    def _read(self, shard: int, genes: range) -> list[Packed]:
        """Read a shard of both arrays, whose chunks hold the same entries, and pack some chunks at a time."""
        start = shard * self.cut.shard
        stop = min(start + self.cut.shard, int(self.indptr[-1]))
        indices = self._chunks("indices", shard, np.dtype(np.int32))
        chunks = zip(indices, self._chunks("data", shard, self.dtype), strict=True)
        tally = Tally(genes.stop)  # is known already
        pieces = []
        for some in batched(chunks, max(1, STRETCH // self.cut.chunk)):  # the last has fewer
            columns = np.concatenate([chunk for chunk, _ in some], dtype=np.int32)[: stop - start]
            values = np.concatenate([chunk for _, chunk in some], dtype=self.dtype)[: stop - start]
            pieces.append(pack(self.indptr, start, columns, values, genes, tally))
            start += len(columns)
        if start < stop:
            raise StoreError(f"{self.path}, shard {shard}: expected {stop - start} entries more. Convert again.")
        return pieces

    def _chunks(self, array: str, shard: int, dtype: np.dtype[Any]) -> Iterator[Numbers]:
        key = f"{self.path}/{array}/c/{shard}"
        return read_chunks(self.get(key), key, self.cut, dtype)
