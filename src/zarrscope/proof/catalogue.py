"""The catalogue of samples that have groups of their own, and the index of their genes, against record and groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zarrscope.errors import Problem, QueryError, StoreError
from zarrscope.loaders.table import INDEX, Table
from zarrscope.model import Integers, Scalar, strings
from zarrscope.proof.groups import COUNTS, check_groups
from zarrscope.query import Categories
from zarrscope.record import Element, Record
from zarrscope.storage import Storage

GENES, PANEL = "genes", "panel"  # a role of tables, and the column that says which list of genes a sample has

type Row = Mapping[str, Scalar]


@dataclass(slots=True)
class Catalogue:
    """The rows of samples by their names, what is wrong with them, and what is worth knowing."""

    rows: dict[str, Row] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_catalogue(target: Storage, record: Record) -> Catalogue:
    """Compare the catalogue with the record's samples, and the documents of each sample with its row."""
    found = Catalogue()
    for group in record.samples:
        if not group.images:
            where = target.at(group.rows)
            try:
                names, rows = _rows(target, group.rows)
            except StoreError as error:
                found.problems.append(Problem(where=where, kind="content", message=f"it can't be read: {error}"))
                continue
            if len(names) != group.length:
                message = f"{len(names):,} rows, {group.length:,} in the record"
                found.problems.append(Problem(where=where, kind="declaration", message=message))
            doubled = len(names) - len(set(names))
            if doubled:
                message = f"{doubled:,} rows have the name of another"
                found.problems.append(Problem(where=where, kind="duplicate", message=message))
            found.rows |= dict(zip(names, rows, strict=True))
    samples = {element.name: element for element in record.elements if element.kind == "sample"}
    for name, row in found.rows.items():
        found.problems += _compare(target, name, row, samples.get(name))
        if row.get("suspicious") is True:
            found.notes.append(_suspicion(name, row))
    for name, element in samples.items():
        row = found.rows.get(name, {})
        if found.rows and not row:
            message = f"no row of the catalogue is called {name!r}"
            found.problems.append(Problem(where=target.at(element.path), kind="missing", message=message))
        found.problems += check_groups(target, element, row)
    return found


def pictures_by_digest(rows: Mapping[str, Row]) -> dict[str, str]:
    """Give the names of samples by the digests of their pictures' pixels."""
    return {str(row["image_values"]): name for name, row in rows.items() if row.get("image_values") is not None}


def _rows(target: Storage, path: str) -> tuple[list[str], list[Row]]:
    table = Table(target, path)
    columns = {name: _plain(column) for name, column in table.columns([INDEX, *table.names]).items()}
    names = [str(name) for name in columns.pop(INDEX)]
    return names, [{name: values[row] for name, values in columns.items()} for row in range(len(names))]


def _plain(column: Any) -> list[Scalar]:
    if isinstance(column, Categories):
        return [None if code < 0 else str(column.values[code]) for code in column.codes.tolist()]
    return [None if value != value else value for value in column.tolist()]  # noqa: PLR0124  (only NaN differs)


def _compare(target: Storage, name: str, row: Row, element: Element | None) -> Iterator[Problem]:
    """Compare a row of the catalogue with the element of that name: one that is not ``ok`` has none."""
    where = target.at(str(row["path"])) if row.get("path") else target.url
    told = None
    if element is None and row.get("ok"):
        told = f"the catalogue says that {name} was converted, the record has no such sample"
    elif element is not None and not row.get("ok"):
        told = f"the catalogue says that nothing of {name} could be converted, the record lists it"
    elif element is None and row.get("path"):
        told = f"the catalogue gives {name} a path, the record has no such sample"
    elif element is not None and row.get("path") != element.path:
        told = f"the catalogue says that {name} lies at {row.get('path')}, the record that it lies at {element.path}"
    if told is not None:
        yield Problem(where=where, kind="declaration", message=told)
        return
    for part in ("image", COUNTS):
        held = element is not None and part in element.holds
        if f"{part}_ok" in row and bool(row[f"{part}_ok"]) != held:
            message = f"the catalogue says {part}_ok {row[f'{part}_ok']} of {name}, the record {held}"
            yield Problem(where=where, kind="declaration", message=message)


def _suspicion(name: str, row: Row) -> str:
    told = f"{name}: its spots may not lie where its picture shows them"
    if row.get("orientation") not in (None, "as given"):
        told += f"; with coordinates {row['orientation']} more of them would lie on tissue"
    elif row.get("n_spots_outside"):
        told += f"; {row['n_spots_outside']:g} lie outside of it"
    return told


def check_genes(target: Storage, path: str, record: Record, rows: Mapping[str, Row]) -> list[Problem]:
    """See that each sample's columns are those that the index of genes at ``path`` tells, symbol by symbol."""
    try:
        return list(_Genes(target, path).problems(record, rows))
    except (StoreError, QueryError) as error:
        return [Problem(where=target.at(path), kind="content", message=f"it can't be read: {error}")]


class _Genes:
    """The index of genes: for each symbol the panels, and the columns of these, in which it stands.

    Entries of gene ``g`` are ``start[g]`` to ``start[g] + n_columns[g]``: ``uns/panel`` and ``uns/column``.
    """

    def __init__(self, target: Storage, path: str) -> None:
        self._target, self._where = target, target.at(path)
        table = Table(target, path)
        columns = table.columns([INDEX, "start", "n_columns", "n_slides"])
        self._symbols = np.asarray(columns[INDEX])
        self._start, self._lengths, self._slides = (
            np.asarray(columns[name]).astype(np.int64) for name in ("start", "n_columns", "n_slides")
        )
        self._panel, self._column = (table.array(f"uns/{name}").read(()).astype(np.int64) for name in (PANEL, "column"))
        self._panels: list[str] = table.array("uns/panels").read(()).tolist()

    def problems(self, record: Record, rows: Mapping[str, Row]) -> Iterator[Problem]:
        """Compare with every sample's own symbols."""
        wrong = self._shape()
        if wrong:
            yield Problem(where=self._where, kind="content", message=wrong)
            return
        gene = np.repeat(np.arange(len(self._symbols)), self._lengths)
        held = np.zeros(len(self._panels), np.int64)
        for element in record.elements:
            if element.kind == "sample" and COUNTS in element.holds:
                panel = rows.get(element.name, {}).get(PANEL)
                if panel not in self._panels:
                    message = f"{element.name}: the index of genes has no panel {panel!r}"
                    yield Problem(where=self._where, kind="missing", message=message)
                    continue
                number = self._panels.index(str(panel))
                held[number] += 1
                if differs := self._differ(element, gene, number):
                    yield Problem(where=self._where, kind="content", message=f"{element.name}: {differs}")
        pairs = np.unique(gene * max(1, len(self._panels)) + self._panel)
        of_gene, of_panel = np.divmod(pairs, max(1, len(self._panels)))
        slides = np.zeros(len(self._symbols), np.int64)
        np.add.at(slides, of_gene, held[of_panel])
        for at in np.flatnonzero(slides != self._slides)[:1].tolist():
            message = f"{self._symbols[at]}: n_slides is {self._slides[at]}, it stands in {slides[at]}"
            yield Problem(where=self._where, kind="content", message=message)

    def _shape(self) -> str | None:
        """Say in which way the index contradicts itself."""
        symbols, ends = self._symbols, np.cumsum(self._lengths)
        ordered = np.array_equal(symbols, strings(sorted(set(symbols.tolist()))))
        if not ordered:
            return "expected each symbol once, in the order of code points"
        if not np.array_equal(self._start, ends - self._lengths) or len(self._panel) != int(self._lengths.sum()):
            return f"start and n_columns do not cut {len(self._panel):,} entries"
        if len(self._column) != len(self._panel):
            return f"{len(self._panel):,} panels, but {len(self._column):,} columns"
        if len(self._panel) and not 0 <= self._panel.min() <= self._panel.max() < len(self._panels):
            return f"expected numbers of {len(self._panels)} panels, found others"
        return None

    def _differ(self, element: Element, gene: Integers, number: int) -> str | None:
        """Say where the columns of a sample are others than the index tells."""
        own = Table(self._target, f"{element.path}/{COUNTS}").array("var/symbol").read(())
        entries = np.flatnonzero(self._panel == number)
        columns, symbols = self._column[entries], self._symbols[gene[entries]]
        if not np.array_equal(np.sort(columns), np.arange(len(own))):
            distinct = len(np.unique(columns))
            return f"expected each of {len(own):,} columns once in the index of genes, found {distinct:,} of them"
        differ = np.flatnonzero(own[columns] != symbols)
        if not len(differ):
            return None
        at = int(differ[np.argmin(columns[differ])])
        return f"column {columns[at]} is {own[columns[at]]}, in the index of genes {symbols[at]}"
