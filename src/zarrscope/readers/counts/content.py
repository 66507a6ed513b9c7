"""The bytes that a matrix is read from: at any place where they lie plain, forwards only where they are gzip."""

from __future__ import annotations

from collections.abc import Buffer
from typing import Any

from isal import isal_zlib

from zarrscope.errors import DecodeError
from zarrscope.model import Content

MAX_LINE = 1 << 26  # bytes of the longest line, the header too: 100,000 names of 600 letters
_MAGIC = b"\x1f\x8b"
_GZIP = 31  # window bits of deflate data with the header and the checksum of gzip
_INPUT = 8 << 20  # bytes of one read
_FEED = 256 << 10  # what inflates at once: what is left over is copied, so it should be little
_OUTPUT = 4 << 20
_CORRUPT: Any = isal_zlib.error  # the stub calls it an instance


class Bytes:
    """Bytes in memory.

    >>> bytes(Bytes(b"counts").read(4, 9))
    b'ts'
    """

    def __init__(self, data: Buffer) -> None:
        self._data = memoryview(data).cast("B")

    @property
    def size(self) -> int:
        """Bytes in all."""
        return len(self._data)

    def read(self, offset: int, length: int) -> memoryview:
        """Give a view of ``length`` bytes from ``offset``; fewer only at the end."""
        return self._data[offset : offset + length]


def is_gzip(content: Content) -> bool:
    """Tell by the first two bytes."""
    return bytes(content.read(0, 2)) == _MAGIC


def read_whole(content: Content, start: int, stop: int) -> memoryview:
    """Read from ``start`` to ``stop``.

    Raises
    ------
    DecodeError
        Where fewer bytes come.
    """
    data = content.read(start, stop - start)
    if len(data) != stop - start:
        raise DecodeError(
            f"byte {start:,}: expected {stop - start:,} bytes, found {len(data):,}: the file is shorter than it was."
        )
    return data


class Gunzip:
    """The inflated bytes of a gzip file of one or several members, read forwards in one thread.

    It holds some megabytes beside what one read asks for.
    """

    def __init__(self, content: Content) -> None:
        self._content = content
        self._read = 0  # bytes of the file that were read
        self._packed = memoryview(b"")  # read, and not yet given to the inflater
        self._left = b""  # given to the inflater, and not taken
        self._inflater: Any = isal_zlib.decompressobj(_GZIP)
        self._at = 0
        self._block = memoryview(b"")  # inflated, and not yet given out

    def read(self, offset: int, length: int) -> memoryview:
        """Read ``length`` inflated bytes from ``offset``, which is not before the last read's end; fewer at the end.

        Raises
        ------
        DecodeError
            Where the deflated data are corrupt or end early, or a checksum is wrong.
        """
        if offset < self._at:
            raise ValueError(f"byte {offset} was passed: gzip is read forwards only")
        while self._at < offset and self._take(offset - self._at):
            pass
        pieces = []
        while length and (piece := self._take(length)):
            pieces.append(piece)
            length -= len(piece)
        return pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces))

    def _take(self, most: int) -> memoryview:
        if not self._block:
            self._block = memoryview(self._inflate())
        piece, self._block = self._block[:most], self._block[most:]
        self._at += len(piece)
        return piece

    def _inflate(self) -> bytes:
        """Inflate some more bytes: none only at the end."""
        while True:
            data = self._next()
            if self._inflater.eof:
                if not data:
                    return b""
                data = data.lstrip(b"\0")  # zeros may pad the file
                if not data:
                    continue
                self._inflater = isal_zlib.decompressobj(_GZIP)  # another member follows
            try:
                block: bytes = self._inflater.decompress(data, _OUTPUT)
            except _CORRUPT as error:
                raise DecodeError(f"near byte {self._read:,}: the gzip data are corrupt ({error}).") from None
            self._left = self._inflater.unused_data if self._inflater.eof else self._inflater.unconsumed_tail
            if block:
                return block
            if not data and not self._inflater.eof:  # it is asked once more when all was given: it holds bytes back
                raise DecodeError(f"byte {self._read:,}: the gzip data are cut off.")

    def _next(self) -> bytes:
        left, self._left = self._left, b""
        if left:
            return left
        if not self._packed and self._read < self._content.size:
            stop = min(self._read + _INPUT, self._content.size)
            self._packed = read_whole(self._content, self._read, stop)
            self._read = stop
        piece, self._packed = self._packed[:_FEED], self._packed[_FEED:]
        return bytes(piece)
