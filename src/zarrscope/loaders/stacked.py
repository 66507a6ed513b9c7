"""Counts of many slides below each other as one lazy sparse matrix, each slide's columns put in their common place.

A block is read from where its entries lie closest: rows of ``counts`` where most genes are wanted, and columns of the
gene-major twin, a whole slide at a time, where few are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from zarrscope.errors import StoreError
from zarrscope.loaders.by_gene import GeneMajor
from zarrscope.loaders.shards import ShardedArray
from zarrscope.storage import Storage

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

ROWS = 1024  # spots in one block: 50 MB where each has 6,000 genes
FEW = 8  # times as many genes as are wanted must a slide have for its gene-major twin to be read

type Places = npt.NDArray[np.int64]
type Span = tuple[int, int, int]  # which slide, and its rows from and to


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slide:
    """What is read of one slide.

    Parameters
    ----------
    rows
        How many spots it has.
    places
        ``(genes,)`` the column of the result for each of its own, -1 for those that are not wanted.
    parts
        The arrays of its matrix by row: ``data``, ``indices``, ``indptr``.
    twin
        Where its gene-major twin lies, if it has one.
    """

    rows: int
    places: Places
    parts: Mapping[str, ShardedArray]
    twin: str | None

    @property
    def few(self) -> bool:
        """Whether so few of its genes are wanted that the gene-major twin is shorter to read."""
        return self.twin is not None and FEW * int((self.places >= 0).sum()) <= len(self.places)


class Stacked:
    """The matrix as blocks of rows; safe in threads and, pickled, in other processes.

    Parameters
    ----------
    storage, slides
        The store, and its slides in the order of the result.
    columns
        How many the result has.
    dtype
        Of its values.
    """

    def __init__(self, storage: Storage, slides: Sequence[Slide], columns: int, dtype: npt.DTypeLike) -> None:
        self._storage, self._slides = storage, tuple(slides)
        self.columns, self.dtype = columns, np.dtype(dtype)

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        """Which rows of which slide each block holds."""
        return tuple(
            (number, start, min(start + step, slide.rows))
            for number, slide in enumerate(self._slides)
            for step in (max(1, slide.rows) if slide.few else ROWS,)
            for start in range(0, slide.rows, step)
        )

    def dask(self) -> Any:
        """Give it to dask, one chunk a block; each is a ``scipy.sparse.csr_matrix``."""
        import dask.array as da
        from dask.base import tokenize
        from scipy.sparse import csr_matrix

        rows = tuple(stop - start for _, start, stop in self.spans)
        meta = csr_matrix((0, 0), dtype=self.dtype)
        if not rows:
            return da.from_array(csr_matrix((0, self.columns), dtype=self.dtype), asarray=False)
        token = tokenize(
            [(one.parts["data"], one.rows, one.places.tobytes()) for one in self._slides], self.columns, self.dtype.str
        )
        return da.map_blocks(
            self.block, chunks=(rows, (self.columns,)), dtype=self.dtype, meta=meta, name=f"zarrscope-counts-{token}"
        )

    def block(self, block_id: tuple[int, ...]) -> csr_matrix:
        """Read one block."""
        from scipy.sparse import csr_matrix

        number, start, stop = self.spans[block_id[0]]
        slide = self._slides[number]
        data, indices, indptr = self._by_gene(slide) if slide.few else _by_row(slide, start, stop)
        matrix = csr_matrix(
            (data.astype(self.dtype, copy=False), indices, indptr), shape=(stop - start, self.columns), copy=False
        )
        matrix.sort_indices()  # common places need not be in the order of the slide's own
        return matrix

    def _by_gene(self, slide: Slide) -> tuple[npt.NDArray[Any], ...]:
        wanted = np.flatnonzero(slide.places >= 0)
        read = GeneMajor(self._storage, str(slide.twin)).columns(wanted.tolist())
        rows = np.concatenate([rows for rows, _ in read] or [np.zeros(0, np.int64)])
        data = np.concatenate([values for _, values in read] or [np.zeros(0, self.dtype)])
        columns = np.repeat(slide.places[wanted], [len(rows) for rows, _ in read])
        order = np.argsort(rows, kind="stable")
        indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=slide.rows))])
        return data[order], columns[order], indptr


def _by_row(slide: Slide, start: int, stop: int) -> tuple[npt.NDArray[Any], ...]:
    bounds = slide.parts["indptr"].read((slice(start, stop + 1),)).astype(np.int64)
    if (np.diff(bounds) < 0).any() or bounds[0] < 0 or bounds[-1] > slide.parts["data"].shape[0]:
        raise StoreError(f"{slide.parts['indptr'].where}: rows {start:,} to {stop:,} do not fit the entries.")
    entries = slice(int(bounds[0]), int(bounds[-1]))
    indices, data = (slide.parts[part].read((entries,)) for part in ("indices", "data"))
    if len(indices) and not 0 <= indices.min() <= indices.max() < len(slide.places):
        raise StoreError(f"{slide.parts['indices'].where}: expected columns of {len(slide.places):,} genes.")
    columns = slide.places[indices]
    kept = columns >= 0
    before = np.concatenate([[0], np.cumsum(kept)])
    return data[kept], columns[kept], before[bounds - bounds[0]]
