"""Samples come as numpy dicts with their pairs, sound rows only, batch by batch, here and in worker processes."""

from __future__ import annotations

import multiprocessing
import operator
import pickle

import numpy as np
import pytest

from loaders.builder import pixels, rows
from zarrscope.errors import StoreError, UsageError
from zarrscope.loaders import Samples, open_store

STACK = "subset/normalised"
GOOD = [row for row in range(40) if row != 7]


def test_a_set_of_one_image_gives_its_sound_rows(store):
    samples = store.samples(STACK, columns=["protein", "image_id", "grid_row"])
    assert isinstance(samples, Samples)
    assert len(samples) == 39
    assert [int(one["normalised"][0, 0]) for one in samples] == [10_000 + 100 * row for row in GOOD]
    assert np.array_equal(samples[7]["normalised"], pixels(STACK)[8])  # row 7 is quarantined
    assert samples[7]["protein"] == rows(STACK)["protein"].iloc[8]
    assert samples[5]["protein"] == ""  # missing
    assert type(samples[0]["grid_row"]) is int


def test_quarantined_rows_come_when_asked_for(store):
    assert len(store.samples(STACK, quarantined=True)) == 40
    assert not store.samples(STACK, quarantined=True)[7]["normalised"].any()


def test_partners_by_row_come_together_and_leave_together(store):
    """The ground truth of row 2 is quarantined: its wide-field image goes with it."""
    samples = store.samples("train")
    assert samples.rows["wf"].tolist() == [0, 1, 3, 4, 5]
    for one, row in zip(samples, (0, 1, 3, 4, 5), strict=True):
        assert np.array_equal(one["wf"], pixels("train/wf")[row])
        assert np.array_equal(one["gt"], pixels("train/gt")[row])


def test_partners_through_a_column_are_shared(store):
    """Six levels share one ground truth; the third one is quarantined."""
    samples = store.samples("test", columns=["gt_row"])
    assert len(samples) == 12
    for place, one in enumerate(samples):
        assert np.array_equal(one["wf"], pixels("test/wf")[place])
        assert np.array_equal(one["gt"], pixels("test/gt")[place // 6])
        assert one["gt_row"] == place // 6


@pytest.mark.parametrize(
    ("name", "images", "keys", "length"),
    [
        pytest.param("test", ["gt"], {"gt"}, 12, id="one role of a set"),
        pytest.param("test", ["test/gt", "wf"], {"wf", "gt"}, 12, id="by path and role"),
        pytest.param("test/wf", None, {"wf"}, 18, id="an image alone"),
        pytest.param("test/gt", None, {"gt"}, 2, id="a partner alone"),
        pytest.param("test/wf", ["test/wf", "test/gt"], {"wf", "gt"}, 12, id="a pair by paths"),
    ],
)
def test_images_can_be_chosen(store, name, images, keys, length):
    samples = store.samples(name, images=images)
    assert set(samples[0]) == keys
    assert len(samples) == length


@pytest.mark.parametrize(
    ("name", "images"),
    [
        pytest.param("test", ["wf", "train/gt"], id="of another set"),
        pytest.param("test/wf", ["test/wf", "train/gt"], id="by path"),
        pytest.param("test", [], id="none"),
    ],
)
def test_images_that_nothing_pairs_are_an_error(store, name, images):
    with pytest.raises(StoreError, match="test: test/wf with test/gt"):
        store.samples(name, images=images)


def test_a_batch_is_one_array_an_image_in_the_order_asked_for(store):
    samples = store.samples("test", columns=["structure"])
    batch = samples.batch([7, 0, 7, -1])
    assert np.array_equal(batch["wf"], pixels("test/wf")[[7, 0, 7, 11]])
    assert np.array_equal(batch["gt"], pixels("test/gt")[[1, 0, 1, 1]])
    assert batch["structure"].tolist() == rows("test/wf")["structure"].iloc[[7, 0, 7, 11]].tolist()
    several = samples.__getitems__([7, 0])
    assert [int(one["wf"][0, 0]) for one in several] == [40_700, 40_000]


def test_a_batch_decodes_a_shared_partner_once(remote_url, traffic):
    samples = open_store(remote_url).samples("test", images=["gt"])
    samples.batch([0])
    traffic.clear()
    samples.batch([0, 1, 2, 3, 4, 5])
    assert traffic.requests == {"get": 1}


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        pytest.param(slice(2, 6), GOOD[2:6], id="slice"),
        pytest.param([7, 1], [8, 1], id="list"),
        pytest.param(np.array([3, -1]), [3, 39], id="array"),
        pytest.param(np.arange(39) < 2, [0, 1], id="mask"),
        pytest.param(slice(None, None, -1), GOOD[::-1], id="reversed"),
    ],
)
def test_a_selection_of_samples_is_samples(store, index, expected):
    some = store.samples(STACK, columns=["grid_row"])[index]
    assert isinstance(some, Samples)
    assert some.rows["normalised"].tolist() == expected
    assert [one["grid_row"] for one in some] == [row // 4 for row in expected]


@pytest.mark.parametrize("index", [39, -40, [0, 39]])
def test_a_sample_out_of_bounds_is_an_error(store, index):
    with pytest.raises(IndexError, match="out of bounds: subset/normalised has 39"):
        _ = store.samples(STACK)[index]


def test_an_image_and_a_column_of_one_name_are_refused(store):
    samples = store.samples("test")
    with pytest.raises(UsageError, match="names both"):
        Samples("test", samples.images, samples.rows, {"wf": np.zeros(12)})


def test_samples_pickle_small_and_read_again(store):
    samples = store.samples("test", columns=["structure"])
    data = pickle.dumps(samples)
    assert len(data) < 6_000
    assert np.array_equal(pickle.loads(data)[4]["gt"], samples[4]["gt"])


def test_worker_processes_read_samples(store):
    samples = store.samples("test")
    with multiprocessing.get_context("forkserver").Pool(2) as pool:
        found = pool.starmap(operator.getitem, [(samples, place) for place in range(12)])
    assert [int(one["wf"][0, 0]) for one in found] == [40_000 + 100 * place for place in range(12)]


def test_they_say_what_they_are(store):
    assert repr(store.samples("test", columns=["structure"])) == (
        "<Samples test: 12 of wf (6, 6) uint16, gt (12, 12) uint16; structure>"
    )


def test_a_partner_row_that_does_not_exist_is_an_error(copy):
    import anndata

    from loaders.builder import write_table

    table = rows("test/wf")
    table["gt_row"] = table["gt_row"] + 2
    write_table(copy, "test/wf/rows", anndata.AnnData(obs=table))
    with pytest.raises(StoreError, match="'gt_row' points to row 4 of test/gt, which has 3"):
        open_store(str(copy)).samples("test")


def test_a_sample_without_a_partner_is_left_out(copy):
    import anndata
    import pandas as pd

    from loaders.builder import write_table

    table = rows("test/wf")
    table["gt_row"] = pd.array([None if row == 1 else row // 6 for row in range(18)], dtype="Int64")
    write_table(copy, "test/wf/rows", anndata.AnnData(obs=table))
    samples = open_store(str(copy)).samples("test")
    assert samples.rows["wf"].tolist() == [0, *range(2, 12)]


def test_rows_that_do_not_match_the_pixels_are_refused(copy):
    import anndata

    from loaders.builder import write_table

    write_table(copy, "test/wf/rows", anndata.AnnData(obs=rows("test/wf").iloc[:-1]))
    with pytest.raises(StoreError, match="expected 18 rows"):
        open_store(str(copy)).samples("test")
