"""A selection is cut into pieces of chunks that put together exactly what numpy would give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zarrscope.loaders.chunking import length, normalise, pieces


@st.composite
def selections(draw, size):
    """One axis of a selection: an integer, a slice of any step, or integers with repeats."""
    kind = draw(st.sampled_from(["all", "slice", "integer", "rows"]))
    if kind == "all" or (size == 0 and kind != "slice"):
        return slice(None)
    if kind == "slice":
        edge = st.none() | st.integers(-size - 2, size + 2)
        return slice(draw(edge), draw(edge), draw(st.sampled_from([None, 1, 2, 3, 7, -1, -2])))
    if kind == "integer":
        return draw(st.integers(-size, size - 1))
    return np.array(draw(st.lists(st.integers(-size, size - 1), max_size=2 * size)), np.int64)


@st.composite
def grids(draw, most_axes=4):
    """Shape, chunks, chunks a shard, and a selection of that shape."""
    axes = draw(st.integers(1, most_axes))
    largest = (24, 9, 6, 4, 3)[axes - 1]
    shape = tuple(draw(st.integers(0 if axes == 1 else 1, largest)) for _ in range(axes))
    chunks = tuple(draw(st.integers(1, 4)) for _ in range(axes))
    grid = tuple(draw(st.integers(1, 3)) for _ in range(axes))
    return shape, chunks, grid, tuple(draw(selections(size)) for size in shape)


def outer(values, key):
    """Index axis by axis, the last first so that dropped axes don't count."""
    for axis in reversed(range(len(key))):
        values = values[(slice(None),) * axis + (key[axis],)]
    return values


@settings(deadline=None)
@given(grids())
def test_pieces_put_together_are_the_selection(case):
    shape, chunks, grid, key = case
    values = np.arange(np.prod(shape)).reshape(shape)
    padded = np.pad(
        values, [(0, -size % (chunk * many)) for size, chunk, many in zip(shape, chunks, grid, strict=True)]
    )
    selects, dropped = normalise(key, shape)
    out = np.full([length(select) for select in selects], -1)
    for shard, these in pieces(selects, chunks, grid).items():
        for piece in these:
            inner = np.unravel_index(piece.place, grid)
            at = [
                slice((many * number + small) * chunk, (many * number + small + 1) * chunk)
                for number, many, small, chunk in zip(shard, grid, inner, chunks, strict=True)
            ]
            out[piece.out] = padded[tuple(at)][piece.inside]
    expected = outer(values, key)
    assert np.array_equal(out[tuple(0 if axis in dropped else slice(None) for axis in range(len(shape)))], expected)


@settings(deadline=None)
@given(grids())
def test_no_chunk_is_decoded_twice_or_for_nothing(case):
    shape, chunks, grid, key = case
    selects, _ = normalise(key, shape)
    found = [(shard, piece.place) for shard, these in pieces(selects, chunks, grid).items() for piece in these]
    assert len(found) == len(set(found))
    everywhere = [
        set(np.arange(size)[select] // chunk) for size, select, chunk in zip(shape, selects, chunks, strict=True)
    ]
    assert len(found) == np.prod([len(touched) for touched in everywhere])


@pytest.mark.parametrize(
    ("key", "message"),
    [
        pytest.param(5, "place 5 is out of bounds for size 5", id="integer past the end"),
        pytest.param(-6, "place -6 is out of bounds", id="integer before the start"),
        pytest.param([0, 7], "place 7", id="row past the end"),
        pytest.param((0, 0, 0), "at most 2 indices", id="too many"),
        pytest.param(1.5, "integers or a slice", id="float"),
        pytest.param(np.zeros((2, 2), int), "one dimension", id="two-dimensional rows"),
    ],
)
def test_a_wrong_index_is_refused(key, message):
    with pytest.raises(IndexError, match=message):
        normalise(key, (5, 4))


def test_an_ellipsis_stands_for_all_axes_in_between():
    assert normalise((..., 1), (5, 4, 3))[0] == (slice(0, 5, 1), slice(0, 4, 1), slice(1, 2, 1))
