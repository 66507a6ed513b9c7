"""Reading bytes at a place: a stretch of a file, a look-ahead for short reads, and many members with one read.

A source reads through :class:`Data`, which a stretch of a file fulfils and the inflated content of a zip member too
(:mod:`zarrscope.sources.inflate`); the tar walk is the same over both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from zarrscope.errors import DecodeError, SourceError, TemporaryError, ZarrscopeError
from zarrscope.model import Members
from zarrscope.storage import Blob, local_path

LARGEST = 1 << 30  # bytes of the largest member that is read whole
GAP = 8 << 10  # between two contents: padding, extended headers, a header; reading it costs less than a second read
NEAR = 8 << 10  # a header this close to the last one is worth reading ahead for
LOCAL_AHEAD = 64 << 10
REMOTE_AHEAD = 8 << 20  # a request takes as long as some megabytes, so members in between are read over

type Refusals = Mapping[int, str]


class BrokenError(Exception):
    """The structure of a source ends at ``offset``: what was ``found`` there is not what has to be there."""

    def __init__(self, offset: int, found: str) -> None:
        super().__init__(f"byte {offset:,}: {found}")
        self.offset = offset
        self.found = found


class Data(Protocol):
    """Bytes that are read at a place; moving forwards is never slow."""

    @property
    def blob(self) -> Blob:
        """The file in which they lie."""

    @property
    def size(self) -> int:
        """Bytes in all."""

    @property
    def run(self) -> int:
        """The most bytes that one read should ask for."""

    def read(self, offset: int, length: int) -> memoryview:
        """Read ``length`` bytes from ``offset``; fewer only where the file is shorter than it was."""

    def finish(self) -> None:
        """Check what can only be checked once everything was read; raise BrokenError where it does not hold."""


@dataclass(frozen=True, slots=True)
class Section:
    """The bytes ``start`` to ``start + size`` of a file; safe from any thread."""

    blob: Blob
    start: int
    size: int

    @property
    def run(self) -> int:
        """The most bytes that one read should ask for."""
        return self.blob.run

    def read(self, offset: int, length: int) -> memoryview:
        """Read ``length`` bytes from ``offset`` of the section; fewer only at its end.

        Raises
        ------
        SourceError
            Where the file is gone or may not be read.
        TemporaryError
            Where the storage did not answer.
        """
        length = min(length, self.size - offset)
        if length <= 0:
            return memoryview(b"")
        try:
            data = self.blob.read(self.start + offset, length)
        except Exception as error:  # noqa: BLE001  # storage libraries raise classes of their own
            raise explained(self.blob.url, error) from None
        if len(data) > length:
            raise SourceError(
                f"{self.blob.url}: the server sent the whole file where {length:,} bytes were asked for. "
                "Range requests are needed: fetch the file, or take another server."
            )
        return data

    def finish(self) -> None:
        """Nothing is left to check."""

    def part(self, offset: int, size: int) -> Section:
        """Give a section of this section."""
        return Section(self.blob, self.start + offset, size)


def attempt[T](url: str, act: Callable[[], T]) -> T:
    """Call ``act``; what goes wrong in the storage becomes our errors, without the address that was asked for."""
    try:
        return act()
    except Exception as error:  # noqa: BLE001  # storage libraries raise classes of their own
        raise explained(url, error) from None


def explained(url: str, error: Exception) -> Exception:
    """Give the error of ours for one of the storage; ours stay as they are."""
    if isinstance(error, ZarrscopeError):
        return error
    if isinstance(error, FileNotFoundError):
        return SourceError(f"{url}: no such file.")
    if isinstance(error, PermissionError):
        return SourceError(f"{url}: may not be read. Check its permissions, or the credentials.")
    # Their texts hold signed URLs, so that the kind has to do.
    reason = error.strerror if isinstance(error, OSError) and local_path(url) else type(error).__name__
    return TemporaryError(f"{url}: can't be read ({reason or type(error).__name__}). Try again.")


class Ahead:
    """Short reads that move forwards through a section, served from a window.

    Where they lie close together the window reaches ahead; where a local file has large members between them,
    just the bytes asked for are read.
    """

    def __init__(self, data: Section) -> None:
        self._data = data
        self._remote = local_path(data.blob.address) is None
        self._start = 0
        self._window = b""

    def read(self, offset: int, length: int) -> bytes:
        """Read ``length`` bytes from ``offset``; fewer only at the end."""
        at = offset - self._start
        if at < 0 or at + length > len(self._window):
            near = 0 <= at <= len(self._window) + NEAR
            width = REMOTE_AHEAD if self._remote else LOCAL_AHEAD if near else length
            self._window = bytes(self._data.read(offset, max(width, length)))
            self._start = offset
            at = 0
        return self._window[at : at + length]


def runs(starts: Sequence[int], stops: Sequence[int], refusals: Refusals, limit: int) -> Iterator[tuple[int, int]]:
    """Group rows whose bytes lie side by side: each pair of rows, first and behind the last, is one read.

    A row that is refused is a group by itself; a row larger than ``limit`` too.

    >>> list(runs([0, 10, 99_999, 20], [10, 15, 100_005, 30], {}, 1 << 20))
    [(0, 2), (2, 3), (3, 4)]
    """
    first = 0
    for row in range(1, len(starts) + 1):
        if row < len(starts) and row not in refusals and row - 1 not in refusals:
            near = stops[row - 1] <= starts[row] <= stops[row - 1] + GAP
            if near and stops[row] - starts[first] <= limit:
                continue
        if first < row:
            yield first, row
        first = row


def refusals(members: Members) -> dict[int, str]:
    """Say by row why a member can't be read before anything is read."""
    reasons = dict(members.refused)
    for row in (members.sizes > LARGEST).nonzero()[0].tolist():
        size = int(members.sizes[row])
        reasons.setdefault(row, f"it has {size:,} bytes, and the most that one member may have is {LARGEST:,}")
    return reasons


def member_error(url: str, members: Members, row: int, reason: str) -> DecodeError:
    """Name a member that can't be had, and why."""
    return DecodeError(f"{url}!/{members.names[row]}: {reason}.")
