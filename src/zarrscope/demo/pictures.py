"""Write a picture as the published slides have it: under the name ``.png`` lies a JPEG, one of many TIFFs, or a PNG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from zarrscope.demo.phantoms import Shape

type Pixels = npt.NDArray[np.uint8]

_SLOPES = ((1, 0), (0, 1), (1, 1), (2, 1))  # along (y, x), for red, green, blue, gray


def stamped_pixels(shape: Shape, channels: int) -> Pixels:
    """Give pixels that say where they stand, ``(y, x, channels)``; one channel is gray and comes as ``(y, x)``.

    Each channel is a zigzag between 0 and 255, in single steps a pixel: along y for red, along x for green, along
    both for blue, and along both, twice as steep along y, for gray. A JPEG keeps it to within a few levels.

    >>> stamped_pixels((300, 300), 3)[10, 40].tolist()
    [245, 215, 205]
    """
    y, x = np.arange(shape[0])[:, None], np.arange(shape[1])
    slopes = _SLOPES[3:] if channels == 1 else _SLOPES[:channels]
    waves = [np.abs((down * y + across * x) % 510 - 255).astype(np.uint8) for down, across in slopes]
    return waves[0] if channels == 1 else np.stack(waves, axis=-1)


def gray(pixels: Pixels) -> Pixels:
    """Turn colours into luminance."""
    luminance: Pixels = np.rint(pixels @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    return luminance


def _jpeg(path: Path, pixels: Pixels) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 1  # orientation: as it stands
    Image.fromarray(pixels).save(path, "JPEG", quality=95, subsampling=0, exif=exif)


def _png(path: Path, pixels: Pixels) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(path, "PNG", compress_level=3)


def _rgba(path: Path, pixels: Pixels) -> None:
    opaque = np.full((*pixels.shape[:2], 1), 255, np.uint8)
    _png(path, np.concatenate([pixels, opaque], axis=-1))


def _tiled(path: Path, pixels: Pixels) -> None:
    import tifffile

    tifffile.imwrite(
        path, pixels, photometric="rgb", tile=(256, 256), compression="zlib", predictor=True, metadata=None
    )


def _big(path: Path, pixels: Pixels) -> None:
    import tifffile

    tifffile.imwrite(path, pixels, photometric="rgb", bigtiff=True, rowsperstrip=64, metadata=None)


def _channels_first(path: Path, pixels: Pixels) -> None:
    import tifffile

    planes = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
    tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate", metadata=None)


FORMS: dict[str, Callable[[Path, Pixels], None]] = {
    "jpeg": _jpeg,
    "tiled tiff": _tiled,
    "bigtiff": _big,
    "rgba png": _rgba,
    "channel-first tiff": _channels_first,
    "gray png": _png,
    "rgb png": _png,
}


def write_picture(path: Path, pixels: Pixels, form: str) -> None:
    """Write ``(y, x, 3)`` pixels, or ``(y, x)`` ones for gray, in one of :data:`FORMS`."""
    FORMS[form](path, pixels)
