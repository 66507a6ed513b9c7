"""What EXIF says about how a picture should be turned."""

from __future__ import annotations

from zarrscope.errors import DecodeError
from zarrscope.readers import ifd

ORIENTATION = 274


def orientation(exif: memoryview | bytes) -> tuple[int, tuple[str, ...]]:
    """Read the orientation from EXIF data, which are a TIFF file without pixels; also give what to note.

    Data that cannot be understood are noted and refuse nothing: no pixel depends on them.
    """
    try:
        pages = ifd.walk(memoryview(exif), also=frozenset({ORIENTATION}))
    except DecodeError:
        return 1, ("EXIF data that cannot be read",)
    return turned(pages[0].tags.get(ORIENTATION))


def turned(value: object) -> tuple[int, tuple[str, ...]]:
    """Understand the value of the tag; give the orientation, and what to note."""
    match value:
        case (int(number),) if 2 <= number <= 8:
            return number, (f"orientation {number} of EXIF is recorded, not applied",)
    return 1, ()
