"""A store of slides: each is opened by its name, and all of them are searched as one table."""

from __future__ import annotations

import pickle
from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import xarray as xr

from loaders.builder import write_table
from loaders.slide_builder import LEVELS, SLIDES, Slide, catalogue, record
from zarrscope import record as rec
from zarrscope.describe import describe, info_text
from zarrscope.errors import MissingDataError, QueryError, StoreError, UsageError
from zarrscope.loaders import SlideView, open_store
from zarrscope.loaders.xarray import ZarrscopeBackend

VISIUM, MOUSE, BREAST, COLON, TORN = SLIDES
ANNDATA_ASKS_PANDAS = "ignore:The 'future.infer_string' option"


def test_it_lists_what_slides_hold_though_the_record_lists_only_slides(slides):
    assert slides.images == [f"{one.path}/image" for one in SLIDES if one.image]
    assert slides.tables == [*(f"{one.path}/counts" for one in SLIDES if one.panel), "slides", "genes"]
    assert "samples 'slides': 5 of by_gene, counts, image" in repr(slides)


@pytest.mark.parametrize(
    "name", ["Mouse_Brain+Kidney", "Visium/Mouse_Brain_Kidney", "Visium/Mouse_Brain_Kidney/"], ids=["name", "path", "/"]
)
def test_a_slide_opens_by_its_true_name_and_its_path(slides, name):
    view = slides[name]
    assert isinstance(view, SlideView)
    assert view.levels == LEVELS
    for level in range(3):
        assert np.array_equal(view.image(level=level).values, MOUSE.pixels(level))
    assert view.image("image").dims == ("c", "y", "x")
    assert view.table().shape == view.table("counts").shape == (9, 4)


@pytest.mark.parametrize(
    "name",
    ["Visium/Mouse_Brain_Kidney/image", "Mouse_Brain+Kidney/image", "Visium/Mouse_Brain_Kidney", "Mouse_Brain+Kidney"],
)
def test_what_a_slide_holds_opens_by_its_own_path(slides, name):
    assert np.array_equal(slides.image(name, level=1).values, MOUSE.pixels(1))
    assert list(slides.table(name.replace("image", "counts"), ["index"]).index) == MOUSE.names
    assert slides[name].levels == LEVELS


def test_a_dask_chunk_is_a_shard(slides):
    assert slides.image(VISIUM.name).chunks == ((3,), (16, 16, 8), (32, 18))
    assert slides.image(VISIUM.name, chunks=None).chunks is None


@pytest.mark.filterwarnings(ANNDATA_ASKS_PANDAS)
@pytest.mark.parametrize("slide", [VISIUM, MOUSE, BREAST], ids=lambda one: one.name)
def test_counts_come_as_scanpy_wants_them(slides, slides_path, slide):
    found = slides[slide.name].anndata()
    expected = anndata.read_zarr(slides_path / slide.path / "counts")
    assert isinstance(found.X, scipy.sparse.csr_matrix)
    assert found.X.dtype == np.float32
    assert np.array_equal(found.X.toarray(), slide.counts)
    pd.testing.assert_frame_equal(found.obs, expected.obs, check_names=False, check_column_type=False)
    assert found.obs["label"].dtype == "category"
    assert found.var["symbol"].tolist() == list(slide.genes)
    assert np.array_equal(found.obsm["spatial"], slide.places, equal_nan=True)
    picture = found.uns["spatial"][slide.name]
    assert {name: one.shape for name, one in picture["images"].items()} == {"hires": (20, 20, 3), "lowres": (6, 6, 3)}
    assert picture["scalefactors"]["spot_diameter_fullres"] == 2.5
    assert isinstance(picture["scalefactors"]["tissue_hires_scalef"], float)


def test_counts_come_in_another_type_and_without_the_larger_picture(slides):
    found = slides[VISIUM.name].anndata(hires=False, dtype=None)
    assert found.X.dtype == np.int32
    assert list(found.uns["spatial"][VISIUM.name]["images"]) == ["lowres"]


def test_the_catalogue_has_a_row_a_slide(slides):
    frame = slides.slides
    pd.testing.assert_frame_equal(frame, slides.catalogue)
    assert list(frame.index) == [one.name for one in SLIDES]
    assert frame.index.name == "slide"
    assert list(frame) == list(catalogue())
    assert frame.loc["Torn", "reason"] == "its files are torn"


@pytest.mark.parametrize(
    ("expression", "quarantined", "expected"),
    [
        pytest.param("species == 'human'", False, [VISIUM, BREAST, COLON], id="sound ones"),
        pytest.param("species == 'human'", True, [VISIUM, BREAST, COLON, TORN], id="quarantined ones too"),
        pytest.param("tissue == 'brain' and species == 'human'", False, [VISIUM], id="two columns"),
        pytest.param("n_spots < 10", False, [MOUSE, BREAST], id="missing is not less"),
        pytest.param("index == 'Breast_A1'", False, [BREAST], id="by name"),
        pytest.param("n_spots > 1000", False, [], id="nothing"),
    ],
)
def test_a_query_selects_slides(slides, expression, quarantined, expected):
    found = slides.query(expression, quarantined=quarantined)
    assert found.names == [one.name for one in expected]
    assert len(found) == len(expected)
    assert list(found.table(["tissue"]).index) == found.names
    assert list(found.table()) == list(catalogue())
    opened = list(found)
    assert [view.name for view in opened] == [one.name for one in expected if one.holds]
    assert all(isinstance(view, SlideView) for view in opened)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        pytest.param("tisue == 'brain'", "no column 'tisue'.*Did you mean 'tissue'", id="column"),
        pytest.param("tissue == 'brian'", "there are brain, brain.kidney.*Did you mean 'brain'", id="value"),
    ],
)
def test_a_query_that_can_mean_nothing_is_an_error(slides, expression, message):
    with pytest.raises(QueryError, match=message):
        slides.query(expression)


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        pytest.param(lambda store: store["GSE1_GSM3"], MissingDataError, "Did you mean 'GSE1_GSM2'", id="name"),
        pytest.param(lambda store: store["Torn"], MissingDataError, "no element 'Torn'", id="quarantined"),
        pytest.param(lambda store: store.image("Breast_A1"), MissingDataError, "one image, found none", id="image"),
        pytest.param(lambda store: store["Colon_HD"].anndata(), MissingDataError, "no counts.*'reason'", id="counts"),
        pytest.param(lambda store: store.table("Colon_HD"), MissingDataError, "one table, found none", id="table"),
        pytest.param(lambda store: store.image("Visium/GSE1_GSM2/counts"), MissingDataError, "no image", id="kind"),
        pytest.param(lambda store: store.table("Visium/GSE1_GSM2/image"), MissingDataError, "no table", id="no table"),
        pytest.param(lambda store: store.image("GSE1_GSM2", level=3), StoreError, "has no level 3", id="level"),
        pytest.param(lambda store: store.samples("slides"), UsageError, "groups of their own", id="samples"),
        pytest.param(lambda store: store.query("ok").samples(), UsageError, "groups of their own", id="its samples"),
        pytest.param(lambda store: store.query("ok").image(), UsageError, "iterate", id="its image"),
        pytest.param(lambda store: store.statistics("GSE1_GSM2"), UsageError, "store.catalogue", id="statistics"),
        pytest.param(lambda store: store["Visium"].image(), MissingDataError, "no one image 'Visium'", id="several"),
    ],
)
def test_a_wrong_question_is_answered(slides, ask, error, message):
    with pytest.raises(error, match=message):
        ask(slides)


def test_rows_of_images_are_not_iterated(store):
    found = store.query("grid_row == 0", "train")
    assert found.names == ["train-wf-0", "train-wf-1", "train-wf-3"]
    with pytest.raises(UsageError, match=r"use \.samples"):
        iter(found)


def test_a_view_of_several_slides_lists_them(slides):
    view = slides["Visium"]
    assert not isinstance(view, SlideView)
    assert "sample Visium/GSE1_GSM2" in repr(view)
    assert view.image("Visium/GSE1_GSM2/image").shape == LEVELS[0]


def test_a_sample_of_another_kind_is_opened_by_its_names(tmp_path, slides_path):
    """Cells hold several images; a table of a name that tells nothing opens as what it is asked for."""
    cell = Slide("Cell 1", "CCPs/cell1")
    root = tmp_path / "cells.zarr"
    (root / "CCPs/cell1").mkdir(parents=True)
    for name, source in (("raw", "image"), ("wf", "image"), ("locs", "counts"), ("beads", "counts")):
        (root / "CCPs/cell1" / name).symlink_to(slides_path / VISIUM.path / source)
    element = rec.Element(
        path=cell.path,
        kind="sample",
        role="cell",
        name=cell.name,
        shape=(),
        holds=("raw", "wf", "locs", "beads"),
        digest="0" * 64,
    )
    (root / "zarr.json").write_bytes(rec.root_document(replace(record(), elements=(element,), samples=())))
    store = open_store(str(root))
    assert not isinstance(store["Cell 1"], SlideView)
    assert np.array_equal(store["Cell 1"].image("wf", level=2).values, VISIUM.pixels(2))
    assert store["CCPs/cell1/raw"].levels == LEVELS
    assert list(store["Cell 1"].table(columns=["index"]).index) == VISIUM.names
    assert list(store.table("Cell 1/beads", ["index"]).index) == VISIUM.names
    with pytest.raises(MissingDataError, match=r"expected one image, found 3 \(raw, wf, beads\)"):
        store.image("Cell 1")


def test_info_tells_what_slides_there_are(slides):
    told = describe(slides, slides.record)
    [samples] = told["samples"]
    assert samples["by"]["technology"] == {"ST": 2, "Visium": 2, "VisiumHD": 1}
    assert (samples["spots"], samples["genes"], samples["quarantined"]) == (28, 7, 1)
    text = info_text(told)
    assert "samples 'slides': 5 of by_gene + counts + image" in text
    assert "species: human 4, mouse 1" in text
    assert "28 spots, 7 genes, 1 quarantined" in text


def test_xarray_opens_the_levels_of_a_slide(slides_path):
    for group in ("Visium/Mouse_Brain_Kidney", "Mouse_Brain+Kidney"):
        tree = xr.open_datatree(slides_path, engine=ZarrscopeBackend, group=group, chunks={})
        assert [tree[f"image/{level}/image"].shape for level in range(3)] == list(LEVELS)
        assert np.array_equal(tree["image/1/image"].values, MOUSE.pixels(1))
    alone = xr.open_datatree(slides_path, engine=ZarrscopeBackend, group=f"{MOUSE.path}/image", level=2)
    assert np.array_equal(alone["image"].values, MOUSE.pixels(2))
    dataset = xr.open_dataset(slides_path, engine=ZarrscopeBackend, group=MOUSE.name, level=1)
    assert np.array_equal(dataset.image.values, MOUSE.pixels(1))


def test_opening_a_slide_is_one_request(slides_url, traffic):
    store = open_store(slides_url)
    traffic.clear()
    view = store[VISIUM.name]
    assert traffic.total == 0
    assert view.image(level=1).shape == LEVELS[1]
    assert view.levels == LEVELS
    assert traffic.requests == {"get": 1}
    assert np.array_equal(view.image()[:, :8, :8].values, VISIUM.pixels(0)[:, :8, :8])
    assert traffic.total == 3  # the shard's index, one chunk


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Write the record and the catalogue of as many slides as STimage-1K4M has."""
    root = tmp_path_factory.mktemp("stores") / "many.zarr"
    slides = [Slide(f"GSE{number}_GSM+{number}", f"Visium/GSE{number}_GSM_{number}") for number in range(1149)]
    (root).mkdir()
    frame = pd.DataFrame(
        {
            "tissue": pd.Categorical(["brain" if number % 3 else "heart" for number in range(1149)]),
            "ok": np.ones(1149, bool),
            "n_spots": np.arange(1149),
        },
        index=[one.name for one in slides],
    )
    write_table(root, "slides", anndata.AnnData(obs=frame))
    (root / "zarr.json").write_bytes(rec.root_document(record(slides)))
    import fsspec

    memory = fsspec.filesystem("memory")
    for path in root.rglob("*"):
        if path.is_file():
            memory.pipe_file(f"/many.zarr/{path.relative_to(root).as_posix()}", path.read_bytes())
    return "memory://many.zarr"


def test_a_thousand_slides_are_opened_and_searched_with_few_requests(many, traffic):
    store = open_store(many)
    assert len(store.images) == len(store.tables) - 2 == 1149
    view = store["GSE700_GSM+700"]
    assert view.sample.path == "Visium/GSE700_GSM_700"
    assert traffic.requests == {"get": 1}
    found = store.query("tissue == 'heart'")
    assert len(found) == 383
    assert traffic.total <= 1 + 4  # the catalogue; codes and categories; ok
    traffic.clear()
    assert len(store.slides) == 1149
    assert traffic.total <= 2 * 4  # at most two objects a column, the names among them
    assert len(list(found)) == 383


def test_a_tree_of_a_thousand_slides_is_refused(many):
    with pytest.raises(ValueError, match=r"1,149 images of 1,149 samples below its root.*'Visium/GSE0_GSM_0'"):
        xr.open_datatree(many, engine=ZarrscopeBackend)
    with pytest.raises(ValueError, match=r"has 1149 images; pass group="):
        xr.open_dataset(many, engine=ZarrscopeBackend)


def test_a_store_of_slides_pickles(slides):
    again = pickle.loads(pickle.dumps(slides))
    assert np.array_equal(pickle.loads(pickle.dumps(again[MOUSE.name])).image(level=2).values, MOUSE.pixels(2))
