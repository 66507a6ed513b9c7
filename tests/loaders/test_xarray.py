"""The xarray engine opens images as datasets and trees, and leaves other people's stores alone."""

from __future__ import annotations

import inspect
import os
import shutil

import numpy as np
import pytest
import xarray as xr

from loaders.builder import pixels
from zarrscope.errors import MissingDataError
from zarrscope.loaders.xarray import MOST, ZarrscopeBackend

STACK = "subset/normalised"


def opened(url, **options):
    return xr.open_dataset(url, engine=ZarrscopeBackend, **options)


@pytest.mark.parametrize("chunks", [None, {}, "auto", {"n": 16}], ids=str)
def test_an_image_is_a_dataset(store_path, chunks):
    dataset = opened(store_path, group=STACK, chunks=chunks)
    assert list(dataset) == ["image"]
    assert np.array_equal(dataset.image.values, pixels(STACK))


def test_with_chunks_of_its_own_choosing_a_chunk_is_a_shard(store_path):
    assert opened(store_path, group=STACK, chunks={}).image.chunks == ((16, 16, 8), (8,), (6,))


def test_without_chunks_a_crop_is_one_request(remote_url, traffic):
    dataset = opened(remote_url, group=STACK, cache=False)
    _ = dataset.image[20].values
    traffic.clear()
    assert np.array_equal(dataset.image[21].values, pixels(STACK)[21])
    assert traffic.requests == {"get": 1}


def test_columns_and_units_are_coordinates(store_path):
    dataset = opened(store_path, group="test/wf", columns=["structure"])
    assert dataset.structure.values[:2].tolist() == ["ER", "Microtubules"]
    assert dataset.x.attrs["units"] == "nanometer"
    assert "x" not in opened(store_path, group="test/wf", drop_variables="x").coords


def test_a_tree_holds_all_images_below_a_group(store_path):
    tree = xr.open_datatree(store_path, engine=ZarrscopeBackend, group="test")
    assert sorted(tree.children) == ["gt", "wf"]
    assert np.array_equal(tree["gt"].image.values, pixels("test/gt"))
    whole = xr.open_datatree(store_path, engine=ZarrscopeBackend, chunks={})
    assert np.array_equal(whole[f"{STACK}/image"].values, pixels(STACK))
    alone = xr.open_datatree(store_path, engine=ZarrscopeBackend, group=STACK)
    assert np.array_equal(alone["image"].values, pixels(STACK))


def test_groups_come_as_a_dict(store_path):
    groups = xr.open_groups(store_path, engine=ZarrscopeBackend, group="train")
    assert list(groups) == ["/", "/wf", "/gt"]


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        pytest.param(opened, ValueError, "has 5 images; pass group=", id="no group"),
        pytest.param(
            lambda url: opened(url, group="tset/wf"), MissingDataError, "Did you mean 'test/wf'", id="unknown"
        ),
        pytest.param(
            lambda url: xr.open_datatree(url, engine=ZarrscopeBackend, group="tes"), KeyError, "no image at", id="tree"
        ),
    ],
)
def test_a_wrong_group_is_an_error_that_lists_the_right_ones(store_path, ask, error, message):
    with pytest.raises(error, match=message):
        ask(store_path)


def test_a_tree_of_too_many_images_is_refused(store_path, monkeypatch):
    from zarrscope.loaders.store import Store

    monkeypatch.setattr(Store, "images", [f"CCPs/cell{number}/wf" for number in range(MOST + 1)])
    with pytest.raises(ValueError, match=r"has 65 images below its root.*such as 'CCPs/cell0'"):
        xr.open_datatree(store_path, engine=ZarrscopeBackend)


def test_only_stores_of_ours_are_claimed(store_path, tmp_path):
    claim = ZarrscopeBackend().guess_can_open
    assert claim(store_path)
    assert claim(f"{store_path}{os.sep}")
    assert claim("s3://bucket/stedfm.ome.zarr")
    other = shutil.copytree(store_path / "test/wf", tmp_path / "other.ome.zarr")
    assert not claim(other)
    assert not claim(tmp_path / "absent.ome.zarr")
    assert not claim("s3://bucket/other.zarr")
    assert not claim(b"bytes")


def test_its_parameters_are_those_it_declares():
    """What is declared is what xarray hands over, whatever the method takes."""
    taken = set(inspect.signature(ZarrscopeBackend.open_dataset).parameters) - {"self"}
    assert taken == set(ZarrscopeBackend.open_dataset_parameters)
