"""A store against the sources that it was made from: every member read again, its pixels and fields compared."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from zarrscope.errors import DecodeError, Problem, StoreError, VerifyError
from zarrscope.loaders.groups import ImageGroup
from zarrscope.loaders.shards import ShardedArray
from zarrscope.loaders.table import Table
from zarrscope.model import Layout, Parts, Scalar, Source
from zarrscope.planning import select
from zarrscope.proof.catalogue import Row
from zarrscope.proof.members import Again, check_samples
from zarrscope.query import Categories
from zarrscope.recipe import Described, Fields, Recipe, column_name, scan
from zarrscope.record import ROWS, Conversion, Record, SourceRecord
from zarrscope.storage import Storage

TOGETHER = 32 << 20  # bytes of pixels compared at once


def match_sources(
    sources: Sequence[Source], record: Record, target: Storage
) -> Iterator[tuple[Conversion, list[tuple[SourceRecord, Source]]]]:
    """Find the conversion that each source belongs to, by its name, else by its size; give them in its order."""
    places: dict[int, list[tuple[int, Source]]] = {}
    for source in sources:
        held = [
            (number, place, one)
            for number, conversion in enumerate(record.conversions)
            for place, one in enumerate(conversion.sources)
        ]
        named = [(number, place) for number, place, one in held if one.name == source.name]
        alike = [(number, place) for number, place, one in held if one.size == source.size]
        if not named and not alike:
            known = ", ".join(one.name for _, _, one in held)
            raise VerifyError(f"{source.url} is not a source of {target.url}; its sources are {known}.")
        for number, place in _once(named or alike, record):
            places.setdefault(number, []).append((place, source))
    for number, found in sorted(places.items()):
        conversion = record.conversions[number]
        ordered = sorted(found, key=lambda one: one[0])
        yield conversion, [(conversion.sources[place], source) for place, source in ordered]


def _once(found: Sequence[tuple[int, int]], record: Record) -> list[tuple[int, int]]:
    """Choose the conversions of a source: a stack was converted once, samples may have been made anew since."""
    if not any(one.kind == "sample" for one in record.elements):
        return list(found[:1])
    last: dict[object, tuple[int, int]] = {}
    for number, place in found:  # what was asked for again was compared with the sources, or made anew, by the later
        asked = record.conversions[number]
        last[asked.where, asked.limit] = number, place
    return list(last.values())


def check_sources(
    target: Storage,
    record: Record,
    conversion: Conversion,
    given: Sequence[tuple[SourceRecord, Source]],
    recipe: Recipe,
    rows: Mapping[str, Row],
) -> list[Problem]:
    """Lay the sources of a conversion out again and compare them with the store: images row by row, and samples.

    ``rows`` is the catalogue of samples that have groups of their own.
    """
    missing = [one.name for one in conversion.sources if one not in [held for held, _ in given]]
    if missing and recipe.build is not None:  # files of one sample may lie in several
        message = f"its samples were made from {', '.join(missing)}, too: give all sources that were converted together"
        return [Problem(where=target.url, kind="missing", message=message)]
    sources = [source for _, source in given]
    indexes = [source.index(salvage=held.salvaged) for held, source in given]
    layout = recipe.layout(scan(recipe, sources, indexes))
    layout = select(layout, where=conversion.where, limit=conversion.limit)
    problems = [
        Problem(
            where=source.url,
            kind="content",
            message=f"{len(index.members):,} members, {held.members:,} when it was converted",
        )
        for (held, source), index in zip(given, indexes, strict=True)
        if len(index.members) != held.members
    ]
    problems += _images(target, record, conversion, layout, sources, recipe)
    if layout.samples:
        again = Again(target=target, record=record, conversion=conversion, layout=layout, given=given, recipe=recipe)
        problems += check_samples(again, rows)
    return problems


def _images(
    target: Storage,
    record: Record,
    conversion: Conversion,
    layout: Layout,
    sources: Sequence[Source],
    recipe: Recipe,
) -> Iterator[Problem]:
    for image in layout.images:
        element = record.element(image.path)
        if element is None:
            owners = layout.rows(image.path).sources
            name = sources[int(owners.max())].name
            message = f"{name} holds it, the store does not"
            yield Problem(where=target.at(image.path), kind="missing", message=message)
            continue
        array = ImageGroup(target, element).level(0).array
        yield from _Comparison(target, layout, image.path, array, sources, recipe, conversion).problems()


class _Comparison:
    """One image against the members that it was made from."""

    def __init__(
        self,
        target: Storage,
        layout: Layout,
        path: str,
        array: ShardedArray,
        sources: Sequence[Source],
        recipe: Recipe,
        conversion: Conversion,
    ) -> None:
        self.where, self.array, self.sources, self.recipe = target.at(path), array, sources, recipe
        self.parts: Parts = layout.rows(path)
        self.table = Table(target, f"{path}/{ROWS}")
        self.keep = conversion.keep
        self.digests = self.table.array("obsm/member_xxh3_128").read(())
        self.columns: dict[str, Any] = dict(self.table.columns([*self.table.names, "index"]))

    def problems(self) -> list[Problem]:
        """Compare names first: where rows do not line up there is nothing more to compare."""
        names, wanted = np.asarray(self.columns["index"]), self.parts.members.names
        if len(names) != len(wanted):
            given = " and ".join(self.sources[owner].name for owner in self._owners())
            return [self._wrong(f"{len(names)} rows, but {given} gives {len(wanted)}")]
        differ = np.flatnonzero(names != wanted)
        if len(differ):
            row = int(differ[0])
            what = f"{len(differ)} rows out of place, first row {row}: expected {wanted[row]}, found {names[row]}"
            return [self._wrong(what)]
        row_bytes = max(1, int(np.prod(self.array.shape[1:])) * self.array.dtype.itemsize)
        step = max(1, TOGETHER // row_bytes)
        blocks = [(start, min(start + step, len(self.parts))) for start in range(0, len(self.parts), step)]
        workers = 1 if any(self.sources[owner].sequential for owner in self._owners()) else os.cpu_count() or 1
        with ThreadPoolExecutor(workers, "zarrscope-verify") as pool:
            return [problem for found in pool.map(partial(self._block), blocks) for problem in found]

    def _owners(self) -> list[int]:
        return [owner for owner in np.unique(self.parts.sources).tolist() if owner >= 0]

    def _wrong(self, message: str) -> Problem:
        return Problem(where=self.where, kind="content", message=message)

    def _block(self, span: tuple[int, int]) -> list[Problem]:
        start, stop = span
        try:
            pixels = self.array.read((slice(start, stop),))
        except StoreError as error:
            return [self._wrong(f"rows {start} to {stop - 1} can't be read: {error}")]
        fields: list[Fields | None] = [None] * (stop - start)
        problems: list[Problem] = []
        ok = np.asarray(self.columns["ok"])
        for row, blob in self._members(start, stop):
            found = self._member(row, blob, pixels[row - start], ok=bool(ok[row]))
            if isinstance(found, str):
                problems.append(self._wrong(f"row {row} ({self.parts.members.names[row]}): {found}"))
            else:
                fields[row - start] = found
        return problems + self._fields(start, stop, fields)

    def _members(self, start: int, stop: int) -> Iterator[tuple[int, memoryview | DecodeError]]:
        """Read the members of some rows, source by source; one that is missing is an error like any other."""
        owners = self.parts.sources[start:stop]
        for row in np.flatnonzero(owners < 0).tolist():
            yield start + row, DecodeError("the member is missing from the source")
        for owner in self._owners():
            rows = np.flatnonzero(owners == owner) + start
            yield from zip(rows.tolist(), self.sources[owner].read(self.parts.members.take(rows)), strict=True)

    def _member(
        self, row: int, blob: memoryview | DecodeError, stored: npt.NDArray[Any], *, ok: bool
    ) -> Fields | str | None:
        """Give the fields of a member whose pixels are right, None for one rightly quarantined, or what is wrong."""
        try:
            if isinstance(blob, DecodeError):
                raise blob
            if xxhash.xxh3_128_digest(blob) != bytes(self.digests[row]):
                return "the member's bytes are not those that were converted"
            pixels, fields = self.recipe.decode(blob)
        except DecodeError as error:
            return f"converted, but now it can't be decoded: {error}" if ok else None
        if not ok:
            expected = pixels.shape == stored.shape and pixels.dtype.newbyteorder("=") == stored.dtype
            return "quarantined, but it decodes" if expected else None
        same = pixels.shape == stored.shape and np.ascontiguousarray(pixels, stored.dtype).tobytes() == stored.tobytes()
        return fields if same else "the store's pixels differ from the source's"

    def _fields(self, start: int, stop: int, fields: list[Fields | None]) -> list[Problem]:
        obs = {name: column[start:stop] for name, column in self.parts.obs.items()}
        described = Described.of(fields, obs, self.recipe.describe)
        wanted: dict[str, Sequence[Any]] = {name: described.column(name) for name in described.names}
        wanted |= self.recipe.tabulate(described) if self.recipe.tabulate is not None else {}
        hidden = set(self.recipe.private) - set(self.keep)
        wanted = {column_name(name, obs): values for name, values in wanted.items() if name not in hidden}
        expected: dict[str, Sequence[Any]] = {**{name: column.tolist() for name, column in obs.items()}, **wanted}
        problems = []
        for name, values in expected.items():
            if name not in self.columns:
                if any(value is not None for value in values):
                    problems.append(self._wrong(f"the column {name!r} is missing from the rows"))
                continue
            stored = _plain(self.columns[name], start, stop)
            for place, (one, other) in enumerate(zip(values, stored, strict=True)):
                if fields[place] is None and name in wanted:
                    continue
                if not _equal(one, other):
                    problems.append(self._wrong(f"row {start + place}: {name} is {other!r}, in the source {one!r}"))
        return problems


def _plain(column: npt.NDArray[Any] | Categories, start: int, stop: int) -> list[Scalar]:
    if isinstance(column, Categories):
        return [None if code < 0 else str(column.values[code]) for code in column.codes[start:stop].tolist()]
    return list(column[start:stop].tolist())


def _equal(one: Any, other: Any) -> bool:
    """Compare a source's value with a stored one: a gap is None, NaN, False or nothing; a mixed column is text."""
    if one is None or one != one:  # noqa: PLR0124  (only NaN differs from itself)
        return other is None or other is False or other != other  # noqa: PLR0124
    if isinstance(other, float) and isinstance(one, int):
        return float(one) == other
    if isinstance(other, str) and not isinstance(one, str):
        return str(one) == other
    return bool(one == other)
