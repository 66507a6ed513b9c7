"""Where the strips or tiles of a TIFF picture lie, in the picture and in the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from zarrscope.readers import ifd

_PIECE = 1 << 20  # bytes that uncompressed strips are cut into, and that one read joins


class Segment(NamedTuple):
    """One strip or tile: its plane, its first row and column, its rows in the file, and its bytes."""

    plane: int
    top: int
    left: int
    height: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The strips or tiles of all planes, one row of them after the other.

    Parameters
    ----------
    height, width
        Of the picture.
    down, across
        Of a tile. A strip is a tile as wide as the picture of which the last may end with it.
    strips
        Whether they are strips.
    offsets, counts
        Their places and lengths in the file: by plane, then by row, then by column.
    """

    height: int
    width: int
    down: int
    across: int
    strips: bool
    offsets: Sequence[int]
    counts: Sequence[int]

    @property
    def columns(self) -> int:
        """Tiles in a row."""
        return -(-self.width // self.across)

    @property
    def rows(self) -> int:
        """Rows of tiles."""
        return -(-self.height // self.down)

    def segments(self, top: int, bottom: int, planes: Sequence[int]) -> Iterator[Segment]:
        """Give those that hold pixels of the rows from ``top`` to before ``bottom``."""
        for plane in planes:
            for row in range(top // self.down, -(-bottom // self.down)):
                first = (plane * self.rows + row) * self.columns
                start = row * self.down
                height = min(self.down, self.height - start) if self.strips else self.down
                for column in range(self.columns):
                    place = self.offsets[first + column], self.counts[first + column]
                    yield Segment(plane, start, column * self.across, height, *place)


def lay_out(pages: Sequence[ifd.Page], size: int, *, plain: bool) -> Grid:
    """Find the strips or tiles of a picture of which every plane, or all of them, is a page.

    Uncompressed strips that follow each other are one stretch of rows: they are cut anew, into pieces that are small
    enough to read and large enough to be worth it.

    Raises
    ------
    DecodeError
        If one is missing, empty or beyond the end of a file of ``size`` bytes.
    """
    needed = [ifd.check_segments(page, size) for page in pages]
    first = pages[0]
    height, width = first.number(ifd.LENGTH, 0), first.number(ifd.WIDTH, 0)
    strips = ifd.TILE_OFFSETS not in first.tags
    down = min(first.number(ifd.ROWS, height), height) if strips else first.number(ifd.TILE_LENGTH, 0)
    grid = Grid(
        height=height,
        width=width,
        down=down,
        across=width if strips else first.number(ifd.TILE_WIDTH, 0),
        strips=strips,
        offsets=[offset for page in pages for offset in page.offsets],
        counts=[count for page in pages for count in page.counts],
    )
    return _cut(grid, [length for lengths in needed for length in lengths]) if plain and strips else grid


def _cut(grid: Grid, needed: list[int]) -> Grid:
    """Cut uncompressed strips anew, if those of each plane follow each other."""
    row = needed[0] // min(grid.down, grid.height)
    down = max(min(_PIECE // row, grid.height), 1)
    starts = list(grid.offsets[:: grid.rows])
    for plane, start in enumerate(starts):
        strips = slice(plane * grid.rows, (plane + 1) * grid.rows)
        at = start
        for offset, length in zip(grid.offsets[strips], needed[strips], strict=True):
            if offset != at:
                return grid
            at += length
    tops = range(0, grid.height, down)
    return Grid(
        height=grid.height,
        width=grid.width,
        down=down,
        across=grid.across,
        strips=True,
        offsets=[start + top * row for start in starts for top in tops],
        counts=[min(down, grid.height - top) * row for _ in starts for top in tops],
    )


def runs(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    """Group segments that follow each other in the file, so that one read of about a megabyte gets them."""
    run: list[Segment] = []
    for segment in segments:
        end = run[-1].offset + run[-1].length if run else -1
        if run and (segment.offset != end or segment.offset + segment.length - run[0].offset > _PIECE):
            yield run
            run = []
        run.append(segment)
    if run:
        yield run
