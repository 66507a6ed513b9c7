"""The text of some rows: read by the compiled loop, and what that leaves over read as Python does."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zarrscope.model import Integers
from zarrscope.readers.counts.header import Header
from zarrscope.readers.counts.refusal import RowError

type Text = npt.NDArray[np.uint8]

_DENSITY = 1 / 32  # numbers that are not zero, a byte: where there are more the buffers grow
_NUMBER = re.compile(rb"[ \t]*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)[ \t]*")
_NO_NUMBER = re.compile(rb"[ \t]*([+-]?(nan|na|n/a|null|none|inf|infinity))?[ \t]*", re.IGNORECASE)


@dataclass(slots=True, kw_only=True)
class Parsed:
    """Rows as sparse float64, up to the end of the text or the first row that is none.

    ``places`` are ``(rows, 2)``, the first byte and the end of each name; ``error`` is the first thing that is wrong.
    """

    places: Integers
    indptr: Integers
    indices: npt.NDArray[np.int32]
    values: npt.NDArray[np.float64]
    error: RowError | None = None

    @property
    def rows(self) -> int:
        """How many rows were read."""
        return len(self.indptr) - 1


def parse_text(text: Text, header: Header) -> Parsed:
    """Read whole lines: ``(bytes,)`` uint8 becomes rows without zeros, and the first error that there is."""
    parsed = _compiled(text, header)
    wrong = _read_pending(parsed, text, header)
    # What the compiled loop stopped at stands below all that it read.
    parsed.error = wrong or parsed.error
    return parsed


def name_of(text: Text, start: int, stop: int) -> bytes:
    """Give a name without its quotes; within them a quote is doubled (RFC 4180)."""
    name = text[start:stop].tobytes()
    return name[1:-1].replace(b'""', b'"') if name[:1] == b'"' else name


def patterns(separator: str) -> npt.NDArray[np.uint64]:
    """Give the words that the compiled loop compares with, in the byte order of this machine, and the separator."""
    mark = separator.encode()
    point, short = b"0.0" + mark, b"0" + mark
    texts = [
        *(point * 2, short * 4),  # whole words of zeros
        *(b"\xff\xff\xff\xff", point),  # a mask, and what it leaves of one zero
        *(b"\xff\xff", short),
    ]
    return np.array(
        [*(int.from_bytes(text.ljust(8, b"\0"), sys.byteorder) for text in texts), ord(separator)], np.uint64
    )


def words(text: Text) -> npt.NDArray[np.uint64]:
    """View text as the words of eight bytes that start at each of its bytes, ``(bytes - 7,)``."""
    return np.ndarray((max(0, len(text) - 7),), np.uint64, text if len(text) > 7 else bytes(8), 0, (1,))


def _compiled(text: Text, header: Header) -> Parsed:
    from zarrscope.readers.counts import kernels

    columns, size = header.columns, len(text)
    most = size // (columns + 1) + 1  # rows: each field has at least the byte that ends it
    indptr, places = np.empty(most + 1, np.int64), np.empty((most, 2), np.int64)
    indptr[0] = 0
    state = np.zeros(4, np.int64)
    capacity = columns + int(size * _DENSITY)
    indices, values = np.empty(capacity, np.int32), np.empty(capacity, np.float64)
    given = text, words(text), patterns(header.separator), columns, indptr, places
    while (code := kernels.parse(*given, indices, values, state)) == kernels.FULL:
        at, _, used, _ = state.tolist()
        # As dense as so far, and a quarter more: memory that stays unused is never touched.
        capacity = columns + max(2 * used, int(1.25 * used * size / max(1, at)))
        indices, values = _grown(indices, used, capacity), _grown(values, used, capacity)
    _, rows, used, _ = state.tolist()
    return Parsed(
        places=places[:rows],
        indptr=indptr[: rows + 1].copy(),
        indices=indices[:used],
        values=values[:used],
        error=None if code == kernels.DONE else _stopped(code, text, places, state, columns),
    )


def _stopped(code: int, text: Text, places: Integers, state: Integers, columns: int) -> RowError:
    """Say why the compiled loop could not take the next row."""
    from zarrscope.readers.counts import kernels

    at, row, _, fields = state.tolist()
    if code == kernels.RAGGED:
        name = name_of(text, at, int(places[row, 1])).decode(errors="replace")
        cut = "" if 0x0A in text[at:] else ": the text ends within this row"
        return RowError(row, name, f": expected {columns:,} numbers, one a column, found {fields:,}{cut}.")
    reasons = {
        kernels.BLANK: "a name and numbers, found a blank line with rows below",
        kernels.OPEN: "a name on one line, found that its quotes do not end there",
        kernels.JUNK: "a separator behind the quoted name, found something else",
    }
    return RowError(row, None, f": expected {reasons[code]}.")


def _grown[Item: np.generic](array: npt.NDArray[Item], used: int, capacity: int) -> npt.NDArray[Item]:
    grown = np.empty(capacity, array.dtype)
    grown[:used] = array[:used]
    return grown


def _read_pending(parsed: Parsed, text: Text, header: Header) -> RowError | None:
    """Read the fields that the compiled loop left over; give the first that holds no finite number."""
    from zarrscope.readers.counts import kernels

    slots = np.flatnonzero(np.isnan(parsed.values))
    if not len(slots):
        return None
    starts = parsed.values.view(np.int64)[slots] & kernels.PLACE
    stops = np.empty_like(starts)
    kernels.field_ends(text, starts, stops, ord(header.separator))
    for slot, start, stop in zip(slots.tolist(), starts.tolist(), stops.tolist(), strict=True):
        field = text[start:stop].tobytes()
        if stop == len(text) or text[stop] == 0x0A:
            field = field.removesuffix(b"\r")
        value = exact(field)
        if value is None:
            row = int(np.searchsorted(parsed.indptr, slot, "right")) - 1
            name = name_of(text, *parsed.places[row].tolist()).decode(errors="replace")
            symbol = str(header.symbols[parsed.indices[slot]])
            return RowError(row, name, f", column {symbol!r:.80}: {_expected(field)}")
        parsed.values[slot] = value
    _drop_zeros(parsed)
    return None


def exact(field: bytes) -> float | None:
    """Read a finite number as ``float`` does; None where there is none.

    Blanks around it and quotes around those are allowed; underscores, which ``float`` allows too, are not.

    >>> exact(b'" 1e-3 "'), exact(b"12345678901234567890"), exact(b"1_000"), exact(b"1e999")
    (0.001, 1.2345678901234567e+19, None, None)
    """
    if len(field) > 1 and field[:1] == field[-1:] == b'"':
        field = field[1:-1]
    match = _NUMBER.fullmatch(field)
    value = float(match[1]) if match else np.inf
    return value if np.isfinite(value) else None


def _expected(field: bytes) -> str:
    bare = field.strip(b'"')
    found = repr(field.decode(errors="replace"))[:80] if bare else "an empty cell"
    if _NO_NUMBER.fullmatch(bare):
        return f"expected a finite number, found {found}. Nothing is put in its place: write a number, or 0."
    return f"expected a finite number, found {found}."


def _drop_zeros(parsed: Parsed) -> None:
    kept = parsed.values != 0
    if not kept.all():
        parsed.indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)])[parsed.indptr]
        parsed.indices, parsed.values = parsed.indices[kept], parsed.values[kept]
