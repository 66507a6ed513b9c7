"""OME-Zarr 0.5 images: the metadata of a group and its array, and shards assembled whole in memory.

A shard is put together by hand rather than through ``zarr.Array.__setitem__``: each chunk is encoded the moment it
is decoded, so a task holds one encoded shard and never the pixels of all its rows, and the object is written once.
zarr writes all metadata.
"""

from __future__ import annotations

import json
from collections.abc import Buffer, Iterator, Mapping
from math import prod
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from zarrscope.model import Axis, Image
from zarrscope.writers.codec import ABSENT, Codec, Encode, crc32c

NGFF = "0.5"
MEANS = "each pixel is the mean of all pixels of the finest level that it covers, rounded once, half up"
_TOGETHER = 16  # chunks encoded in one call


def image_objects(image: Image, codec: Codec) -> Iterator[tuple[str, bytes]]:
    """Give the metadata objects of an image, with keys below its group: ``0/zarr.json``, ``zarr.json``.

    The group's document is consolidated, so that one request tells axes and arrays.
    """
    import zarr
    from zarr.storage import MemoryStore

    held: dict[str, Any] = {}
    store = MemoryStore(held)
    group = zarr.create_group(store, attributes={"ome": {"version": NGFF, "multiscales": [multiscale(image)]}})
    for level in range(image.levels):
        group.create_array(
            str(level),
            shape=level_shape(image, level),
            dtype=image.dtype,
            chunks=image.chunks,
            shards=image.shards,
            compressors=codec.zarr(),
            fill_value=0,
            dimension_names=[axis.name for axis in image.axes],
        )
    documents = {key: json.loads(value.to_bytes()) for key, value in held.items()}
    yield from metadata_objects(documents)


def metadata_objects(documents: Mapping[str, dict[str, Any]]) -> Iterator[tuple[str, bytes]]:
    """Serialise the ``zarr.json`` documents of a group and all below it, consolidated into the group's own.

    ``documents`` holds each document by its key; the root's is ``zarr.json`` and comes last.
    """
    below = {key.removesuffix("/zarr.json"): document for key, document in sorted(documents.items()) if "/" in key}
    for path, document in below.items():
        yield f"{path}/zarr.json", _json(document)
    root = dict(documents["zarr.json"])
    root["consolidated_metadata"] = {
        "kind": "inline",
        "must_understand": False,
        "metadata": {
            path: document
            if document["node_type"] == "array"
            else {
                **document,
                # zarr marks a group inside consolidated metadata as complete by an empty one of its own.
                "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": {}},
            }
            for path, document in below.items()
        },
    }
    yield "zarr.json", _json(root)


def _json(document: Mapping[str, Any]) -> bytes:
    # json's own encoder indents in Python, which took a third of the time that small tables take.
    return msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=1)


def level_shape(image: Image, level: int) -> tuple[int, ...]:
    """Give the shape of a level: space halves, rounding up."""
    return tuple(-(-axis.size // 2**level) if axis.type == "space" else axis.size for axis in image.axes)


def multiscale(image: Image) -> dict[str, Any]:
    """Give the one entry of NGFF ``multiscales``, as the strict schema wants it.

    NGFF's origin is the centre of the first pixel, so a level of scale ``k`` times the finest begins at
    ``(k - 1) / 2`` pixels of the finest, plus the image's own translation. That holds for odd sizes too: only the last
    row and column of a level may cover less than their place.
    """
    return {
        "name": image.name or image.path,
        "type": "mean" if image.levels > 1 else "none",
        "metadata": {"description": MEANS if image.levels > 1 else "one level, as acquired"},
        "axes": [_axis(axis) for axis in image.axes],
        "datasets": [
            {
                "path": str(level),
                "coordinateTransformations": [
                    {"type": "scale", "scale": [axis.scale * _step(axis, level) for axis in image.axes]},
                    {
                        "type": "translation",
                        "translation": [
                            axis.translation + axis.scale * (_step(axis, level) - 1) / 2 for axis in image.axes
                        ],
                    },
                ],
            }
            for level in range(image.levels)
        ],
    }


def _step(axis: Axis, level: int) -> int:
    return int(2**level) if axis.type == "space" else 1


def _axis(axis: Axis) -> dict[str, str]:
    named = {"name": axis.name, "type": axis.type}
    return named if axis.unit is None else {**named, "unit": axis.unit}


def room_for(image: Image) -> int:
    """Give the bytes that a shard may take at most: what zstd makes of incompressible chunks, and the index."""
    chunk = prod(image.chunks) * np.dtype(image.dtype).itemsize
    chunks = prod(shard // size for shard, size in zip(image.shards, image.chunks, strict=True))
    return chunks * (chunk + chunk // 128 + 512 + 16) + 4


class ShardEncoder:
    """Puts one shard together, chunk by chunk, in any order of chunks.

    Parameters
    ----------
    image
        The image whose shard it is.
    encode
        Encodes some chunks: :meth:`Codec.encoder`.
    room
        Memory to put it together in, of :func:`room_for` bytes. Used again for the next shard, it spares the system
        handing out fresh pages, which took a tenth of the time of a conversion.
    """

    def __init__(self, image: Image, encode: Encode, room: memoryview | None = None) -> None:
        grid = tuple(shard // chunk for shard, chunk in zip(image.shards, image.chunks, strict=True))
        self._dtype = np.dtype(image.dtype).newbyteorder("<")
        self._chunk = image.chunks
        self._encode = encode
        self._index = np.full((prod(grid), 2), ABSENT, "<u8")
        self._room = memoryview(bytearray(room_for(image))) if room is None else room
        self._size = 0
        self._waiting: list[tuple[int, memoryview]] = []

    def add(self, place: int, pixels: npt.NDArray[Any]) -> None:
        """Encode chunk number ``place`` (C order within the shard); short at the array's end is padded with zeros."""
        if pixels.shape == self._chunk and pixels.dtype == self._dtype and pixels.flags.c_contiguous:
            self._waiting.append((place, pixels.data))
        else:
            self._waiting.append((place, self._whole(pixels).data))
        if len(self._waiting) == _TOGETHER:
            self._flush()

    def _whole(self, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if pixels.shape != self._chunk:
            padded = np.zeros(self._chunk, self._dtype)
            padded[tuple(slice(size) for size in pixels.shape)] = pixels
            pixels = padded
        return np.ascontiguousarray(pixels, self._dtype)

    def _flush(self) -> None:
        """Encode the chunks that wait, and take them in the order in which they came."""
        encoded = self._encode([chunk for _, chunk in self._waiting]) if self._waiting else []
        for (place, _), data in zip(self._waiting, encoded, strict=True):
            self.take(place, data)
        self._waiting.clear()

    def take(self, place: int, data: Buffer) -> None:
        """Take in chunk number ``place``, encoded already."""
        start = self._size
        self._append(data)
        self._index[place] = start, self._size - start

    def _append(self, data: Buffer) -> None:
        view = memoryview(data)
        self._room[self._size : self._size + len(view)] = view
        self._size += len(view)

    def finish(self) -> memoryview:
        """Give the object: encoded chunks, then the index (offset and size of each, uint64) with its CRC-32C."""
        self._flush()
        index = self._index.tobytes()
        self._append(index + crc32c(index))
        return self._room[: self._size]


def shard_key(image: Image, shard: int) -> str:
    """Give the key of a shard below the image's group, for shards that follow one another along the first axis."""
    return f"0/c/{shard}" + "/0" * (len(image.axes) - 1)
