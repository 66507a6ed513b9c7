"""Samples with groups of their own against their sources: every member read and decoded again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import xxhash

from zarrscope.errors import DecodeError, Kind, Problem, StoreError
from zarrscope.model import Content, Layout, Piece, Sample, Source
from zarrscope.proof.catalogue import Row, pictures_by_digest
from zarrscope.proof.compare import compare_facts, compare_matrix, compare_picture, equal
from zarrscope.proof.groups import TWIN
from zarrscope.recipe import Expected, Facts, Picture, Recipe
from zarrscope.record import Conversion, Record, SourceRecord
from zarrscope.storage import Storage

_STEP = 4 << 20  # bytes hashed at a time
_NONE = bytes(16).hex()  # stands for the digest of a member that could not be had


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Again:
    """A conversion laid out again: the store, what its record says, and the sources.

    Parameters
    ----------
    target, record, conversion
        The store, its record, and the conversion.
    layout, given
        What is laid out, from which sources; each with what the record says of it.
    recipe
        Says what members promise.
    """

    target: Storage
    record: Record
    conversion: Conversion
    layout: Layout
    given: Sequence[tuple[SourceRecord, Source]]
    recipe: Recipe


def check_samples(again: Again, rows: Mapping[str, Row]) -> Iterator[Problem]:
    """Compare every sample of a conversion with its members, and every source's fingerprint with the record's.

    ``rows`` is the catalogue of samples, by their names. Where a source was converted more than once, only the digests
    of members that the catalogue keeps are compared: each fingerprint is of what the source was then.
    """
    names = [one.name for conversion in again.record.conversions for one in conversion.sources]
    prints = _Fingerprints([source for _, source in again.given])
    for sample in again.layout.samples:
        contents: dict[str, Content] = {}
        failed: dict[str, str] = {}
        for piece in sample.pieces:
            try:
                contents[piece.role], digest = prints.opened(piece)
                row = rows.get(sample.name, {})
                if row.get(f"{piece.role}_xxh3_128") not in (None, digest, _NONE):
                    yield _changed(again, piece)
            except DecodeError as error:
                failed[piece.role] = str(error)
        yield from _Sample(again, sample, contents, failed).problems(rows)
    yield from _lost(again)
    for piece in again.layout.shared:
        with suppress(DecodeError):  # then the fingerprint is another
            prints.opened(piece)
    for (held, source), found in zip(again.given, prints.texts(), strict=True):
        if found != held.fingerprint and names.count(held.name) == 1:
            message = "its members are not those that were converted: their fingerprint is another"
            yield Problem(where=source.url, kind="content", message=message)


def _changed(again: Again, piece: Piece) -> Problem:
    where = f"{again.given[piece.source][1].url}!/{piece.member.name}"
    return Problem(where=where, kind="content", message="its bytes are not those that were converted")


def _lost(again: Again) -> Iterator[Problem]:
    """Name samples of the conversion that the sources have no more."""
    number = again.record.conversions.index(again.conversion)
    laid = {sample.path for sample in again.layout.samples}
    names = " and ".join(source.name for _, source in again.given)
    for element in again.record.elements:
        if element.kind == "sample" and element.conversion == number and element.path not in laid:
            message = f"the store holds {element.name}, {names} does not"
            yield Problem(where=again.target.at(element.path), kind="missing", message=message)


class _Fingerprints:
    """SHA-256 over name, size and XXH3-128 of the members of each source, in the order in which they are used."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._states = [hashlib.sha256() for _ in sources]

    def opened(self, piece: Piece) -> tuple[Content, str]:
        """Open a member, take it in and give its digest; DecodeError where it can't be read, once it is taken so."""
        state, digest = xxhash.xxh3_128(), bytes(16)
        try:
            content = self._sources[piece.source].open(piece.member)
            for start in range(0, content.size, _STEP):
                state.update(content.read(start, min(_STEP, content.size - start)))
            digest = state.digest()
        finally:
            line = f"{piece.member.name}\0{piece.member.size}\0{digest.hex()}\n"
            self._states[piece.source].update(line.encode())
        return content, digest.hex()

    def texts(self) -> list[str]:
        """Give the fingerprint of each source."""
        return [state.hexdigest() for state in self._states]


class _Sample:
    """One sample against its members."""

    def __init__(self, again: Again, sample: Sample, contents: Mapping[str, Content], failed: dict[str, str]) -> None:
        self._again, self._sample, self._contents, self._failed = again, sample, contents, failed
        self._element = next((one for one in again.record.elements if one.path == sample.path), None)
        self._holds = self._element.holds if self._element is not None else ()
        self._parts: dict[str, str] = {}  # what members tell of, as a whole, by role
        self._pictures: dict[str, str] = {}  # names of samples by the digests of their pictures

    def problems(self, rows: Mapping[str, Row]) -> Iterator[Problem]:
        """Compare what names and shared members say of it, then what each of its own promises."""
        row = rows.get(self._sample.name)
        self._pictures = pictures_by_digest(rows)
        if row is None and self._element is None:
            yield self._wrong("", "the source holds it, the store does not", "missing")
            return
        for name, value in self._sample.obs.items():
            if row is not None and not equal(row.get(name), value):
                yield self._wrong("", f"the catalogue says {name} {row.get(name)!r}, the source {value!r}")
        if self._again.recipe.expect is None:
            return  # fingerprints tell whether the members are the same
        for role, expect in self._again.recipe.expect(self._sample, self._contents).items():
            if role not in self._failed:
                try:
                    yield from self._compare(role, expect())
                except DecodeError as error:
                    self._failed[role] = str(error)
                except StoreError as error:
                    part = self._parts.get(role, "")
                    yield self._wrong(part, f"it can't be compared with the source: {error}")
        yield from self._quarantined()

    def _wrong(self, part: str, message: str, kind: Kind = "content") -> Problem:
        path = f"{self._sample.path}/{part}".rstrip("/")
        return Problem(where=self._again.target.at(path), kind=kind, message=f"{self._sample.name}: {message}")

    def _compare(self, role: str, expected: Expected | None) -> Iterator[Problem]:
        if expected is None:
            return
        part, target = expected.part, self._again.target
        path = f"{self._sample.path}/{part}"
        if isinstance(expected, Facts):
            if part in self._holds:
                yield from (self._wrong(part, told) for told in compare_facts(target, path, expected))
            return
        self._parts[role] = part
        if part not in self._holds:
            for _ in expected.bands:
                pass
            yield self._wrong(part, "quarantined, but it decodes")
        elif isinstance(expected, Picture):
            found = compare_picture(target, path, expected, self._pictures)
            yield from (self._wrong(part, told) for told in found)
        else:
            yield from (self._wrong(part, told) for told in compare_matrix(target, path, expected))

    def _quarantined(self) -> Iterator[Problem]:
        """See that what can't be decoded now could not be converted, and that each group has its member."""
        # A group is called as the role that tells all of it; where the group is there, its member was taken.
        lost = [role for role in self._failed if self._parts.get(role, role) in self._holds]
        others = [role for role in self._failed if role not in lost]
        if self._element is not None and len(others) > self._element.quarantined:
            lost += others
        for role in lost:
            part = self._parts.get(role, role if role in self._holds else "")
            yield self._wrong(part, f"{role}: converted, but now it can't be decoded: {self._failed[role]}")
        for part in self._holds:
            if part != TWIN and part not in self._parts.values() and part not in self._failed:
                yield self._wrong(part, "the source has no member for it", "missing")
