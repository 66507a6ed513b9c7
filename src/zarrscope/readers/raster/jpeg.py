"""Read a JPEG: its headers here, its pixels with Pillow, whole, for its rows cannot be reached one by one.

Only the segments that pixels depend on reach Pillow; EXIF, profiles and comments don't.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zarrscope.errors import DecodeError
from zarrscope.model import Content
from zarrscope.readers.raster.bands import Band, Raster, banded
from zarrscope.readers.raster.content import Spliced, Window, ends_with
from zarrscope.readers.raster.exif import orientation
from zarrscope.readers.raster.pillow import picture
from zarrscope.readers.raster.samples import Form, Samples

if TYPE_CHECKING:
    from PIL.Image import Image

SIGNATURE = b"\xff\xd8\xff"
END = b"\xff\xd9"
_SCAN = 0xDA
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended, progressive; all Huffman-coded
_OTHER_FRAMES = frozenset(range(0xC3, 0xD0)) - {0xC4, 0xC8, 0xCC}  # lossless, hierarchical, arithmetic
# Segments that Pillow gets: tables (DHT, DQT, DRI), and the two that tell how colours are stored (JFIF, Adobe).
_KEPT = frozenset({0xC4, 0xDB, 0xDD, 0xE0, 0xEE}) | _FRAMES
_PIECE = 1 << 22  # pixels that are copied out of the decoded picture at once


def open_jpeg(content: Content) -> Raster:
    """Read the segments before the first scan.

    Raises
    ------
    DecodeError
        If they are broken, if the picture is of a kind that is not read, or if the file does not end as it should.
    """
    segments = list(_segments(Window(content)))
    start, _, scan = segments.pop()
    frames = [(marker, segment) for _, marker, segment in segments if marker in _FRAMES]
    if len(frames) != 1 or any(marker in _OTHER_FRAMES for _, marker, _ in segments):
        raise DecodeError("expected a JPEG of one frame of Huffman-coded DCT, found another kind, or not one.")
    if not ends_with(content, END, start + 2 + len(scan)):
        raise DecodeError("expected a JPEG to end with the marker EOI, found that it does not: the file is cut.")
    height, width, sampling = _size(frames[0][1])
    form = Form(bits=8, stored=len(sampling), channels=len(sampling))
    upright = 1
    notes: tuple[str, ...] = ()
    for _, marker, segment in segments:
        if marker == 0xE1 and segment[2:8] == b"Exif\0\0":
            upright, notes = orientation(segment[8:])
    if any(marker == 0xE2 and segment[2:13] == b"ICC_PROFILE" for _, marker, segment in segments):
        notes += ("an ICC profile is not applied",)
    head = SIGNATURE[:2] + b"".join(bytes((0xFF, marker)) + data for _, marker, data in segments if marker in _KEPT)
    in_scans = frames[0][0] == 0xC2 or scan[2:3] != bytes((len(sampling),))
    decoder = _Jpeg(content, head, start, height, width, form, _coefficients(height, width, sampling) * in_scans)
    return Raster(
        height=height,
        width=width,
        channels=form.channels,
        dtype=form.dtype,
        kind="jpeg",
        notes=notes,
        orientation=upright,
        decoder=decoder,
    )


def _segments(window: Window) -> Iterator[tuple[int, int, bytes]]:
    """Give the place, the marker and the data (length included) of each segment, the first scan's header at the end."""
    at, marker = 2, 0
    while marker != _SCAN:
        head = bytes(window[at : at + 4])
        if head[:2] == b"\xff\xff":  # a marker may be filled up with such bytes
            at += 1
            continue
        if len(head) < 4 or head[0] != 0xFF or head[1] < 0xC0 or 0xD0 <= head[1] <= 0xD9:
            raise DecodeError(f"expected a JPEG segment at byte {at:,}, found {head.hex() or 'the end of the file'}.")
        marker, length = head[1], int.from_bytes(head[2:])
        segment = bytes(window[at + 2 : at + 2 + length])
        if length < 2 or len(segment) < length:
            raise DecodeError(f"expected {length} bytes of JPEG segment {marker:02X} at byte {at:,}, found fewer.")
        yield at, marker, segment
        at += 2 + length


def _size(frame: bytes) -> tuple[int, int, list[tuple[int, int]]]:
    """Give height, width, and how each component is sampled along (y, x)."""
    bits, height, width, count = frame[2], int.from_bytes(frame[3:5]), int.from_bytes(frame[5:7]), frame[7:8]
    sampling = [(byte & 15, byte >> 4) for byte in frame[9::3]]
    if len(sampling) not in {1, 3} or count != bytes((len(sampling),)) or len(frame) != 8 + 3 * len(sampling):
        raise DecodeError(f"expected a JPEG of 1 or 3 components, found {count.hex() or 'none'} (4 would be CMYK).")
    if bits != 8 or not height or not width or not all(0 < down < 5 and 0 < across < 5 for down, across in sampling):
        raise DecodeError(f"expected a JPEG of 8 bits, found {width} x {height} pixels of {bits}, sampled {sampling}.")
    return height, width, sampling


def _coefficients(height: int, width: int, sampling: list[tuple[int, int]]) -> int:
    """Give the bytes of all coefficients, which the library holds where they come in several scans."""
    tall, wide = max(down for down, _ in sampling), max(across for _, across in sampling)
    blocks = sum(down * across for down, across in sampling)
    return -(-height // (8 * tall)) * -(-width // (8 * wide)) * blocks * 128


@dataclass(frozen=True, slots=True)
class _Jpeg:
    """Decodes a JPEG: ``head`` stands for all segments before the scan that starts at ``scan``."""

    content: Content
    head: bytes
    scan: int
    height: int
    width: int
    form: Form
    coefficients: int

    def need(self, rows: int, workers: int, /) -> int:  # noqa: ARG002  # bands change nothing here
        pixel = 1 if self.form.channels == 1 else 4  # Pillow keeps three channels in four bytes
        whole = self.height * self.width
        return whole * pixel + self.coefficients + 3 * min(whole, _PIECE) * pixel + (1 << 20)

    def bands(self, rows: int, start: int, workers: int, /) -> Iterator[tuple[Band, int]]:  # noqa: ARG002
        return banded(self._blocks(), self.form, self.width, rows, start, self.height)

    def _blocks(self) -> Iterator[Samples]:
        image = self._whole()
        step = max(_PIECE // self.width, 1)
        for top in range(0, self.height, step):
            piece = image.crop((0, top, self.width, min(top + step, self.height)))
            yield np.asarray(piece).reshape(piece.height, self.width, self.form.stored)

    def _whole(self) -> Image:
        raw = Spliced(self.head, self.content, self.scan)
        try:
            image = picture(io.BufferedReader(raw, 1 << 20), "JPEG", self.width, range(self.height, self.height + 1))
        except DecodeError:
            if raw.failure:  # the fault of the storage, not of the picture
                raise raw.failure from None
            raise
        if image.mode != {1: "L", 3: "RGB"}[self.form.channels]:
            raise DecodeError(f"expected a JPEG of {self.form.channels} channels, found the mode {image.mode}.")
        return image
