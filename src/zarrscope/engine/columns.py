"""Rows from many receipts become typed columns, without holding a Python object a value.

Types follow the values of the whole column: integers, floats, booleans, text; integers with gaps are nullable, text
of few distinct values is categorical, and a mixture becomes text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from zarrscope.model import Scalar, strings
from zarrscope.query import Categories
from zarrscope.writers.table import Nullable, TableColumn

_TEXT, _BOOL, _INT, _FLOAT = "text", "bool", "int", "float"
_KINDS: dict[type, str] = {str: _TEXT, bool: _BOOL, int: _INT, float: _FLOAT}
_INT64 = range(-(1 << 63), 1 << 63)


class Gather:
    """Collects one column, batch by batch."""

    def __init__(self) -> None:
        self._batches: list[tuple[str, npt.NDArray[Any], npt.NDArray[np.bool_]]] = []
        self._codes: dict[str, int] = {}

    def __len__(self) -> int:
        return sum(len(values) for _, values, _ in self._batches)

    def skip(self, rows: int) -> None:
        """Add rows without a value."""
        if rows:
            self._take([None] * rows)

    def add(self, values: Sequence[Scalar], codes: npt.NDArray[np.int32] | None = None) -> None:
        """Add the values of some rows; with ``codes``, row ``i`` has ``values[codes[i]]``, or none at -1."""
        self._take(values)
        if codes is not None:
            kind, packed, mask = self._batches.pop()
            self._batches.append((kind, np.append(packed, packed[:1])[codes], np.append(mask, True)[codes]))

    def _take(self, values: Sequence[Scalar]) -> None:
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
        dtype = {_BOOL: np.bool_, _INT: np.int64, _FLOAT: np.float64}[kind]
        return np.array([0 if value is None else value for value in values], dtype)

    def column(self) -> TableColumn:
        """Give the whole column in the narrowest type that holds every value."""
        kinds = {kind for kind, _, _ in self._batches} - {"none"}
        mask = np.concatenate([mask for _, _, mask in self._batches] or [np.zeros(0, bool)])
        if not kinds:
            return Categories(np.full(len(mask), -1, np.int8), strings([]))
        kind = kinds.pop() if len(kinds) == 1 else (_FLOAT if kinds == {_INT, _FLOAT} else _TEXT)
        if kind == _TEXT:
            return self._text(mask)
        dtype = {_BOOL: np.bool_, _INT: np.int64, _FLOAT: np.float64}[kind]
        values = np.concatenate([batch.astype(dtype) for _, batch, _ in self._batches])
        if not mask.any():
            return values
        if kind == _FLOAT:
            values[mask] = np.nan
            return values
        return Nullable(values, mask)

    def _text(self, mask: npt.NDArray[np.bool_]) -> TableColumn:
        pieces = []
        for kind, batch, gaps in self._batches:
            if kind in (_TEXT, "none"):
                pieces.append(batch.astype(np.int32))
            else:
                texts = [None if gap else str(value) for value, gap in zip(batch.tolist(), gaps.tolist(), strict=True)]
                pieces.append(self._packed(_TEXT, texts))
        codes = np.concatenate(pieces)
        codes[mask] = -1
        return coded(codes, list(self._codes))


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
