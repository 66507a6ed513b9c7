"""Sample sets: which images make a sample, which rows are sound, and how the rows of partners are found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from zarrscope.errors import StoreError, UsageError
from zarrscope.loaders.contents import Contents, unknown
from zarrscope.loaders.samples import Samples
from zarrscope.loaders.table import INDEX, Table
from zarrscope.model import Integers
from zarrscope.query import Categories, Values
from zarrscope.record import Element, Linked
from zarrscope.record import Samples as SampleSet

if TYPE_CHECKING:
    import pandas as pd

OK = "ok"  # the column that is False for a quarantined row


class SampleSets:
    """The sample sets of a store.

    Parameters
    ----------
    contents
        The store's elements.
    """

    def __init__(self, contents: Contents) -> None:
        self.contents = contents

    @property
    def names(self) -> list[str]:
        """The names of all sets."""
        return [one.name for one in self.contents.record.samples]

    def get(self, name: str) -> SampleSet:
        """Look a set up by its name, or else an image, alone, by its path."""
        found = next((one for one in self.contents.record.samples if one.name == name), None)
        if found is not None:
            return found
        element = self.contents.find(name)
        if element is None or element.kind != "image":
            there = [*self.names, *self.contents.paths("image")]
            raise unknown("sample set or image", name, dict.fromkeys(there), self.contents.storage.url)
        rows = self.contents.beside(element)
        if rows is None:
            raise StoreError(f"{self.contents.storage.at(element.path)} has no rows table: it is no stack of samples.")
        alone = Linked(role=element.role, path=element.path)
        return SampleSet(name=element.path, length=element.shape[0], rows=rows.path, images=(alone,))

    def pair(self, name: str, images: Sequence[str] | None) -> tuple[SampleSet, tuple[Linked, ...]]:
        """Find the set that a name means, and the images asked for, by role or path: a declared pair or an error."""
        chosen = self.get(name)
        if images is None:
            return chosen, chosen.images
        paths = {linked.path for linked in chosen.images}
        if name not in self.names:  # an image by its path: a set that pairs it with the others leads
            for one in self.contents.record.samples:
                known = {key for linked in one.images for key in (linked.path, linked.role)}
                if paths <= known and set(images) <= known:
                    chosen = one
                    break
        linked = [next((one for one in chosen.images if wanted in (one.path, one.role)), None) for wanted in images]
        if not images or None in linked:
            pairs = "; ".join(
                f"{one.name}: {' with '.join(each.path for each in one.images)}" for one in self.contents.record.samples
            )
            asked = ", ".join(images) or "nothing"
            raise StoreError(
                f"{self.contents.storage.url}: no set of samples declares {name!r} with {asked}. "
                f"Declared are {pairs or 'none'}."
            )
        return chosen, tuple(one for one in linked if one is not None)

    def rows(self, chosen: SampleSet) -> Table:
        """Open the leading rows of a set, or its catalogue where its samples have groups of their own."""
        return self.contents.rows(self._image(chosen.images[0])) if chosen.images else self._catalogue_of(chosen)

    def _catalogue_of(self, chosen: SampleSet) -> Table:
        table = self.contents.table(chosen.rows)
        if len(table) != chosen.length:
            where = self.contents.storage.at(chosen.rows)
            raise StoreError(f"{where}: expected {chosen.length:,} rows, one a sample, found {len(table):,}.")
        return table

    def _image(self, linked: Linked) -> Element:
        return self.contents.element(linked.path, "image")

    def linked_rows(self, chosen: SampleSet, linked: Linked) -> Integers:
        """Give for each sample its row in one of the images, ``(n,)``; -1 where it has none."""
        if linked.column is None:
            return np.arange(chosen.length)
        column = self.rows(chosen).columns([linked.column])[linked.column]
        image = self._image(linked)
        numbers = np.asarray([]) if isinstance(column, Categories) else column
        if len(numbers) != chosen.length or numbers.dtype.kind not in "iuf":
            raise StoreError(f"{chosen.rows}: expected a row number of {linked.path} in each {linked.column!r}.")
        numbers = np.asarray(np.where(np.isnan(numbers), -1, numbers), np.int64)
        if len(numbers) and numbers.max() >= image.shape[0]:
            raise StoreError(
                f"{self.contents.storage.at(chosen.rows)}: {linked.column!r} points to row {int(numbers.max()):,} "
                f"of {linked.path}, which has {image.shape[0]:,}."
            )
        return numbers

    def sound(self, chosen: SampleSet) -> npt.NDArray[np.bool_]:
        """Tell for each sample whether all its images are there and none of its rows is quarantined, ``(n,)``."""
        sound = np.ones(chosen.length, bool) if chosen.images else _ok(self._catalogue_of(chosen), chosen.rows)
        for linked in chosen.images:
            ok = _ok(self.contents.rows(self._image(linked)), linked.path)
            if linked.column is None:
                sound &= ok
            else:
                at = self.linked_rows(chosen, linked)
                sound &= (at >= 0) & ok[np.where(at < 0, 0, at)]
        return sound

    def samples(
        self,
        name: str,
        *,
        columns: Sequence[str] = (),
        images: Sequence[str] | None = None,
        keep: Integers | None = None,
        quarantined: bool = False,
    ) -> Samples:
        """Make a sequence of samples: all sound ones, all of them, or those of the rows in ``keep``."""
        chosen, linked = self.pair(name, images)
        if not linked:
            raise UsageError(
                f"the samples of {name!r} have groups of their own, of different sizes: open one with "
                f"store[{next((one.name for one in self.contents.samples), 'name')!r}], or go through a query."
            )
        if keep is None:
            keep = np.arange(chosen.length) if quarantined else np.flatnonzero(self.sound(chosen))
        arrays = {one.role: self.contents.group(self._image(one)).level().array for one in linked}
        rows = {one.role: keep if one.column is None else self.linked_rows(chosen, one)[keep] for one in linked}
        values: dict[str, Values] = {}
        for key, column in (self.rows(chosen).columns(columns) if columns else {}).items():
            if isinstance(column, Categories):
                values[key] = Categories(column.codes[keep], column.values)
            else:
                values[key] = column[keep]
        return Samples(chosen.name, arrays, rows, values)

    def catalogue(
        self, rows: Mapping[str, Integers] | None = None, columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Give one row a sample: its set, its row, and the columns of the leading rows, all or those named.

        Of a store of samples with groups of their own it is their table, by their names.
        """
        import pandas as pd

        if len(self.names) == 1 and not self.get(self.names[0]).images:
            whole = self.own(self.names[0], columns)
            return whole if rows is None else whole.iloc[rows.get(self.names[0], np.zeros(0, np.int64))]
        named = columns is None or INDEX in columns
        frames = []
        for name in self.names if rows is None else rows:
            table = self.rows(self.get(name))
            frame = table.frame([INDEX, *table.names] if columns is None else list(columns))
            numbers = np.arange(len(frame))
            if rows is not None:
                numbers = rows[name]
                frame = frame.iloc[numbers]
            here = pd.Categorical.from_codes(np.zeros(len(frame), np.int8), pd.Index([name]))
            frame.insert(0, "set", pd.Series(here, index=frame.index))
            frame.insert(1, "row", numbers)
            frames.append(frame)
        return _stacked(frames) if named else _stacked(frames).reset_index(drop=True)

    def own(self, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Give the table of samples that have groups of their own: one row each, by name."""
        table = self.rows(self.get(name))
        frame = table.frame(list(dict.fromkeys([INDEX, *(table.names if columns is None else columns)])))
        frame.index.name = next((one.role for one in self.contents.samples), None)
        return frame


def _ok(table: Table, where: str) -> npt.NDArray[np.bool_]:
    """Tell which rows are not quarantined, ``(n,)``."""
    ok = table.columns([OK])[OK]
    if isinstance(ok, Categories) or ok.dtype.kind != "b":
        raise StoreError(f"{where}: expected true or false in the column {OK!r} of its rows.")
    return np.asarray(ok)


def _stacked(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Put frames below each other; categories stay categories."""
    import pandas as pd

    if len(frames) == 1:
        return frames[0]
    if not frames:
        return pd.DataFrame({"set": [], "row": []})
    shared = [name for name in frames[0] if _same_kind([frame[name] for frame in frames if name in frame], len(frames))]
    for name in shared:
        union = pd.api.types.union_categoricals([frame[name] for frame in frames]).categories
        for frame in frames:
            frame[name] = frame[name].cat.set_categories(union)
    return pd.concat(frames)


def _same_kind(columns: list[pd.Series[Any]], count: int) -> bool:
    """Tell whether all frames have the column, as unordered categories of one type."""
    import pandas as pd

    kinds = [column.dtype for column in columns if isinstance(column.dtype, pd.CategoricalDtype)]
    return len(kinds) == count and not any(
        kind.ordered or kind.categories.dtype != kinds[0].categories.dtype for kind in kinds
    )
