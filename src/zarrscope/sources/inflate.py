"""Deflated content: a member inflated whole within a byte budget, and a long one as a stream that moves forwards."""

from __future__ import annotations

import threading
from typing import Any

from isal import isal_zlib

from zarrscope.sources.access import BrokenError, Section
from zarrscope.storage import Blob

RAW = -15  # window bits of deflate data without a header, as a zip holds them
RATIO = 1100  # deflate can't expand further than 1,032 times
INPUT = 1 << 20
OUTPUT = 1 << 20  # bytes a step inflates to: what a stream keeps
RUN = 4 << 20
_CORRUPT: Any = isal_zlib.error  # the stub calls it an instance


def inflate(packed: memoryview, size: int) -> bytes:
    """Inflate a member that declares ``size`` bytes, and never more than one byte beyond.

    Raises
    ------
    ValueError
        Where the data are corrupt, or hold fewer or more bytes.
    """
    inflater = isal_zlib.decompressobj(RAW)
    try:
        content: bytes = inflater.decompress(packed, size + 1)
    except _CORRUPT as error:
        raise ValueError(f"its deflated data are corrupt ({error})") from None
    if len(content) > size:
        raise ValueError(f"it holds more than the {size:,} bytes that it declares")
    if not inflater.eof or len(content) < size:
        raise ValueError(f"its data end after {len(content):,} of {size:,} bytes")
    return content


class Inflated:
    """The content of a deflated zip member as a stream: moving forwards is cheap, moving back starts anew.

    Memory stays at a few megabytes beside what one read asks for. A lock guards the stream: several threads may read,
    though taking turns at different places makes it start anew each time.

    Parameters
    ----------
    packed
        The deflated bytes.
    size
        Bytes that they inflate to, as the zip declares.
    crc
        CRC-32 of the content, as the zip declares.
    """

    run = RUN

    def __init__(self, packed: Section, size: int, crc: int) -> None:
        self.packed = packed
        self.size = size
        self.crc = crc
        self._lock = threading.Lock()
        self._begin()

    def __reduce__(self) -> tuple[type[Inflated], tuple[Section, int, int]]:
        return Inflated, (self.packed, self.size, self.crc)

    @property
    def blob(self) -> Blob:
        """The zip."""
        return self.packed.blob

    def read(self, offset: int, length: int) -> memoryview:
        """Read ``length`` bytes from ``offset``; fewer only behind the declared size.

        Raises
        ------
        BrokenError
            Where the deflated data are corrupt or end early; its offset counts inflated bytes.
        """
        stop = min(offset + length, self.size)
        if offset >= stop:
            return memoryview(b"")
        pieces = []
        with self._lock:
            if offset < self._start:
                self._begin()
            while offset < stop:
                while self._start + len(self._block) <= offset:
                    self._advance()
                pieces.append(memoryview(self._block)[offset - self._start : stop - self._start])
                offset += len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces))

    def finish(self) -> None:
        """Read to the end and check that it is where the zip says it is, and the CRC-32.

        Raises
        ------
        BrokenError
            Where that does not hold.
        """
        if self.size:
            self.read(self.size - 1, 1)
        with self._lock:
            if self._start + len(self._block) > self.size or self._step():
                raise BrokenError(self.size, f"the data go on, but the zip declares {self.size:,} bytes")
            if not self._inflater.eof:
                raise BrokenError(self.size, "the deflated data are cut off")
            if self._sum != self.crc:
                raise BrokenError(self.size, f"the CRC-32 is {self._sum:08x}, but the zip declares {self.crc:08x}")

    def _begin(self) -> None:
        self._inflater: Any = isal_zlib.decompressobj(RAW)
        self._fed = 0
        self._start = 0
        self._block = b""
        self._sum = 0

    def _advance(self) -> None:
        end = self._start + len(self._block)
        block = self._step()
        if not block:
            raise BrokenError(end, f"the deflated data end here, but the zip declares {self.size:,} bytes")
        self._start, self._block = end, block
        self._sum = isal_zlib.crc32(block, self._sum)

    def _step(self) -> bytes:
        """Inflate some more bytes: none only at the end."""
        while not self._inflater.eof:
            data = self._inflater.unconsumed_tail
            if not data:
                data = self.packed.read(self._fed, INPUT)
                self._fed += len(data)
            try:
                block: bytes = self._inflater.decompress(data, OUTPUT)
            except _CORRUPT as error:
                raise BrokenError(self._start + len(self._block), f"the deflated data are corrupt ({error})") from None
            if block or not len(data):
                return block
        return b""
