"""Images as xarray sees them: lazily indexed or dask-backed, with physical coordinates where a unit is known.

Imports xarray, so it is itself imported only when an image is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from xarray import DataArray, Variable
from xarray.backends import BackendArray
from xarray.core import indexing

from zarrscope.loaders.chunking import normalise
from zarrscope.loaders.groups import Level
from zarrscope.loaders.shards import ShardedArray
from zarrscope.model import Integers
from zarrscope.query import Categories, Values


class Readable(Protocol):
    """What pixels are read from: a sharded array, or some of its rows."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self, selection: Any) -> npt.NDArray[Any]:
        """Read a selection, outer indexing."""
        ...


class Rows:
    """Some rows of a sharded array, in an order of their own, as an array: nothing is read until asked for."""

    def __init__(self, array: ShardedArray, rows: Integers) -> None:
        self.array, self.rows = array, rows
        self.shape = (len(rows), *array.shape[1:])
        self.dtype = array.dtype
        self.ndim = len(self.shape)

    def read(self, selection: Any) -> npt.NDArray[Any]:
        """Read a selection, outer indexing."""
        selects, dropped = normalise(selection, self.shape)
        pixels = self.array.read((self.rows[selects[0]], *selects[1:]))
        return pixels[tuple(0 if axis in dropped else slice(None) for axis in range(self.ndim))]

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        return self.read(key)

    def __dask_tokenize__(self) -> tuple[str, str, bytes]:
        """Let dask name these rows without pickling them."""
        import hashlib

        return "zarrscope-rows", self.array.token, hashlib.sha256(self.rows.tobytes()).digest()

    def chunks(self) -> tuple[int, ...]:
        """Cut the rows so that no piece holds rows of two shards, or, where they jump about, at a shard's length."""
        shards = self.rows // self.array.shards[0]
        cuts = np.flatnonzero(np.diff(shards)) + 1
        if len(cuts) >= len(np.unique(shards)):
            cuts = np.arange(self.array.shards[0], len(self.rows), self.array.shards[0])
        return tuple(np.diff([0, *cuts.tolist(), len(self.rows)]).tolist())


class LazyPixels(BackendArray):
    """The same for xarray's own lazy indexing: a crop of a crop is read once, and only then."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self.shape, self.dtype = source.shape, source.dtype

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._source.read)


def lazy_variable(level: Level, rows: Integers | None = None, attrs: Mapping[str, Any] | None = None) -> Variable:
    """Give pixels without dask; ``chunks={}`` of xarray then makes dask chunks of one shard each."""
    array = level.array
    source: Readable = array if rows is None else Rows(array, rows)
    dims = [axis.name for axis in level.axes]
    variable = Variable(dims, indexing.LazilyIndexedArray(LazyPixels(source)), attrs=dict(attrs or {}))
    # The lengths of the axes bound the chunks: xarray warns where a preferred chunk is longer than its axis.
    preferred = {
        name: max(1, min(size, shard)) for name, size, shard in zip(dims, source.shape, array.shards, strict=True)
    }
    variable.encoding = {"preferred_chunks": preferred, "chunks": array.chunks, "shards": array.shards}
    return variable


def dask_variable(level: Level, rows: Integers | None = None, attrs: Mapping[str, Any] | None = None) -> Variable:
    """Give dask-backed pixels, one dask chunk a shard: no shard is read by two tasks."""
    import dask.array as da
    from dask.base import tokenize

    array = level.array
    source: ShardedArray | Rows = array if rows is None else Rows(array, rows)
    chunks: tuple[Any, ...] = array.shards if not isinstance(source, Rows) else (source.chunks(), *array.shards[1:])
    pixels = da.from_array(
        source,
        chunks=chunks,
        name=f"zarrscope-{tokenize(source)}",
        meta=np.empty((0,) * source.ndim, source.dtype),
    )
    return Variable([axis.name for axis in level.axes], pixels, attrs=dict(attrs or {}))


def coordinates(level: Level) -> dict[str, Variable]:
    """Give float64 positions in physical units for each axis that has a unit; NGFF counts from pixel centres."""
    return {
        axis.name: Variable(
            (axis.name,), np.arange(axis.size) * axis.scale + axis.translation, attrs={"units": axis.unit}
        )
        for axis in level.axes
        if axis.unit is not None
    }


def column_coordinates(level: Level, columns: Mapping[str, Values]) -> dict[str, Variable]:
    """Give columns of the rows table as coordinates along the first axis, ``n``; a missing text is empty."""
    return {name: Variable((level.axes[0].name,), plain(values)) for name, values in columns.items()}


def plain(values: Values) -> npt.NDArray[Any]:
    """Give a column as one numpy array, ``(n,)``; text as objects, a missing one empty."""
    if isinstance(values, Categories):
        textual = values.values.dtype.kind in "TUO"
        held = values.values.astype(object) if textual else values.values
        if not textual and (values.codes >= 0).all():
            return np.asarray(held[values.codes])
        table = np.append(held if textual else held.astype(float), ["" if textual else np.nan])
        return np.asarray(table[values.codes])
    return np.asarray(values.astype(object) if values.dtype.kind == "T" else values)


def data_array(level: Level, *, name: str, chunks: Any, rows: Integers | None, attrs: Mapping[str, Any]) -> DataArray:
    """Put an image together: ``chunks`` is ``"auto"`` (one dask chunk a shard), None (no dask) or what xarray takes."""
    variable = (dask_variable if chunks == "auto" else lazy_variable)(level, rows, attrs)
    array = DataArray(variable, name=name)
    array.encoding = variable.encoding
    if rows is None:
        array = array.assign_coords(coordinates(level))
    else:
        array = array.assign_coords({key: value for key, value in coordinates(level).items() if key != array.dims[0]})
    return array if chunks is None or chunks == "auto" else array.chunk(chunks)
