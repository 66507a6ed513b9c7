"""Say how large a pixel is, where the technology fixes it, and how that is known; never guess."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from zarrscope.readers.slides.coords import Coords
from zarrscope.readers.slides.grid import SpotGrid

ST_RADIUS, ST_PITCH = 50.0, 200.0  # micrometres
_CONTRADICTION = 0.1  # by how much two ways to the size of a pixel may differ
_SKEW = 0.05  # by how much the two pitches may differ, and the cosine between the axes of the array
_SCATTER = 0.25  # root mean square distance of the spots from a regular array, in pitches


class PixelSize(NamedTuple):
    """The side of a pixel in micrometres, None where unknown, and a sentence that says how it is known or why not."""

    value: float | None
    how: str


def micrometres_per_pixel(technology: str, coords: Coords, grid: SpotGrid) -> PixelSize:
    r"""Derive the size of a pixel of the slide's full-resolution picture.

    ST
        Spots have a radius of 50 micrometres. Where the names say which place of the array a spot has, the spacing
        (200 micrometres) must agree within a tenth: radii of some published slides were wrong by a factor of two.
    VisiumHD
        Bins lie side by side, so their pitch is their size: the spacing is fitted to their places on the array.
    Visium
        Unknown: 10x documents the diameter that it publishes both as 55 and as 65 micrometres.

    Examples
    --------
    >>> from zarrscope.readers.slides import read_coords, spot_grid
    >>> coords = read_coords(b",yaxis,xaxis,r\nA1_a,5,6,25\nA1_b,5,9,25\n")
    >>> micrometres_per_pixel("ST", coords, spot_grid(coords.names, "A1"))
    PixelSize(value=2.0, how='derived: ST spots have a radius of 50 µm')
    """
    if technology == "ST":
        return _from_radius(coords, grid)
    if technology == "VisiumHD":
        pitch = _pitch(coords, grid) if grid.form == "bin" and grid.bin_um else None
        if pitch is None or grid.bin_um is None:
            return PixelSize(None, "unknown: the names of the bins do not say where they lie on a regular array")
        return PixelSize(_rounded(grid.bin_um / pitch), f"derived: bins of {grid.bin_um:g} µm lie side by side")
    if technology == "Visium":
        return PixelSize(None, "unknown: the published Visium spot diameter stands for 55 µm or for 65 µm")
    return PixelSize(None, f"unknown: nothing is known of the technology {technology!r:.40}")


def _from_radius(coords: Coords, grid: SpotGrid) -> PixelSize:
    radius = coords.radius_constant
    if radius is None or radius <= 0:
        return PixelSize(None, "unknown: the spots have no common radius")
    size = ST_RADIUS / radius
    pitch = _pitch(coords, grid) if grid.form == "array" else None
    if pitch is not None and abs(math.log(size * pitch / ST_PITCH)) > math.log1p(_CONTRADICTION):
        return PixelSize(
            None,
            f"unknown: a spot radius of 50 µm gives {size:.3g} µm a pixel, a spacing of 200 µm gives "
            f"{ST_PITCH / pitch:.3g}",
        )
    return PixelSize(size, "derived: ST spots have a radius of 50 µm")


def _pitch(coords: Coords, grid: SpotGrid) -> float | None:
    """Fit an array to the spots, turned, shifted and mirrored as it may be: pixels from one place to the next.

    None where the spots do not lie on a square array.
    """
    if grid.array_col is None or grid.array_row is None or len(coords) < 4:
        return None
    across, down = (places - places.mean() for places in (grid.array_col, grid.array_row))
    x, y = coords.x - coords.x.mean(), coords.y - coords.y.mean()
    # The normal equations, by plain sums: the same bits on every machine, unlike a solver with threads.
    (aa, ad, dd) = (float((p * q).sum()) for p, q in ((across, across), (across, down), (down, down)))
    if (determinant := aa * dd - ad * ad) <= 1e-9 * aa * dd or not determinant:
        return None
    steps = np.empty((2, 2))  # along the columns and the rows of the array; x, y
    for axis, values in enumerate((x, y)):
        av, dv = float((across * values).sum()), float((down * values).sum())
        steps[:, axis] = (dd * av - ad * dv) / determinant, (aa * dv - ad * av) / determinant
    lengths = np.hypot(steps[:, 0], steps[:, 1])
    pitch = math.sqrt(lengths[0] * lengths[1])
    apart = np.hypot(*(values - across * s[0] - down * s[1] for values, s in zip((x, y), steps.T, strict=True)))
    square = abs(lengths[0] - lengths[1]) <= _SKEW * pitch and abs(float(steps[0] @ steps[1])) <= _SKEW * pitch**2
    regular = math.sqrt(float((apart**2).mean())) <= _SCATTER * pitch
    return pitch if pitch > 0 and square and regular else None


def _rounded(value: float) -> float:
    """Keep six digits: a fit knows no more."""
    return float(f"{value:.6g}")
