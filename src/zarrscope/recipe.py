"""Recipes: how the members of a source become a layout. A dataset is data plus two or three plain functions.

A recipe gives a pattern for member names; :func:`scan` matches every name against it, and the named groups become the
columns of a :class:`Catalog`. The recipe's ``layout`` function turns the catalog into images and rows, mostly through
:func:`stack`; ``decode`` turns the bytes of one member into pixels and fields; ``tabulate``, where it is given, turns
the fields of many members into columns. A stranger's recipe registers under the entry point ``zarrscope.recipes``,
exactly as ours do.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from zarrscope.errors import DecodeError, Problem, RecipeError, SourceError
from zarrscope.model import (
    Axis,
    Image,
    Index,
    Integers,
    Layout,
    Members,
    Parts,
    SampleSet,
    Scalar,
    Source,
    Strings,
    Table,
    strings,
)

GROUP = "zarrscope.recipes"
RESERVED = frozenset({"ok", "reason", "member_offset", "member_size", "source", "index", "_index", ""})
type Fields = Mapping[str, Any]
type Decoded = tuple[npt.NDArray[Any], Fields]
type Obs = Mapping[str, npt.NDArray[Any]]

_LEAST, _MOST = 32 << 20, 128 << 20  # bytes of pixels in one shard
_LONGEST = 100  # characters of a column's name: it names objects of the store
_PEEKS = 64  # members tried before a stack is given up as undecodable


def flatten(fields: Fields, prefix: str = "") -> dict[str, Scalar]:
    """Turn nested fields into one level of plain values, with names that a query can use.

    >>> flatten({"image-id": "a", "size": {"X": 3}, "tags": [1, "b"]})
    {'image_id': 'a', 'size_X': 3, 'tags': '[1, "b"]'}
    """
    import json

    flat: dict[str, Scalar] = {}
    for key, value in fields.items():
        name = re.sub(r"\W", "_", f"{prefix}{key}", flags=re.ASCII)[:_LONGEST]
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}_")
        elif value is None or isinstance(value, (str, int, float, bool)):
            flat[name] = value
        else:
            flat[name] = json.dumps(value, default=lambda held: dict(held) if isinstance(held, Mapping) else str(held))
    return flat


def column_name(name: str, obs: Collection[str]) -> str:
    """Give the column that a field goes to: what names and the engine tell of a row is never overwritten by a field.

    >>> column_name("chan_id", ["protein"]), column_name("ok", ["protein"])
    ('chan_id', 'field_ok')
    """
    return f"field_{name}" if name in RESERVED or name in obs else name


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
        Bytes of one member -> pixels and fields. Raises :class:`DecodeError`.
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
    decode: Callable[[memoryview], Decoded]
    license: str = "unknown"
    citation: str = "unknown"
    ignored: str = r"(^|.*/)(\.(?!\.?/).*|README.*|LICENSE.*|__MACOSX/.*|Thumbs\.db)"
    describe: Callable[[Fields], Mapping[str, Scalar]] = flatten
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Described:
    """Rows of an image with their fields as plain values.

    Parameters
    ----------
    distinct
        The descriptions that there are: many members share one.
    codes
        ``(n,)`` which description each row has; -1 for none.
    obs
        ``(n,)`` columns known from names.
    """

    distinct: tuple[Mapping[str, Scalar], ...]
    codes: npt.NDArray[np.int32]
    obs: Obs

    @classmethod
    def of(cls, fields: Sequence[Fields | None], obs: Obs, recipe: Recipe) -> Described:
        """Describe the fields of each row (None where it has none)."""
        place: dict[int, int] = {}
        distinct: list[Fields] = []
        codes = np.full(len(fields), -1, np.int32)
        for row, one in enumerate(fields):
            if one is not None:
                if id(one) not in place:
                    place[id(one)] = len(distinct)
                    distinct.append(one)
                codes[row] = place[id(one)]
        return cls(distinct=tuple(recipe.describe(one) for one in distinct), codes=codes, obs=obs)

    @property
    def names(self) -> list[str]:
        """The columns that any description has."""
        return list(dict.fromkeys(name for one in self.distinct for name in one))

    def column(self, name: str) -> list[Scalar]:
        """Give a described column, ``(n,)``; None where a row lacks it."""
        values = [*(one.get(name) for one in self.distinct), None]
        return [values[code] for code in self.codes.tolist()]


def known() -> dict[str, Recipe]:
    """Load every installed recipe, by name."""
    return {entry.name: entry.load() for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}


def choose(recipes: Mapping[str, Recipe], sources: Sequence[Source], indexes: Sequence[Index]) -> Recipe:
    """Find the recipe that takes the sources by their content: most names match, and members decode.

    Raises
    ------
    RecipeError
        Where no recipe takes every source, or two take them equally well.
    """
    scores = {name: [_share(recipe, index.members) for index in indexes] for name, recipe in recipes.items()}
    fit = {name: shares for name, shares in scores.items() if all(hits for hits, _ in shares)}
    ranked = sorted(fit, key=lambda name: sum(hits / looked for hits, looked in fit[name]), reverse=True)
    decoding = [
        name for name in ranked if all(_decodes(recipes[name], *pair) for pair in zip(sources, indexes, strict=True))
    ]
    if decoding:
        return recipes[decoding[0]]
    known_names = ", ".join(sorted(recipes)) or "none"
    if ranked:
        raise RecipeError(
            f"no recipe takes {_listed(sources)}: names fit {ranked[0]}, but none of the members tried can be decoded. "
            f"Name one with --recipe to go on; known: {known_names}."
        )
    nearest = max(scores, key=lambda name: sum(hits for hits, _ in scores[name]), default="none")
    hits, looked = (sum(column) for column in zip(*scores.get(nearest, [(0, 0)]), strict=True))
    raise RecipeError(
        f"no recipe takes {_listed(sources)} ({looked} members looked at; nearest: {nearest}, {hits} of {looked}). "
        f"Name one with --recipe; known: {known_names}."
    )


def _listed(sources: Sequence[Source]) -> str:
    return ", ".join(source.name for source in sources)


def _share(recipe: Recipe, members: Members, most: int = 1000) -> tuple[int, int]:
    names = members.names[np.unique(np.linspace(0, len(members) - 1, min(most, len(members))).astype(int))]
    looked = [str(name) for name in names if not recipe.ignores(str(name))]
    pattern = re.compile(recipe.pattern)
    return sum(pattern.fullmatch(name) is not None for name in looked), max(1, len(looked))


def _decodes(recipe: Recipe, source: Source, index: Index) -> bool:
    pattern = re.compile(recipe.pattern)
    rows = [row for row in range(min(len(index.members), 4096)) if pattern.fullmatch(str(index.members.names[row]))]
    spread = sorted({rows[int(place)] for place in np.linspace(0, len(rows) - 1, 16)}) if rows else []
    for blob in source.read(index.members.take(np.array(spread, np.int64))):
        try:
            if not isinstance(blob, DecodeError):
                recipe.decode(blob)
                return True
        except DecodeError:
            continue
    return False


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stack:
    """An image of many samples, its tables and its rows: what :func:`stack` declares.

    ``places`` are those of the catalog that it took, copies included.
    """

    image: Image
    tables: tuple[Table, ...]
    parts: Parts
    places: Integers


def stack(
    catalog: Catalog,
    path: str,
    places: Integers,
    *,
    role: str,
    obs: Obs | None = None,
    missing: Sequence[str] = (),
    classes: str | None = None,
) -> Stack:
    """Declare samples of one size as one image ``(n, y, x)``, one row a member, in the order of ``places``.

    Of members with one name the first keeps the row; later ones become its copies.

    Parameters
    ----------
    catalog
        What :func:`scan` found.
    path, role
        The group, and what methods ask for.
    places
        ``(n,)`` places in the catalog; -1 is a row whose member is missing.
    obs
        ``(n,)`` columns known from names.
    missing
        Names that the missing members should have, in the order of their rows.
    classes
        The column by which statistics are kept.
    """
    dtype, shape = catalog.kind_of(places[places >= 0])
    first, copies, copy_rows = _first_of_each_name(catalog.members(places), places)
    kept = places[first]
    members = catalog.members(kept)
    names = members.names
    names[kept < 0] = (
        strings(list(missing)) if missing else strings([f"missing-{row}" for row in np.flatnonzero(kept < 0)])
    )
    parts = Parts(
        image=path,
        members=Members(names=names, sizes=members.sizes, offsets=members.offsets, refused=members.refused),
        sources=np.where(kept >= 0, catalog.source[kept], -1).astype(np.int16),
        obs={name: values[first] for name, values in (obs or {}).items()},
        copies=catalog.members(copies),
        copy_rows=copy_rows,
        copy_sources=catalog.source[copies],
    )
    n, rows = len(parts), shard_rows(shape, dtype)
    image = Image(
        path=path,
        role=role,
        axes=(
            Axis(name="n", size=n, type="sample"),
            *(Axis(name=name, size=size, type="space") for name, size in zip("zyx"[-len(shape) :], shape, strict=True)),
        ),
        dtype=dtype,
        chunks=(1, *shape),
        shards=(min(rows, n), *shape),
        classes=classes,
    )
    tables = tuple(
        Table(path=f"{path}/{name}", role=name, annotates=path) for name in ("rows", "statistics", "manifest")
    )
    return Stack(image=image, tables=tables, parts=parts, places=places)


def _first_of_each_name(members: Members, places: Integers) -> tuple[Integers, Integers, Integers]:
    """Tell which places keep a row, which are copies, and the row that each copy repeats."""
    row_of: dict[str, int] = {}
    first, copies, copy_rows = list[int](), list[int](), list[int]()
    for place, name in enumerate(members.names):
        row = row_of.setdefault(name, len(first)) if places[place] >= 0 else len(first)
        if row == len(first):
            first.append(place)
        else:
            copies.append(places[place])
            copy_rows.append(row)
    return np.array(first, np.int64), np.array(copies, np.int64), np.array(copy_rows, np.int64)


def shard_rows(shape: tuple[int, ...], dtype: str) -> int:
    """Choose how many rows a shard has: 1,024, or the power of two that brings it to 32 to 128 MB of pixels.

    >>> shard_rows((224, 224), "uint8"), shard_rows((128, 128), "float32"), shard_rows((32, 32), "uint8")
    (1024, 1024, 32768)
    """
    row, rows = max(1, prod(shape) * np.dtype(dtype).itemsize), 1024
    while rows * row > _MOST and rows > 1:
        rows //= 2
    while rows * row < _LEAST and rows < 1 << 20:
        rows *= 2
    return rows


def arrange(
    catalog: Catalog,
    stacks: Iterable[Stack],
    *,
    sets: Sequence[SampleSet],
    findings: Sequence[Problem] = (),
    unplaced: Mapping[int, str] | None = None,
) -> Layout:
    """Put stacks together into a layout, with what the catalog counted.

    Members that no stack took are quarantined; ``unplaced`` gives the reason by their place in the catalog.
    """
    stacks, reasons = list(stacks), unplaced or {}
    told = [finding for index in catalog.indexes for finding in index.findings]
    left = np.setdiff1d(np.arange(len(catalog)), np.concatenate([one.places for one in stacks]))
    quarantined = [
        Problem(
            where=f"{catalog.sources[int(catalog.source[place])].url}!/{name}",
            kind="misnamed",
            message=reasons.get(place, "another member has its place already"),
        )
        for place, name in zip(left.tolist(), catalog.members(left).names, strict=True)
    ]
    return Layout(
        images=tuple(one.image for one in stacks),
        tables=tuple(table for one in stacks for table in one.tables),
        parts=tuple(one.parts for one in stacks),
        sets=tuple(sets),
        ignored=catalog.ignored,
        quarantined=(*catalog.quarantined, *quarantined),
        findings=(*told, *findings),
    )
