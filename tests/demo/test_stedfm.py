"""The archives of ``make_stedfm`` are what the published ones are: names, headers, payloads, and every trap."""

from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import sys
import zipfile
from collections import Counter

import numpy as np
import pytest
import tifffile

from zarrscope.demo import ARCHIVES, make_stedfm, read_stamp
from zarrscope.demo.metadata import full_planes, subset_planes
from zarrscope.demo.scenes import SCENES
from zarrscope.demo.stedfm import crop_window, normalise, otsu, take_picture
from zarrscope.errors import UsageError

SIZE = 48
NAME = re.compile(
    r"^(?:(?P<protein>.+)-)?(?P<uuid>[0-9a-f]{8}-[0-9a-f]{4}-3[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})"
    r"-(?P<j>\d+)-(?P<i>\d+)(?P<suffix>\.tif)?$"
)
FULL_KEYS = ["image-id", "image-type", "key", "msr-key", "msr-metadata", "chan-id", "protein-id"]
SUBSET_KEYS = ["chan-id", "image-id", "image-type", "user-id", "protein-id"]
COLLECTIONS = ["full", "subset"]
FORMS = ["normalised", "raw", "tiff"]
NPZ_KINDS = [kind for kind in ARCHIVES if not kind.endswith("tiff")]


def info_of(content):
    with np.load(io.BytesIO(content), allow_pickle=True) as npz:
        return npz["metadata"].item()


@pytest.mark.parametrize("kind", ARCHIVES)
def test_names(kind, plain, members):
    """No directory, no npz suffix; a protein in front in the subset alone; no name twice."""
    names = [header.name for header, _ in members(plain[kind])]
    matches = [NAME.match(name) for name in names]
    assert all(matches)
    assert {bool(match["suffix"]) for match in matches} == {kind.endswith("tiff")}
    proteins = {match["protein"] for match in matches}
    assert proteins == {None} if kind.startswith("full") else proteins <= set(SCENES)
    assert len(set(names)) == len(names)
    assert plain[kind].name == ARCHIVES[kind]


@pytest.mark.parametrize("kind", ARCHIVES)
def test_headers(kind, plain, members):
    """Plain ustar headers with tarfile's defaults, contents padded, and an end of whole records."""
    archive = plain[kind].read_bytes()
    assert len(archive) % 10_240 == 0
    for header, content in members(plain[kind]):
        assert (header.mode, header.uid, header.gid, header.mtime, header.isreg()) == (0o644, 0, 0, 0, True)
        assert not header.pax_headers
        assert archive[header.offset + 257 : header.offset + 265] == b"ustar\x0000"
        assert header.offset_data == header.offset + 512
        assert header.size == len(content)


@pytest.mark.parametrize("kind", NPZ_KINDS)
def test_npz(kind, plain, members):
    """Two stored arrays, pixels first, and a dictionary with the keys and types of the published writer."""
    for _, content in members(plain[kind]):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert [entry.filename for entry in archive.infolist()] == ["image.npy", "metadata.npy"]
            assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        with np.load(io.BytesIO(content), allow_pickle=True) as npz:
            assert npz["image"].shape == (SIZE, SIZE)
            assert npz["image"].dtype == ("uint8" if kind.endswith("normalised") else "uint16")
            assert npz["metadata"].shape == ()
            info = npz["metadata"].item()
        if kind.startswith("full"):
            assert list(info) == FULL_KEYS
            assert info["protein-id"] == "unknown"
            assert re.fullmatch("[0-9a-f]{64}", info["key"])
            assert info["msr-key"] == info["chan-id"]
            assert {type(value) for value in info["msr-metadata"].values()} <= {str, int, float, type(None)}
        else:
            assert list(info) == SUBSET_KEYS


def test_names_repeat_the_dictionary(plain, members):
    for kind in NPZ_KINDS:
        for header, content in members(plain[kind]):
            match, info = NAME.match(header.name), info_of(content)
            assert match["uuid"] == info["image-id"]
            assert match["protein"] in {None, info["protein-id"]}


def test_channel_ids_are_text_or_numbers(plain, members):
    assert {type(info_of(content)["chan-id"]) for _, content in members(plain["subset/raw"])} == {str, int}


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_siblings(collection, plain, members):
    """Order, proteins and grid places agree; the id of a file's first channel does, that of later ones does not."""
    columns = [
        [
            NAME.match(header.name).group("protein", "j", "i", "uuid")
            for header, _ in members(plain[f"{collection}/{form}"])
        ]
        for form in FORMS
    ]
    assert len({tuple(row[:3] for row in column) for column in columns}) == 1
    ids = [list(dict.fromkeys(row[3] for row in column)) for column in columns]
    planes = list((full_planes if collection == "full" else subset_planes)(12, 0, SIZE))
    held = Counter()
    agree = []
    for plane, trio in zip(planes, zip(*ids, strict=True), strict=True):
        agree.append(len(set(trio)))
        held[plane.source] += 1
        assert len(set(trio)) == (1 if held[plane.source] == 1 else 3)
    assert set(agree) == {1, 3}


def test_key_is_the_same_in_siblings(plain, members):
    keys = [[info_of(content)["key"] for _, content in members(plain[f"full/{form}"])] for form in FORMS[:2]]
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == 12


@pytest.mark.parametrize("kind", ARCHIVES)
def test_crops_are_windows_of_their_picture(kind, plain, members, pixels):
    """Each crop is cut where its name says, pushed back at the border, from the picture normalised as a whole."""
    planes = (full_planes if kind.startswith("full") else subset_planes)(12, 0, SIZE)
    found = members(plain[kind])
    uuids = list(dict.fromkeys(NAME.match(header.name)["uuid"] for header, _ in found))
    pictures = {}
    for uuid, plane in zip(uuids, planes, strict=True):
        counts = take_picture(plane, 0)
        pictures[uuid] = normalise(counts) if kind.endswith("normalised") else counts - counts.min()
    for header, content in found:
        match = NAME.match(header.name)
        picture = pictures[match["uuid"]]
        window = crop_window((int(match["j"]), int(match["i"])), picture.shape, SIZE)
        np.testing.assert_array_equal(pixels(kind, content), picture[window])


def test_grid_has_holes_and_borders_overlap(plain, members):
    """Some grid places are missing, and parents are mostly no multiple of a crop: once by one pixel."""
    places, sizes = Counter(), {}
    for _, content in members(plain["full/raw"]):
        info = info_of(content)
        places[info["key"]] += 1
        sizes[info["key"]] = info["msr-metadata"]["SizeY"], info["msr-metadata"]["SizeX"]
    grids = {key: -(-height // SIZE) * -(-width // SIZE) for key, (height, width) in sizes.items()}
    assert all(places[key] <= grids[key] for key in grids)
    assert sum(places.values()) < sum(grids.values())
    assert any(height == SIZE + 1 for height, _ in sizes.values())
    assert any(height % SIZE == 0 for height, _ in sizes.values())


def test_listed_places_come_in_no_order(plain, members):
    order = {}
    for header, _ in members(plain["subset/raw"]):
        match = NAME.match(header.name)
        order.setdefault(match["uuid"], []).append((int(match["j"]), int(match["i"])))
    assert any(places != sorted(places) for places in order.values())
    assert any(places == sorted(places) for places in order.values())


# Pixels a micrometre that the TIFF states, over those that are true; a unit unknown to the writer is copied as it is.
RESOLUTION = {"µm": (1.0, "um"), "m": (1.0, "um"), "nm": (1e-6, "um"), "pixel": (None, "None")}
NANOMETRES = {"µm": 1e3, "m": 1e9, "nm": 1.0}


def test_tiff_resolution(plain, members):
    """Metres and micrometres are right, nanometres are wrong by 10^6, and both axes are stated in the order x, y."""
    seen = set()
    pairs = zip(members(plain["full/tiff"]), members(plain["full/raw"]), strict=True)
    for (_, tiff), (_, npz) in pairs:
        measured = info_of(npz)["msr-metadata"]
        unit = measured["PhysicalSizeXUnit"]
        wrong, text = RESOLUTION[unit]
        with tifffile.TiffFile(io.BytesIO(tiff)) as file:
            tags = file.pages[0].tags
            assert f"unit={text}" in tags["ImageDescription"].value
            assert tags["ResolutionUnit"].value == 1
            assert file.byteorder == "<"
            for axis in "XY":
                over, under = tags[f"{axis}Resolution"].value
                true = 1.0 if wrong is None else 1e3 / (measured[f"PhysicalSize{axis}"] * NANOMETRES[unit]) * wrong
                assert over / under == pytest.approx(true, rel=1e-6)
                seen.add((unit, axis, measured["PhysicalSizeX"] == measured["PhysicalSizeY"]))
    assert {unit for unit, *_ in seen} == set(RESOLUTION)
    assert {square for *_, square in seen} == {True, False}


def test_subset_tiff_states_nothing(plain, members):
    for _, content in members(plain["subset/tiff"]):
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            tags = file.pages[0].tags
            assert "unit" not in tags["ImageDescription"].value
            assert tags["XResolution"].value == tags["YResolution"].value == (1, 1)


@pytest.mark.parametrize("kind", ARCHIVES)
def test_stamps_are_rows(kind, stamped, members, pixels):
    stamps = [read_stamp(pixels(kind, content)) for _, content in members(stamped[kind])]
    assert stamps == list(range(len(stamps)))


def test_same_seed_same_bytes(plain, tmp_path):
    """Also in another process, where Python's own hash is salted differently, and one archive at a time."""
    script = (
        "import sys, pathlib; from zarrscope.demo import make_stedfm; make_stedfm(pathlib.Path(sys.argv[1]), size=48)"
    )
    environment = os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, env=environment)
    for kind, path in plain.items():
        assert (
            hashlib.sha256((tmp_path / path.name).read_bytes()).digest() == hashlib.sha256(path.read_bytes()).digest()
        )
        alone = make_stedfm(tmp_path / "alone", size=SIZE, kinds=[kind])
        assert list(alone) == [kind]
        assert alone[kind].read_bytes() == path.read_bytes()


def test_another_seed_other_pictures(plain, tmp_path):
    other = make_stedfm(tmp_path, size=SIZE, seed=1, kinds=["full/raw"])
    assert other["full/raw"].read_bytes() != plain["full/raw"].read_bytes()


@pytest.mark.parametrize(
    ("options", "found"),
    [
        pytest.param({"kinds": ["full/png"]}, "full/png", id="unknown kind"),
        pytest.param({"images": 0}, "images=0", id="no images"),
        pytest.param({"size": 7}, "size=7", id="crops too small"),
    ],
)
def test_refused(options, found, tmp_path):
    """A call that makes no sense says what it found, and writes nothing."""
    with pytest.raises(UsageError, match=found):
        make_stedfm(tmp_path / "none", **options)
    assert not (tmp_path / "none").exists()


def test_otsu_parts_two_classes():
    picture = np.array([[10, 11, 12, 10], [200, 210, 205, 12]], np.uint8)
    assert 12 <= otsu(picture) < 200
