"""Read where the spots of a slide lie: names, places in pixels, and the radius of a spot."""

from __future__ import annotations

from collections.abc import Buffer
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zarrscope.errors import DecodeError
from zarrscope.model import Strings, strings
from zarrscope.readers.slides.delimited import numbers, read_delimited, require_names

type Floats = npt.NDArray[np.float64]

_X, _Y, _RADIUS = "xaxis", "yaxis", "r"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coords:
    """The spots of a slide, in the order of the file.

    Parameters
    ----------
    names
        ``(n,)`` text, each once.
    x, y
        ``(n,)`` float64, pixels of the full-resolution picture that comes with the slide; x along its columns.
    radius
        ``(n,)`` float64, pixels.
    radius_constant
        The radius, where it is the same for all spots.
    notes
        What a user should know: columns that nobody reads, a last line that may be cut.
    """

    names: Strings
    x: Floats
    y: Floats
    radius: Floats
    radius_constant: float | None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.x)


def read_coords(data: Buffer) -> Coords:
    r"""Read a coordinate file: a column of names and the columns ``yaxis``, ``xaxis`` and ``r``, in any order.

    The column of names is the one without a name, else the first that is none of the three.

    Raises
    ------
    DecodeError
        For a missing column, no rows, rows of another length, something that is no finite number, or a spot without
        a name or with that of another, naming row and column.

    Examples
    --------
    >>> coords = read_coords(b",yaxis,xaxis,r\nA1_10x13,2622.15,1923.65,54.3\n")
    >>> coords.names.tolist(), coords.x.tolist(), coords.y.tolist(), coords.radius_constant
    (['A1_10x13'], [1923.65], [2622.15], 54.3)
    """
    header, blocks = read_delimited(data)
    place, others = _places(header)
    names: list[str] = []
    values: dict[str, list[Floats]] = {_X: [], _Y: [], _RADIUS: []}
    for first, columns in blocks:
        names.extend(columns[place[""]])
        for column, pieces in values.items():
            pieces.append(numbers(columns[place[column]], column, first))
    if not names:
        raise DecodeError("expected spots below the header, found none.")
    require_names(names, header[place[""]], "spot")
    radius = np.concatenate(values[_RADIUS])
    notes = [f"columns that are not read: {', '.join(others)}"] if others else []
    if bytes(memoryview(data)[-1:]) not in {b"\n", b"\r"}:
        notes.append("the last line does not end: its last number may be cut")
    return Coords(
        names=strings(names),
        x=np.concatenate(values[_X]),
        y=np.concatenate(values[_Y]),
        radius=radius,
        radius_constant=float(radius[0]) if (radius == radius[0]).all() else None,
        notes=tuple(notes),
    )


def _places(header: list[str]) -> tuple[dict[str, int], list[str]]:
    """Find the columns, that of the names under ``""``; also give the names of those that are not read."""
    place = {column: header.index(column) for column in (_Y, _X, _RADIUS) if header.count(column) == 1}
    rest = [at for at, column in enumerate(header) if column not in place]
    if len(place) < 3 or not rest:
        found = ", ".join(repr(column)[:40] for column in header[:8])
        raise DecodeError(f"expected a column of names and {_Y!r}, {_X!r}, {_RADIUS!r} once each, found {found}.")
    named = next((at for at in rest if not header[at]), rest[0])
    return place | {"": named}, [header[at] for at in rest if at != named]
