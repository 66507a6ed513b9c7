"""An open store gives images, tables and views by name, with few requests, and says what it does not have."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest

from loaders.builder import PROTEINS, STACKS, build, pixels, record, rows
from zarrscope import record as rec
from zarrscope.errors import MissingDataError, QueryError, StoreError
from zarrscope.loaders import open_store
from zarrscope.query import Categories

STACK = "subset/normalised"
ANNDATA_ASKS_PANDAS = "ignore:The 'future.infer_string' option"


def test_it_lists_what_it_holds(store, store_path):
    assert store.images == list(STACKS)
    assert store.sets == [STACK, "train", "test"]
    assert store.tables == [f"{path}/rows" for path in STACKS] + [f"{STACK}/statistics"]
    assert store.url == str(store_path)
    assert "subset/normalised  uint16 (40, 8, 6)" in repr(store)
    assert "samples 'test': 18 of wf, gt" in repr(store)
    assert "<code>" in store._repr_html_()


@pytest.mark.parametrize("chunks", ["auto", None, {"n": 5}, -1], ids=str)
@pytest.mark.parametrize("path", STACKS)
def test_an_image_has_the_pixels_however_it_is_opened(store, path, chunks):
    image = store.image(path, chunks=chunks)
    assert image.dims == ("n", "y", "x")
    assert image.name == path
    assert np.array_equal(image.values, pixels(path))


def test_by_default_a_dask_chunk_is_a_shard(store):
    assert store.image(STACK).chunks == ((16, 16, 8), (8,), (6,))


def test_without_dask_nothing_is_read_until_asked_for(store):
    image = store.image(STACK, chunks=None)
    assert image.chunks is None
    assert not image.variable._in_memory
    crop = image[3:30][4:6, 1:, [0, 2]]
    assert not crop.variable._in_memory
    assert np.array_equal(crop.values, pixels(STACK)[7:9, 1:][:, :, [0, 2]])


def test_an_image_opens_by_its_true_name(store):
    assert store.image("Nanobodies β").name == STACK


def test_only_axes_with_a_unit_have_coordinates_and_pixels_of_pairs_line_up(store):
    """Two fine pixels lie around the centre of one coarse pixel."""
    wf, gt = store.image("test/wf"), store.image("test/gt")
    assert set(wf.coords) == {"y", "x"}
    assert set(store.image(STACK).coords) == set()
    assert wf.x.attrs["units"] == "nanometer"
    assert wf.x.dtype == np.float64
    assert np.allclose(wf.x, np.arange(6) * 62.6)
    assert np.allclose(gt.x.to_numpy().reshape(-1, 2).mean(axis=1), wf.x)


def test_columns_become_coordinates_along_n(store):
    image = store.image(STACK, columns=["protein", "grid_row", "index"])
    assert image.protein.dims == ("n",)
    assert image.protein.to_numpy()[:6].tolist() == ["actin", "psd95", "tubulin", "actin", "psd95", ""]
    psd95 = image[image.protein == "psd95"]
    assert np.array_equal(psd95.values, pixels(STACK)[1::3])


@pytest.mark.filterwarnings(ANNDATA_ASKS_PANDAS)
def test_a_table_is_a_lazy_anndata_by_either_path(store):
    for name in (STACK, f"{STACK}/rows"):
        table = store.table(name)
        assert isinstance(table, anndata.AnnData)
        assert table.shape == (40, 0)
    whole = store.table(STACK).to_memory()
    assert whole.obs["grid_row"].tolist() == rows(STACK)["grid_row"].tolist()


@pytest.mark.filterwarnings(ANNDATA_ASKS_PANDAS)
def test_columns_of_a_table_are_what_anndata_reads(store, store_path):
    names = list(rows(STACK))
    expected = anndata.read_zarr(store_path / STACK / "rows").obs
    found = store.table(STACK, [*names, "index"])
    pd.testing.assert_frame_equal(found, expected[names], check_names=False, check_column_type=False)
    assert list(store.table(STACK, ["grid_row"]).index) == list(range(40))


def test_columns_for_queries_are_plain(store):
    found = store.columns(STACK, ["protein", "channel", "flipped", "image_id", "index"])
    protein, channel, flipped = found["protein"], found["channel"], found["flipped"]
    assert isinstance(protein, Categories)
    assert protein.values.tolist() == list(PROTEINS)
    assert protein.codes[5] == -1
    assert np.isnan(channel[3])
    assert channel[4] == 4
    assert flipped.dtype == bool
    assert not flipped[3]
    assert found["index"][2] == "subset-normalised-2"


def test_the_catalogue_has_a_row_a_sample(store):
    catalogue = store.catalogue
    assert len(catalogue) == 40 + 6 + 18
    assert catalogue["set"].value_counts().to_dict() == {STACK: 40, "test": 18, "train": 6}
    last = catalogue.loc["test-wf-17"]
    assert (last["row"], last["gt_row"], last["structure"]) == (17, 2, "Microtubules")
    assert catalogue["set"].dtype == "category"


def test_statistics_have_a_row_a_class_and_one_over_all(store):
    found = store.statistics(STACK)
    assert list(found.index) == ["even", "odd", "all"]
    for name, part in (("even", pixels(STACK)[::2]), ("odd", pixels(STACK)[1::2]), ("all", pixels(STACK))):
        row = found.loc[name]
        assert row["count"] == part.size
        assert row[["min", "max"]].tolist() == [part.min(), part.max()]
        assert np.allclose(row[["mean", "std"]].astype(float), [part.mean(), part.std()])
        assert np.allclose(row[["p1", "p50", "p99"]].astype(float), np.percentile(part, [1, 50, 99]))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        pytest.param(lambda store: store.image("subset/normalized"), "Did you mean 'subset/normalised'", id="image"),
        pytest.param(lambda store: store.image(f"{STACK}/rows"), "no image", id="table for image"),
        pytest.param(lambda store: store.table("nothing"), "no table 'nothing'; there are", id="table"),
        pytest.param(lambda store: store.samples("tests"), "Did you mean 'test'", id="samples"),
        pytest.param(lambda store: store["tset/wf"], "Did you mean 'test/wf'", id="element"),
        pytest.param(lambda store: store.statistics("test/wf"), "test/wf/statistics", id="statistics"),
        pytest.param(lambda store: store["test"].image(), "test/wf, test/gt", id="one of several"),
    ],
)
def test_an_unknown_name_is_an_error_that_lists_what_there_is(store, ask, message):
    with pytest.raises(MissingDataError, match=message) as raised:
        ask(store)
    assert isinstance(raised.value, KeyError)
    assert isinstance(raised.value, StoreError)


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        pytest.param(lambda store: store.image(STACK, level=1), StoreError, "has no level 1", id="level"),
        pytest.param(lambda store: store.table(STACK, ["protien"]), QueryError, "Did you mean 'protein'", id="column"),
    ],
)
def test_a_wrong_question_is_answered(store, ask, error, message):
    with pytest.raises(error, match=message):
        ask(store)


def test_a_view_gives_what_lies_at_or_below_a_path(store):
    assert store["test"].image("wf").name == "test/wf"
    assert store["test/gt"].image(chunks=None).name == "test/gt"
    assert store["Nanobodies β"].image().name == STACK
    assert list(store["test/wf"].table(columns=["ok"])) == ["ok"]
    assert store["test"].table("wf/rows").shape == (18, 0)
    assert "image test/gt" in repr(store["test"])


def test_a_store_pickles(store):
    again = pickle.loads(pickle.dumps(store))
    assert np.array_equal(again.image(STACK).values, pixels(STACK))


def test_opening_is_one_request_and_a_first_crop_at_most_three_more(remote_url, traffic):
    store = open_store(remote_url)
    assert traffic.requests == {"get": 1}
    image = store.image(STACK, chunks=None)
    assert np.array_equal(image[21].values, pixels(STACK)[21])
    assert traffic.total <= 4
    traffic.clear()
    _ = image[23].to_numpy()
    assert traffic.requests == {"get": 1}


def test_a_crop_through_dask_is_the_same_requests(remote_url, traffic):
    image = open_store(remote_url).image(STACK)
    traffic.clear()
    assert np.array_equal(image[21].values, pixels(STACK)[21])
    assert traffic.total <= 2


def test_a_query_reads_its_columns_and_no_pixels(remote_url, traffic):
    store = open_store(remote_url)
    traffic.clear()
    assert len(store.query("protein == 'psd95'")) == 12
    assert traffic.total <= 8  # the table; codes and categories of one column; ok


UNFINISHED = {"tasks": [{"image": "a", "shard": shard} for shard in range(954)]}


def unfinished(root, done=412):
    receipts = root / ".zarrscope/receipts/full/normalised"
    receipts.mkdir(parents=True)
    (root / ".zarrscope/plan.json").write_text(json.dumps(UNFINISHED))
    for shard in range(done):
        (receipts / str(shard)).write_text("{}")


def test_an_unfinished_store_says_how_far_it_is(tmp_path):
    unfinished(tmp_path / "s.zarr")
    with pytest.raises(StoreError) as raised:
        open_store(str(tmp_path / "s.zarr"))
    assert str(raised.value) == (
        f"{tmp_path / 's.zarr'} holds an unfinished conversion (412 of 954 tasks). "
        "Run convert again to resume it, or pass --overwrite."
    )


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        pytest.param(lambda root: None, "is not a zarrscope store", id="nothing"),  # noqa: ARG005
        pytest.param(lambda root: (root / "zarr.json").write_text("<html>"), "is not the JSON", id="page"),
        pytest.param(
            lambda root: (root / "zarr.json").write_text('{"attributes": {}}'), "without a zarrscope record", id="other"
        ),
    ],
)
def test_what_is_no_store_is_refused(tmp_path, prepare, message):
    prepare(tmp_path)
    with pytest.raises(StoreError, match=message):
        open_store(str(tmp_path))


def test_a_store_with_pending_elements_serves_the_rest(tmp_path):
    root = build(tmp_path / "p.zarr")
    whole = record()
    kept = tuple(one for one in whole.elements if not one.path.startswith("test/"))
    sets = tuple(one for one in whole.samples if one.name != "test")
    changed = replace(whole, elements=kept, samples=sets, pending=("test/wf", "test/gt"))
    (root / "zarr.json").write_bytes(rec.root_document(changed))
    with pytest.warns(UserWarning, match="a conversion under way adds or replaces test/wf, test/gt"):
        store = open_store(str(root))
    assert np.array_equal(store.image(STACK).values, pixels(STACK))
    assert "pending: test/wf, test/gt" in repr(store)
    for ask in (store.image, store.table, store.samples, store.__getitem__):
        with pytest.raises(StoreError, match="is pending"):
            ask("test/wf")


HEAVY = ("zarr", "dask", "anndata", "pandas", "xarray", "numba")


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        pytest.param("zarrscope.loaders", HEAVY, id="package"),
        pytest.param("zarrscope.loaders.store", HEAVY, id="store"),
        pytest.param("zarrscope.loaders.xarray", ("zarr", "dask", "anndata", "zarrscope.loaders.store"), id="engine"),
    ],
)
def test_importing_is_light(module, absent):
    code = f"import sys, {module}; print([name for name in {absent!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
