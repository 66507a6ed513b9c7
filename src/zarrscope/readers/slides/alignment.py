"""Tell whether the spots of a slide lie on its tissue, or whether axes were swapped or flipped on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

type Mask = npt.NDArray[np.bool_]

CONTRAST = 16  # levels of 255 between the means of tissue and background: less is no tissue
MARGIN = 0.1  # of the spots: by how much another reading must be better
OUTSIDE = 0.01  # of the spots: how many may lie outside the picture
# What may have happened to the places: swap x and y, then flip x, then flip y.
READINGS = {
    "as given": (False, False, False),
    "x flipped": (False, True, False),
    "y flipped": (False, False, True),
    "x and y flipped": (False, True, True),
    "swapped": (True, False, False),
    "swapped, x flipped": (True, True, False),
    "swapped, y flipped": (True, False, True),
    "swapped, x and y flipped": (True, True, True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """How well spots lie on tissue.

    Parameters
    ----------
    shares
        The share of all spots that lie on tissue, by reading, for each of :data:`READINGS`.
    best
        The reading with the largest share; of equals the first, so "as given" wins a tie.
    score
        The share of the coordinates as given.
    outside
        How many spots lie outside the picture as given.
    tissue
        The share of the picture that is tissue: near 0 or 1 the shares say little.
    suspicious
        Whether another reading puts at least :data:`MARGIN` more of the spots on tissue, or more than
        :data:`OUTSIDE` of them lie outside the picture.
    """

    shares: Mapping[str, float]
    best: str
    score: float
    outside: int
    tissue: float
    suspicious: bool


def tissue_mask(thumbnail: npt.NDArray[np.uint8]) -> Mask:
    """Part tissue from background in a small picture, ``(y, x)`` or ``(y, x, samples)`` with red, green, blue first.

    By colour where there is any (the difference between the largest and the smallest of red, green and blue, so that
    white glass, gray dust and a black frame are all background), else by darkness, or by brightness where the rim of
    the picture is dark. The threshold is Otsu's; without contrast nothing is tissue.
    """
    colours = thumbnail[..., :3] if thumbnail.ndim == 3 else thumbnail[..., None]
    low, high = colours.min(axis=-1), colours.max(axis=-1)
    mask = _above(high - low)
    if mask.any():
        return mask
    rim = np.concatenate([low[0], low[-1], low[:, 0], low[:, -1]]) if low.size else low.ravel()
    dark = low.size > 0 and float(np.median(rim)) < 128
    return _above(high if dark else 255 - low)


def _above(values: npt.NDArray[np.uint8]) -> Mask:
    """Threshold where the variance between the two classes is largest; nowhere true if their means are too close."""
    counts = np.bincount(values.ravel(), minlength=256).astype(np.float64)
    below, total = np.cumsum(counts), np.cumsum(counts * np.arange(256))
    above = below[-1] - below
    between = np.zeros(256)
    usable = (below > 0) & (above > 0)
    apart = np.zeros(256)
    apart[usable] = (total[-1] - total[usable]) / above[usable] - total[usable] / below[usable]
    between[usable] = below[usable] * above[usable] * apart[usable] ** 2
    threshold = int(np.argmax(between))
    mask: Mask = values > threshold
    return mask if apart[threshold] >= CONTRAST else np.zeros_like(mask)


def alignment(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], tissue: Mask, shape: tuple[int, int]
) -> Alignment:
    """Compare the ways in which coordinates can be read.

    Parameters
    ----------
    x, y
        ``(n,)``, pixels of the full picture.
    tissue
        ``(y, x)``, where a small copy of the picture shows tissue, see :func:`tissue_mask`.
    shape
        ``(y, x)`` of the full picture.

    Examples
    --------
    >>> tissue = np.zeros((30, 40), bool)
    >>> tissue[5:10, 20:35] = True
    >>> x, y = np.array([210.0, 250, 340]), np.array([60.0, 95, 75])
    >>> alignment(x, y, tissue, (300, 400)).best, alignment(y, x, tissue, (300, 400)).best
    ('as given', 'swapped')
    """
    height, width = shape
    shares = {}
    for reading, (swap, flip_x, flip_y) in READINGS.items():
        # A swapped file holds y where x should be; then each flip is that of the picture.
        column, row = (y, x) if swap else (x, y)
        shares[reading] = _share(width - column if flip_x else column, height - row if flip_y else row, tissue, shape)
    best = max(shares, key=lambda reading: shares[reading])  # max gives the first of equals
    outside = len(x) - int(_inside(x, y, shape).sum())
    score = shares["as given"]
    return Alignment(
        shares=MappingProxyType(shares),
        best=best,
        score=score,
        outside=outside,
        tissue=float(tissue.mean()) if tissue.size else 0.0,
        suspicious=shares[best] - score >= MARGIN or outside > OUTSIDE * len(x),
    )


def _inside(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], shape: tuple[int, int]) -> Mask:
    return (x >= 0) & (x <= shape[1]) & (y >= 0) & (y <= shape[0])


def _share(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], tissue: Mask, shape: tuple[int, int]) -> float:
    """Give the share of the spots that lie on tissue; those outside the picture do not."""
    inside = _inside(x, y, shape)
    if not inside.any() or not tissue.size:
        return 0.0
    places = []
    for values, side, full in zip((y, x), tissue.shape, shape, strict=True):
        places.append(np.minimum((values[inside] * (side / full)).astype(np.int64), side - 1))
    return float(tissue[places[0], places[1]].sum()) / len(x)
