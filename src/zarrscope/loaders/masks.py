"""One expression over the rows of several sample sets, evaluated as if they were one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from zarrscope.query import Categories, Expression, Mask, Values


def masks(expression: Expression, tables: Mapping[str, Mapping[str, Values]]) -> dict[str, Mask]:
    """Evaluate an expression; gives a mask ``(n,)`` for each set.

    Asked set by set, a value that only one of them has would count as a typing error in all others.
    """
    joined = {name: _join([table[name] for table in tables.values()]) for name in expression.columns}
    mask = expression.mask(joined)
    lengths = [len(table[expression.columns[0]]) for table in tables.values()]
    return dict(zip(tables, np.split(mask, np.cumsum(lengths)[:-1]), strict=True))


def _join(columns: Sequence[Values]) -> Values:
    if len(columns) == 1:
        return columns[0]
    coded = [column for column in columns if isinstance(column, Categories)]
    if len(coded) < len(columns):
        return np.concatenate([_spread(column) for column in columns])
    # The same text may stand in several lists of values: a comparison answers for each entry, so that does no harm.
    starts = np.cumsum([0, *(len(column.values) for column in coded)])
    codes = [
        np.where(column.codes < 0, -1, column.codes.astype(np.int64) + start)
        for column, start in zip(coded, starts, strict=False)
    ]
    return Categories(np.concatenate(codes), np.concatenate([column.values for column in coded]))


def _spread(column: Values) -> npt.NDArray[Any]:
    if not isinstance(column, Categories):
        return column
    missing: Any = "" if column.values.dtype.kind in "TUO" else np.nan
    return np.asarray(np.append(column.values, missing)[column.codes])
