"""What a recipe is, and the catalog of members that its pattern takes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from zarrscope.errors import DecodeError, Problem, SourceError
from zarrscope.model import Content, Index, Integers, Layout, Members, Piece, Scalar, Source, Strings, strings
from zarrscope.recipe.described import Describe, Described, Fields, flatten
from zarrscope.recipe.desk import Built, Collected, Desk
from zarrscope.recipe.expected import Expect

type Decoded = tuple[npt.NDArray[Any], Fields]


def _no_decode(_: memoryview) -> Decoded:
    raise DecodeError("this recipe decodes no members by themselves.")


_PEEKS = 64  # members tried before a stack is given up as undecodable


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    r"""A dataset as data and functions.

    Parameters
    ----------
    name, version, title
        ``version`` counts up when the same source would give other bytes.
    license, citation
        SPDX identifier and text, or "unknown".
    pattern
        Regular expression that must match a whole member name; its named groups become columns.
    ignored
        Regular expression of names that are left aside by rule.
    layout
        Catalog -> Layout.
    decode
        Bytes of one member -> pixels and fields. Raises :class:`DecodeError`. Not needed by a recipe that builds.
    build
        For samples with groups of their own: desk -> what came of one sample.
    look
        For such a recipe: raises :class:`DecodeError` where a member, of which only the beginning should be read, is
        none of its own.
    parts
        For such a recipe: the roles of the members that each part of a sample is made of. Where a member of a sample in
        a finished store has changed, parts that are not made of it are kept.
    collect
        For such a recipe: what the store holds of all samples -> further tables by path, written at the end.
    expect
        For such a recipe: what each member of a sample promises, for verify to compare with the store.
    describe
        Fields of one member -> plain values by column name; called once for members that share an object of fields.
    tabulate
        Rows described so far -> further columns, as lists of plain values.
    private
        Columns dropped unless the user asks to keep them.
    """

    name: str
    version: int
    title: str
    pattern: str
    layout: Callable[[Catalog], Layout]
    decode: Callable[[memoryview], Decoded] = _no_decode
    build: Callable[[Desk], Built] | None = None
    look: Callable[[str, Content], None] | None = None
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    collect: Callable[[Collected], Mapping[str, Any]] | None = None
    expect: Expect | None = None
    license: str = "unknown"
    citation: str = "unknown"
    ignored: str = r"(^|.*/)(\.(?!\.?/).*|README.*|LICENSE.*|__MACOSX/.*|Thumbs\.db)"
    describe: Describe = flatten
    tabulate: Callable[[Described], Mapping[str, Sequence[Scalar]]] | None = None
    private: tuple[str, ...] = ()

    def ignores(self, name: str) -> bool:
        """Tell whether a name is left aside by rule: a folder, or what ``ignored`` matches."""
        return name.endswith("/") or re.fullmatch(self.ignored, name) is not None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Catalog:
    """Every member that a recipe's pattern takes, as columns in the order of sources and members.

    Parameters
    ----------
    sources, indexes
        What was opened, and what was found in each.
    source, row
        ``(n,)`` where each matched member lies.
    columns
        ``(n,)`` text for each named group of the pattern; "" where the group took no part.
    ignored
        How many members are left aside by rule.
    quarantined
        Members that match nothing.
    """

    recipe: Recipe
    sources: Sequence[Source]
    indexes: Sequence[Index]
    source: npt.NDArray[np.int16]
    row: Integers
    columns: Mapping[str, Strings]
    ignored: int = 0
    quarantined: tuple[Problem, ...] = ()
    _peeked: dict[int, Decoded | None] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.row)

    def members(self, places: Integers) -> Members:
        """Give the members at these places of the catalog; -1 gives none."""
        found = [Members.of([])] * len(self.sources)
        names = strings([""] * len(places))
        sizes, offsets = np.zeros(len(places), np.int64), np.full(len(places), -1, np.int64)
        refused: dict[int, str] = {}
        owner = np.where(places >= 0, self.source[places], -1) if len(self) else np.full(len(places), -1)
        for number, index in enumerate(self.indexes):
            here = np.flatnonzero(owner == number)
            found[number] = index.members.take(self.row[places[here]])
            names[here], sizes[here], offsets[here] = found[number].names, found[number].sizes, found[number].offsets
            refused |= {int(here[place]): reason for place, reason in found[number].refused.items()}
        return Members(names=names, sizes=sizes, offsets=offsets, refused=refused)

    def peek(self, place: int) -> Decoded | None:
        """Decode one member of the catalog, or give None where that fails."""
        if place not in self._peeked:
            source = self.sources[int(self.source[place])]
            (blob,) = source.read(self.members(np.array([place])))
            try:
                self._peeked[place] = None if isinstance(blob, DecodeError) else self.recipe.decode(blob)
            except DecodeError:
                self._peeked[place] = None
        return self._peeked[place]

    def piece(self, place: int, role: str) -> Piece:
        """Give one member of the catalog as a piece of a sample."""
        source, row = int(self.source[place]), int(self.row[place])
        members = self.indexes[source].members
        return Piece(role=role, source=source, member=members[row], refused=members.refused.get(row))

    def open(self, place: int) -> Content:
        """Open one member, to be read piece by piece; raises DecodeError where it can't be had."""
        piece = self.piece(place, "")
        source = self.sources[piece.source]
        if piece.refused is not None:
            raise DecodeError(f"{source.url}!/{piece.member.name}: {piece.refused}.")
        return source.open(piece.member)

    def kind_of(self, places: Integers) -> tuple[str, tuple[int, ...]]:
        """Tell dtype and shape of most of these members, from some that decode.

        Raises
        ------
        SourceError
            Where none of the members tried decodes.
        """
        tried = places[np.unique(np.linspace(0, len(places) - 1, _PEEKS).astype(int))] if len(places) else places
        sequential = len(places) and self.sources[int(self.source[places[0]])].sequential
        order = (
            tried if sequential else np.concatenate([tried[:1], tried[len(tried) // 2 :], tried[1 : len(tried) // 2]])
        )
        seen: Counter[tuple[str, tuple[int, ...]]] = Counter()
        for place in places[:_PEEKS] if sequential else order:
            decoded = self.peek(int(place))
            if decoded is not None:
                seen[decoded[0].dtype.newbyteorder("=").name, decoded[0].shape] += 1
            if seen.total() == 3:
                break
        if not seen:
            where = self.sources[int(self.source[places[0]])].url if len(places) else "the source"
            raise SourceError(f"{where}: none of {len(tried)} members tried can be decoded by {self.recipe.name}.")
        return seen.most_common(1)[0][0]


def scan(recipe: Recipe, sources: Sequence[Source], indexes: Sequence[Index]) -> Catalog:
    """Match every member's name against the recipe's pattern; the named groups become columns."""
    pattern = re.compile(recipe.pattern)
    groups = list(pattern.groupindex)
    owners: list[npt.NDArray[np.int16]] = []
    rows: list[Integers] = []
    columns: dict[str, list[Strings]] = {group: [] for group in groups}
    ignored, quarantined = 0, list[Problem]()
    for number, (source, index) in enumerate(zip(sources, indexes, strict=True)):
        for start in range(0, len(index.members), 1 << 16):
            taken, found = [], []
            for row, name in enumerate(index.members.names[start : start + (1 << 16)], start):
                match = pattern.fullmatch(name)
                if match is not None:
                    taken.append(row)
                    found.append(match.groups(""))
                elif recipe.ignores(name):
                    ignored += 1
                else:
                    reason = index.members.refused.get(row, f"the name fits no pattern of the recipe {recipe.name}")
                    quarantined.append(Problem(where=f"{source.url}!/{name}", kind="misnamed", message=reason))
            owners.append(np.full(len(taken), number, np.int16))
            rows.append(np.array(taken, np.int64))
            places = [pattern.groupindex[group] - 1 for group in groups]
            for group, place in zip(groups, places, strict=True):
                columns[group].append(strings([one[place] for one in found]))
    return Catalog(
        recipe=recipe,
        sources=sources,
        indexes=indexes,
        source=np.concatenate(owners) if owners else np.zeros(0, np.int16),
        row=np.concatenate(rows) if rows else np.zeros(0, np.int64),
        columns={group: np.concatenate(pieces) if pieces else strings([]) for group, pieces in columns.items()},
        ignored=ignored,
        quarantined=tuple(quarantined),
    )
