"""An open store: images, tables, samples and queries by name, each read when it is asked for.

Opening reads one object, the root's record. An image or a table costs one more request, its group's document; then a
crop is one request for its shard's index and one for its bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from zarrscope.errors import StoreError
from zarrscope.loaders.collection import Collection
from zarrscope.loaders.contents import Contents, unknown
from zarrscope.loaders.listing import as_html, lines
from zarrscope.loaders.objects import StoredObject
from zarrscope.loaders.opening import unfinished
from zarrscope.loaders.queries import Selection, select
from zarrscope.loaders.samples import Samples
from zarrscope.loaders.slides import view
from zarrscope.loaders.summary import summary
from zarrscope.loaders.views import ElementView, Opener
from zarrscope.query import Values
from zarrscope.record import ROOT, Element, Record, parse_root
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
        raise unfinished(storage) or error from None
    if record.pending:
        waiting = ", ".join(record.pending[:10])
        warnings.warn(
            f"{storage.url}: a conversion under way adds or replaces {waiting}; the rest can be read.", stacklevel=2
        )
    return Store(Contents(storage, record))


class Store(Collection):
    """A finished store. Reads nothing until asked; pickles to its URL and its record.

    Parameters
    ----------
    contents
        The store's elements: see :func:`open_store`.
    """

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
        """The paths of all images, those that samples hold among them."""
        return self._contents.paths("image")

    @property
    def tables(self) -> list[str]:
        """The paths of all tables, those that samples hold among them."""
        return self._contents.paths("table")

    def image(self, name: str, *, level: int = 0, chunks: Any = "auto", columns: Sequence[str] = ()) -> DataArray:
        """Open an image lazily.

        Parameters
        ----------
        name
            Its path or true name, or those of a sample that holds one image.
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
            Dimensions named as the axes, ``(n, y, x)`` or ``(c, y, x)``; float64 coordinates in physical units for axes
            that have one.
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
        """Open a table, by its own path, that of the image whose rows it holds, or the sample that holds it.

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
        if found is not None and found.kind == "image" and found.shape:
            found = self._contents.beside(found)
        if found is None:
            raise unknown("table", name, self.tables, self.url)
        return self._contents.element(found.path, "table")

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
        return select(self._sets, expression, names=names, quarantined=quarantined, view=self.__getitem__)

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
        """One row a sample: its set, its row in the leading image, and every column of the leading rows.

        Of a store of samples with groups of their own (slides, cells): one row each, by name.
        """
        return self._sets.catalogue()

    def statistics(self, name: str) -> pd.DataFrame:
        """Give count, mean, std, min, max and percentiles of a stack's pixels: a row a class, and ``all``."""
        return summary(self._contents, self._contents.element(name, "image"))

    def __getitem__(self, name: str) -> ElementView:
        """Give a view of one element, of all below a path, or of a sample such as a slide, by true name or path."""
        return view(Opener(self._contents, self.image, self.table), name)

    def __repr__(self) -> str:
        return "\n  ".join([f"<Store {self.url}: {self.record.title}>", *lines(self.record)])

    def _repr_html_(self) -> str:
        return as_html(self.record, self.url)
