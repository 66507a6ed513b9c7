"""Read the largest picture of a TIFF file: strips or tiles, decoded by several threads, never one more than asked for.

Directories are walked by :mod:`zarrscope.readers.ifd`, which proves that every strip and tile lies within the file.
Smaller pages are levels of a pyramid, thumbnails and labels. Numbers in comments are sections of TIFF 6.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from zarrscope.errors import DecodeError
from zarrscope.model import Content
from zarrscope.readers import ifd
from zarrscope.readers.descriptions import describe
from zarrscope.readers.raster.bands import Band, Raster
from zarrscope.readers.raster.content import Window, exactly
from zarrscope.readers.raster.exif import ORIENTATION, turned
from zarrscope.readers.raster.grid import Grid, Segment, lay_out, runs
from zarrscope.readers.raster.meaning import COLOUR_MAP, EXTRA_SAMPLES, understand
from zarrscope.readers.raster.samples import Samples
from zarrscope.readers.raster.segments import PICTURES, PLAIN, REFUSED, UNPACK, Coding

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TABLES, _PROFILE = 347, 34675
_ALSO = frozenset({ORIENTATION, COLOUR_MAP, EXTRA_SAMPLES, _TABLES})
# Tags in which the three pages of one picture must agree.
_ALIKE = frozenset({ifd.BITS, ifd.COMPRESSION, ifd.PHOTOMETRIC, ifd.PREDICTOR, ifd.SAMPLE_FORMAT, ifd.SAMPLES, _TABLES})
_ALIKE |= {ifd.ROWS, ifd.TILE_WIDTH, ifd.TILE_LENGTH, ifd.FILL_ORDER}


def open_tiff(content: Content) -> Raster:
    """Read the directories.

    Raises
    ------
    DecodeError
        If they are broken or lead out of the file, if there is no one largest picture, or if it is of a kind that is
        not read.
    """
    every = ifd.walk(Window(content), also=_ALSO)
    if any(at + length > content.size for page in every for at, length in zip(page.offsets, page.counts, strict=False)):
        raise DecodeError(f"expected all pixels within {content.size:,} bytes, found some beyond: the file is cut.")
    pages = _picture(every)
    page = pages[0]
    form, notes = understand(page, planes=len(pages))
    compression, predictor = page.number(ifd.COMPRESSION, PLAIN), page.number(ifd.PREDICTOR, 1)
    if compression not in UNPACK and compression not in PICTURES:
        name = REFUSED.get(compression, "one that is not known")
        raise DecodeError(
            f"expected a TIFF without compression or with LZW, deflate, PackBits, Zstandard, JPEG, JPEG 2000 or WebP, "
            f"found compression {compression} ({name}): write the picture anew with one of these."
        )
    differences = predictor == 2 and compression not in PICTURES and compression != PLAIN
    if page.number(ifd.FILL_ORDER, 1) != 1 or (predictor != 1 and not (differences and form.bits >= 8)):
        raise DecodeError(
            f"expected bytes of highest bit first and predictor 1 or 2, found fill order "
            f"{page.number(ifd.FILL_ORDER, 1)}, predictor {predictor}, compression {compression}, {form.bits} bits."
        )
    separate = len(pages) > 1 or page.number(ifd.PLANAR, 1) == 2
    grid = lay_out(pages, content.size, plain=compression == PLAIN)
    coding = Coding(
        form=form.plane if separate else form,
        width=grid.across,
        height=grid.down,
        order=page.order,
        compression=compression,
        differences=differences,
        tables=bytes(page.tags.get(_TABLES, b"")),
        photometric=page.number(ifd.PHOTOMETRIC, 1),
    )
    upright, note = turned(page.tags.get(ORIENTATION))
    notes += note + (("an ICC profile is not applied",) if _PROFILE in page.others else ())
    used = range(form.channels) if form.alpha is None else (*range(form.channels), form.alpha)
    return Raster(
        height=grid.height,
        width=grid.width,
        channels=form.channels,
        dtype=form.dtype,
        kind="tiff",
        notes=notes,
        orientation=upright,
        row_step=min(grid.down, grid.height),
        random=True,
        decoder=_Tiff(content, grid, coding, form.channels, form.alpha, tuple(used) if separate else (0,), separate),
    )


def _picture(pages: list[ifd.Page]) -> list[ifd.Page]:
    """Choose the largest picture: one page, or three of one grey plane each."""
    # A reduced picture or a mask says so (SubfileType, section 8).
    whole = [page for page in pages if not max(page.number(ifd.SUBFILE, 0), 0) & 5] or pages
    sizes = [(page.number(ifd.LENGTH, 0), page.number(ifd.WIDTH, 0)) for page in whole]
    height, width = max(sizes, key=lambda size: size[0] * size[1])
    largest = [page for page, size in zip(whole, sizes, strict=True) if size == (height, width)]
    page = largest[0]
    if any(ifd.DEPTH in page.tags for page in largest):
        raise DecodeError("expected a flat picture, found a TIFF volume.")
    samples = page.number(ifd.SAMPLES, 1)
    claimed = describe(page.texts).planes(max(page.pixels, 1), samples)
    if claimed == 3 and len(largest) == samples == 1:
        largest = _planes(page)
    if len(largest) not in ({1, 3} if samples == 1 else {1}) or claimed not in {None, len(largest)}:
        raise DecodeError(
            f"expected one picture, or three planes of one, found {claimed or len(largest)} "
            f"of {width} x {height} pixels and {samples} samples."
        )
    if any(page.tags.get(tag) != other.tags.get(tag) for other in largest for tag in _ALIKE):
        raise DecodeError("expected three planes of one picture, found three pages that differ.")
    return largest


def _planes(page: ifd.Page) -> list[ifd.Page]:
    """Give three planes of which only the first has a directory: ImageJ and tifffile may let the others follow it."""
    size = -(-page.number(ifd.WIDTH, 0) * page.number(ifd.BITS, 1) // 8) * page.number(ifd.LENGTH, 0)
    offsets = page.tags.get(ifd.STRIP_OFFSETS, ())
    plain = page.number(ifd.COMPRESSION, PLAIN) == PLAIN and ifd.TILE_OFFSETS not in page.tags
    if not plain or not offsets or offsets[-1] + page.counts[-1] - offsets[0] != size:
        return [page]
    shifted = [tuple(offset + plane * size for offset in offsets) for plane in range(3)]
    return [replace(page, tags={**page.tags, ifd.STRIP_OFFSETS: plane}) for plane in shifted]


@dataclass(frozen=True, slots=True)
class _Tiff:
    """Decodes the strips or tiles of a picture; ``planes`` are those of which something is needed."""

    content: Content
    grid: Grid
    coding: Coding
    channels: int
    alpha: int | None
    planes: tuple[int, ...]
    separate: bool

    def need(self, rows: int, workers: int, /) -> int:
        """Estimate: a strip or tile each worker decodes, in three stages, and the rows of them that bands share."""
        packed = max(*self.grid.counts, 1 << 20)
        aligned = rows % self.grid.down == 0 or rows == self.grid.height
        held = 0 if aligned else 2 * self.grid.columns * self.coding.size * len(self.planes)
        return workers * (3 * self.coding.size + 2 * packed) + held

    def bands(self, rows: int, start: int, workers: int, /) -> Iterator[tuple[Band, int]]:
        grid = self.grid
        held: dict[Segment, Samples] = {}
        with ThreadPoolExecutor(workers, "zarrscope-tiles") if workers > 1 else nullcontext() as pool:
            for top in range(start, grid.height, rows):
                bottom = min(top + rows, grid.height)
                band = np.empty((bottom - top, grid.width, self.channels), self.coding.form.dtype)
                segments = list(grid.segments(top, bottom, self.planes))
                work = partial(self._fill, band, top, held)
                groups = list(runs(segments))
                kept: dict[Segment, Samples] = {}
                transparent = 0
                for count, later in pool.map(work, groups) if pool else map(work, groups):
                    transparent += count
                    kept.update(later)
                held = kept
                yield band, transparent
                del band, work  # before the next band is allocated

    def _fill(
        self, band: Band, top: int, held: dict[Segment, Samples], run: Sequence[Segment]
    ) -> tuple[int, dict[Segment, Samples]]:
        """Decode segments that follow each other in the file; give back those that the next band needs too."""
        missing = [segment for segment in run if segment not in held]
        data = memoryview(b"")
        if missing:
            start = missing[0].offset
            data = exactly(self.content, start, missing[-1].offset + missing[-1].length - start)
        transparent, later = 0, {}
        for segment in run:
            samples = held.get(segment)
            if samples is None:
                packed = data[segment.offset - start : segment.offset - start + segment.length]
                samples = self.coding.decode(packed, segment.height)
            transparent += self._place(band, top, segment, samples)
            if segment.top + segment.height > top + len(band):
                later[segment] = samples
        return transparent, later

    def _place(self, band: Band, top: int, segment: Segment, samples: Samples) -> int:
        """Write what of a segment lies in a band; count its pixels that are not opaque."""
        first = max(top, segment.top)
        stop = min(top + len(band), segment.top + segment.height, self.grid.height)
        out = band[first - top : stop - top, segment.left : segment.left + self.grid.across]
        samples = samples[first - segment.top : stop - segment.top, : out.shape[1]]
        if not self.separate:
            return self.coding.form.fill(samples, out)
        if segment.plane == self.alpha:
            return self.coding.form.transparent(samples[..., 0])
        return self.coding.form.fill(samples, out[..., segment.plane : segment.plane + 1])
