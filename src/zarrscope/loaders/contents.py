"""What a record lists, looked up by path or true name; groups and tables are opened once and kept."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, Literal

from zarrscope.errors import MissingDataError, StoreError
from zarrscope.loaders.groups import ImageGroup
from zarrscope.loaders.table import Table
from zarrscope.record import ROWS, Element, Record
from zarrscope.storage import Storage


def unknown(what: str, name: str, there: Iterable[str], where: str) -> MissingDataError:
    """Say that a store has nothing of that name, what comes close, and what there is."""
    listed = list(there)
    near = difflib.get_close_matches(name, listed, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    shown = ", ".join(listed[:30]) + (f" and {len(listed) - 30} more" if len(listed) > 30 else "")
    return MissingDataError(
        f"{where} has no {what} {name!r}; there {'is' if len(listed) == 1 else 'are'} {shown or 'none'}.{hint}"
    )


class Contents:
    """The elements of one store, opened when they are asked for.

    Parameters
    ----------
    storage, record
        The store and what it says of itself.
    """

    def __init__(self, storage: Storage, record: Record) -> None:
        self.storage, self.record = storage, record
        self._groups: dict[str, ImageGroup] = {}
        self._tables: dict[str, Table] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.storage, self.record)

    def paths(self, kind: Literal["image", "table"]) -> list[str]:
        """List the paths of all images or tables."""
        return [element.path for element in self.record.elements if element.kind == kind]

    def find(self, name: str) -> Element | None:
        """Look an element up by its path, else by its true name; None where there is none.

        Raises
        ------
        StoreError
            Where a conversion under way will add or replace it.
        """
        name = name.strip("/")
        elements = self.record.elements
        found = next((one for one in elements if one.path == name), None)
        found = found or next((one for one in elements if one.name == name and name), None)
        if found is None and any(name == path or path.startswith(f"{name}/") for path in self.record.pending):
            raise StoreError(
                f"{self.storage.at(name)} is pending: a conversion that adds or replaces it has not finished. "
                "Run convert again to resume it; the rest of the store can be read meanwhile."
            )
        return found

    def element(self, name: str, kind: Literal["image", "table"]) -> Element:
        """Look an image or a table up by its path or true name.

        Raises
        ------
        StoreError
            Where it is pending, or (as MissingDataError, also a KeyError) where there is none.
        """
        found = self.find(name)
        if found is None or found.kind != kind:
            raise unknown(kind, name, self.paths(kind), self.storage.url)
        return found

    def group(self, element: Element) -> ImageGroup:
        """Open the group of an image: one request, the first time."""
        group = self._groups.get(element.path)
        return group or self._groups.setdefault(element.path, ImageGroup(self.storage, element))

    def table(self, path: str) -> Table:
        """Open a table: one request, the first time."""
        table = self._tables.get(path)
        return table if table is not None else self._tables.setdefault(path, Table(self.storage, path))

    def beside(self, image: Element, role: str = ROWS) -> Element | None:
        """Find the table of a role that annotates an image."""
        return next(
            (
                one
                for one in self.record.elements
                if one.kind == "table" and one.annotates == image.path and one.role == role
            ),
            None,
        )

    def rows(self, image: Element) -> Table:
        """Open the rows of an image, and make sure that there is one a row of pixels."""
        element = self.beside(image)
        if element is None:
            raise unknown("rows table", f"{image.path}/{ROWS}", self.paths("table"), self.storage.url)
        table = self.table(element.path)
        if len(table) != image.shape[0]:
            raise StoreError(
                f"{self.storage.at(element.path)}: expected {image.shape[0]:,} rows, one for each of the image, "
                f"found {len(table):,}."
            )
        return table
