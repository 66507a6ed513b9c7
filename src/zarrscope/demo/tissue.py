"""Synthetic histology: a piece of tissue in layers, stained pink and violet on white glass, and spots on an array.

The tissue lies off the middle of the picture and is no circle, so that swapped or flipped coordinates show. It has
:data:`LAYERS` layers from rim to core, which the stain and the genes follow. Coordinates are in pixels, ``(y, x)``.

>>> tissue = grow(np.random.default_rng(0), (60, 80))
>>> spots = cover(np.random.default_rng(0), tissue, "Visium", 50)
>>> len(spots), bool((tissue.depth(spots.y, spots.x) > 0).all())
(50, True)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from zarrscope.demo.phantoms import Molecules, Shape, blur, splat

type Array = npt.NDArray[np.float64]
type Places = npt.NDArray[np.int64]
type Pixels = npt.NDArray[np.uint8]
type Technology = Literal["ST", "Visium", "VisiumHD"]

LAYERS = 5
_GLASS = 244.0
# What the stains take away of red, green and blue: optical densities.
_EOSIN = np.array([0.06, 0.52, 0.22], np.float32)
_HEMATOXYLIN = np.array([0.62, 0.78, 0.30], np.float32)
_TURN = {"ST": 0.010, "Visium": 0.005, "VisiumHD": 0.020}  # radians by which the array is turned
_WAVES = np.arange(1, 5)  # of the outline


@dataclass(frozen=True, slots=True, kw_only=True)
class Tissue:
    """An outline: an ellipse with waves, ``centre`` and ``radii`` in pixels along (y, x)."""

    shape: Shape
    centre: tuple[float, float]
    radii: tuple[float, float]
    heights: Array
    phases: Array

    def depth(self, y: npt.ArrayLike, x: npt.ArrayLike) -> Array:
        """Tell how deep a place lies: 1 at the core, 0 at the rim, negative outside."""
        down = (np.asarray(y, np.float64) - self.centre[0]) / self.radii[0]
        across = (np.asarray(x, np.float64) - self.centre[1]) / self.radii[1]
        angle = np.arctan2(down, across)
        edge = np.ones_like(angle)
        for wave, height, phase in zip(_WAVES, self.heights, self.phases, strict=True):
            edge += height * np.cos(wave * angle + phase)
        depth: Array = 1 - np.hypot(down, across) / edge
        return depth


@dataclass(frozen=True, slots=True, kw_only=True)
class Spots:
    """Where spots lie: pixels ``y`` and ``x``, places ``row`` and ``col`` on the array, and its pitch in pixels."""

    y: Array
    x: Array
    row: Places
    col: Places
    pitch: float

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: Places) -> Spots:
        """Select spots, in the order given."""
        return replace(self, y=self.y[rows], x=self.x[rows], row=self.row[rows], col=self.col[rows])


def grow(rng: np.random.Generator, shape: Shape) -> Tissue:
    """Make a piece of tissue in a picture of ``shape``: about a quarter of it, upper right of the middle."""
    return Tissue(
        shape=shape,
        centre=(0.40 * shape[0], 0.60 * shape[1]),
        radii=(0.30 * shape[0], 0.28 * shape[1]),
        heights=rng.uniform(0.04, 0.12, len(_WAVES)) / np.sqrt(_WAVES),
        phases=rng.uniform(0, 2 * np.pi, len(_WAVES)),
    )


def layers(depth: Array) -> Places:
    """Give the layer at each depth, 0 at the rim."""
    return np.clip((depth * LAYERS).astype(np.int64), 0, LAYERS - 1)


def paint(rng: np.random.Generator, tissue: Tissue) -> Pixels:
    """Stain the tissue: nuclei violet, the rest pink, ``(y, x, 3)``."""
    height, width = tissue.shape
    depth = tissue.depth(np.arange(height)[:, None], np.arange(width)[None])
    body = np.clip(depth / 0.02, 0, 1).astype(np.float32)
    grain = blur(rng.standard_normal(tissue.shape, dtype=np.float32), max(2.0, height / 150))
    grain /= grain.std()
    # Every other layer is rich in cells.
    crowd = np.where(layers(depth) % 2, 0.55, 0.2).astype(np.float32)
    count = height * width // 40
    y, x = (rng.uniform(0, side, count).astype(np.float32) for side in tissue.shape)
    nuclei = blur(splat(Molecules(y, x, rng.uniform(0.5, 1.5, count).astype(np.float32)), tissue.shape), 1.3)
    eosin = body * np.clip(1 + 0.25 * grain, 0.3, 2)
    violet = body * (np.clip(nuclei * 16, 0, 1.6) * crowd + 0.12)
    density = eosin[..., None] * _EOSIN + violet[..., None] * _HEMATOXYLIN
    light = _GLASS * np.exp(-density) + 1.5 * rng.standard_normal((height, width, 1), dtype=np.float32)
    pixels: Pixels = np.clip(np.rint(light), 0, 255).astype(np.uint8)
    return pixels


def cover(rng: np.random.Generator, tissue: Tissue, technology: Technology, count: int) -> Spots:
    """Lay an array over the tissue so that ``count`` of its spots lie inside, those next to the rim left out.

    ST has a square array whose spots were printed a little unevenly; Visium a honeycomb, whose rows are shifted by
    half a pitch, so that row and column are both even or both odd; Visium HD square bins.
    """
    y, x = np.meshgrid(*((np.arange(200) + 0.5) / 200 * side for side in tissue.shape), indexing="ij")
    area = float((tissue.depth(y, x) > 0).mean()) * tissue.shape[0] * tissue.shape[1]
    dense = np.sqrt(3) / 2 if technology == "Visium" else 1.0
    pitch = float(np.sqrt(area / count / dense))
    while True:
        spots = _array(tissue, technology, pitch)
        depth = tissue.depth(spots.y, spots.x)
        if (depth > 0).sum() >= count:
            break
        pitch *= 0.98
    spots = spots.take(np.sort(np.argsort(-depth, kind="stable")[:count]))
    uneven = rng.normal(0, 0.01 * pitch if technology == "ST" else 0.0, (2, count))
    # Row and column of Visium stay both even or both odd.
    row, col = (places - places.min() // 2 * 2 for places in (spots.row, spots.col))
    return replace(spots, y=spots.y + uneven[0], x=spots.x + uneven[1], row=row, col=col)


def _array(tissue: Tissue, technology: Technology, pitch: float) -> Spots:
    """Lay an array over the whole picture, a little turned, row after row."""
    honeycomb = technology == "Visium"
    down, across = (pitch * np.sqrt(3) / 2, pitch / 2) if honeycomb else (pitch, pitch)
    reach = [int(0.6 * side / step) for side, step in zip(tissue.shape, (down, across), strict=True)]
    row, col = (grid.ravel() for grid in np.mgrid[-reach[0] : reach[0] + 1, -reach[1] : reach[1] + 1])
    if honeycomb:
        row, col = row[(row + col) % 2 == 0], col[(row + col) % 2 == 0]
    sine, cosine = np.sin(_TURN[technology]), np.cos(_TURN[technology])
    y = tissue.centre[0] + row * down * cosine + col * across * sine
    x = tissue.centre[1] + col * across * cosine - row * down * sine
    return Spots(y=y, x=x, row=row, col=col, pitch=pitch)
