"""Decode one JPEG, JPEG 2000 or WebP with Pillow, which refuses what is cut; its size is checked before its pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Literal

from zarrscope.errors import DecodeError

if TYPE_CHECKING:
    from PIL.Image import Image

CHANNELS = {"L": 1, "I;16": 1, "RGB": 3, "RGBA": 4}  # the modes of Pillow that are taken


def picture(file: IO[bytes], kind: Literal["JPEG", "JPEG 2000", "WebP"], width: int, heights: range) -> Image:
    """Decode a picture of ``width`` pixels and one of the ``heights``.

    Raises
    ------
    DecodeError
        If it has another size or mode, or if it is cut or corrupt.
    """
    from PIL import ImageFile, Jpeg2KImagePlugin, JpegImagePlugin, WebPImagePlugin

    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise DecodeError(
            "expected Pillow to refuse what is cut, found PIL.ImageFile.LOAD_TRUNCATED_IMAGES set: "
            "unset it, or missing pixels would become grey."
        )
    # By its class: Image.open would take other formats too, and has a limit of its own on sizes.
    openers: dict[str, Callable[[IO[bytes]], Image]] = {
        "JPEG": JpegImagePlugin.JpegImageFile,
        "JPEG 2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
        "WebP": WebPImagePlugin.WebPImageFile,
    }
    try:
        image = openers[kind](file)
        size, mode = image.size, image.mode
        fits = size[0] == width and size[1] in heights and mode in CHANNELS
        if fits:
            image.load()
    except Exception as error:  # noqa: BLE001  # Pillow lets many kinds through, SyntaxError and struct.error among them
        raise DecodeError(f"expected {kind} data that Pillow reads, found: {error!s:.200}.") from None
    if not fits:
        raise DecodeError(f"expected {kind} data of {width} x {heights[-1]} pixels, found {size} of mode {mode}.")
    return image
