"""A slide as SpatialData, which reads a dialect of OME-Zarr of its own: a bridge in memory, its pixels lazy.

Imports spatialdata, which takes seconds, so it is itself imported only when a slide is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from zarrscope.errors import StoreError, UsageError

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData
    from xarray import DataArray, DataTree

PIXELS, MICROMETRES = "global", "micrometers"  # what spatialdata takes by default, and its usual unit
_IMAGE, _SPOTS, _COUNTS, _REGION, _INSTANCE = "image", "spots", "counts", "region", "instance"


def assemble(counts: AnnData, levels: Sequence[DataArray], micrometres: float | None, *, where: str) -> SpatialData:
    """Put a slide together.

    Parameters
    ----------
    counts
        Spots by genes, with ``obsm["spatial"]`` (x, y) in pixels and the radius of each spot in ``obs``.
    levels
        The image ``(c, y, x)`` at each level, the finest first; none where the slide has no image.
    micrometres
        The side of a pixel, where it is known.
    where
        The slide, for messages.

    Raises
    ------
    UsageError
        Where spatialdata is not installed.
    StoreError
        Where a spot has a place but none has a radius.
    """
    try:
        from spatialdata import SpatialData
    except ImportError as error:
        raise UsageError(f"{where}: {error}. Install it: pip install 'zarrscope[spatialdata]'.") from None
    from spatialdata.transformations import Identity, Scale

    systems: dict[str, Any] = {PIXELS: Identity()}
    if micrometres is not None:
        systems[MICROMETRES] = Scale([micrometres, micrometres], axes=("x", "y"))
    spots = _circles(counts, systems, where)
    return SpatialData(
        images={_IMAGE: _image(levels, systems)} if levels else {},
        shapes={} if spots is None else {_SPOTS: spots},
        tables={_COUNTS: counts if spots is None else _annotating(counts)},
    )


def _image(levels: Sequence[DataArray], systems: Mapping[str, Any]) -> DataTree | DataArray:
    """Give the levels as spatialdata's tree of scales, or the only one by itself."""
    from spatialdata.models import Image2DModel
    from spatialdata.transformations import set_transformation
    from xarray import DataArray, Dataset, DataTree

    channels = _channels(levels[0].sizes["c"])
    if len(levels) == 1:
        alone: DataArray = Image2DModel.parse(
            levels[0].data, dims=("c", "y", "x"), c_coords=channels, transformations=dict(systems)
        )
        return alone
    tree = DataTree.from_dict(
        {
            f"scale{number}": Dataset(
                {
                    _IMAGE: DataArray(
                        level.data,
                        dims=("c", "y", "x"),
                        coords={"c": channels, **{axis: _centres(levels[0], level, axis) for axis in ("y", "x")}},
                    )
                }
            )
            for number, level in enumerate(levels)
        }
    )
    set_transformation(tree, dict(systems), set_all=True)
    return tree


def _channels(count: int) -> list[Any]:
    return ["r", "g", "b"] if count == 3 else list(range(count))


def _centres(finest: DataArray, level: DataArray, axis: str) -> Any:
    """Give where pixels have their centres: spatialdata counts from the corner, and spreads a level over the image."""
    return (np.arange(level.sizes[axis]) + 0.5) * (finest.sizes[axis] / level.sizes[axis])


def _circles(counts: AnnData, systems: Mapping[str, Any], where: str) -> Any:
    """Give the spots that have a place as circles; None where no spot has one."""
    from spatialdata.models import ShapesModel

    places = np.asarray(counts.obsm["spatial"]) if "spatial" in counts.obsm else np.full((counts.n_obs, 2), np.nan)
    placed = np.isfinite(places).all(axis=1)
    if not placed.any():
        return None
    radius = np.asarray(counts.obs["radius"], np.float64)[placed] if "radius" in counts.obs else np.full(1, np.nan)
    known = radius[np.isfinite(radius) & (radius > 0)]
    if not len(known):
        raise StoreError(f"{where}: the radius of its spots is unknown, so they are no circles. Use .anndata().")
    return ShapesModel.parse(
        places[placed],
        geometry=0,
        radius=np.where(np.isfinite(radius) & (radius > 0), radius, np.median(known)),
        index=counts.obs_names[placed],
        transformations=dict(systems),
    )


def _annotating(counts: AnnData) -> AnnData:
    from pandas import Categorical
    from spatialdata.models import TableModel

    counts.obs[_REGION] = Categorical([_SPOTS] * counts.n_obs)
    counts.obs[_INSTANCE] = counts.obs_names.to_numpy()
    return TableModel.parse(counts, region=_SPOTS, region_key=_REGION, instance_key=_INSTANCE)
