"""Some rows of a matrix: their text becomes sparse rows, without regard to what stands before or behind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from zarrscope.model import Integers, Strings, strings
from zarrscope.readers.counts.header import Header
from zarrscope.readers.counts.refusal import RowError
from zarrscope.readers.counts.text import Parsed, Text, name_of, parse_text

type Numbers = npt.NDArray[Any]  # of int32, int64 or float64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Band:
    """Rows in their order, as compressed sparse rows without zeros.

    Parameters
    ----------
    names
        ``(rows,)`` text.
    indptr, indices, data
        int64 ``(rows + 1,)``, int32 ``(k,)`` and ``(k,)``: row ``i`` has ``data[j]`` in column ``indices[j]`` for
        ``indptr[i] <= j < indptr[i + 1]``, by increasing column. The data are int32 if all are whole and smaller than
        2**31 in size, int64 if smaller than 2**53, and float64 otherwise, equal to what ``float`` makes of the text.
    row_totals, column_totals
        ``(rows,)`` and ``(columns,)``: exact int64 beside int32 data, float64 otherwise, added in the order of the
        file. (Totals of a column depend in their last bits on where the bands end, if they are not whole.)
    column_counts
        int64 ``(columns,)``, rows in which the column is not zero.
    negative
        Whether a number is below zero, which no count is.
    terminated
        Whether the last line has a line end. At the end of a file that lacks it, the last number may be cut.
    """

    names: Strings
    indptr: Integers
    indices: npt.NDArray[np.int32]
    data: Numbers
    row_totals: Numbers
    column_totals: Numbers
    column_counts: Integers
    negative: bool
    terminated: bool

    def __len__(self) -> int:
        return len(self.names)

    @property
    def integral(self) -> bool:
        """Whether all numbers are whole."""
        return self.data.dtype.kind == "i"

    @property
    def row_counts(self) -> Integers:
        """``(rows,)`` columns in which the row is not zero."""
        return np.diff(self.indptr)


def combined_dtype(dtypes: Iterable[np.dtype[np.generic]]) -> np.dtype[np.generic]:
    """Give the type that holds the data of all bands exactly: int32, int64 or float64.

    >>> combined_dtype([np.dtype("int32"), np.dtype("int64")]), combined_dtype([])
    (dtype('int64'), dtype('int32'))
    """
    return np.result_type(np.int32, *dtypes)


def parse_band(data: memoryview, header: Header, *, rows_before: int = 0) -> Band:
    r"""Read rows, each a name and one number a column.

    Zeros are left out however they are spelled. Nothing is put in place of a cell that is empty or holds no finite
    number. Negative numbers are kept and reported.

    Parameters
    ----------
    data
        Whole lines, as :func:`zarrscope.readers.counts.bands` cuts them.
    header
        Gives the columns and the separator.
    rows_before
        Rows between the header and these, for messages; the header is row 1 there.

    Raises
    ------
    DecodeError
        Where a row has too few or too many fields, a field is no number, a name is not UTF-8 or holds a line break,
        or a line is blank. Names row, name and column of the first place where that is so.

    Examples
    --------
    >>> from zarrscope.readers.counts import Bytes, read_header
    >>> text = b",SNAP25,MBP\ns1,0.0,3.0\ns2,0,0\n"
    >>> header = read_header(Bytes(text))
    >>> band = parse_band(memoryview(text)[header.body :], header)
    >>> band.names.tolist(), band.indptr.tolist(), band.indices.tolist(), band.data
    (['s1', 's2'], [0, 1, 1], [1], array([3], dtype=int32))
    """
    text = np.frombuffer(data, np.uint8)
    parsed = parse_text(text, header)
    try:
        names = _names(text, parsed)
    except RowError as error:
        raise error.below(rows_before) from None
    return _band(names, parsed, header.columns, terminated=not len(text) or text[-1] == 0x0A)


def _names(text: Text, parsed: Parsed) -> Strings:
    """Give the names of the rows, or raise what is wrong first."""
    names = []
    for row, (start, stop) in enumerate(parsed.places.tolist()):
        if parsed.error and row > parsed.error.row:
            break
        name = name_of(text, start, stop)
        try:
            names.append(name.decode())
        except UnicodeDecodeError as error:
            shown = name.decode(errors="backslashreplace")
            found = f"the byte {name[error.start]:#04x}"
            raise RowError(row, shown, f": expected a name in UTF-8, found {found}.") from None
        if b"\0" in name:
            raise RowError(row, names[-1], ": expected a name, found a NUL byte in it.")
    if parsed.error:
        raise parsed.error
    return strings(names)


def _band(names: Strings, parsed: Parsed, columns: int, *, terminated: bool) -> Band:
    from zarrscope.readers.counts import totals

    whole, negative, largest = totals.describe(parsed.values)
    kind = "f8" if not whole or largest >= 2**53 else "i4" if largest < 2**31 else "i8"
    data = parsed.values.astype(kind)
    total = "i8" if kind == "i4" else "f8"  # a sum of int64 could wrap
    rows, sums, counts = np.zeros(len(names), total), np.zeros(columns, total), np.zeros(columns, np.int64)
    totals.sums(parsed.indptr, parsed.indices, data, rows, sums, counts)
    return Band(
        names=names,
        indptr=parsed.indptr,
        indices=parsed.indices.copy(),  # of the exact size
        data=data,
        row_totals=rows,
        column_totals=sums,
        column_counts=counts,
        negative=negative,
        terminated=terminated,
    )
