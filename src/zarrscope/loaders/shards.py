"""A lazy reader of one zarr array: exactly the chunks asked for, few requests, and errors instead of zeros.

A shard's index is read once and kept. The chunks of a read are sorted by their place in the shard and neighbours
fetched together; a gap is read over only if it is smaller than a chunk, so random crops cost about the bytes that
they need. A read of a whole shard whose index is not known is one request. Arrays without shards read the same way:
an object is then one chunk.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Buffer, Mapping, Sequence
from functools import partial
from itertools import batched
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from zarrscope.errors import MissingDataError, StoreError, UsageError
from zarrscope.loaders.chunking import Piece, length, normalise, pieces
from zarrscope.loaders.codecs import ChunkDecoder, data_type, names
from zarrscope.loaders.objects import IndexCache, IndexLayout, ShardIndex, StoredObject, torn
from zarrscope.loaders.runs import Located, Run, join
from zarrscope.loaders.threads import each
from zarrscope.storage import Storage

LOCAL_GAP = 16 << 10  # bytes that are sooner read over than skipped on a disk
OPEN = 64  # objects that one read holds open
LOCAL_RUN = 1 << 20  # bytes of one local read: small enough that threads share a shard


class ShardedArray:
    """One array of a store, read lazily. Safe in threads and, pickled, in other processes.

    Parameters
    ----------
    storage
        The store.
    prefix
        The array's key in it: ``subset/normalised/0``.
    document
        The array's ``zarr.json``, parsed.

    Raises
    ------
    StoreError
        Where the document is not that of an array that can be read here.
    """

    def __init__(self, storage: Storage, prefix: str, document: Mapping[str, Any]) -> None:
        self._storage, self._prefix, self._document = storage, prefix, document
        where = storage.at(prefix)
        try:
            self.shape = tuple(int(size) for size in document["shape"])
            self.shards = tuple(int(size) for size in document["chunk_grid"]["configuration"]["chunk_shape"])
            encoding = document.get("chunk_key_encoding", {"name": "default"})
            self._separator = str(
                (encoding.get("configuration") or {}).get("separator", "/" if encoding["name"] == "default" else ".")
            )
            self._begin = {"default": [f"{prefix}/c"], "v2": []}[encoding["name"]]
            self.dtype = data_type(document, where)
            self._parse_codecs(document["codecs"], where)
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise StoreError(f"{where}: its zarr.json is not that of a zarr v3 array ({error!r}).") from None
        self._indexes = IndexCache(self._index.size if self._index else 1)
        self._process = os.getpid()

    def _parse_codecs(self, codecs: Sequence[Any], where: str) -> None:
        if len(self.shards) != len(self.shape) or min(self.shards, default=1) < 1:
            raise StoreError(f"{where}: an array of shape {self.shape} in chunks of {self.shards} can't be read.")
        outer = names(codecs)
        if len(outer) == 1 and outer[0][0] == "sharding_indexed":
            configuration = outer[0][1]
            self.chunks = tuple(int(size) for size in configuration["chunk_shape"])
            inner = configuration["codecs"]
            if any(shard % chunk for shard, chunk in zip(self.shards, self.chunks, strict=True)):
                raise StoreError(f"{where}: chunks of {self.chunks} don't fill shards of {self.shards}.")
        else:
            configuration, self.chunks, inner = None, self.shards, codecs
        self._grid = tuple(shard // chunk for shard, chunk in zip(self.shards, self.chunks, strict=True))
        self._decode = ChunkDecoder(inner, self.dtype, self.chunks, where)
        self._index = (
            None
            if configuration is None
            else IndexLayout.parse(configuration, prod(self._grid), self._decode.most, where)
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._storage, self._prefix, self._document)

    def __repr__(self) -> str:
        return f"<ShardedArray {self.where} {self.dtype} {self.shape}, chunks {self.chunks}, shards {self.shards}>"

    @property
    def where(self) -> str:
        """The array as a user would type it."""
        return self._storage.at(self._prefix)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def token(self) -> str:
        """A short text that is equal for equal arrays; it holds no credentials."""
        text = json.dumps([self._storage.url, self._prefix, self._document], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def __dask_tokenize__(self) -> tuple[str, str]:
        """Let dask name this array without pickling it."""
        return "zarrscope", self.token

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        """Read a selection: see :meth:`read`."""
        return self.read(key)

    def read_rows(self, rows: Sequence[int] | npt.NDArray[np.integer[Any]]) -> npt.NDArray[Any]:
        """Read rows along the first axis, in the order given; a row asked for twice is decoded once.

        Parameters
        ----------
        rows
            ``(k,)`` row numbers from 0; -1 is not the last row here but an error.

        Returns
        -------
        numpy.ndarray
            ``(k, ...)``.
        """
        numbers = np.asarray(rows, dtype=np.int64)
        if numbers.size and numbers.min() < 0:
            raise IndexError(f"{self.where}: row {int(numbers.min())} is out of bounds for {self.shape[0]:,} rows")
        return self.read((numbers,))

    def read(self, selection: Any) -> npt.NDArray[Any]:
        """Read a selection into memory.

        Parameters
        ----------
        selection
            An integer, a slice or an array of integers an axis; arrays select along their own axis.

        Returns
        -------
        numpy.ndarray
            In native byte order; integers drop their axis, as in numpy.

        Raises
        ------
        MissingDataError
            Where an object or a chunk is missing, or an object is torn.
        StoreError
            Where a chunk does not decode: a checksum does not fit.
        """
        self._check_process()
        selects, dropped = normalise(selection, self.shape)
        out = np.empty([length(select) for select in selects], self.dtype)
        if out.size:
            remote = self._storage.root is None
            for some in batched(pieces(selects, self.chunks, self._grid).items(), OPEN):
                runs: list[Run] = []
                each(partial(self._fetch, runs, out), some, remote=remote)
                each(partial(self._fill, out), runs, remote=remote)
        return out[tuple(0 if axis in dropped else slice(None) for axis in range(self.ndim))] if dropped else out

    def _check_process(self) -> None:
        if os.getpid() == self._process:
            return
        if self._storage.root is None:
            raise UsageError(
                f"{self.where}: opened before a fork, and remote clients do not survive one. Start workers with "
                "'forkserver' or 'spawn' (torch: multiprocessing_context='forkserver'), or open the store there."
            )
        # Positional reads survive a fork; a lock that another thread held at that moment does not.
        self._indexes = IndexCache(self._index.size if self._index else 1)
        self._process = os.getpid()

    def _key(self, shard: tuple[int, ...]) -> str:
        if self._begin:
            return self._separator.join([*self._begin, *map(str, shard)])
        return f"{self._prefix}/{self._separator.join(map(str, shard))}"

    def _fetch(self, runs: list[Run], out: npt.NDArray[Any], unit: tuple[tuple[int, ...], list[Piece]]) -> None:
        """Plan the reads from one shard; where all of a remote one is wanted, read and decode it at once."""
        shard, wanted = unit
        key = self._key(shard)
        stored = StoredObject(self._storage, key)
        by_place: dict[int, list[Piece]] = {}
        for piece in wanted:
            by_place.setdefault(piece.place, []).append(piece)
        if self._index is None:
            data = stored.whole()
            self._place(out, stored, data, [(0, memoryview(data).nbytes, wanted)])
            return
        index = self._indexes.get(key)
        if index is None and self._storage.root is None and len(by_place) == self._count(shard):
            data = stored.whole()
            index = self._index.of_whole(data, stored.where)
            self._indexes.put(key, index)
            chunks = self._located(stored, index, by_place)
            if (last := max(start + size for start, size, _ in chunks)) > memoryview(data).nbytes:
                raise torn(stored.where, f"its index points to byte {last:,}")
            self._place(out, stored, data, chunks)
            return
        if index is None:
            index = self._index.read(stored)
            self._indexes.put(key, index)
        gap, most = (index.mean, 1 << 62) if self._storage.root is None else (min(index.mean, LOCAL_GAP), LOCAL_RUN)
        runs.extend(join(stored, self._located(stored, index, by_place), gap, most))

    def _count(self, shard: tuple[int, ...]) -> int:
        """Count the chunks of a shard that lie within the array."""
        return prod(
            -(-min(shape - number * size, size) // chunk)
            for number, shape, size, chunk in zip(shard, self.shape, self.shards, self.chunks, strict=True)
        )

    def _located(self, stored: StoredObject, index: ShardIndex, by_place: Mapping[int, list[Piece]]) -> list[Located]:
        places = list(by_place)
        starts, sizes = index.starts[places].tolist(), index.sizes[places].tolist()
        if min(sizes) < 0:
            raise MissingDataError(
                f"{stored.where}: {self._chunk(places[sizes.index(-1)])} of this shard is missing. "
                "`zarrscope verify` lists all that is wrong with the store."
            )
        return [
            (start, size, by_place[place]) for start, size, place in sorted(zip(starts, sizes, places, strict=True))
        ]

    def _chunk(self, place: int) -> str:
        return f"chunk {tuple(int(at) for at in np.unravel_index(place, self._grid))}"

    def _fill(self, out: npt.NDArray[Any], run: Run) -> None:
        data = memoryview(run.stored.part(run.start, run.stop))
        self._place(out, run.stored, data, [(start - run.start, size, these) for start, size, these in run.chunks])

    def _place(
        self,
        out: npt.NDArray[Any],
        stored: StoredObject,
        data: Buffer,
        chunks: Sequence[Located],
    ) -> None:
        view = memoryview(data)
        for start, size, these in chunks:
            try:
                values = self._decode(view[start : start + size])
            except ValueError as error:
                raise StoreError(
                    f"{stored.where}: {self._chunk(these[0].place)} of this object is damaged: {error}. "
                    "`zarrscope verify` lists all that is wrong with the store."
                ) from None
            for piece in these:
                out[piece.out] = values[piece.inside]
