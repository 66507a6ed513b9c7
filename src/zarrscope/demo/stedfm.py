"""Small STED-FM archives, true to form: the six tars as their published writer makes them, with synthetic content.

What is true to form, because each point trips a reader up:

* Members have no directory and no ``.npz`` suffix; the last two numbers of a name are the place on the crop grid,
  ``(y, x)``. At the border it is not the origin of the crop, which is pushed back inside the picture.
* Channels of one file share the name that the image id is made from. Later ones get an id made with Python's salted
  ``hash``, so they differ between the sibling archives; order and grid places agree.
* Crops without foreground are left out: the grid has holes. Some pictures of the subset come with a list of places
  instead, in no order.
* ``normalised`` is scaled over the whole picture; ``raw`` is counts minus the smallest count of the picture.
* Pixel sizes come in metres, micrometres, nanometres or pixels; the TIFFs made from nanometres are wrong by 10^6.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from zarrscope.demo.metadata import Info, Plane, full_planes, subset_planes
from zarrscope.demo.phantoms import expose
from zarrscope.demo.scenes import SCENES
from zarrscope.demo.stamps import stamp as write_stamp
from zarrscope.errors import UsageError

ARCHIVES = {
    "full/normalised": "STED-FM-dataset-crops.tar",
    "full/raw": "STED-FM-dataset-crops-raw.tar",
    "full/tiff": "STED-FM-dataset-crops-tiff-raw.tar",
    "subset/normalised": "STED-FM-subset-dataset-crops.tar",
    "subset/raw": "STED-FM-subset-dataset-crops-raw.tar",
    "subset/tiff": "STED-FM-subset-dataset-crops-tiff-raw.tar",
}
MINIMUM_FOREGROUND = 0.001  # of the pixels of a crop
OFFSET = 3  # counts of the detector in the dark: what "minus the minimum" removes

type Counts = npt.NDArray[np.uint16]


@dataclass(slots=True, kw_only=True)
class _Sibling:
    """One archive while it is written, with the ids it has given out."""

    kind: str
    tar: tarfile.TarFile
    seed: int
    seen: set[str] = field(default_factory=set)

    def image_id(self, path: str) -> str:
        """Make the id of a picture from the path of its file; a second channel of that file gets another."""
        made = str(uuid.uuid3(uuid.NAMESPACE_DNS, path))
        while made in self.seen:
            # The writer salts with hash(str), which differs from process to process; here it differs by archive.
            digest = hashlib.sha256(f"{self.seed} {self.kind} {made}".encode()).digest()
            salt = int.from_bytes(digest[:8], "little", signed=True)
            made = str(uuid.uuid3(uuid.NAMESPACE_DNS, f"{made}{salt}"))
        self.seen.add(made)
        return made

    def add(self, name: str, content: bytes) -> None:
        """Append one member as ``tarfile`` does by default: mode 0644, no owner, no time."""
        header = tarfile.TarInfo(name)
        header.size = len(content)
        self.tar.addfile(header, io.BytesIO(content))


def make_stedfm(
    folder: Path,
    *,
    images: int = 12,
    seed: int = 0,
    size: int = 224,
    kinds: Sequence[str] = tuple(ARCHIVES),
    stamp: bool = False,
) -> dict[str, Path]:
    """Write small STED-FM archives under their published names.

    Parameters
    ----------
    folder
        Where to write; made if need be. Archives of the same name are replaced.
    images
        Pictures in each of the two collections; a picture gives about 16 crops.
    seed
        The same seed gives the same bytes.
    size
        Side of a crop in pixels; the published archives have 224.
    kinds
        Which archives: keys of :data:`ARCHIVES`.
    stamp
        Whether each crop carries its row in its first pixels, see :func:`zarrscope.demo.stamps.stamp`.

    Returns
    -------
    dict
        The path of each archive by its kind.

    Raises
    ------
    UsageError
        For an unknown kind, no images, or crops smaller than 8 pixels.
    """
    unknown = [kind for kind in kinds if kind not in ARCHIVES]
    if unknown:
        raise UsageError(f"expected kinds among {', '.join(ARCHIVES)}; found {', '.join(unknown)}")
    if images < 1 or size < 8:
        raise UsageError(f"expected images >= 1 and size >= 8; found images={images}, size={size}")
    folder.mkdir(parents=True, exist_ok=True)
    for collection, planes in (("full", full_planes), ("subset", subset_planes)):
        wanted = [kind for kind in dict.fromkeys(kinds) if kind.startswith(f"{collection}/")]
        if not wanted:
            continue
        with ExitStack() as stack:
            tars = [stack.enter_context(tarfile.open(folder / ARCHIVES[kind], "w")) for kind in wanted]
            siblings = [_Sibling(kind=kind, tar=tar, seed=seed) for kind, tar in zip(wanted, tars, strict=True)]
            _fill(siblings, planes(images, seed, size), seed, size, stamp=stamp)
    return {kind: folder / ARCHIVES[kind] for kind in kinds}


def _fill(siblings: list[_Sibling], planes: Iterator[Plane], seed: int, size: int, *, stamp: bool) -> None:
    """Write the crops of every plane into each archive, in the same order."""
    row = 0
    for plane in planes:
        counts = take_picture(plane, seed)
        pictures = {"normalised": normalise(counts), "raw": counts - counts.min()}
        pictures["tiff"] = pictures["raw"]
        places = list(_places(pictures["normalised"], plane, size))
        for sibling in siblings:
            form = sibling.kind.split("/")[1]
            info = plane.info | {"image-id": sibling.image_id(plane.source)}
            name = f"{plane.prefix}{info['image-id']}"
            encode = _tiff if form == "tiff" else _npz
            for place, (j, i) in enumerate(places):
                crop = pictures[form][crop_window((j, i), counts.shape, size)].copy()
                if stamp:
                    write_stamp(crop, row + place)
                sibling.add(f"{name}-{j}-{i}{'.tif' if form == 'tiff' else ''}", encode(crop, info))
        row += len(places)


def take_picture(plane: Plane, seed: int) -> Counts:
    """Draw and expose one plane: photon counts, ``(y, x)``."""
    rng = np.random.default_rng([seed, *plane.source.encode(), plane.channel])
    scene = SCENES[plane.scene]
    photons = scene.photons * float(np.exp(rng.normal(0, 0.25)))
    return expose(rng, scene.field(rng, plane.shape), photons=photons, background=scene.background) + np.uint16(OFFSET)


def normalise(counts: Counts) -> npt.NDArray[np.uint8]:
    """Scale the quantiles 0.1 % and 99.9 % of a picture to 0 and 255, clip and truncate."""
    low, high = np.quantile(counts, [0.001, 0.999])
    scaled: npt.NDArray[np.float64] = np.clip((counts - low) / (high - low), 0, 1) * 255
    return scaled.astype(np.uint8)


def crop_window(place: tuple[int, int], shape: tuple[int, ...], size: int) -> tuple[slice, slice]:
    """Turn a place on the grid into the window that is cut: pushed back inside at the border.

    >>> crop_window((0, 224), (300, 300), 224)
    (slice(0, 224, None), slice(76, 300, None))
    """
    y, x = (at if at + size < side else side - size for at, side in zip(place, shape, strict=True))
    return slice(y, y + size), slice(x, x + size)


def _places(picture: npt.NDArray[np.uint8], plane: Plane, size: int) -> Iterator[tuple[int, int]]:
    """Give the grid places that are kept: in grid order those with foreground, or as listed, whatever they show."""
    height, width = picture.shape
    grid = [(j, i) for j in range(0, height, size) for i in range(0, width, size)]
    if plane.listed:
        shuffled = np.random.default_rng([*plane.source.encode()]).permutation(len(grid))
        yield from (grid[place] for place in shuffled[: max(1, len(grid) - 2)])
        return
    foreground = picture > otsu(picture)
    for place in grid:
        if foreground[crop_window(place, picture.shape, size)].sum() > MINIMUM_FOREGROUND * size**2:
            yield place


def otsu(picture: npt.NDArray[np.uint8]) -> int:
    """Find the threshold that parts a histogram into two classes with the largest variance between them."""
    counts = np.bincount(picture.ravel(), minlength=256).astype(np.float64)
    below, values = np.cumsum(counts), np.cumsum(counts * np.arange(256))
    above = below[-1] - below
    usable = (below > 0) & (above > 0)
    apart = np.zeros(256)
    means = values[usable] / below[usable] - (values[-1] - values[usable]) / above[usable]
    apart[usable] = below[usable] * above[usable] * means**2
    return int(np.argmax(apart))


def _npz(crop: npt.NDArray[np.generic], info: Info) -> bytes:
    buffer = io.BytesIO()
    # The same as metadata=info, in a form that the annotations of numpy know.
    np.savez(buffer, image=crop, metadata=np.array(info, dtype=object))
    return buffer.getvalue()


# What the writer does to pixels a unit before it notes them as pixels a micrometre. Nanometres should be multiplied
# by 1,000: the published TIFFs have this mistake, so these have it too.
_PER_MICROMETRE: dict[str, Callable[[float], float]] = {
    "m": lambda density: density * 1e-6,
    "µm": lambda density: density,
    "nm": lambda density: density / 1000,
}


def _tiff(crop: npt.NDArray[np.generic], info: Info) -> bytes:
    import tifffile

    buffer = io.BytesIO()
    measured = info.get("msr-metadata")
    if isinstance(measured, dict):
        unit = measured["PhysicalSizeXUnit"]
        convert = _PER_MICROMETRE.get(unit)
        density = (1 / measured["PhysicalSizeX"], 1 / measured["PhysicalSizeY"])
        resolution = (convert(density[0]), convert(density[1])) if convert else density
        tifffile.imwrite(buffer, crop, imagej=True, resolution=resolution, metadata={"unit": "um" if convert else None})
    else:
        tifffile.imwrite(buffer, crop, imagej=True)
    return buffer.getvalue()
