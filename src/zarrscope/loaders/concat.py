"""Slides below each other as one AnnData whose counts stay in the store until they are asked for.

Slides measure different genes, and a gene that was not measured is not a gene of which nothing was found. So by default
only genes that all slides measure are there; otherwise ``varm["measured"]`` says which slide measures what, and zeros
of the others mean nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from zarrscope.errors import QueryError, StoreError, UsageError
from zarrscope.loaders.contents import Contents, unknown
from zarrscope.loaders.frames import INDEX
from zarrscope.loaders.genes import GeneIndex
from zarrscope.loaders.held import BY_GENE, COUNTS
from zarrscope.loaders.pixels import plain
from zarrscope.loaders.stacked import Slide, Stacked
from zarrscope.loaders.table import Table
from zarrscope.loaders.threads import each
from zarrscope.query import Categories, Values
from zarrscope.readers.counts import unique_names
from zarrscope.record import Element

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

type Join = Literal["inner", "outer"]
type Gene = tuple[str, int]  # a symbol, and which of the columns that have it

_SPATIAL = "obsm/spatial"


def concatenate(
    contents: Contents,
    slides: Sequence[Element],
    genes: str | Sequence[str] | None = None,
    *,
    join: Join = "inner",
    columns: Sequence[str] | None = None,
    dtype: npt.DTypeLike | None = "float32",
) -> AnnData:
    """Put slides below each other: see :meth:`zarrscope.loaders.collection.Collection.concat`."""
    from anndata import AnnData

    if join not in ("inner", "outer"):
        raise UsageError(f"expected join='inner' or 'outer', found {join!r}.")
    if not slides:
        raise UsageError(f"{contents.storage.url}: no slides to put below each other.")
    tables = _tables(contents, slides)
    key_of = GeneIndex(contents).panels
    keys = [key_of.get(one.name, one.path) for one in slides]  # slides of one panel measure the same, in one order
    panels = _panels(dict(zip(keys, tables, strict=True)), remote=contents.storage.root is None)
    chosen = _joined([panels[key] for key in keys], slides, genes, join)
    place_of = {gene: place for place, gene in enumerate(chosen)}
    places = {key: np.array([place_of.get(gene, -1) for gene in panel], np.int64) for key, panel in panels.items()}
    parts = [
        Slide(
            rows=len(table),
            places=places[key],
            parts={part: table.array(f"X/{part}") for part in ("data", "indices", "indptr")},
            twin=f"{slide.path}/{BY_GENE}" if BY_GENE in slide.holds else None,
        )
        for slide, table, key in zip(slides, tables, keys, strict=True)
    ]
    stored = np.result_type(*{one.parts["data"].dtype for one in parts})
    matrix = Stacked(contents.storage, parts, len(chosen), stored if dtype is None else dtype)
    obs, spatial = _spots(slides, tables, columns, remote=contents.storage.root is None)
    var, measured = _genes(chosen, slides, [places[key] for key in keys])
    return AnnData(X=matrix.dask(), obs=obs, var=var, obsm={"spatial": spatial}, varm={"measured": measured})


def _tables(contents: Contents, slides: Sequence[Element]) -> list[Table]:
    """Open the counts of slides, a request each; none is kept, since there may be a thousand."""
    found: dict[int, Table] = {}

    def open_one(number: int) -> None:
        found[number] = Table(contents.storage, f"{slides[number].path}/{COUNTS}")

    each(open_one, range(len(slides)), remote=contents.storage.root is None)
    return [found[number] for number in range(len(slides))]


def _panels(tables: Mapping[str, Table], *, remote: bool) -> dict[str, list[Gene]]:
    """Give the genes of each panel, in the order of its columns: the n-th of equal symbols is one gene everywhere."""
    found: dict[str, list[Gene]] = {}

    def read(key: str) -> None:
        met: dict[str, int] = {}
        found[key] = []
        for symbol in plain(tables[key].var.columns(["symbol"])["symbol"]).tolist():
            met[symbol] = met.get(symbol, -1) + 1
            found[key].append((symbol, met[symbol]))

    each(read, list(tables), remote=remote)
    return found


def _joined(
    panels: Sequence[Sequence[Gene]], slides: Sequence[Element], wanted: str | Sequence[str] | None, join: Join
) -> list[Gene]:
    """Give the genes of the result: in the order asked for, else as they come in the first slide, then in others."""
    distinct = {id(panel): panel for panel in panels}
    everything = dict.fromkeys(gene for panel in distinct.values() for gene in panel)
    common = set(everything).intersection(*distinct.values())
    if wanted is None:
        chosen = [gene for gene in everything if join == "outer" or gene in common]
        if not chosen:
            raise UsageError(
                f"no gene is measured by all {len(slides):,} slides. Leave some out (symbols of mouse and human differ "
                "by case), or pass join='outer'."
            )
    else:
        chosen = _asked([wanted] if isinstance(wanted, str) else wanted, everything)
        lacking = [gene for gene in chosen if gene not in common]
        if lacking and join == "inner":
            without = [one.name for one, panel in zip(slides, panels, strict=True) if lacking[0] not in set(panel)]
            named = ", ".join(without[:3]) + (f" and {len(without) - 3:,} more" if len(without) > 3 else "")
            raise UsageError(
                f"{lacking[0][0]!r} (column {lacking[0][1] + 1} of that symbol) is not measured by {len(without):,} of "
                f"{len(slides):,} slides: {named}. Leave these out, or pass join='outer'."
            )
    if count := sum(gene not in common for gene in chosen):
        warnings.warn(
            f"{count:,} of {len(chosen):,} genes are not measured by all {len(slides):,} slides: there X holds 0, "
            "which means nothing. varm['measured'] tells which slide measures what.",
            stacklevel=4,
        )
    return chosen


def _asked(wanted: Sequence[str], everything: Mapping[Gene, None]) -> list[Gene]:
    by_symbol: dict[str, list[Gene]] = {}
    for gene in everything:
        by_symbol.setdefault(gene[0], []).append(gene)
    for symbol in wanted:
        if symbol not in by_symbol:
            raise QueryError(str(unknown("gene", symbol, by_symbol, "this choice of slides")))
    return [gene for symbol in dict.fromkeys(wanted) for gene in by_symbol[symbol]]


def _genes(
    chosen: Sequence[Gene], slides: Sequence[Element], places: Sequence[npt.NDArray[np.int64]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give ``var``, and which slide measures which gene ``(genes, slides)``."""
    import pandas as pd

    symbols = [symbol for symbol, _ in chosen]
    names = pd.Index(unique_names(symbols).astype(object), dtype="str")
    measured = np.zeros((len(chosen), len(slides)), bool)
    for number, place in enumerate(places):
        measured[place[place >= 0], number] = True
    columns = {"symbol": pd.array(symbols, dtype="str"), "n_slides": measured.sum(axis=1).astype(np.int32)}
    return (
        pd.DataFrame(columns, index=names),
        pd.DataFrame(measured, index=names, columns=[one.name for one in slides]),
    )


def _spots(
    slides: Sequence[Element], tables: Sequence[Table], columns: Sequence[str] | None, *, remote: bool
) -> tuple[pd.DataFrame, npt.NDArray[np.float64]]:
    """Read ``obs`` and the places of all spots."""
    import pandas as pd

    names = list(dict.fromkeys(name for table in tables for name in table.names)) if columns is None else list(columns)
    for name in names if columns is not None else ():
        if not any(table.has(name) for table in tables):
            raise unknown("column", name, {one for table in tables for one in table.names}, "obs of these slides")
    read: dict[int, dict[str, Values]] = {}
    spatial: dict[int, npt.NDArray[np.float64]] = {}

    def fetch(number: int) -> None:
        table = tables[number]
        read[number] = table.columns([INDEX, *filter(table.has, names)])
        spatial[number] = table.array(_SPATIAL).read(())

    each(fetch, range(len(tables)), remote=remote)
    counts = [len(table) for table in tables]
    index = pd.Index(np.concatenate([plain(read[number][INDEX]) for number in range(len(tables))]), dtype="str")
    if not index.is_unique:
        twice = str(index[index.duplicated()][0])
        raise StoreError(f"the spot {twice!r} is in two of these slides, or twice in one: expected each name once.")
    of = np.repeat(np.arange(len(slides)), counts)
    held = {"slide": pd.Categorical.from_codes(of, pd.Index([one.name for one in slides], dtype="str"))}
    held |= {name: _below([read[number].get(name) for number in range(len(tables))], counts) for name in names}
    return pd.DataFrame(held, index=index, copy=False), np.concatenate(
        [spatial[number] for number in range(len(tables))]
    )


def _below(columns: Sequence[Values | None], counts: Sequence[int]) -> Any:
    """Put the parts of a column below each other; what a slide has no column for is missing."""
    import pandas as pd

    there = [one for one in columns if one is not None]
    if all(isinstance(one, Categories) for one in there):
        return _categories(columns, counts)
    gaps = np.repeat([one is None for one in columns], counts)
    values = [None if one is None else plain(one) for one in columns]
    kinds = {one.dtype.kind for one in values if one is not None}
    blank: Any = False if kinds == {"b"} else None if kinds & set("OU") else np.nan
    whole = np.concatenate(
        [np.full(count, blank) if one is None else one for one, count in zip(values, counts, strict=True)]
    )
    if kinds == {"b"} and gaps.any():
        return pd.arrays.BooleanArray(whole, gaps)
    return pd.array(whole, dtype="str") if whole.dtype.kind in "OU" else whole


def _categories(columns: Sequence[Values | None], counts: Sequence[int]) -> pd.Categorical:
    import pandas as pd

    place_of: dict[Any, int] = {}
    codes = []
    for one, count in zip(columns, counts, strict=True):
        if not isinstance(one, Categories):
            codes.append(np.full(count, -1, np.int64))
            continue
        held = [place_of.setdefault(value, len(place_of)) for value in one.values.tolist()]
        codes.append(np.array([*held, -1], np.int64)[one.codes])  # the code -1 takes the last
    return pd.Categorical.from_codes(np.concatenate(codes), pd.Index(list(place_of)))
