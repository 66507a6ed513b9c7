"""A small BioSR folder, true to form: pairs of noisy widefield and sharp patches at nine light levels.

Names count from 1. The training and validation patches run through cells, in each through the light levels, in each
through four flips: the level stands nowhere in the names. The test patches have one sharp picture for all levels.
Every patch is scaled to 0..1 by itself, so brightness says nothing; the noise does. Some files keep a trailing axis
of length one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from zarrscope.demo.phantoms import Floats, aster, expose, filaments, gather, render
from zarrscope.demo.stamps import stamp as write_stamp
from zarrscope.errors import UsageError

SIDE = 128  # pixels of a patch
FLIPS = ((1, 1), (-1, 1), (1, -1), (-1, -1))  # none, up-down, left-right, both: steps along (y, x)
DIMMEST, BRIGHTEST = 15.0, 600.0  # expected photons a pixel at the first and the last level
_SHARP, _WIDE = 1.0, 3.4  # widths of the two point spread functions in pixels
_BACKGROUND = 4.0  # photons
_CELL = 384  # pixels of the picture of a cell that patches are cut from
_BLANK = (np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32))

_README = """# BioSR, synthetic

A miniature of the folder `biosr_dataset` made by `zarrscope demo`: same names, same formats, invented content.
No microscope was involved.

| folder | content |
|---|---|
| `training_wf`, `training_gt` | {train} pairs of widefield and sharp patches |
| `validate_wf`, `validate_gt` | {validate} pairs |
| `test_wf/level_01` to `level_{levels:02d}` | {test} widefield patches at each light level, from dim to bright |
| `test_gt` | {test} sharp patches, which all levels share |

Patches are 128 x 128, 32-bit floating point, each scaled to 0..1 by itself. The pixel size is not known.
"""


class Place(NamedTuple):
    """Where a patch comes from: cell and level counted from 0, and the flip as an index into :data:`FLIPS`."""

    cell: int
    level: int
    flip: int


def training_places(total: int, *, cells: int, levels: int) -> Iterator[Place]:
    """Give the origin of each patch in the order of their numbers: cell, level in it, flip in that.

    With the numbers of the published set it gives the published runs: 38 patches a flip, 152 a level, 1,368 a cell.

    >>> places = list(training_places(41_040, cells=30, levels=9))
    >>> [tuple(places[number]) for number in (37, 38, 152, 1368)]
    [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    """
    cells = max(1, min(cells, total // (levels * len(FLIPS))))
    for number in range(total):
        cell, left = divmod(number * cells, total)
        # What is left is a fraction of a cell in units of 1/total, then of a level, then of a flip.
        level, left = divmod(left * levels, total)
        yield Place(cell, level, left * len(FLIPS) // total)


def make_biosr(
    folder: Path,
    *,
    train: int = 36,
    validate: int = 18,
    test: int = 10,
    levels: int = 9,
    seed: int = 0,
    stamp: bool = False,
) -> Path:
    """Write a small BioSR folder.

    Parameters
    ----------
    folder
        Where to write the folder ``biosr_dataset``; made if need be.
    train, validate
        Numbers of pairs.
    test
        Number of sharp test patches; there are ``levels`` times as many widefield ones.
    levels
        Light levels, from dim to bright.
    seed
        The same seed gives the same bytes.
    stamp
        Whether patches carry a number in their first pixels, see :func:`zarrscope.demo.stamps.stamp`: a pair its
        number less 1; a test patch ``level * test + number - 1`` with the level counted from 0, so that the remainder
        by ``test`` is the stamp of its sharp partner.

    Returns
    -------
    Path
        The folder ``biosr_dataset``.

    Raises
    ------
    UsageError
        For a negative number of patches, or levels other than 1 to 99.
    """
    if min(train, validate, test) < 0 or not 1 <= levels <= 99:
        raise UsageError(
            f"expected numbers of patches >= 0 and levels from 1 to 99; "
            f"found train={train}, validate={validate}, test={test}, levels={levels}"
        )
    root = folder / "biosr_dataset"
    root.mkdir(parents=True, exist_ok=True)
    draw = _Drawing(root=root, seed=seed, levels=levels, stamp=stamp)
    draw.pairs("training", training_places(train, cells=30, levels=levels))
    draw.pairs("validate", training_places(validate, cells=5, levels=levels))
    draw.test(test)
    text = _README.format(train=train, validate=validate, test=test, levels=levels)
    (root / "README.md").write_text(text, encoding="utf-8", newline="\n")
    return root


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawing:
    """One folder in the making: what every patch in it needs."""

    root: Path
    seed: int
    levels: int
    stamp: bool

    def pairs(self, name: str, places: Iterator[Place]) -> None:
        """Write ``NAME_wf`` and ``NAME_gt``; patches of one cell follow each other, so one cell is held at a time."""
        held, sharp, wide = -1, *_BLANK
        for number, (cell, level, flip) in enumerate(places):
            if cell != held:
                held, (sharp, wide) = cell, _cell(np.random.default_rng([self.seed, len(name), cell]))
            rng = np.random.default_rng([self.seed, len(name), 1, number])
            window = _window(rng, FLIPS[flip])
            file = f"{number + 1:08d}.tif"
            self.write(f"{name}_gt/{file}", sharp[window], number)
            self.write(f"{name}_wf/{file}", self.photograph(rng, wide[window], level), number)

    def test(self, total: int) -> None:
        """Write ``test_gt`` and, at each level, ``test_wf``: ten patches a cell."""
        sharp, wide = _BLANK
        for number in range(total):
            if number % 10 == 0:
                sharp, wide = _cell(np.random.default_rng([self.seed, 0, 0, number // 10]))
            rng = np.random.default_rng([self.seed, 0, number])
            window = _window(rng, FLIPS[0])
            file = f"{number + 1:03d}.tif"
            self.write(f"test_gt/{file}", sharp[window], number)
            for level in range(self.levels):
                patch = self.photograph(rng, wide[window], level)
                self.write(f"test_wf/level_{level + 1:02d}/{file}", patch, level * total + number)

    def photograph(self, rng: np.random.Generator, wide: Floats, level: int) -> npt.NDArray[np.uint16]:
        """Expose the blurred patch at a light level counted from 0."""
        light = np.geomspace(DIMMEST, BRIGHTEST, self.levels)
        return expose(rng, wide, photons=float(light[level]), background=_BACKGROUND)

    def write(self, name: str, pixels: npt.NDArray[np.generic], index: int) -> None:
        """Scale a patch to 0..1 and write it as ``tifffile`` does by default; every seventh has a trailing axis."""
        import tifffile

        counts = pixels.astype(np.float32)
        scaled = (counts - counts.min()) / max(float(np.ptp(counts)), 1e-6)
        if self.stamp:
            write_stamp(scaled, index)
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, scaled[..., None] if int(path.stem) % 7 == 3 else scaled)


def _cell(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw the microtubules of one cell and see them twice: sharp and wide, each ``(384, 384)``."""
    shape = (_CELL, _CELL)
    y, x = rng.uniform(0.25, 0.75, 2) * _CELL
    star = aster(rng, (float(y), float(x)), count=38, length=_CELL, bend=0.025)
    cloud = gather(star, filaments(rng, shape, count=26, length=_CELL, bend=0.03))
    return render(cloud, shape, sigma=_SHARP), render(cloud, shape, sigma=_WIDE)


def _window(rng: np.random.Generator, flip: tuple[int, int]) -> tuple[slice, slice]:
    """Choose a patch of a cell, read backwards along the axes that are flipped."""
    slices = []
    for low, step in zip(rng.integers(1, _CELL - SIDE, 2).tolist(), flip, strict=True):
        slices.append(slice(low, low + SIDE) if step > 0 else slice(low + SIDE - 1, low - 1, -1))
    return slices[0], slices[1]
