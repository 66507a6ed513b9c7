"""What each protein looks like: fibres, rings, puncta, nuclei, mitochondria, membranes, one scene a protein.

Scenes are caricatures with the right family resemblance, so that a contact sheet by protein is instructive: spectrin
sits in rings 190 nm apart along axons, PSD-95 beside dendrites, FUS in nuclei, TOM20 on mitochondria. A pixel stands
for about 20 nm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from zarrscope.demo.phantoms import (
    Floats,
    Molecules,
    Paths,
    Shape,
    aster,
    beside,
    blob,
    both_ways,
    crossing,
    dim,
    filaments,
    gather,
    honeycomb,
    label,
    ladders,
    paths,
    puncta,
    render,
    tubes,
)

type Draw = Callable[[np.random.Generator, Shape], Molecules]

RING_PERIOD = 9.5  # pixels: 190 nm


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """How to draw a structure and how it is imaged.

    ``sigma`` is the width of the point spread function in pixels; ``photons`` and ``background`` are expected counts
    a pixel at the brightest structures and beside them.
    """

    draw: Draw
    sigma: float = 1.5
    photons: float = 60
    background: float = 0.8

    def field(self, rng: np.random.Generator, shape: Shape) -> Floats:
        """Draw and render one picture, ``shape``, 1 at the brightest structures."""
        return render(self.draw(rng, shape), shape, sigma=self.sigma)


def _number(shape: Shape, per_million: float) -> int:
    """Scale a density, a million pixels, to a picture."""
    return max(1, round(shape[0] * shape[1] * per_million / 1e6))


def _inside(rng: np.random.Generator, shape: Shape) -> tuple[float, float]:
    y, x = rng.uniform(0.3, 0.7, 2) * shape
    return float(y), float(x)


def _neurites(rng: np.random.Generator, shape: Shape, density: float) -> Paths:
    """Draw long, gently winding curves that cross the whole picture side by side, mostly in one direction."""
    count = max(2, _number(shape, density))
    main = rng.uniform(0, np.pi)
    # Anchors lie on a line across the main direction, so that the curves cover the picture without piling up.
    across = ((np.arange(count) + rng.uniform(0.1, 0.9, count)) / count - 0.5) * 1.1 * min(shape)
    y = (shape[0] / 2 + across * np.cos(main)).astype(np.float32)
    x = (shape[1] / 2 - across * np.sin(main)).astype(np.float32)
    heading = (main + rng.normal(0, 0.3, count)).astype(np.float32)
    return both_ways(rng, (y, x), heading, length=1.5 * max(shape), bend=0.02)


def microtubules(rng: np.random.Generator, shape: Shape) -> Molecules:
    """Draw fibres that leave the middle of a cell, and others that cross them."""
    side = max(shape)
    star = aster(rng, _inside(rng, shape), count=_number(shape, 80) + 8, length=0.8 * side, bend=0.028)
    return gather(star, filaments(rng, shape, count=_number(shape, 75), length=0.6 * side, bend=0.028))


def intermediate_filaments(rng: np.random.Generator, shape: Shape) -> Molecules:
    """Draw a dense wavy basket, thickest round the middle of a cell."""
    y, x = _inside(rng, shape)
    count = _number(shape, 420)
    angle = rng.uniform(0, 2 * np.pi, count)
    far = rng.gamma(2.2, 0.11, count) * min(shape)
    start = ((y + far * np.sin(angle)).astype(np.float32), (x + far * np.cos(angle)).astype(np.float32))
    heading = (angle + np.pi / 2 + rng.normal(0, 0.5, count)).astype(np.float32)
    return label(rng, paths(rng, start, heading, length=170, bend=0.09))


def stress_fibres(rng: np.random.Generator, shape: Shape) -> Molecules:
    """Draw parallel bundles over a fine mesh."""
    count = _number(shape, 30) + 4
    anchor = (rng.uniform(0, side, count).astype(np.float32) for side in shape)
    heading = (rng.uniform(0, np.pi) + rng.normal(0, 0.13, count)).astype(np.float32)
    y, x = anchor
    spine = both_ways(rng, (y, x), heading, length=0.9 * max(shape), bend=0.007)
    bundles = tubes(rng, spine, radius=3.2, labels=3, hollow=False)
    mesh = filaments(rng, shape, count=_number(shape, 420), length=150, bend=0.06)
    return gather(bundles, dim(mesh, 0.8))


def spiny_dendrites(rng: np.random.Generator, shape: Shape, *, shaft: float, rings: bool) -> Molecules:
    """Draw dendrites, filled or ringed, with spines: a thin neck and a bright head."""
    curves = _neurites(rng, shape, 9)
    if rings:
        trunk = ladders(rng, curves, radius=11, labels=7, period=RING_PERIOD)
    else:
        trunk = tubes(rng, curves, radius=11, labels=7, hollow=False)
    count = 34 * len(curves.y)
    row, step = rng.integers(0, curves.y.shape[0], count), rng.integers(0, curves.y.shape[1], count)
    side = rng.choice([-1.0, 1.0], count)
    out = (curves.heading[row, step] + side * np.pi / 2 + rng.normal(0, 0.3, count)).astype(np.float32)
    root = curves.y[row, step] + 9 * np.sin(out), curves.x[row, step] + 9 * np.cos(out)
    reach = rng.uniform(8, 22, count).astype(np.float32)
    neck = (root[0][:, None], root[1][:, None], np.linspace(0, 1, 24, dtype=np.float32) * reach[:, None])
    necks = Molecules(
        (neck[0] + neck[2] * np.sin(out)[:, None]).ravel(),
        (neck[1] + neck[2] * np.cos(out)[:, None]).ravel(),
        np.full(count * 24, 1.2, np.float32),
    )
    heads = puncta(rng, root[0] + reach * np.sin(out), root[1] + reach * np.cos(out), radius=3.2, labels=160)
    return gather(dim(trunk, shaft), necks, dim(heads, 150))


def ringed_axons(rng: np.random.Generator, shape: Shape) -> Molecules:
    """Draw axons whose membrane skeleton shows as a ladder of rings."""
    curves = _neurites(rng, shape, 13)
    wall = ladders(rng, curves, radius=9, labels=10, period=RING_PERIOD)
    return gather(wall, dim(tubes(rng, curves, radius=9, labels=2, hollow=True), 0.5))


def synapses(
    rng: np.random.Generator, shape: Shape, *, density: float, radius: float, gap: tuple[float, float]
) -> Molecules:
    """Draw puncta along unseen dendrites, each of a few nanodomains, and some that are scattered."""
    curves = _neurites(rng, shape, 9)
    y, x = beside(rng, curves, count=_number(shape, density), distance=gap)
    stray = _number(shape, density / 8)
    y = np.concatenate([y, rng.uniform(0, shape[0], stray).astype(np.float32)])
    x = np.concatenate([x, rng.uniform(0, shape[1], stray).astype(np.float32)])
    held = rng.integers(1, 4, len(y))
    apart = rng.normal(0, 1.7 * radius, (2, held.sum())).astype(np.float32)
    domains = puncta(rng, np.repeat(y, held) + apart[0], np.repeat(x, held) + apart[1], radius=radius, labels=60)
    haze = puncta(rng, y, x, radius=5 * radius, labels=60)
    return gather(domains, dim(haze, 0.5))


def vesicles(rng: np.random.Generator, shape: Shape) -> Molecules:
    """Draw boutons along thin axons: clouds of small vesicles."""
    curves = _neurites(rng, shape, 10)
    y, x = beside(rng, curves, count=_number(shape, 130), distance=(0, 3))
    apart = rng.normal(0, 8, (2, len(y), 22)).astype(np.float32)
    cloud = puncta(rng, (y[:, None] + apart[0]).ravel(), (x[:, None] + apart[1]).ravel(), radius=1.2, labels=24)
    return gather(cloud, dim(label(rng, curves, evenness=0.5), 0.01))


def nuclei(rng: np.random.Generator, shape: Shape) -> Molecules:
    """Draw round nuclei with grains and dark nucleoli, and a thin dust of granules around them."""
    radius = 0.19 * min(max(shape), 700)
    count = max(1, round(shape[0] * shape[1] / (2.6 * radius) ** 2))
    spots = rng.uniform(0.02, 0.98, (12 * count, 2)) * shape
    kept: list[tuple[float, float]] = []
    for y, x in spots:
        if len(kept) < count and all(np.hypot(y - a, x - b) > 2.3 * radius for a, b in kept):
            kept.append((float(y), float(x)))
    fills = [blob(rng, centre, radius=rng.uniform(0.8, 1.05) * radius, labels=int(3 * radius**2)) for centre in kept]
    dust = rng.uniform(0, 1, (2, _number(shape, 700))).astype(np.float32)
    grains = puncta(rng, dust[0] * shape[0], dust[1] * shape[1], radius=1.2, labels=30)
    return gather(*fills, dim(grains, 20))


def mitochondria(rng: np.random.Generator, shape: Shape) -> Molecules:
    """Draw short winding tubes with a bright, patchy wall."""
    curves = crossing(rng, shape, count=_number(shape, 190), length=110, bend=0.055)
    wall = tubes(rng, curves, radius=7.5, labels=8, hollow=True)
    patchy = wall.weight * (rng.random(len(wall.weight), dtype=np.float32) < 0.6)
    y, x = beside(rng, curves, count=_number(shape, 4500), distance=(5.5, 7.5))
    return gather(wall._replace(weight=patchy), dim(puncta(rng, y, x, radius=1.2, labels=12), 18))


def membranes(rng: np.random.Generator, shape: Shape) -> Molecules:
    """Draw a sheet of cells by their outlines, with a few vesicles inside."""
    y, x = (rng.uniform(0, side, _number(shape, 900)).astype(np.float32) for side in shape)
    return gather(honeycomb(rng, shape, side=75), dim(puncta(rng, y, x, radius=1.6, labels=20), 25))


_excitatory = partial(synapses, density=900, radius=2.3, gap=(9, 22))
_scaffold = partial(synapses, density=800, radius=2.9, gap=(9, 20))
_presynaptic = partial(synapses, density=1700, radius=1.7, gap=(4, 26))
_sparse = partial(synapses, density=380, radius=2.2, gap=(7, 13))
_filled = partial(spiny_dendrites, shaft=0.8, rings=False)

SCENES: dict[str, Scene] = {
    "FUS": Scene(draw=nuclei, photons=70, background=1.2),
    "adducin": Scene(draw=ringed_axons, photons=35, background=1.2),
    "bassoon": Scene(draw=_presynaptic, sigma=1.3, photons=60),
    "beta-camkii": Scene(draw=_filled, sigma=1.8, photons=45, background=1.2),
    "beta2-spectrin": Scene(draw=ringed_axons, sigma=1.4, photons=55),
    "camkii": Scene(draw=_filled, sigma=2.2, photons=40, background=2),
    "f-actin": Scene(draw=partial(spiny_dendrites, shaft=1.5, rings=True), photons=60),
    "gephyrin": Scene(draw=_sparse, photons=50),
    "glur1": Scene(draw=_presynaptic, photons=25, background=2),
    "homer": Scene(draw=_scaffold, photons=55),
    "lifeact": Scene(draw=stress_fibres, sigma=2.0, photons=30, background=2),
    "live-tubulin": Scene(draw=microtubules, sigma=2.0, photons=18, background=2),
    "map2": Scene(draw=partial(spiny_dendrites, shaft=2.5, rings=False), sigma=2.2, photons=45),
    "nkcc2": Scene(draw=membranes, sigma=1.8, photons=40, background=1.2),
    "psd95": Scene(draw=_excitatory, photons=70),
    "rim": Scene(draw=_presynaptic, sigma=1.4, photons=40),
    "sir-actin": Scene(draw=stress_fibres, photons=60, background=1.2),
    "sir-tubulin": Scene(draw=microtubules, photons=30, background=1.2),
    "tom20": Scene(draw=mitochondria, sigma=1.4, photons=65),
    "tubulin": Scene(draw=microtubules, sigma=1.4, photons=60),
    "vgat": Scene(draw=vesicles, photons=35, background=1.2),
    "vglut1": Scene(draw=vesicles, photons=45),
    "vglut2": Scene(draw=vesicles, sigma=1.4, photons=60),
    "vimentin": Scene(draw=intermediate_filaments, sigma=1.4, photons=60),
}
