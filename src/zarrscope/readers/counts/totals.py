"""The loops over the numbers of a band: what kind they are, and their sums."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from zarrscope.readers.counts.kernels import compiled

_F64 = types.float64
_I64S, _I32S, _F64S = types.int64[::1], types.int32[::1], types.float64[::1]


@compiled([types.Tuple((types.boolean, types.boolean, _F64))(_F64S)])
def describe(values: Any) -> Any:
    """Tell whether all values are whole, whether any is negative, and the largest size."""
    whole, negative, largest = True, False, 0.0
    for value in values:
        whole &= np.floor(value) == value
        negative |= value < 0.0
        largest = max(largest, abs(value))
    return whole, negative, largest


@compiled(
    [
        types.void(_I64S, _I32S, data, total, total, _I64S)
        for data, total in ((_I32S, _I64S), (_I64S, _F64S), (_F64S, _F64S))
    ]
)
def sums(indptr: Any, indices: Any, data: Any, row_totals: Any, column_totals: Any, column_counts: Any) -> None:
    """Add up what a band holds, by row and by column, in the order of the file."""
    for row in range(indptr.size - 1):
        for place in range(indptr[row], indptr[row + 1]):
            row_totals[row] += data[place]
            column_totals[indices[place]] += data[place]
            column_counts[indices[place]] += 1
