"""A view of one element of a store, or of all below a path: ``store["test"].image("wf")``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from zarrscope.loaders.contents import Contents, unknown
from zarrscope.record import ROWS, Element

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from xarray import DataArray


@dataclass(frozen=True, slots=True)
class Opener:
    """How a store opens what a view names: its address, and two of its methods."""

    url: str
    image: Callable[..., DataArray]
    table: Callable[..., Any]


class ElementView:
    """One element of a store, or all below a path.

    Parameters
    ----------
    store, name
        The store, and the name asked for.
    elements
        What lies at that path, first, and below it.
    """

    def __init__(self, store: Opener, name: str, elements: Sequence[Element]) -> None:
        self.store, self.name, self.elements = store, name, tuple(elements)
        self._own = next((one.kind for one in self.elements if name.strip("/") in (one.path, one.name)), None)

    def __repr__(self) -> str:
        lines = [f"  {one.kind} {one.path} {one.shape}" for one in self.elements]
        return "\n".join([f"<{self.name} of {self.store.url}>", *lines])

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

    def _one(self, kind: Literal["image", "table"], role: str | None) -> Element:
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
    under = tuple(one for one in contents.record.elements if one.path.startswith(prefix))
    if found is None and not under:
        there = [key for one in contents.record.elements for key in (one.path, one.name) if key]
        raise unknown("element", name, there, contents.storage.url)
    return (*((found,) if found else ()), *under)
