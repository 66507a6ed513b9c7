"""Rows from many receipts become typed columns, without holding a Python object a value.

Types follow the values of the whole column: integers, floats, booleans, text; integers with gaps are nullable, text
of few distinct values is categorical, and a mixture becomes text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from zarrscope.model import Scalar, strings
from zarrscope.query import Categories
from zarrscope.writers.table import Nullable, TableColumn

_TEXT, _BOOL, _INT, _FLOAT = "text", "bool", "int", "float"
_KINDS: dict[type, str] = {str: _TEXT, bool: _BOOL, int: _INT, float: _FLOAT}
_DTYPES: dict[str, npt.DTypeLike] = {_BOOL: np.bool_, _INT: np.int64, _FLOAT: np.float64}
_INT64 = range(-(1 << 63), 1 << 63)


class Gather:
    """Collects one column, batch by batch."""

    def __init__(self) -> None:
        self._batches: list[tuple[str, npt.NDArray[Any], npt.NDArray[np.bool_]]] = []
        self._codes: dict[str, int] = {}

    def __len__(self) -> int:
        return sum(len(values) for _, values, _ in self._batches)

    def skip(self, rows: int) -> None:
        """Add missing values."""
        if rows:
            self.add([None] * rows)

    def add(self, values: Sequence[Scalar]) -> None:
        """Add some values, None where one is missing."""
        kinds = {_KINDS[type(value)] for value in values if value is not None}
        if not kinds:
            self._batches.append(("none", np.zeros(len(values), np.int8), np.ones(len(values), bool)))
            return
        if kinds == {_INT} and not all(value in _INT64 for value in values if value is not None):
            kinds = {_TEXT}
        kind = kinds.pop() if len(kinds) == 1 else (_FLOAT if kinds == {_INT, _FLOAT} else _TEXT)
        mask = np.fromiter((value is None for value in values), bool, len(values))
        self._batches.append((kind, self._packed(kind, values), mask))

    def _packed(self, kind: str, values: Sequence[Scalar]) -> npt.NDArray[Any]:
        if kind == _TEXT:
            codes = self._codes
            coded = (0 if value is None else codes.setdefault(str(value), len(codes)) for value in values)
            return np.fromiter(coded, np.int32, len(values))
        return np.array([0 if value is None else value for value in values], _DTYPES[kind])

    def column(self, rows: npt.NDArray[np.int32] | None = None) -> TableColumn:
        """Give the column in the narrowest type that holds every value.

        With ``rows``, row ``i`` has value number ``rows[i]``, or none at -1: rows may share what they are described by.
        """
        kinds = {kind for kind, _, _ in self._batches} - {"none"}
        mask = np.concatenate([mask for _, _, mask in self._batches] or [np.zeros(0, bool)])
        mask = mask if rows is None else np.append(mask, True)[rows]
        if not kinds:
            return Categories(np.full(len(mask), -1, np.int8), strings([]))
        kind = kinds.pop() if len(kinds) == 1 else (_FLOAT if kinds == {_INT, _FLOAT} else _TEXT)
        values = np.concatenate(list(self._texts()) if kind == _TEXT else self._numbers(_DTYPES[kind]))
        values = values if rows is None else np.append(values, values[:1])[rows]
        if kind == _TEXT:
            values[mask] = -1
            return coded(values, list(self._codes))
        if not mask.any():
            return values
        if kind == _FLOAT:
            values[mask] = np.nan
            return values
        return Nullable(values, mask)

    def _numbers(self, dtype: npt.DTypeLike) -> list[npt.NDArray[Any]]:
        return [batch.astype(dtype) for _, batch, _ in self._batches]

    def _texts(self) -> Iterator[npt.NDArray[np.int32]]:
        for kind, batch, gaps in self._batches:
            if kind in (_TEXT, "none"):
                yield batch.astype(np.int32)
            else:
                texts = [None if gap else str(value) for value, gap in zip(batch.tolist(), gaps.tolist(), strict=True)]
                yield self._packed(_TEXT, texts)


def coded(codes: npt.NDArray[np.int32], texts: Sequence[str]) -> TableColumn:
    """Give text as categories in sorted order, or as plain text where most values differ and none is missing."""
    used = np.unique(codes[codes >= 0])
    values = strings([texts[code] for code in used.tolist()])
    if 2 * len(used) > len(codes) + 2 and (codes >= 0).all():
        plain = strings(list(texts))
        return plain[codes]
    order = np.argsort(values, kind="stable")
    rank = np.full(len(texts) + 1, -1, np.int32)
    rank[used[order]] = np.arange(len(used))
    rank[-1] = -1
    width = np.int8 if len(used) < 127 else np.int16 if len(used) < 32_767 else np.int32
    return Categories(rank[codes].astype(width), values[order])


def from_array(values: npt.NDArray[Any]) -> TableColumn:
    """Give a column known from names in the form that tables keep."""
    if values.dtype.kind != "T":
        return values
    texts, codes = np.unique(values, return_inverse=True)
    return coded(codes.astype(np.int32), [str(text) for text in texts])
