"""The index of all genes of a store: which slides measure a symbol, and in which columns of their counts.

Slides with the same list of symbols share a panel, so the index tells for each symbol the panels and the columns in
them; the catalogue tells the panel of each slide. All of that is read once, but for the entries of a symbol.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from zarrscope.errors import MissingDataError, QueryError, StoreError
from zarrscope.loaders.contents import Contents
from zarrscope.loaders.frames import INDEX
from zarrscope.loaders.table import Table
from zarrscope.loaders.threads import each
from zarrscope.query import Categories, Values

GENES = "genes"
_PANEL = "panel"  # the column of the catalogue
_KEPT = 4096  # symbols whose entries are kept

type Panels = Mapping[str, tuple[int, ...]]  # by panel, the columns in which a symbol stands


class GeneIndex:
    """Looks symbols up, exactly as they stand in the files.

    Parameters
    ----------
    contents
        The store's elements.
    """

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._kept: dict[str, Panels] = {}

    @cached_property
    def _table(self) -> Table:
        there = next((one for one in self._contents.record.elements if one.role == GENES), None)
        if there is None:
            raise MissingDataError(f"{self._contents.storage.url} has no index of genes: it is no store of slides.")
        return self._contents.table(there.path)

    @cached_property
    def _index(self) -> Mapping[str, npt.NDArray[Any]]:
        """The symbols, where the entries of each start and how many there are, and the keys of panels."""
        table, read = self._table, dict[str, npt.NDArray[Any]]()

        def fetch(name: str) -> None:
            read[name] = table.array("uns/panels").read(()) if name == "panels" else _array(table.columns([name])[name])

        each(fetch, [INDEX, "start", "n_columns", "panels"], remote=table.remote)
        return read

    @cached_property
    def panels(self) -> Mapping[str, str]:
        """By the name of each slide that has counts, the key of its panel."""
        rows = next(one.rows for one in self._contents.record.samples if not one.images)
        columns = self._contents.table(rows).columns([INDEX, _PANEL])
        keys, names = columns[_PANEL], _array(columns[INDEX]).tolist()
        if isinstance(keys, Categories):
            texts = ["" if code < 0 else str(keys.values[code]) for code in keys.codes.tolist()]
        else:
            texts = keys.tolist()
        return {name: key for name, key in zip(names, texts, strict=True) if key}

    def entries(self, symbols: Sequence[str]) -> dict[str, Panels]:
        """Give for each symbol the panels that have it, and in which columns.

        Raises
        ------
        QueryError
            For a symbol that no slide measures: it names those that come close, of another case first.
        """
        if all(symbol in self._kept for symbol in symbols):
            return {symbol: self._kept[symbol] for symbol in symbols}
        known = self._index[INDEX]
        rows = {symbol: np.flatnonzero(known == symbol) for symbol in symbols}
        for symbol in (symbol for symbol, found in rows.items() if not len(found)):
            near = self.other_case([symbol])[symbol] or _near(symbol, known.tolist())
            hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise QueryError(
                f"no slide of {self._contents.storage.url} measures {symbol!r}: symbols are taken exactly, and "
                f"there are {len(known):,}.{hint}"
            )
        found: dict[str, Panels] = {}

        def fetch(symbol: str) -> None:
            found[symbol] = self._entries(int(rows[symbol][0]))

        each(fetch, list(rows), remote=self._table.remote)
        if len(self._kept) < _KEPT:
            self._kept |= found
        return found

    def other_case(self, symbols: Sequence[str]) -> dict[str, list[str]]:
        """Give for each symbol those that differ from it by case alone."""
        folded: dict[str, list[str]] = {symbol.casefold(): [] for symbol in symbols}
        for text in self._index[INDEX].tolist():
            if (key := text.casefold()) in folded:
                folded[key].append(text)
        return {symbol: [one for one in folded[symbol.casefold()] if one != symbol] for symbol in symbols}

    def _entries(self, row: int) -> Panels:
        start = int(self._index["start"][row])
        span = slice(start, start + int(self._index["n_columns"][row]))
        read: dict[str, npt.NDArray[Any]] = {}

        def fetch(part: str) -> None:
            read[part] = self._table.array(f"uns/{part}").read((span,))

        each(fetch, ["panel", "column"], remote=self._table.remote)
        if not len(read["panel"]) or read["panel"].max() >= len(self._index["panels"]):
            raise StoreError(f"{self._table.where}: the entries of row {row:,} do not fit its panels.")
        found: dict[str, tuple[int, ...]] = {}
        for number, column in zip(read["panel"].tolist(), read["column"].tolist(), strict=True):
            key = str(self._index["panels"][number])
            found[key] = (*found.get(key, ()), column)
        return found


def _array(values: Values) -> npt.NDArray[Any]:
    if isinstance(values, Categories):
        raise StoreError("expected a plain column in the index of genes, found categories.")
    return values


def _near(symbol: str, known: Sequence[str]) -> list[str]:
    """Give what is spelled alike: of hundred thousands only those that begin alike are compared."""
    begin = symbol[:1].casefold()
    alike = [one for one in known if one[:1].casefold() == begin and abs(len(one) - len(symbol)) <= 2]
    return difflib.get_close_matches(symbol, alike, n=3)
