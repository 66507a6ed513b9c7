"""A contact sheet: some samples of each value of a column, pairs side by side, so that a store is seen at a glance.

Each picture is stretched between its own 1st and 99.8th percentile: intensities are for looking, not for comparing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from zarrscope.errors import QueryError, UsageError
from zarrscope.loaders.samples import Samples
from zarrscope.loaders.store import Store
from zarrscope.query import Categories, Values, unknown_column

SIDE = 112  # pixels of one picture on the sheet
GAP, LABEL = 4, 16
_CLASSES = 64  # values of a column that are drawn, at most
_PAPER, _INK = 18, 235

type Picture = npt.NDArray[np.uint8]


def draw_sheet(store: Store, out: str, *, by: str | None = None, samples: str | None = None, columns: int = 8) -> None:
    """Draw a contact sheet and write it as PNG.

    Raises
    ------
    QueryError, StoreError
        Where there is no such column or sample set.
    UsageError
        Where there is nothing to draw.
    """
    if any(one.kind == "sample" for one in store.record.elements):
        rows = list(_slides(store, by, columns))
        return _write(_compose(rows), [label for label, _ in rows], out)
    name = samples or _first_with(store, by)
    taken = store.samples(name, columns=[by] if by else [])
    if not len(taken):
        raise UsageError(f"{store.url}: {name!r} has no sample to draw.")
    groups = _groups(taken, by, columns)
    rows = [(label, [_pair(taken[place]) for place in places]) for label, places in groups]
    return _write(_compose(rows), [label for label, _ in rows], out)


def _slides(store: Store, by: str | None, columns: int) -> Iterator[tuple[str, list[Picture]]]:
    """Give the pictures of samples that have groups of their own, by a column of the catalogue or all together."""
    table = store.catalogue
    if by is not None and by not in table:
        raise unknown_column(by, [str(name) for name in table])
    table = table[table["image_ok"].astype(bool)] if "image_ok" in table else table
    if not len(table):
        raise UsageError(f"{store.url}: no sample has a picture to draw.")
    values = np.array(["" if by is None else str(value) for value in table[by]] if by else [""] * len(table), object)
    for value in sorted(set(values.tolist()), key=_natural)[:_CLASSES]:
        here = np.flatnonzero(values == value)
        most = columns if by is not None else columns * 4
        chosen = here[np.unique(np.linspace(0, len(here) - 1, most).astype(int))]
        drawn = [
            _thumbnail(store, str(path), int(levels) - 1)
            for path, levels in zip(table["path"].iloc[chosen], table["levels"].iloc[chosen], strict=True)
        ]
        for start in range(0, len(drawn), columns):
            label = f"{value}  ({len(here):,})" if by is not None and not start else ""
            yield label, drawn[start : start + columns]


def _thumbnail(store: Store, path: str, level: int) -> Picture:
    """Shrink the coarsest level of a picture, by means over blocks; colours stay as they are."""
    pixels = np.moveaxis(store.image(f"{path}/image", level=level, chunks=None).values, 0, -1).astype(np.float64)
    step = max(1, -(-max(pixels.shape[:2]) // SIDE))
    height, width = max(1, pixels.shape[0] // step), max(1, pixels.shape[1] // step)
    fitting = pixels[: height * step, : width * step] if step > 1 else pixels
    means = fitting.reshape(height, step, width, step, -1).mean((1, 3)) if step > 1 else fitting
    shown = means if pixels.max(initial=0) < 256 else means / 257
    return np.asarray(shown.round() if shown.shape[-1] == 3 else shown[..., 0].round(), np.uint8)


def _first_with(store: Store, by: str | None) -> str:
    """Choose the first sample set whose catalogue has the column."""
    names = [*store.sets, *store.images]
    for name in names if by is not None else ():
        with contextlib.suppress(QueryError):
            store.samples(name, columns=[by] if by else [])
            return name
    return names[0]


def _groups(taken: Samples, by: str | None, columns: int) -> list[tuple[str, list[int]]]:
    """Choose samples spread evenly over each value of the column, or over all."""
    if by is None:
        places = np.unique(np.linspace(0, len(taken) - 1, columns * 4).astype(int)).tolist()
        return [("", places[start : start + columns]) for start in range(0, len(places), columns)]
    values = _texts(taken.columns[by])
    groups = []
    for value in sorted(set(values.tolist()), key=_natural)[:_CLASSES]:
        here = np.flatnonzero(values == value)
        spread = here[np.unique(np.linspace(0, len(here) - 1, columns).astype(int))]
        groups.append((f"{value}  ({len(here):,})", spread.tolist()))
    return groups


def _natural(text: str) -> tuple[int, str]:
    return (int(text), "") if text.isdecimal() else (1 << 62, text.casefold())


def _texts(values: Values) -> npt.NDArray[Any]:
    if isinstance(values, Categories):
        texts = np.append(np.asarray(values.values, dtype=object), "missing")
        return np.asarray(texts[values.codes])
    return np.array([str(value) for value in values.tolist()], dtype=object)


def _pair(sample: Any) -> Picture:
    """Put the images of a sample side by side."""
    pictures = [_picture(value) for value in sample.values() if isinstance(value, np.ndarray) and value.ndim == 2]
    return np.concatenate(pictures, axis=1)


def _picture(pixels: npt.NDArray[Any]) -> Picture:
    """Shrink to the side of a picture by means over blocks, or enlarge by repeating; stretch to 8 bits."""
    values = pixels.astype(np.float64)
    step = max(1, max(values.shape) // SIDE)
    if step > 1:
        fit = [size // step * step for size in values.shape]
        values = values[: fit[0], : fit[1]].reshape(fit[0] // step, step, fit[1] // step, step).mean((1, 3))
    elif (grow := SIDE // max(values.shape)) > 1:
        values = values.repeat(grow, 0).repeat(grow, 1)
    low, high = np.percentile(values, (1, 99.8))
    scaled = np.clip((values - low) / (high - low), 0, 1) if high > low else np.zeros_like(values)
    return np.asarray(scaled**0.7 * 255, np.uint8)


def _compose(rows: Sequence[tuple[str, Sequence[Picture]]]) -> Picture:
    height = max(picture.shape[0] for _, pictures in rows for picture in pictures)
    width = max(picture.shape[1] for _, pictures in rows for picture in pictures)
    label = LABEL if any(text for text, _ in rows) else 0
    most = max(len(pictures) for _, pictures in rows)
    size = (GAP + len(rows) * (height + GAP + label), GAP + most * (width + GAP))
    colours = (3,) if any(picture.ndim == 3 for _, pictures in rows for picture in pictures) else ()
    paper = np.full((*size, *colours), _PAPER, np.uint8)
    for place, (_, pictures) in enumerate(rows):
        top = GAP + place * (height + GAP + label) + label
        for column, picture in enumerate(pictures):
            left = GAP + column * (width + GAP)
            placed = picture if picture.ndim == paper.ndim else picture[..., None]
            paper[top : top + picture.shape[0], left : left + picture.shape[1]] = placed
    return paper


def _write(paper: Picture, labels: Sequence[str], out: str) -> None:
    from PIL import Image, ImageDraw

    image = Image.fromarray(paper)
    if any(labels):
        draw = ImageDraw.Draw(image)
        step = (paper.shape[0] - GAP) // len(labels)
        for place, label in enumerate(labels):
            draw.text((GAP + 2, GAP + place * step), label, fill=_INK if image.mode == "L" else (_INK,) * 3)
    image.save(out, format="PNG")
