"""The array reader agrees with zarr-python on every selection, and reads few bytes in few requests."""

from __future__ import annotations

import json
import multiprocessing
import operator
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from loaders.test_chunking import grids
from zarrscope.errors import StoreError, UsageError
from zarrscope.loaders.objects import IndexCache, ShardIndex
from zarrscope.loaders.shards import ShardedArray
from zarrscope.storage import Storage

ZSTD = zarr.codecs.ZstdCodec(level=1, checksum=True)
CRC = zarr.codecs.Crc32cCodec()


def read_back(store, key=""):
    """Open what zarr wrote into a memory store of fsspec, or a local folder, with our reader."""
    storage = Storage(store)
    return ShardedArray(storage, key, json.loads(storage.get(f"{key}/zarr.json" if key else "zarr.json")))


def write(root: Path, values, *, chunks, shards=None, compressors=ZSTD, **options):
    array = zarr.create_array(
        root,
        shape=values.shape,
        dtype=values.dtype,
        chunks=chunks,
        shards=shards,
        compressors=compressors,
        config={"write_empty_chunks": True},
        **options,
    )
    array[...] = values
    return array


@settings(deadline=None, max_examples=60)  # each example writes an array through zarr
@given(case=grids(most_axes=5), dtype=st.sampled_from(["uint8", "<u2", "<f4", ">i4", "bool"]), sharded=st.booleans())
def test_any_selection_is_what_zarr_reads(tmp_path_factory, case, dtype, sharded):
    """For any shape, chunks along any axis, with and without shards, of any type."""
    shape, chunks, grid, key = case
    root = tmp_path_factory.mktemp("any")
    values = (np.arange(np.prod(shape)).reshape(shape) + 1).astype(dtype)
    shards = tuple(chunk * many for chunk, many in zip(chunks, grid, strict=True)) if sharded else None
    judge = write(root / "a", values, chunks=chunks, shards=shards)
    expected = np.asarray(judge[...])
    for axis in reversed(range(len(key))):
        expected = expected[(slice(None),) * axis + (key[axis],)]
    found = read_back(str(root), "a").read(key)
    assert found.dtype == np.dtype(dtype).newbyteorder("=")
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("sharded", [True, False], ids=["sharded", "plain"])
@pytest.mark.parametrize(
    "compressors",
    [
        pytest.param((ZSTD,), id="zstd with checksum"),
        pytest.param((zarr.codecs.ZstdCodec(level=3, checksum=False),), id="zstd"),
        pytest.param((CRC,), id="crc32c"),
        pytest.param((zarr.codecs.BloscCodec(cname="lz4"), CRC), id="blosc and crc32c"),
        pytest.param((zarr.codecs.BloscCodec(cname="zstd", shuffle="bitshuffle"),), id="blosc"),
        pytest.param((zarr.codecs.GzipCodec(level=1),), id="gzip"),
        pytest.param((CRC, ZSTD), id="crc32c inside zstd"),
        pytest.param((), id="none"),
    ],
)
def test_codecs_are_undone(tmp_path, compressors, sharded):
    values = np.random.default_rng(1).integers(0, 900, (9, 6, 5), np.uint16)
    write(tmp_path / "a", values, chunks=(2, 6, 3), shards=(4, 6, 6) if sharded else None, compressors=compressors)
    assert np.array_equal(read_back(str(tmp_path), "a").read(()), values)


@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3")
def test_codecs_of_numcodecs_are_undone(tmp_path):
    values = np.arange(60, dtype=np.uint16).reshape(6, 10)
    write(tmp_path / "a", values, chunks=(2, 10), shards=(4, 10), compressors=(zarr.codecs.numcodecs.LZ4(),))
    assert np.array_equal(read_back(str(tmp_path), "a").read(()), values)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"filters": zarr.codecs.TransposeCodec(order=(2, 0, 1))}, id="transposed"),
        pytest.param({"chunk_key_encoding": {"name": "v2", "separator": "."}}, id="keys of version 2"),
        pytest.param({"chunk_key_encoding": {"name": "default", "separator": "."}}, id="keys with dots"),
    ],
)
def test_other_layouts_are_read(tmp_path, options):
    values = np.arange(120, dtype=np.float32).reshape(6, 5, 4)
    write(tmp_path / "a", values, chunks=(2, 5, 3), shards=(4, 5, 6), **options)
    assert np.array_equal(read_back(str(tmp_path), "a").read(()), values)


@pytest.mark.parametrize("location", ["start", "end"])
def test_the_index_may_lie_at_either_end(tmp_path, location):
    values = np.arange(40, dtype=np.uint8).reshape(10, 4)
    codec = zarr.codecs.ShardingCodec(
        chunk_shape=(1, 4), codecs=[zarr.codecs.BytesCodec(), CRC], index_location=location
    )
    array = zarr.create_array(
        tmp_path / "a",
        shape=values.shape,
        dtype="uint8",
        chunks=(4, 4),
        serializer=codec,
        compressors=None,
        filters=None,
    )
    array[...] = values
    assert np.array_equal(read_back(str(tmp_path), "a").read(slice(3, 7)), values[3:7])


def test_text_is_read(tmp_path):
    values = np.array(["", "β-actin", "x" * 300, "nul\0"], dtype=np.dtypes.StringDType())
    write(tmp_path / "a", values, chunks=(2,), shards=(4,))
    assert read_back(str(tmp_path), "a").read(()).tolist() == values.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"data_type": "r16"}, "data type 'r16'", id="type"),
        pytest.param({"codecs": [{"name": "bytes"}, {"name": "flac"}]}, "codec 'flac' is not known", id="codec"),
        pytest.param({"codecs": [{"name": "zstd"}]}, "codec 'zstd' can't be read here", id="order of codecs"),
        pytest.param({"codecs": []}, "no codec turns", id="no codec"),
        pytest.param({"shape": []}, "can't be read", id="no axis"),
        pytest.param({"chunk_grid": {}}, "not that of a zarr v3 array", id="no grid"),
        pytest.param({"shape": None}, "not that of a zarr v3 array", id="no shape"),
    ],
)
def test_a_document_that_is_no_array_of_ours_is_refused(tmp_path, change, message):
    write(tmp_path / "a", np.zeros((4, 4), np.uint8), chunks=(2, 4))
    document = json.loads((tmp_path / "a/zarr.json").read_bytes()) | change
    with pytest.raises(StoreError, match=message) as raised:
        ShardedArray(Storage(str(tmp_path)), "a", document)
    assert str(tmp_path / "a") in str(raised.value)


CROPS = 512


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """512 noisy crops in shards of 256, here and behind fsspec: (path, URL, pixels)."""
    root = tmp_path_factory.mktemp("crops")
    values = np.random.default_rng(2).poisson(3, (CROPS, 24, 24)).astype(np.uint8)
    write(root / "a", values, chunks=(1, 24, 24), shards=(256, 24, 24))
    memory = fsspec.filesystem("memory")
    for path in (root / "a").rglob("*"):
        if path.is_file():
            memory.pipe_file(f"/crops.zarr/a/{path.relative_to(root / 'a').as_posix()}", path.read_bytes())
    return str(root), "memory://crops.zarr", values


def rows_of(seed, count=64):
    return np.random.default_rng(seed).choice(CROPS, count, replace=False)


@pytest.mark.parametrize("remote", [False, True], ids=["local", "remote"])
def test_rows_come_in_the_order_asked_for(crops, remote):
    rows = [500, 3, 3, 2, 255, 256]
    found = read_back(crops[remote], "a").read_rows(rows)
    assert np.array_equal(found, crops[2][rows])


@pytest.mark.parametrize("rows", [[-1], [CROPS]], ids=["before", "past"])
def test_a_row_out_of_bounds_is_an_error(crops, rows):
    """-1 marks a missing partner in a column of row numbers: it must not become the last row."""
    with pytest.raises(IndexError, match="out of bounds"):
        read_back(crops[0], "a").read_rows(rows)


def test_no_rows_are_an_empty_array(crops, traffic):
    array = read_back(crops[1], "a")
    traffic.clear()
    assert array.read_rows([]).shape == (0, 24, 24)
    assert traffic.total == 0


def test_a_crop_is_two_requests_and_one_when_warm(crops, traffic):
    array = read_back(crops[1], "a")
    traffic.clear()
    array.read(5)
    assert traffic.requests == {"get": 2}
    array.read(77)
    assert traffic.requests == {"get": 3}


@pytest.mark.parametrize("seed", range(5))
def test_random_crops_read_about_what_they_need(crops, traffic, seed):
    array = read_back(crops[1], "a")
    array.read([0, 300])
    rows = rows_of(seed)
    traffic.clear()
    for row in rows:
        array.read(int(row))
    needed = traffic.bytes
    traffic.clear()
    assert np.array_equal(array.read_rows(rows), crops[2][rows])
    assert traffic.bytes < 1.3 * needed
    assert traffic.total <= len(rows)


def test_a_run_of_rows_is_one_request_a_shard(crops, traffic):
    array = read_back(crops[1], "a")
    array.read([0, 300])
    traffic.clear()
    assert np.array_equal(array.read(slice(200, 300)), crops[2][200:300])
    assert traffic.requests == {"get": 2}


def test_a_whole_shard_is_one_request(crops, traffic):
    array = read_back(crops[1], "a")
    traffic.clear()
    assert np.array_equal(array.read(slice(256, None)), crops[2][256:])
    assert traffic.requests == {"get": 1}
    array.read(300)  # its index was kept on the way
    assert traffic.requests == {"get": 2}


def test_the_index_cache_is_bounded_and_forgets_the_one_unused_longest():
    cache = IndexCache(index_size=16 << 20)
    index = ShardIndex(np.zeros(1, np.int64), np.zeros(1, np.int64), 0)
    for key in "abcdefgh":
        cache.put(key, index)
    cache.get("a")
    cache.put("i", index)
    assert [key for key in "abcdefghi" if cache.get(key)] == list("acdefghi")


def test_threads_share_one_array(crops):
    array = read_back(crops[0], "a")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda seed: array.read_rows(rows_of(seed)), range(24)))
    assert all(np.array_equal(one, crops[2][rows_of(seed)]) for seed, one in enumerate(found))


def test_an_array_pickles_and_opens_again(crops):
    array = read_back(crops[0], "a")
    again = pickle.loads(pickle.dumps(array))
    assert np.array_equal(again.read(slice(0, 3)), crops[2][:3])
    assert again.token == array.token
    assert len(pickle.dumps(array)) < 4_000


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_worker_processes_read(crops, method):
    with multiprocessing.get_context(method).Pool(1) as pool:
        found = pool.apply(operator.getitem, (read_back(crops[0], "a"), slice(100, 103)))
    assert np.array_equal(found, crops[2][100:103])


def test_after_a_fork_a_local_array_reads_and_a_remote_one_says_what_to_do(crops):
    local, remote = read_back(crops[0], "a"), read_back(crops[1], "a")
    local._process = remote._process = -1  # as a forked child finds it
    assert np.array_equal(local.read(3), crops[2][3])
    with pytest.raises(UsageError, match="forkserver"):
        remote.read(3)
