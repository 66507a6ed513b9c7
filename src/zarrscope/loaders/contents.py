"""What a record lists, looked up by path or true name; groups and tables are opened once and kept."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from zarrscope.errors import MissingDataError, StoreError
from zarrscope.loaders.groups import ImageGroup
from zarrscope.loaders.held import Kind, as_kind, held
from zarrscope.loaders.table import Table
from zarrscope.record import ROWS, Element, Record
from zarrscope.storage import Storage


def unknown(what: str, name: str, there: Iterable[str], where: str) -> MissingDataError:
    """Say that a store has nothing of that name, what comes close, and what there is."""
    listed = list(there)
    near = difflib.get_close_matches(name, listed, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    shown = ", ".join(listed[:30]) + (f" and {len(listed) - 30:,} more" if len(listed) > 30 else "")
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

    @cached_property
    def everything(self) -> tuple[Element, ...]:
        """All elements of the record, and behind each sample what it holds."""
        elements = self.record.elements
        return tuple(each for one in elements for each in (one, *(held(one) if one.kind == "sample" else ())))

    @cached_property
    def _by_path(self) -> dict[str, Element]:
        return {one.path: one for one in self.everything}

    @cached_property
    def _by_name(self) -> dict[str, Element]:
        return {one.name: one for one in reversed(self.record.elements) if one.name}

    @property
    def samples(self) -> list[Element]:
        """The samples with groups of their own."""
        return [one for one in self.record.elements if one.kind == "sample"]

    def paths(self, kind: Kind) -> list[str]:
        """List the paths of all images or tables, those of samples among them."""
        return [element.path for element in self.everything if element.kind == kind]

    def find(self, name: str) -> Element | None:
        """Look an element up by its path, else by its true name; None where there is none.

        What a sample holds is found by the path or the true name of the sample too: ``GSE1_GSM2/counts``.

        Raises
        ------
        StoreError
            Where a conversion under way will add or replace it.
        """
        name = name.strip("/")
        found = self._by_path.get(name) or self._by_name.get(name)
        sample, _, last = name.rpartition("/")
        if found is None and sample in self._by_name:
            found = self._by_path.get(f"{self._by_name[sample].path}/{last}")
        if found is None and any(
            f"{path}/".startswith(f"{name}/") or name.startswith(f"{path}/") for path in self.record.pending
        ):
            raise StoreError(
                f"{self.storage.at(name)} is pending: a conversion that adds or replaces it has not finished. "
                "Run convert again to resume it; the rest of the store can be read meanwhile."
            )
        return found

    def element(self, name: str, kind: Kind) -> Element:
        """Look an image or a table up by its path or true name, or by that of the sample that holds just one.

        Raises
        ------
        StoreError
            Where it is pending, or (as MissingDataError, also a KeyError) where there is none.
        """
        found = self.find(name)
        if found is not None and found.kind == "sample":
            found = self._only(found, kind)
        elif found is not None and found.kind != kind:
            found = as_kind(found, kind)
        if found is None or found.kind != kind:
            raise unknown(kind, name, self.paths(kind), self.storage.url)
        return found

    def _only(self, sample: Element, kind: Kind) -> Element:
        there = [one for one in held(sample) if one.kind == kind]
        if len(there) == 1:
            return there[0]
        found = f"{len(there)} ({', '.join(one.role for one in there)})" if there else "none"
        raise MissingDataError(
            f"{self.storage.at(sample.path)}: expected one {kind}, found {found}; it holds {', '.join(sample.holds)}. "
            f"The store's catalogue says what could not be converted, and why."
        )

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
