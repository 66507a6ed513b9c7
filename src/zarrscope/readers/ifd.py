"""Walk the directories of a TIFF file, and check that every byte they promise is there.

A TIFF file is a chain of image file directories (IFDs), one a page, each a list of tags. Decoders follow a broken chain
as far as it goes and give the pages they found; here the whole chain is walked first, and a loop, an offset beyond the
end, or a strip that is cut refuses the file. Numbers in comments are sections of TIFF 6.0.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from zarrscope.errors import DecodeError

SUBFILE, WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 254, 256, 257, 258, 259, 262, 266
DESCRIPTION, STRIP_OFFSETS, SAMPLES, ROWS, STRIP_COUNTS, X_RESOLUTION, Y_RESOLUTION = 270, 273, 277, 278, 279, 282, 283
PLANAR, RESOLUTION_UNIT, PREDICTOR, SAMPLE_FORMAT, DEPTH = 284, 296, 317, 339, 32997
TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_COUNTS = 322, 323, 324, 325

# The bytes of a value by its type (section 2; 13 from supplement 1, 16 to 18 from BigTIFF), and how struct reads it.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_SINGLE = frozenset({SUBFILE, WIDTH, LENGTH, COMPRESSION, PHOTOMETRIC, FILL_ORDER, SAMPLES, ROWS, PLANAR})
_SINGLE |= {RESOLUTION_UNIT, PREDICTOR, DEPTH, TILE_WIDTH, TILE_LENGTH}
_MANY = frozenset({BITS, SAMPLE_FORMAT, STRIP_OFFSETS, STRIP_COUNTS, TILE_OFFSETS, TILE_COUNTS})
_READ = _SINGLE | _MANY | {DESCRIPTION, X_RESOLUTION, Y_RESOLUTION}


class Data(Protocol):
    """The bytes of a file by their place, as a memoryview gives them: those beyond the end are left out."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: slice, /) -> memoryview: ...


@dataclass(frozen=True, slots=True)
class _Form:
    """How a file lays out its directories: classic or BigTIFF, and in which byte order."""

    order: str
    first: int  # where the offset of the first directory stands
    count: struct.Struct
    entry: struct.Struct  # tag, type, count, and the value or its offset
    offset: struct.Struct


def _form(order: str, *, big: bool) -> _Form:
    count, entry, offset = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
    return _Form(order, 8 if big else 4, *(struct.Struct(order + layout) for layout in (count, entry, offset)))


_FORMS = {
    b"II*\0": _form("<", big=False),
    b"MM\0*": _form(">", big=False),
    b"II+\0\x08\0\0\0": _form("<", big=True),
    b"MM\0+\0\x08\0\0": _form(">", big=True),
}


@dataclass(frozen=True, slots=True)
class Page:
    """One directory: where it is, its tags that matter as numbers, and which others there are.

    ``texts`` are the image descriptions and ``resolution`` the (y, x) pixels per unit, None where it is not given.
    ``others`` that were asked for are in ``tags`` too: a tuple of numbers, or the bytes of what are not numbers.
    """

    order: str
    tags: dict[int, Any]
    others: frozenset[int]
    texts: tuple[str, ...]
    resolution: tuple[float, float] | None

    def number(self, tag: int, default: int) -> int:
        """Give the one number of a tag; the same number for every sample counts as one, others as -1."""
        value = self.tags.get(tag, default)
        if isinstance(value, int):
            return value
        return int(value[0]) if len(set(value)) == 1 else -1

    @property
    def offsets(self) -> tuple[int, ...]:
        """Where the strips or tiles start, in bytes from the start of the file."""
        offsets: tuple[int, ...] = self.tags.get(TILE_OFFSETS) or self.tags.get(STRIP_OFFSETS, ())
        return offsets

    @property
    def counts(self) -> tuple[int, ...]:
        """How many bytes each strip or tile takes."""
        counts: tuple[int, ...] = self.tags.get(TILE_COUNTS) or self.tags.get(STRIP_COUNTS, ())
        return counts

    @property
    def pixels(self) -> int:
        """How many values the page holds."""
        return self.number(WIDTH, 0) * self.number(LENGTH, 0) * self.number(SAMPLES, 1)


def walk(view: Data, *, also: frozenset[int] = frozenset()) -> list[Page]:
    """Read all directories of the chain, and no other bytes.

    Parameters
    ----------
    view
        The whole file.
    also
        Further tags to read.

    Raises
    ------
    DecodeError
        If this is no TIFF file, if it has no page, or if the chain loops or leaves the file.
    """
    head = bytes(view[:8])
    form = _FORMS.get(head[:4]) or _FORMS.get(head)
    if form is None or len(head) < 8:
        raise DecodeError(f"expected a TIFF file, found {len(view)} bytes that start with {bytes(view[:16])!r}.")
    # Tags may share their values, and hostile ones do: together they may not take more than the file.
    budget = len(view)
    pages: list[Page] = []
    seen = set()
    at = form.first
    try:
        (at,) = form.offset.unpack(view[form.first : form.first + form.offset.size])
        while at:
            if at in seen:
                raise DecodeError(
                    f"expected a chain of {len(pages)} pages to end, found that it leads back to byte {at}."
                )
            seen.add(at)
            start = at + form.count.size
            (count,) = form.count.unpack(view[at:start])
            stop = start + count * form.entry.size
            (following,) = form.offset.unpack(view[stop : stop + form.offset.size])
            page, spent = _page(view, form, view[start:stop], also)
            budget -= spent
            if budget < 0:
                raise DecodeError("expected the tags of a TIFF file to take less than the file, found more.")
            pages.append(page)
            at = following
    except struct.error:
        raise DecodeError(
            f"expected page {len(pages) + 1} of a TIFF file at byte {at}, found that the file ends at {len(view)}."
        ) from None
    if not pages:
        raise DecodeError("expected a TIFF file with an image, found one without pages.")
    return pages


def _page(view: Data, form: _Form, entries: memoryview, also: frozenset[int]) -> tuple[Page, int]:
    """Read one directory; also give how many bytes its values take."""
    tags: dict[int, Any] = {}
    others, texts, ratios, spent = set(), [], {}, len(entries)
    for tag, kind, count, size, data in _values(view, form, entries, _READ | also):
        spent += size
        if tag in _SINGLE or tag in _MANY:
            if tag in tags or kind not in _NUMBERS or (count > 1 and tag in _SINGLE):
                raise DecodeError(f"expected TIFF tag {tag} once and as a number, found type {kind}, {count} values.")
            values = _numbers(form, kind, data)
            tags[tag] = values if tag in _MANY else values[0]
        elif tag == DESCRIPTION:
            texts.append(_text(data))
        elif tag in (X_RESOLUTION, Y_RESOLUTION) and kind == 5 and count == 1:  # RATIONAL: two LONGs
            upper, lower = struct.unpack(form.order + "2I", data)
            ratios[tag] = upper / lower if lower else 0.0
        else:
            others.add(tag)
            if tag in also:
                tags[tag] = _numbers(form, kind, data)
    resolution = (ratios.get(Y_RESOLUTION, 0.0), ratios.get(X_RESOLUTION, 0.0))
    return Page(form.order, tags, frozenset(others), tuple(texts), resolution if all(resolution) else None), spent


def _values(
    view: Data, form: _Form, entries: memoryview, needed: frozenset[int]
) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Give the tag, type and count of each entry, the bytes it takes elsewhere, and the value of those needed."""
    for tag, kind, count, field in form.entry.iter_unpack(entries):
        size = _SIZES.get(kind, 0) * count
        if not size and tag in needed:
            raise DecodeError(f"expected a TIFF tag {tag} of a known type, found type {kind} and {count} values.")
        if size <= len(field):
            yield tag, kind, count, 0, field[:size]
            continue
        (start,) = form.offset.unpack(field)
        if start + size > len(view):
            raise DecodeError(f"expected {size} bytes of TIFF tag {tag} at byte {start}, found {len(view)} in all.")
        yield tag, kind, count, size, bytes(view[start : start + size]) if tag in needed else b""


def _numbers(form: _Form, kind: int, data: bytes) -> Any:
    """Give the numbers that a tag holds; its bytes where it holds no numbers."""
    if kind not in _NUMBERS:
        return data
    return struct.unpack(f"{form.order}{len(data) // _SIZES[kind]}{_NUMBERS[kind]}", data)


def _text(data: bytes) -> str:
    data = data.partition(b"\0")[0].strip()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:  # ASCII by section 2; in practice what the writer's machine used
        return data.decode("cp1252", "backslashreplace")


def check_segments(page: Page, size: int) -> list[int]:
    """Check that each strip or tile of a page is listed and lies within a file of ``size`` bytes.

    Returns
    -------
    How many bytes each of them takes, uncompressed.

    Raises
    ------
    DecodeError
        If one is missing, empty, beyond the end, or, uncompressed, too short for its pixels.
    """
    width, length, bits = page.number(WIDTH, 0), page.number(LENGTH, 0), page.number(BITS, 1)
    separate = page.number(PLANAR, 1) == 2
    samples = page.number(SAMPLES, 1)
    together = 1 if separate else samples
    if TILE_OFFSETS in page.tags:
        across, down = page.number(TILE_WIDTH, 0), page.number(TILE_LENGTH, 0)
    else:
        across, down = width, min(page.number(ROWS, length), length)
    if min(width, length, bits, samples, across, down) < 1:
        raise DecodeError(f"expected an image, found {width} x {length} pixels of {bits} bits in {across} x {down}.")
    rows = -(-length // down)
    columns = -(-width // across)
    if not len(page.offsets) == len(page.counts) == rows * columns * (samples if separate else 1):
        raise DecodeError(
            f"expected {rows * columns * (samples if separate else 1)} strips or tiles for {width} x {length} pixels, "
            f"found {len(page.offsets)} offsets and {len(page.counts)} lengths."
        )
    row = -(-across * together * bits // 8)
    needed = [row * down] * len(page.offsets)
    if TILE_OFFSETS not in page.tags:  # the last strip of a plane ends with the image, a tile never does
        needed[rows - 1 :: rows] = [row * (length - (rows - 1) * down)] * (len(needed) // rows)
    plain = page.number(COMPRESSION, 1) == 1
    for offset, count, least in zip(page.offsets, page.counts, needed, strict=True):
        if not offset or offset + count > size or count < (least if plain else 1):
            raise DecodeError(
                f"expected {least if plain else count} bytes of pixels at byte {offset}, "
                f"found {count} listed in a file of {size}."
            )
    return needed
