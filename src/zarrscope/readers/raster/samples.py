"""Turn the samples that a file stores into channels: grey stays one, colours become red, green and blue.

Alpha is dropped, as ``convert("RGB")`` of Pillow drops it, and the pixels that are not opaque are counted. Palettes
are expanded, and samples of 1, 2 and 4 bits are spread over 0 to 255.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from zarrscope.errors import DecodeError

Samples = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Form:
    """What the samples of a pixel mean.

    Parameters
    ----------
    bits
        Of a sample as it is stored: 1, 2, 4, 8 or 16.
    stored
        How many samples a pixel has in the file.
    channels
        How many it is given: 1 or 3.
    alpha
        Which stored sample says how opaque the pixel is.
    palette
        The colours ``(entries, 3)`` that a sample counts.
    opacity
        How opaque each colour of the palette is, ``(entries,)``.
    inverted
        Whether 0 is white.
    """

    bits: int
    stored: int
    channels: int
    alpha: int | None = None
    palette: npt.NDArray[np.uint8] | None = None
    opacity: npt.NDArray[np.uint8] | None = None
    inverted: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the channels."""
        return np.dtype(np.uint16 if self.bits == 16 else np.uint8)

    @property
    def plane(self) -> Form:
        """The form of one plane, where each sample has a plane of its own."""
        return replace(self, stored=1, channels=1, alpha=None)

    def row_bytes(self, width: int) -> int:
        """Give how many bytes a row of ``width`` pixels takes, packed without gaps."""
        return -(-width * self.stored * self.bits // 8)

    def unpack(self, rows: npt.NDArray[np.uint8], width: int, order: str = ">") -> Samples:
        """Give the samples ``(y, x, stored)`` of packed rows ``(y, bytes)``, the first in the highest bits."""
        shape = (len(rows), width, self.stored)
        if self.bits == 8:
            return rows.reshape(shape)
        if self.bits == 16:
            return rows.view(f"{order}u2").astype(np.uint16, copy=False).reshape(shape)
        shifts = np.arange(8 - self.bits, -1, -self.bits, dtype=np.uint8)
        samples = (rows[:, :, None] >> shifts) & np.uint8((1 << self.bits) - 1)
        return samples.reshape(len(rows), -1)[:, : width * self.stored].reshape(shape)

    def fill(self, samples: Samples, out: npt.NDArray[Any]) -> int:
        """Write samples ``(y, x, stored)`` as channels into ``out`` ``(y, x, channels)``.

        Returns
        -------
        How many of these pixels are not opaque.

        Raises
        ------
        DecodeError
            If a sample counts a colour that the palette lacks.
        """
        if self.palette is not None:
            return self._colour(samples[..., 0], out)
        out[...] = samples[..., : self.channels]
        if self.bits < 8:
            out *= np.uint8(255 // ((1 << self.bits) - 1))
        if self.inverted:
            np.invert(out, out=out)
        return 0 if self.alpha is None else self.transparent(samples[..., self.alpha])

    def transparent(self, alpha: Samples) -> int:
        """Count the samples of alpha that are not opaque."""
        return int(np.count_nonzero(alpha != np.iinfo(alpha.dtype).max))

    def _colour(self, numbers: Samples, out: npt.NDArray[Any]) -> int:
        assert self.palette is not None  # noqa: S101  # a caller without a palette is a fault of ours
        if numbers.size and (largest := int(numbers.max())) >= len(self.palette):
            raise DecodeError(f"expected a palette of {largest + 1} colours, found {len(self.palette)}.")
        out[...] = self.palette[numbers]
        return 0 if self.opacity is None else self.transparent(self.opacity[numbers])
