"""An open store: images, tables, samples and queries by name, each read when it is asked for.

Opening reads one object, the root's record. An image or a table costs one more request, its group's document; then a
crop is one request for its shard's index and one for its bytes.
"""

from __future__ import annotations

import html
import json
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from zarrscope.errors import MissingDataError, StoreError
from zarrscope.loaders.contents import Contents, unknown
from zarrscope.loaders.objects import StoredObject
from zarrscope.loaders.queries import Selection, select
from zarrscope.loaders.samples import Samples
from zarrscope.loaders.sets import SampleSets
from zarrscope.loaders.summary import summary
from zarrscope.loaders.views import ElementView, Opener, below
from zarrscope.query import Values
from zarrscope.record import JOURNAL, ROOT, Element, Record, parse_root
from zarrscope.storage import Storage

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from xarray import DataArray


def open_store(url: str, *, options: Mapping[str, Any] | None = None) -> Store:
    """Open a finished store: one request; no pixel and no row is read.

    Parameters
    ----------
    url
        A path or a URL.
    options
        What fsspec's file system of that URL takes, such as ``{"anon": True}``.

    Raises
    ------
    StoreError
        Where the store is unfinished, is not one of ours, or (as MissingDataError) is not there.

    Warns
    -----
    UserWarning
        Where a conversion under way will add or replace some of its elements: the rest is served.
    """
    storage = Storage(str(url), dict(options or {}))
    try:
        record = parse_root(bytes(StoredObject(storage, ROOT).whole()), storage.url)
    except StoreError as error:
        raise _unfinished(storage) or error from None
    if record.pending:
        waiting = ", ".join(record.pending[:10])
        warnings.warn(
            f"{storage.url}: a conversion under way adds or replaces {waiting}; the rest can be read.", stacklevel=2
        )
    return Store(Contents(storage, record))


def _unfinished(storage: Storage) -> StoreError | None:
    try:
        plan = json.loads(bytes(StoredObject(storage, f"{JOURNAL}/plan.json").whole()))
        tasks = len(plan["tasks"])
    except MissingDataError:
        return (
            MissingDataError(f"{storage.url} is not a zarrscope store: there is no {ROOT} in it.")
            if (storage.size(ROOT) is None)
            else None
        )
    except (ValueError, KeyError, TypeError):
        tasks = 0
    done = sum(1 for _ in storage.keys(f"{JOURNAL}/receipts"))
    how_far = f"{done} of {tasks} tasks" if tasks else "its plan can't be read"
    return StoreError(
        f"{storage.url} holds an unfinished conversion ({how_far}). "
        "Run convert again to resume it, or pass --overwrite."
    )


class Store:
    """A finished store. Reads nothing until asked; pickles to its URL and its record.

    Parameters
    ----------
    contents
        The store's elements: see :func:`open_store`.
    """

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._sets = SampleSets(contents)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._contents,)

    @property
    def record(self) -> Record:
        """What the store says of itself."""
        return self._contents.record

    @property
    def url(self) -> str:
        """Where it is, without credentials."""
        return self._contents.storage.url

    @property
    def sets(self) -> list[str]:
        """The names of the sample sets."""
        return self._sets.names

    @property
    def images(self) -> list[str]:
        """The paths of all images."""
        return self._contents.paths("image")

    @property
    def tables(self) -> list[str]:
        """The paths of all tables."""
        return self._contents.paths("table")

    def image(self, name: str, *, level: int = 0, chunks: Any = "auto", columns: Sequence[str] = ()) -> DataArray:
        """Open an image lazily.

        Parameters
        ----------
        name
            Its path or true name.
        level
            Of its pyramid, 0 being the finest.
        chunks
            ``"auto"``: dask-backed, one dask chunk a shard. None: lazy without dask, one crop is one chunk read.
            Anything else goes to xarray's ``chunk``.
        columns
            Columns of its rows to read now, as coordinates along the first axis.

        Returns
        -------
        xarray.DataArray
            Dimensions named as the axes, ``(n, y, x)``; float64 coordinates in physical units for axes that have one.
        """
        from zarrscope.loaders.pixels import column_coordinates, data_array

        element = self._contents.element(name, "image")
        opened = self._contents.group(element).level(level)
        attrs = {"role": element.role, **({"name": element.name} if element.name else {})}
        array = data_array(opened, name=element.path, chunks=chunks, rows=None, attrs=attrs)
        if not columns:
            return array
        return array.assign_coords(column_coordinates(opened, self._contents.rows(element).columns(columns)))

    @overload
    def table(self, name: str, columns: None = None) -> AnnData: ...
    @overload
    def table(self, name: str, columns: Sequence[str]) -> pd.DataFrame: ...
    def table(self, name: str, columns: Sequence[str] | None = None) -> AnnData | pd.DataFrame:
        """Open a table, by its own path or that of the image whose rows it holds.

        Parameters
        ----------
        columns
            None gives a lazy AnnData, whose ``to_memory()`` reads it. A list gives a DataFrame of just these columns
            of ``obs``, by row number; ``"index"`` in the list gives it the row names (of members) as index.
        """
        table = self._contents.table(self._table(name).path)
        return table.lazy() if columns is None else table.frame(columns)

    def columns(self, name: str, columns: Sequence[str]) -> dict[str, Values]:
        """Read columns of a table as plain arrays, categories as codes: the least memory, no pandas."""
        return self._contents.table(self._table(name).path).columns(columns)

    def _table(self, name: str) -> Element:
        found = self._contents.find(name)
        if found is not None and found.kind == "image":
            found = self._contents.beside(found)
        if found is None:
            raise unknown("table", name, self.tables, self.url)
        return found

    def query(
        self, expression: str, samples: str | Sequence[str] | None = None, *, quarantined: bool = False
    ) -> Selection:
        """Select samples by an expression over the columns of their leading rows: only those columns are read.

        Parameters
        ----------
        expression
            ``"protein == 'psd95' and grid_row < 3"``; ``index`` stands for the names of members.
        samples
            The sets to look in; by default all that have the columns.
        quarantined
            Whether to include rows that are quarantined, or whose partner is.

        Raises
        ------
        QueryError
            For an unknown column, and for a value that no row has: it lists what there is.
        """
        names = [samples] if isinstance(samples, str) else samples
        return select(self._sets, expression, names=names, quarantined=quarantined)

    def samples(
        self, name: str, *, columns: Sequence[str] = (), images: Sequence[str] | None = None, quarantined: bool = False
    ) -> Samples:
        """Give the samples of a set, or of one image alone, as a picklable sequence of numpy dicts.

        Parameters
        ----------
        name
            A sample set, or the path of an image.
        columns
            Columns of the leading rows to hand out with the pixels.
        images
            Which images of the set, by role or path; by default all. Images that no set pairs are an error.
        quarantined
            Whether to include rows that are quarantined, or whose partner is.
        """
        return self._sets.samples(name, columns=columns, images=images, quarantined=quarantined)

    @property
    def catalogue(self) -> pd.DataFrame:
        """One row a sample: its set, its row in the leading image, and every column of the leading rows."""
        return self._sets.catalogue()

    def statistics(self, name: str) -> pd.DataFrame:
        """Give count, mean, std, min, max and percentiles of an image's pixels: a row a class, and ``all``."""
        return summary(self._contents, self._contents.element(name, "image"))

    def __getitem__(self, name: str) -> ElementView:
        """Give a view of one element or of all below a path, by its true name or path."""
        return ElementView(Opener(self.url, self.image, self.table), name, below(self._contents, name))

    def __repr__(self) -> str:
        return "\n".join([f"<Store {self.url}: {self.record.title}>", *self._lines()])

    def _repr_html_(self) -> str:
        rows = "".join(f"<li><code>{html.escape(line.strip())}</code></li>" for line in self._lines())
        return f"<b>{html.escape(self.record.title)}</b> <code>{html.escape(self.url)}</code><ul>{rows}</ul>"

    def _lines(self) -> list[str]:
        shown = [one for one in self.record.elements if one.kind == "image"]
        lines = [f"  {one.path}  {one.dtype} {one.shape}" for one in shown[:20]]
        lines += [f"  and {len(shown) - 20} more images"] if len(shown) > 20 else []
        for one in self.record.samples[:20]:
            lines.append(f"  samples {one.name!r}: {one.length:,} of {', '.join(each.role for each in one.images)}")
        if self.record.pending:
            lines.append(f"  pending: {', '.join(self.record.pending[:10])}")
        return lines
