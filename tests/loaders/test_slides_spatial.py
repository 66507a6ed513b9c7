"""A slide as SpatialData, and with squidpy: what those programs make of it, where they are installed."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from loaders.slide_builder import LEVELS, SLIDES
from zarrscope.errors import MissingDataError, UsageError

VISIUM, MOUSE, BREAST, COLON, _ = SLIDES

# Others' warnings of each other: none of them is ours to help.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_without_spatialdata_the_extra_is_named(slides, monkeypatch):
    monkeypatch.setitem(sys.modules, "spatialdata", None)
    with pytest.raises(UsageError, match=r"pip install 'zarrscope\[spatialdata\]'"):
        slides[VISIUM.name].spatialdata()


def test_a_slide_without_counts_is_no_spatialdata(slides):
    with pytest.raises(MissingDataError, match="no counts"):
        slides[COLON.name].spatialdata()


def test_a_slide_is_an_image_with_all_levels_circles_and_counts(slides):
    pytest.importorskip("spatialdata")
    from spatialdata.models import get_table_keys

    found = slides[VISIUM.name].spatialdata()
    assert found.coordinate_systems == ["global"]
    for level, shape in enumerate(LEVELS):
        pixels = found["image"][f"scale{level}"]["image"]
        assert pixels.chunks is not None
        assert pixels.shape == shape
        assert np.array_equal(pixels.values, VISIUM.pixels(level))
    spots = found["spots"]
    assert np.array_equal(np.stack([spots.geometry.x, spots.geometry.y], axis=1), VISIUM.places)
    assert set(spots["radius"]) == {1.25}
    assert list(spots.index) == VISIUM.names
    assert get_table_keys(found["counts"])[0] == "spots"
    assert np.array_equal(found["counts"].X.toarray(), VISIUM.counts)


def test_micrometres_where_they_are_known_and_spots_without_a_place(slides):
    spatialdata = pytest.importorskip("spatialdata")
    found = slides[BREAST.name].spatialdata()
    assert sorted(found.coordinate_systems) == ["global", "micrometers"]
    assert list(found.images) == []
    assert list(found["spots"].index) == BREAST.names[:-1]
    assert found["counts"].n_obs == BREAST.spots
    extent = spatialdata.get_extent(found, coordinate_system="micrometers")
    last = BREAST.places[-2]
    assert extent["x"][1] == pytest.approx((last[0] + 1.25) * 0.5)
    assert extent["y"][1] == pytest.approx((last[1] + 1.25) * 0.5)


def test_spatialdata_writes_and_reads_it(slides, tmp_path):
    spatialdata = pytest.importorskip("spatialdata")
    slides[MOUSE.name].spatialdata().write(tmp_path / "slide.zarr")
    again = spatialdata.read_zarr(tmp_path / "slide.zarr")
    assert np.array_equal(again["image"]["scale1"]["image"].values, MOUSE.pixels(1))
    _, joined = spatialdata.join_spatialelement_table(sdata=again, spatial_element_names="spots", table_name="counts")
    assert np.array_equal(joined.X.toarray(), MOUSE.counts)


def test_squidpy_draws_spots_on_the_picture(slides, tmp_path):
    squidpy = pytest.importorskip("squidpy")
    slide = slides[VISIUM.name].anndata()
    slide.obs["total"] = slide.obs["total_counts"].astype(float)
    squidpy.pl.spatial_scatter(slide, color=["total", slide.var_names[0]], save=str(tmp_path / "slide.png"))
    assert (tmp_path / "slide.png").stat().st_size > 1000
