"""Read a TIFF file: its pixels, what its axes are, and what it says about their size.

The directories are walked and checked first (:mod:`zarrscope.readers.ifd`), so that nothing that a file promises can be
missing from what is read. A file of one plain uncompressed image is then a view of its bytes; everything else is
decoded by tifffile, from memory, with every vendor's extension switched off (some name other files, which are never
opened), and each warning of tifffile refuses the file.
"""

from __future__ import annotations

import io
from collections.abc import Buffer, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from zarrscope.errors import DecodeError
from zarrscope.readers import ifd
from zarrscope.readers.descriptions import Description, describe
from zarrscope.readers.listening import listening

MAX_PIXELS = 1 << 31
_PLAIN, _DEFLATE, _OLD_DEFLATE = 1, 8, 32946
_NAMES = {_PLAIN: "none", 5: "LZW", _DEFLATE: "deflate", 32773: "PackBits", _OLD_DEFLATE: "deflate"}
_UNITS = {2: "inch", 3: "centimeter"}
# What can be viewed, by SampleFormat (unsigned, signed, floating) and BitsPerSample.
_TYPES = {
    (kind, 8 << size): "uif"[kind - 1] + str(1 << size) for kind in (1, 2, 3) for size in range(2 * (kind > 2), 4)
}
# Tags that change nothing about the pixels: texts (DocumentName, Make, Model, PageName, Software, DateTime, Artist,
# HostComputer, Copyright), Orientation, and the least and greatest sample.
_HARMLESS = frozenset({269, 271, 272, 274, 280, 281, 285, 305, 306, 315, 316, 33432})
# The flags of tifffile's that stay: they say how pages lie, or name the two formats whose text is understood here.
_KEPT = frozenset({"imagej", "shaped", "uniform", "frame", "multipage", "subifd", "virtual", "volumetric"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tiff:
    """What a TIFF file holds.

    Parameters
    ----------
    pixels
        Read-only, in the byte order of this machine: ``(y, x)`` for one page; a stack keeps its pages first, samples
        of a colour last. Axes of length 1 other than y and x are dropped.
    axes
        One letter an axis, as tifffile gives them: Y, X, S for samples, T, Z, C, and Q or I for what is not known.
        ImageJ often says Z (slices) of what is a time series.
    resolution
        Pixels per unit along (y, x), None where either is not given.
    unit
        The unit as ImageJ's text gives it, else "inch" or "centimeter", else None.
    description
        The first image description, None where there is none.
    metadata
        What ImageJ's lines or tifffile's JSON say, as plain values; read-only.
    """

    pixels: npt.NDArray[Any]
    axes: str
    resolution: tuple[float, float] | None
    unit: str | None
    description: str | None
    metadata: Mapping[str, Any]


def decode_tiff(data: Buffer, *, max_pixels: int = MAX_PIXELS) -> Tiff:
    """Read a TIFF file of one image: classic or BigTIFF, plain, ImageJ's or tifffile's, one page or a stack.

    Parameters
    ----------
    data
        The whole file. Bytes after its end are ignored.
    max_pixels
        The most values that are decoded.

    Raises
    ------
    DecodeError
        If anything that the file promises is missing or out of place, if it holds more than one image, or more values
        than ``max_pixels``.
    """
    view = memoryview(data).cast("B").toreadonly()
    pages = ifd.walk(view)
    first = pages[0]
    described = describe(first.texts)
    pixels = _view(view, pages, described, max_pixels)
    axes = "YX"
    if pixels is None:
        pixels, axes = _decode(view, pages, described, max_pixels)
    unit = described.unit or _UNITS.get(first.number(ifd.RESOLUTION_UNIT, 1))
    return Tiff(
        pixels=pixels,
        axes=axes,
        resolution=first.resolution,
        unit=unit,
        description=first.texts[0] if first.texts else None,
        metadata=described.metadata,
    )


def _view(view: memoryview, pages: list[ifd.Page], described: Description, max_pixels: int) -> npt.NDArray[Any] | None:
    """View the pixels of one page that is as plain as most are; None for any other file."""
    page = pages[0]
    tags = page.tags
    number = page.number
    width, length = number(ifd.WIDTH, 0), number(ifd.LENGTH, 0)
    kind = _TYPES.get((number(ifd.SAMPLE_FORMAT, 1), number(ifd.BITS, 1)))
    if (
        len(pages) > 1
        or kind is None
        or not page.others <= _HARMLESS
        or tags.keys() & {ifd.TILE_OFFSETS, ifd.FILL_ORDER, ifd.DEPTH}
        or number(ifd.COMPRESSION, 1) != 1
        or number(ifd.SAMPLES, 1) != 1
        or number(ifd.PREDICTOR, 1) != 1
        or number(ifd.SUBFILE, 0)
        or number(ifd.PHOTOMETRIC, 2) > 1
        or width * length > max_pixels
        or not described.is_plane(length, width)
    ):
        return None
    dtype = np.dtype(page.order + kind)
    needed = ifd.check_segments(page, len(view))
    offsets, counts = page.offsets, page.counts
    if list(counts) != needed or any(a + n != b for a, n, b in zip(offsets, counts, offsets[1:], strict=False)):
        return None
    pixels: npt.NDArray[Any] = np.ndarray((length, width), dtype, view, offsets[0])
    return pixels if dtype.isnative else _sealed(pixels.astype(dtype.newbyteorder("=")))


def _decode(
    view: memoryview, pages: list[ifd.Page], described: Description, max_pixels: int
) -> tuple[npt.NDArray[Any], str]:
    """Decode any file with tifffile; give its pixels and axes."""
    first = pages[0]
    claimed = described.planes(max(first.pixels, 1), first.number(ifd.SAMPLES, 1))
    planes = len(pages) if claimed is None else claimed
    if first.pixels * planes > max_pixels or sum(page.pixels for page in pages) > max_pixels:
        raise DecodeError(f"expected at most {max_pixels} pixels, found {planes} pages of {first.pixels}.")
    _check(view, pages, planes)
    try:
        with listening() as messages:
            pixels, axes = _through_tifffile(view, len(pages))
    except DecodeError:
        raise
    except Exception as error:  # noqa: BLE001  # tifffile lets any error of its many formats through
        raise DecodeError(f"expected a TIFF file that tifffile reads, found: {error!s:.200}.") from None
    if messages:
        raise DecodeError(f"expected a sound TIFF file, found: {messages[0]:.200}.")
    if pixels.size != first.pixels * planes:
        raise DecodeError(f"expected {planes} pages of {first.pixels} pixels, found the shape {pixels.shape}.")
    size = first.number(ifd.LENGTH, 1), first.number(ifd.WIDTH, 1)
    if planes == first.number(ifd.SAMPLES, 1) == 1 and 1 in size:  # tifffile may take any axis of 1 for y or x
        pixels, axes = pixels.reshape(size), "YX"
    pixels, axes = _squeeze(pixels, axes)
    return _sealed(pixels.astype(pixels.dtype.newbyteorder("="), copy=False)), axes


def _squeeze(pixels: npt.NDArray[Any], axes: str) -> tuple[npt.NDArray[Any], str]:
    """Drop axes of length 1, but never the last Y and the last X."""
    image = {axes.rfind("Y"), axes.rfind("X")}
    kept = [axis for axis, length in enumerate(pixels.shape) if length > 1 or axis in image]
    return pixels.reshape([pixels.shape[axis] for axis in kept]), "".join(axes[axis] for axis in kept)


def _check(view: memoryview, pages: list[ifd.Page], planes: int) -> None:
    """Check that all pages are alike, that there are as many as the file claims, and that their pixels are there."""
    first = pages[0]
    alike = (ifd.WIDTH, ifd.LENGTH, ifd.SAMPLES, ifd.BITS, ifd.SAMPLE_FORMAT, ifd.COMPRESSION)
    for number, page in enumerate(pages, 1):
        if any(page.tags.get(tag) != first.tags.get(tag) for tag in alike) or ifd.DEPTH in page.tags:
            raise DecodeError(f"expected one image, found that page {number} of {len(pages)} differs from the first.")
        needed = ifd.check_segments(page, len(view))
        compression = page.number(ifd.COMPRESSION, 1)
        if compression not in _NAMES:
            raise DecodeError(
                f"expected pixels with a compression of {', '.join(sorted(set(_NAMES.values())))}, found {compression}."
            )
        if compression in {_DEFLATE, _OLD_DEFLATE}:
            for offset, count, size in zip(page.offsets, page.counts, needed, strict=True):
                _check_deflated(view[offset : offset + count], size)
    if len(pages) == planes:
        return
    # ImageJ and tifffile may write one directory for a stack whose pages follow each other.
    size = sum(needed)
    end = first.offsets[0] + planes * size
    if len(pages) > 1 or first.number(ifd.COMPRESSION, 1) != _PLAIN or len(needed) > 1 or end > len(view):
        raise DecodeError(
            f"expected {planes} pages of {size} bytes as the description says, "
            f"found {len(pages)} in a file of {len(view)} bytes."
        )


def _check_deflated(piece: memoryview, size: int) -> None:
    """Check that a strip unpacks to no more than its pixels: tifffile may unpack it whole before it looks."""
    stream = isal_zlib.decompressobj()
    try:
        unpacked = stream.decompress(piece, size + 1)
    except isal_zlib.error as error:  # type: ignore[misc]  # its stub declares a variable
        raise DecodeError(f"expected deflated pixels, found: {error}.") from None
    if len(unpacked) != size or not stream.eof:
        raise DecodeError(f"expected {size} bytes of pixels unpacked, found another number.")


def _through_tifffile(view: memoryview, pages: int) -> tuple[npt.NDArray[Any], str]:
    import tifffile

    with tifffile.TiffFile(io.BytesIO(view), **_vendors_off()) as file:
        if len(file.series) != 1 or len(file.series[0].levels) != 1:
            raise DecodeError(
                f"expected one image, found {len(file.series)} of shapes {[s.shape for s in file.series]}."
            )
        series = file.series[0]
        # Page by page where there are several: a series may be read in one piece from its first page on trust.
        pixels = file.asarray(maxworkers=1) if pages == 1 else file.asarray(key=slice(None), maxworkers=1)
        return pixels.reshape(series.shape), series.axes


@cache
def _vendors_off() -> Mapping[str, bool]:
    """Switch off what tifffile allows to: four formats of tiled slides stay, which name no other files."""
    import tifffile

    flags = {f"is_{flag}" for flag in tifffile.TIFF.FILE_FLAGS - _KEPT}
    return {flag: False for flag in flags if not isinstance(getattr(tifffile.TiffFile, flag, None), property)}


def _sealed(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    pixels.flags.writeable = False
    return pixels
