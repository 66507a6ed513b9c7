"""A whole matrix, band by band: where it is cut, and how several bands are read at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from zarrscope.errors import DecodeError
from zarrscope.model import Content
from zarrscope.readers.counts.band import Band, parse_band
from zarrscope.readers.counts.content import MAX_LINE, Gunzip, is_gzip, read_whole
from zarrscope.readers.counts.header import Header
from zarrscope.readers.counts.names import Seen
from zarrscope.readers.counts.refusal import RowError

# Bytes of a band. Up to 16 MiB glibc hands the same memory out again: from 32 MiB on, fresh pages cost a third.
TARGET = 8 << 20
_PROBE = 64 << 10
_BREAKS = b"\r\n"


def bands(content: Content, header: Header, target_bytes: int = TARGET) -> list[tuple[int, int]]:
    """Cut the rows of a plain file into bands of whole lines that can be parsed independently.

    Parameters
    ----------
    content
        The file; a short read is made at each cut.
    header
        As :func:`read_header` gives it.
    target_bytes
        A band ends with the line in which it reaches this size. It has at least one row.

    Returns
    -------
    First byte and end of each band, without gaps. Blank lines at the end of the file are left out.

    Raises
    ------
    DecodeError
        For a gzip file, which has no places to start at (use :func:`stream`), and for a line longer than ``MAX_LINE``.
    """
    _positive(target_bytes)
    if is_gzip(content):
        raise DecodeError("expected plain text, which can be cut, found gzip. Read it as a stream, or unpack it.")
    return list(_cuts(content, header.body, target_bytes))


def stream(
    content: Content, header: Header, *, workers: int = 2, target_bytes: int = TARGET, ahead: int = 1
) -> Iterator[Band]:
    """Read a matrix, plain or gzip, as bands in the order of the file.

    Memory holds the text and the numbers of ``workers + ahead`` bands at most, the one handed out aside; it does not
    grow with the rows but for the digests of their names (:class:`Seen`).

    Parameters
    ----------
    content, header, target_bytes
        As for :func:`bands`.
    workers
        Threads that read and parse; of a gzip file, the caller's thread inflates and they parse.
    ahead
        Further bands that may lie ready.

    Raises
    ------
    DecodeError
        As :func:`parse_band` does, with the number of the row in the file, and where two rows have one name.
    """
    _positive(target_bytes)
    seen = Seen()
    with ThreadPoolExecutor(workers, thread_name_prefix="zarrscope-counts") as pool:
        waiting: deque[Future[Band]] = deque()
        try:
            for text in _texts(content, header, target_bytes):
                waiting.append(pool.submit(_parse, text, header))
                if len(waiting) >= workers + ahead:
                    yield _next(waiting, seen)
            while waiting:
                yield _next(waiting, seen)
        finally:
            for future in waiting:
                future.cancel()


def _positive(target: int) -> None:
    if target < 1:
        raise ValueError(f"a band has at least 1 byte, not {target}")


def _parse(text: Callable[[], memoryview], header: Header) -> Band:
    return parse_band(text(), header)


def _next(waiting: deque[Future[Band]], seen: Seen) -> Band:
    try:
        band = waiting.popleft().result()
    except RowError as error:
        raise error.below(seen.rows) from None
    seen.add(band.names)
    return band


def _texts(content: Content, header: Header, target: int) -> Iterator[Callable[[], memoryview]]:
    """Give what reads each band: for plain text that is done in the thread that parses it."""
    if is_gzip(content):
        for block in _blocks(Gunzip(content), header.body, target):
            yield partial(_view, block)
        return
    for start, stop in _cuts(content, header.body, target):
        yield partial(read_whole, content, start, stop)


def _view(block: bytes) -> memoryview:
    return memoryview(block)


def _cuts(content: Content, start: int, target: int) -> Iterator[tuple[int, int]]:
    end = _last_line_end(content, start)
    while start < end:
        stop = _line_end(content, start + target - 1, end)
        yield start, stop
        start = stop


def _line_end(content: Content, at: int, end: int) -> int:
    """Find the place behind the first line feed from ``at`` on, or the end."""
    start, length = at, _PROBE
    while at < end:
        found = bytes(read_whole(content, at, min(at + length, end))).find(b"\n")
        if found >= 0:
            return at + found + 1
        at += length
        length = min(2 * length, MAX_LINE)
        if at - start > MAX_LINE:
            raise DecodeError(f"byte {start:,}: expected a line end within {MAX_LINE:,} bytes, found none.")
    return end


def _last_line_end(content: Content, start: int) -> int:
    """Find the end of the last line that is not blank."""
    end = content.size
    while start < end:
        first = max(start, end - _PROBE)
        if kept := len(bytes(read_whole(content, first, end)).rstrip(_BREAKS)):
            behind = bytes(content.read(first + kept, _PROBE))
            return first + kept + (behind.find(b"\n") + 1 or len(behind))
        end = first
    return start


def _blocks(unpacked: Gunzip, at: int, target: int) -> Iterator[bytes]:
    """Cut a stream into blocks of whole lines; blank lines are held back until it is known that rows follow."""
    rest = b""
    while piece := unpacked.read(at, target):
        at += len(piece)
        text = b"".join([rest, piece])
        kept = len(text.rstrip(_BREAKS))
        stop = (kept and text.find(b"\n", kept) + 1) or text.rfind(b"\n", 0, kept) + 1
        if stop:
            yield text[:stop]
        rest = text[stop:]
        if len(rest) > MAX_LINE:
            raise DecodeError(f"row near byte {at:,}: expected a line end within {MAX_LINE:,} bytes, found none.")
    if rest.strip(_BREAKS):
        yield rest
