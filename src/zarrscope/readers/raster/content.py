"""The bytes of a picture by their place: read exactly, through a window of blocks, or as a file that Pillow reads."""

from __future__ import annotations

import io
from collections import OrderedDict
from typing import TYPE_CHECKING

from zarrscope.errors import DecodeError
from zarrscope.model import Content

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

HEADERS = 64 << 20  # bytes of headers that are read of any file


def exactly(content: Content, offset: int, length: int) -> memoryview:
    """Read ``length`` bytes from ``offset``.

    Raises
    ------
    DecodeError
        If the content ends before.
    """
    data = content.read(offset, length)
    if len(data) != length:
        raise DecodeError(f"expected {length:,} bytes at byte {offset:,}, found {len(data):,}: the file is cut.")
    return data


def ends_with(content: Content, mark: bytes, start: int, tail: int = 64 << 10) -> bool:
    """Tell whether ``mark`` stands behind ``start`` among the last bytes: some writers pad their files."""
    start = max(start, content.size - tail)
    return mark in bytes(content.read(start, content.size - start))


class Window:
    """Slices of a content as a memoryview would give them, read in blocks of which the latest are kept.

    Not for several threads at once.

    Parameters
    ----------
    content
        What is read.
    block
        Bytes of a block; longer slices are read by themselves.
    kept
        How many blocks are kept.
    budget
        The most bytes that all slices together may have, None for no limit.
    """

    def __init__(self, content: Content, *, block: int = 64 << 10, kept: int = 8, budget: int | None = HEADERS) -> None:
        self._content = content
        self._block = block
        self._kept = kept
        self._budget = budget
        self._blocks: OrderedDict[int, memoryview] = OrderedDict()

    def __len__(self) -> int:
        return self._content.size

    def __getitem__(self, place: slice, /) -> memoryview:
        start, stop, _ = place.indices(len(self))
        length = max(stop - start, 0)
        if self._budget is not None:
            self._budget -= length
            if self._budget < 0:
                raise DecodeError(f"expected headers of at most {HEADERS:,} bytes, found more.")
        if length > self._block:
            return exactly(self._content, start, length)
        pieces = []
        while start < stop:
            number, offset = divmod(start, self._block)
            pieces.append(self._read(number)[offset : offset + stop - start])
            start += len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces))

    def _read(self, number: int) -> memoryview:
        block = self._blocks.pop(number, None)
        if block is None:
            start = number * self._block
            block = exactly(self._content, start, min(self._block, len(self) - start))
        self._blocks[number] = block
        if len(self._blocks) > self._kept:
            self._blocks.popitem(last=False)
        return block


class Spliced(io.RawIOBase):
    """A file of ``head`` and, behind it, the content from ``offset`` on.

    ``failure`` is what went wrong when the content was read, so that it can be told from a fault of the picture.
    """

    def __init__(self, head: bytes, content: Content, offset: int) -> None:
        super().__init__()
        self._head = head
        self._content = content
        self._shift = offset - len(head)
        self._at = 0
        self.failure: Exception | None = None

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it can be read at any place."""
        return True

    def tell(self) -> int:
        """Give the place of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._content.size - self._shift}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read as many bytes as there is room for; fewer at the seam and at the end."""
        view = memoryview(buffer).cast("B")
        data: bytes | memoryview = self._head[self._at : self._at + len(view)]
        if not data:
            try:
                start = self._at + self._shift
                data = self._content.read(start, max(min(len(view), self._content.size - start), 0))
            except Exception as error:
                self.failure = error
                raise
        view[: len(data)] = data
        self._at += len(data)
        return len(data)
