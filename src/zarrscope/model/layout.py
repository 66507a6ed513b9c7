"""What a dataset is declared to be: axes, images, tables, rows and sample sets, checked together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from zarrscope.errors import LayoutError, Problem
from zarrscope.model.members import Integers, Member, Members, Scalar


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
            obs={
                name: column[row].item() if hasattr(column[row], "item") else column[row]
                for name, column in self.obs.items()
            },
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
class Piece:
    """One member of a sample: what it is to it, which source it lies in, where, and why it can't be read if so."""

    role: str
    source: int
    member: Member
    refused: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Declares one sample that has groups of its own, as a slide or a cell does; no contents.

    ``path`` is the group below which everything of it lies, ``name`` what people call it; ``obs`` is what names and
    shared members tell of it before any of its own is read.
    """

    path: str
    name: str
    role: str
    pieces: tuple[Piece, ...]
    obs: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSet:
    """How images make samples: by row, or through a column that holds the row of the other image.

    The first image leads: a sample is one of its rows, and its table is the catalogue. Without images the samples are
    those of the layout that have groups of their own, and the table of this name is the catalogue.

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


_PATH = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layout:
    """The whole declaration of a dataset, without I/O; validated at birth, all problems at once.

    ``samples`` have groups of their own, ``shared`` are the members that tell of all of them. ``ignored`` counts
    members that a rule leaves aside; ``quarantined`` are members that have no row at all; ``findings`` is what a user
    should know and the record keeps.
    """

    images: tuple[Image, ...] = ()
    tables: tuple[Table, ...] = ()
    parts: tuple[Parts, ...] = ()
    samples: tuple[Sample, ...] = ()
    shared: tuple[Piece, ...] = ()
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


def _wrong(where: str, message: str) -> Problem:
    return Problem(where=where, kind="declaration", message=message)


def _layout_problems(layout: Layout) -> Iterator[Problem]:
    images = {image.path: image for image in layout.images}
    yield from _paths(layout)
    for image in layout.images:
        yield from _shape(image)
    for parts in layout.parts:
        yield from _rows(parts, images)
    for missing in images.keys() - {parts.image for parts in layout.parts}:
        yield _wrong(missing, "an image without parts")
    for table in layout.tables:
        if table.annotates is not None and table.annotates not in images:
            yield _wrong(table.path, f"annotates {table.annotates!r}, which is not declared")
    for group in layout.sets:
        for role, path in group.images:
            if path not in images:
                yield _wrong(group.name, f"its {role!r} image {path!r} is not declared")


def _paths(layout: Layout) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    images, tables, samples = layout.images, layout.tables, layout.samples
    for path in [*(one.path for one in images), *(one.path for one in tables), *(one.path for one in samples)]:
        if not _PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
            yield _wrong(path, "a group name keeps to letters, digits, '.', '_' and '-'")
        if path.casefold() in seen:
            yield _wrong(path, f"the same path as {seen[path.casefold()]!r} on some file systems")
        seen[path.casefold()] = path


def _shape(image: Image) -> Iterator[Problem]:
    axes, chunks, shards = len(image.axes), image.chunks, image.shards
    if not axes == len(chunks) == len(shards):
        yield _wrong(image.path, f"{axes} axes, {len(chunks)} chunk sizes, {len(shards)} shard sizes")
    elif any(shard % chunk for shard, chunk in zip(shards, chunks, strict=True)):
        yield _wrong(image.path, f"shards {shards} are no multiple of chunks {chunks}")


def _rows(parts: Parts, images: Mapping[str, Image]) -> Iterator[Problem]:
    image = images.get(parts.image)
    if image is None:
        yield _wrong(parts.image, "parts of an image that is not declared")
    elif len(parts) != image.shape[0]:
        yield _wrong(parts.image, f"{len(parts)} parts for {image.shape[0]} rows")
    for name, column in parts.obs.items():
        if len(column) != len(parts):
            yield _wrong(parts.image, f"column {name!r} has {len(column)} entries for {len(parts)} rows")
