"""Reads from one object of a store, and the index at the end (or start) of a shard: whole, or an error that names it.

A missing or torn object never becomes zeros. An index is kept once it has been checked; it is put where other
threads see it only when it is complete.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Buffer, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from zarrscope.errors import MissingDataError, StoreError, TemporaryError
from zarrscope.loaders.codecs import crc32c, names
from zarrscope.storage import Blob, Storage

ABSENT = np.uint64((1 << 64) - 1)
CACHED_BYTES = 64 << 20  # of shard indexes an array keeps: four thousand shards of 1,024 chunks
_NEXT = "`zarrscope verify` lists all that is wrong with the store."


class StoredObject:
    """One object, opened once for any number of reads.

    A local one is a descriptor with positional reads, so threads and forked children share nothing that moves.
    """

    def __init__(self, storage: Storage, key: str) -> None:
        self._storage, self._key = storage, key

    @property
    def where(self) -> str:
        """The object as a user would type it."""
        return self._storage.at(self._key)

    @cached_property
    def _blob(self) -> Blob:
        return Blob(f"{self._storage.root}/{self._key}")

    def whole(self) -> Buffer:
        """Read all of it."""
        try:
            if self._storage.root is None:
                return self._storage.get(self._key)
            return self._blob.read(0, self._blob.size)
        except OSError as error:
            raise self._explain(error) from None

    def tail(self, length: int) -> Buffer:
        """Read the last ``length`` bytes; fewer where the object is shorter."""
        try:
            if self._storage.root is None:
                return self._counted(self._storage.get(self._key, -length), length)
            start = max(0, self._blob.size - length)
            return self._blob.read(start, length)
        except OSError as error:
            raise self._explain(error) from None

    def part(self, start: int, stop: int) -> Buffer:
        """Read the bytes from ``start`` to ``stop``, all of them."""
        try:
            if self._storage.root is None:
                data: Buffer = self._counted(self._storage.get(self._key, start, stop), stop - start)
            else:
                data = self._blob.read(start, stop - start)
        except OSError as error:
            raise self._explain(error) from None
        if (found := memoryview(data).nbytes) != stop - start:
            raise torn(self.where, f"expected {stop - start:,} bytes from byte {start:,}, found {found:,}")
        return data

    def _counted(self, data: bytes, most: int) -> bytes:
        if len(data) > most:
            raise StoreError(
                f"{self.where}: asked for {most:,} bytes, got {len(data):,}: its server ignores range requests. "
                "Serve the store with one that does (nginx, an object store), or copy it."
            )
        return data

    def _explain(self, error: OSError) -> OSError:
        # Error texts of remote clients may hold signed URLs: none is passed on.
        if isinstance(error, StoreError):
            return error
        if isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError)):
            return MissingDataError(f"{self.where} is missing. {_NEXT}")
        if isinstance(error, PermissionError):
            return StoreError(f"{self.where}: no permission to read it.")
        return TemporaryError(f"{self.where} could not be read ({type(error).__name__}). Try again.")


def torn(where: str, found: str) -> MissingDataError:
    """Say that an object is there but not whole."""
    return MissingDataError(f"{where} is torn: {found}. {_NEXT}")


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """Where each chunk of a shard lies: ``(chunks,)`` int64 first bytes and sizes, size -1 for an absent chunk."""

    starts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    mean: int


@dataclass(frozen=True, slots=True)
class IndexLayout:
    """How the index of an array's shards is stored: bytes little-endian, mostly with a CRC-32C."""

    chunks: int
    checked: bool
    at_end: bool
    most: int

    @classmethod
    def parse(cls, configuration: Mapping[str, Any], chunks: int, most: int, where: str) -> IndexLayout:
        """Read the configuration of ``sharding_indexed``; ``most`` bounds the bytes of one encoded chunk."""
        codecs = names(configuration.get("index_codecs", []))
        kinds = [name for name, _ in codecs]
        little = bool(codecs) and codecs[0][1].get("endian", "little") == "little"
        location = configuration.get("index_location", "end")
        if kinds not in (["bytes"], ["bytes", "crc32c"]) or not little or location not in ("start", "end"):
            raise StoreError(f"{where}: a shard index of {kinds} at its {location} can't be read.")
        return cls(chunks=chunks, checked=kinds[-1] == "crc32c", at_end=location == "end", most=most)

    @property
    def size(self) -> int:
        """Bytes of the stored index."""
        return 16 * self.chunks + 4 * self.checked

    def read(self, stored: StoredObject) -> ShardIndex:
        """Read the index of one shard: one request."""
        return self.decode(stored.tail(self.size) if self.at_end else stored.part(0, self.size), stored.where)

    def of_whole(self, shard: Buffer, where: str) -> ShardIndex:
        """Read the index out of a shard that is in memory."""
        view = memoryview(shard)
        return self.decode(view[max(0, view.nbytes - self.size) :] if self.at_end else view[: self.size], where)

    def decode(self, data: Buffer, where: str) -> ShardIndex:
        """Check and decode the bytes of an index.

        Raises
        ------
        MissingDataError
            Where it is cut, its checksum does not fit, or it points to nowhere.
        """
        view = memoryview(data)
        if view.nbytes != self.size:
            raise torn(where, f"expected an index of {self.size:,} bytes, found {view.nbytes:,}")
        if self.checked and crc32c(view[:-4]) != int.from_bytes(view[-4:], "little"):
            raise torn(where, "the CRC-32C of its index does not fit")
        table = np.frombuffer(view[: 16 * self.chunks], "<u8").reshape(-1, 2)
        absent = (table[:, 0] == ABSENT) & (table[:, 1] == ABSENT)
        if ((table[~absent, 1] > self.most) | (table[~absent, 0] >= 1 << 62)).any():
            raise torn(where, "its index points to nowhere")
        starts = np.where(absent, 0, table[:, 0]).astype(np.int64)
        sizes = np.where(absent, 0, table[:, 1]).astype(np.int64)
        mean = int(sizes.sum() // max(1, len(sizes) - int(absent.sum())))
        return ShardIndex(starts, np.where(absent, -1, sizes), mean)


class IndexCache:
    """The indexes read last, bounded, safe in several threads."""

    def __init__(self, index_size: int) -> None:
        self._most = max(8, CACHED_BYTES // max(1, index_size))
        self._held: OrderedDict[str, ShardIndex] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> ShardIndex | None:
        """Give the index of a shard if it is held."""
        with self._lock:
            index = self._held.get(key)
            if index is not None:
                self._held.move_to_end(key)
            return index

    def put(self, key: str, index: ShardIndex) -> None:
        """Keep a complete index, and let the one unused longest go."""
        with self._lock:
            self._held[key] = index
            while len(self._held) > self._most:
                self._held.popitem(last=False)
