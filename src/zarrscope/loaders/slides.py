"""One slide: its picture and its counts, as scanpy and squidpy want them, or as SpatialData."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from zarrscope.errors import MissingDataError
from zarrscope.loaders.frames import INDEX
from zarrscope.loaders.held import COUNTS
from zarrscope.loaders.views import ElementView, Opener, below
from zarrscope.query import Categories
from zarrscope.record import Element

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData
    from xarray import DataArray

    from zarrscope.loaders.patches import Spots

SLIDE = "slide"  # the role of such samples
_SIZE = "micrometres_per_pixel"  # of the catalogue


class SlideView(ElementView):
    """One slide, opened by ``store["GSE1_GSM2"]`` or ``store["Visium/GSE1_GSM2"]``: nothing is read until asked for.

    ``.image(level=2)`` is a lazy DataArray ``(c, y, x)``, ``.table("counts")`` a lazy AnnData, spots by genes.
    """

    @property
    def sample(self) -> Element:
        """What the record says of the slide."""
        return self.elements[0]

    def anndata(self, *, hires: bool = True, dtype: npt.DTypeLike | None = "float32") -> AnnData:
        """Read the counts into memory as scanpy and squidpy expect them.

        Parameters
        ----------
        hires
            Whether to read the larger of the two small pictures; ``lowres`` always comes.
        dtype
            Of ``X``, which is stored as int32 (int64 or float64 where the numbers need it); float32 is exact up to
            16,777,216. None leaves the numbers as they are stored.

        Returns
        -------
        anndata.AnnData
            ``X`` a CSR matrix (spots, genes); ``obsm["spatial"]`` float64 (x, y) in pixels of level 0 of the image, NaN
            where a spot has no place; ``uns["spatial"][name]`` with ``images`` (y, x, 3) and ``scalefactors``.

        Raises
        ------
        MissingDataError
            Where the slide has no counts, or part of them is missing.
        """
        leave = () if hires else (f"uns/spatial/{self.sample.name or self.sample.path}/images/hires",)
        return self._counts(dtype, leave)

    def patches(
        self,
        size: int = 224,
        *,
        field: str | float = "2r",
        spots: Spots | None = None,
        fill: float | None = None,
        order: Literal["spots", "place"] = "spots",
    ) -> DataArray:
        """Give the square around each spot, cut from the best level of the image, lazily.

        Parameters
        ----------
        size
            Pixels along each side of a patch.
        field
            The side of the square that a patch covers: in radii of the spots (``"2r"`` is one spot across), in
            micrometres (``"112um"``, where the size of a pixel is known), or in pixels of the image (``"224px"``,
            or a number). At equal sizes pixels are copied and not blurred: ``patches(224, field=224)`` moves by up
            to half a pixel.
        spots
            Names, rows or a mask of spots; by default all.
        fill
            What lies beyond the border, and fills the patch of a spot without a place; by default the largest
            number of an integer type, which is white, and NaN of floats.
        order
            ``"spots"``: in the order of ``counts``, or in that of ``spots``. ``"place"``: spots that lie side by side
            follow each other, so that whole passes over large slides read each part of the image about once.

        Returns
        -------
        xarray.DataArray
            ``(spot, c, y, x)`` of the image's type, dask-backed, some hundred patches a chunk. ``spot`` has the names
            of ``counts``, ``in_coord`` is False where a spot has no place; the attributes tell the field in pixels
            and the level.

        Raises
        ------
        UsageError
            Where ``field`` needs a radius or a size of pixels that is not known: it says why not.
        MissingDataError
            Where the slide has no image or no counts, or a spot is not there.
        """
        from zarrscope.loaders.patches import slide_patches

        return slide_patches(self.store.contents, self.sample, size, field=field, spots=spots, fill=fill, order=order)

    def spatialdata(self, *, dtype: npt.DTypeLike | None = "float32") -> SpatialData:
        """Give the slide as SpatialData: ``image`` lazy with all levels, ``spots`` as circles, and ``counts``.

        The coordinate system ``global`` is that of the image's pixels, as the coordinates were published; where the
        size of a pixel is known there is ``micrometers`` too. Spots without a place have a row in ``counts`` and no
        circle. Counts are read, pixels are not.

        Raises
        ------
        UsageError
            Where spatialdata is not installed.
        MissingDataError
            Where the slide has no counts.
        """
        from zarrscope.loaders.spatial import assemble

        counts = self._counts(dtype, ("uns/spatial",))
        images = [one for one in self.elements if one.kind == "image"]
        levels = [self.image(images[0].role, level=number) for number in range(len(self.levels))] if images else []
        return assemble(counts, levels, self._micrometres(), where=f"{self.name} of {self.store.url}")

    def _counts(self, dtype: npt.DTypeLike | None, leave: Container[str]) -> AnnData:
        from zarrscope.loaders.annotated import in_memory

        if COUNTS not in self.sample.holds:
            raise MissingDataError(
                f"{self.name} of {self.store.url} has no counts; it holds {', '.join(self.sample.holds)}. "
                "store.slides says why, in the column 'reason'."
            )
        return in_memory(self.store.contents.table(f"{self.sample.path}/{COUNTS}"), dtype=dtype, leave=leave)

    def _micrometres(self) -> float | None:
        """Give the size of a pixel as the catalogue knows it."""
        contents = self.store.contents
        rows = next((one.rows for one in contents.record.samples if not one.images), None)
        table = None if rows is None else contents.table(rows)
        if table is None or not table.has(_SIZE):
            return None
        names, sizes = table.columns([INDEX, _SIZE]).values()
        if isinstance(names, Categories) or isinstance(sizes, Categories):
            return None  # a column of which nothing is known is stored as categories, all missing
        row = np.flatnonzero(names == self.sample.name)
        return float(sizes[row[0]]) if len(row) and np.isfinite(sizes[row[0]]) else None


def view(store: Opener, name: str) -> ElementView:
    """Give a view of one element, of all below a path, or of a slide."""
    elements = below(store.contents, name)
    first = elements[0]
    own = first.kind == "sample" and first.role == SLIDE and name.strip("/") in (first.path, first.name)
    return (SlideView if own else ElementView)(store, name, elements)
