"""What the samples of a TIFF page mean: which kinds of pixels are read, and what is done to them.

Numbers in comments are sections of TIFF 6.0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from zarrscope.errors import DecodeError
from zarrscope.readers import ifd
from zarrscope.readers.raster.samples import Form

COLOUR_MAP, EXTRA_SAMPLES = 320, 338
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_BASE = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _YCBCR: 3}
_REFUSED = {4: "a mask", 5: "CMYK", 8: "CIE L*a*b*", 9: "ICC L*a*b*", 10: "ITU L*a*b*", 32803: "a colour filter array"}
_PACKED = {7, 33005, 34712, 50001}  # JPEG, JPEG 2000 and WebP, which convert YCbCr themselves


def understand(page: ifd.Page, *, planes: int) -> tuple[Form, tuple[str, ...]]:
    """Give the form of the pixels of a page, or of ``planes`` pages that hold one channel each, and what to note.

    Raises
    ------
    DecodeError
        If they are of a kind that is not read.
    """
    bits, samples = page.number(ifd.BITS, 1), page.number(ifd.SAMPLES, 1) * planes
    photometric = page.number(ifd.PHOTOMETRIC, _BLACK_IS_ZERO)
    kind = page.number(ifd.SAMPLE_FORMAT, 1)
    if kind not in {1, 4} or bits not in {1, 2, 4, 8, 16}:
        name = {2: "signed", 3: "floating point", 5: "complex", 6: "complex"}.get(kind, "unsigned")
        raise DecodeError(f"expected pixels of 1, 2, 4, 8 or 16 bits without sign, found {name} ones of {bits} bits.")
    packed = page.number(ifd.COMPRESSION, 1) in _PACKED
    if photometric not in _BASE or (photometric == _YCBCR and not packed) or (packed and bits not in {8, 16}):
        name = "YCbCr" if photometric == _YCBCR else _REFUSED.get(photometric, "not known")
        raise DecodeError(
            f"expected grey, RGB or palette pixels, or JPEG ones of 8 bits, "
            f"found photometric interpretation {photometric} ({name}) of {bits} bits: convert the picture to RGB."
        )
    separate = planes > 1 or page.number(ifd.PLANAR, 1) == 2
    notes: tuple[str, ...] = ("channel-first",) if separate and samples > 1 else ()
    if photometric == _PALETTE and samples == 1 and bits <= 8:
        return Form(bits=bits, stored=1, channels=3, palette=_palette(page, bits)), ("palette expanded",)
    channels, alpha, more = _channels(page, samples, photometric)
    inverted = photometric == _WHITE_IS_ZERO
    notes += more + (("white was 0",) if inverted else ())
    return Form(bits=bits, stored=samples, channels=channels, alpha=alpha, inverted=inverted), notes


def _channels(page: ifd.Page, samples: int, photometric: int) -> tuple[int, int | None, tuple[str, ...]]:
    """Give the number of channels, which sample is alpha, and what to note."""
    extra = page.tags.get(EXTRA_SAMPLES, ())  # section 18: 1 is alpha that the colours are multiplied with, 2 is alpha
    extra = extra if isinstance(extra, tuple) else ()
    channels = _BASE[photometric]
    notes: tuple[str, ...] = ()
    if channels == 1 and samples >= 3:  # what writers of plain arrays say of colours
        channels, notes = 3, ("three grey samples taken for red, green and blue",)
    if samples == channels and photometric != _PALETTE:
        return channels, None, notes
    declared = extra[-1:] in {(1,), (2,)}
    # RGB with one sample more is RGB; of a grey sample with another nobody knows which is meant.
    if samples != channels + 1 or photometric in {_PALETTE, _YCBCR} or not (declared or photometric == _RGB):
        raise DecodeError(
            f"expected 1 or 3 samples a pixel, or one more of alpha, "
            f"found {samples} of photometric interpretation {photometric}, with extra samples {extra}."
        )
    if not declared:
        return channels, None, (*notes, "a last sample of no declared meaning dropped")
    multiplied = ("colours were multiplied with alpha",) if extra[-1] == 1 else ()
    return channels, samples - 1, (*notes, "alpha dropped", *multiplied)


def _palette(page: ifd.Page, bits: int) -> npt.NDArray[np.uint8]:
    """Give the colours: all reds, all greens, all blues of 16 bits in the file (section 5)."""
    values = page.tags.get(COLOUR_MAP, ())
    if not isinstance(values, tuple) or len(values) != 3 << bits:
        raise DecodeError(f"expected a palette of {1 << bits} colours, found {len(values)} values.")
    colours = np.array(values, np.uint32).reshape(3, -1).T
    # Some writers put 8 bits where 16 belong.
    return np.ascontiguousarray(colours if colours.max() < 256 else colours >> 8).astype(np.uint8)
