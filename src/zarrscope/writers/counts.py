"""A matrix of counts that arrives as bands of rows becomes an AnnData and a gene-major twin, within a given memory.

``counts`` has one row a spot, in the order in which they come, and ``by_gene`` is the same matrix the other way round:
the entries of a gene lie side by side, so that one gene is one short read of each array, as a spot is in ``counts``.
Each group's document holds those of all below it: six requests give a gene, the first of them included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from zarrscope.errors import LayoutError
from zarrscope.model import Strings
from zarrscope.readers.counts import unique_names
from zarrscope.writers.codec import Codec
from zarrscope.writers.elements import Element
from zarrscope.writers.image import metadata_objects
from zarrscope.writers.matrix import BY_COLUMN, Matrix, Means, Stream, write_matrix
from zarrscope.writers.table import TableColumn, TableContent, table_objects
from zarrscope.writers.vector import Cut, Get, Numbers, Put

BUDGET = 32 << 20
CHUNK = 1 << 16  # entries: 262 kB of int32, on a slide of 3,000 spots a hundred genes
SHARD = 1 << 21  # entries: 8 MB of int32

_GROUP = "counts"

type Described = Callable[[Strings], Mapping[str, TableColumn]]
type Placed = Callable[[Strings], Mapping[str, npt.NDArray[Any]]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Counts:
    """What is known of a matrix that was written.

    Parameters
    ----------
    shape, nnz, dtype
        ``(spots, genes)``, how many entries are not zero, and their type: int32, int64 or float64.
    names
        ``(spots,)``.
    totals, found
        ``(spots,)`` the sum of each spot, int64 (float64 beside wider data), and its number of genes, int32.
    gene_totals, gene_found
        ``(genes,)`` the sum of each gene, added in the order of the spots, and its number of spots.
    negative, terminated
        Whether any number is below zero, and whether the last line of the text has a line end.
    values
        A digest of the numbers of ``counts`` and of ``by_gene``, which survives another encoding: SHA-256 over the
        XXH3-128 (16 bytes, end to end) of indptr, indices and data as little-endian bytes.
    """

    shape: tuple[int, int]
    nnz: int
    dtype: str
    names: Strings
    totals: Numbers
    found: npt.NDArray[np.int32]
    gene_totals: Numbers
    gene_found: npt.NDArray[np.int32]
    negative: bool
    terminated: bool
    values: Mapping[str, str]


def _nothing(names: Strings) -> Mapping[str, Any]:
    del names
    return {}


def write_counts(
    put: Put,
    get: Get,
    stream: Stream,
    symbols: Strings,
    *,
    codec: Codec,
    obs: Described = _nothing,
    obsm: Placed = _nothing,
    uns: Mapping[str, Element] | None = None,
    workers: int = 2,
    budget: int = BUDGET,
    chunk: int = CHUNK,
    shard: int = SHARD,
) -> Counts:
    """Write ``counts`` and ``by_gene``; the document of each group comes behind all else in it.

    Parameters
    ----------
    put
        Called with a key (``counts/X/data/c/0``, ``by_gene/zarr.json``) and its bytes, which are valid during the
        call; from several threads at once. Once a key, except where rows had to be asked for again: there the later
        bytes stand.
    get
        Gives the bytes of a key that was put; from several threads at once. Not called where packed entries fit.
    stream
        Starts the rows from the first on, the same each time. Called again when a number needs a wider type.
    symbols
        ``(genes,)`` the names of the columns as the file has them; ``var`` is indexed by unique ones made of them.
    codec
        For the numbers of the matrix; columns of ``obs`` and ``var`` are encoded as those of all tables.
    obs, obsm
        Given the names of the spots, give further columns and coordinates, a row each.
    uns
        What belongs to the table as a whole.
    workers
        Threads beside the calling one.
    budget
        Bytes of memory, aside from bands and from what is kept of each row (about 100 bytes). What is kept in any
        case: one gene, and four shards as encoded.
    chunk, shard
        Entries of each; a shard is a multiple of a chunk.

    Raises
    ------
    LayoutError
        If a band has another number of columns, or a column that describes spots another number of rows.
    StoreError
        If ``get`` does not give what was put.

    Whatever ``stream``, ``put`` or ``get`` raises is raised here, once the calls under way have ended.
    """
    cut = Cut(chunk=chunk, shard=shard, codec=codec)
    means = Means(put=put, get=get, cut=cut, workers=workers, budget=budget)
    matrix = write_matrix(means, stream, len(symbols))
    content = _content(matrix, symbols, obs(matrix.names), obsm(matrix.names), {} if uns is None else uns)
    written = {f"X/{key}": document for key, document in matrix.by_row.documents.items()}
    for key, data in table_objects(content, written):
        put(f"{_GROUP}/{key}", data)
    for key, data in metadata_objects(matrix.by_column.documents):
        put(f"{BY_COLUMN}/{key}", data)
    return Counts(
        shape=(len(matrix.names), len(symbols)),
        nnz=int(matrix.row_counts.sum()),
        dtype=matrix.dtype.name,
        names=matrix.names,
        totals=matrix.row_totals,
        found=matrix.row_counts.astype(np.int32),
        gene_totals=matrix.column_totals,
        gene_found=matrix.column_counts.astype(np.int32),
        negative=matrix.negative,
        terminated=matrix.terminated,
        values={_GROUP: matrix.by_row.values, BY_COLUMN: matrix.by_column.values},
    )


def _content(
    matrix: Matrix,
    symbols: Strings,
    columns: Mapping[str, TableColumn],
    placed: Mapping[str, npt.NDArray[Any]],
    uns: Mapping[str, Element],
) -> TableContent:
    """Give the table around the matrix."""
    rows = len(matrix.names)
    for name, column in (*columns.items(), *placed.items()):
        if len(column) != rows:
            raise LayoutError(f"column {name!r}: expected {rows:,} rows, one a spot, found {len(column):,}.")
    return TableContent(
        index=matrix.names,
        obs={
            **columns,
            "total_counts": matrix.row_totals,
            "n_genes_by_counts": matrix.row_counts.astype(np.int32),
        },
        obsm=placed,
        var_index=unique_names(symbols),
        var={
            "symbol": symbols,
            "n_cells_by_counts": matrix.column_counts.astype(np.int32),
            "total_counts": matrix.column_totals,
        },
        uns=uns,
    )
