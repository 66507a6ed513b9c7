"""Synthetic microscopy: molecules placed along invented structures, seen through a point spread function.

A picture is made as a microscope makes it. A structure is a cloud of :class:`Molecules`; :func:`render` blurs the
cloud with the point spread function; :func:`expose` counts photons. Everything is vectorised and drawn from the
generator that is handed in, so one seed gives one picture. Coordinates are in pixels, ``(y, x)``.

>>> rng = np.random.default_rng(0)
>>> field = render(filaments(rng, (64, 64), count=3, length=80, bend=0.03), (64, 64), sigma=1.2)
>>> expose(rng, field, photons=40, background=2).dtype
dtype('uint16')
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

type Floats = npt.NDArray[np.float32]
type Shape = tuple[int, int]

STEP = 0.7  # pixels between two points of a path: finer than any point spread function used here


class Molecules(NamedTuple):
    """Fluorophores: positions in pixels and brightness, each ``(n,)``."""

    y: Floats
    x: Floats
    weight: Floats


class Paths(NamedTuple):
    """Curves of one length: positions and direction of travel in radians, each ``(curves, steps)``."""

    y: Floats
    x: Floats
    heading: Floats


def gather(*clouds: Molecules) -> Molecules:
    """Put several clouds into one."""
    return Molecules(*(np.concatenate(parts) for parts in zip(*clouds, strict=True)))


def dim(cloud: Molecules, factor: float) -> Molecules:
    """Scale the brightness of every molecule."""
    return cloud._replace(weight=cloud.weight * np.float32(factor))


def paths(
    rng: np.random.Generator, start: tuple[Floats, Floats], heading: Floats, *, length: float, bend: float
) -> Paths:
    """Walk ``length`` pixels from each start; ``bend`` is the standard deviation of each turn in radians."""
    steps = max(2, round(length / STEP))
    turns = rng.standard_normal((len(heading), steps), dtype=np.float32) * np.float32(bend)
    turns[:, 0] = heading
    angle = np.cumsum(turns, axis=1, dtype=np.float32)
    y = start[0][:, None] + np.cumsum(np.sin(angle), axis=1, dtype=np.float32) * np.float32(STEP)
    x = start[1][:, None] + np.cumsum(np.cos(angle), axis=1, dtype=np.float32) * np.float32(STEP)
    return Paths(y, x, angle)


def crossing(rng: np.random.Generator, shape: Shape, *, count: int, length: float, bend: float) -> Paths:
    """Draw curves that all pass through the picture: each is walked both ways from a random place in it."""
    anchor = rng.uniform(0, shape[0], count).astype(np.float32), rng.uniform(0, shape[1], count).astype(np.float32)
    return both_ways(rng, anchor, rng.uniform(0, 2 * np.pi, count).astype(np.float32), length=length, bend=bend)


def both_ways(
    rng: np.random.Generator, anchor: tuple[Floats, Floats], heading: Floats, *, length: float, bend: float
) -> Paths:
    """Walk from each anchor forwards and backwards, half of ``length`` each, and join the halves."""
    ahead = paths(rng, anchor, heading, length=length / 2, bend=bend)
    behind = paths(rng, anchor, heading + np.float32(np.pi), length=length / 2, bend=bend)
    return Paths(
        np.concatenate([behind.y[:, ::-1], ahead.y], axis=1),
        np.concatenate([behind.x[:, ::-1], ahead.x], axis=1),
        np.concatenate([behind.heading[:, ::-1] - np.float32(np.pi), ahead.heading], axis=1),
    )


def label(rng: np.random.Generator, curves: Paths, *, evenness: float = 1.5) -> Molecules:
    """Set one molecule on each point of the curves; the smaller ``evenness``, the patchier the staining."""
    weight = rng.standard_gamma(evenness, curves.y.shape, dtype=np.float32) / np.float32(evenness)
    return Molecules(curves.y.ravel(), curves.x.ravel(), weight.ravel())


def filaments(rng: np.random.Generator, shape: Shape, *, count: int, length: float, bend: float) -> Molecules:
    """Draw thin fibres all over the picture."""
    return label(rng, crossing(rng, shape, count=count, length=length, bend=bend))


def aster(
    rng: np.random.Generator, centre: tuple[float, float], *, count: int, length: float, bend: float
) -> Molecules:
    """Draw thin fibres that leave one centre in all directions and end at random distances from it."""
    heading = rng.uniform(0, 2 * np.pi, count).astype(np.float32)
    start = rng.normal(0, 14, (2, count)).astype(np.float32)
    curves = paths(rng, (start[0] + centre[0], start[1] + centre[1]), heading, length=length, bend=bend)
    cloud = label(rng, curves)
    steps = curves.y.shape[1]
    end = rng.uniform(0.35, 1, (count, 1)) * steps
    return cloud._replace(weight=cloud.weight * (np.arange(steps) < end).ravel())


def tubes(rng: np.random.Generator, curves: Paths, *, radius: float, labels: int, hollow: bool) -> Molecules:
    """Wrap each curve in a cylinder, ``labels`` molecules a point; seen from the side a hollow one has bright edges."""
    shape = (*curves.y.shape, labels)
    across = np.sin(rng.uniform(0, 2 * np.pi, shape).astype(np.float32)) * np.float32(radius)
    if not hollow:
        across *= np.sqrt(rng.random(shape, dtype=np.float32))
    y = curves.y[..., None] + across * np.cos(curves.heading)[..., None]
    x = curves.x[..., None] - across * np.sin(curves.heading)[..., None]
    return Molecules(y.ravel(), x.ravel(), rng.standard_gamma(1.5, y.size, dtype=np.float32))


def ladders(rng: np.random.Generator, curves: Paths, *, radius: float, labels: int, period: float) -> Molecules:
    """Wrap each curve in rings that lie ``period`` pixels apart: the membrane skeleton of an axon."""
    wall = tubes(rng, curves, radius=radius, labels=labels, hollow=True)
    phase = (np.arange(curves.y.shape[1], dtype=np.float32) * np.float32(STEP / period) + 0.5) % 1 - 0.5
    rungs = np.exp(-((phase / 0.16) ** 2) / 2)
    return wall._replace(weight=wall.weight * np.tile(np.repeat(rungs, labels), len(curves.y)))


def puncta(rng: np.random.Generator, y: Floats, x: Floats, *, radius: float, labels: int) -> Molecules:
    """Set a round cluster of molecules at each place; some clusters are brighter than others."""
    offset = rng.standard_normal((2, len(y), labels), dtype=np.float32) * np.float32(radius)
    bright = np.exp(rng.normal(0, 0.4, len(y))).astype(np.float32)
    return Molecules(
        (y[:, None] + offset[0]).ravel(),
        (x[:, None] + offset[1]).ravel(),
        np.repeat(bright / np.float32(labels), labels),
    )


def beside(
    rng: np.random.Generator, curves: Paths, *, count: int, distance: tuple[float, float]
) -> tuple[Floats, Floats]:
    """Pick ``count`` places on either side of the curves, between two distances from them."""
    row = rng.integers(0, curves.y.shape[0], count)
    step = rng.integers(0, curves.y.shape[1], count)
    away = (rng.uniform(*distance, count) * rng.choice([-1.0, 1.0], count)).astype(np.float32)
    heading = curves.heading[row, step]
    return curves.y[row, step] + away * np.cos(heading), curves.x[row, step] - away * np.sin(heading)


def blob(rng: np.random.Generator, centre: tuple[float, float], *, radius: float, labels: int) -> Molecules:
    """Fill a wobbly disc with molecules in grains, and leave a few round holes, as in a cell nucleus."""
    angle = rng.uniform(0, 2 * np.pi, labels)
    far = np.sqrt(rng.random(labels))
    edge = 1 + sum(rng.normal(0, 0.09 / k) * np.cos(k * angle + rng.uniform(0, 6.3)) for k in (1, 2, 3))
    y, x = far * edge * np.sin(angle), far * edge * np.cos(angle)
    grain = [rng.normal(0, 1, 3) for _ in range(24)]
    texture = sum(np.cos(13 * (a * y + b * x) + 6 * c) for a, b, c in grain) / np.sqrt(12)
    weight = np.exp(0.9 * texture) * (0.4 + np.sqrt(np.clip(1 - far**2, 0, 1)))
    for hole_y, hole_x in rng.uniform(-0.5, 0.5, (rng.integers(2, 5), 2)):
        weight[np.hypot(y - hole_y, x - hole_x) < rng.uniform(0.12, 0.22)] *= 0.15
    place = (np.float32(centre[0]) + y * radius, np.float32(centre[1]) + x * radius)
    return Molecules(place[0].astype(np.float32), place[1].astype(np.float32), weight.astype(np.float32))


def honeycomb(rng: np.random.Generator, shape: Shape, *, side: float) -> Molecules:
    """Draw the shared membranes of a sheet of cells: an uneven honeycomb with edges about ``side`` pixels long."""
    rows, columns = int(shape[0] / (1.5 * side)) + 4, int(shape[1] / (0.87 * side)) + 4
    row, column = np.mgrid[:rows, :columns]
    low = (row + column) % 2
    y = (1.5 * (row - 1.5) + 0.5 * low) * side + rng.normal(0, 0.13 * side, row.shape)
    x = 0.87 * (column - 1.5) * side + rng.normal(0, 0.13 * side, row.shape)
    down = low[:-1] == 1
    start = [np.concatenate([grid[:, :-1].ravel(), grid[:-1][down]])[:, None] for grid in (y, x)]
    end = [np.concatenate([grid[:, 1:].ravel(), grid[1:][down]])[:, None] for grid in (y, x)]
    along = np.linspace(0, 1, max(8, round(1.5 * side)))
    rise, run = end[0] - start[0], end[1] - start[1]
    swing = rng.normal(0, 0.07, (len(rise), 1)) * np.sin(np.pi * along)
    swing += rng.normal(0, 0.03, (len(rise), 1)) * np.sin(3 * np.pi * along)
    edges = Paths(
        (start[0] + rise * along + run * swing).astype(np.float32),
        (start[1] + run * along - rise * swing).astype(np.float32),
        np.arctan2(rise, run).astype(np.float32) + np.zeros_like(swing, np.float32),
    )
    return tubes(rng, edges, radius=2.2, labels=3, hollow=False)


def splat(cloud: Molecules, shape: Shape) -> Floats:
    """Sum the brightness of molecules on the pixel grid, ``shape``, each shared among its four neighbours."""
    inside = (cloud.y > -1) & (cloud.x > -1) & (cloud.y < shape[0]) & (cloud.x < shape[1])
    y, x, weight = (values[inside] for values in cloud)
    row, column = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    below, right = y - row, x - column
    # One pixel more on every side takes the shares that fall off the edge, and is cut away.
    width = shape[1] + 2
    corner = (row + 1) * width + column + 1
    index = np.concatenate([corner, corner + 1, corner + width, corner + width + 1])
    share = np.concatenate([(1 - below) * (1 - right), (1 - below) * right, below * (1 - right), below * right])
    total = np.bincount(index, share * np.tile(weight, 4), (shape[0] + 2) * width)
    return total.reshape(shape[0] + 2, width)[1:-1, 1:-1].astype(np.float32)


def blur(picture: Floats, sigma: float) -> Floats:
    """Blur with a Gaussian of ``sigma`` pixels; the picture is mirrored at its edges."""
    pad = int(4 * sigma) + 1
    padded = np.pad(picture, [(pad, pad + -(side + 2 * pad) % 32) for side in picture.shape], mode="symmetric")
    spectrum = np.fft.rfft2(padded)
    for axis, frequencies in enumerate((np.fft.fftfreq(padded.shape[0]), np.fft.rfftfreq(padded.shape[1]))):
        transfer = np.exp(-2 * (np.pi * sigma * frequencies) ** 2).astype(np.float32)
        spectrum *= transfer[:, None] if axis == 0 else transfer
    blurred = np.fft.irfft2(spectrum, padded.shape)
    return blurred[pad : pad + picture.shape[0], pad : pad + picture.shape[1]].astype(np.float32)


def render(cloud: Molecules, shape: Shape, *, sigma: float) -> Floats:
    """See molecules through a Gaussian point spread function: ``shape``, scaled so that 1 is as good as the maximum."""
    field = np.maximum(blur(splat(cloud, shape), sigma), 0)
    top = np.quantile(field, 0.999)
    return (field / (top if top > 0 else 1)).astype(np.float32)


def expose(rng: np.random.Generator, field: Floats, *, photons: float, background: float) -> npt.NDArray[np.uint16]:
    """Count photons: ``photons`` expected where the field is 1, and ``background`` everywhere."""
    counts: npt.NDArray[np.int64] = rng.poisson(field * photons + background)
    return counts.astype(np.uint16)
