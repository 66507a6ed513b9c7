"""The central directory of a zip as columns, checked: every entry has its own bytes, and none promises the impossible.

Python's ``zipfile`` reads the directory (zip64, comments, junk before the archive); the contents it never touches.
"""

from __future__ import annotations

import contextlib
import io
import stat
import struct
import zipfile
from dataclasses import dataclass
from typing import override

import numpy as np
import numpy.typing as npt

from zarrscope.errors import Problem, SourceError
from zarrscope.model import Integers, Strings, strings
from zarrscope.sources.access import Data
from zarrscope.sources.inflate import RATIO

LOCAL_HEADER = 30  # bytes before the name
_END = b"PK\5\6"
_UTF8, _ENCRYPTED = 0x800, 0x1
_UNIX = 3
_METHODS = {6: "implode", 9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "XZ", 98: "PPMd"}
_UNREADABLE = (
    zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, struct.error, ValueError, OverflowError, MemoryError,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Directory:
    """The entries of a zip in the order of its directory, ``(n,)`` each.

    Parameters
    ----------
    names, sizes, crcs, packed, deflated
        As declared; ``packed`` bytes lie in the archive.
    starts, stops
        The first byte of the local header, and the byte before which the content has to end.
    refused
        Why an entry can't be read, by row.
    overlapping
        Rows whose bytes reach into those of another.
    findings
        What a user should know.
    """

    names: Strings
    sizes: Integers
    crcs: Integers
    packed: Integers
    deflated: npt.NDArray[np.bool_]
    starts: Integers
    stops: Integers
    refused: dict[int, str]
    overlapping: Integers
    findings: tuple[Problem, ...]


def end_of_zip(data: Data) -> tuple[int, int] | None:
    """Find the end-of-central-directory record: its first byte, and the bytes behind its comment."""
    begin = max(0, data.size - 22 - 0xFFFF)
    tail = bytes(data.read(begin, data.size - begin))
    at = tail.rfind(_END)
    if at < 0 or at + 22 > len(tail):
        return None
    return begin + at, len(tail) - at - 22 - int.from_bytes(tail[at + 20 : at + 22], "little")


def read_directory(data: Data, url: str) -> Directory:
    """Read the central directory.

    Raises
    ------
    SourceError
        Where it is missing, cut or contradicts itself.
    """
    end = end_of_zip(data)
    if end is None or end[1] < 0:
        raise SourceError(
            f"{url}: a zip that is cut off: expected an end-of-central-directory record in its last bytes, found "
            f"{'only a part of it' if end else 'none'} ({data.size:,} bytes in all). Fetch it again."
        )
    try:
        with zipfile.ZipFile(_File(data)) as archive:
            entries, directory_start = archive.infolist(), archive.start_dir
    except _UNREADABLE as error:
        raise SourceError(f"{url}: the central directory of this zip can't be read: {error}. Fetch it again.") from None
    names, findings = _names(entries, url)
    starts = _column([entry.header_offset for entry in entries])
    packed = _column([entry.compress_size for entry in entries])
    order = np.argsort(starts, kind="stable")
    stops = np.empty_like(starts)
    stops[order] = np.append(starts[order], directory_start)[1:]
    # The name and extra field stand there twice; how long they are in the local header is seen when it is read.
    overlapping = np.flatnonzero(packed > stops - starts - LOCAL_HEADER)
    before = int(starts.min(initial=directory_start))
    for count, place in ((before, "before"), (end[1], "after")):
        if count:
            findings.append(Problem(where=url, kind="archive", message=f"{count:,} bytes {place} the zip are not its"))
    return Directory(
        names=strings(names),
        sizes=_column([entry.file_size for entry in entries]),
        crcs=_column([entry.CRC for entry in entries]),
        packed=packed,
        deflated=np.array([entry.compress_type == zipfile.ZIP_DEFLATED for entry in entries], bool),
        starts=starts,
        stops=np.minimum(stops, starts + packed + LOCAL_HEADER + 2 * 0xFFFF),
        refused={row: reason for row, entry in enumerate(entries) if (reason := _refusal(entry))},
        overlapping=overlapping,
        findings=tuple(findings),
    )


def _column(values: list[int]) -> Integers:
    # Numbers that do not fit are lies in any case; the checks on the columns catch the largest number as well.
    return np.array([min(value, 1 << 62) for value in values], np.int64)


def _refusal(entry: zipfile.ZipInfo) -> str:
    """Say why an entry can't be read, from what the directory says of it."""
    if entry.flag_bits & _ENCRYPTED:
        return "it is encrypted"
    if entry.create_system == _UNIX and stat.S_ISLNK(entry.external_attr >> 16):
        return "a symbolic link"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        known = _METHODS.get(entry.compress_type, "unknown")
        return f"it is compressed by method {entry.compress_type} ({known}); stored and deflated members are read"
    if entry.compress_type == zipfile.ZIP_STORED and entry.file_size != entry.compress_size:
        return f"it is stored in {entry.compress_size:,} bytes, but declares {entry.file_size:,}"
    if entry.file_size > RATIO * max(entry.compress_size, 1):
        return f"it declares {entry.file_size:,} bytes from {entry.compress_size:,}: more than deflate can hold"
    return ""


def _names(entries: list[zipfile.ZipInfo], url: str) -> tuple[list[str], list[Problem]]:
    """Decode the names; those without the UTF-8 flag may be UTF-8 all the same, else they are taken for cp437."""
    names, unflagged, foreign = [], [], []
    for entry in entries:
        name = entry.orig_filename
        if not entry.flag_bits & _UTF8 and not name.isascii():
            raw = name.encode("cp437")  # as zipfile decoded it: every byte has a character
            if not entry.filename.startswith(name.partition("\0")[0]):
                name = entry.filename  # an Info-ZIP extra field gave the name in UTF-8
            else:
                try:
                    name = raw.decode()
                    unflagged.append(name)
                except UnicodeDecodeError:
                    foreign.append((name, raw))
        names.append(name.replace("\0", "\\x00"))
    findings = []
    if unflagged:
        message = f"{len(unflagged):,} names are not flagged as UTF-8, but are: {unflagged[0]!r}"
        findings.append(Problem(where=url, kind="provenance", message=message))
    if foreign:
        name, raw = foreign[0]
        message = f"{len(foreign):,} names are in an encoding that is not told, taken for cp437: {name!r}"
        with contextlib.suppress(UnicodeDecodeError):
            message += f" (in GBK it would be {raw.decode('gbk')!r})"
        findings.append(Problem(where=url, kind="provenance", message=message))
    return names, findings


class _File(io.RawIOBase):
    """What ``zipfile`` needs of a file, over ranges of bytes."""

    def __init__(self, data: Data) -> None:
        self._data = data
        self._at = 0

    @override
    def seekable(self) -> bool:
        return True

    @override
    def readable(self) -> bool:
        return True

    @override
    def tell(self) -> int:
        return self._at

    @override
    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._data.size}[whence]
        if self._at < 0:
            self._at = 0
            raise OSError("a place before the first byte")
        return self._at

    @override
    def read(self, size: int | None = -1, /) -> bytes:
        length = self._data.size - self._at
        data = bytes(self._data.read(self._at, length if size is None or size < 0 else min(size, length)))
        self._at += len(data)
        return data
