"""From the receipts of an image to its tables: ``rows``, ``statistics`` and ``manifest``.

* ``rows``: one row a sample, in the order of the image: what is known from names, whether it is ``ok`` and why not,
  where the member lies in its source, its fields, and the digests of its bytes and pixels.
* ``statistics``: one row a class, with exact sums and a histogram as ``X``.
* ``manifest``: one row an object of the image and of the two tables above, with its SHA-256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from zarrscope.engine.columns import Gather, coded, from_array
from zarrscope.errors import DecodeError, Problem
from zarrscope.model import Content, Digest, Image, Parts, Receipt, Source, Statistics, strings
from zarrscope.recipe import column_name
from zarrscope.statistics import merge
from zarrscope.storage import Storage
from zarrscope.writers.table import Columns, Sparse, TableColumn, TableContent, table_objects

EVERYTHING = "all"  # the one class of an image that has none
_PRINTED = 1 << 14  # rows whose fingerprints are taken at a time
_STEP = 4 << 20  # bytes of a member hashed at a time


class Fingerprint:
    """SHA-256 over name, size and digest of the members of a source, in the order of their rows."""

    def __init__(self) -> None:
        self._state = hashlib.sha256()

    def add(self, members: Iterable[tuple[str, int, str]]) -> None:
        """Take some members: name, size, digest in hexadecimal."""
        self._state.update("".join([f"{name}\0{size}\0{digest}\n" for name, size, digest in members]).encode())

    def text(self) -> str:
        """Give the fingerprint in hexadecimal."""
        return self._state.hexdigest()


@dataclass(eq=False)
class Gathered:
    """Everything that the receipts of one image tell."""

    image: Image
    parts: Parts
    described: dict[str, Gather] = field(default_factory=dict)  # one value a description
    codes: list[npt.NDArray[np.int32]] = field(default_factory=list)  # which description each row has
    columns: dict[str, Gather] = field(default_factory=dict)  # one value a row
    members: bytearray = field(default_factory=bytearray)
    pixels: bytearray = field(default_factory=bytearray)
    shards: list[tuple[Digest, str, Statistics]] = field(default_factory=list)
    statistics: dict[str, Statistics] = field(default_factory=dict)
    quarantined: list[Problem] = field(default_factory=list)
    rows: int = 0
    descriptions: int = 0

    def add(self, receipt: Receipt) -> None:
        """Take the receipt of the next shard."""
        length = receipt.task.stop - receipt.task.start
        codes = np.frombuffer(receipt.codes, np.int32)
        self.codes.append(np.where(codes < 0, -1, codes + self.descriptions).astype(np.int32))
        fields = dict.fromkeys(name for one in receipt.described for name in one)
        # Two fields may come to one column ("ok" and "field_ok"): the later one has it.
        for column, name in {self._name(name): name for name in fields}.items():
            _gather(self.described, column, self.descriptions).add([one.get(name) for one in receipt.described])
        for column, name in {self._name(name): name for name in receipt.rows}.items():
            _gather(self.columns, column, self.rows).add(receipt.rows[name])
        _gather(self.columns, "reason", self.rows).add([receipt.reasons.get(row) for row in range(length)])
        self.rows += length
        self.descriptions += len(receipt.described)
        for gather in self.columns.values():
            gather.skip(self.rows - len(gather))
        for gather in self.described.values():
            gather.skip(self.descriptions - len(gather))
        self.members += receipt.member_digests
        self.pixels += receipt.pixel_digests
        self.shards.append((receipt.digest, receipt.values, merge(receipt.statistics.values())))
        for name, statistics in receipt.statistics.items():
            held = self.statistics.get(name)
            self.statistics[name] = statistics if held is None else merge([held, statistics])
        self.quarantined += receipt.quarantined

    def _name(self, field: str) -> str:
        return column_name(field, self.parts.obs)

    def obs(self) -> Columns:
        """Give the columns that fields make, each built when it is written; what is tabulated goes before."""
        rows = np.concatenate(self.codes or [np.zeros(0, np.int32)])
        shared = {name: partial(gather.column, rows) for name, gather in self.described.items()}
        return Columns({**shared, **{name: gather.column for name, gather in self.columns.items()}})

    def print_members(self, prints: Sequence[Fingerprint]) -> None:
        """Add every member that has a row to the fingerprint of its source."""
        members, owners = self.parts.members, self.parts.sources
        for start in range(0, len(owners), _PRINTED):
            rows = slice(start, start + _PRINTED)
            names, sizes = members.names[rows].tolist(), members.sizes[rows].tolist()
            digests = self.members[16 * rows.start : 16 * rows.stop].hex(" ", 16).split()
            found = list(zip(names, sizes, digests, strict=True))
            for owner in np.unique(owners[rows]).tolist():
                if owner >= 0:
                    prints[owner].add(compress(found, owners[rows] == owner))


def _gather(columns: dict[str, Gather], name: str, before: int) -> Gather:
    """Give the column of a name, new ones with as many gaps as there were rows before."""
    if name not in columns:
        columns[name] = Gather()
        columns[name].skip(before)
    return columns[name]


def rows_table(gathered: Gathered) -> TableContent:
    """Build the table of an image's rows; its index is the member's name."""
    parts, fields = gathered.parts, gathered.obs()
    reason = fields["reason"]
    obs: dict[str, Callable[[], TableColumn]] = {
        **{name: partial(from_array, values) for name, values in parts.obs.items()},
        "ok": partial(ok_rows, reason),
        "reason": lambda: reason,
        **{name: partial(fields.__getitem__, name) for name in fields if name != "reason"},
        "member_offset": lambda: parts.members.offsets,
        "member_size": lambda: parts.members.sizes,
    }
    if len(np.unique(parts.sources)) > 1:
        obs["source"] = lambda: parts.sources.astype(np.int64)
    digests = {"member_xxh3_128": gathered.members, "pixels_xxh3_128": gathered.pixels}
    return TableContent(
        index=parts.members.names,
        obs=Columns(obs),
        obsm={name: np.frombuffer(data, np.uint8).reshape(-1, 16) for name, data in digests.items()},
    )


def ok_rows(reason: TableColumn) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Tell which rows have no reason against them."""
    codes = getattr(reason, "codes", None)  # plain text means that every row has a reason of its own
    return np.zeros(len(reason), bool) if codes is None else np.asarray(codes < 0)


def statistics_table(gathered: Gathered) -> TableContent:
    """Build the table of exact statistics, one row a class; ``X`` counts pixels by histogram bin."""
    names = sorted(gathered.statistics)
    found = [gathered.statistics[name] for name in names]
    bins = np.unique(np.concatenate([np.array(one.bins, np.int64) for one in found] or [np.zeros(0, np.int64)]))
    empty = [one.count == 0 for one in found]
    return TableContent(
        index=strings([name or EVERYTHING for name in names]),
        obs={
            "count": np.array([one.count for one in found], np.int64),
            "min": np.where(empty, np.nan, [one.minimum for one in found]),
            "max": np.where(empty, np.nan, [one.maximum for one in found]),
            "sum": np.array([one.sum for one in found], np.float64),
            "sum_of_squares": np.array([one.sum_of_squares for one in found], np.float64),
        },
        x=Sparse(
            data=np.concatenate([np.array(one.counts, np.int64) for one in found] or [np.zeros(0, np.int64)]),
            indices=np.concatenate(
                [np.searchsorted(bins, np.array(one.bins, np.int64)) for one in found] or [np.zeros(0, np.int64)]
            ).astype(np.int64),
            indptr=np.cumsum([0, *(len(one.bins) for one in found)]).astype(np.int64),
            shape=(len(found), len(bins)),
        ),
        var_index=strings([str(value) for value in bins.tolist()]),
        var={"bin": bins},
    )


def manifest_table(gathered: Gathered, others: Iterable[Digest]) -> TableContent:
    """Build the table of objects: keys below the image's group, sizes, SHA-256, and for shards values and sums."""
    shards = {digest.key: (values, statistics) for digest, values, statistics in gathered.shards}
    digests = sorted((*(digest for digest, _, _ in gathered.shards), *others), key=lambda one: one.key)
    none = Statistics()
    sums = [shards.get(one.key, ("", none))[1] for one in digests]
    values = [shards.get(one.key, ("", none))[0] for one in digests]
    distinct = list(dict.fromkeys(values))
    codes = np.array([distinct.index(value) if value else -1 for value in values], np.int32)
    return TableContent(
        index=strings([one.key for one in digests]),
        obs={
            "size": np.array([one.size for one in digests], np.int64),
            "sha256": strings([one.sha256 for one in digests]),
            "values_sha256": strings(values) if len(values) > 1 else coded(codes, distinct),
            "count": np.array([one.count for one in sums], np.int64),
            "min": np.array([one.minimum if one.count else np.nan for one in sums], np.float64),
            "max": np.array([one.maximum if one.count else np.nan for one in sums], np.float64),
            "sum": np.array([one.sum for one in sums], np.float64),
            "sum_of_squares": np.array([one.sum_of_squares for one in sums], np.float64),
        },
    )


def digest_object(key: str, data: bytes) -> Digest:
    """Digest one object."""
    return Digest(key=key, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def digest_member(content: Content) -> bytes:
    """Give the XXH3-128 of a member, read from its first byte to its last; DecodeError where it can't be read."""
    state = xxhash.xxh3_128()
    for start in range(0, content.size, _STEP):
        state.update(content.read(start, min(_STEP, content.size - start)))
    return state.digest()


def write_table(storage: Storage, path: str, content: TableContent) -> list[Digest]:
    """Write a table; give its objects, with keys below its group."""
    objects = ((f"{path}/{key}", data) for key, data in table_objects(content))
    return [digest_object(key.removeprefix(f"{path}/"), data) for key, data in storage.put_all(objects)]


@dataclass(frozen=True, slots=True)
class Copies:
    """Members that repeat the name of an earlier one: equal ones are ignored, others quarantined."""

    equal: int
    different: tuple[Problem, ...]


def compare_copies(gathered: Gathered, sources: Sequence[Source]) -> Copies:
    """Read every copy and compare its bytes, by digest, with the member that has the row."""
    parts, equal, different = gathered.parts, 0, list[Problem]()
    for number, source in enumerate(sources):
        here = np.flatnonzero(parts.copy_sources == number)
        copies = parts.copies.take(here)
        for place, blob in zip(here.tolist(), source.read(copies), strict=True):
            row = int(parts.copy_rows[place])
            first = bytes(gathered.members[16 * row : 16 * row + 16])
            if not isinstance(blob, DecodeError) and xxhash.xxh3_128_digest(blob) == first:
                equal += 1
                continue
            offset = int(parts.copies.offsets[place])
            found = str(blob) if isinstance(blob, DecodeError) else "its bytes differ"
            different.append(
                Problem(
                    where=f"{source.url}!/{parts.copies.names[place]}",
                    kind="duplicate",
                    message=f"a second member of this name at byte {offset}, and {found}: the first one is kept.",
                )
            )
    return Copies(equal, tuple(different))


def tables_of(gathered: Gathered) -> Mapping[str, TableContent]:
    """Give the tables that can be built before the manifest, by the last part of their path."""
    return {"rows": rows_table(gathered), "statistics": statistics_table(gathered)}
