"""What a recipe works with when it builds a sample that has groups of its own, and what it gives back."""

from __future__ import annotations

from collections.abc import Buffer, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zarrscope.model import Content, Sample, Scalar

type Put = Callable[[str, Buffer], None]
type Told = Mapping[str, Scalar]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where one sample is built: its members on one side, its group of the store on the other.

    Parameters
    ----------
    sample
        The sample.
    contents
        Its members that can be had, by role.
    codec, workers, memory
        How chunks are compressed, how many threads may work, and how many bytes may be held (None: as is usual).
    make
        ``make(part, role, build)`` makes the group ``part`` of the sample: it calls ``build(put)`` and gives what that
        tells, plain values by name. Keys for ``put`` are below the sample's path and begin with the part's name. A
        DecodeError that ``build`` raises quarantines the member of that role: what was put is deleted, and None comes
        back. A part that a killed conversion had finished is not made again.
    url, options
        The store, for what reads it back.
    note
        ``note(role, message)`` quarantines the member of a role by itself.
    """

    sample: Sample
    contents: Mapping[str, Content]
    codec: str
    workers: int
    memory: int | None
    make: Callable[[str, str, Callable[[Put], Told]], Told | None]
    url: str
    options: Mapping[str, Any]
    note: Callable[[str, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What came of a sample: its row of the catalogue, beside what was known before."""

    columns: Told = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """All samples of a store, those of earlier conversions included, when the last of them is built.

    Parameters
    ----------
    rows
        The catalogue: by the name of each sample what is known of it, ``path`` among it where it has groups.
    url, options
        The store, for loaders.
    """

    rows: Mapping[str, Told]
    url: str
    options: Mapping[str, Any] = field(default_factory=dict)
