"""Members of a source, as values and as columns, and what a source is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from zarrscope.errors import DecodeError, Problem

type Strings = npt.NDArray[np.str_]  # with dtype StringDType: as small as UTF-8
type Integers = npt.NDArray[np.int64]
type Scalar = str | int | float | bool | None
type Column = list[Scalar] | npt.NDArray[np.generic]

STRING = np.dtypes.StringDType()


def strings(values: Sequence[str] | npt.NDArray[np.generic]) -> Strings:
    """Turn text into a column of variable-width UTF-8, ``(n,)``.

    >>> strings(["a", "bc"])[1:].tolist()
    ['bc']
    """
    return np.asarray(values, dtype=STRING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file of a source; ``offset`` is the first byte of its content, where the source can seek to it."""

    name: str
    size: int
    offset: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Members:
    """The members of a source as columns, in the order in which they lie there.

    Parameters
    ----------
    names
        ``(n,)`` text. Bytes that are not UTF-8 are written as backslash escapes.
    sizes
        ``(n,)`` int64, bytes.
    offsets
        ``(n,)`` int64, bytes from the start of the source; -1 where there is none.
    refused
        Why a member can't be read at all (a link, a device, a sparse file), by row.
    """

    names: Strings
    sizes: Integers
    offsets: Integers
    refused: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.sizes) == len(self.offsets):
            raise ValueError("the columns of a member index differ in length")

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, row: int) -> Member:
        """Give row ``row`` as a value."""
        offset = int(self.offsets[row])
        return Member(name=str(self.names[row]), size=int(self.sizes[row]), offset=None if offset < 0 else offset)

    def __iter__(self) -> Iterator[Member]:
        return (self[row] for row in range(len(self)))

    def take(self, rows: Integers | slice) -> Members:
        """Select rows, in the order given; a row of -1 becomes a member without name, size or place."""
        if isinstance(rows, slice):
            rows = np.arange(len(self), dtype=np.int64)[rows]
        held = rows >= 0
        picked = np.where(held, rows, 0)
        if not len(self):
            return Members(
                names=strings([""] * len(rows)),
                sizes=np.zeros(len(rows), np.int64),
                offsets=np.full(len(rows), -1, np.int64),
            )
        names = self.names[picked]
        names[~held] = ""
        refused = (
            {place: self.refused[int(row)] for place, row in enumerate(rows) if int(row) in self.refused}
            if self.refused
            else {}
        )
        return Members(
            names=names,
            sizes=np.where(held, self.sizes[picked], 0),
            offsets=np.where(held, self.offsets[picked], -1),
            refused=refused,
        )

    @classmethod
    def of(cls, members: Sequence[Member], refused: Mapping[int, str] | None = None) -> Members:
        """Build the columns from values.

        >>> Members.of([Member(name="a", size=3, offset=512)])[0]
        Member(name='a', size=3, offset=512)
        """
        return cls(
            names=strings([member.name for member in members]),
            sizes=np.array([member.size for member in members], np.int64),
            offsets=np.array([-1 if member.offset is None else member.offset for member in members], np.int64),
            refused=dict(refused or {}),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """What one pass over a source's headers found: its members, and what a user should know about it."""

    members: Members
    findings: tuple[Problem, ...] = ()
    salvaged: bool = False


class Content(Protocol):
    """The bytes of one member, read at a place; moving forwards is never slow. Safe from any thread."""

    @property
    def size(self) -> int:
        """Bytes in all."""

    def read(self, offset: int, length: int) -> memoryview:
        """Read ``length`` bytes from ``offset``; fewer only at the end."""


class Source(Protocol):
    """A pile of members: a folder, a tar, a zip, a tar inside a zip. Safe to use from several threads."""

    @property
    def name(self) -> str:
        """The file name as the record gives it: no folder, no credentials."""

    @property
    def url(self) -> str:
        """The address for messages, without credentials."""

    @property
    def kind(self) -> str:
        """One of ``folder``, ``tar``, ``zip``, ``tar in zip``."""

    @property
    def size(self) -> int:
        """Bytes in all."""

    @property
    def sequential(self) -> bool:
        """Whether members can only be read in order: a tar inside a deflated zip member."""

    def token(self) -> str:
        """Tell in a short text whether the source changed since: size with ETag or mtime."""

    def index(self, *, salvage: bool = False) -> Index:
        """Find the members in one pass over the headers.

        Raises
        ------
        SourceError
            Where the structure is broken, naming the byte offset; with ``salvage`` what stands before it is taken.
        """

    def read(self, members: Members) -> Iterator[memoryview | DecodeError]:
        """Give the content of each member in the order asked for, or why it can't be had.

        Members that lie side by side come with one read. A sequential source wants increasing offsets.
        """

    def open(self, member: Member) -> Content:
        """Give the content of one member of any size, to be read piece by piece.

        Raises
        ------
        DecodeError
            Where it can't be had.
        """
