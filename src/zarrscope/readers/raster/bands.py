"""A picture whose headers are read, and its pixels as bands from top to bottom."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from zarrscope.errors import UsageError
from zarrscope.readers.raster.samples import Form, Samples

type Band = npt.NDArray[Any]


class Decoder(Protocol):
    """What a format gives: bands, and what they cost."""

    def need(self, rows: int, workers: int, /) -> int:
        """Estimate the bytes of memory that decoding takes, what is handed out not counted."""

    def bands(self, rows: int, start: int, workers: int, /) -> Iterator[tuple[Band, int]]:
        """Give bands, each with its number of pixels that are not opaque."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Raster:
    """One large picture; nothing but its headers is read.

    Parameters
    ----------
    height, width
        Pixels, as they are stored: an orientation is not applied.
    channels
        1 (grey) or 3 (red, green, blue).
    dtype
        uint8 or uint16, in the byte order of this machine.
    kind
        The format of the file, whatever its name says.
    notes
        What the pixels lost or gained on their way to these channels, and what of the file is not used.
    orientation
        As EXIF numbers it: 1 for upright, or where nothing is said.
    row_step
        Rows that are decoded together: bands of a multiple of it decode nothing twice and hold nothing back.
    random
        Whether a band can be decoded without those above it.
    """

    height: int
    width: int
    channels: int
    dtype: np.dtype[Any]
    kind: Literal["png", "jpeg", "tiff"]
    notes: tuple[str, ...] = ()
    orientation: int = 1
    row_step: int = 1
    random: bool = False
    decoder: Decoder = field(repr=False)

    def need(self, rows: int, workers: int = 1) -> int:
        """Estimate the bytes of memory that :meth:`bands` takes, the bands included."""
        band = min(rows, self.height) * self.width * self.channels * self.dtype.itemsize
        # One that the caller has, and one that is being made.
        return 2 * band + self.decoder.need(min(rows, self.height), workers)

    def bands(self, rows: int, *, start: int = 0, workers: int = 1) -> Bands:
        """Decode the picture in bands of ``rows`` rows, from row ``start`` to its end.

        Parameters
        ----------
        rows
            Rows of a band, the last may have fewer.
        start
            The first row.
        workers
            How many threads decode. With more than one, the next band is decoded while the caller has this one.

        Returns
        -------
        An iterator of arrays ``(rows, width, channels)``, C-contiguous, each the caller's own.

        Raises
        ------
        UsageError
            If the arguments make no sense.
        DecodeError
            While iterating: if the file is cut or corrupt. What was given before is not proven then.
        """
        if rows < 1 or workers < 1 or not 0 <= start <= self.height:
            raise UsageError(
                f"expected rows and workers of at least 1 and a start of 0 to {self.height}, "
                f"found rows={rows}, workers={workers}, start={start}."
            )
        bands = self.decoder.bands(rows, start, workers)
        return Bands(self, ahead(bands) if workers > 1 else bands)


class Bands(Iterator[Band]):
    """The bands of a picture from top to bottom; ``transparent`` counts the pixels so far that are not opaque."""

    def __init__(self, raster: Raster, bands: Iterator[tuple[Band, int]]) -> None:
        self._raster = raster
        self._bands = bands
        self.transparent = 0

    def __next__(self) -> Band:
        band, transparent = next(self._bands)
        self.transparent += transparent
        return band

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes of the picture, and what its pixels so far have shown."""
        if not self.transparent:
            return self._raster.notes
        return (*self._raster.notes, f"{self.transparent} pixels are not opaque")


def ahead[T](items: Iterator[T]) -> Iterator[T]:
    """Give the items of an iterator, and have a thread make the next one meanwhile."""
    end = object()
    with ThreadPoolExecutor(1, "zarrscope-ahead") as thread:
        following = thread.submit(next, items, end)
        while (item := following.result()) is not end:
            following = thread.submit(next, items, end)
            yield item  # type: ignore[misc]  # only the mark of the end is no T


def banded(
    blocks: Iterator[Samples], form: Form, width: int, rows: int, start: int, height: int
) -> Iterator[tuple[Band, int]]:
    """Cut blocks of rows, which follow each other from the top of the picture, into bands.

    All of ``blocks`` is run before the last band is given: what their maker finds at the end refuses it.
    """
    nothing = np.empty((0, width, form.channels), form.dtype)
    band, filled, transparent, at = nothing, 0, 0, 0
    done: list[tuple[Band, int]] = []
    for block in blocks:
        rest = block[min(max(start - at, 0), len(block)) :]
        at += len(block)
        while len(rest):
            yield from done
            done.clear()  # before the next band is allocated
            if not filled:
                band = np.empty((min(rows, height - at + len(rest)), width, form.channels), form.dtype)
            piece = rest[: len(band) - filled]
            transparent += form.fill(piece, band[filled : filled + len(piece)])
            filled += len(piece)
            rest = rest[len(piece) :]
            if filled == len(band):
                done.append((band, transparent))
                band, filled, transparent = nothing, 0, 0
    yield from done
