"""Tables: the group's document tells the structure with one request, then a column costs one or two.

A whole table is read in one go into memory, or goes to AnnData's own lazy reader over a store in which a missing
object is an error.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from zarrscope.loaders.frames import INDEX, Frame
from zarrscope.loaders.groups import consolidated, read_document
from zarrscope.storage import Storage

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["INDEX", "Table"]


class Table(Frame):
    """One AnnData group: the columns of its ``obs``, read one by one, and its other arrays.

    Parameters
    ----------
    storage, path
        The store, and the table's group in it.
    """

    def __init__(self, storage: Storage, path: str) -> None:
        super().__init__(storage, path, consolidated(read_document(storage, path)), "obs")

    @property
    def remote(self) -> bool:
        """Whether each read is a request."""
        return self._storage.root is None

    @property
    def where(self) -> str:
        """The table as a user would type it."""
        return self._where

    @cached_property
    def var(self) -> Frame:
        """The data frame ``var``, in the same way."""
        return Frame(self._storage, self._path, self.nodes, "var")

    def lazy(self) -> AnnData:
        """Open the whole table lazily; its ``to_memory()`` reads it."""
        from zarrscope.loaders.strict import open_lazily

        return open_lazily(self._storage, self._path)
