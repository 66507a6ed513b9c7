"""Patches around spots: where they lie, from which level, and that each chunk of the image is read once."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

import zarrscope as zs
from loaders.conftest import in_memory
from zarrscope.errors import MissingDataError, UsageError
from zarrscope.loaders import patches as module
from zarrscope.loaders.resample import resample, taps
from zarrscope.loaders.shards import ShardedArray

HEIGHT, WIDTH, RADIUS = 1100, 1500, 50.0
SLOPE = 40.0  # grey values a pixel: channel 0 rises along x, channel 1 along y
# Some lie between pixels, some on them, some at borders; one is beyond the image, one has no place.
PLACES = {
    "A_inner": (700.3, 500.6),
    "A_whole": (512.0, 512.0),
    "A_far": (1020.7, 300.2),
    "A_corner": (3.0, 2.0),
    "A_edge": (1497.5, 1098.25),
    "A_beyond": (4000.0, 50.0),
    "A_lost": None,
}
INNER = ["A_inner", "A_whole", "A_far"]


def ramp():
    """Give an image that tells where each pixel is, ``(y, x, c)``."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([SLOPE * x, SLOPE * y, 7.0 * ((x + y) % 2) + 100], axis=-1).astype(np.uint16)


def write_slide(root, technology, name, image, places):
    for folder in ("image", "coord", "gene_exp"):
        (root / technology / folder).mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(root / technology / "image" / f"{name}.png", image, photometric="rgb")
    lines = [f"{spot},{at[1]},{at[0]},{RADIUS}\n" for spot, at in places.items() if at is not None]
    (root / technology / "coord" / f"{name}_coord.csv").write_text(",yaxis,xaxis,r\n" + "".join(lines))
    counts = "".join(f"{spot},{row},1\n" for row, spot in enumerate(places))
    (root / technology / "gene_exp" / f"{name}_count.csv").write_text(",G1,G2\n" + counts)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Convert a slide of a ramp, and one of noise whose pixels have no known size."""
    root = tmp_path_factory.mktemp("patches") / "tree"
    write_slide(root, "ST", "A", ramp(), PLACES)
    noise = np.random.default_rng(0).integers(0, 256, (700, 900, 3), dtype=np.uint8)
    grid = np.random.default_rng(1).permutation([(x, y) for x in range(60, 900, 60) for y in range(50, 700, 50)])
    spots = {f"B_{number:03}": (x + 0.25, y - 0.5) for number, (x, y) in enumerate(grid.tolist())}
    write_slide(root, "Visium", "B", noise, spots)
    zs.convert(root, root.parent / "s.zarr")
    return root.parent / "s.zarr"


@pytest.fixture
def slides(path):
    return zs.open(path)


@pytest.fixture
def reads(monkeypatch):
    """Note which chunks of levels are read, by place of their first pixel; and how many reads there are."""
    seen = Counter()
    read = ShardedArray.read

    def counting(self, selection):
        if self.ndim == 3:
            _, y, x = selection
            high, wide = self.chunks[1:]
            seen["calls"] += 1
            seen.update((row, at) for row in range(y.start, y.stop, high) for at in range(x.start, x.stop, wide))
        return read(self, selection)

    monkeypatch.setattr(ShardedArray, "read", counting)
    return seen


@pytest.mark.parametrize(
    ("size", "field", "level"),
    [
        pytest.param(224, "2r", 0, id="larger than the pixels: straight lines"),
        pytest.param(50, "2r", 1, id="twice as wide as pixels: the next level as it is"),
        pytest.param(64, "2r", 0, id="a little smaller: means"),
        pytest.param(40, "4r", 2, id="means of a coarser level"),
        pytest.param(100, 100, 0, id="the pixels themselves"),
        pytest.param(20, "300um", 2, id="coarser than the coarsest level"),
        pytest.param(33, "99.5px", 1, id="odd"),
        pytest.param(1, "2r", 2, id="one pixel"),
    ],
)
def test_a_ramp_stays_a_ramp(slides, size, field, level):
    """Every pixel of a patch is the ramp's value at its own centre, at every level; so is the mean at the spot's."""
    found = slides["A"].patches(size, field=field, spots=INNER)
    assert found.attrs["level"] == level
    side = found.attrs["field_pixels"]
    step = side / size
    wide = step / 2**level  # a pixel of the patch in those of its level
    # Within a level's pixel there is no ramp: a mean may lie off by what the first and the last one are cut. Pixels of
    # the level as they are have the patch moved by up to half of one.
    off = 0.5 if np.isclose(wide, 1) else 0.25 / wide if wide > 1 else 0
    for name, patch in zip(INNER, found.values, strict=True):
        for axis, (channel, at) in enumerate(zip(patch, PLACES[name], strict=False)):
            along = channel.mean(axis=axis)
            assert (np.ptp(channel, axis=axis) <= 1).all()
            np.testing.assert_allclose(
                along, SLOPE * (at + (np.arange(size) + 0.5) * step - side / 2), atol=1 + SLOPE * 2**level * off
            )
            exact = 2**level / 2 if np.isclose(wide, 1) else 2**level / 4 / wide / size
            np.testing.assert_allclose(along.mean(), SLOPE * at, atol=1 + SLOPE * exact * (wide >= 1))


@pytest.mark.parametrize("size", [64, 65])
def test_equal_pixels_are_copied(slides, size):
    """Where a patch has the image's own pixels they are those around the spot, none of them blurred."""
    found = slides["A"].patches(size, field=f"{size}px", spots=["A_whole"]).values[0]
    y = x = slice(512 - size // 2, 512 - size // 2 + size)
    np.testing.assert_array_equal(found, ramp().transpose(2, 0, 1)[:, y, x])


@pytest.mark.parametrize("fill", [None, 7])
def test_beyond_the_border_lies_the_fill_value(slides, fill):
    """At a corner the image goes on in the fill value; a spot beyond it, or without a place, has nothing else."""
    value = np.iinfo(np.uint16).max if fill is None else fill
    size = 12
    found = slides["A"].patches(size, field=size, fill=fill)
    assert found.dims == ("spot", "c", "y", "x")
    assert found.dtype == np.uint16
    assert found.spot.values.tolist() == list(PLACES) == slides["A"].anndata().obs_names.tolist()
    assert found.in_coord.values.tolist() == [at is not None for at in PLACES.values()]
    assert found.attrs["without_place"] == 1
    padded = np.pad(ramp().transpose(2, 0, 1), ((0, 0), (size, size), (size, size)), constant_values=value)
    np.testing.assert_array_equal(found.sel(spot="A_corner"), padded[:, 2 + 6 : 2 + 18, 3 + 6 : 3 + 18])
    for name in ("A_beyond", "A_lost"):
        assert (found.sel(spot=name) == value).all()
    assert (found.sel(spot="A_edge") == value).any()
    assert (found.sel(spot="A_edge") != value).any()


def area(image, low, step, size):
    """Give means of what each output pixel covers, by differences of a running sum."""
    sums = np.pad(image, ((0, 0), (1, 0), (1, 0))).cumsum(1).cumsum(2)
    edges = [
        np.clip(at + step * np.arange(size + 1), 0, length) for at, length in zip(low, image.shape[1:], strict=True)
    ]
    grid = np.meshgrid(*edges, indexing="ij")
    whole = np.stack([map_coordinates(one, grid, order=1, mode="nearest") for one in sums])
    return np.diff(np.diff(whole, axis=1), axis=2) / step**2


def lines(image, low, step, size):
    """Give values on the straight lines between centres of pixels."""
    grid = np.meshgrid(*(at + step * (np.arange(size) + 0.5) - 0.5 for at in low), indexing="ij")
    return np.stack([map_coordinates(one, grid, order=1, mode="grid-constant") for one in image])


@settings(deadline=None)
@given(
    low=st.tuples(st.floats(-30, 30), st.floats(-30, 30)),
    step=st.one_of(st.floats(0.1, 4), st.sampled_from([0.5, 1.0, 2.0])),
    size=st.integers(1, 12),
    fill=st.sampled_from([0.0, 9.0]),
)
def test_resampling_is_what_others_make_of_it(low, step, size, fill):
    """Means agree with a running sum, straight lines with scipy's, wherever the square lies."""
    image = np.random.default_rng(3).normal(size=(2, 17, 23))
    rows, columns = (taps(at, step, size, length) for at, length in zip(low, image.shape[1:], strict=True))
    for one in (rows, columns):
        np.testing.assert_allclose(one.weight.sum(axis=1) + one.outside, 1)
    out = np.full((2, size, size), np.nan)
    window = np.ascontiguousarray(image[:, rows.start : rows.stop, columns.start : columns.stop])
    if window.size:
        resample(window, rows, columns, fill, out)
        plain = (area if step >= 1 else lines)(image - fill, low, step, size)
        np.testing.assert_allclose(out, plain + fill, atol=1e-9)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_integers_are_rounded_to_the_nearest(dtype):
    """A mean of one half goes up; floats stay as they are; what is not covered, NaN too, leaves no trace."""
    window = np.array([[[1, 2, 99], [2, 1, 99], [99, 99, 99]]], dtype)
    if dtype == "float32":
        window[window == 99] = np.nan
    one = taps(0, 2.0, 1, 3)
    out = np.zeros((1, 1, 1), dtype)
    resample(window[:, : one.stop, : one.stop].copy(), one, one, 0, out)
    assert out == (1.5 if dtype == "float32" else 2)


def test_a_block_reads_each_chunk_once(slides, reads):
    """However its spots are ordered, a block reads no chunk twice, and neighbours together."""
    found = slides["B"].patches(60)
    assert found.chunks[0] == (len(found),)
    found.compute()
    calls = reads.pop("calls")
    assert set(reads.values()) == {1}
    assert len(reads) == 4
    assert calls == 2


def test_by_place_blocks_read_less(slides, reads, monkeypatch):
    """In the order of places a block's spots lie together: fewer reads, and the same patch for each spot."""
    monkeypatch.setattr(module, "MOST", 20)
    there = slides["B"]
    taken = {}
    for order in ("spots", "place"):
        reads.clear()
        found = there.patches(60, order=order)
        assert max(found.chunks[0]) == 20
        taken[order] = found.compute()
        reads[order] = reads["calls"]
        taken[order, "reads"] = sum(count for key, count in reads.items() if isinstance(key, tuple))
    assert taken["place", "reads"] < taken["spots", "reads"] * 0.7
    assert set(taken["place"].spot.values) == set(taken["spots"].spot.values)
    np.testing.assert_array_equal(taken["place"].sel(spot=taken["spots"].spot), taken["spots"])


@pytest.mark.parametrize(
    ("spots", "rows"),
    [
        (["B_007", "B_003"], [7, 3]),
        ([7, 3, -1], [7, 3, 181]),
        (slice(3, 9, 2), [3, 5, 7]),
        (np.arange(182) % 60 == 5, [5, 65, 125]),
        ("B_004", [4]),
        ([], []),
    ],
    ids=["names", "rows", "slice", "mask", "one", "none"],
)
def test_some_spots(slides, spots, rows):
    """Spots are chosen by name, row or mask, and come in the order asked for."""
    everything = slides["B"].patches(16).compute()
    found = slides["B"].patches(16, spots=spots)
    assert found.shape == (len(rows), 3, 16, 16)
    np.testing.assert_array_equal(found, everything[rows])


def test_slices_of_patches(slides):
    """A patch is computed alone, and so is a part of some; computed elsewhere they are the same."""
    found = slides["B"].patches(32)
    whole = found.compute()
    np.testing.assert_array_equal(found[5], whole[5])
    np.testing.assert_array_equal(found[3:30:5, 1, 4:8, ::-2], whole[3:30:5, 1, 4:8, ::-2])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(found)), whole)
    assert found.data.name == slides["B"].patches(32).data.name != slides["B"].patches(32, fill=0).data.name


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("B", {"field": "112um"}, UsageError, "unknown: the published Visium spot diameter stands for 55"),
        ("A", {"field": "2 feet"}, UsageError, "expected field='2r'"),
        ("A", {"field": 0}, UsageError, "a field above nought"),
        ("A", {"size": 0}, UsageError, "at least 1 pixel"),
        ("A", {"fill": 70_000}, UsageError, "a fill value of type uint16, found 70000"),
        ("A", {"fill": 0.5}, UsageError, "a fill value of type uint16"),
        ("A", {"order": "random"}, UsageError, "order='spots' or 'place'"),
        ("A", {"spots": ["A_iner"]}, MissingDataError, "no spot 'A_iner'.*Did you mean 'A_inner'"),
        ("A", {"spots": [7]}, UsageError, "rows of 7 spots, found 7 to 7"),
        ("A", {"spots": [True]}, UsageError, "a mask of 7 spots"),
    ],
)
def test_refusals(slides, name, options, error, message):
    """What can't be done is said, with the slide, before anything is read."""
    with pytest.raises(error, match=message) as caught:
        slides[name].patches(**options)
    assert f"/{name}" in str(caught.value)


def test_from_remote_storage_a_block_is_few_requests(path, traffic):
    """Opening costs the documents and the columns; a block costs an index a shard, and a request a run of chunks."""
    there = zs.open(in_memory(path, "patches.zarr"))["B"]
    found = there.patches(60)
    traffic.clear()
    found.compute()
    assert traffic.total == 1 + 2
