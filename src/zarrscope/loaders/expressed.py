"""Genes across slides as one long table: a row a spot, a column a gene; what a slide does not measure is NaN.

Only what is asked for is read: the index of genes once, then of each slide where the gene stands, its entries, and the
names and places of its spots.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from zarrscope.errors import MissingDataError, QueryError, StoreError
from zarrscope.loaders.by_gene import GeneMajor
from zarrscope.loaders.contents import Contents, unknown
from zarrscope.loaders.genes import GeneIndex
from zarrscope.loaders.held import BY_GENE, COUNTS
from zarrscope.loaders.table import INDEX, Table
from zarrscope.loaders.threads import each
from zarrscope.record import Element

if TYPE_CHECKING:
    import pandas as pd

VALUE = "value"  # the column of a gene that is asked for alone
_KEPT = 64  # slides whose documents are kept

type Wanted = Mapping[str, Mapping[str, tuple[int, ...]]]  # by symbol and panel, columns of the counts


@dataclass(frozen=True, slots=True, eq=False)
class _Spots:
    """The spots of one slide: names ``(n,)``, places ``(n, 2)`` x and y, and by output column values ``(n,)``."""

    names: npt.NDArray[Any]
    places: npt.NDArray[np.float64]
    values: Mapping[str, npt.NDArray[np.float64]]


class GeneReader:
    """Reads genes of the slides of a store.

    Parameters
    ----------
    contents
        The store's elements.
    """

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._index = GeneIndex(contents)
        self._kept: dict[str, tuple[Table, GeneMajor]] = {}

    def read(self, symbol: str | Sequence[str], slides: Sequence[Element], *, summed: bool) -> pd.DataFrame:
        """Give one row a spot, slide by slide: see :meth:`zarrscope.loaders.store.Store.gene`."""
        symbols = [symbol] if isinstance(symbol, str) else list(dict.fromkeys(symbol))
        if not symbols:
            raise QueryError("no gene is asked for.")
        wanted = self._index.entries(symbols)
        panels = [self._panel(slide) for slide in slides]
        self._warn(symbols, wanted, panels)
        columns = _columns(symbols, VALUE if isinstance(symbol, str) else None, wanted, set(panels), summed=summed)
        found: dict[int, _Spots] = {}

        def read(number: int) -> None:
            found[number] = self._spots(slides[number], columns, panels[number])

        each(read, range(len(slides)), remote=self._contents.storage.root is None)
        return _long([slide.name for slide in slides], [found[number] for number in range(len(slides))], list(columns))

    def slides(self, names: Sequence[str] | None, *, lenient: bool = False) -> list[Element]:
        """Give the slides of these names or paths, all that have counts by default.

        Raises
        ------
        MissingDataError
            For an unknown name, and, unless ``lenient``, for a slide without counts.
        """
        having = {one.path: one for one in self._contents.samples if {COUNTS, BY_GENE} <= set(one.holds)}
        if names is None:
            return list(having.values())
        found: dict[str, Element] = {}
        for name in names:
            there = self._contents.find(name)
            if there is not None and there.path in having:
                found[there.path] = having[there.path]
            elif lenient:
                continue
            elif there is not None and there.kind == "sample":
                raise MissingDataError(f"{name} of {self._contents.storage.url} has no counts; see store.slides.")
            else:
                listed = [one.name for one in having.values()]
                raise unknown("slide", name, listed, self._contents.storage.url)
        return list(found.values())

    def _panel(self, slide: Element) -> str:
        panel = self._index.panels.get(slide.name)
        if panel is None:
            raise StoreError(f"{self._contents.storage.at(slide.path)}: the catalogue does not say what it measures.")
        return panel

    def _warn(self, symbols: Sequence[str], wanted: Wanted, panels: Sequence[str]) -> None:
        """Tell of slides that do not measure a symbol but one that differs by case: mouse genes are written so."""
        lacked = [symbol for symbol in symbols if any(panel not in wanted[symbol] for panel in panels)]
        for symbol, others in (self._index.other_case(lacked) if lacked else {}).items():
            lacking = [panel for panel in panels if panel not in wanted[symbol]]
            named = [one for one in others if one not in symbols]
            held = self._index.entries(named) if named else {}
            count = sum(any(panel in held[one] for one in held) for panel in lacking)
            if count:
                listed = ", ".join(one for one in named if any(panel in held[one] for panel in lacking))
                warnings.warn(
                    f"{count:,} of {len(panels):,} slides do not measure {symbol!r} but {listed}: symbols are taken "
                    "exactly, and there its values are NaN. Ask for all of them to have all.",
                    stacklevel=4,
                )

    def _spots(self, slide: Element, columns: Mapping[str, Mapping[str, tuple[int, ...]]], panel: str) -> _Spots:
        numbers = list(dict.fromkeys(one for by_panel in columns.values() for one in by_panel.get(panel, ())))
        table, matrix = self._opened(slide, measured=bool(numbers))
        read: dict[str, Any] = {}

        def fetch(part: str) -> None:
            if part == "values" and matrix is not None:
                read[part] = dict(zip(numbers, matrix.columns(numbers), strict=True))
            elif part == "places":
                read[part] = table.array("obsm/spatial").read(())
            elif part == "names":
                read[part] = table.columns([INDEX])[INDEX]

        each(fetch, ["values", "places", "names"], remote=table.remote)
        values = {
            name: _dense(len(table), by_panel.get(panel, ()), read.get("values", {}))
            for name, by_panel in columns.items()
        }
        return _Spots(read["names"], read["places"], values)

    def _opened(self, slide: Element, *, measured: bool) -> tuple[Table, GeneMajor | None]:
        """Open a slide's two groups, a request each, and keep some."""
        kept = self._kept.get(slide.path)
        if kept is not None:
            return kept
        opened: dict[str, Any] = {}

        def fetch(name: str) -> None:
            group = Table if name == COUNTS else GeneMajor
            opened[name] = group(self._contents.storage, f"{slide.path}/{name}")

        each(fetch, [COUNTS, BY_GENE] if measured else [COUNTS], remote=self._contents.storage.root is None)
        if measured and opened[BY_GENE].shape[0] != len(opened[COUNTS]):
            where = self._contents.storage.at(f"{slide.path}/{BY_GENE}")
            raise StoreError(f"{where}: expected {len(opened[COUNTS]):,} rows, found {opened[BY_GENE].shape[0]:,}.")
        if measured and len(self._kept) < _KEPT:
            self._kept[slide.path] = opened[COUNTS], opened[BY_GENE]
        return opened[COUNTS], opened.get(BY_GENE)


def _columns(
    symbols: Sequence[str], alone: str | None, wanted: Wanted, panels: set[str], *, summed: bool
) -> dict[str, dict[str, tuple[int, ...]]]:
    """Give the columns of the result, and by panel the columns of counts that are added up in each."""
    columns: dict[str, dict[str, tuple[int, ...]]] = {}
    for symbol in symbols:
        here = {panel: found for panel, found in wanted[symbol].items() if panel in panels}
        most = 1 if summed else max(map(len, here.values()), default=1)
        for copy in range(most):
            name = f"{alone or symbol}_{copy}" if copy else alone or symbol
            if name in columns or (copy and name in symbols):
                raise QueryError(f"two columns would be called {name!r}: pass sum_duplicates=True.")
            columns[name] = {
                panel: found if summed else found[copy : copy + 1] for panel, found in here.items() if len(found) > copy
            }
    return columns


def _dense(spots: int, numbers: Sequence[int], entries: Mapping[int, Any]) -> npt.NDArray[np.float64]:
    """Give the sum of some columns, ``(n,)``: zero where nothing was counted, NaN where nothing was measured."""
    if not numbers:
        return np.full(spots, np.nan)
    dense = np.zeros(spots)
    for number in numbers:
        rows, values = entries[number]
        dense[rows] += values
    return dense


def _long(names: Sequence[str], found: Sequence[_Spots], columns: Sequence[str]) -> pd.DataFrame:
    """Put slides below each other."""
    import pandas as pd

    counts = [len(one.names) for one in found]
    spots = np.concatenate([one.names for one in found]) if found else np.zeros(0, object)
    places = np.concatenate([one.places for one in found]) if found else np.zeros((0, 2))
    return pd.DataFrame(
        {
            "slide": pd.Categorical.from_codes(
                np.repeat(np.arange(len(names)), counts), pd.Index(list(names), dtype="str")
            ),
            "spot": pd.array(spots.astype(object), dtype="str"),
            "x": places[:, 0],
            "y": places[:, 1],
            **{name: np.concatenate([one.values[name] for one in found]) if found else np.zeros(0) for name in columns},
        },
        copy=False,
    )
