"""AnnData tables, array by array, with chunks and shards of our choosing and a checksum on each chunk.

Written after AnnData's on-disk specification (zarr v3) rather than through ``anndata.write_zarr``, which holds the
whole table at once and chooses shards itself, and without a ``zarr.Array`` a column, which took most of the time that
a small table takes. One column is at most one object up to a million rows, and the
group's own document carries all metadata: a table is opened with one request, a column read with one more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from zarrscope.model import Strings, strings
from zarrscope.query import Categories
from zarrscope.writers.elements import (
    Document,
    Element,
    array_objects,
    group_document,
    group_object,
    mapping_objects,
)
from zarrscope.writers.image import metadata_objects


@dataclass(frozen=True, slots=True, eq=False)
class Nullable:
    """Integers or booleans some of which are missing: ``mask`` is True where they are."""

    values: npt.NDArray[Any]
    mask: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.values)


type TableColumn = npt.NDArray[Any] | Categories | Nullable


class Columns(Mapping[str, TableColumn]):
    """Columns that are built when they are written, one at a time, and not kept."""

    def __init__(self, build: Mapping[str, Callable[[], TableColumn]]) -> None:
        self._build = dict(build)

    def __getitem__(self, name: str) -> TableColumn:
        """Build a column."""
        return self._build[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._build)

    def __len__(self) -> int:
        return len(self._build)


@dataclass(frozen=True, slots=True, eq=False)
class Sparse:
    """A matrix in CSR form: ``(rows, columns)`` with ``data``, ``indices`` and ``indptr``."""

    data: npt.NDArray[Any]
    indices: npt.NDArray[np.int64]
    indptr: npt.NDArray[np.int64]
    shape: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TableContent:
    """What goes into one AnnData: ``index`` names its ``n`` rows; every column and ``obsm`` entry has ``n`` too.

    ``uns`` is a nested mapping of whatever belongs to the table as a whole: arrays, numbers and texts.
    """

    index: Strings
    obs: Mapping[str, TableColumn]
    obsm: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    x: Sparse | None = None
    var_index: Strings | None = None
    var: Mapping[str, TableColumn] = field(default_factory=dict)
    uns: Mapping[str, Element] = field(default_factory=dict)


def table_objects(table: TableContent, written: Mapping[str, Document] | None = None) -> Iterator[tuple[str, bytes]]:
    """Give every object of an AnnData group with its key below the group; the group's own document comes last.

    ``written`` are documents, by their keys, of what was written otherwise: an ``X`` too large to be held.
    """
    documents = {"zarr.json": group_document("anndata"), **(written or {})}
    for key, data in _elements(table):
        if key == "zarr.json" or key.endswith("/zarr.json"):
            documents[key] = json.loads(data)
        else:
            yield key, data
    yield from metadata_objects(documents)


def _elements(table: TableContent) -> Iterator[tuple[str, bytes]]:
    yield from _frame("obs", table.index, table.obs)
    yield from _frame("var", strings([]) if table.var_index is None else table.var_index, table.var)
    for name in ("layers", "obsp", "varm", "varp"):
        yield group_object(name, "dict")
    yield from mapping_objects("obsm", table.obsm)
    yield from mapping_objects("uns", table.uns)
    if table.x is not None:
        yield group_object("X", "csr_matrix", shape=list(table.x.shape))
        yield from array_objects("X/data", table.x.data)
        yield from array_objects("X/indices", table.x.indices)
        yield from array_objects("X/indptr", table.x.indptr)


def _frame(path: str, index: Strings, columns: Mapping[str, TableColumn]) -> Iterator[tuple[str, bytes]]:
    yield group_object(path, "dataframe", "0.2.0", **{"_index": "_index", "column-order": list(columns)})
    yield from array_objects(f"{path}/_index", index)
    for name, column in columns.items():
        at = f"{path}/{name}"
        if isinstance(column, Categories):
            yield group_object(at, "categorical", "0.2.0", ordered=False)
            yield from array_objects(f"{at}/codes", column.codes)
            yield from array_objects(f"{at}/categories", strings(column.values))
        elif isinstance(column, Nullable):
            kind = "nullable-boolean" if column.values.dtype.kind == "b" else "nullable-integer"
            yield group_object(at, kind)
            yield from array_objects(f"{at}/values", column.values)
            yield from array_objects(f"{at}/mask", column.mask)
        else:
            yield from array_objects(at, column)
