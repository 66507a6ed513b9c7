"""Samples that a store holds already: those that did not change stay, of others only what their changed members make.

Members are compared with what the catalogue says of them: by size, and small ones by content too. A large member that
was replaced by one of its size is only found by ``verify --source``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from zarrscope.engine.catalogue import Earlier, PartOf, piece_columns
from zarrscope.engine.journal import Journal, Made
from zarrscope.engine.tables import digest_member
from zarrscope.errors import DecodeError, Problem
from zarrscope.model import Digest, Layout, Piece, Sample, Source
from zarrscope.recipe import Recipe
from zarrscope.record import Record

SMALL = 64 << 20  # bytes of a member that is compared by content
_NONE = bytes(16).hex()  # stands for the digest of a member that could not be had

type Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A part of a sample that is kept as it is: nothing that it is made of has changed."""

    path: str
    part: str
    made: Made


def holds_samples(record: Record | None) -> bool:
    """Tell whether a store has samples with groups of their own."""
    return record is not None and any(one.kind == "sample" for one in record.elements)


def renew(layout: Layout, earlier: Earlier, sources: Sequence[Source], recipe: Recipe) -> tuple[Layout, list[Kept]]:
    """Leave out the samples that are in the store as they are; of the others, say which parts are kept."""
    fresh: list[Sample] = []
    kept: list[Kept] = []
    same = 0
    for sample in layout.samples:
        row = earlier.catalogue.get(sample.name)
        if row is None:
            fresh.append(sample)
            continue
        changed = _changed(sample, row, sources)
        if not changed and all(row.get(name) == value for name, value in sample.obs.items()):
            same += len(sample.pieces)
            continue
        fresh.append(sample)
        if row.get("path") == sample.path:
            kept += _kept(sample, row, earlier, recipe, changed)
    if not same:
        return layout, kept
    unchanged = len(layout.samples) - len(fresh)
    message = f"{unchanged:,} of {len(layout.samples):,} samples are in the store already, and did not change"
    found = Problem(where=sources[0].url, kind="provenance", message=message)
    return (
        replace(layout, samples=tuple(fresh), ignored=layout.ignored + same, findings=(*layout.findings, found)),
        kept,
    )


def _changed(sample: Sample, row: Row, sources: Sequence[Source]) -> set[str]:
    """Give the roles whose member is another than it was, is new, or is gone."""
    there = {
        name.removesuffix("_bytes") for name, value in row.items() if name.endswith("_bytes") and value is not None
    }
    now = {piece.role: piece for piece in sample.pieces}
    return (there ^ now.keys()) | {role for role in there & now.keys() if not _same(now[role], row, sources)}


def _same(piece: Piece, row: Row, sources: Sequence[Source]) -> bool:
    names = piece_columns(piece.role)
    if row.get(names.size) != piece.member.size:
        return False
    if piece.refused is not None:
        return row.get(names.digest) == _NONE
    if piece.member.size > SMALL:
        return True
    try:
        return digest_member(sources[piece.source].open(piece.member)).hex() == row.get(names.digest)
    except DecodeError:
        return row.get(names.digest) == _NONE  # it could not be had then, either


def _kept(sample: Sample, row: Row, earlier: Earlier, recipe: Recipe, changed: set[str]) -> list[Kept]:
    kept = []
    for part, roles in recipe.parts.items():
        held = earlier.parts.get(part)
        if held is None or changed & set(roles):
            continue
        objects = _objects(sample, held, earlier)
        if objects:
            told = {name: row.get(name) for name in held.columns if row.get(name) is not None}
            kept.append(Kept(path=sample.path, part=part, made=Made(objects=objects, told=told)))
    return kept


def _objects(sample: Sample, held: PartOf, earlier: Earlier) -> tuple[Digest, ...]:
    prefixes = tuple(f"{sample.path}/{group}/" for group in held.groups)
    return tuple(
        Digest(key=key.removeprefix(f"{sample.path}/"), size=int(one["size"]), sha256=str(one["sha256"]))
        for key, one in earlier.manifest.items()
        if key.startswith(prefixes)
    )


def seed(journal: Journal, kept: Sequence[Kept]) -> None:
    """Write down the parts that are kept, as if this conversion had made them."""
    for one in kept:
        journal.add_part(one.path, one.part, one.made)


def pack(earlier: Earlier) -> bytes:
    """Serialise rows of earlier conversions for the journal."""
    return msgspec.msgpack.encode(earlier)
