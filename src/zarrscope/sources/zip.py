"""A zip as a source: its directory is the index, and members that lie side by side come with one read.

The offset of a member is that of its local header: where the content begins behind it is only told there, and asking
for it would be one read a member.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from isal import isal_zlib

from zarrscope.errors import DecodeError, Problem, SourceError
from zarrscope.model import Index, Integers, Member, Members
from zarrscope.sources.access import BrokenError, Section, member_error, refusals, runs
from zarrscope.sources.directory import LOCAL_HEADER, Directory, read_directory
from zarrscope.sources.inflate import Inflated, inflate

_OVERLAP = "its bytes reach into those of another entry"


class Entry:
    """The content of one entry, read piece by piece; read in order from end to end it is compared with its CRC-32.

    Parameters
    ----------
    data
        Its bytes.
    where
        How messages call it.
    crc
        The CRC-32 that the directory declares.
    """

    def __init__(self, data: Section | Inflated, where: str, crc: int) -> None:
        self._data, self._where, self._crc = data, where, crc
        self._at, self._sum = 0, 0  # how far it was read in order, and the CRC-32 so far
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes in all."""
        return self._data.size

    def read(self, offset: int, length: int) -> memoryview:
        """Read ``length`` bytes from ``offset``; fewer only at the end.

        Raises
        ------
        DecodeError
            Where the deflated data are corrupt, or all bytes were read and are not those that the zip declares.
        """
        try:
            data = self._data.read(offset, length)
        except BrokenError as broken:
            raise DecodeError(f"{self._where}: {broken.found}.") from None
        with self._lock:
            if offset != self._at or not len(data):
                return data
            self._at, self._sum = offset + len(data), isal_zlib.crc32(data, self._sum)
            if self._at == self.size and self._sum != self._crc:
                raise DecodeError(f"{self._where}: its CRC-32 is {self._sum:08x}, but {self._crc:08x} is declared.")
        return data


@dataclass(frozen=True, kw_only=True)
class ZipSource:
    """A zip with stored and deflated members.

    Parameters
    ----------
    data
        The bytes of the zip.
    name, url, kind
        As :class:`zarrscope.model.Source` says.
    """

    data: Section
    name: str
    url: str
    kind: str = "zip"
    sequential: bool = False

    def __getstate__(self) -> tuple[Section, str, str]:
        return self.data, self.name, self.url

    def __setstate__(self, state: tuple[Section, str, str]) -> None:
        for field, value in zip(("data", "name", "url"), state, strict=True):
            object.__setattr__(self, field, value)

    @property
    def size(self) -> int:
        """Bytes of the file in which the zip lies."""
        return self.data.blob.size

    def token(self) -> str:
        """Tell in a short text whether the file changed since."""
        return self.data.blob.token()

    @cached_property
    def directory(self) -> Directory:
        """The entries, read once.

        Raises
        ------
        SourceError
            Where the central directory is missing, cut or contradicts itself.
        """
        return read_directory(self.data, self.url)

    @cached_property
    def _by_start(self) -> tuple[Integers, Integers]:
        """The rows in the order in which they lie, and where each begins."""
        order = np.argsort(self.directory.starts, kind="stable")
        return order, self.directory.starts[order]

    def index(self, *, salvage: bool = False) -> Index:
        """List the entries of the directory, folders included.

        Raises
        ------
        SourceError
            Where entries overlap; with ``salvage`` these are refused one by one.
        """
        entries = self.directory
        refused, findings = dict(entries.refused), entries.findings
        overlapping = entries.overlapping.tolist()
        if overlapping:
            row = overlapping[0]
            message = (
                f"broken at byte {int(entries.starts[row]):,}: the entry {entries.names[row]!r} reaches into the bytes "
                f"of another, or of the directory ({len(overlapping):,} of {len(entries.names):,} entries do)"
            )
            if not salvage:
                raise SourceError(f"{self.url}: {message}. Fetch it again, or salvage the other entries.")
            refused |= dict.fromkeys(overlapping, _OVERLAP)
            findings = (*findings, Problem(where=self.url, kind="archive", message=message))
        members = Members(names=entries.names, sizes=entries.sizes, offsets=entries.starts, refused=refused)
        return Index(members=members, findings=findings, salvaged=bool(overlapping))

    def read(self, members: Members) -> Iterator[memoryview | DecodeError]:
        """Give the content of each member in the order asked for; members side by side come with one read."""
        reasons = refusals(members)
        rows = self._rows(members, reasons)
        starts: list[int] = self.directory.starts[rows].tolist() if len(self.directory.starts) else [-1] * len(rows)
        stops: list[int] = self.directory.stops[rows].tolist() if len(self.directory.starts) else starts
        for first, behind in runs(starts, stops, reasons, self.data.run):
            if first in reasons:
                yield member_error(self.url, members, first, reasons[first])
                continue
            chunk = self.data.read(starts[first], stops[behind - 1] - starts[first])
            for place in range(first, behind):
                entry = chunk[starts[place] - starts[first] : stops[place] - starts[first]]
                try:
                    content = self._content(int(rows[place]), entry)
                except ValueError as error:
                    yield member_error(self.url, members, place, str(error))
                else:
                    yield content

    def open(self, member: Member) -> Entry:
        """Give the content of one entry, to be read piece by piece.

        Raises
        ------
        DecodeError
            Where it can't be read.
        """
        reasons: dict[int, str] = {}
        rows = self._rows(Members.of([member]), reasons)
        try:
            reason = reasons.get(0)
            if reason is None:
                row, where = int(rows[0]), f"{self.url}!/{member.name}"
                return Entry(self.content(row), where, int(self.directory.crcs[row]))
        except ValueError as error:
            reason = str(error)
        raise DecodeError(f"{self.url}!/{member.name}: {reason}.")

    def content(self, row: int) -> Section | Inflated:
        """Give the bytes of one entry as a source's data: a stretch of the zip, or a stream.

        Raises
        ------
        ValueError
            Where the entry can't be read.
        """
        entries = self.directory
        if row in entries.refused or row in entries.overlapping:
            raise ValueError(entries.refused.get(row, _OVERLAP))
        start, packed = int(entries.starts[row]), int(entries.packed[row])
        header = self.data.read(start, LOCAL_HEADER)
        begin = _content_begin(header)
        if begin + packed > int(entries.stops[row]) - start:
            raise ValueError(_OVERLAP)
        section = self.data.part(start + begin, packed)
        if entries.deflated[row]:
            return Inflated(section, int(entries.sizes[row]), int(entries.crcs[row]))
        return section

    def _rows(self, members: Members, reasons: dict[int, str]) -> Integers:
        """Find the entry of each member by its offset; say where there is none."""
        order, starts = self._by_start
        if not len(starts):
            reasons |= {place: reasons.get(place, "it has no place in the archive") for place in range(len(members))}
            return np.zeros(len(members), np.int64)
        places = np.minimum(np.searchsorted(starts, members.offsets), len(starts) - 1)
        rows = order[places]
        wrong = (starts[places] != members.offsets) | (self.directory.sizes[rows] != members.sizes)
        for place in np.flatnonzero(wrong).tolist():
            reasons.setdefault(place, "it has no place in the archive, which is another one than was listed")
        for place, row in enumerate(rows.tolist()):
            if row in self.directory.refused:
                reasons.setdefault(place, self.directory.refused[row])
        return rows

    def _content(self, row: int, entry: memoryview) -> memoryview:
        """Take an entry apart: local header, name, extra field, content."""
        entries = self.directory
        begin, packed, size = _content_begin(entry), int(entries.packed[row]), int(entries.sizes[row])
        content = entry[begin : begin + packed]
        if len(content) < packed:
            raise ValueError(f"the archive has {len(content):,} of its {packed:,} bytes")
        if entries.deflated[row]:
            content = memoryview(inflate(content, size))
        if isal_zlib.crc32(content) != int(entries.crcs[row]):
            raise ValueError(
                f"its CRC-32 is {isal_zlib.crc32(content):08x}, but {int(entries.crcs[row]):08x} is declared"
            )
        return content


def _content_begin(header: memoryview) -> int:
    """Read from a local header how far behind its first byte the content begins."""
    if len(header) < LOCAL_HEADER or bytes(header[:4]) != b"PK\3\4":
        raise ValueError(f"expected a local header, found {bytes(header[:4])!r}")
    return LOCAL_HEADER + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
