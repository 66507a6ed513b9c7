"""Decode one strip or tile of a TIFF file: never fewer pixels than it should hold, and never more bytes than they take.

Numbers in comments are sections of TIFF 6.0.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import zstandard
from isal import isal_zlib

from zarrscope.errors import DecodeError
from zarrscope.readers.raster import kernels
from zarrscope.readers.raster.pillow import picture
from zarrscope.readers.raster.samples import Form, Samples

PLAIN = 1
PICTURES: dict[int, Literal["JPEG", "JPEG 2000", "WebP"]] = {
    7: "JPEG",
    33005: "JPEG 2000",
    34712: "JPEG 2000",
    50001: "WebP",
}
# Compressions by their tag that are not read, for messages.
REFUSED = {
    2: "CCITT", 3: "CCITT", 4: "CCITT", 6: "old-style JPEG", 33003: "JPEG 2000 of YCbCr", 34887: "LERC", 34925: "LZMA",
    34933: "PNG", 34934: "JPEG XR", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip
_CORRUPT: Any = isal_zlib.error  # the stub calls it an instance
_YCBCR = 6


def _plain(data: memoryview, least: int, most: int) -> memoryview | bytes:  # noqa: ARG001  # what follows is padding
    return data[:least]


def _inflate(data: memoryview, least: int, most: int) -> memoryview | bytes:  # noqa: ARG001
    stream = isal_zlib.decompressobj()
    try:
        unpacked: bytes = stream.decompress(data, most + 1)
    except _CORRUPT as error:
        raise DecodeError(f"expected deflated pixels, found: {error}.") from None
    if not stream.eof:
        raise DecodeError(f"expected deflated pixels of at most {most:,} bytes, found more, or that they are cut.")
    return unpacked


def _unzstd(data: memoryview, least: int, most: int) -> memoryview | bytes:  # noqa: ARG001
    try:
        return zstandard.ZstdDecompressor().stream_reader(data).read(most + 1)
    except zstandard.ZstdError as error:
        raise DecodeError(f"expected pixels packed by Zstandard, found: {error}.") from None


def _compiled(kernel: Callable[[], Callable[..., int]]) -> Callable[[memoryview, int, int], memoryview | bytes]:
    def unpack(data: memoryview, least: int, most: int) -> memoryview | bytes:  # noqa: ARG001
        out = np.empty(least, np.uint8)
        return out.data[: max(kernel()(np.frombuffer(data, np.uint8), out), 0)]

    return unpack


# By their compression: unpack to ``least`` or more bytes, and not many more than ``most``.
UNPACK: dict[int, Callable[[memoryview, int, int], memoryview | bytes]] = {
    PLAIN: _plain,
    5: _compiled(kernels.lzw_kernel),
    8: _inflate,
    32773: _compiled(kernels.packbits_kernel),
    32946: _inflate,
    50000: _unzstd,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Coding:
    """How the pixels of a strip or tile are packed.

    Parameters
    ----------
    form
        What they are, of one plane where each sample has its own.
    width, height
        Of a strip or tile; the last strip of a picture may end before.
    order
        The byte order of samples of two bytes, as numpy writes it.
    compression
        As TIFF numbers it.
    differences
        Whether each sample is stored as its difference from the one to its left (section 14).
    tables
        Tables that all JPEG strips or tiles share, empty where each has its own.
    photometric
        As TIFF numbers it: 6 where colours are stored as YCbCr.
    """

    form: Form
    width: int
    height: int
    order: str
    compression: int
    differences: bool
    tables: bytes
    photometric: int

    @property
    def size(self) -> int:
        """The bytes of a strip or tile when it is decoded."""
        return self.height * self.width * self.form.stored * self.form.dtype.itemsize

    def decode(self, data: memoryview, height: int) -> Samples:
        """Give the samples ``(y, x, samples)`` of a strip or tile of ``height`` rows.

        Raises
        ------
        DecodeError
            If it holds fewer, if it is corrupt, or if it unpacks to more than a strip or tile can hold.
        """
        kind = PICTURES.get(self.compression)
        if kind:
            return self._picture(kind, data, height)
        row = self.form.row_bytes(self.width)
        unpacked = UNPACK[self.compression](data, height * row, self.height * row)
        if not height * row <= len(unpacked) <= self.height * row:
            raise DecodeError(f"expected {height * row:,} bytes in a strip or tile, found {len(unpacked):,}.")
        rows = np.frombuffer(unpacked, np.uint8, height * row).reshape(height, row)
        samples = self.form.unpack(rows, self.width, self.order)
        if self.differences:
            out: npt.NDArray[Any] = np.empty_like(samples)
            kernels.undifference_kernel()(samples, out)
            samples = out
        return samples

    def _picture(self, kind: Literal["JPEG", "JPEG 2000", "WebP"], data: memoryview, height: int) -> Samples:
        file = io.BytesIO(_whole_jpeg(data, self.tables, self.photometric) if kind == "JPEG" else data)
        pixels = np.asarray(picture(file, kind, self.width, range(height, self.height + 1)))
        pixels = pixels.reshape(*pixels.shape[:2], -1)[:height]
        if pixels.dtype != self.form.dtype or pixels.shape[2] != self.form.stored:
            raise DecodeError(
                f"expected {self.form.stored} samples of {self.form.dtype} a pixel, "
                f"found {pixels.shape[2]} of {pixels.dtype} in {kind} data."
            )
        return pixels


def _whole_jpeg(data: memoryview, tables: bytes, photometric: int) -> bytes:
    """Join the JPEG data of a strip or tile with their shared tables, and say how colours are stored.

    The TIFF file says that, not the JPEG data; where these say nothing, decoders take three components for YCbCr. RGB
    with a JFIF marker, which never is RGB, is what some scanners write for YCbCr.
    """
    if bytes(data[:2]) != b"\xff\xd8" or bytes(data[-256:]).rfind(b"\xff\xd9") < 0:
        raise DecodeError("expected JPEG data from the marker SOI to EOI, found others: they are cut.")
    jfif = bytes(data[2:4]) == b"\xff\xe0"
    colours = b"" if jfif else b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0" + bytes((photometric == _YCBCR,))
    shared = tables.removeprefix(b"\xff\xd8").removesuffix(b"\xff\xd9")
    return b"".join((b"\xff\xd8", colours, shared, data[2:]))
