"""A conversion as data: the plan, its tasks, and the receipts that prove them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from zarrscope.errors import Problem
from zarrscope.model.layout import Image, Piece, Sample, SampleSet, Table
from zarrscope.model.members import Scalar


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
    """One shard to fill: rows ``start`` to ``stop`` of ``image``. Small, picklable, idempotent.

    A sample with groups of its own is one task, and ``image`` its path.
    """

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
    samples: tuple[Sample, ...] = ()
    shared: tuple[Piece, ...] = ()  # members that tell of all samples
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleReceipt:
    """The proof of one sample that has groups of its own, and its row of the catalogue.

    Parameters
    ----------
    objects
        Every object below the sample's path, in the order of their keys.
    holds
        The groups that it has, by their names below its path.
    columns
        What is known of it now; ``ok`` and ``reason`` among them.
    parts
        What was made part by part: the groups of each, and the columns that it told.
    member_digests
        XXH3-128 of each of its pieces, 16 bytes each, end to end; zeros where a piece can't be read.
    quarantined
        Pieces that could not be taken, each with its reason.
    """

    task: Task
    objects: tuple[Digest, ...]
    holds: tuple[str, ...]
    columns: Mapping[str, Scalar]
    member_digests: bytes
    parts: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=dict)
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
