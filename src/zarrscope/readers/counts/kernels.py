"""The loops over the bytes of a count matrix, compiled when this module is first imported; they hold no lock.

Most of a count matrix is the text ``0.0,0.0,``, which is eight bytes: they are loaded as one word, from wherever they
start, and compared at once. What is neither zero nor one digit is read byte by byte, and what a decimal reader can't
turn into the nearest float64 with one rounding is left as a NaN whose lower bits say where its text starts.

All of it stands in one file because numba notices a change only in the file of the loop that is called.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numba import types

from zarrscope.compiled import jit

# What became of a band: all read, no room for one more row, or a row that is none.
DONE, FULL, RAGGED, BLANK, OPEN, JUNK = range(6)

PENDING = 0x7FF8 << 48  # a quiet NaN; no text that is read here gives one
PLACE = (1 << 51) - 1  # its bits that hold a place
_EXACT = 1 << 53  # integers up to here are float64s
_POWERS = np.array([float(f"1e{power}") for power in range(23)])  # so are these: 5**22 < 2**53
_DIGITS = 18  # digits that surely fit in an int64
_LF, _CR, _QUOTE, _PLUS, _MINUS, _POINT, _ZERO, _NINE, _E = (ord(letter) for letter in '\n\r"+-.09e')

_TEXT = types.Array(types.uint8, 1, "C", readonly=True, aligned=False)
_WORDS = types.Array(types.uint64, 1, "A", readonly=True, aligned=False)
_I64, _F64, _BYTE = types.int64, types.float64, types.uint8
_I64S, _I32S, _F64S, _U64S = types.int64[::1], types.int32[::1], types.float64[::1], types.uint64[::1]
_I64X3 = types.Tuple((_I64, _I64, _I64))


compiled = partial(jit, error_model="numpy")  # dividing by zero gives what it gives in C


@compiled([types.boolean(_TEXT, _I64, _BYTE)])
def _ends(text: Any, at: Any, separator: Any) -> Any:
    """Tell whether a field ends in front of this byte."""
    if at >= text.size or text[at] == separator or text[at] == _LF:
        return True
    return text[at] == _CR and (at + 1 == text.size or text[at + 1] == _LF)


@compiled([_I64X3(_TEXT, _I64, _I64)])
def _digits(text: Any, at: Any, mantissa: Any) -> Any:
    """Append digits to a number: the first byte behind them, the number, how many they are."""
    start = at
    while at < text.size and _ZERO <= text[at] <= _NINE:
        mantissa = mantissa * 10 + (np.int64(text[at]) - _ZERO)  # it wraps where there are more than _DIGITS
        at += 1
    return at, mantissa, at - start


@compiled([types.Tuple((_I64, _I64))(_TEXT, _I64)])
def _exponent(text: Any, at: Any) -> Any:
    """Read a power of ten if there is one: the first byte behind it, and the power; 999 where it can't be read."""
    if at >= text.size or (text[at] | 32) != _E:
        return at, 0
    at += 1
    negative = at < text.size and text[at] == _MINUS
    if at < text.size and (text[at] == _MINUS or text[at] == _PLUS):
        at += 1
    at, power, count = _digits(text, at, 0)
    if not 0 < count < 4:
        return at, 999
    return at, -power if negative else power


@compiled([types.Tuple((_I64, _F64))(_TEXT, _I64, _BYTE)])
def _number(text: Any, at: Any, separator: Any) -> Any:
    """Read a decimal number, quoted or not: the first byte behind the field, and the value or NaN.

    A mantissa below 2**53 and a power of ten up to 22 are both exact, so that one multiplication or division rounds
    once, as ``float`` does. Anything else is NaN here.
    """
    size = text.size
    quoted = at < size and text[at] == _QUOTE
    if quoted:
        at += 1
    negative = at < size and text[at] == _MINUS
    if negative or (at < size and text[at] == _PLUS):
        at += 1
    at, mantissa, count = _digits(text, at, 0)
    decimals = 0
    if at < size and text[at] == _POINT:
        at, mantissa, decimals = _digits(text, at + 1, mantissa)
    at, power = _exponent(text, at)
    if quoted:
        if at >= size or text[at] != _QUOTE:
            return at, np.nan
        at += 1
    if not 0 < count + decimals <= _DIGITS or mantissa > _EXACT or power == 999 or not _ends(text, at, separator):
        return at, np.nan
    power -= decimals
    value: Any = np.float64(mantissa)
    if mantissa and power > 0:
        value = value * _POWERS[power] if power <= 22 else np.nan
    elif mantissa and power < 0:
        value = value / _POWERS[-power] if power >= -22 else np.nan
    return at, -value if negative else value


@compiled([_I64(_TEXT, _I64, _BYTE)])
def _field_end(text: Any, at: Any, separator: Any) -> Any:
    """Find the separator or the line feed that ends a field of any text, or the end of the text."""
    if at < text.size and text[at] == _QUOTE:
        at += 1
        while at < text.size and text[at] != _QUOTE and text[at] != _LF:
            at += 1
    while at < text.size and text[at] != separator and text[at] != _LF:
        at += 1
    return at


@compiled([types.void(_TEXT, _I64S, _I64S, _BYTE)])
def field_ends(text: Any, starts: Any, stops: Any, separator: Any) -> None:
    """Find the ends of several fields."""
    for index in range(starts.size):
        stops[index] = _field_end(text, starts[index], separator)


@compiled([_I64(_TEXT, _I64, _BYTE)])
def _name_end(text: Any, at: Any, separator: Any) -> Any:
    """Find the end of the name of a row, quotes included; minus OPEN or JUNK where its quotes are wrong."""
    if text[at] != _QUOTE:
        return _field_end(text, at, separator)
    at += 1
    while at < text.size and text[at] != _LF:
        if text[at] != _QUOTE:
            at += 1
        elif at + 1 < text.size and text[at + 1] == _QUOTE:  # RFC 4180: a quote within quotes is doubled
            at += 2
        else:
            return at + 1 if _ends(text, at + 1, separator) else -JUNK
    return -OPEN


@compiled([_I64X3(_TEXT, _WORDS, _U64S, _I64, _I64, _I64, _I64, _I32S, _F64S)])
def _plain(
    text: Any, words: Any, patterns: Any, columns: Any, at: Any, column: Any, used: Any, indices: Any, values: Any
) -> Any:
    """Read on while there are whole numbers of up to five digits: the next field, its column, numbers kept so far."""
    two, four, half, zero, pair, short = patterns[0], patterns[1], patterns[2], patterns[3], patterns[4], patterns[5]
    separator = np.uint8(patterns[6])
    while at < words.size:
        word = words[at]
        if word == two:
            at, column = at + 8, column + 2
        elif word == four:
            at, column = at + 8, column + 4
        elif word & half == zero:
            at, column = at + 4, column + 1
        elif word & pair == short:
            at, column = at + 2, column + 1
        else:
            stop, number = at, np.int64(0)
            while stop < at + 5 and _ZERO <= text[stop] <= _NINE:
                number = number * 10 + (np.int64(text[stop]) - _ZERO)
                stop += 1
            if text[stop] == _POINT and text[stop + 1] == _ZERO:
                stop += 2
            if stop == at or text[stop] != separator:
                break
            if number and column < columns:
                indices[used], values[used] = column, number
                used += 1
            at, column = stop + 1, column + 1
    return at, column, used


@compiled([_I64X3(_TEXT, _WORDS, _U64S, _I64, _I64, _I64, _I32S, _F64S)])
def _row(text: Any, words: Any, patterns: Any, columns: Any, at: Any, used: Any, indices: Any, values: Any) -> Any:
    """Read the numbers of a row: the first byte behind its line, how many fields it has, and how many are kept."""
    separator = np.uint8(patterns[6])
    bits = values.view(np.int64)
    column = 0
    while True:
        at, column, used = _plain(text, words, patterns, columns, at, column, used, indices, values)
        stop, value = _number(text, at, separator)
        if np.isnan(value):
            stop = _field_end(text, at, separator)
        if value != 0.0 and column < columns:  # NaN too
            indices[used], values[used] = column, value
            if np.isnan(value):
                bits[used] = PENDING | at
            used += 1
        at, column = stop, column + 1
        if at >= text.size or text[at] != separator:
            break
        at += 1
    while at < text.size and text[at] != _LF:
        at += 1
    return min(at + 1, text.size), column, used


@compiled([_I64(_TEXT, _WORDS, _U64S, _I64, _I64S, types.int64[:, ::1], _I32S, _F64S, _I64S)])
def parse(
    text: Any, words: Any, patterns: Any, columns: Any, indptr: Any, names: Any, indices: Any, values: Any, state: Any
) -> Any:
    """Read rows from where ``state`` says on, until the end of the text, a full buffer, or a row that is none.

    Parameters
    ----------
    text, words, patterns, columns
        What to read; ``words[i]`` are the eight bytes from ``i`` on, ``patterns`` what
        :func:`zarrscope.readers.counts.text.patterns` gives.
    indptr, names, indices, values
        Are filled: ``(r + 1,)``, ``(r, 2)`` first byte and end of each name, ``(k,)`` column and value of each number
        that is not zero. ``r`` must hold every row that the text can have.
    state
        ``(4,)``: next byte, rows and kept numbers so far, and how many fields the ragged row has.
    """
    separator = np.uint8(patterns[6])
    at, row, used = state[0], state[1], state[2]
    code = DONE
    while at < text.size:
        if used + columns > values.size:
            code = FULL
        elif _ends(text, at, _LF):
            code = BLANK
        if code != DONE:
            break
        stop = _name_end(text, at, separator)
        names[row, 0], names[row, 1] = at, max(stop, at)
        if stop < 0:
            code = -stop
            break
        next_row, fields, kept = stop, 0, used
        if stop < text.size and text[stop] == separator:
            next_row, fields, kept = _row(text, words, patterns, columns, stop + 1, used, indices, values)
        if fields != columns:
            state[3] = fields
            code = RAGGED
            break
        at, used = next_row, kept
        row += 1
        indptr[row] = used
    state[0], state[1], state[2] = at, row, used
    return code
