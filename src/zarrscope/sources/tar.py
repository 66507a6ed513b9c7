"""A tar as a source: the walk finds where each content lies, and reading is a range of bytes.

A tar inside a zip is the same over a stretch of the zip if it is stored there, and over an inflating stream if it is
deflated. The CRC-32 that a zip keeps of a stored tar covers all of it and is not checked: that would take a pass over
every byte. That of a deflated tar is, at the end of the index pass, which reads everything anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from zarrscope.errors import DecodeError, Problem
from zarrscope.model import Index, Member, Members
from zarrscope.sources.access import BrokenError, Section, member_error, refusals, runs
from zarrscope.sources.inflate import Inflated
from zarrscope.sources.walk import walk


@dataclass(frozen=True, kw_only=True)
class TarSource:
    """A tar, in a file of its own or inside a zip.

    Offsets count from the start of the tar, which inside a zip is not the start of the file.

    Parameters
    ----------
    data
        The bytes of the tar.
    name, url, kind
        As :class:`zarrscope.model.Source` says.
    findings
        What was noticed on the way to the tar.
    """

    data: Section | Inflated
    name: str
    url: str
    kind: str = "tar"
    findings: tuple[Problem, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of the file in which the tar lies."""
        return self.data.blob.size

    @property
    def sequential(self) -> bool:
        """Whether the tar is deflated, so that an earlier member means to start anew."""
        return isinstance(self.data, Inflated)

    def token(self) -> str:
        """Tell in a short text whether the file changed since."""
        return self.data.blob.token()

    def index(self, *, salvage: bool = False) -> Index:
        """Find the members in one pass over the headers.

        Raises
        ------
        SourceError
            Where the structure is broken, naming the byte; with ``salvage`` what stands before it is taken.
        """
        data = self.data
        if isinstance(data, Inflated):  # a stream of its own: those who read meanwhile stay where they are
            data = Inflated(data.packed, data.size, data.crc)
        found = walk(data, self.url, salvage=salvage)
        return replace(found, findings=(*self.findings, *found.findings))

    def read(self, members: Members) -> Iterator[memoryview | DecodeError]:
        """Give the content of each member in the order asked for; members side by side come with one read.

        A view keeps the bytes of its whole read alive.
        """
        reasons = refusals(members)
        for row in (members.offsets < 0).nonzero()[0].tolist():
            reasons.setdefault(row, "it has no place in the archive")
        starts: list[int] = members.offsets.tolist()
        stops: list[int] = (members.offsets + members.sizes).tolist()
        for first, behind in runs(starts, stops, reasons, self.data.run):
            if first in reasons:
                yield member_error(self.url, members, first, reasons[first])
                continue
            start = starts[first]
            chunk, why = self._run(start, stops[behind - 1])
            for row in range(first, behind):
                if stops[row] - start <= len(chunk):
                    yield chunk[starts[row] - start : stops[row] - start]
                else:
                    yield member_error(self.url, members, row, why or f"the source ends at byte {start + len(chunk):,}")

    def open(self, member: Member) -> Section:
        """Give the content of one member, to be read piece by piece.

        Raises
        ------
        DecodeError
            Where the tar is deflated: its members can only be read in order.
        """
        if not isinstance(self.data, Section) or member.offset is None:
            raise DecodeError(f"{self.url}!/{member.name}: it lies in a deflated tar. Unpack the zip around it.")
        return self.data.part(member.offset, member.size)

    def _run(self, start: int, stop: int) -> tuple[memoryview, str]:
        """Read a run of bytes; from a broken stream as many as there are, and why there are no more."""
        try:
            return self.data.read(start, stop - start), ""
        except BrokenError as broken:
            return self.data.read(start, broken.offset - start), f"the source is broken at {broken}"
