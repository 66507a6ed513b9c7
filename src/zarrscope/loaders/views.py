"""Some elements of a store by their common path: ``store["test"].image("wf")``, ``store["CCPs/cell1"].table()``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zarrscope.loaders.contents import Contents, unknown
from zarrscope.loaders.held import Kind
from zarrscope.record import ROWS, Element

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from xarray import DataArray

_SHOWN = 20  # elements that a view lists


@dataclass(frozen=True, slots=True)
class Opener:
    """How a store opens what a view names: its contents, and two of its methods."""

    contents: Contents
    image: Callable[..., DataArray]
    table: Callable[..., Any]

    @property
    def url(self) -> str:
        """The store's address, without credentials."""
        return self.contents.storage.url


class ElementView:
    """One element of a store, all below a path, or a sample with all that it holds.

    Parameters
    ----------
    store, name
        The store, and the name asked for.
    elements
        What lies at that path, first, and below it.
    """

    def __init__(self, store: Opener, name: str, elements: Sequence[Element]) -> None:
        self.store, self.name, self.elements = store, name, tuple(elements)
        asked = name.strip("/")
        self._own = next((one.kind for one in self.elements if asked in (one.path, one.name)), None)

    def __repr__(self) -> str:
        lines = [" ".join(map(str, (one.kind, one.path, *([one.shape] if one.shape else ())))) for one in self.elements]
        more = [f"and {len(lines) - _SHOWN:,} more"] if len(lines) > _SHOWN else []
        return "\n  ".join([f"<{self.name} of {self.store.url}>", *lines[:_SHOWN], *more])

    def image(self, role: str | None = None, **options: Any) -> DataArray:
        """Open its image, by role or path where there are several; options as in :meth:`Store.image`."""
        return self.store.image(self._one("image", role).path, **options)

    def table(self, role: str | None = None, columns: Sequence[str] | None = None) -> AnnData | pd.DataFrame:
        """Open its table, by role or path; its rows where none is named. Columns as in :meth:`Store.table`."""
        tables = [one for one in self.elements if one.kind == "table"]
        wanted = ROWS if role is None and len(tables) > 1 and self._own == "image" else role
        path = self._one("table", wanted).path
        table: AnnData | pd.DataFrame = self.store.table(path, columns)
        return table

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """The shape of its one image at each level of its pyramid, the finest first: one request."""
        group = self.store.contents.group(self._one("image", None))
        return tuple(group.level(number).array.shape for number in range(len(group.levels)))

    def _one(self, kind: Kind, role: str | None) -> Element:
        there = [one for one in self.elements if one.kind == kind]
        if role is None:
            found = there[:1] if self._own == kind else there
        else:
            found = [one for one in there if role in (one.role, one.path, one.name) or one.path.endswith(f"/{role}")]
        if len(found) != 1:
            asked = role or self.name
            raise unknown(f"one {kind}", asked, [one.path for one in there], f"{self.name} of {self.store.url}")
        return found[0]


def below(contents: Contents, name: str) -> tuple[Element, ...]:
    """Give the element of that name or path, first, and all below it.

    Raises
    ------
    MissingDataError
        Where there is none.
    """
    found = contents.find(name)
    prefix = f"{found.path if found else name.strip('/')}/"
    under = tuple(one for one in contents.everything if one.path.startswith(prefix))
    if found is None and not under:
        there = dict.fromkeys(key for one in contents.record.elements for key in (one.path, one.name) if key)
        raise unknown("element", name, there, contents.storage.url)
    return (*((found,) if found else ()), *under)
