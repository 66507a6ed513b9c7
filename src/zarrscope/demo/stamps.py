"""A number in the pixels: a picture that carries its own index shows when rows or axes are swapped.

>>> pixels = np.zeros((8, 9), np.uint8)
>>> stamp(pixels, 976_021)
>>> read_stamp(pixels)
976021
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def stamp(pixels: npt.NDArray[np.generic], index: int) -> None:
    """Write ``index`` (32 bits) into the first six pixels of the first row, in place.

    A transposed, flipped or shifted picture does not read back: the stamp lies along one row and ends in two check
    values. Floating-point pixels hold the same bytes divided by 255.
    """
    digits = np.array([*index.to_bytes(4, "little"), 0, 0])
    digits[4:] = _checks(digits)
    pixels[0, :6] = digits / 255 if pixels.dtype.kind == "f" else digits


def read_stamp(pixels: npt.NDArray[np.generic]) -> int:
    """Read what :func:`stamp` wrote.

    Raises
    ------
    ValueError
        Where there is no stamp: the picture is another one, or not the way round it was.
    """
    values = pixels[0, :6].astype(np.float64)
    digits = np.rint(values * 255 if pixels.dtype.kind == "f" else values).astype(np.int64)
    if len(digits) < 6 or list(digits[4:]) != _checks(digits) or not 0 <= digits.min() <= digits.max() <= 255:
        raise ValueError(f"no stamp in the first six pixels: {digits.tolist()}")
    return int.from_bytes(bytes(digits[:4].tolist()), "little")


def _checks(digits: npt.NDArray[np.int64]) -> list[int]:
    weighted = int((digits[:4] * np.array([1, 3, 5, 7])).sum())
    return [0x5A ^ (weighted % 256), (weighted + 113) % 256]
