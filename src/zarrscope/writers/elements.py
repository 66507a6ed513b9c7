"""The elements that an AnnData is made of, each as objects of a zarr group: arrays, scalars, text, nested mappings.

Written after AnnData's on-disk specification (zarr v3). One array is at most one object up to a million rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from zarrscope.errors import LayoutError
from zarrscope.model import strings
from zarrscope.writers.codec import Codec, shard_of

CHUNK = 1 << 16  # rows a chunk
SHARD = 1 << 20  # rows an object, at most

type Document = dict[str, Any]
type Element = npt.NDArray[Any] | str | float | Mapping[str, Element]  # what a mapping without a schema holds

_TABLE_CODEC = Codec("zstd", 1)
_ENCODE = _TABLE_CODEC.encoder()


def group_document(kind: str, version: str = "0.1.0", **attributes: object) -> Document:
    """Give the document of a group that holds an element of some encoding-type."""
    return {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {"encoding-type": kind, "encoding-version": version, **attributes},
    }


def group_object(path: str, kind: str, version: str = "0.1.0", **attributes: object) -> tuple[str, bytes]:
    """Give the document of a group as an object."""
    return f"{path}/zarr.json", json.dumps(group_document(kind, version, **attributes)).encode()


def array_document(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    *,
    chunk: int,
    shard: int | None = None,
    codec: Codec = _TABLE_CODEC,
    kind: str = "array",
) -> Document:
    """Give the document of an array with so many rows a chunk and a shard, and all else whole.

    Parameters
    ----------
    shape, dtype
        Of the array; a scalar has no rows, and is one chunk.
    chunk, shard
        Rows; without a shard each chunk is an object.
    codec
        What chunks are encoded with.
    kind
        The encoding-type, of version 0.2.0.
    """
    rest = list(shape[1:])
    name = "string" if dtype.kind == "T" else dtype.newbyteorder("<").str
    document: Document = json.loads(_template(name, len(shape), codec, sharded=shard is not None))
    document["shape"] = list(shape)
    if shape:
        document["chunk_grid"]["configuration"]["chunk_shape"] = [shard or chunk, *rest]
    if shard is not None:
        document["codecs"][0]["configuration"]["chunk_shape"] = [chunk, *rest]
    document["attributes"] = {"encoding-type": kind, "encoding-version": "0.2.0"}
    return document


def array_objects(path: str, values: npt.NDArray[Any]) -> Iterator[tuple[str, bytes]]:
    """Give the objects of one array: its document, and chunks of rows, in shards where there are many."""
    rows, rest = len(values), values.shape[1:]
    chunk = max(1, min(rows, CHUNK))
    shard = min(-(-rows // CHUNK) * CHUNK, SHARD) if rows > CHUNK else None
    kind = "string-array" if values.dtype.kind == "T" else "array"
    document = array_document(values.shape, values.dtype, chunk=chunk, shard=shard, kind=kind)
    yield f"{path}/zarr.json", json.dumps(document).encode()
    for number, start in enumerate(range(0, rows, shard or chunk)):
        some = values[start : start + (shard or chunk)]
        encoded = _ENCODE([_plain_chunk(some[at : at + chunk], chunk) for at in range(0, len(some), chunk)])
        key = f"{path}/c/{number}" + "/0" * len(rest)
        yield key, bytes(encoded[0]) if shard is None else shard_of(encoded, shard // chunk)


def mapping_objects(path: str, mapping: Mapping[str, Element]) -> Iterator[tuple[str, bytes]]:
    """Give the objects of a mapping of arrays, scalars, texts and further mappings.

    Raises
    ------
    LayoutError
        For a name that is no name of a group, or leads out of this one.
    """
    yield group_object(path, "dict")
    for name, value in mapping.items():
        if name in {"", ".", "..", "zarr.json"} or "/" in name or name.startswith("__"):
            raise LayoutError(f"{path}: expected a name that a zarr group can have, found {name!r}.")
        at = f"{path}/{name}"
        if isinstance(value, Mapping):
            yield from mapping_objects(at, value)
        elif isinstance(value, np.ndarray) and value.ndim:
            yield from array_objects(at, value)
        else:
            yield from _scalar_objects(at, value)


def _scalar_objects(path: str, value: npt.NDArray[Any] | str | float) -> Iterator[tuple[str, bytes]]:
    held = strings([value]) if isinstance(value, str) else np.array([value])
    kind = "string" if isinstance(value, str) else "numeric-scalar"
    document = array_document((), held.dtype, chunk=1, kind=kind)
    yield f"{path}/zarr.json", json.dumps(document).encode()
    yield f"{path}/c", bytes(_ENCODE([_plain_chunk(held, 1)])[0])


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
def _template(dtype: str, dimensions: int, codec: Codec, *, sharded: bool) -> bytes:
    """Let zarr write the document of such an array; shape and chunks are filled in for each."""
    import zarr
    from zarr.storage import MemoryStore

    held: dict[str, Any] = {}
    ones = (1,) * dimensions
    zarr.create_array(
        MemoryStore(held),
        shape=(2, *ones[1:]) if dimensions else (),
        dtype=dtype,
        chunks=ones,
        shards=(2, *ones[1:]) if sharded else None,
        compressors=codec.zarr(),
        fill_value="" if dtype == "string" else 0,
    )
    return bytes(held["zarr.json"].to_bytes())
