"""Read a dense matrix of counts, written as text of any length, into sparse rows.

The text has a header of column names and then one line a row: a name, and one number a column (``,SNAP25,MBP`` over
``spot 1,0.0,3.0``). It may be tens of gigabytes long, so it is read in bands of whole lines: :func:`read_header`, then
:func:`stream`, or :func:`bands` and :func:`parse_band` where each band is a task of its own.

A number is what Python's ``float`` makes of its text, bit for bit, and no number is ever made up: an empty cell, NA,
NaN, an infinity, a row with too few or too many fields, a blank line between rows and a second row of the same name
are errors, which name the row (the header is row 1), the spot and the column.
"""

from zarrscope.readers.counts.band import Band, combined_dtype, parse_band
from zarrscope.readers.counts.content import MAX_LINE, Bytes
from zarrscope.readers.counts.header import Header, read_header
from zarrscope.readers.counts.names import Seen, looks_transposed, unique_names
from zarrscope.readers.counts.refusal import RowError
from zarrscope.readers.counts.whole import TARGET, bands, stream

__all__ = [
    "MAX_LINE",
    "TARGET",
    "Band",
    "Bytes",
    "Header",
    "RowError",
    "Seen",
    "bands",
    "combined_dtype",
    "looks_transposed",
    "parse_band",
    "read_header",
    "stream",
    "unique_names",
]
