"""Statistics over pixels: as numpy computes them, and the same however the pixels are cut."""

import math
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zarrscope.model import Statistics
from zarrscope.statistics import TYPES, Accumulator, edges, mean, merge, percentile, std

INTEGERS = tuple(name for name in TYPES if "int" in name)
BY_VALUE = tuple(name for name in INTEGERS if np.dtype(name).itemsize <= 2)
FLOATS = tuple(name for name in TYPES if "float" in name)
PERCENTS = (0.0, 0.1, 25.0, 50.0, 99.9, 100.0)


def take(*arrays, dtype=None):
    accumulator = Accumulator(arrays[0].dtype if dtype is None else dtype)
    for array in arrays:
        accumulator.add(array)
    return accumulator.result()


def pixels_of(dtype, shape=(3, 37, 41), seed=0):
    rng = np.random.default_rng(seed)
    if dtype in INTEGERS:
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    return rng.normal(3, 50, shape).astype(dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(3, 37, 41), (1,), (7,), (8,), (9,), (2, 0), ()], ids=str)
def test_agrees_with_numpy(dtype, shape):
    """Counts, extremes and sums are those of the pixels, whatever the shape: also one that fills no word of 8 bytes."""
    pixels = pixels_of(dtype, shape)
    found = take(pixels)
    exact = [value.item() for value in pixels.ravel()]
    assert found.count == pixels.size == sum(found.counts)
    assert found.bins == tuple(sorted(found.bins))
    assert min(found.counts, default=1) > 0
    assert (found.minimum, found.maximum) == (min(exact, default=math.inf), max(exact, default=-math.inf))
    tolerance = 0 if dtype in INTEGERS else 1e-9
    assert found.sum == pytest.approx(float(sum(exact)), rel=tolerance, abs=tolerance)
    assert found.sum_of_squares == pytest.approx(float(sum(value * value for value in exact)), rel=tolerance)


@pytest.mark.parametrize("dtype", BY_VALUE)
def test_small_integers_are_counted_by_value(dtype):
    pixels = pixels_of(dtype)
    values, counts = np.unique(pixels, return_counts=True)
    found = take(pixels)
    assert (found.bins, found.counts) == (tuple(values.tolist()), tuple(counts.tolist()))


@pytest.mark.parametrize("dtype", TYPES)
def test_every_pixel_lies_in_its_bin(dtype):
    """Bins increase with the value, and are no wider than 0.8 % of it."""
    pixels = np.sort(pixels_of(dtype).ravel()).astype(np.float64)
    found = take(pixels_of(dtype))
    lower, upper = edges(dtype, found.bins)
    assert (lower[1:] >= upper[:-1]).all()
    slack = np.abs(pixels) * 2.0**-23  # other types are rounded to float32 first
    assert (np.repeat(lower, found.counts) <= pixels + slack).all()
    assert (pixels - slack <= np.repeat(upper, found.counts)).all()
    if dtype not in BY_VALUE:
        assert (upper - lower <= np.maximum(np.abs(lower), np.abs(upper)) / 128).all()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("layout", ["byte order", "odd address", "read-only", "every second", "transposed"])
def test_the_layout_does_not_matter(dtype, layout):
    """Views of archives start anywhere and can't be written to; all are counted alike."""
    pixels = pixels_of(dtype, (6, 10))
    same = {
        "byte order": lambda: pixels.astype(pixels.dtype.newbyteorder()),
        "odd address": lambda: np.ndarray(pixels.shape, dtype, b"\0" + pixels.tobytes(), 1),
        "read-only": lambda: np.frombuffer(pixels.tobytes(), dtype).reshape(pixels.shape),
        "every second": lambda: np.repeat(pixels, 2, axis=1)[:, ::2],
        "transposed": lambda: pixels.T.copy().T,
    }[layout]()
    found, expected = take(same, dtype=dtype), take(pixels)
    if layout == "transposed" and dtype in FLOATS:
        assert found.sum == pytest.approx(expected.sum)
    else:
        assert found == expected


@pytest.mark.parametrize("dtype", FLOATS)
def test_only_finite_pixels_count(dtype):
    """NaN and infinities are in no bin, no sum and no extreme; zeros of both signs are one value."""
    pixels = np.array([np.nan, np.inf, -np.inf, 2.0, -1.0, 0.0, -0.0], dtype)
    found = take(pixels)
    assert found == take(np.array([2.0, -1.0, 0.0, 0.0], dtype))
    assert (found.count, found.minimum, found.maximum, found.sum, found.sum_of_squares) == (4, -1.0, 2.0, 1.0, 5.0)
    assert found.bins == (0x7FFF - 0x3F80, 0x8000, 0x8000 + 0x4000)
    assert take(pixels[:3]) == Statistics()


def test_float64_beyond_float32_stays_finite():
    found = take(np.array([-1e300, 1e-300, 1e300]))
    assert (found.minimum, found.maximum) == (-1e300, 1e300)
    assert found.bins == (0x0080, 0x8000, 0xFF7F)
    assert all(np.isfinite(edge).all() for edge in edges("float64", found.bins))
    assert percentile(found, "float64", [0, 100]) == [-1e300, 1e300]
    overflowing = merge([take(np.array([1e200]))] * 2)
    assert math.isnan(std(overflowing))


@pytest.mark.parametrize("dtype", ["bool", "int64", "uint64", "complex64", "U3"])
def test_other_types_are_refused(dtype):
    with pytest.raises(TypeError, match="expected pixels of type uint8"):
        Accumulator(dtype)


def test_pixels_of_another_type_are_refused():
    with pytest.raises(TypeError, match="expected pixels of type uint8, found uint16"):
        Accumulator("uint8").add(np.zeros(3, np.uint16))


def test_results_can_be_taken_on_the_way():
    accumulator = Accumulator("uint8")
    for count in range(1, 4):
        accumulator.add(np.full(5, count, np.uint8))
        assert accumulator.result() == accumulator.result()
        assert accumulator.result().count == 5 * count


arrays = st.sampled_from(INTEGERS).flatmap(
    lambda dtype: hnp.arrays(dtype, st.tuples(st.integers(0, 12), st.integers(1, 11)))
)


@given(pixels=arrays, cuts=st.lists(st.integers(0, 12), max_size=4), data=st.data())
@settings(max_examples=150, deadline=None)
def test_merged_parts_are_the_whole(pixels, cuts, data):
    """Rows cut anywhere and merged in any order give what all pixels at once give, to the last bit."""
    parts = [take(part, dtype=pixels.dtype) for part in np.split(pixels, sorted(cuts))]
    merged = merge(data.draw(st.permutations(parts)))
    whole = take(pixels)
    if whole.sum_of_squares < 2**53:
        assert merged == whole
    assert (merged.bins, merged.counts, merged.count) == (whole.bins, whole.counts, whole.count)
    assert (merged.minimum, merged.maximum, merged.sum) == (whole.minimum, whole.maximum, whole.sum)
    assert merged.sum_of_squares == pytest.approx(whole.sum_of_squares, rel=1e-15)
    assert merge([merged]) == merged


def test_nothing_merges_to_nothing():
    assert merge([]) == merge([Statistics()] * 3) == Statistics()


@pytest.mark.parametrize("dtype", FLOATS)
def test_merged_floats_do_not_depend_on_the_order(dtype):
    parts = [take(part) for part in pixels_of(dtype)]
    assert merge(parts) == merge(parts[::-1])
    assert merge(parts).sum == pytest.approx(take(pixels_of(dtype)).sum)


@pytest.mark.parametrize("dtype", TYPES)
def test_mean_and_std(dtype):
    """The standard deviation is that of the population, and keeps its digits where pixels are far from zero."""
    pixels = pixels_of(dtype)
    found = take(pixels)
    assert mean(found) == pytest.approx(pixels.astype(np.float64).mean())
    assert std(found) == pytest.approx(pixels.astype(np.float64).std())
    assert std(take(np.full(1_000, pixels.ravel()[0]))) == pytest.approx(0, abs=1e-6 * abs(float(pixels.ravel()[0])))


def test_a_small_spread_far_from_zero():
    pixels = np.array([65_534, 65_535] * 5_000, np.uint16)
    assert std(merge([take(pixels)] * 1_000)) == pytest.approx(0.5, rel=1e-5)


def test_no_pixels_have_no_measures():
    assert all(
        math.isnan(found) for found in (mean(Statistics()), std(Statistics()), percentile(Statistics(), "u1", 50))
    )


@given(pixels=arrays.filter(lambda pixels: pixels.size and pixels.dtype.itemsize <= 2), q=st.floats(0, 100))
@settings(max_examples=150, deadline=None)
def test_percentiles_of_small_integers_are_exact(pixels, q):
    """As numpy's default method, linear."""
    found = percentile(take(pixels), pixels.dtype, q)
    assert found == pytest.approx(float(np.percentile(pixels.astype(np.float64), q)), rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("dtype", TYPES)
def test_percentiles_of_other_types_are_near(dtype):
    pixels = pixels_of(dtype, (60, 61))
    found = percentile(take(pixels), dtype, PERCENTS)
    expected = np.percentile(pixels.astype(np.float64), PERCENTS)
    np.testing.assert_allclose(found, expected, rtol=1 / 128, atol=0.05)
    assert (found[0], found[-1]) == (pixels.min(), pixels.max())


@pytest.mark.parametrize("q", [-1, 100.5, math.nan])
def test_percents_out_of_range_are_refused(q):
    with pytest.raises(ValueError, match="from 0 to 100"):
        percentile(Statistics(), "u1", q)


def test_threads_take_statistics_side_by_side():
    """Each thread has an accumulator of its own, and the loops run without the interpreter's lock."""
    pixels = pixels_of("uint16", (20, 100, 100))
    found = {}

    def work(name):
        found[name] = take(*pixels)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1] == found[2] == take(pixels)


def test_importing_compiles_nothing():
    """The compiler is imported by the first pixel, not by the package."""
    line = "import sys, zarrscope.statistics; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", line], check=False, timeout=60).returncode == 0
