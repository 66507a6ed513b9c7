"""Read one large picture of any kind, whatever its name says, as horizontal bands in bounded memory.

:func:`open_raster` reads the headers of a PNG, a JPEG or a TIFF; :meth:`Raster.bands` decodes it from top to bottom.
A file that is cut is always refused: never a grey filler, never fewer rows.
"""

from __future__ import annotations

from zarrscope.errors import DecodeError
from zarrscope.model import Content
from zarrscope.readers.raster import jpeg, png, tiff
from zarrscope.readers.raster.bands import Band, Bands, Raster

__all__ = ["MAX_PIXELS", "MEMORY", "Band", "Bands", "Raster", "open_raster"]

MAX_PIXELS = 8_000_000_000
MEMORY = 2_000_000_000


def open_raster(content: Content, *, memory: int | None = None, max_pixels: int = MAX_PIXELS) -> Raster:
    """Read the headers of a picture.

    Parameters
    ----------
    content
        Its bytes.
    memory
        The most bytes that decoding in the thinnest bands may take, :data:`MEMORY` where None. What cannot be decoded
        in parts (a JPEG, an interlaced PNG, a compressed strip as tall as the picture) is measured against it.
    max_pixels
        The most pixels that a header may declare.

    Raises
    ------
    DecodeError
        If this is no such picture, if it is cut, if it is of a kind that is not read, or if it is too large.
    """
    start = bytes(content.read(0, min(16, content.size)))
    if start.startswith(png.SIGNATURE):
        raster = png.open_png(content)
    elif start.startswith(jpeg.SIGNATURE):
        raster = jpeg.open_jpeg(content)
    elif start.startswith(tiff.SIGNATURES):
        raster = tiff.open_tiff(content)
    else:
        raise DecodeError(
            f"expected a PNG, JPEG or TIFF picture, found {content.size:,} bytes that start with {start!r}."
        )
    if raster.height * raster.width > max_pixels:
        raise DecodeError(f"expected at most {max_pixels:,} pixels, found {raster.width:,} x {raster.height:,}.")
    allowed = MEMORY if memory is None else memory
    if (needed := raster.need(1)) > allowed:
        raise DecodeError(
            f"expected a {raster.kind} picture that decodes in {allowed:,} bytes of memory, found {raster.width:,} x "
            f"{raster.height:,} pixels that need {needed:,}: allow more memory, or write it anew as a tiled TIFF."
        )
    return raster
