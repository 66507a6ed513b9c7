"""The first line of a matrix: what separates its fields, and the names of its columns exactly as they are written."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass

from zarrscope.errors import DecodeError
from zarrscope.model import Content, Strings, strings
from zarrscope.readers.counts.content import MAX_LINE, Gunzip, is_gzip

SEPARATORS = (",", "\t", ";")
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?")
_FIRST = 64 << 10  # bytes of the first read


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Header:
    """What the first line says.

    Parameters
    ----------
    separator
        A comma, a tab or a semicolon.
    symbols
        ``(columns,)`` the names as the file gives them: nothing is stripped, repeated ones stay.
    corner
        The cell above the names of the rows, mostly empty; None where the line leaves it out, as R's ``write.table``
        does.
    body
        The byte at which the first row starts; of a gzip file, the inflated byte.
    """

    separator: str
    symbols: Strings
    corner: str | None
    body: int

    @property
    def columns(self) -> int:
        """How many numbers a row has."""
        return len(self.symbols)


def read_header(content: Content, *, separator: str | None = None) -> Header:
    r"""Read the names of the columns, and nothing behind the first row.

    Parameters
    ----------
    content
        The whole file, plain or gzip.
    separator
        Where it is known. Otherwise it is the one of ``,``, tab and ``;`` that the header has most of, outside of
        quotes; the first row is asked only if the header has none.

    Raises
    ------
    DecodeError
        If there is no header of names in UTF-8 on one line with at least one row below, or either is longer than
        ``MAX_LINE`` bytes.

    Examples
    --------
    >>> from zarrscope.readers.counts import Bytes
    >>> header = read_header(Bytes(b',SNAP25,"HLA-A,B"\r\nspot 1,0.0,3.0\r\n'))
    >>> header.symbols.tolist(), header.separator, header.corner, header.body
    (['SNAP25', 'HLA-A,B'], ',', '', 19)
    """
    line, row = _first_lines(Gunzip(content) if is_gzip(content) else content)
    body = len(line)
    text = _text(line)
    if separator is None:
        separator = _separator(text, row)
    cells = _cells(text, separator)
    # An empty first cell is the corner, whatever the rows look like.
    missing = bool(cells[0]) and _count(row, separator) == len(cells) + 1
    symbols = cells if missing else cells[1:]
    if not symbols:
        raise DecodeError(f"the header: expected the names of columns, found {text!r:.80} alone.")
    if len(set(symbols)) < len(symbols) and all(map(_NUMBER.fullmatch, symbols)):
        raise DecodeError(f"the header: expected the names of columns, found numbers ({text!r:.80}): is it missing?")
    return Header(separator=separator, symbols=strings(symbols), corner=None if missing else cells[0], body=body)


def _first_lines(content: Content | Gunzip) -> tuple[bytes, bytes]:
    """Read as much as the first two lines need; they keep their line ends."""
    text, length = bytearray(), _FIRST
    first = second = -1
    while second < 0:
        piece = content.read(len(text), length)
        searched = len(text)
        text += piece
        if first < 0:
            first = text.find(b"\n", searched)
        if first >= 0:
            second = text.find(b"\n", max(searched, first + 1))
        if len(piece) < length:
            break
        longest = len(text) - 1 - first if second < 0 else second - first
        if first > MAX_LINE or longest > MAX_LINE:
            raise DecodeError(f"expected lines of at most {MAX_LINE:,} bytes, found a longer one: is this a table?")
        length = min(2 * len(text), MAX_LINE)
    if not text:
        raise DecodeError("expected a header and rows of counts, found an empty file.")
    row = bytes(text[first + 1 : second + 1 if second >= 0 else None])
    if first < 0 or not row.strip(b"\r\n"):
        raise DecodeError(f"expected a header and rows of counts below, found {bytes(text[:60])!r} and no row.")
    return bytes(text[: first + 1]), row


def _text(line: bytes) -> str:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        found = f"{line[error.start]:#04x} at byte {error.start:,}"
        raise DecodeError(f"the header: expected names in UTF-8, found the byte {found}.") from None
    if "\0" in text:
        raise DecodeError(f"the header: expected names, found a NUL byte behind {text[: text.index('\0')]!r:.80}.")
    return text.removeprefix("\ufeff").rstrip("\r\n")


def _separator(text: str, row: bytes) -> str:
    for line in (text, row.decode(errors="replace")):
        bare = "".join(line.split('"')[::2])  # what stands outside of quotes
        found = max(SEPARATORS, key=bare.count)
        if found in bare:
            return found
    raise DecodeError(f"the header: expected names between commas, tabs or semicolons, found {text!r:.80}.")


def _cells(text: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([text], delimiter=separator, strict=True), [])
    except csv.Error as error:
        reason = "a quoted name that does not end on its line" if "unexpected end" in str(error) else str(error)
        raise DecodeError(f"the header: expected names, quoted or not, found {reason}.") from None


def _count(row: bytes, separator: str) -> int:
    """Count the fields of the first row; whether they are numbers is seen later."""
    text = row.decode(errors="replace").rstrip("\r\n")
    try:
        return len(next(csv.reader([text], delimiter=separator), []))
    except csv.Error:
        return 0
