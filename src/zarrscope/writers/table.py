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
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from zarrscope.model import Strings, strings
from zarrscope.query import Categories
from zarrscope.writers.codec import Codec, shard_of
from zarrscope.writers.image import metadata_objects

CHUNK = 1 << 16  # rows a chunk
SHARD = 1 << 20  # rows an object, at most

_TABLE_CODEC = Codec("zstd", 1)
_ENCODE = _TABLE_CODEC.encoder()


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
    """What goes into one AnnData: ``index`` names its ``n`` rows; every column and ``obsm`` entry has ``n`` too."""

    index: Strings
    obs: Mapping[str, TableColumn]
    obsm: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    x: Sparse | None = None
    var_index: Strings | None = None
    var: Mapping[str, TableColumn] = field(default_factory=dict)


def table_objects(table: TableContent) -> Iterator[tuple[str, bytes]]:
    """Give every object of an AnnData group with its key below the group; the group's own document comes last."""
    documents: dict[str, dict[str, Any]] = {"zarr.json": _group("anndata", "0.1.0")}
    for key, data in _elements(table):
        if key == "zarr.json" or key.endswith("/zarr.json"):
            documents[key] = json.loads(data)
        else:
            yield key, data
    yield from metadata_objects(documents)


def _elements(table: TableContent) -> Iterator[tuple[str, bytes]]:
    yield from _frame("obs", table.index, table.obs)
    yield from _frame("var", strings([]) if table.var_index is None else table.var_index, table.var)
    for name in ("layers", "obsm", "obsp", "uns", "varm", "varp"):
        yield _document(name, "dict", "0.1.0")
    for name, values in table.obsm.items():
        yield from _array(f"obsm/{name}", values)
    if table.x is not None:
        yield _document("X", "csr_matrix", "0.1.0", shape=list(table.x.shape))
        yield from _array("X/data", table.x.data)
        yield from _array("X/indices", table.x.indices)
        yield from _array("X/indptr", table.x.indptr)


def _frame(path: str, index: Strings, columns: Mapping[str, TableColumn]) -> Iterator[tuple[str, bytes]]:
    yield _document(path, "dataframe", "0.2.0", **{"_index": "_index", "column-order": list(columns)})
    yield from _array(f"{path}/_index", index)
    for name, column in columns.items():
        at = f"{path}/{name}"
        if isinstance(column, Categories):
            yield _document(at, "categorical", "0.2.0", ordered=False)
            yield from _array(f"{at}/codes", column.codes)
            yield from _array(f"{at}/categories", strings(column.values))
        elif isinstance(column, Nullable):
            kind = "nullable-boolean" if column.values.dtype.kind == "b" else "nullable-integer"
            yield _document(at, kind, "0.1.0")
            yield from _array(f"{at}/values", column.values)
            yield from _array(f"{at}/mask", column.mask)
        else:
            yield from _array(at, column)


def _document(path: str, kind: str, version: str, **attributes: object) -> tuple[str, bytes]:
    return f"{path}/zarr.json", json.dumps(_group(kind, version, **attributes)).encode()


def _group(kind: str, version: str, **attributes: object) -> dict[str, Any]:
    return {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {"encoding-type": kind, "encoding-version": version, **attributes},
    }


def _array(path: str, values: npt.NDArray[Any]) -> Iterator[tuple[str, bytes]]:
    """Give the objects of one array: its document, and chunks of rows, in shards where there are many."""
    rows, rest = len(values), values.shape[1:]
    chunk = max(1, min(rows, CHUNK))
    shard = min(-(-rows // CHUNK) * CHUNK, SHARD) if rows > CHUNK else None
    textual = values.dtype.kind == "T"
    dtype = "string" if textual else values.dtype.newbyteorder("<").str
    document = json.loads(_document_of(dtype, len(rest), sharded=shard is not None))
    document["shape"] = list(values.shape)
    document["chunk_grid"]["configuration"]["chunk_shape"] = [shard or chunk, *rest]
    if shard is not None:
        document["codecs"][0]["configuration"]["chunk_shape"] = [chunk, *rest]
    document["attributes"] = {"encoding-type": "string-array" if textual else "array", "encoding-version": "0.2.0"}
    yield f"{path}/zarr.json", json.dumps(document).encode()
    for number, start in enumerate(range(0, rows, shard or chunk)):
        some = values[start : start + (shard or chunk)]
        encoded = _ENCODE([_plain_chunk(some[at : at + chunk], chunk) for at in range(0, len(some), chunk)])
        key = f"{path}/c/{number}" + "/0" * len(rest)
        yield key, bytes(encoded[0]) if shard is None else shard_of(encoded, shard // chunk)


def _plain_chunk(values: npt.NDArray[Any], rows: int) -> memoryview:
    """Give the bytes of a chunk before compression; a short one at the end is filled up."""
    if values.dtype.kind == "T":
        from numcodecs.vlen import VLenUTF8

        texts = np.full(rows, "", dtype=object)
        texts[: len(values)] = values
        return memoryview(VLenUTF8().encode(texts))
    whole = np.zeros((rows, *values.shape[1:]), values.dtype.newbyteorder("<"))
    whole[: len(values)] = values
    return memoryview(whole.tobytes())


@cache
def _document_of(dtype: str, further: int, *, sharded: bool) -> bytes:
    """Let zarr write the document of such an array; shape and chunks are filled in for each."""
    import zarr
    from zarr.storage import MemoryStore

    held: dict[str, Any] = {}
    ones = (1,) * further
    zarr.create_array(
        MemoryStore(held),
        shape=(2, *ones),
        dtype=dtype,
        chunks=(1, *ones),
        shards=(2, *ones) if sharded else None,
        compressors=_TABLE_CODEC.zarr(),
        fill_value="" if dtype == "string" else 0,
    )
    return bytes(held["zarr.json"].to_bytes())
