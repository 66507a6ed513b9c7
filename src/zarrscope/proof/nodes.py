"""A group of a store, with the documents of all that lies below it: one request, and arrays by their keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import numpy.typing as npt

from zarrscope.errors import StoreError
from zarrscope.loaders.groups import consolidated, read_document
from zarrscope.loaders.shards import ShardedArray
from zarrscope.storage import Storage

TOGETHER = 32 << 20  # bytes of one array read at once, if shards are not larger


class Nodes:
    """The documents below a group by key, that of the group itself under "".

    Raises
    ------
    StoreError
        Where the group's document can't be read.
    """

    def __init__(self, target: Storage, path: str) -> None:
        self._target, self._path = target, path
        group = read_document(target, path)
        self.documents: Mapping[str, Mapping[str, Any]] = {**consolidated(group), "": group}

    @property
    def where(self) -> str:
        """The group as a user would type it."""
        return self._target.at(self._path)

    def at(self, key: str) -> str:
        """Give the address of a node for messages."""
        return f"{self.where}/{key}" if key else self.where

    def attributes(self, key: str = "") -> Mapping[str, Any]:
        """Give the attributes of a node; none where there is no such node."""
        found = self.documents.get(key, {}).get("attributes")
        return found if isinstance(found, dict) else {}

    def arrays(self) -> list[str]:
        """List the keys of all arrays that have an axis."""
        return [
            key for key, one in self.documents.items() if one.get("node_type") == "array" and one.get("shape") != []
        ]

    def array(self, key: str) -> ShardedArray:
        """Give one array; raises StoreError where there is none."""
        document = self.documents.get(key)
        if document is None or document.get("node_type") != "array":
            raise StoreError(f"{self.at(key)}: expected an array, found none.")
        return ShardedArray(self._target, f"{self._path}/{key}", document)

    def column(self, frame: str, name: str) -> npt.NDArray[Any] | None:
        """Read a plain column of ``obs`` or ``var``, None where there is none; "" is the index."""
        key = f"{frame}/{name or self.attributes(frame).get('_index')}"
        return self.array(key).read(()) if key in self.documents else None


def pieces(array: ShardedArray) -> Iterator[slice]:
    """Cut the first axis of an array into whole shards that are read together."""
    shard = array.shards[0]
    bytes_each = max(1, shard * prod(array.shape[1:]) * array.dtype.itemsize)
    step = max(1, TOGETHER // bytes_each) * shard
    for start in range(0, array.shape[0], step):
        yield slice(start, min(start + step, array.shape[0]))
