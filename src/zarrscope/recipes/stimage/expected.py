"""What each file of a slide promises, decoded by readers alone, for verify to compare a store with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

import numpy as np

from zarrscope.errors import DecodeError
from zarrscope.model import Content, Sample, Strings, strings
from zarrscope.readers.counts import read_header
from zarrscope.readers.raster import open_raster
from zarrscope.readers.slides import read_annotation, read_coords
from zarrscope.recipe import Expected, Facts, Matrix, Picture
from zarrscope.recipes.stimage.bands import count_bands

_LARGEST = 1 << 30  # bytes of a coordinate or annotation file
_ROWS = 512  # of a band of the picture, at least
_WORKERS = 2

type Contents = Mapping[str, Content]


def expected(_: Sample, contents: Contents) -> dict[str, Callable[[], Expected | None]]:
    """Give what each file tells, by its role."""
    told = {"image": _picture, "counts": _matrix, "coord": _places, "annotation": _labels}
    return {role: partial(tell, contents) for role, tell in told.items()}


def _picture(contents: Contents) -> Picture | None:
    """Give the picture, if there is one."""
    if "image" not in contents:
        return None
    raster = open_raster(contents["image"])
    rows = -(-_ROWS // raster.row_step) * raster.row_step
    return Picture(
        part="image",
        shape=(raster.channels, raster.height, raster.width),
        dtype=raster.dtype,
        bands=raster.bands(rows, workers=_WORKERS),
    )


def _matrix(contents: Contents) -> Matrix | None:
    """Give the counts, if there are any."""
    if "counts" not in contents:
        return None
    header = read_header(contents["counts"])
    bands = count_bands(contents["counts"], header, _spots(contents), workers=_WORKERS)
    return Matrix(part="counts", symbols=header.symbols, bands=bands)


def _spots(contents: Contents) -> list[str]:
    names: list[str] = []
    with suppress(DecodeError):
        if "coord" in contents:
            names = read_coords(_whole(contents["coord"])).names.tolist()
    return names


def _places(contents: Contents) -> Facts:
    """Give where each spot lies; without a file no spot has a place."""
    if "coord" not in contents:
        return Facts(part="counts", names=strings([]), obs={"in_coord": []}, obsm={"spatial": np.empty((0, 2))})
    coords = read_coords(_whole(contents["coord"]))
    return Facts(
        part="counts",
        names=coords.names,
        obs={"in_coord": np.ones(len(coords), bool), "radius": coords.radius},
        obsm={"spatial": np.stack([coords.x, coords.y], axis=1)},
    )


def _labels(contents: Contents) -> Facts:
    """Give what pathologists say of each spot; without a file nothing."""
    names: Strings = strings([])
    found: list[str | None] = []
    if "annotation" in contents:
        names, found = read_annotation(_whole(contents["annotation"]))
    return Facts(part="counts", names=names, obs={"label": found})


def _whole(content: Content) -> memoryview:
    if content.size > _LARGEST:
        raise DecodeError(f"expected at most {_LARGEST:,} bytes, found {content.size:,}.")
    return content.read(0, content.size)
