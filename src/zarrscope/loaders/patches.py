"""The square around each spot of a slide, cut from the best level of its picture and brought to one size, lazily.

**Where.** A place ``(x, y)`` is a pixel of the image as given, and NGFF counts from the centre of the first pixel: a
spot at (0, 0) is centred on the middle of the first pixel, and a patch of ``field`` pixels covers ``x - field / 2`` to
``x + field / 2``. **From what.** The coarsest level whose pixels are no larger than those of the patch, so that they
shrink by less than two (unless even the coarsest level is finer): each patch pixel is the exact mean of what it covers.
Where the finest level is coarser than the patch, values lie on straight lines between the centres of pixels. Where
pixels are equally large they are copied, not blurred: the patch then moves by up to half a pixel, and one of an even
size around a whole number ``x`` is ``image[x - size // 2 : x + size // 2]``. **Beyond the border** the image goes on in
``fill``.

Imports xarray, so it is itself imported only when patches are asked for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from xarray import DataArray

from zarrscope.errors import UsageError
from zarrscope.loaders.contents import Contents, unknown
from zarrscope.loaders.cut import Square, Squares
from zarrscope.loaders.frames import INDEX
from zarrscope.loaders.groups import ImageGroup, Level
from zarrscope.loaders.held import COUNTS
from zarrscope.loaders.pixels import plain
from zarrscope.loaders.table import Table
from zarrscope.model import Integers
from zarrscope.query import Categories
from zarrscope.record import Element

type Floats = npt.NDArray[np.float64]
type Order = Literal["spots", "place"]
type Spots = Sequence[str] | Sequence[int] | npt.NDArray[Any] | slice

BLOCK = 40 << 20  # bytes of patches in one dask chunk: 278 of 224 x 224 pixels of RGB
MOST = 1024  # patches in one dask chunk
_FIELD = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(r|px|um|µm|μm)")


def slide_patches(
    contents: Contents,
    sample: Element,
    size: int = 224,
    *,
    field: str | float = "2r",
    spots: Spots | None = None,
    fill: float | None = None,
    order: Order = "spots",
) -> DataArray:
    """Give the patches of a slide: see :meth:`zarrscope.loaders.slides.SlideView.patches`."""
    counts = contents.table(contents.element(f"{sample.path}/{COUNTS}", "table").path)
    image = contents.group(contents.element(sample.path, "image"))
    where = contents.storage.at(sample.path)
    if size < 1:
        raise UsageError(f"{where}: expected patches of at least 1 pixel, found size={size}.")
    if order not in ("spots", "place"):
        raise UsageError(f"{where}: expected order='spots' or 'place', found {order!r}.")
    names = plain(counts.columns([INDEX])[INDEX])
    rows = _rows(spots, names, where)
    places = counts.array("obsm/spatial").read(())[rows].astype(np.float64)
    side = _side(field, counts, contents, sample, where)
    number, level = _best(image, side / size)
    centres = _on_level(places, image.level(0), level)
    step = side / size * _ratio(image.level(0), level)
    square = Square(size=size, step=1.0 if math.isclose(step, 1.0, rel_tol=1e-9) else step)
    along = _by_place(places, _together(level, size)) if order == "place" else np.arange(len(rows))
    value = _fill(fill, level.array.dtype, where)
    source = Squares(level.array, centres[along], square, value, remote=contents.storage.root is None)
    placed = np.isfinite(places).all(axis=1)
    return DataArray(
        _dask(source, _together(level, size)),
        dims=("spot", "c", "y", "x"),
        coords={"spot": names[rows[along]], "in_coord": ("spot", placed[along])},
        name="patches",
        attrs={
            "slide": sample.name or sample.path,
            "field_pixels": side,
            "level": number,
            "fill": value,
            "without_place": int(len(placed) - placed.sum()),
        },
    )


def _rows(spots: Spots | None, names: npt.NDArray[Any], where: str) -> Integers:
    """Give the rows of the spots asked for, in their order."""
    everything = np.arange(len(names))
    if spots is None or isinstance(spots, slice):
        return np.asarray(everything[spots or slice(None)])
    wanted = np.asarray([spots] if isinstance(spots, (str, int)) else spots)
    if wanted.dtype.kind == "b":
        if wanted.shape != names.shape:
            raise UsageError(f"{where}: expected a mask of {len(names):,} spots, found one of {wanted.shape}.")
        return np.asarray(everything[wanted])
    if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iuTUO"):
        raise UsageError(f"{where}: expected names of spots, rows or a mask, found {wanted.dtype} {wanted.shape}.")
    if wanted.dtype.kind in "TUO":
        row_of = {name: row for row, name in enumerate(names.tolist())}
        lacking = next((name for name in wanted.tolist() if name not in row_of), None)
        if lacking is not None:
            raise unknown("spot", str(lacking), names.tolist(), where)
        return np.array([row_of[name] for name in wanted.tolist()], np.int64)
    if wanted.size and not -len(names) <= wanted.min() <= wanted.max() < len(names):
        raise UsageError(f"{where}: expected rows of {len(names):,} spots, found {wanted.min()} to {wanted.max()}.")
    return np.asarray(everything[wanted.astype(np.int64)])


def _side(field: str | float, counts: Table, contents: Contents, sample: Element, where: str) -> float:
    """Give the side of the square that a patch covers, in pixels of the finest level."""
    found = _FIELD.fullmatch(field.strip()) if isinstance(field, str) else None
    if isinstance(field, str) and found is None:
        raise UsageError(f"{where}: expected field='2r' (spot radii), '112um' or '224px', found {field!r}.")
    number, unit = (float(found[1]), found[2]) if found else (float(field), "px")
    side = number
    if unit == "r":
        side = number * _radius(counts, where)
    elif unit != "px":
        size, how = pixel_size(contents, sample)
        if size is None:
            raise UsageError(
                f"{where}: field={field!r} needs the size of a pixel, which is {how}. Give the field in spot radii "
                "('2r') or in pixels ('224px')."
            )
        side = number / size
    if not 0 < side < math.inf:
        raise UsageError(f"{where}: expected a field above nought, found {field!r}.")
    return side


def _radius(counts: Table, where: str) -> float:
    radii = counts.columns(["radius"])["radius"] if counts.has("radius") else np.zeros(0)
    known = np.zeros(0) if isinstance(radii, Categories) else radii[np.isfinite(radii) & (radii > 0)]
    if not len(known):
        raise UsageError(f"{where}: the radius of its spots is unknown. Give the field in pixels: field='224px'.")
    return float(np.median(known))


def pixel_size(contents: Contents, sample: Element) -> tuple[float | None, str]:
    """Give the side of a pixel in micrometres as the catalogue knows it, and how it is known or why not."""
    size, how = "micrometres_per_pixel", "micrometres_how"
    table = next((contents.table(one.rows) for one in contents.record.samples if not one.images), None)
    if table is None or not table.has(size):
        return None, "unknown: the catalogue does not tell"
    told: Mapping[str, npt.NDArray[Any]] = {
        name: plain(column) for name, column in table.columns([INDEX, *filter(table.has, (size, how))]).items()
    }
    row = np.flatnonzero(told[INDEX] == sample.name)
    value = float(told[size][row[0]] or math.nan) if len(row) else math.nan
    why = str(told[how][row[0]]) if len(row) and how in told else "unknown"
    return (value if math.isfinite(value) else None), why


def _ratio(finest: Level, level: Level) -> float:
    """Give how many pixels of a level are as wide as one of the finest."""
    return finest.axes[-1].scale / level.axes[-1].scale


def _best(image: ImageGroup, step: float) -> tuple[int, Level]:
    """Choose the coarsest level whose pixels are not larger than those of a patch."""
    numbers = range(len(image.levels) - 1, -1, -1)
    finest = image.level(0)
    for number in numbers:
        level = image.level(number)
        if number == 0 or step * _ratio(finest, level) >= 1 - 1e-9:
            return number, level
    raise AssertionError  # the finest level is always taken


def _on_level(places: Floats, finest: Level, level: Level) -> Floats:
    """Turn places ``(n, 2)``, x and y in pixels of the finest level, into y and x from the outer edge of a level."""
    found = np.empty_like(places)
    for axis, column in ((-2, 1), (-1, 0)):
        fine, coarse = finest.axes[axis], level.axes[axis]
        physical = places[:, column] * fine.scale + fine.translation
        found[:, 1 - column] = (physical - coarse.translation) / coarse.scale + 0.5
    return found


def _fill(fill: float | None, dtype: np.dtype[Any], where: str) -> float:
    if fill is None:
        return math.nan if dtype.kind == "f" else float(np.iinfo(dtype).max)
    if dtype.kind != "f" and not (np.iinfo(dtype).min <= fill <= np.iinfo(dtype).max and float(fill).is_integer()):
        raise UsageError(f"{where}: expected a fill value of type {dtype.name}, found {fill!r}.")
    return float(fill)


def _together(level: Level, size: int) -> int:
    """Give how many patches make a dask chunk."""
    return max(1, min(MOST, BLOCK // (level.array.shape[0] * size * size * level.array.dtype.itemsize)))


def _by_place(places: Floats, together: int) -> Integers:
    """Order spots so that those of one dask chunk lie in one corner of the slide; those without a place come last."""
    placed = np.isfinite(places).all(axis=1)
    x, y = np.where(placed, places.T, np.inf)
    if not placed.any():
        return np.arange(len(places))
    inner = places[placed]
    width, height = np.ptp(inner, axis=0) + 1
    strip = max(1.0, math.sqrt(width * height * together / len(inner)))
    return np.lexsort((x, np.where(placed, (y - inner[:, 1].min()) // strip, np.inf)))


def _dask(source: Squares, together: int) -> Any:
    import dask.array as da
    from dask.base import tokenize

    return da.from_array(
        source,
        chunks=(together, *source.shape[1:]),
        name=f"zarrscope-patches-{tokenize(source)}",
        meta=np.empty((0,) * 4, source.dtype),
    )
