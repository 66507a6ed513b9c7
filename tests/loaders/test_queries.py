"""A query selects sound samples by their columns, over all sets that have these, and hands them out lazily."""

from __future__ import annotations

import numpy as np
import pytest

from loaders.builder import pixels
from zarrscope.errors import QueryError, UsageError

STACK = "subset/normalised"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        pytest.param("protein == 'psd95'", {STACK: [row for row in range(1, 40, 3) if row != 7]}, id="category"),
        pytest.param("protein == 'psd95' and weight < 3", {STACK: [4]}, id="two columns, NaN is not less"),
        pytest.param("channel == 4", {STACK: [4], "train": [4], "test": [4]}, id="nullable integer"),
        pytest.param("image_id == 'im38'", {STACK: [38]}, id="text"),
        pytest.param("index == 'test-wf-3'", {"test": [3]}, id="name of a member"),
        pytest.param("structure == 'ER'", {"test": [0, 2, 4, 6, 8, 10]}, id="only in one set"),
        pytest.param(
            "structure == 'ER' or structure == 'CCPs'",
            {"train": [0, 4], "test": [0, 2, 4, 6, 8, 10]},
            id="one value from each set",
        ),
        pytest.param("gt_row == 1", {"test": [6, 7, 8, 9, 10, 11]}, id="only one set has the column"),
        pytest.param("grid_row > 100", {}, id="no number so large"),
    ],
)
def test_an_expression_selects_sound_rows(store, expression, expected):
    found = store.query(expression)
    assert {name: rows.tolist() for name, rows in found.rows.items()} == expected
    assert len(found) == sum(map(len, expected.values()))


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        pytest.param("protein == 'psd59'", "Did you mean 'psd95'", id="unknown value"),
        pytest.param("structure == 'Golgi'", "there are CCPs, ER, Microtubules", id="value in no set"),
        pytest.param("protien == 'psd95'", "Did you mean 'protein'", id="unknown column"),
        pytest.param("protein == 'psd95' and gt_row == 1", "no sample set has all columns", id="columns of two sets"),
        pytest.param("protein.lower() == 'x'", "cannot use", id="call"),
        pytest.param("protein < 3", "holds text", id="text with a number"),
        pytest.param("1", "cannot use", id="no column"),
    ],
)
def test_a_query_that_can_mean_nothing_is_an_error(store, expression, message):
    with pytest.raises(QueryError, match=message):
        store.query(expression)


def test_sets_can_be_named_and_quarantined_rows_asked_for(store):
    assert set(store.query("grid_row == 0", "train").rows) == {"train"}
    assert set(store.query("grid_row == 0", ["train", "test"]).rows) == {"train", "test"}
    assert store.query("grid_row == 0", "train").rows["train"].tolist() == [0, 1, 3]
    assert store.query("grid_row == 0", "train", quarantined=True).rows["train"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("chunks", ["auto", None, {"n": 3}], ids=str)
def test_selected_pixels_are_lazy_and_in_order(store, chunks):
    found = store.query("protein == 'psd95'")
    image = found.image(chunks=chunks)
    assert np.array_equal(image.values, pixels(STACK)[found.rows[STACK]])
    assert np.array_equal(image[2, 1:3].values, pixels(STACK)[found.rows[STACK]][2, 1:3])


def test_a_dask_chunk_of_selected_rows_lies_in_one_shard(store):
    assert store.query("protein == 'psd95'").image().chunks[0] == (4, 6, 2)


def test_selected_partners_line_up(store):
    found = store.query("gt_row >= 0 and structure == 'ER'")
    assert np.array_equal(found.image("wf").values, pixels("test/wf")[[0, 2, 4, 6, 8, 10]])
    assert np.array_equal(found.image("test/gt").values, pixels("test/gt")[[0, 0, 0, 1, 1, 1]])
    assert [int(one["gt"][0, 0]) for one in found.samples()] == [50_000] * 3 + [50_100] * 3


def test_rows_that_jump_between_shards_make_chunks_of_a_shards_length(store):
    """Otherwise each row of a partner could become a dask task."""
    from zarrscope.loaders.pixels import Rows

    array = store.samples(STACK).images["normalised"]
    rows = np.tile([0, 39], 20)
    assert Rows(array, rows).chunks() == (16, 16, 8)
    assert np.array_equal(Rows(array, rows)[3:5, 0], pixels(STACK)[[39, 0], 0])


def test_selected_rows_of_the_catalogue(store):
    table = store.query("structure == 'ER' or structure == 'CCPs'").table(["structure"])
    assert list(table) == ["set", "row", "structure"]
    assert table["structure"].tolist() == ["CCPs"] * 2 + ["ER"] * 6
    assert store.query("index == 'test-wf-3'").table().index.tolist() == ["test-wf-3"]


def test_of_several_sets_one_has_to_be_named(store):
    found = store.query("structure == 'Microtubules'")
    assert set(found.rows) == {"train", "test"}
    with pytest.raises(UsageError, match="name one set of these"):
        found.samples()
    with pytest.raises(UsageError, match="train/wf and test/wf; name one"):
        found.image("wf")
    assert len(found.samples("test")) == len(found.image("test/gt")) == 6


def test_nothing_selected_is_nothing_handed_out(store):
    found = store.query("grid_row > 100")
    assert len(found) == 0
    assert len(found.table()) == 0
    with pytest.raises(UsageError, match="selected samples of nothing"):
        found.samples()
    assert repr(found) == "<Selection 'grid_row > 100': 0 samples>"
