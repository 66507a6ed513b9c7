"""What a dataset is, as frozen values: members, images, tables, layouts, plans, tasks and receipts.

Nothing here does I/O. Whatever exists a million times over (members, rows) is kept in columns, and a
:class:`Member` or :class:`Part` is a view of one of their rows.

Images are indexed ``(n, y, x)``; tables hold coordinates as ``(x, y)``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from zarrscope.errors import DecodeError, LayoutError, Problem

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
        refused = {
            place: self.refused[int(row)] for place, row in enumerate(rows) if int(row) in self.refused
        } if self.refused else {}
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One axis of an image: what NGFF scatters over axes, transformations and shape.

    ``scale`` and ``translation`` are in ``unit``; without a unit the scale is 1 and means nothing.
    """

    name: str
    size: int
    type: str
    unit: str | None = None
    scale: float = 1.0
    translation: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """Declares one OME-Zarr image, no pixels.

    ``path`` is the group in the store, ``name`` what people call it, ``role`` what methods ask for;
    ``chunks`` and ``shards`` have one entry an axis; ``classes`` names the row column by which statistics are kept.
    """

    path: str
    role: str
    axes: tuple[Axis, ...]
    dtype: str
    chunks: tuple[int, ...]
    shards: tuple[int, ...]
    levels: int = 1
    name: str = ""
    classes: str | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes."""
        return tuple(axis.size for axis in self.axes)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one sample: every axis but the first."""
        return self.shape[1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Declares one AnnData group, no rows; ``annotates`` is the image whose rows it describes."""

    path: str
    role: str
    annotates: str | None = None
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One member's place: this file becomes row ``index`` of that image."""

    member: Member | None
    image: str
    index: int
    obs: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts:
    """The parts of one image as columns: row ``i`` is sample ``i``.

    Parameters
    ----------
    image
        The path of the image.
    members
        Row-aligned; a row without a member has the size 0 and no name.
    sources
        ``(n,)`` which source each member comes from; -1 where the member is missing.
    obs
        Row-aligned columns known before anything is decoded.
    copies
        Later members of the same name, each with the row whose member it repeats.
    copy_rows, copy_sources
        ``(k,)`` row and source of each copy.
    """

    image: str
    members: Members
    sources: npt.NDArray[np.int16]
    obs: Mapping[str, npt.NDArray[np.generic]] = field(default_factory=dict)
    copies: Members = field(default_factory=lambda: Members.of([]))
    copy_rows: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    copy_sources: npt.NDArray[np.int16] = field(default_factory=lambda: np.zeros(0, np.int16))

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, row: int) -> Part:
        """Give row ``row`` as a value."""
        return Part(
            member=None if self.sources[row] < 0 else self.members[row],
            image=self.image,
            index=row,
            obs={name: column[row].item() if hasattr(column[row], "item") else column[row]
                 for name, column in self.obs.items()},
        )

    def take(self, rows: Integers) -> Parts:
        """Select rows, in the order given, with their copies."""
        place = np.full(len(self), -1, np.int64)
        place[rows] = np.arange(len(rows))
        held = place[self.copy_rows] >= 0
        return Parts(
            image=self.image,
            members=self.members.take(rows),
            sources=self.sources[rows],
            obs={name: column[rows] for name, column in self.obs.items()},
            copies=self.copies.take(np.flatnonzero(held)),
            copy_rows=place[self.copy_rows[held]],
            copy_sources=self.copy_sources[held],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSet:
    """How images make samples: by row, or through a column that holds the row of the other image.

    The first image leads: a sample is one of its rows, and its table is the catalogue.

    Parameters
    ----------
    name
        What ``store.samples(name)`` takes.
    images
        Role and path of each image.
    through
        Role and column: sample ``i`` takes row ``column[i]`` of that image, where the default is row ``i``.
    check
        Columns that must agree row by row between images paired by row.
    """

    name: str
    images: tuple[tuple[str, str], ...]
    through: tuple[tuple[str, str], ...] = ()
    check: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Where every member went: ``members == converted + ignored + quarantined + left_out``."""

    members: int = 0
    converted: int = 0
    ignored: int = 0
    quarantined: int = 0
    left_out: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            members=self.members + other.members,
            converted=self.converted + other.converted,
            ignored=self.ignored + other.ignored,
            quarantined=self.quarantined + other.quarantined,
            left_out=self.left_out + other.left_out,
        )


_PATH = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layout:
    """The whole declaration of a dataset, without I/O; validated at birth, all problems at once.

    ``ignored`` counts members that a rule leaves aside; ``quarantined`` are members that have no row at all;
    ``findings`` is what a user should know and the record keeps.
    """

    images: tuple[Image, ...]
    tables: tuple[Table, ...]
    parts: tuple[Parts, ...]
    sets: tuple[SampleSet, ...] = ()
    ignored: int = 0
    left_out: int = 0
    quarantined: tuple[Problem, ...] = ()
    findings: tuple[Problem, ...] = ()

    def __post_init__(self) -> None:
        problems = list(_layout_problems(self))
        if problems:
            raise LayoutError("this layout contradicts itself:", problems=problems)

    def image(self, path: str) -> Image:
        """Look an image up by its path."""
        return next(image for image in self.images if image.path == path)

    def rows(self, path: str) -> Parts:
        """Look the parts of an image up by its path."""
        return next(parts for parts in self.parts if parts.image == path)


def _layout_problems(layout: Layout) -> Iterator[Problem]:
    def wrong(where: str, message: str) -> Problem:
        return Problem(where=where, kind="declaration", message=message)

    seen: dict[str, str] = {}
    for element in (*layout.images, *layout.tables):
        if not _PATH.fullmatch(element.path) or {".", ".."} & set(element.path.split("/")):
            yield wrong(element.path, "a group name keeps to letters, digits, '.', '_' and '-'")
        if element.path.casefold() in seen:
            yield wrong(element.path, f"the same path as {seen[element.path.casefold()]!r} on some file systems")
        seen[element.path.casefold()] = element.path
    for image in layout.images:
        if not len(image.axes) == len(image.chunks) == len(image.shards):
            yield wrong(image.path, f"{len(image.axes)} axes, {len(image.chunks)} chunk sizes, {len(image.shards)} shard sizes")
        elif any(shard % chunk for shard, chunk in zip(image.shards, image.chunks, strict=True)):
            yield wrong(image.path, f"shards {image.shards} are no multiple of chunks {image.chunks}")
    paths = {image.path: image for image in layout.images}
    for parts in layout.parts:
        if parts.image not in paths:
            yield wrong(parts.image, "parts of an image that is not declared")
        elif len(parts) != paths[parts.image].shape[0]:
            yield wrong(parts.image, f"{len(parts)} parts for {paths[parts.image].shape[0]} rows")
        for name, column in parts.obs.items():
            if len(column) != len(parts):
                yield wrong(parts.image, f"column {name!r} has {len(column)} entries for {len(parts)} rows")
    for missing in paths.keys() - {parts.image for parts in layout.parts}:
        yield wrong(missing, "an image without parts")
    for table in layout.tables:
        if table.annotates is not None and table.annotates not in paths:
            yield wrong(table.path, f"annotates {table.annotates!r}, which is not declared")
    for group in layout.sets:
        for role, path in group.images:
            if path not in paths:
                yield wrong(group.name, f"its {role!r} image {path!r} is not declared")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A source as the plan and the record name it: no folder, no credentials."""

    name: str
    kind: str
    size: int
    members: int
    token: str = ""
    salvaged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One shard to fill: rows ``start`` to ``stop`` of ``image``. Small, picklable, idempotent."""

    image: str
    shard: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a conversion will cost, from encoding a sample of members; ``error`` is one standard error."""

    sampled: int
    bytes_read: int
    bytes_stored: int
    bytes_stored_error: int
    seconds: float
    seconds_error: float
    workers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the user asked for and what changes bytes; recorded, and part of what resuming compares."""

    codec: str = "zstd:1"
    chunk: int | None = None
    shard: int | None = None
    where: str | None = None
    limit: int | None = None
    keep: tuple[str, ...] = ()
    salvage: bool = False
    card: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A conversion as data: what will be written, cut into tasks. Prints, pickles and round-trips through JSON."""

    version: str
    recipe: str
    recipe_version: int
    sources: tuple[Origin, ...]
    choices: Choices
    images: tuple[Image, ...]
    tables: tuple[Table, ...]
    sets: tuple[SampleSet, ...]
    tasks: tuple[Task, ...]
    counts: Counts
    codecs: Mapping[str, str]
    quarantined: tuple[Problem, ...] = ()
    findings: tuple[Problem, ...] = ()
    estimate: Estimate | None = None

    def image(self, path: str) -> Image:
        """Look an image up by its path."""
        return next(image for image in self.images if image.path == path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Exact sums over pixels, and a histogram: of values for integers up to 16 bits, else of 16-bit float keys.

    ``bins`` and ``counts`` list the bins that are not empty, in increasing order of value.
    """

    count: int = 0
    minimum: float = float("inf")
    maximum: float = float("-inf")
    sum: float = 0.0
    sum_of_squares: float = 0.0
    bins: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """One object of a store: its key below the element, its bytes, and their SHA-256 in hexadecimal."""

    key: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The proof of one task, and its rows.

    Parameters
    ----------
    digest
        Of the object that was written.
    values
        SHA-256 over the XXH3-128 of each row's pixels: survives another encoding.
    described, codes
        The distinct descriptions of members, and int32 which one each row has, -1 for none.
    rows
        Further columns of the table, row-aligned with the task.
    reasons
        Why a row is not ok, by its place in the task.
    member_digests, pixel_digests
        XXH3-128 of each member's bytes and of each row's pixels: 16 bytes a row, end to end.
    quarantined
        Members that could not be taken, each with its reason.
    statistics
        By class; the class is "" where the image has none.
    """

    task: Task
    digest: Digest
    values: str
    described: tuple[Mapping[str, Scalar], ...]
    codes: bytes
    rows: Mapping[str, Sequence[Scalar]]
    reasons: Mapping[int, str]
    member_digests: bytes
    pixel_digests: bytes
    statistics: Mapping[str, Statistics]
    quarantined: tuple[Problem, ...] = ()
    bytes_read: int = 0


# The order of verbs a progress callback hears about, for one conversion.
type Stage = Literal["index", "convert", "tables", "record"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a conversion is: tasks and rows done, bytes read and written so far in this run."""

    stage: Stage
    tasks: int
    tasks_done: int
    rows: int
    rows_done: int
    bytes_read: int = 0
    bytes_written: int = 0
    quarantined: int = 0
