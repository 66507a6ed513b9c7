"""Read delimited text strictly: one header, rows of equal length, quotes that close, UTF-8 that is.

The separator is a tab where the first line has one, else a comma. A header that is one name short, as R writes it,
gets an empty first name. Rows come in blocks of columns, so that a file of 600,000 rows is never a list of lists.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Buffer, Iterable, Iterator, Sequence
from itertools import chain, islice

import numpy as np
import numpy.typing as npt

from zarrscope.errors import DecodeError

BLOCK = 1 << 14  # rows
# What a number is written with: float() also takes underscores, other scripts' digits, "nan" and "inf".
_DIGITS = b"0123456789eE+-. "
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

type Rows = list[list[str]]
type Block = tuple[int, list[tuple[str, ...]]]


def read_delimited(data: Buffer) -> tuple[list[str], Iterator[Block]]:
    """Read a header and, lazily, the rows below it.

    Returns
    -------
    list of str
        The names of the columns, without surrounding spaces.
    iterator of (int, list of tuple)
        The number of the first row of a block, and the block's columns.

    Raises
    ------
    DecodeError
        For bytes that are not UTF-8 text, no header, a quote that does not close, or rows of another length. Also
        while iterating.
    """
    content = bytes(data)
    if b"\0" in content:
        raise DecodeError(f"expected text, found a zero byte at byte {content.index(0)}.")
    batches = _batches(content)
    rows = next(batches, [])
    header = [name.strip() for name in rows[0]] if rows else []
    if not header:
        raise DecodeError("expected a header, found none.")
    if len(rows) > 1 and len(rows[1]) == len(header) + 1:
        header = ["", *header]
    return header, _blocks(chain([rows[1:]], batches), header)


def _batches(content: bytes) -> Iterator[Rows]:
    """Give the rows that are not blank, many at a time."""
    tabbed = b"\t" in re.split(rb"[\r\n]", content.lstrip(b"\r\n"), maxsplit=1)[0]
    text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="")
    reader = csv.reader(text, delimiter="\t" if tabbed else ",", strict=True)
    rows = filter(None, reader)
    try:
        while batch := list(islice(rows, BLOCK)):
            yield batch
    except csv.Error as error:
        raise DecodeError(f"expected fields with closed quotes, found in line {reader.line_num}: {error}.") from None
    except UnicodeDecodeError:
        raise DecodeError(_not_utf8(content)) from None


def _not_utf8(content: bytes) -> str:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return f"expected UTF-8 text, found the byte {content[error.start]:#04x} in line {line}."
    return "expected UTF-8 text, found a character that is cut."


def _blocks(batches: Iterable[Rows], header: list[str]) -> Iterator[Block]:
    """Turn rows into columns, and check their lengths."""
    done = 1
    for rows in filter(None, batches):
        if set(map(len, rows)) != {len(header)}:
            at = next(at for at, row in enumerate(rows) if len(row) != len(header))
            raise DecodeError(f"expected {len(header)} fields in row {done + at}, found {len(rows[at])}.")
        yield done, list(zip(*rows, strict=True))
        done += len(rows)


def read_columns(data: Buffer) -> tuple[list[str], list[list[str]]]:
    """Read a small file whole: the names of its columns, and the columns."""
    header, blocks = read_delimited(data)
    columns: list[list[str]] = [[] for _ in header]
    for _, block in blocks:
        for column, more in zip(columns, block, strict=True):
            column.extend(more)
    return header, columns


def numbers(texts: Sequence[str], column: str, first: int = 1) -> npt.NDArray[np.float64]:
    """Turn text into finite numbers; ``first`` is the row of the first text, for the message.

    >>> numbers(["1.5", "2e3"], "r").tolist()
    [1.5, 2000.0]
    """
    try:
        values = np.array(list(map(float, texts)), np.float64)
        plain = not "".join(texts).encode().translate(None, _DIGITS)
    except ValueError:
        plain = False
    if plain and np.isfinite(values).all():
        return values
    row, found = next((row, text) for row, text in enumerate(texts, first) if not _is_number(text))
    raise DecodeError(f"expected a number in row {row}, column {column!r}, found {found!r:.40}.")


def _is_number(text: str) -> bool:
    try:
        return not text.encode().translate(None, _DIGITS) and bool(np.isfinite(float(text)))
    except ValueError:
        return False


def require_names(values: Sequence[str], column: str, what: str) -> None:
    """Check that each row has a name of its own, without control characters.

    Raises
    ------
    DecodeError
        Naming the row, or both rows of a name that comes twice.
    """
    if len(seen := set(values)) == len(values) and "" not in seen and "".join(values).isprintable():
        return
    rows: dict[str, int] = {}
    for row, value in enumerate(values, 1):
        if not value or _CONTROL.search(value):
            raise DecodeError(f"expected the name of a {what} in row {row}, column {column!r}, found {value!r:.80}.")
        if value in rows:
            raise DecodeError(
                f"expected each {what} once in column {column!r}, found {value!r:.80} in rows {rows[value]} and {row}."
            )
        rows[value] = row
