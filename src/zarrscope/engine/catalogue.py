"""From the receipts of samples with groups of their own: the catalogue, further tables, the manifest, the elements.

These tables are of the store as a whole: a conversion that adds samples writes them anew, with the rows of earlier
conversions, which the journal keeps from the moment it begins.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any, NamedTuple

import msgspec
import numpy as np

from zarrscope.engine.columns import Gather
from zarrscope.engine.journal import Journal
from zarrscope.engine.tables import Fingerprint, digest_member, digest_object, write_table
from zarrscope.errors import Problem, StoreError
from zarrscope.loaders.table import INDEX, Table
from zarrscope.model import Digest, Piece, Plan, Sample, SampleReceipt, Scalar, Source, strings
from zarrscope.recipe import Collected, Recipe, column_name
from zarrscope.record import MANIFEST, PLAIN_GROUP, ROOT, Element, Record, digest_lines, parse_root, root_document
from zarrscope.storage import Storage
from zarrscope.writers.table import Columns, TableContent

_OURS = ("ok", "reason")
_PARTS = "parts"  # below uns of the catalogue: what belongs to which part of a sample

type Row = dict[str, Scalar]


class PartOf(msgspec.Struct, frozen=True):
    """What belongs to a part of every sample: groups, and columns of the catalogue."""

    groups: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


class Earlier(msgspec.Struct, frozen=True):
    """What a store has of earlier conversions: rows of the catalogue, by the samples' names, of the manifest, by keys.

    ``parts`` says what is of which part of a sample.
    """

    catalogue: dict[str, dict[str, Any]] = {}
    manifest: dict[str, dict[str, Any]] = {}
    parts: dict[str, PartOf] = {}


class PieceColumns(NamedTuple):
    """The columns of the catalogue that identify one member of a sample."""

    size: str
    digest: str


def piece_columns(role: str) -> PieceColumns:
    """Name the columns of the catalogue for a member of this role.

    >>> piece_columns("coord").digest
    'coord_xxh3_128'
    """
    return PieceColumns(f"{role}_bytes", f"{role}_xxh3_128")


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What came of the samples of a conversion, for the record."""

    elements: tuple[Element, ...]
    dropped: frozenset[str] = frozenset()  # paths of elements that are written anew
    problems: tuple[Problem, ...] = ()
    converted: int = 0


def earlier_rows(storage: Storage, record: Record | None, name: str) -> Earlier:
    """Read what a store has of earlier conversions."""
    if record is None or record.element(name) is None:
        return Earlier()
    return Earlier(_rows(storage, name), _rows(storage, MANIFEST), _parts(storage, name))


def _parts(storage: Storage, path: str) -> dict[str, PartOf]:
    table = Table(storage, path)
    names = table.array(f"uns/{_PARTS}").read(()).tolist() if f"uns/{_PARTS}" in table.nodes else []
    found = [
        [tuple(map(str, table.array(f"uns/{part}_{kind}").read(()).tolist())) for kind in ("groups", "columns")]
        for part in names
    ]
    return {str(part): PartOf(groups, columns) for part, (groups, columns) in zip(names, found, strict=True)}


def _rows(storage: Storage, path: str) -> dict[str, Row]:
    table = Table(storage, path)
    frame = table.frame([INDEX, *table.names])
    columns = {name: _plain(frame[name]) for name in table.names}
    return {str(one): {name: values[row] for name, values in columns.items()} for row, one in enumerate(frame.index)}


def _plain(column: Any) -> list[Scalar]:
    """Give the values of a column of pandas as they were before it was one: a gap is None, whatever its type."""
    held = zip(column.tolist(), column.isna().tolist(), strict=True)
    return [None if gap else value.item() if isinstance(value, np.generic) else value for value, gap in held]


@dataclass(eq=False)
class Catalogue:
    """Gathers receipts of samples, and writes what is of the store as a whole."""

    plan: Plan
    recipe: Recipe
    sources: Sequence[Source]
    journal: Journal
    conversion: int
    name: str
    problems: list[Problem] = field(default_factory=list)
    converted: int = 0
    elements: list[Element] = field(default_factory=list)

    def write(self, prints: Sequence[Fingerprint]) -> Built:
        """Write every table; give the elements for the record."""
        earlier = msgspec.msgpack.decode(self.journal.earlier(), type=Earlier)
        rows: dict[str, Row] = dict(earlier.catalogue)
        anew = {sample.name for sample in self.plan.samples}
        listed: dict[str, Row] = {
            key: row for key, row in earlier.manifest.items() if row.get("sample") and row["sample"] not in anew
        }
        parts = dict(earlier.parts)
        for sample in self.plan.samples:
            receipt = self._receipt(sample)
            for part, (groups, columns) in receipt.parts.items():
                held = parts.get(part, PartOf())
                parts[part] = PartOf(_joined(held.groups, groups), _joined(held.columns, columns))
            rows[sample.name] = self._take(sample, receipt, prints)
            listed |= {
                f"{sample.path}/{one.key}": {"size": one.size, "sha256": one.sha256, "sample": sample.name}
                for one in (*receipt.objects, *self._plain_groups(sample, receipt))
            }
        for piece in self.plan.shared:
            prints[piece.source].add([(piece.member.name, piece.member.size, self._digest(piece))])
        storage = self.journal.storage
        tables: dict[str, TableContent] = {self.name: _frame(rows, parts)}
        if self.recipe.collect is not None:
            tables |= self.recipe.collect(Collected(rows=rows, url=storage.address, options=storage.options))
        _withhold(storage, {*tables, MANIFEST})
        for path, content in tables.items():
            digests = self._table(path, content)
            listed |= {f"{path}/{one.key}": {"size": one.size, "sha256": one.sha256} for one in digests}
        self._table(MANIFEST, _frame(dict(sorted(listed.items()))))
        return Built(
            elements=tuple(self.elements),
            dropped=frozenset((*tables, MANIFEST)),
            problems=tuple(self.problems),
            converted=self.converted,
        )

    def _digest(self, piece: Piece) -> str:
        return digest_member(self.sources[piece.source].open(piece.member)).hex()

    def _receipt(self, sample: Sample) -> SampleReceipt:
        task = next(task for task in self.plan.tasks if task.image == sample.path)
        receipt = self.journal.sample_receipt(task)
        if receipt is None:
            raise StoreError(f"{self.journal.storage.at(sample.path)}: the receipt is gone. Run convert again.")
        return receipt

    def _take(self, sample: Sample, receipt: SampleReceipt, prints: Sequence[Fingerprint]) -> Row:
        self.problems += receipt.quarantined
        self.converted += len(sample.pieces) - len(receipt.quarantined)
        members: dict[str, Scalar] = {}
        for place, piece in enumerate(sample.pieces):
            digest = receipt.member_digests[16 * place : 16 * place + 16].hex()
            prints[piece.source].add([(piece.member.name, piece.member.size, digest)])
            members |= zip(piece_columns(piece.role), (piece.member.size, digest), strict=True)
        if receipt.holds:
            self.elements.append(
                Element(
                    path=sample.path,
                    kind="sample",
                    role=sample.role,
                    name=sample.name,
                    shape=(),
                    digest=digest_lines((one.key, one.sha256) for one in receipt.objects),
                    conversion=self.conversion,
                    source=sample.pieces[0].source,
                    quarantined=len(receipt.quarantined),
                    holds=receipt.holds,
                )
            )
        found = {
            column_name(name, sample.obs) if name not in _OURS else name: one for name, one in receipt.columns.items()
        }
        return {"path": sample.path if receipt.holds else None, **sample.obs, **found, **members}

    def _plain_groups(self, sample: Sample, receipt: SampleReceipt) -> list[Digest]:
        """Write the group that holds those of a sample, and all above it."""
        if not receipt.holds:
            return []
        names = sample.path.split("/")
        for depth in range(1, len(names) + 1):
            self.journal.storage.put(f"{'/'.join(names[:depth])}/{ROOT}", PLAIN_GROUP)
        return [digest_object(ROOT, PLAIN_GROUP)]

    def _table(self, path: str, content: TableContent) -> list[Digest]:
        storage = self.journal.storage
        digests = write_table(storage, path, content)
        _prune(storage, path, {one.key for one in digests})
        self.elements.append(
            Element(
                path=path,
                kind="table",
                role=MANIFEST if path == MANIFEST else path,
                shape=(len(content.index), 0 if content.var_index is None else len(content.var_index)),
                digest=digest_lines((one.key, one.sha256) for one in digests),
                conversion=self.conversion,
            )
        )
        return digests


def _prune(storage: Storage, path: str, keys: Collection[str]) -> None:
    """Delete what an earlier table at this place had and this one has not: a column may be stored otherwise now."""
    kept = {place for key in keys for place in _prefixes(key)}
    there = [key.removeprefix(f"{path}/") for key, _ in storage.keys(path)]
    for place in {next(place for place in _prefixes(key) if place not in kept) for key in there if key not in keys}:
        storage.delete(f"{path}/{place}")


def _prefixes(key: str) -> Iterator[str]:
    return accumulate(key.split("/"), "{}/{}".format)


def _withhold(storage: Storage, tables: Collection[str]) -> None:
    """Take tables that are written anew out of the record of a finished store: half of each would be old, half new."""
    try:
        record = parse_root(storage.get(ROOT), storage.url)
    except FileNotFoundError:
        return
    withheld = replace(
        record,
        elements=tuple(one for one in record.elements if one.path not in tables),
        samples=tuple(one for one in record.samples if one.rows not in tables),
        pending=tuple(dict.fromkeys((*record.pending, *sorted(tables)))),
    )
    storage.put(ROOT, root_document(withheld))


def _joined(one: Iterable[str], other: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({*one, *other}))


def _frame(rows: Mapping[str, Row], parts: Mapping[str, PartOf] | None = None) -> TableContent:
    """Make a table of rows whose columns may differ; the row names become its index."""
    names = dict.fromkeys(name for row in rows.values() for name in row)
    build: dict[str, Callable[[], Any]] = {name: _column([row.get(name) for row in rows.values()]) for name in names}
    uns: dict[str, Any] = {}
    if parts:
        uns[_PARTS] = strings(sorted(parts))
        for part, of in parts.items():
            uns |= {f"{part}_groups": strings(of.groups), f"{part}_columns": strings(of.columns)}
    return TableContent(index=strings(list(rows)), obs=Columns(build), uns=uns)


def _column(values: Iterable[Scalar]) -> Callable[[], Any]:
    def build() -> Any:
        gather = Gather()
        gather.add(list(values))
        return gather.column()

    return build
