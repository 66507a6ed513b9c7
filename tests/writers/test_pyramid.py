"""A picture that arrives as bands becomes a pyramid of exact means, in whole shards, the same bytes every time."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import replace
from fractions import Fraction
from math import floor

import numpy as np
import pytest
import tensorstore
import xxhash
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from zarrscope.conformance import check_image
from zarrscope.errors import DecodeError, LayoutError
from zarrscope.statistics import Accumulator
from zarrscope.writers.codec import ABSENT, Codec
from zarrscope.writers.downsample import TYPES, Cascade
from zarrscope.writers.image import image_objects, level_shape
from zarrscope.writers.pyramid import pyramid_image, write_pyramid

ZSTD = Codec.parse("zstd")


def picture(height, width, channels=1, dtype="uint8"):
    """Give pixels (y, x, c) that tell where they are, over the whole range of their type."""
    y, x, c = np.ogrid[:height, :width, :channels]
    index = (y * 7919 + x * 104_729 + c * 1_299_709) * 2_654_435_761 % 2**32
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return (index / 65536 - 30_000).astype(kind)
    return (index.astype(np.uint32) >> (32 - 8 * kind.itemsize)).astype(f"u{kind.itemsize}").view(kind)


def bands(pixels, heights=(300,)):
    """Cut a picture into bands whose heights repeat."""
    start = 0
    for height in itertools.cycle(heights):
        if start >= len(pixels):
            return
        yield pixels[start : start + height]
        start += height


def declare(pixels, **options):
    height, width, channels = pixels.shape
    return pyramid_image("slide", height=height, width=width, channels=channels, dtype=pixels.dtype, **options)


def write(image, pixels, *, heights=(300,), workers=2, codec=ZSTD):
    """Give what was put, by key, and what is known of it."""
    objects: dict[str, bytes] = {}
    result = write_pyramid(
        image,
        bands(pixels, heights),
        codec.encoder(),
        lambda key, data: objects.update({key: bytes(data)}),
        workers=workers,
    )
    return objects, result


def store(folder, image, objects, codec=ZSTD):
    """Write metadata and shards into a folder."""
    for key, data in (*image_objects(image, codec), *objects.items()):
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(data)
    return folder


def exact_mean(pixels, level):
    """Average what exists of each square of a plane, as fractions; integers are rounded half up."""
    side = 2**level
    rows, columns = (range(0, size, side) for size in pixels.shape)
    means = np.empty((len(rows), len(columns)), pixels.dtype)
    for (i, y), (j, x) in itertools.product(enumerate(rows), enumerate(columns)):
        block = pixels[y : y + side, x : x + side].ravel().tolist()
        mean = Fraction(sum(map(Fraction, block))) / len(block)
        means[i, j] = floor(mean + Fraction(1, 2)) if pixels.dtype.kind in "iu" else float(mean)
    return means


def cascade(pixels, levels, heights):
    """Give all levels of pixels (y, x, c) as (c, y, x)."""
    found = [[] for _ in range(levels)]
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    running = Cascade(planes.shape, pixels.dtype, levels)
    for band in bands(pixels, heights):
        for level, rows in running.push(np.ascontiguousarray(band.transpose(2, 0, 1))):
            found[level].append(rows)
    return [planes, *(np.concatenate(rows, axis=1) for rows in found[1:])]


# --- means -----------------------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(
    height=st.integers(1, 45),
    width=st.integers(1, 45),
    channels=st.integers(1, 3),
    levels=st.integers(1, 7),
    heights=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    dtype=st.sampled_from(TYPES),
)
def test_every_pixel_of_every_level_is_the_true_mean_rounded_once(height, width, channels, levels, heights, dtype):
    """Odd sizes, single rows and columns included: what lies outside is not counted."""
    pixels = picture(height, width, channels, dtype)
    for level, found in enumerate(cascade(pixels, levels, heights)):
        expected = np.stack([exact_mean(pixels[..., channel], level) for channel in range(channels)])
        if dtype.startswith("float"):
            # Sums of float64 are rounded where fractions are not.
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-3)
        else:
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("dtype", "block", "mean"),
    [
        pytest.param("uint8", [0, 0, 0, 2], 1, id="a half goes up"),
        pytest.param("uint8", [0, 0, 0, 1], 0, id="a quarter goes down"),
        pytest.param("uint8", [255, 255, 255, 254], 255, id="three quarters go up"),
        pytest.param("int16", [0, 0, 0, -2], 0, id="minus a half goes up"),
        pytest.param("int16", [-1, -1, 0, -1], -1, id="minus three quarters go down"),
        pytest.param("uint16", [65535] * 4, 65535, id="the largest stays"),
        pytest.param("int32", [-(2**31)] * 4, -(2**31), id="the smallest stays"),
        pytest.param("uint32", [2**32 - 1] * 4, 2**32 - 1, id="the largest of 32 bits stays"),
        pytest.param("float32", [1, 2, np.inf, 4], np.inf, id="infinity"),
        pytest.param("float32", [1, 2, np.nan, 4], np.nan, id="NaN spreads"),
    ],
)
def test_rounding(dtype, block, mean):
    """Of a square, and of a pixel alone, which is its own mean."""
    found = cascade(np.array(block, dtype).reshape(2, 2, 1), 2, [1])
    np.testing.assert_array_equal(found[1], np.array(mean, dtype).reshape(1, 1, 1))
    alone = cascade(np.full((1, 1, 1), mean, dtype), 2, [1])
    np.testing.assert_array_equal(alone[1], np.array(mean, dtype).reshape(1, 1, 1))


@pytest.mark.parametrize(("dtype", "levels"), [("uint8", 13), ("uint16", 9), ("uint16", 10)])
def test_sums_of_the_largest_values_do_not_overflow(dtype, levels):
    """A full square of ``2 ** (levels - 1)`` pixels is the worst case of each type of sums."""
    side = 2 ** (levels - 1)
    largest = np.iinfo(dtype).max
    running = Cascade((1, side, side), np.dtype(dtype), levels)
    rows = np.full((1, 64, side), largest, dtype)
    last = [means for _ in range(side // 64) for level, means in running.push(rows) if level == levels - 1]
    assert [means.tolist() for means in last] == [[[[largest]]]]


def test_no_level_is_brighter_than_another():
    """Means of rounded means would gain an eighth of a grey value a level."""
    pixels = np.random.default_rng(1).integers(0, 256, (1024, 1024, 1), np.uint8)
    for level, found in enumerate(cascade(pixels, 6, [256])[1:], 1):
        assert abs(found.mean() - pixels.mean()) < 0.5**level + 4 / 32**2, level


# --- where pixels are ------------------------------------------------------------------------------------------------


def centres(group, level, size):
    """Give the physical (y, x) of the pixels of a level, from the metadata alone."""
    (entry,) = group.attrs["ome"]["multiscales"]
    scale, translation = entry["datasets"][level]["coordinateTransformations"]
    (_, y, x), (_, dy, dx) = scale["scale"], translation["translation"]
    return dy + y * np.arange(size[0])[:, None], dx + x * np.arange(size[1])[None, :]


@pytest.mark.parametrize(("height", "width"), [(1024, 2048), (1023, 2049), (515, 4099)])
def test_a_ramp_has_its_value_at_every_centre(tmp_path, height, width):
    """The mean of a linear function is its value at the centre, so a level off by half a pixel is seen."""
    y, x = np.ogrid[:height, :width]
    pixels = (3.0 * y - 0.5 * x).astype(np.float64)[..., None]
    image = declare(pixels, scale=0.5, unit="micrometer")
    group = zarr.open_group(store(tmp_path, image, write(image, pixels)[0]), mode="r")
    for level in range(image.levels):
        found = group[str(level)][0]
        whole = tuple(slice(size // 2**level) for size in (height, width))  # a cut pixel has another centre of mass
        at_y, at_x = centres(group, level, found.shape)
        np.testing.assert_allclose(found[whole], (3.0 * at_y - 0.5 * at_x)[whole] / 0.5, rtol=0, atol=1e-9)


def test_a_blob_stays_where_it_is(tmp_path):
    """The centre of mass of a spot, in physical units, is the same at every level, in sizes that are odd."""
    y, x = np.ogrid[:1537, :1281]
    spot = 60_000 * np.exp(-((y - 700.3) ** 2 + (x - 611.7) ** 2) / (2 * 60**2))
    pixels = spot.round().astype(np.uint16)[..., None]
    image = declare(pixels, scale=65.0, unit="nanometer")
    group = zarr.open_group(store(tmp_path, image, write(image, pixels)[0]), mode="r")
    assert image.levels == 3
    for level in range(image.levels):
        found = group[str(level)][0].astype(np.float64)
        at_y, at_x = centres(group, level, found.shape)
        mass = found.sum()
        assert (found * at_y).sum() / mass == pytest.approx(65 * 700.3, abs=0.01)
        assert (found * at_x).sum() / mass == pytest.approx(65 * 611.7, abs=0.01)


# --- the store -------------------------------------------------------------------------------------------------------

PICTURES = [
    pytest.param(1, 1, 1, "uint8", {}, id="one pixel"),
    pytest.param(511, 511, 3, "uint8", {}, id="just one level"),
    pytest.param(512, 3, 1, "uint16", {}, id="two levels, narrow"),
    pytest.param(513, 700, 3, "uint8", {}, id="odd"),
    pytest.param(1, 1025, 2, "int16", {}, id="one row"),
    pytest.param(1025, 1, 1, "float32", {}, id="one column"),
    pytest.param(1100, 1300, 3, "uint8", {"chunk": 64, "shard": (256, 512)}, id="many shards"),
    pytest.param(1030, 600, 4, "float32", {"chunk": 128, "shard": (128, 128)}, id="a chunk a shard"),
    pytest.param(600, 601, 2, "uint32", {"chunk": 100, "shard": (300, 200)}, id="no powers of two"),
    pytest.param(600, 601, 1, "float64", {"chunk": 75, "shard": (75, 300)}, id="odd chunks"),
]


@pytest.mark.parametrize(("height", "width", "channels", "dtype", "options"), PICTURES)
def test_others_read_what_was_written(tmp_path, height, width, channels, dtype, options):
    """zarr-python and tensorstore read the picture and its means; the metadata keeps the rules."""
    pixels = picture(height, width, channels, dtype)
    image = declare(pixels, **options)
    folder = store(tmp_path, image, write(image, pixels, heights=(37, 200))[0])
    group = zarr.open_group(folder, mode="r")
    documents = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/zarr.json")}
    assert check_image(json.loads((folder / "zarr.json").read_text()), documents, "slide") == []
    assert max(level_shape(image, image.levels - 1)[1:]) < 512
    assert image.levels == 1 or max(level_shape(image, image.levels - 2)[1:]) >= 512
    for level, expected in enumerate(cascade(pixels, image.levels, [1000])):
        assert group[str(level)].shape == expected.shape == level_shape(image, level)
        np.testing.assert_array_equal(group[str(level)][...], expected)
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(folder / str(level))}}
        np.testing.assert_array_equal(tensorstore.open(spec, read=True).result().read().result(), expected)


def test_chunks_outside_are_absent_and_those_at_the_edge_padded_with_zeros():
    pixels = picture(100, 150, 1) | 1
    image = declare(pixels, chunk=64, shard=(192, 256))
    (data,) = write(image, pixels, codec=Codec.parse("none"))[0].values()
    index = np.frombuffer(data[-4 - 16 * 12 : -4], "<u8").reshape(3, 4, 2)
    there = index[..., 0] != ABSENT
    assert there.tolist() == [[True] * 3 + [False], [True] * 3 + [False], [False] * 4]
    offset, size = map(int, index[1, 2])
    chunk = np.frombuffer(data[offset : offset + size - 4], np.uint8).reshape(64, 64)
    assert np.array_equal(chunk[:36, :22], pixels[64:, 128:, 0])
    assert not chunk[36:].any()
    assert not chunk[:, 22:].any()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_neither_bands_nor_workers_change_a_byte(dtype):
    pixels = picture(1100, 900, 2, dtype)
    image = declare(pixels, chunk=64, shard=(128, 256))
    first = write(image, pixels, heights=(1100,), workers=1)
    for heights, workers in (((1,), 2), ((64,), 3), ((7, 500, 31), 8)):
        assert write(image, pixels, heights=heights, workers=workers) == first


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(lambda pixels: pixels.astype(">u2"), id="big-endian"),
        pytest.param(np.asfortranarray, id="planes"),
        pytest.param(lambda pixels: np.repeat(pixels, 2, axis=1)[:, ::2], id="strides"),
    ],
)
def test_bands_may_lie_in_memory_in_any_way(view):
    pixels = picture(600, 300, 3, "uint16")
    image = declare(pixels)
    assert write(image, view(pixels)) == write(image, pixels)


def test_a_band_may_be_overwritten_once_the_next_is_asked_for():
    pixels = picture(1300, 800, 3)
    image = declare(pixels, chunk=128, shard=(256, 256))

    def reused():
        room = np.empty((100, 800, 3), np.uint8)
        for band in bands(pixels, [100]):
            room[:] = band
            yield room
        room[:] = 0

    objects: dict[str, bytes] = {}
    write_pyramid(image, reused(), ZSTD.encoder(), lambda key, data: objects.update({key: bytes(data)}))
    assert objects == write(image, pixels)[0]


# --- what is known afterwards ----------------------------------------------------------------------------------------


def test_shards_are_listed_in_order_with_their_digests():
    pixels = picture(1100, 1300, 3)
    image = declare(pixels, chunk=128, shard=(512, 256))
    objects, result = write(image, pixels)
    assert [shard.place for shard in result.shards] == sorted(shard.place for shard in result.shards)
    assert {shard.digest.key for shard in result.shards} == objects.keys()
    for shard in result.shards:
        data = objects[shard.digest.key]
        assert shard.digest.key == "{}/c/0/{}/{}".format(*shard.place)
        assert (shard.digest.size, shard.digest.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_digests_of_values_are_of_the_pixels_and_survive_another_encoding():
    pixels = picture(1100, 1300, 3, "uint16")
    image = declare(pixels, chunk=128, shard=(512, 256))
    result = write(image, pixels)[1]
    levels = cascade(pixels, image.levels, [1100])
    for shard in result.shards:
        level, row, column = shard.place
        part = levels[level][:, row * 512 : (row + 1) * 512, column * 256 : (column + 1) * 256]
        digests = b"".join(
            xxhash.xxh3_128_digest(np.ascontiguousarray(part[:, y : y + 128, x : x + 128], "<u2").data)
            for y in range(0, part.shape[1], 128)
            for x in range(0, part.shape[2], 128)
        )
        assert shard.pixel_digests == digests
        assert shard.values == hashlib.sha256(digests).hexdigest()
    again = write(image, pixels, codec=Codec.parse("none"))[1]
    assert [shard.values for shard in again.shards] == [shard.values for shard in result.shards]
    assert again.shards != result.shards


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_statistics_are_of_the_finest_level_by_channel(dtype):
    pixels = picture(700, 333, 3, dtype)
    found = write(declare(pixels, chunk=64, shard=(64, 64)), pixels)[1].statistics
    for channel, statistics in enumerate(found):
        accumulator = Accumulator(dtype)
        accumulator.add(pixels[..., channel])
        expected = accumulator.result()
        sums = {"sum": statistics.sum, "sum_of_squares": statistics.sum_of_squares}
        assert statistics == replace(expected, **sums)
        assert statistics.sum == pytest.approx(expected.sum)
        assert statistics.sum_of_squares == pytest.approx(expected.sum_of_squares)


# --- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failing", [0, 1, 700, 1099])
def test_an_error_of_the_source_leaves_whole_shards_only(failing):
    """What was put before is exactly what an uninterrupted run puts."""
    pixels = picture(1100, 900, 1)
    image = declare(pixels, chunk=64, shard=(128, 256))
    whole = write(image, pixels)[0]
    objects: dict[str, bytes] = {}

    def broken():
        yield from bands(pixels[:failing], [10])
        raise DecodeError("slide.tif: a tile is torn")

    with pytest.raises(DecodeError, match="a tile is torn"):
        write_pyramid(image, broken(), ZSTD.encoder(), lambda key, data: objects.update({key: bytes(data)}))
    assert objects.items() <= whole.items()
    assert len(objects) < len(whole)


@pytest.mark.parametrize("failing", ["0/c/0/0/0", "0/c/0/8/3", "2/c/0/0/0"])
def test_an_error_of_the_store_ends_the_pass(failing):
    pixels = picture(1100, 900, 1)
    image = declare(pixels, chunk=64, shard=(128, 256))

    def put(key, _):
        if key == failing:
            raise OSError(f"no space left for {key}")

    with pytest.raises(OSError, match=f"no space left for {failing}"):
        write_pyramid(image, bands(pixels), ZSTD.encoder(), put)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param([], "expected 20 rows of pixels, found 0", id="nothing"),
        pytest.param([np.zeros((19, 30, 3), np.uint8)], "expected 20 rows of pixels, found 19", id="too few rows"),
        pytest.param(
            [np.zeros((7, 30, 3), np.uint8)] * 3, "expected 20 rows of pixels, found at least 21", id="too many"
        ),
        pytest.param([np.zeros((20, 31, 3), np.uint8)], r"found a band of uint8 \(20, 31, 3\)", id="too wide"),
        pytest.param([np.zeros((20, 30, 4), np.uint8)], r"found a band of uint8 \(20, 30, 4\)", id="other channels"),
        pytest.param([np.zeros((20, 30), np.uint8)], r"found a band of uint8 \(20, 30\)", id="no channels"),
        pytest.param([np.zeros((20, 30, 3), np.int8)], r"found a band of int8 \(20, 30, 3\)", id="another type"),
    ],
)
def test_bands_must_make_up_the_picture(given, message):
    image = pyramid_image("slide", height=20, width=30, channels=3, dtype="uint8")
    with pytest.raises(DecodeError, match=message):
        write_pyramid(image, given, ZSTD.encoder(), lambda *_: pytest.fail("nothing is whole"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 0}, "expected sizes above nought"),
        ({"channels": 0}, "expected sizes above nought"),
        ({"dtype": "float16"}, "expected pixels of type uint8.*found float16"),
        ({"dtype": "complex64"}, "found complex64"),
        ({"shard": (1000, 512)}, "are no multiple of chunks of 512 x 512"),
    ],
)
def test_what_cannot_be_a_pyramid_is_refused(change, message):
    options = {"height": 20, "width": 30, "channels": 3, "dtype": "uint8"} | change
    with pytest.raises(LayoutError, match=message):
        pyramid_image("slide", **options)
