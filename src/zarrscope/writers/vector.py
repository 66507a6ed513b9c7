"""Numbers that arrive in order become a sharded array of one axis whose length is known last; and are read again.

The calling thread cuts what arrives into chunks; chunks are encoded, and shards put, in threads of a pool. A shard is
held as encoded until its last chunk came, then put once and forgotten. Where chunks end follows from the place of a
number alone: the bytes depend neither on the pieces in which numbers arrive nor on the number of threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Buffer, Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash
import zstandard

from zarrscope.errors import StoreError
from zarrscope.writers.codec import ABSENT, Codec, crc32c
from zarrscope.writers.elements import Document, array_document

type Put = Callable[[str, Buffer], None]
type Get = Callable[[str], Buffer]
type Numbers = npt.NDArray[Any]

_TOGETHER = 4  # chunks encoded in one call


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How a long array is cut: numbers a chunk and a shard, and what chunks are encoded with."""

    chunk: int
    shard: int
    codec: Codec

    @property
    def places(self) -> int:
        """How many chunks a shard has."""
        return self.shard // self.chunk

    def room(self, dtype: np.dtype[Any]) -> int:
        """Give the bytes that a shard may take at most: what zstd makes of incompressible chunks, and the index."""
        size = self.chunk * dtype.itemsize
        return self.places * (size + size // 128 + 512 + 16) + 4

    def document(self, length: int, dtype: np.dtype[Any]) -> Document:
        """Give the document of such an array."""
        return array_document((length,), dtype, chunk=self.chunk, shard=self.shard, codec=self.codec)


class Vector:
    """Writes one array; for one thread.

    Parameters
    ----------
    path
        Of the array; shards are put at ``path/c/0`` and so on.
    dtype
        Of its numbers; what arrives is converted to it.
    cut
        How it is cut.
    put
        Called once a shard, in threads of the pool, with bytes that are valid during the call.
    pool, workers
        Where chunks are encoded, and how many threads that are.
    """

    def __init__(self, path: str, dtype: np.dtype[Any], cut: Cut, put: Put, pool: Executor, workers: int) -> None:
        self.dtype = dtype.newbyteorder("<")
        self.length = 0
        self._path, self._cut, self._put, self._pool = path, cut, put, pool
        self._encode = cut.codec.encoder()
        self._digest = xxhash.xxh3_128()
        self._step = cut.chunk * gcd(_TOGETHER, cut.places)
        self._open, self._filled = np.empty(0, self.dtype), 0  # numbers of the next call, some of them there
        self._encoding: deque[Future[list[bytes]]] = deque()
        self._most = 2 * workers
        # A shard is put together in one of two rooms while the one before it is put from the other. Pages that nobody
        # writes to are never there, and rooms that are kept spare the system handing out fresh ones.
        self._rooms = [np.empty(cut.room(self.dtype), np.uint8).data for _ in range(2)]
        self._ends = [0]  # of the chunks in it
        self._shards = 0
        self._putting: deque[Future[None]] = deque()

    def add(self, numbers: Numbers) -> None:
        """Add some numbers behind all others; they are copied."""
        given = np.ascontiguousarray(numbers, self.dtype)
        self._digest.update(given.data)
        self.length += len(given)
        start = 0
        while start < len(given):
            if not self._filled:
                self._open = np.zeros(self._step, self.dtype)
            stop = min(len(given), start + self._step - self._filled)
            self._open[self._filled : self._filled + stop - start] = given[start:stop]
            self._filled += stop - start
            start = stop
            if self._filled == self._step:
                self._hand_out()

    def finish(self) -> None:
        """Put what is left, and wait until all is put."""
        if self._filled:
            self._hand_out()
        self._settle(0)
        if len(self._ends) > 1:
            self._put_shard()
        self._wait()

    def abandon(self) -> None:
        """Wait until nothing is under way, and put nothing more."""
        self._encoding.clear()
        self._wait()

    def _wait(self) -> None:
        while self._putting:
            self._putting.popleft().result()
        self._rooms.clear()

    def digest(self) -> bytes:
        """Give the XXH3-128 of the numbers as little-endian bytes, end to end."""
        return self._digest.digest()

    def document(self) -> Document:
        """Give the document of the array as long as it is."""
        return self._cut.document(self.length, self.dtype)

    def _hand_out(self) -> None:
        """Have some whole chunks encoded; zeros fill the last one of all."""
        numbers = self._open[: -(-self._filled // self._cut.chunk) * self._cut.chunk]
        self._encoding.append(self._pool.submit(self._encoded, numbers))
        self._filled = 0
        self._settle(self._most)

    def _encoded(self, numbers: Numbers) -> list[bytes]:
        # What several chunks were encoded into at once is larger than they are.
        return [bytes(chunk) for chunk in self._encode([chunk.data for chunk in numbers.reshape(-1, self._cut.chunk)])]

    def _settle(self, most: int) -> None:
        """Wait until no more than so many calls are under way, the oldest first."""
        while len(self._encoding) > most:
            for chunk in self._encoding.popleft().result():
                self._append(chunk)
            if len(self._ends) > self._cut.places:
                self._put_shard()

    def _append(self, data: bytes) -> None:
        start = self._ends[-1]
        self._ends.append(start + len(data))
        self._rooms[0][start : self._ends[-1]] = data

    def _put_shard(self) -> None:
        """Put the shard, with the index of its chunks: offset and size of each (uint64), and their CRC-32C."""
        index = np.full((self._cut.places, 2), ABSENT, "<u8")
        index[: len(self._ends) - 1] = np.stack([self._ends[:-1], np.diff(self._ends)], 1)
        self._append(index.tobytes() + crc32c(index.tobytes()))
        while self._putting:
            self._putting.popleft().result()
        shard = self._rooms[0][: self._ends[-1]]
        self._putting.append(self._pool.submit(self._put, f"{self._path}/c/{self._shards}", shard))
        self._rooms.reverse()
        self._ends = [0]
        self._shards += 1


def read_chunks(shard: Buffer, key: str, cut: Cut, dtype: np.dtype[Any]) -> Iterator[Numbers]:
    """Decode the chunks of a shard that :class:`Vector` wrote, in order, ``(chunk,)`` each.

    Raises
    ------
    StoreError
        If it is not what was written.
    """
    held = memoryview(shard)
    length = 16 * cut.places  # bytes of the index: offset and size of each chunk
    index = held[-length - 4 : -4]
    if held.nbytes < length + 4 or crc32c(index) != held[-4:]:
        raise _damaged(key, "the index of its chunks")
    places = np.frombuffer(index, "<u8").reshape(-1, 2)
    for number, (start, size) in enumerate(places[places[:, 0] != ABSENT].tolist()):
        data = _decoded(held[start : start + size], f"{key}, chunk {number}", cut.codec)
        yield np.frombuffer(data, dtype.newbyteorder("<"))


def _decoded(data: memoryview, where: str, codec: Codec) -> Buffer:
    if codec.name == "none":
        if crc32c(data[:-4]) != data[-4:]:
            raise _damaged(where, "bytes that fit their checksum")
        return data[:-4]
    try:
        return zstandard.ZstdDecompressor().decompress(data)
    except zstandard.ZstdError as error:
        raise _damaged(where, f"a frame that can be decoded ({error})") from None


def _damaged(where: str, expected: str) -> StoreError:
    return StoreError(f"{where}: expected {expected}, as it was just written, found something else. Convert again.")
