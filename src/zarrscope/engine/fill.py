"""One task: read the members of a shard, decode them, and give the shard whole with its receipt."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from zarrscope.errors import DecodeError, Problem
from zarrscope.model import Digest, Image, Parts, Receipt, Source, Statistics, Task
from zarrscope.recipe import Described, Fields, Recipe
from zarrscope.statistics import TOGETHER, Accumulator
from zarrscope.writers.codec import Encode
from zarrscope.writers.image import ShardEncoder, shard_key

type Blob = memoryview | DecodeError
MISSING = "the member is missing from the source"


def blobs(task: Task, parts: Parts, sources: Sequence[Source]) -> Iterator[Blob]:
    """Read the members of a task in the order of its rows: as few reads as the source allows."""
    start = task.start
    owners = parts.sources[task.start : task.stop]
    changes = np.flatnonzero(np.diff(owners)) + 1 + task.start
    for stop in (*changes.tolist(), task.stop):
        owner = int(parts.sources[start])
        if owner < 0:
            yield from (DecodeError(MISSING) for _ in range(start, stop))
        else:
            yield from sources[owner].read(parts.members.take(slice(start, stop)))
        start = stop


class Decoder:
    """Decodes members against what an image expects; says why not, naming the member as a user would type it."""

    def __init__(self, image: Image, parts: Parts, recipe: Recipe, sources: Sequence[Source]) -> None:
        self._dtype = np.dtype(image.dtype)
        self._shape = image.row_shape
        self._parts, self._recipe, self._sources = parts, recipe, sources

    def where(self, row: int) -> str:
        """Name the member of a row."""
        owner = int(self._parts.sources[row])
        source = self._sources[max(owner, 0)]
        return f"{source.url}!/{self._parts.members.names[row]}"

    def __call__(self, blob: Blob) -> tuple[npt.NDArray[Any], Fields]:
        """Give pixels (C order, native bytes) and fields, or raise DecodeError."""
        if isinstance(blob, DecodeError):
            raise blob
        pixels, fields = self._recipe.decode(blob)
        if pixels.shape == self._shape and pixels.dtype == self._dtype and pixels.flags.c_contiguous:
            return pixels, fields
        if pixels.shape != self._shape or pixels.dtype.newbyteorder("=") != self._dtype:
            raise DecodeError(
                f"expected {self._dtype.name} pixels of shape {self._shape}, found {pixels.dtype.name} {pixels.shape}."
            )
        return np.ascontiguousarray(pixels, dtype=self._dtype), fields


def fill(
    task: Task,
    image: Image,
    parts: Parts,
    content: Iterable[Blob],
    decode: Decoder,
    recipe: Recipe,
    encode: Encode,
    *,
    room: memoryview | None = None,
    keep: Sequence[str] = (),
    strict: bool = False,
) -> tuple[memoryview, Receipt]:
    """Turn the members of a task into its shard and its receipt.

    A member that can't be decoded leaves a row of zeros, and its reason in the receipt; with ``strict`` it raises.
    """
    shard = ShardEncoder(image, encode, room)
    rows = _Rows(image, parts, task)
    chunk_rows, held = image.chunks[0], list[npt.NDArray[Any]]()
    empty = np.zeros(image.row_shape, image.dtype)
    for row, blob in enumerate(content, task.start):
        try:
            pixels, fields = decode(blob)
        except DecodeError as error:
            where = decode.where(row)
            reason = str(error).removeprefix(f"{where}: ")  # a source names the member already
            if strict:
                raise DecodeError(f"{where}: {reason}") from None
            rows.quarantine(where, blob, empty, reason)
            pixels = empty
        else:
            rows.add(blob, pixels, fields)
        if chunk_rows == 1:
            shard.add(row - task.start, pixels[np.newaxis])
        else:
            held.append(pixels)
            if len(held) == chunk_rows or row == task.stop - 1:
                shard.add((row - task.start) // chunk_rows, np.stack(held))
                held = []
    data = shard.finish()
    digest = Digest(key=shard_key(image, task.shard), size=len(data), sha256=hashlib.sha256(data).hexdigest())
    return data, rows.receipt(digest, recipe, keep)


class _Rows:
    """What a task learns of its rows: digests, statistics by class, fields, and what went wrong."""

    def __init__(self, image: Image, parts: Parts, task: Task) -> None:
        self._task = task
        self._obs = {name: column[task.start : task.stop] for name, column in parts.obs.items()}
        rows = task.stop - task.start
        self._classes = list(map(str, self._obs[image.classes].tolist())) if image.classes else [""] * rows
        self._statistics = {name: Accumulator(np.dtype(image.dtype)) for name in dict.fromkeys(self._classes)}
        self._waiting: list[tuple[str, npt.NDArray[Any]]] = []
        self._fields: list[Fields | None] = []
        self._reasons: dict[int, str] = {}
        self._members, self._pixels = bytearray(), bytearray()
        self._problems: list[Problem] = []
        self._read = 0

    def add(self, blob: Blob, pixels: npt.NDArray[Any], fields: Fields) -> None:
        self._waiting.append((self._classes[len(self._fields)], pixels))
        if len(self._waiting) == TOGETHER:
            self._count()
        self._note(blob, pixels, fields)

    def _count(self) -> None:
        for name in dict(self._waiting):
            self._statistics[name].add(*[pixels for one, pixels in self._waiting if one == name])
        self._waiting.clear()

    def quarantine(self, where: str, blob: Blob, pixels: npt.NDArray[Any], reason: str) -> None:
        self._problems.append(Problem(where=where, kind="missing" if reason == MISSING else "decode", message=reason))
        self._reasons[len(self._fields)] = reason
        self._note(blob, pixels, None)

    def _note(self, blob: Blob, pixels: npt.NDArray[Any], fields: Fields | None) -> None:
        self._fields.append(fields)
        self._pixels += xxhash.xxh3_128_digest(pixels.data)
        if isinstance(blob, DecodeError):
            self._members += bytes(16)
        else:
            self._members += xxhash.xxh3_128_digest(blob)
            self._read += len(blob)

    def receipt(self, digest: Digest, recipe: Recipe, keep: Sequence[str]) -> Receipt:
        dropped = {name for name in recipe.private if name not in keep}
        described = Described.of(self._fields, self._obs, recipe.describe)
        further = recipe.tabulate(described) if recipe.tabulate is not None else {}
        self._count()
        statistics: Mapping[str, Statistics] = {name: one.result() for name, one in self._statistics.items()}
        return Receipt(
            task=self._task,
            digest=digest,
            values=hashlib.sha256(self._pixels).hexdigest(),
            described=tuple(_without(one, dropped) for one in described.distinct),
            codes=described.codes.tobytes(),
            rows=_without(further, dropped),
            reasons=self._reasons,
            member_digests=bytes(self._members),
            pixel_digests=bytes(self._pixels),
            statistics=statistics,
            quarantined=tuple(self._problems),
            bytes_read=self._read,
        )


def _without[V](columns: Mapping[str, V], dropped: set[str]) -> dict[str, V]:
    return {name: value for name, value in columns.items() if name not in dropped}
