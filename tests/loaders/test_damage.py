"""Lost or changed bytes are errors that name the object: never zeros, never other pixels."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from loaders.builder import pixels
from zarrscope.errors import MissingDataError, StoreError
from zarrscope.loaders import open_store

PATH = "subset/normalised"
SHARD = f"{PATH}/0/c/1/0/0"  # rows 16 to 31
WANTED = pixels(PATH)
SELECTIONS = [pytest.param(slice(None), id="all"), pytest.param(20, id="one row"), pytest.param([20, 3], id="rows")]


def flip(path, at, bit=0):
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def index_of(path):
    """Give the (offset, size) pairs of a shard of 16 chunks."""
    return list(struct.iter_unpack("<QQ", path.read_bytes()[-260:-4]))


@pytest.fixture(params=["local", "remote"])
def reopen(request, copy):
    """Open the damaged copy, in its folder or behind fsspec."""

    def opened():
        if request.param == "local":
            return open_store(str(copy)), str(copy)
        import fsspec

        memory = fsspec.filesystem("memory")
        memory.store.clear()
        for path in copy.rglob("*"):
            if path.is_file():
                memory.pipe_file(f"/damaged.zarr/{path.relative_to(copy).as_posix()}", path.read_bytes())
        return open_store("memory://damaged.zarr"), "memory://damaged.zarr"

    yield opened
    if request.param == "remote":
        import fsspec

        fsspec.filesystem("memory").rm("/damaged.zarr", recursive=True)


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        pytest.param(lambda shard: shard.unlink(), MissingDataError, "is missing", id="missing"),
        pytest.param(lambda shard: shard.write_bytes(b""), MissingDataError, "torn", id="empty"),
        pytest.param(lambda shard: shard.write_bytes(shard.read_bytes()[:-1]), MissingDataError, "torn", id="cut"),
        pytest.param(
            lambda shard: shard.write_bytes(shard.read_bytes()[:100]), MissingDataError, "torn", id="cut short"
        ),
        pytest.param(
            lambda shard: shard.write_bytes(shard.read_bytes() + b"\0"), MissingDataError, "torn", id="appended"
        ),
        pytest.param(
            lambda shard: shard.write_bytes(bytes(len(shard.read_bytes()))),
            MissingDataError,
            "CRC-32C of its index",
            id="zeros",
        ),
        pytest.param(lambda shard: flip(shard, -1), MissingDataError, "CRC-32C of its index", id="index checksum"),
        pytest.param(lambda shard: flip(shard, -200), MissingDataError, "CRC-32C of its index", id="index"),
    ],
)
def test_a_lost_or_torn_shard_is_named(copy, reopen, damage, error, message, selection):
    damage(copy / SHARD)
    store, url = reopen()
    image = store.image(PATH, chunks=None)
    with pytest.raises(error, match=message) as raised:
        _ = image[selection].values
    assert str(raised.value).startswith(f"{url}/{SHARD}")
    assert np.array_equal(image[:16].values, WANTED[:16])


def test_every_flipped_bit_of_a_chunk_is_noticed(copy):
    """The frame's own checksum covers its pixels, and the header can't switch it off."""
    shard = copy / SHARD
    whole = shard.read_bytes()
    offset, size = index_of(shard)[4]
    array = open_store(str(copy)).image(PATH, chunks=None)
    for at in range(offset, offset + size):
        for bit in range(8):
            shard.write_bytes(whole)
            flip(shard, at, bit)
            try:
                found = array[20].values
            except StoreError as error:
                assert f"{SHARD}: chunk (4, 0, 0)" in str(error)  # noqa: PT017  # either an error or the pixels
            else:
                assert np.array_equal(found, WANTED[20])


def test_a_hole_inside_a_shard_is_named(copy, reopen):
    """An index entry of 2**64 - 1 means "empty" to zarr: here it is a loss."""
    from google_crc32c import value

    shard = copy / SHARD
    data = bytearray(shard.read_bytes())
    data[-260 + 4 * 16 : -260 + 5 * 16] = b"\xff" * 16
    data[-4:] = value(bytes(data[-260:-4])).to_bytes(4, "little")
    shard.write_bytes(data)
    store, url = reopen()
    with pytest.raises(MissingDataError, match=r"chunk \(4, 0, 0\) of this shard is missing") as raised:
        _ = store.image(PATH, chunks=None)[20].values
    assert str(raised.value).startswith(f"{url}/{SHARD}")
    assert np.array_equal(store.image(PATH, chunks=None)[21].values, WANTED[21])


@pytest.mark.parametrize(
    "entry", [(1 << 40, 50), (0, 1 << 40), ((1 << 63) + 5, 50)], ids=["beyond", "too large", "huge"]
)
def test_an_index_that_points_to_nowhere_is_torn(copy, reopen, entry):
    """A valid checksum does not make a place believable: nothing of that size is allocated."""
    from google_crc32c import value

    shard = copy / SHARD
    data = bytearray(shard.read_bytes())
    data[-260 + 4 * 16 : -260 + 5 * 16] = struct.pack("<QQ", *entry)
    data[-4:] = value(bytes(data[-260:-4])).to_bytes(4, "little")
    shard.write_bytes(data)
    store, _ = reopen()
    for selection in (20, slice(16, 32)):
        with pytest.raises(MissingDataError, match="torn"):
            _ = store.image(PATH, chunks=None)[selection].values


def test_swapped_chunks_past_the_end_are_not_looked_for(store):
    """The last shard holds fewer chunks than there is room for: those beyond the array are no loss."""
    assert np.array_equal(store.image(PATH, chunks=None)[32:].values, WANTED[32:])


@pytest.mark.filterwarnings("ignore:The 'future.infer_string' option")
def test_a_lost_column_is_named_by_both_readers(copy):
    lost = copy / PATH / "rows/obs/grid_row/c/0"
    lost.unlink()
    store = open_store(str(copy))
    with pytest.raises(MissingDataError, match="obs/grid_row/c/0"):
        store.table(PATH, ["grid_row"])
    with pytest.raises(MissingDataError, match="obs/grid_row/c/0"):
        store.table(PATH).to_memory()
    assert len(store.table(PATH, ["protein"])) == 40


def test_an_image_that_is_not_what_the_record_says_is_refused(copy):
    document = copy / PATH / "zarr.json"
    document.write_text(document.read_text().replace("uint16", "uint32"))
    with pytest.raises(StoreError, match=r"expected .*uint16.* as the record says"):
        open_store(str(copy)).image(PATH)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("<html>", "not a JSON object", id="page"),
        pytest.param("{}", "no OME-NGFF multiscales", id="empty"),
    ],
)
def test_damaged_metadata_are_named(copy, content, message):
    (copy / PATH / "zarr.json").write_text(content)
    with pytest.raises(StoreError, match=message) as raised:
        open_store(str(copy)).image(PATH)
    assert str(copy / PATH) in str(raised.value)


def test_a_server_without_range_requests_is_named(remote_url, monkeypatch):
    from zarrscope.storage import Storage

    whole = Storage.get
    monkeypatch.setattr(Storage, "get", lambda self, key, start=0, stop=None: whole(self, key))  # noqa: ARG005
    with pytest.raises(StoreError, match="ignores range requests"):
        _ = open_store(remote_url).image(PATH, chunks=None)[3].values


def test_a_remote_error_is_told_without_its_text(remote_url, monkeypatch):
    """Texts of remote clients may hold signed URLs."""
    from zarrscope.errors import TemporaryError
    from zarrscope.storage import Storage

    store = open_store(remote_url)

    def failing(*_):
        raise OSError("GET https://host/x?X-Amz-Signature=canary")

    monkeypatch.setattr(Storage, "get", failing)
    with pytest.raises(TemporaryError, match="could not be read") as raised:
        store.image(PATH)
    assert "canary" not in str(raised.value)
    assert raised.value.__suppress_context__
