"""The journal of a conversion: plan, rows and one receipt a task, below ``.zarrscope/`` of the store it fills.

The order of writes is the promise: a shard is durable before its receipt is written, every receipt before the
tables, the tables before the record, and the record before the journal is deleted. Whatever is killed in between
leaves either a finished store or one whose receipts tell exactly what is done.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard

from zarrscope import planning
from zarrscope.errors import StoreError
from zarrscope.model import STRING, Digest, Members, Parts, Plan, Receipt, SampleReceipt, Scalar, Task, strings
from zarrscope.record import JOURNAL
from zarrscope.storage import Storage

PLAN = f"{JOURNAL}/plan.json"
_PARTS = f"{JOURNAL}/parts"
_BLOCK = 1 << 14  # texts that are Python objects at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What came of one part of a sample: its objects and what it told, or why there is none of it."""

    objects: tuple[Digest, ...] = ()
    told: Mapping[str, Scalar] = field(default_factory=dict)
    problem: str | None = None


class Journal:
    """What a conversion under way has written down. Every object is written whole or not at all."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def exists(self) -> bool:
        """Tell whether anything temporary is there, be it an empty folder."""
        if self.storage.root is not None:
            return (self.storage.root / JOURNAL).exists()
        return next(iter(self.storage.keys(JOURNAL)), None) is not None

    def plan(self) -> Plan | None:
        """Read the plan of the conversion under way, if there is one."""
        try:
            document = self.storage.get(PLAN)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return planning.from_json(document)
        except msgspec.DecodeError as error:
            raise StoreError(
                f"{self.storage.at(PLAN)} was written by another version of zarrscope ({error}). "
                "Pass --overwrite to begin anew."
            ) from None

    def token(self) -> str:
        """Give a digest of the plan: what tells this conversion from an earlier or later one at the same place."""
        try:
            return hashlib.sha256(self.storage.get(PLAN)).hexdigest()
        except (FileNotFoundError, NotADirectoryError):
            return ""

    def begin(self, plan: Plan, parts: Sequence[Parts]) -> None:
        """Write down the rows, then the plan: with the plan, the conversion has begun."""
        for one in parts:
            self.storage.put(f"{JOURNAL}/rows/{one.image}", pack_parts(one))
        self.storage.put(PLAN, planning.to_json(plan))

    def keep_earlier(self, rows: bytes) -> None:
        """Write down, before the plan, rows of earlier conversions that will be written anew."""
        self.storage.put(f"{JOURNAL}/rows/earlier", _compress(rows))

    def earlier(self) -> bytes:
        """Read back what ``keep_earlier`` wrote."""
        key = f"{JOURNAL}/rows/earlier"
        try:
            return _decompress(self.storage.get(key))
        except (FileNotFoundError, zstandard.ZstdError, MemoryError):
            raise StoreError(f"{self.storage.at(key)} is gone or damaged. Pass --overwrite to begin anew.") from None

    def parts(self, image: str) -> Parts:
        """Read the rows of an image back: no pass over the source is needed to resume."""
        key = f"{JOURNAL}/rows/{image}"
        try:
            return unpack_parts(self.storage.get(key))
        except (FileNotFoundError, zstandard.ZstdError, msgspec.DecodeError, KeyError, MemoryError):
            raise StoreError(f"{self.storage.at(key)} is gone or damaged. Pass --overwrite to begin anew.") from None

    def add(self, receipt: Receipt) -> None:
        """Write a receipt down; its shard must be durable by now."""
        self.storage.put(_receipt_key(receipt.task), _compress(msgspec.msgpack.encode(receipt)))

    def receipt(self, task: Task) -> Receipt | None:
        """Read the receipt of a task; None where there is none, or none that can be read."""
        try:
            return msgspec.msgpack.decode(_decompress(self.storage.get(_receipt_key(task))), type=Receipt)
        except (FileNotFoundError, zstandard.ZstdError, msgspec.DecodeError, MemoryError):
            return None  # a damaged header may tell any size

    def receipts(self, plan: Plan, image: str) -> Iterator[Receipt]:
        """Read the receipts of an image in the order of its shards."""
        for task in plan.tasks:
            if task.image == image:
                receipt = self.receipt(task)
                if receipt is None:
                    raise StoreError(f"{self.storage.at(_receipt_key(task))}: the receipt is gone. Run convert again.")
                yield receipt

    def add_sample(self, receipt: SampleReceipt) -> None:
        """Write the receipt of a sample down; its objects must be durable by now. Those of its parts are done with."""
        self.storage.put(_receipt_key(receipt.task), _compress(msgspec.msgpack.encode(receipt)))
        self.storage.delete(f"{_PARTS}/{receipt.task.image}")

    def sample_receipt(self, task: Task) -> SampleReceipt | None:
        """Read the receipt of a sample; None where there is none, or none that can be read."""
        try:
            return msgspec.msgpack.decode(_decompress(self.storage.get(_receipt_key(task))), type=SampleReceipt)
        except (FileNotFoundError, zstandard.ZstdError, msgspec.DecodeError, MemoryError):
            return None

    def add_part(self, sample: str, part: str, made: Made) -> None:
        """Write down that a part of a sample is there, or why it never will be."""
        self.storage.put(f"{_PARTS}/{sample}/{part}", _compress(msgspec.msgpack.encode(made)))

    def parts_of(self, sample: str) -> dict[str, Made]:
        """Read what was made of the parts of a sample before."""
        prefix = f"{_PARTS}/{sample}/"
        names = [key.removeprefix(prefix) for key, _ in self.storage.keys(prefix.rstrip("/"))]
        return {name: made for name in names if (made := self.part(sample, name)) is not None}

    def part(self, sample: str, part: str) -> Made | None:
        """Read what was made of a part of a sample before, if its objects are there, whole as far as sizes tell."""
        try:
            made = msgspec.msgpack.decode(_decompress(self.storage.get(f"{_PARTS}/{sample}/{part}")), type=Made)
        except (FileNotFoundError, zstandard.ZstdError, msgspec.DecodeError, MemoryError):
            return None
        there = dict(self.storage.keys(sample)) if made.objects else {}
        return made if all(there.get(f"{sample}/{one.key}") == one.size for one in made.objects) else None

    def done(self, plan: Plan) -> set[Task]:
        """Tell which tasks have a receipt whose shard is there, whole as far as its size tells."""
        noted = {key for key, _ in self.storage.keys(f"{JOURNAL}/receipts")}
        sizes = {key: size for image in plan.images for key, size in self.storage.keys(f"{image.path}/0")}
        samples = {sample.path for sample in plan.samples}
        finished = set()
        for task in plan.tasks:
            if task.image in samples:
                if _receipt_key(task) in noted and self._whole(self.sample_receipt(task), task):
                    finished.add(task)
                continue
            receipt = self.receipt(task) if _receipt_key(task) in noted else None
            if receipt is None or receipt.task != task:
                continue
            if sizes.get(f"{task.image}/{receipt.digest.key}") == receipt.digest.size:
                finished.add(task)
        return finished

    def _whole(self, receipt: SampleReceipt | None, task: Task) -> bool:
        if receipt is None or receipt.task != task:
            return False
        there = dict(self.storage.keys(task.image))
        return all(there.get(f"{task.image}/{one.key}") == one.size for one in receipt.objects)

    def sweep(self) -> None:
        """Delete what a killed write left behind: partial files anywhere in the store."""
        for key, _ in list(self.storage.keys()):
            if re.search(r"/\.[^/]+\.[0-9a-f]{32}\.partial$", f"/{key}"):
                self.storage.delete(key)

    def end(self) -> None:
        """Delete the plan of a finished conversion: what is left is only litter."""
        self.storage.delete(PLAN)

    def clear(self) -> None:
        """Delete what was written down, the plan first."""
        self.end()
        for part in ("receipts", "rows", "parts"):
            self.storage.delete(f"{JOURNAL}/{part}")

    def delete(self) -> None:
        """Delete all that is temporary, the claim last: until then other converters wait."""
        self.clear()
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            try:
                self.storage.delete(JOURNAL)
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:  # a converter that came this moment will clean up
                    raise


def _receipt_key(task: Task) -> str:
    return f"{JOURNAL}/receipts/{task.image}/{task.shard}"


def _compress(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1, write_checksum=True).compress(data)


def _decompress(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(data)


def pack_parts(parts: Parts) -> bytes:
    """Serialise rows column by column."""
    packed = {
        "image": parts.image,
        "members": _pack_members(parts.members),
        "sources": _pack(parts.sources),
        "obs": {name: _pack(column) for name, column in parts.obs.items()},
        "copies": _pack_members(parts.copies),
        "copy_rows": _pack(parts.copy_rows),
        "copy_sources": _pack(parts.copy_sources),
    }
    return _compress(msgspec.msgpack.encode(packed))


def unpack_parts(data: bytes) -> Parts:
    """Read rows back."""
    packed = msgspec.msgpack.decode(_decompress(data))
    return Parts(
        image=packed["image"],
        members=_unpack_members(packed["members"]),
        sources=_unpack(packed["sources"]),
        obs={name: _unpack(column) for name, column in packed["obs"].items()},
        copies=_unpack_members(packed["copies"]),
        copy_rows=_unpack(packed["copy_rows"]),
        copy_sources=_unpack(packed["copy_sources"]),
    )


def _pack_members(members: Members) -> dict[str, Any]:
    columns = {name: _pack(getattr(members, name)) for name in ("names", "sizes", "offsets")}
    return {**columns, "refused": list(members.refused.items())}


def _unpack_members(packed: dict[str, Any]) -> Members:
    columns = {name: _unpack(packed[name]) for name in ("names", "sizes", "offsets")}
    return Members(**columns, refused=dict(packed["refused"]))


def _pack(column: npt.NDArray[Any]) -> dict[str, Any]:
    if column.dtype.kind != "T":
        return {"dtype": column.dtype.str, "data": column.tobytes()}
    pieces, lengths = list[bytes](), np.zeros(len(column), np.uint32)
    for start in range(0, len(column), _BLOCK):
        texts = column[start : start + _BLOCK].tolist()
        pieces.append("".join(texts).encode())
        alike = len(pieces[-1]) == sum(map(len, texts))  # each character is one byte
        lengths[start : start + _BLOCK] = list(map(len, texts if alike else [text.encode() for text in texts]))
    return {"text": b"".join(pieces), "lengths": lengths.tobytes()}


def _unpack(packed: dict[str, Any]) -> npt.NDArray[Any]:
    if "dtype" in packed:
        return np.frombuffer(packed["data"], packed["dtype"])
    stops = np.cumsum(np.frombuffer(packed["lengths"], np.uint32), dtype=np.int64)
    starts = np.concatenate([[0], stops[:-1]]) if len(stops) else stops
    text, column = packed["text"], np.empty(len(stops), STRING)
    for at in range(0, len(stops), _BLOCK):
        places = zip(starts[at : at + _BLOCK].tolist(), stops[at : at + _BLOCK].tolist(), strict=True)
        column[at : at + _BLOCK] = strings([text[start:stop].decode() for start, stop in places])
    return column
