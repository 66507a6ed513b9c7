"""The shards of a pyramid while they are put together: their chunks come row by row, over all columns."""

from __future__ import annotations

import hashlib
from collections.abc import Buffer, Callable, Sequence
from dataclasses import dataclass

import numpy as np

from zarrscope.model import Digest, Image
from zarrscope.writers.codec import Encode
from zarrscope.writers.image import ShardEncoder, level_shape, room_for

type Encoded = tuple[bytes, Buffer]  # the digest of a chunk's pixels, and the chunk
type Put = Callable[[str, memoryview], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """What is known of a shard that was put.

    Parameters
    ----------
    place
        Its level, and its row and column among the shards of the level.
    digest
        Of the object.
    values
        SHA-256 over ``pixel_digests``: survives another encoding.
    pixel_digests
        XXH3-128 of the pixels of each chunk, ``(c, y, x)`` in C order, little-endian, without padding: 16 bytes a
        chunk, end to end, for those chunks of the shard that lie in the picture, row by row.
    """

    place: tuple[int, int, int]
    digest: Digest
    values: str
    pixel_digests: bytes


class Assembly:
    """The shards that are open; for one thread at a time.

    Parameters
    ----------
    image
        ``(c, y, x)``, with all channels in a chunk.
    encode
        As for :class:`ShardEncoder`; chunks come encoded.
    """

    def __init__(self, image: Image, encode: Encode) -> None:
        self._image, self._encode = image, encode
        _, chunk_rows, chunk_columns = image.chunks
        self._inner = image.shards[1] // chunk_rows, image.shards[2] // chunk_columns
        shapes = (level_shape(image, level)[1:] for level in range(image.levels))
        self._grids = [(-(-height // chunk_rows), -(-width // chunk_columns)) for height, width in shapes]
        self._open: dict[tuple[int, int, int], OpenShard] = {}

    def take(self, level: int, row: int, column: int, chunks: Sequence[Encoded]) -> OpenShard | None:
        """Take neighbours of one row of chunks, which all lie in one shard; give the shard if they were its last."""
        high, wide = self._inner
        place = level, row // high, column // wide
        if place not in self._open:
            # Pages that nobody writes to are never there: a shard takes the memory of what is in it.
            room = memoryview(np.empty(room_for(self._image), np.uint8))
            self._open[place] = OpenShard(place, ShardEncoder(self._image, self._encode, room))
        shard = self._open[place]
        for at, (digest, chunk) in enumerate(chunks, row % high * wide + column % wide):
            shard.take(at, digest, chunk)
        rows, columns = self._grids[level]
        last = min((place[1] + 1) * high, rows) - 1, min((place[2] + 1) * wide, columns) - 1
        return self._open.pop(place) if (row, column + len(chunks) - 1) == last else None


class OpenShard:
    """One shard, and the digests of its chunks, in the order in which they come."""

    def __init__(self, place: tuple[int, int, int], encoder: ShardEncoder) -> None:
        self._place, self._encoder = place, encoder
        self._pixel_digests = bytearray()

    def take(self, place: int, digest: bytes, chunk: Buffer) -> None:
        """Take chunk number ``place`` (C order within the shard); row by row, over all columns, that is increasing."""
        self._encoder.take(place, chunk)
        self._pixel_digests += digest

    def finish(self, put: Put) -> Shard:
        """Put the object, and say what it was."""
        level, row, column = self._place
        key, data = f"{level}/c/0/{row}/{column}", self._encoder.finish()
        sha256 = hashlib.sha256(data).hexdigest()
        put(key, data)
        return Shard(
            place=self._place,
            digest=Digest(key=key, size=len(data), sha256=sha256),
            values=hashlib.sha256(self._pixel_digests).hexdigest(),
            pixel_digests=bytes(self._pixel_digests),
        )
