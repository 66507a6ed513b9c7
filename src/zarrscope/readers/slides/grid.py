"""Read from the names of spots where each stands on its array.

Row and column are those of scanpy: ``array_row`` runs along y, ``array_col`` along x, before the slide is turned.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from zarrscope.model import Strings, strings

type Places = npt.NDArray[np.int64] | npt.NDArray[np.float64]
type Form = Literal["array", "barcode", "bin", "other"]

_NUMBER = r"(-?[0-9]{1,9}(?:\.[0-9]{1,12})?)"
_FORMS: tuple[tuple[Form, re.Pattern[str]], ...] = (
    ("array", re.compile(rf"{_NUMBER}x{_NUMBER}")),  # ST: x first
    ("barcode", re.compile(r"[ACGT]{16}(?:-[0-9]+)?")),  # Visium
    ("bin", re.compile(r"s_([0-9]{3})um_([0-9]{1,9})_([0-9]{1,9})(?:-[0-9]+)?")),  # Visium HD: row first
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpotGrid:
    """What the names of a slide's spots say.

    Parameters
    ----------
    spot
        ``(n,)`` text: the names without the slide in front.
    form
        What all of them are: ``array`` positions (ST), a ``barcode`` (Visium), a ``bin`` (Visium HD), else ``other``.
    array_row, array_col
        ``(n,)`` int64, or float64 where one is not whole: the place on the array along y and along x. None where the
        names don't say.
    bin_um
        The side of a bin in micrometres, for bins.
    foreign
        How many names do not start with the slide: they are kept whole.
    """

    spot: Strings
    form: Form
    array_row: Places | None = None
    array_col: Places | None = None
    bin_um: float | None = None
    foreign: int = 0


def spot_grid(names: Sequence[str] | Strings, slide: str) -> SpotGrid:
    """Take the names of spots apart.

    Examples
    --------
    >>> grid = spot_grid(["A1_10x13", "A1_11x13"], "A1")
    >>> grid.form, grid.array_row.tolist(), grid.array_col.tolist()
    ('array', [13, 13], [10, 11])
    >>> spot_grid(["HD_s_008um_00012_00345-1"], "HD").array_row.tolist()
    [12]
    """
    texts: list[str] = names.tolist() if isinstance(names, np.ndarray) else list(names)
    prefix = f"{slide}_"
    foreign = sum(not text.startswith(prefix) for text in texts)
    texts = [text.removeprefix(prefix) for text in texts]
    spot = strings(texts)
    for form, pattern in _FORMS:
        if not texts or pattern.fullmatch(texts[0]) is None:
            continue
        found = [match.groups() for text in texts if (match := pattern.fullmatch(text))]
        parts = list(zip(*found, strict=True))
        if len(found) < len(texts) or (form == "bin" and len(set(parts[0])) > 1):
            break
        if form == "array":
            col, row = _places(parts[0], parts[1])
            return SpotGrid(spot=spot, form=form, array_row=row, array_col=col, foreign=foreign)
        if form == "bin":
            row, col = _places(parts[1], parts[2])
            side = float(parts[0][0])
            return SpotGrid(spot=spot, form=form, array_row=row, array_col=col, bin_um=side, foreign=foreign)
        return SpotGrid(spot=spot, form=form, foreign=foreign)
    return SpotGrid(spot=spot, form="other", foreign=foreign)


def _places(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[Places, Places]:
    """Turn the two numbers of each place into columns, both whole or neither."""
    pair = np.array([list(map(float, first)), list(map(float, second))])
    whole = np.rint(pair).astype(np.int64)
    return (whole[0], whole[1]) if (whole == pair).all() else (pair[0], pair[1])
