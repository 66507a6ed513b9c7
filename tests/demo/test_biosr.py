"""The folder of ``make_biosr`` has the names, shapes and hidden order of the published one."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from zarrscope.demo import make_biosr, read_stamp
from zarrscope.demo.biosr import Place, training_places
from zarrscope.errors import UsageError

FOLDERS = {
    "training_wf": (36, 8),
    "training_gt": (36, 8),
    "validate_wf": (18, 8),
    "validate_gt": (18, 8),
    "test_gt": (10, 3),
} | {f"test_wf/level_{level:02d}": (10, 3) for level in range(1, 10)}


def noise(patch):
    """Estimate the noise of a patch, ``(y, x)``, over its contrast: differences to the neighbours across."""
    values = patch.squeeze().astype(float)[1:]
    return np.std(values[1:-1, 1:-1] - (values[:-2, 1:-1] + values[2:, 1:-1]) / 2) / np.std(values)


@pytest.mark.parametrize(("folder", "count", "digits"), [(name, *rest) for name, rest in FOLDERS.items()])
def test_names(folder, count, digits, biosr):
    """Names count from 1 and have as many digits as the published ones."""
    names = sorted(path.name for path in (biosr / folder).iterdir())
    assert names == [f"{number:0{digits}d}.tif" for number in range(1, count + 1)]


def test_nothing_else(biosr):
    others = {str(p.relative_to(biosr)) for p in biosr.rglob("*") if p.is_file() and p.suffix != ".tif"}
    assert others == {"README.md"}
    assert biosr.name == "biosr_dataset"


def test_patches(biosr):
    """32-bit floating point from 0 to 1, little-endian, uncompressed; some have a trailing axis of length one."""
    shapes = set()
    for path in biosr.rglob("*.tif"):
        with tifffile.TiffFile(path) as file:
            patch = file.asarray()
            assert (file.byteorder, file.is_shaped, file.pages[0].compression) == ("<", True, 1)
        shapes.add(patch.shape)
        assert patch.dtype == "float32"
        assert (patch.min(), patch.max()) == (0, 1)
    assert shapes == {(128, 128), (128, 128, 1)}


@pytest.mark.parametrize("name", ["training", "validate"])
def test_pairs_share_a_stamp(name, biosr):
    for role in ("wf", "gt"):
        paths = sorted((biosr / f"{name}_{role}").iterdir())
        assert [read_stamp(tifffile.imread(path).squeeze()) for path in paths] == list(range(len(paths)))


def test_levels_share_a_sharp_patch(biosr):
    stamps = {path: read_stamp(tifffile.imread(path).squeeze()) for path in sorted((biosr / "test_wf").rglob("*.tif"))}
    assert sorted(stamps.values()) == list(range(90))
    for path, index in stamps.items():
        assert path.parent.name == f"level_{index // 10 + 1:02d}"
        assert read_stamp(tifffile.imread(biosr / "test_gt" / path.name).squeeze()) == index % 10


def test_widefield_is_the_blurred_partner(biosr):
    """At the brightest level each widefield patch looks most like its own sharp patch."""
    sharp = np.stack([tifffile.imread(path).squeeze().ravel() for path in sorted((biosr / "test_gt").iterdir())])
    wide = np.stack(
        [tifffile.imread(path).squeeze().ravel() for path in sorted((biosr / "test_wf/level_09").iterdir())]
    )
    likeness = np.corrcoef(wide, sharp)[:10, 10:]
    assert likeness.argmax(axis=1).tolist() == list(range(10))


def test_noise_steps_down_with_the_level(biosr):
    """In the test folders by name, in training by the hidden order: four patches a level."""
    by_name = [
        np.median([noise(tifffile.imread(path)) for path in (biosr / f"test_wf/level_{level:02d}").iterdir()])
        for level in range(1, 10)
    ]
    paths = sorted((biosr / "training_wf").iterdir())
    by_order = [np.median([noise(tifffile.imread(path)) for path in paths[4 * k : 4 * k + 4]]) for k in range(9)]
    assert by_name == sorted(by_name, reverse=True)
    assert min(by_order[:3]) > max(by_order[-3:])


@pytest.mark.parametrize(
    ("total", "cells", "run"), [pytest.param(41_040, 30, 38, id="training"), pytest.param(2_160, 5, 12, id="validate")]
)
def test_published_arithmetic(total, cells, run):
    """With the published numbers, the order is cell, level, flip, patch, in the published runs."""
    places = list(training_places(total, cells=cells, levels=9))
    expected = [Place(k // (36 * run), k % (36 * run) // (4 * run), k % (4 * run) // run) for k in range(total)]
    assert places == expected


@pytest.mark.parametrize("total", [0, 1, 7, 18, 36, 100, 1000])
def test_any_number_keeps_the_order(total):
    places = list(training_places(total, cells=30, levels=9))
    assert places == sorted(places)
    assert len(places) == total
    if total >= 36:
        assert {place.level for place in places} == set(range(9))


def test_same_seed_same_bytes(tmp_path):
    trees = []
    for number, seed in enumerate((3, 3, 4)):
        root = make_biosr(tmp_path / str(number), train=4, validate=2, test=1, levels=2, seed=seed)
        trees.append({path.relative_to(root): path.read_bytes() for path in root.rglob("*.tif")})
    assert trees[0] == trees[1]
    assert trees[0].keys() == trees[2].keys()
    assert trees[0] != trees[2]


@pytest.mark.parametrize("options", [{"train": -1}, {"levels": 0}, {"levels": 100}], ids=str)
def test_refused(options, tmp_path):
    with pytest.raises(UsageError, match="expected numbers of patches"):
        make_biosr(tmp_path, **options)
    assert not list(tmp_path.iterdir())
