"""Queries over sample sets: one expression, evaluated over all sets that have its columns, gives a lazy selection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from zarrscope.errors import QueryError, UsageError
from zarrscope.loaders.masks import masks
from zarrscope.loaders.samples import Samples
from zarrscope.loaders.sets import SampleSets
from zarrscope.loaders.table import INDEX
from zarrscope.loaders.views import ElementView
from zarrscope.model import Integers
from zarrscope.query import Categories, Expression, parse, unknown_column

if TYPE_CHECKING:
    import pandas as pd
    from xarray import DataArray

type View = Callable[[str], ElementView]


def select(
    sets: SampleSets, text: str, *, names: Sequence[str] | None, quarantined: bool, view: View | None = None
) -> Selection:
    """Evaluate an expression over the sets named, or all that have its columns; reads those columns and no others.

    Raises
    ------
    QueryError
        Where no set has the columns, or no row has a value that the expression names.
    """
    expression = parse(text)
    if not expression.columns:
        raise QueryError(f"{text!r} names no column.")
    tables = {name: sets.rows(sets.get(name)) for name in (sets.names if names is None else names)}
    having = {name: table for name, table in tables.items() if all(map(table.has, expression.columns))}
    if not having:
        raise _no_set_has(expression, {name: table.names for name, table in tables.items()})
    found = masks(expression, {name: table.columns(expression.columns) for name, table in having.items()})
    rows = {}
    for name, mask in found.items():
        if mask.any():
            rows[name] = np.flatnonzero(mask if quarantined else mask & sets.sound(sets.get(name)))
    return Selection(sets, text, {name: held for name, held in rows.items() if len(held)}, view)


def _no_set_has(expression: Expression, known: Mapping[str, Sequence[str]]) -> QueryError:
    everywhere = sorted({name for names in known.values() for name in names})
    for name in expression.columns:
        if name not in everywhere:
            return unknown_column(name, everywhere)
    listed = "; ".join(f"{name}: {', '.join(names)}" for name, names in known.items())
    return QueryError(f"no sample set has all columns of {expression.text!r}. There are {listed}.")


@dataclass(frozen=True, eq=False)
class Selection:
    """Samples that a query selected: row numbers, and lazy access to what they point to.

    Parameters
    ----------
    sets
        The sample sets of the store.
    expression
        The text of the query.
    rows
        By sample set, ``(k,)`` row numbers of its leading image, ascending. Sets of which nothing was selected are
        left out.
    view
        Opens a sample that has groups of its own, by its name.
    """

    sets: SampleSets
    expression: str
    rows: Mapping[str, Integers] = field(repr=False)
    view: View | None = field(default=None, repr=False)

    @property
    def names(self) -> list[str]:
        """The names of the selected samples: of slides, of cells, of the members that became crops."""
        found: list[str] = []
        for name, rows in self.rows.items():
            index = self.sets.rows(self.sets.get(name)).columns([INDEX])[INDEX]
            found += [] if isinstance(index, Categories) else index[rows].tolist()
        return found

    def __iter__(self) -> Iterator[ElementView]:
        """Open one selected sample after the other, where samples have groups; those quarantined wholly have none."""
        if self.view is None or any(self.sets.get(name).images for name in self.rows):
            raise UsageError(f"what {self.expression!r} selected are rows of images: use .samples() or .image().")
        there = {one.name for one in self.sets.contents.samples}
        return map(self.view, (name for name in self.names if name in there))

    def __len__(self) -> int:
        return sum(map(len, self.rows.values()))

    def __repr__(self) -> str:
        of = ", ".join(f"{name} {len(rows):,}" for name, rows in self.rows.items())
        return f"<Selection {self.expression!r}: {len(self):,} samples{f' ({of})' if of else ''}>"

    def samples(
        self, name: str | None = None, *, columns: Sequence[str] = (), images: Sequence[str] | None = None
    ) -> Samples:
        """Give the selected samples as a sequence; ``name`` says of which set where there are several."""
        chosen = self._set(name)
        return self.sets.samples(chosen, columns=columns, images=images, keep=self.rows[chosen])

    def image(self, name: str | None = None, *, chunks: Any = "auto") -> DataArray:
        """Give the selected rows of one image, lazily: by role or path; without a name, of the leading image.

        Partners come in the order of the samples: row k of ``wf`` belongs to row k of ``gt``.
        """
        from zarrscope.loaders.pixels import data_array

        chosen = self._set(None) if name is None else self._set_with(name)
        sample_set = self.sets.get(chosen)
        if not sample_set.images:
            raise UsageError(f"what {self.expression!r} selected has images of its own: iterate, and open each.")
        linked = next(one for one in sample_set.images if name in (None, one.role, one.path))
        rows = self.sets.linked_rows(sample_set, linked)[self.rows[chosen]]
        element = self.sets.contents.element(linked.path, "image")
        level = self.sets.contents.group(element).level()
        return data_array(level, name=linked.path, chunks=chunks, rows=rows, attrs={"role": linked.role})

    def table(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Give the selected rows of the catalogue, with all columns or these."""
        return self.sets.catalogue(self.rows, columns)

    def _set(self, name: str | None) -> str:
        if name is None and len(self.rows) == 1:
            return next(iter(self.rows))
        if name is None or name not in self.rows:
            found = ", ".join(self.rows) or "nothing"
            raise UsageError(f"{self.expression!r} selected samples of {found}: name one set of these, not {name!r}.")
        return name

    def _set_with(self, name: str) -> str:
        """Find the one set that has an image of this role or path."""
        having = {
            one: linked.path
            for one in self.rows
            for linked in self.sets.get(one).images
            if name in (linked.path, linked.role)
        }
        if len(having) != 1:
            there = [linked.path for one in self.rows for linked in self.sets.get(one).images]
            meant = " and ".join(having.values()) or "no image of this selection"
            raise UsageError(f"{name!r} means {meant}; name one of {', '.join(there) or 'none'}.")
        return next(iter(having))
