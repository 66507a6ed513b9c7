"""Data frames of a table read column by column: one or two requests a column, and nothing else.

Follows AnnData's on-disk specification for data frames: arrays, texts, categoricals, and nullable integers, booleans
and texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from zarrscope.errors import StoreError
from zarrscope.loaders.shards import ShardedArray
from zarrscope.loaders.threads import each
from zarrscope.query import Categories, Values, unknown_column
from zarrscope.storage import Storage

if TYPE_CHECKING:
    import pandas as pd

INDEX = "index"  # the name under which a frame's row names can be asked for like a column


class Frame:
    """One data frame of an AnnData group, read column by column.

    Parameters
    ----------
    storage, path
        The store, and the table's group in it.
    nodes
        The documents of all nodes below that group.
    name
        ``obs`` or ``var``.
    """

    def __init__(self, storage: Storage, path: str, nodes: Mapping[str, Any], name: str) -> None:
        self._storage, self._path, self.nodes, self._name = storage, path, nodes, name
        self._where = storage.at(path)
        try:
            frame = nodes[name]["attributes"]
            self._index = str(frame["_index"])
            self.names: tuple[str, ...] = tuple(frame["column-order"])
        except (KeyError, TypeError):
            raise StoreError(f"{self._where}: expected an AnnData group with consolidated metadata.") from None

    def __len__(self) -> int:
        node = self.nodes.get(f"{self._name}/{self._index}", {})
        if "shape" not in node:
            node = self.nodes.get(f"{self._name}/{self._index}/values", node)
        try:
            return int(node["shape"][0])
        except (KeyError, TypeError, IndexError):
            raise StoreError(f"{self._where}: its {self._name} has no index.") from None

    def has(self, name: str) -> bool:
        """Tell whether there is such a column; ``index`` stands for the row names."""
        return name in self.names or name in (INDEX, self._index)

    def columns(self, names: Sequence[str]) -> dict[str, Values]:
        """Read columns for queries: ``(n,)`` arrays, and categories as codes; nothing else is read.

        A missing integer makes its column float with NaN, a missing boolean counts as False.
        """
        return {name: _queryable(column) for name, column in self._read(names).items()}

    def frame(self, names: Sequence[str]) -> pd.DataFrame:
        """Read columns as a DataFrame, by row number, or by row name if ``index`` is among the names."""
        import pandas as pd

        read = {name: _for_pandas(column) for name, column in self._read(names).items()}
        indexed = INDEX in read and INDEX not in self.names
        index = pd.Index(read.pop(INDEX)) if indexed else pd.RangeIndex(len(self), name="row")
        return pd.DataFrame(read, index=index, copy=False)

    def array(self, path: str) -> ShardedArray:
        """Give one array of the table, such as ``X/data``."""
        node = self.nodes.get(path)
        if not isinstance(node, dict) or node.get("node_type") != "array":
            raise StoreError(f"{self._where}: expected an array {path!r} in this table.")
        return ShardedArray(self._storage, f"{self._path}/{path}", node)

    def _read(self, names: Sequence[str]) -> dict[str, _Parts]:
        for name in names:
            if not self.has(name):
                raise unknown_column(name, [*self.names, INDEX])
        found: dict[str, _Parts] = dict.fromkeys(names, _Parts("", {}))

        def read(name: str) -> None:
            found[name] = self._column(self._index if name == INDEX and INDEX not in self.names else name)

        each(read, list(found), remote=self._storage.root is None)
        return found

    def _column(self, name: str) -> _Parts:
        path = f"{self._name}/{name}"
        node = self.nodes.get(path, {})
        kind = str(node.get("attributes", {}).get("encoding-type", ""))
        if kind in ("array", "string-array"):
            return _Parts(kind, {"values": self.array(path).read(())})
        if kind == "categorical":
            parts = {"codes": self.array(f"{path}/codes").read(())}
            nested = self._column(f"{name}/categories")
            return _Parts(kind, {**parts, "values": nested.parts["values"]}, bool(node["attributes"].get("ordered")))
        if kind in ("nullable-integer", "nullable-boolean", "nullable-string-array"):
            return _Parts(kind, {part: self.array(f"{path}/{part}").read(()) for part in ("values", "mask")})
        raise StoreError(f"{self._where}: the column {name!r} is stored as {kind!r}, which can't be read here.")


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    """A column as stored: how it is encoded, and its arrays."""

    kind: str
    parts: Mapping[str, npt.NDArray[Any]]
    ordered: bool = False


def _queryable(column: _Parts) -> Values:
    values = column.parts["values"]
    if column.kind == "categorical":
        return Categories(column.parts["codes"], values)
    mask = column.parts.get("mask")
    if mask is None or not mask.any():
        return values
    if values.dtype.kind == "b":
        return np.asarray(values & ~mask)
    if values.dtype.kind == "T":
        return np.where(mask, "", values)
    return np.where(mask, np.nan, values.astype(np.float64))


def _for_pandas(column: _Parts) -> Any:
    import pandas as pd

    values = column.parts["values"]
    held = values.astype(object) if values.dtype.kind == "T" else values
    if column.kind == "categorical":
        categories = pd.Index(held, dtype="str" if values.dtype.kind == "T" else None)  # also where there are none
        return pd.Categorical.from_codes(column.parts["codes"], categories, ordered=column.ordered)
    if column.kind == "nullable-integer":
        return pd.arrays.IntegerArray(values, column.parts["mask"])
    if column.kind == "nullable-boolean":
        return pd.arrays.BooleanArray(values, column.parts["mask"])
    if column.kind == "nullable-string-array":
        held[column.parts["mask"]] = None
    return pd.array(held, dtype="str") if values.dtype.kind == "T" and len(held) else held
