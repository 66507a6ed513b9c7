"""Spots on tissue: the right way round is told from the wrong ones, on pictures of one's own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zarrscope.readers.slides.alignment import READINGS, alignment, tissue_mask

SHAPE = (3000, 4000)  # of the full picture
SMALL = (150, 200)
PINK, VIOLET, WHITE = (224, 140, 190), (110, 70, 150), (244, 243, 245)


def outline(shape=SMALL):
    """A disc, off the middle of the picture, that touches neither its own flips nor its transpose by much."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.hypot((y - 0.3 * shape[0]) / 0.22, (x - 0.72 * shape[1]) / 0.2) < shape[0]


def stain(mask, tissue=PINK, glass=WHITE, noise=3):
    picture = np.where(mask[..., None], tissue, glass).astype(int)
    return np.clip(picture + np.random.default_rng(0).integers(-noise, noise + 1, picture.shape), 0, 255).astype("u1")


def spots(mask=None, count=400):
    """Places of spots on the tissue, ``(x, y)`` in pixels of the full picture."""
    y, x = np.nonzero(outline() if mask is None else mask)
    chosen = np.random.default_rng(1).integers(0, len(y), count)
    scale = SHAPE[0] / SMALL[0]
    return (x[chosen] + 0.5) * scale, (y[chosen] + 0.5) * scale


def framed(mask):
    """The picture in a black frame, as slide scanners give it."""
    picture = stain(mask)
    picture[:, -14:] = picture[-9:] = 8
    return picture


PICTURES = {
    "stained": stain(outline()),
    "violet": stain(outline(), VIOLET),
    "transparency": np.concatenate([stain(outline()), np.full((*SMALL, 1), 255, "u1")], axis=-1),
    "gray": stain(outline())[..., 1],
    "gray, three times": np.repeat(stain(outline())[..., 1:2], 3, axis=-1),
    "gray, one sample": stain(outline())[..., 1:2],
    "fluorescence": stain(outline(), (90, 90, 90), (6, 6, 6)),
    "green on black": stain(outline(), (10, 180, 40), (6, 6, 6)),
    "in a black frame": framed(outline()),
}


@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES)
def test_tissue_mask(picture):
    """White glass, dark ground and black frames are background."""
    mask = tissue_mask(picture)
    assert mask.shape == SMALL
    assert (mask != outline()).mean() < 0.01


EMPTY = {
    "glass": stain(np.zeros(SMALL, bool)),
    "all tissue": stain(np.ones(SMALL, bool)),
    "gray": stain(np.zeros(SMALL, bool))[..., 0],
    "black": np.zeros(SMALL, "u1"),
    "no pixels": np.zeros((0, 5), "u1"),
}


@pytest.mark.parametrize("picture", EMPTY.values(), ids=EMPTY)
def test_without_contrast_nothing_is_tissue(picture):
    """And then no reading is better than another: nothing is suspected."""
    mask = tissue_mask(picture)
    assert mask.shape == picture.shape[:2]
    assert not mask.any()
    found = alignment(*spots(), mask, SHAPE)
    assert (found.best, found.score, found.tissue, found.suspicious) == ("as given", 0, 0, False)


def undo(reading, x, y):
    """Write places so that ``reading`` is what makes them right again."""
    swap, flip_x, flip_y = READINGS[reading]
    x, y = SHAPE[1] - x if flip_x else x, SHAPE[0] - y if flip_y else y
    return (y, x) if swap else (x, y)


@pytest.mark.parametrize("reading", READINGS)
def test_each_mistake_is_named(reading):
    """The reading that brings the spots back is the best one, and anything but "as given" is suspicious."""
    found = alignment(*undo(reading, *spots()), outline(), SHAPE)
    assert found.best == reading
    assert found.shares[reading] == 1
    assert list(found.shares) == list(READINGS)
    assert found.score == found.shares["as given"]
    assert found.suspicious == (reading != "as given")
    assert sorted(found.shares.values())[-2] < 0.9


def test_tissue_everywhere_says_nothing():
    """Where all readings are as good, the coordinates stand as given."""
    found = alignment(*spots(), np.ones(SMALL, bool), (3000, 3000 * SMALL[1] // SMALL[0]))
    assert (found.best, found.score, found.tissue, found.suspicious) == ("as given", 1, 1, False)


@pytest.mark.parametrize(
    ("gone", "suspicious"), [(0, False), (4, False), (5, True), (400, True)], ids=["none", "1 %", "more", "all"]
)
def test_spots_outside_the_picture_are_counted(gone, suspicious):
    """More than one in a hundred is suspicious, as for coordinates of a picture of another size."""
    x, y = spots()
    x[:gone] += 10 * SHAPE[1]
    found = alignment(x, y, outline(), SHAPE)
    assert found.outside == gone
    assert found.suspicious == suspicious
    assert found.score == (400 - gone) / 400


def test_the_margin():
    """One reading that is a little better is no reason: a tenth of the spots more is."""
    x, y = spots()
    wrong_x, wrong_y = undo("y flipped", x, y)
    for count, suspicious in ((12, False), (388, True)):
        mixed = np.r_[wrong_x[:count], x[count:]], np.r_[wrong_y[:count], y[count:]]
        assert alignment(*mixed, outline(), SHAPE).suspicious == suspicious


def test_no_spots():
    found = alignment(np.zeros(0), np.zeros(0), outline(), SHAPE)
    assert (found.best, found.score, found.outside, found.suspicious) == ("as given", 0, 0, False)


@given(st.lists(st.tuples(st.floats(-5000, 9000), st.floats(-5000, 9000)), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_any_places_have_shares(places):
    """Shares lie between 0 and 1, a place on the last edge is inside, and the best is never worse than as given."""
    x, y = np.array([*places, (SHAPE[1], SHAPE[0])], float).T
    found = alignment(x, y, outline(), SHAPE)
    assert all(0 <= share <= 1 for share in found.shares.values())
    assert found.shares[found.best] >= found.score
    assert found.outside == sum(not (0 <= a <= SHAPE[1] and 0 <= b <= SHAPE[0]) for a, b in places)
