"""STED-FM: tars of 224 x 224 STED crops as npz or TIFF, a full and a labelled collection, up to six archives.

What an archive holds is told by its content: names with a protein are of the subset, without one of the full
collection; uint8 npz are normalised, uint16 npz raw, TIFF members tiff. Each archive becomes a stack of its own.
Identifiers of several channels of one file differ between the archives (they were made with a salted hash), so
stacks are joined by order and checked by grid position, and by ``key`` where there is one.

Source: FLClab/STED-FM (the writer's code), and its site.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

import numpy as np

from zarrscope.errors import DecodeError, RecipeError
from zarrscope.model import Integers, Layout, SampleSet, Scalar
from zarrscope.readers.npz import decode_npz
from zarrscope.readers.tiff import decode_tiff
from zarrscope.recipe import Catalog, Decoded, Described, Fields, Obs, Recipe, Stack, arrange, flatten, stack

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-3[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
PATTERN = (
    rf"(?:\./)?(?:(?P<protein>[^/]+)-)?(?P<image_id>{_UUID})-(?P<j>[0-9]{{1,9}})-(?P<i>[0-9]{{1,9}})(?P<tiff>\.tiff?)?"
)
KINDS = ("normalised", "raw", "tiff")
_NANOMETRES = {
    **dict.fromkeys(("m", "meter", "metre", "meters", "metres"), 1e9),
    **dict.fromkeys(("µm", "μm", "um", "micron", "micrometer", "micrometers", "micrometre", "micrometres"), 1e3),
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre", "nanometres"), 1.0),
}
_PLAUSIBLE = (1.0, 1000.0)  # nm a pixel, of a fluorescence microscope
_TIFF_PLAUSIBLE = (5.0, 200.0)  # narrower: the writer divided sizes in nm where it should have multiplied


class _TiffFields(dict[str, Any]):
    """What a TIFF says of itself; a type of its own, since the dict in an npz may have any keys."""


def layout(catalog: Catalog) -> Layout:
    """One stack an archive, by collection and kind."""
    stacks: dict[str, Stack] = {}
    for number, source in enumerate(catalog.sources):
        places = np.flatnonzero(catalog.source == number)
        for collection, members in _collections(catalog, places):
            path = f"{collection}/{_kind(catalog, members)}"
            if path in stacks:
                raise RecipeError(f"{source.name} holds {path}, and so does another source: give one of them.")
            stacks[path] = stack(
                catalog, path, members, role=path.rpartition("/")[2], obs=_obs(catalog, members), classes="protein"
            )
    ordered = sorted(stacks.values(), key=lambda one: (one.image.path.split("/")[0], KINDS.index(one.image.role)))
    sets = [
        SampleSet(
            name=collection,
            images=tuple(
                (one.image.role, one.image.path) for one in ordered if one.image.path.startswith(f"{collection}/")
            ),
            check=("grid_row", "grid_column", "protein", "key"),
        )
        for collection in dict.fromkeys(one.image.path.split("/")[0] for one in ordered)
    ]
    return arrange(catalog, ordered, sets=sets)


def _collections(catalog: Catalog, places: Integers) -> list[tuple[str, Integers]]:
    labelled = catalog.columns["protein"][places] != ""
    halves = [("full", places[~labelled]), ("subset", places[labelled])]
    return [(name, members) for name, members in halves if len(members)]


def _kind(catalog: Catalog, places: Integers) -> str:
    """Tell the kind by what most members are: TIFF by name, else by the pixels' type."""
    if 2 * int((catalog.columns["tiff"][places] != "").sum()) > len(places):
        return "tiff"
    dtype, _ = catalog.kind_of(places)
    return "normalised" if dtype == "uint8" else "raw"


def _obs(catalog: Catalog, places: Integers) -> Obs:
    protein = catalog.columns["protein"][places]
    protein[protein == ""] = "unknown"
    return {
        "protein": protein,
        "image_id": catalog.columns["image_id"][places],
        "grid_row": catalog.columns["j"][places].astype(np.int64),
        "grid_column": catalog.columns["i"][places].astype(np.int64),
    }


def decode(data: memoryview) -> Decoded:
    """Decode an npz with ``image`` and ``metadata``, or a TIFF."""
    if bytes(data[:2]) in (b"II", b"MM"):
        tiff = decode_tiff(data)
        return tiff.pixels, _TiffFields(unit=tiff.unit, resolution=tiff.resolution)
    held = decode_npz(data)
    if "image" not in held:
        raise DecodeError(f"expected a key 'image', found {', '.join(map(repr, held)) or 'none'}.")
    pixels = held["image"]
    if not isinstance(pixels, np.ndarray):
        raise DecodeError("expected an array under 'image', found objects.")
    fields = held.get("metadata", {})
    if not isinstance(fields, Mapping):
        raise DecodeError(f"expected a dict under 'metadata', found {type(fields).__name__}.")
    return pixels, fields


def describe(fields: Fields) -> Mapping[str, Scalar]:
    """Flatten the fields, and add pixel sizes in nm where size and unit are known."""
    if isinstance(fields, _TiffFields):
        y, x = fields["resolution"] or (None, None)
        unit = fields["unit"]
        return {
            "pixel_size_y_nm": _nanometres(None if not y else 1 / y, unit, _TIFF_PLAUSIBLE),
            "pixel_size_x_nm": _nanometres(None if not x else 1 / x, unit, _TIFF_PLAUSIBLE),
            "tiff_unit": unit,
            "tiff_resolution_y": y,
            "tiff_resolution_x": x,
        }
    row = flatten(fields)
    row.pop("image_id", None)  # stands in the name
    sizes = {
        f"pixel_size_{axis.lower()}_nm": _nanometres(
            row.get(f"msr_metadata_PhysicalSize{axis}"), row.get(f"msr_metadata_PhysicalSize{axis}Unit"), _PLAUSIBLE
        )
        for axis in "YX"
    }
    return {**row, **sizes} if any(name.startswith("msr_metadata_PhysicalSize") for name in row) else row


def tabulate(rows: Described) -> Mapping[str, list[Scalar]]:
    """Give the true origin of each crop, where the parent's size is known."""
    if not {"msr_metadata_SizeY", "msr_metadata_SizeX"} & set(rows.names):
        return {}
    return {
        name: [
            _origin(step, parent)
            for step, parent in zip(rows.obs[grid].tolist(), rows.column(f"msr_metadata_Size{axis}"), strict=True)
        ]
        for name, grid, axis in (("y0", "grid_row", "Y"), ("x0", "grid_column", "X"))
    }


def _nanometres(size: Scalar, unit: Scalar, plausible: tuple[float, float]) -> float | None:
    """Give a pixel size in nm; None where size or unit is unknown, or the result can't be a pixel of a microscope."""
    factor = _NANOMETRES.get(unit.strip()) if isinstance(unit, str) else None
    if factor is None or not isinstance(size, (int, float)) or isinstance(size, bool):
        return None
    value = float(size) * factor if abs(size) < 1e9 else inf
    return value if plausible[0] <= value <= plausible[1] else None


def _origin(place: int, parent: Scalar, size: int = 224) -> int | None:
    """Give the first pixel of a crop: names count grid places in pixels, and the last crop is moved back to fit.

    >>> _origin(224, 448), _origin(224, 225), _origin(0, None)
    (224, 1, None)
    """
    if not isinstance(parent, int) or isinstance(parent, bool) or parent < size:
        return None
    return min(place, parent - size)


recipe = Recipe(
    name="stedfm",
    version=1,
    title="STED-FM: crops of STED microscopy",
    citation="FLClab, STED-FM: a foundation model for super-resolution microscopy, https://github.com/FLClab/STED-FM",
    pattern=PATTERN,
    layout=layout,
    decode=decode,
    describe=describe,
    tabulate=tabulate,
    private=("user_id",),
)
