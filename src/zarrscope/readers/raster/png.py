"""Read PNG row by row: inflated as a stream, each chunk's checksum proven, filters undone by compiled loops.

Numbers in comments are sections of the PNG specification, third edition.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from zarrscope.errors import DecodeError
from zarrscope.model import Content
from zarrscope.readers.raster.bands import Band, Raster, ahead, banded
from zarrscope.readers.raster.content import Window, ends_with
from zarrscope.readers.raster.exif import orientation
from zarrscope.readers.raster.kernels import unfilter_kernel
from zarrscope.readers.raster.samples import Form, Samples

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_INPUT = 1 << 20  # bytes that are read at once
_OUTPUT = 1 << 20  # bytes that are inflated at once, or one row
_CORRUPT: Any = isal_zlib.error  # the stub calls it an instance
# By colour type (11.2.1): grey, colours, palette, grey with alpha, colours with alpha.
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
# Where the seven passes of an interlaced picture start and how they step, along y and x (8.1).
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def open_png(content: Content) -> Raster:
    """Read the chunks before the pixels.

    Raises
    ------
    DecodeError
        If they are not what the specification says, or if the file does not end as it should.
    """
    window = Window(content)
    found: dict[bytes, memoryview] = {}
    at = len(SIGNATURE)
    while True:
        length, kind = _chunk(window, at)
        if not found and kind != b"IHDR":
            raise DecodeError(f"expected a PNG file to start with IHDR, found {kind!r}.")
        if kind == b"IDAT":
            break
        # Colour profiles and texts may be compressed: what is not needed is stepped over, whatever it holds.
        needed = kind in {b"IHDR", b"PLTE", b"tRNS", b"eXIf"}
        if needed and kind in found:
            raise DecodeError(f"expected one chunk {kind.decode()} in a PNG file, found two.")
        found[kind] = _proven(window, at, length, kind) if needed else memoryview(b"")
        at += length + 12
    if not ends_with(content, b"\0\0\0\0IEND\xaeB`\x82", at):
        raise DecodeError("expected a PNG file to end with IEND, found that it does not: the file is cut.")
    if len(found[b"IHDR"]) != 13:
        raise DecodeError(f"expected 13 bytes in IHDR, found {len(found[b'IHDR'])}.")
    width, height, *_, interlace = struct.unpack(">2I5B", found[b"IHDR"])
    form, notes = _form(found)
    upright, turned = orientation(found[b"eXIf"]) if b"eXIf" in found else (1, ())
    notes += turned + (("an ICC profile is not applied",) if b"iCCP" in found else ())
    return Raster(
        height=height,
        width=width,
        channels=form.channels,
        dtype=form.dtype,
        kind="png",
        notes=notes,
        orientation=upright,
        decoder=_Png(content, at, height, width, form, interlaced=bool(interlace)),
    )


def _chunk(window: Window, at: int) -> tuple[int, bytes]:
    head = window[at : at + 8]
    if len(head) < 8:
        raise DecodeError(f"expected a PNG chunk at byte {at:,}, found the end of the file: it is cut.")
    length, kind = struct.unpack(">I4s", head)
    if at + length + 12 > len(window) or kind == b"IEND":
        raise DecodeError(f"expected {length:,} bytes of chunk {kind!r} and pixels behind it, found the file's end.")
    return length, kind


def _proven(window: Window, at: int, length: int, kind: bytes) -> memoryview:
    """Give the content of a chunk of which the checksum holds."""
    if length > 1 << 20:
        raise DecodeError(f"expected less than a megabyte in chunk {kind.decode()}, found {length:,} bytes.")
    if isal_zlib.crc32(window[at + 4 : at + 8 + length]) != int.from_bytes(window[at + 8 + length : at + 12 + length]):
        raise DecodeError(f"expected the checksum of chunk {kind.decode()} to hold, found that it does not.")
    return window[at + 8 : at + 8 + length]


def _form(found: dict[bytes, memoryview]) -> tuple[Form, tuple[str, ...]]:
    """Understand what a pixel is."""
    width, height, bits, colour, compression, filtering, interlace = struct.unpack(">2I5B", found[b"IHDR"])
    if not (width and height and bits in _DEPTHS.get(colour, ())) or compression or filtering or interlace > 1:
        raise DecodeError(
            f"expected a PNG picture, found {width} x {height} pixels of colour type {colour} and {bits} bits, "
            f"compression {compression}, filter {filtering}, interlace {interlace}."
        )
    opacity = found.get(b"tRNS")
    if colour == 3:
        colours = np.frombuffer(found.get(b"PLTE", b""), np.uint8)
        if not 3 <= len(colours) <= 768 or len(colours) % 3 or len(opacity or b"") > len(colours) // 3:
            raise DecodeError(f"expected a palette of 1 to 256 colours in PLTE, found {len(colours)} bytes.")
        palette = colours.reshape(-1, 3)
        if opacity is None:
            return Form(bits=bits, stored=1, channels=3, palette=palette), ("palette expanded",)
        levels = np.full(len(palette), 255, np.uint8)
        levels[: len(opacity)] = opacity
        return Form(bits=bits, stored=1, channels=3, palette=palette, opacity=levels), (
            "palette expanded",
            "alpha dropped",
        )
    stored = _SAMPLES[colour]
    alpha = stored - 1 if colour >= 4 else None
    notes = ("alpha dropped",) if alpha else ("a transparent colour is ignored",) if opacity else ()
    return Form(bits=bits, stored=stored, channels=3 if colour & 2 else 1, alpha=alpha), notes


@dataclass(frozen=True, slots=True)
class _Png:
    """Decodes a PNG of which the first IDAT chunk starts at ``first``."""

    content: Content
    first: int
    height: int
    width: int
    form: Form
    interlaced: bool

    def need(self, rows: int, workers: int, /) -> int:  # noqa: ARG002  # the rows of a band change nothing here
        row = 1 + self.form.row_bytes(self.width)
        unpacked = max(8 // self.form.bits, 1) * (1 + (self.form.bits == 16))
        if self.interlaced:
            whole = self.height * self.width * self.form.stored * self.form.dtype.itemsize
            return 2 * whole + 4 * row + 2 * _INPUT
        # Inflated, without filters and as samples; the last block of each kind and the next; and what comes in.
        return max(_OUTPUT, row) * (4 + 2 * unpacked + 2 * (workers > 1)) + 4 * _INPUT

    def bands(self, rows: int, start: int, workers: int, /) -> Iterator[tuple[Band, int]]:
        blocks = self._interlaced() if self.interlaced else self._blocks(workers)
        return banded(blocks, self.form, self.width, rows, start, self.height)

    def _blocks(self, workers: int) -> Iterator[Samples]:
        row = self.form.row_bytes(self.width)
        rows = max(_OUTPUT // (1 + row), 1)
        heights = [min(rows, self.height - top) for top in range(0, self.height, rows)]
        inflated = _inflate(_pixels(self.content, self.first), [height * (1 + row) for height in heights])
        above = np.zeros(row, np.uint8)
        for filtered in ahead(inflated) if workers > 1 else inflated:
            block = self._unfilter(filtered.reshape(-1, 1 + row), above)
            above = block[-1]
            yield self.form.unpack(block, self.width)

    def _unfilter(self, filtered: npt.NDArray[np.uint8], above: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        block = np.empty((len(filtered), filtered.shape[1] - 1), np.uint8)
        step = max(self.form.stored * self.form.bits // 8, 1)
        if (bad := unfilter_kernel()(filtered, above, block, step)) >= 0:
            raise DecodeError(f"expected a filter of type 0 to 4, found {filtered[bad, 0]}.")
        return block

    def _interlaced(self) -> Iterator[Samples]:
        """Give the whole picture as one block: its rows are complete only with the last of seven passes."""
        whole = np.empty((self.height, self.width, self.form.stored), self.form.dtype)
        passes = [whole[top::down, left::across] for top, left, down, across in _PASSES]
        passes = [piece for piece in passes if piece.size]
        sizes = [len(piece) * (1 + self.form.row_bytes(piece.shape[1])) for piece in passes]
        for piece, filtered in zip(passes, _inflate(_pixels(self.content, self.first), sizes), strict=True):
            row = self.form.row_bytes(piece.shape[1])
            block = self._unfilter(filtered.reshape(-1, 1 + row), np.zeros(row, np.uint8))
            piece[...] = self.form.unpack(block, piece.shape[1])
        yield whole


def _inflate(packed: Iterator[memoryview], sizes: list[int]) -> Iterator[npt.NDArray[np.uint8]]:
    """Inflate pieces of one zlib stream into blocks of the sizes given, and check that this is all there is."""
    stream = isal_zlib.decompressobj()
    last = len(sizes) - 1
    for number, size in enumerate(sizes):
        block = np.empty(size, np.uint8)
        filled = 0
        # Behind the last block, one byte more is asked for: it has to be missing, and the end has to be there.
        while filled < size or (number == last and not stream.eof):
            data = stream.unconsumed_tail or next(packed, b"")
            try:
                got = stream.decompress(data, size - filled + (number == last))
            except _CORRUPT as error:
                raise DecodeError(f"expected the pixels of a PNG file, found: {error}.") from None
            if len(got) > size - filled:
                raise DecodeError("expected no more pixels than the header of a PNG file declares, found more.")
            if not got and not data and not stream.eof:
                raise DecodeError(f"expected {size - filled:,} bytes more of pixels, found the end: the file is cut.")
            if stream.eof and filled + len(got) < size:
                raise DecodeError("expected the pixels that the header of a PNG file declares, found fewer.")
            block[filled : filled + len(got)] = np.frombuffer(got, np.uint8)
            filled += len(got)
        if number == last:
            for _ in packed:  # what is behind the stream counts for nothing, but its checksums do
                pass
        yield block


def _pixels(content: Content, at: int) -> Iterator[memoryview]:
    """Give the bytes of the IDAT chunks, which follow each other, and check those of the file behind them."""
    window = Window(content, block=_INPUT, kept=2, budget=None)
    kind, pixels = b"IDAT", True
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", _exactly(window, at, 8))
        pixels = pixels and kind == b"IDAT"
        stop = at + 8 + length
        if pixels or kind == b"IEND":
            checksum = isal_zlib.crc32(kind)
            for start in range(at + 8, stop, _INPUT):
                piece = _exactly(window, start, min(_INPUT, stop - start))
                checksum = isal_zlib.crc32(piece, checksum)
                if pixels:
                    yield piece
            if _exactly(window, stop, 4) != checksum.to_bytes(4):
                raise DecodeError(f"expected the checksum of the chunk at byte {at:,} to hold, found that it does not.")
        at = stop + 4


def _exactly(window: Window, at: int, length: int) -> memoryview:
    """Give ``length`` bytes, or refuse the file."""
    data = window[at : at + length]
    if len(data) != length:
        raise DecodeError(f"expected {length:,} bytes at byte {at:,} of a PNG file, found the end: the file is cut.")
    return data
