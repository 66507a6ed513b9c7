"""The spots of a slide: what coordinates, names and annotation say of the rows of its counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from zarrscope.model import Scalar, Strings, strings
from zarrscope.query import Categories
from zarrscope.readers.slides import Coords, PixelSize, SpotGrid, micrometres_per_pixel, spot_grid
from zarrscope.writers.table import TableColumn


@dataclass(eq=False)
class Spots:
    """Joins by name; a spot that one file lacks is counted, and nothing is put in its place.

    Parameters
    ----------
    slide, technology
        The slide.
    names
        ``(n,)`` the rows of its counts.
    coords
        What its coordinate file says, if there is one.
    labels
        Names and labels of its annotation, if there is one.
    """

    slide: str
    technology: str
    names: Strings
    coords: Coords | None
    labels: tuple[Strings, Sequence[str | None]] | None

    @cached_property
    def place(self) -> npt.NDArray[np.int64]:
        """``(n,)`` the row of each spot in the coordinate file, -1 where it has none."""
        if self.coords is None:
            return np.full(len(self.names), -1, np.int64)
        row_of = {name: row for row, name in enumerate(self.coords.names.tolist())}
        return np.array([row_of.get(name, -1) for name in self.names.tolist()], np.int64)

    @cached_property
    def _grid(self) -> SpotGrid:
        return spot_grid(self.names, self.slide)

    @cached_property
    def spatial(self) -> npt.NDArray[np.float64]:
        """``(n, 2)`` x and y in pixels of level 0 of the picture; NaN where a spot has no place."""
        if self.coords is None:
            return np.full((len(self.names), 2), np.nan)
        places = np.stack([self.coords.x, self.coords.y], axis=1)
        return np.where(self.place[:, None] >= 0, places[np.maximum(self.place, 0)], np.nan)

    @property
    def radius(self) -> float | None:
        """The radius of a spot in pixels: that of all, or their median; None where it is unknown."""
        if self.coords is None or not len(self.coords):
            return None
        constant = self.coords.radius_constant
        found = float(np.median(self.coords.radius)) if constant is None else constant
        return found if found > 0 else None

    @cached_property
    def pixel(self) -> PixelSize:
        """The size of a pixel, where the technology fixes it."""
        if self.coords is None:
            return PixelSize(None, "unknown: no coordinates")
        return micrometres_per_pixel(self.technology, self.coords, spot_grid(self.coords.names, self.slide))

    def obs(self) -> dict[str, TableColumn]:
        """Give the columns that spots have beside their sums."""
        columns: dict[str, TableColumn] = {"spot": self._grid.spot}
        if self._grid.array_row is not None and self._grid.array_col is not None:
            columns |= {"array_row": self._grid.array_row, "array_col": self._grid.array_col}
        columns["in_coord"] = self.place >= 0
        if self.coords is not None:
            columns["radius"] = np.where(self.place >= 0, self.coords.radius[np.maximum(self.place, 0)], np.nan)
        if self.labels is not None:
            columns["label"] = self._labelled(*self.labels)
        return columns

    def _labelled(self, names: Strings, labels: Sequence[str | None]) -> Categories:
        of = dict(zip(names.tolist(), labels, strict=True))
        found = [of.get(name) for name in self.names.tolist()]
        distinct = sorted({label for label in found if label is not None})
        number: dict[str | None, int] = {label: code for code, label in enumerate(distinct)} | {None: -1}
        return Categories(np.array([number[label] for label in found], np.int32), strings(distinct))

    def told(self) -> Mapping[str, Scalar]:
        """Give what the catalogue says of the spots."""
        rows = set(self.names.tolist())
        placed = int((self.place >= 0).sum())
        told: dict[str, Scalar] = {
            "n_spots_without_coord": len(self.names) - placed,
            "n_spots_without_counts": 0 if self.coords is None else len(self.coords) - placed,
            "radius": self.radius,
            "micrometres_per_pixel": self.pixel.value,
            "micrometres_how": self.pixel.how,
        }
        if self.labels is not None:
            told["n_labels"] = sum(label is not None for label in self.labels[1])
            told["n_labels_without_counts"] = sum(name not in rows for name in self.labels[0].tolist())
        return told

    def uns(self, pictures: Mapping[str, npt.NDArray[np.uint8]], scales: Mapping[str, float]) -> dict[str, Any]:
        """Give ``uns``: ``spatial`` as scanpy and squidpy expect it, and the spots that have a place but no counts."""
        factors: dict[str, Any] = {f"tissue_{name}_scalef": scale for name, scale in scales.items()}
        if self.radius is not None:
            factors["spot_diameter_fullres"] = 2 * self.radius
        held: dict[str, Any] = {"spatial": {self.slide: {"images": dict(pictures), "scalefactors": factors}}}
        if self.coords is not None:
            rows = set(self.names.tolist())
            alone = [name for name in self.coords.names.tolist() if name not in rows]
            if alone:
                held["spots_without_counts"] = strings(alone)
        return held
