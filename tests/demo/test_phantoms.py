"""Phantoms put light where they say, and a stamp is read back only from the picture as it was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zarrscope.demo import read_stamp, stamp
from zarrscope.demo.phantoms import Molecules, blur, expose, render, splat
from zarrscope.demo.scenes import SCENES

DTYPES = ["uint8", "uint16", "float32"]
TURNS = {
    "transposed": lambda p: p.T,
    "upside down": lambda p: p[::-1],
    "mirrored": lambda p: p[:, ::-1],
    "shifted": lambda p: p[1:],
}


@given(index=st.integers(0, 2**32 - 1), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 9))
def test_stamp_round_trip(index, dtype, seed):
    """Any 32-bit number, in any type of pixel, without touching another pixel."""
    before = (np.random.default_rng(seed).random((9, 8)) * (1 if dtype == "float32" else 255)).astype(dtype)
    after = before.copy()
    stamp(after, index)
    assert read_stamp(after) == index
    np.testing.assert_array_equal(after.ravel()[8:], before.ravel()[8:])
    np.testing.assert_array_equal(after[0, 6:], before[0, 6:])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
def test_stamp_shows_a_turned_picture(turn, dtype):
    picture = np.zeros((8, 8), dtype)
    stamp(picture, 258)
    with pytest.raises(ValueError, match="no stamp"):
        read_stamp(turn(picture))


def test_splat_puts_light_at_y_x():
    """A molecule between pixels is shared among its neighbours; outside the picture it is dark."""
    cloud = Molecules(*(np.array(v, np.float32) for v in ([1, 3.5, -9, 2], [2, 4.25, 1, 99], [1, 2, 5, 5])))
    expected = np.zeros((6, 8))
    expected[1, 2] = 1
    expected[3:5, 4:6] = [[0.75, 0.25], [0.75, 0.25]]
    np.testing.assert_allclose(splat(cloud, (6, 8)), expected)


def test_blur_keeps_light_and_width():
    picture = np.zeros((61, 73), np.float32)
    picture[30, 36] = 1
    seen = blur(picture, 2.5)
    y, x = np.mgrid[:61, :73]
    assert seen.sum() == pytest.approx(1, rel=1e-4)
    assert (seen * (y - 30) ** 2).sum() == pytest.approx(2.5**2, rel=1e-2)
    assert (seen * (x - 36) ** 2).sum() == pytest.approx(2.5**2, rel=1e-2)


def test_a_dark_picture_stays_dark():
    nothing = Molecules(*(np.zeros(0, np.float32) for _ in range(3)))
    assert not render(nothing, (8, 8), sigma=1).any()


def test_expose_counts_photons():
    counts = expose(np.random.default_rng(0), np.full((200, 200), 0.5, np.float32), photons=40, background=3)
    assert counts.dtype == "uint16"
    assert counts.mean() == pytest.approx(23, rel=0.01)
    assert counts.var() == pytest.approx(23, rel=0.05)


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("shape", [(33, 140), (300, 260)], ids=str)
def test_every_scene_shows_something(name, shape):
    """Each has bright and dark places, at any size, and one seed gives one picture."""
    field = SCENES[name].field(np.random.default_rng(1), shape)
    assert field.shape == shape
    assert field.dtype == "float32"
    assert np.isfinite(field).all()
    assert field.min() >= 0
    assert field.max() >= 1
    assert np.median(field) < 0.4
    np.testing.assert_array_equal(field, SCENES[name].field(np.random.default_rng(1), shape))
