"""STimage-1K4M: every count, place, label and pixel of a slide arrives, and what can't be taken is named and left."""

import csv
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import anndata
import numpy as np
import pandas as pd
import pytest
import zarr
from click.testing import CliRunner
from PIL import Image

import zarrscope as zs
from hostile import HTML, deflate, elements, flipped, special, tree, write_tar
from test_schemas import problems, written
from zarrscope import cli
from zarrscope.demo import make_stimage
from zarrscope.demo.pictures import stamped_pixels
from zarrscope.demo.slides import CAST, META, cast
from zarrscope.demo.transcripts import stamped_counts
from zarrscope.errors import DecodeError, QueryError, RecipeError, UsageError
from zarrscope.loaders.table import Table
from zarrscope.planning import from_json, to_json
from zarrscope.storage import Blob, Storage

SPOTS, GENES, SIDE = 24, 15, 340  # Visium HD: twice the spots, and a picture large enough for two levels
SLIDES = {slide.name: slide for slide in CAST}
PATHS = {name: f"{slide.technology}/{name.replace('+', '_')}" for name, slide in SLIDES.items()}
every_slide = pytest.mark.parametrize("slide", SLIDES.values(), ids=[slide.form for slide in CAST])


@pytest.fixture(scope="module")
def memory():
    """A folder in memory where there is one: a slide is a hundred files, each of them synced."""
    there = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=there if os.access(there, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture
def here(memory):
    """A folder of this test alone."""
    return Path(tempfile.mkdtemp(dir=memory))


@pytest.fixture(scope="module")
def source(memory):
    """Seven slides, one of each form; counts and pixels say where they stand. Tests must not change it."""
    return make_stimage(memory / "seven", slides=7, spots=SPOTS, genes=GENES, side=SIDE, stamp=True)


@pytest.fixture(scope="module")
def store(source):
    """The same as a store. Tests must not change it."""
    zs.convert(source, source.parent / "s.zarr")
    return source.parent / "s.zarr"


PLACES = {"image": "{}/image/{}.png", "coord": "{}/coord/{}_coord.csv", "counts": "{}/gene_exp/{}_count.csv"}


def file_of(source, slide, role):
    return source / PLACES.get(role, "annotation/{1}_anno.csv").format(slide.technology, slide.name)


def rows_of(path, delimiter=","):
    """Read a table as Python's own reader does."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter=delimiter))


def catalogue(store):
    """Read the table of slides as a DataFrame by the names of slides."""
    table = Table(Storage(str(store)), "slides")
    return table.frame(["index", *table.names])


def counts_of(store, path):
    return anndata.read_zarr(store / path / "counts")


def adds_up(counts):
    return counts.members == counts.converted + counts.ignored + counts.quarantined + counts.left_out


# --- what arrives ---------------------------------------------------------------------------------------------------


@every_slide
def test_pixels(source, store, slide):
    """Lossless pictures arrive exactly, a JPEG as Pillow decodes it; grey stays grey and alpha goes."""
    pixels = zarr.open_array(store / PATHS[slide.name] / "image" / "0", mode="r")[:]
    shape = round(SIDE * slide.larger[0]), round(1.25 * round(SIDE * slide.larger[0]))
    if slide.form == "jpeg":
        with Image.open(file_of(source, slide, "image")) as picture:
            expected = np.asarray(picture)
    else:
        expected = stamped_pixels(shape, 1 if slide.form == "gray png" else 3)
    expected = expected[..., None] if expected.ndim == 2 else expected
    np.testing.assert_array_equal(pixels, np.moveaxis(expected, -1, 0))
    row = catalogue(store).loc[slide.name]
    assert (row.channels, row.height, row.width, row.image_dtype) == (*pixels.shape, "uint8")
    assert row.image_kind == next(kind for kind in ("jpeg", "tiff", "png") if kind in slide.form.replace("big", ""))
    assert row.levels == (2 if max(shape) >= 512 else 1)


@every_slide
def test_counts(source, store, slide):
    """Each number stands at its spot and its gene, in both orders; a symbol that comes twice has two columns."""
    header, *rows = rows_of(file_of(source, slide, "counts"))
    table = counts_of(store, PATHS[slide.name])
    expected = np.array([list(map(float, row[1:])) for row in rows])
    np.testing.assert_array_equal(expected, stamped_counts(np.arange(len(rows)), len(header) - 1))
    np.testing.assert_array_equal(table.X.toarray(), expected)
    assert table.X.dtype == np.int32
    by_gene = anndata.io.read_elem(zarr.open_group(store / PATHS[slide.name] / "by_gene", mode="r"))
    assert by_gene.format == "csc"
    np.testing.assert_array_equal(by_gene.toarray(), expected)
    assert table.obs_names.tolist() == [row[0] for row in rows]
    assert table.var.symbol.tolist() == header[1:]
    assert table.var_names.is_unique
    assert len(set(header[1:])) == len(header) - 3
    assert table.var_names.tolist() == anndata.utils.make_index_unique(pd.Index(header[1:])).tolist()
    np.testing.assert_array_equal(table.obs.total_counts, expected.sum(axis=1))
    np.testing.assert_array_equal(table.var.n_cells_by_counts, (expected > 0).sum(axis=0))
    row = catalogue(store).loc[slide.name]
    assert (row.n_spots, row.n_genes, row.nnz) == (*expected.shape, np.count_nonzero(expected))
    assert row.total_counts == expected.sum()


@every_slide
def test_places(source, store, slide):
    """``spatial`` is x, then y, in pixels; the array's row and column are those that the names of spots tell."""
    _, *rows = rows_of(file_of(source, slide, "coord"))
    table, row = counts_of(store, PATHS[slide.name]), catalogue(store).loc[slide.name]
    np.testing.assert_array_equal(table.obsm["spatial"], [[float(x), float(y)] for _, y, x, _ in rows])
    np.testing.assert_array_equal(table.obs.radius, [float(radius) for *_, radius in rows])
    assert row.radius == float(rows[0][3])
    assert table.obs.in_coord.all()
    assert (row.n_spots_without_coord, row.n_spots_without_counts, row.n_spots_outside) == (0, 0, 0)
    short = [name.removeprefix(f"{slide.name}_") for name, *_ in rows]
    assert table.obs.spot.tolist() == short
    if slide.technology == "Visium":
        assert "array_row" not in table.obs
    else:
        pairs = [name.split("x")[::-1] if "x" in name else name.removesuffix("-1").split("_")[2:] for name in short]
        found = table.obs[["array_row", "array_col"]].to_numpy()
        np.testing.assert_array_equal(found, np.array(pairs, float))
        assert found.dtype == (np.float64 if slide.measured else np.int64)


@every_slide
def test_labels(source, store, slide):
    """An annotation is joined by the names of spots; what the study calls missing is missing."""
    table, path = counts_of(store, PATHS[slide.name]), source / "annotation" / f"{slide.name}_anno.csv"
    assert path.exists() == bool(slide.separator) == ("label" in table.obs)
    if slide.separator:
        of = {name: label for name, label in rows_of(path, slide.separator)[1:] if label not in ("", slide.missing)}
        assert [None if pd.isna(label) else label for label in table.obs.label] == [
            of.get(name) for name in table.obs_names
        ]
        assert catalogue(store).n_labels[slide.name] == len(of)


@every_slide
def test_micrometres_only_where_the_technology_fixes_them(source, store, slide):
    """ST: the radius is 50 micrometres. Visium HD: bins lie side by side. Visium: unknown, and no guess."""
    row = catalogue(store).loc[slide.name]
    coords = np.array([list(map(float, one[1:3])) for one in rows_of(file_of(source, slide, "coord"))[1:]])
    if slide.technology == "ST":
        assert row.micrometres_per_pixel == 50 / row.radius
    elif slide.technology == "VisiumHD":
        apart = np.hypot(*(coords[1:] - coords[:-1]).T).min()
        assert row.micrometres_per_pixel == pytest.approx(8 / apart, rel=1e-3)
    else:
        assert np.isnan(row.micrometres_per_pixel)
    assert row.micrometres_how.startswith("unknown" if slide.technology == "Visium" else "derived")
    axes = json.loads((store / row.path / "image" / "zarr.json").read_bytes())["attributes"]["ome"]["multiscales"][0][
        "axes"
    ]
    assert not [axis for axis in axes if "unit" in axis]


@every_slide
def test_what_scanpy_asks_for(store, slide):
    """``uns["spatial"]`` has small pictures, how much smaller they are, and the diameter of a spot."""
    row = catalogue(store).loc[slide.name]
    ((name, held),) = counts_of(store, row.path).uns["spatial"].items()
    assert name == slide.name
    factors = held["scalefactors"]
    assert factors["spot_diameter_fullres"] == 2 * row.radius
    for size, most in (("hires", 2000), ("lowres", 600)):
        shape = held["images"][size].shape
        assert shape[2] == 3
        assert max(shape) <= most
        assert factors[f"tissue_{size}_scalef"] == pytest.approx(shape[0] / row.height, rel=0.01)


def test_the_catalogue_says_what_the_table_of_slides_says(source, store):
    """Abstracts with newlines and quotes, numbers as numbers, gaps as gaps, and the text of each reference."""
    frame = catalogue(store)
    with (source / "meta" / META).open(encoding="utf-8", newline="") as file:
        rows = {row["slide"]: row for row in csv.DictReader(file)}
    assert set(frame.index) == set(SLIDES) == set(rows) - {"Human_Lung_10X_03292024_VisiumHD", "GSE175540_GSM5924035"}
    assert frame.spot_num.dtype == frame.gene_num.dtype == np.int64
    assert frame.involve_cancer.dtype == bool
    references = (source / "meta" / "bib.txt").read_text()
    for name, row in frame.iterrows():
        meta = rows[name]
        for column in ("species", "tissue", "pmid", "title", "abstract", "keywords"):
            assert (None if pd.isna(row[column]) else row[column]) == (meta[column] or None)
        assert row.technology == meta["tech"]
        assert (str(row.spot_num), str(row.gene_num), str(row.involve_cancer)) == (
            meta["spot_num"],
            meta["gene_num"],
            meta["involve_cancer"],
        )
        cited = [] if pd.isna(row.citation) else row.citation.split("\n@")
        numbers = [number for number in meta["pmid"].split(",") if number]
        assert len(cited) == len(numbers)
        assert all(f"pmid = {{{number}}}" in text for number, text in zip(numbers, cited, strict=True))
        assert all(text.removeprefix("@") in references for text in cited)
    assert "\n" in frame.abstract[CAST[0].name]
    assert frame.ok.all()
    assert frame.reason.isna().all()


def test_the_index_of_genes(source, store):
    """Each symbol is found in each panel at each of its columns, and in as many slides as have it."""
    genes, slides = anndata.read_zarr(store / "genes"), catalogue(store)
    headers = {name: rows_of(file_of(source, slide, "counts"))[0][1:] for name, slide in SLIDES.items()}
    panels = genes.uns["panels"].tolist()
    assert sorted(set(slides.panel)) == panels
    assert genes.obs_names.tolist() == sorted({symbol for header in headers.values() for symbol in header})
    held = {slides.panel[name]: header for name, header in headers.items()}
    for symbol, start, columns, found in genes.obs.itertuples():
        told = [(panels[genes.uns["panel"][at]], genes.uns["column"][at]) for at in range(start, start + columns)]
        assert told == [(key, at) for key in panels for at, one in enumerate(held[key]) if one == symbol]
        assert found == sum(symbol in header for header in headers.values())


def test_record_and_plan_keep_to_their_schemas(source, store, here):
    """So does the plan that is read back, and the members add up: all but README and the figure are converted."""
    record = zs.open(store).record
    assert problems("record", written(store)) == []
    assert adds_up(record.counts)
    assert (record.counts.members, record.counts.ignored, record.counts.quarantined) == (27, 2, 0)
    planned = zs.plan(source, here / "never.zarr")
    assert problems("plan", json.loads(to_json(planned))) == []
    assert from_json(to_json(planned)) == planned
    kinds = {one.path: (one.kind, one.role, one.name, one.holds) for one in record.elements}
    held = ("by_gene", "counts", "image")
    assert kinds == {path: ("sample", "slide", name, held) for name, path in PATHS.items()} | {
        "slides": ("table", "slides", "", ()),
        "genes": ("table", "genes", "", ()),
        "manifest": ("table", "manifest", "", ()),
    }
    assert [(one.name, one.length, one.rows, one.images) for one in record.samples] == [("slides", 7, "slides", ())]


def test_every_object_is_listed_with_its_digest(store):
    """The manifest has each object but its own, the root's document and those of the technologies."""
    table = Table(Storage(str(store)), "manifest")
    listed = table.frame(["index", "size", "sha256", "sample"])
    there = {path.relative_to(store).as_posix(): path for path in store.rglob("*") if path.is_file()}
    rest = {key for key in there if not key.startswith("manifest/")} - {"zarr.json"}
    assert set(listed.index) == rest - {f"{name}/zarr.json" for name in ("ST", "Visium", "VisiumHD")}
    for key, size, digest, sample in listed.itertuples():
        data = there[key].read_bytes()
        assert (size, digest) == (len(data), hashlib.sha256(data).hexdigest())
        assert (None if pd.isna(sample) else PATHS[sample]) == (
            None if key[0].islower() else key.rsplit("/")[0] + "/" + key.split("/")[1]
        )


# --- what can't be taken --------------------------------------------------------------------------------------------


class Damage(NamedTuple):
    """What happens to one file of one slide, and what is said of each member that is lost by it.

    ``number`` is the slide's; ``change`` gives other bytes, None for no file.
    """

    number: int
    role: str
    change: Callable[[bytes], bytes | None]
    lost: Mapping[str, str] = MappingProxyType({})


def cut(data):
    return data[:-300]


def no_file(_):
    return None


def bomb(data):
    """Declare 100,000 times 100,000 pixels in the header of a PNG, rightly summed."""
    header = data[12:16] + struct.pack(">II", 100_000, 100_000) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


def rewritten(change):
    """Change the cells of a table."""

    def apply(data):
        rows = list(csv.reader(io.StringIO(data.decode())))
        file = io.StringIO()
        csv.writer(file, lineterminator="\n").writerows(change(rows))
        return file.getvalue().encode()

    return apply


def cell(row, column, text):
    def change(rows):
        rows[row][column] = text
        return rows

    return rewritten(change)


ALONE = "there are no counts whose spots it could tell of"
GONE = {"coord": ALONE}
DAMAGES = {
    "a JPEG, cut": Damage(0, "image", cut, {"image": "the file is cut"}),
    "a tiled TIFF, cut": Damage(1, "image", cut, {"image": "expected"}),
    "a BigTIFF, cut": Damage(2, "image", cut, {"image": "expected"}),
    "a PNG with alpha, cut": Damage(3, "image", cut, {"image": "expected"}),
    "a TIFF of planes, cut": Damage(4, "image", cut, {"image": "expected"}),
    "a grey PNG with a bit flipped": Damage(5, "image", flipped, {"image": "expected"}),
    "a PNG, cut": Damage(6, "image", cut, {"image": "expected"}),
    "a web page for a picture": Damage(8, "image", lambda _: HTML, {"image": "start with b'<!DOCTYPE html>"}),
    "no bytes for a picture": Damage(9, "image", lambda _: b"", {"image": "found 0 bytes"}),
    "a picture that declares too much": Damage(10, "image", bomb, {"image": "100,000 x 100,000"}),
    "another kind of picture": Damage(11, "image", lambda _: b"GIF89a" + bytes(99), {"image": "PNG, JPEG or TIFF"}),
    "counts, cut in a row": Damage(12, "counts", cut, {"counts": "expected 12 numbers", **GONE}),
    "a ragged row": Damage(13, "counts", cell(4, 5, "1,2"), {"counts": "row 5 (spot", **GONE}),
    "NaN among counts": Damage(15, "counts", cell(3, 2, "NaN"), {"counts": "'NaN'", **GONE}),
    "genes by spots": Damage(
        16, "counts", rewritten(lambda rows: zip(*rows, strict=True)), {"counts": "Transpose the file", **GONE}
    ),
    "a spot twice": Damage(
        18, "counts", rewritten(lambda rows: [*rows, rows[2]]), {"counts": "expected each name once", **GONE}
    ),
    "a web page for counts": Damage(19, "counts", lambda _: HTML, {"counts": "b'<!DOCTYPE html>", **GONE}),
    "no bytes for counts": Damage(20, "counts", lambda _: b"", {"counts": "an empty file", **GONE}),
    "a count below zero": Damage(22, "counts", cell(3, 4, "-1.0"), {"counts": "expected a count, found -1", **GONE}),
    "a cell that is empty": Damage(23, "counts", cell(6, 1, ""), {"counts": "row 7 (spot", **GONE}),
    "places without a column": Damage(25, "coord", cell(0, 2, "x"), {"coord": "'xaxis'"}),
    "a place that is no number": Damage(26, "coord", cell(5, 1, "nan"), {"coord": "row 5, column 'yaxis'"}),
    "two places of one spot": Damage(
        27, "coord", rewritten(lambda rows: [*rows, rows[1]]), {"coord": "expected each spot once"}
    ),
    "a web page for places": Damage(29, "coord", lambda _: HTML, {"coord": "expected"}),
    "an annotation without labels": Damage(
        24, "annotation", rewritten(lambda rows: [row[:1] for row in rows]), {"annotation": "expected"}
    ),
    "no picture": Damage(30, "image", no_file),
    "no places": Damage(32, "coord", no_file),
    "no counts": Damage(31, "counts", no_file, {"coord": ALONE, "annotation": ALONE}),
    "a link for a picture": Damage(33, "image", lambda _: b"link", {"image": "links are not followed"}),
}
every_damage = pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
NUMBERED = list(cast(37))
LOST, BARE = NUMBERED[34], NUMBERED[36]  # of one all files are broken, of the other only the places are left
SMALL = {"slides": 37, "spots": 12, "genes": 12, "side": 70, "stamp": True}


@pytest.fixture(scope="module")
def sound(memory):
    """Many small slides as a store, for comparison."""
    zs.convert(make_stimage(memory / "sound", **SMALL), memory / "sound" / "s.zarr")
    return memory / "sound" / "s.zarr"


@pytest.fixture(scope="module")
def broken(memory):
    """The same slides, most with one file that is damaged in one way or another."""
    root = make_stimage(memory / "broken", **SMALL)
    for damage in DAMAGES.values():
        path = file_of(root, NUMBERED[damage.number], damage.role)
        data = damage.change(path.read_bytes())
        path.unlink()
        if data == b"link":
            path.symlink_to(file_of(root, NUMBERED[0], "image"))
        elif data is not None:
            path.write_bytes(data)
    for role in ("image", "counts", "coord"):
        file_of(root, LOST, role).write_bytes(HTML)
    for role in ("image", "counts"):
        file_of(root, BARE, role).unlink()
    (root / "annotation" / "Nobody_anno.csv").write_text(",V2\na,b\n")
    return root


@pytest.fixture(scope="module")
def spared(broken):
    """The store of the damaged slides."""
    zs.convert(broken, broken.parent / "s.zarr")
    return broken.parent / "s.zarr"


def lost_members(broken):
    """Give each member that should be quarantined, with a part of the reason."""
    lost = {
        file_of(broken, NUMBERED[damage.number], role): reason
        for damage in DAMAGES.values()
        for role, reason in damage.lost.items()
    }
    lost |= {file_of(broken, LOST, role): "" for role in ("image", "counts", "coord")}
    lost |= {file_of(broken, BARE, "coord"): ALONE}
    lost |= {broken / "annotation" / "Nobody_anno.csv": "there is no slide of this name"}
    return {path.relative_to(broken).as_posix(): reason for path, reason in lost.items()}


def test_each_lost_member_is_named_with_its_reason(broken, spared):
    """These and no others; the counts add up to the files that are there."""
    record, expected = zs.open(spared).record, lost_members(broken)
    told = {one.where: one for one in record.conversions[0].findings}
    named = {where.removeprefix("STimage-1K4M!/"): one for where, one in told.items() if "!/" in where}
    assert {name: one.message for name, one in named.items() if expected.get(name, "\0") not in one.message} == {}
    assert set(named) == set(expected)
    assert record.counts.quarantined == len(expected)
    assert record.counts.members == sum(not path.is_dir() for path in broken.rglob("*"))
    assert adds_up(record.counts)
    assert problems("record", written(spared)) == []


@every_damage
def test_the_rest_of_the_slide_is_converted(sound, spared, damage):
    """What is sound is as if nothing were broken; of what is broken no object is left, and the catalogue says why."""
    slide = NUMBERED[damage.number]
    row, was = catalogue(spared).loc[slide.name], catalogue(sound).loc[slide.name]
    image_ok, counts_ok = (damage.role != role for role in ("image", "counts"))
    assert (row.ok, row.image_ok, row.counts_ok) == (True, image_ok, counts_ok)
    parts = {*(["image"] if image_ok else []), *(["counts", "by_gene"] if counts_ok else [])}
    assert {path.name for path in (spared / row.path).iterdir()} == {*parts, "zarr.json"}
    assert set(zs.open(spared).record.element(row.path).holds) == parts
    for part in parts - {"counts"}:
        assert tree(spared, f"{row.path}/{part}") == tree(sound, f"{row.path}/{part}")
    for role, reason in damage.lost.items():
        assert f"{role}: " in row.reason
        assert reason in row.reason
    if not damage.lost:
        assert row.reason == f"there is no {damage.role} file"
    for column in ("n_spots", "nnz", "counts_values") if counts_ok else ():
        assert row[column] == was[column]
    for column in () if counts_ok else ("n_spots", "nnz", "panel", "total_counts"):
        assert pd.isna(row[column])
    for column in () if image_ok else ("height", "levels", "image_kind", "on_tissue"):
        assert pd.isna(row[column])
    if damage.role == "coord":
        table = counts_of(spared, row.path)
        assert np.isnan(table.obsm["spatial"]).all()
        assert not table.obs.in_coord.any()
        assert np.isnan(row.radius)
        assert row.n_spots_without_coord == len(table)
    if damage.role == "annotation":
        assert "label" not in counts_of(spared, row.path).obs
    for column in ("tissue", "species", "spot_num"):
        assert row[column] == was[column]


def test_a_slide_of_which_nothing_is_left_keeps_its_row(spared):
    """It has no groups and no element, and what the table of slides says of it stays."""
    frame, record = catalogue(spared), zs.open(spared).record
    for slide in (LOST, BARE):
        row = frame.loc[slide.name]
        assert (row.ok, row.image_ok, row.counts_ok) == (False, False, False)
        assert pd.isna(row.path)
        assert row.tissue == slide.tissue
        assert row.reason
        assert record.element(slide.name) is None
        assert not (spared / slide.technology / slide.name).exists()
    assert frame.ok.sum() == len(frame) - 2 == record.samples[0].length - 2
    assert "there is no image file; there is no counts file; coord: " in frame.reason[BARE.name]


def test_all_slides_stand_as_they_would_alone(sound, spared):
    """Sound slides among broken ones have the very bytes that they have without these; no slide is out of place."""
    harmed = {NUMBERED[damage.number].name for damage in DAMAGES.values()} | {LOST.name, BARE.name}
    whole = [slide for slide in NUMBERED if slide.name not in harmed]
    assert len(whole) > 3
    for slide in whole:
        path = f"{slide.technology}/{slide.name}"
        assert tree(spared, path) == tree(sound, path)


def test_a_store_with_losses_is_proven_all_the_same(broken, spared):
    """What is quarantined can't be decoded now either, and all the rest is what the files say."""
    report = zs.verify(spared, sources=broken, read_data=True)
    assert report.rows == 37


@every_damage
def test_strict_stops_at_the_member(broken, damage, here):
    """With ``strict`` the first member that can't be taken ends the conversion, and is named."""
    slide = NUMBERED[damage.number]
    if damage.lost:
        where = re.escape(f"!/{file_of(broken, slide, next(iter(damage.lost))).relative_to(broken).as_posix()}: ")
        with pytest.raises(DecodeError, match=where):
            zs.convert(broken, here / "s.zarr", where=f"index == '{slide.name}'", strict=True)
        return
    zs.convert(broken, here / "s.zarr", where=f"index == '{slide.name}'", strict=damage.role != "counts")


def test_a_strict_conversion_goes_on_without(broken, spared, here):
    """What ``strict`` stopped is resumed without it to the very tree that it would have been."""
    with pytest.raises(DecodeError):
        zs.convert(broken, here / "s.zarr", strict=True)
    zs.convert(broken, here / "s.zarr")
    assert tree(here / "s.zarr") == tree(spared)


def test_the_command_line_says_that_members_were_quarantined(broken, here):
    """Exit code 4, with the numbers."""
    result = CliRunner().invoke(cli.main, ["convert", str(broken), str(here / "s.zarr"), "--limit", "9"])
    assert result.exit_code == 4
    assert "quarantined" in result.stderr


# --- the table of slides, and files that do not fit -----------------------------------------------------------------


@pytest.fixture(scope="module")
def four(memory):
    """Four small slides: an ST, a Visium, a Visium HD and a Visium slide. Tests change copies of it."""
    return make_stimage(memory / "four", slides=4, spots=10, genes=10, side=64, stamp=True)


@pytest.fixture
def tree_of_four(four, here):
    return shutil.copytree(four, here / "STimage-1K4M")


@pytest.fixture
def converted(here, tree_of_four):
    """Convert the tree as it then is; the counts add up to its files, and the record keeps to its schema."""

    def convert(**options):
        record = zs.convert(tree_of_four, here / "s.zarr", overwrite=True, **options)
        assert adds_up(record.counts)
        assert record.counts.members == sum(
            not path.is_dir() and not any(part.startswith(".") for part in path.relative_to(tree_of_four).parts)
            for path in tree_of_four.rglob("*")
        )
        assert problems("record", written(here / "s.zarr")) == []
        return record, catalogue(here / "s.zarr")

    return convert


def findings(record):
    return [one.message for one in record.conversions[0].findings]


FOUR = [slide.name for slide in CAST[:4]]
FIRST = CAST[0]


BROKEN_TABLES = {
    "a web page": (lambda _: HTML, "expected a column 'slide'"),
    "no bytes": (lambda _: b"", "expected"),
    "a quote that does not end": (lambda data: data[:-9], "expected"),
    "a row of fewer cells": (lambda data: data.replace(b'"human",', b"", 1), "expected 11 fields"),
    "not UTF-8": (lambda data: data.replace(b"breast", b"br\xffast"), "UTF-8"),
    "a slide twice": (lambda data: data + data.splitlines()[-1] + b"\n", "once in column 'slide'"),
    "a number that is none": (lambda data: data.replace(b'"10"', b'"ten"', 1), "'ten'"),
}


@pytest.mark.parametrize(("change", "reason"), BROKEN_TABLES.values(), ids=BROKEN_TABLES)
def test_a_broken_table_of_slides_is_refused_by_name(change, reason, tree_of_four, here):
    """What is known of every slide would be lost silently: nothing is written."""
    path = tree_of_four / "meta" / META
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DecodeError, match=rf"STimage-1K4M!/meta/{META}: .*{reason}"):
        zs.convert(tree_of_four, here / "s.zarr")
    assert not (here / "s.zarr").exists()


def test_a_table_of_slides_that_is_a_link_is_refused(tree_of_four, here):
    path = tree_of_four / "meta" / META
    path.rename(here / "elsewhere.csv")
    path.symlink_to(here / "elsewhere.csv")
    with pytest.raises(DecodeError, match=rf"!/meta/{META}: a link, and links are not followed"):
        zs.convert(tree_of_four, here / "s.zarr")


def test_without_a_table_of_slides_nothing_is_known_of_them(tree_of_four, converted):
    shutil.rmtree(tree_of_four / "meta")
    record, frame = converted()
    assert "there is no meta/meta_all_gene*.csv: nothing is known of slides" in findings(record)
    assert not {"tissue", "spot_num"} & set(frame)
    assert frame.ok.all()


def test_the_newest_table_is_used(tree_of_four, converted):
    """Older tables are left aside by rule and counted; the oldest one, of other columns, even unread."""
    (tree_of_four / "meta" / "meta_all_gene.csv").write_text("slide,tissue\nnobody,none\n")
    (tree_of_four / "meta" / "meta_all.csv").write_bytes(HTML)
    record, frame = converted()
    assert record.counts.ignored == 4
    assert f"of 2 tables of slides {META} is used" in findings(record)
    assert frame.tissue.notna().all()


def test_an_old_table_is_separated_by_tabs(tree_of_four, converted):
    """It has no numbers of spots and genes."""
    path = tree_of_four / "meta" / META
    lines = [f'slide\ttissue\ttech\tabstract\n{FOUR[0]}\tbreast\tST\t"two\nlines"\n']
    path.write_text("".join(lines))
    record, frame = converted()
    assert frame.tissue.dropna().to_dict() == {FOUR[0]: "breast"}
    assert frame.abstract[FOUR[0]] == "two\nlines"
    assert [f"the slide {name} is not in the table of slides" in findings(record) for name in FOUR] == [False] + [
        True
    ] * 3


def test_where_files_and_the_table_differ(tree_of_four, converted):
    """Slides of the table without files are counted, slides in another technology are named."""
    path = tree_of_four / "meta" / META
    path.write_text(path.read_text().replace(f'"{FIRST.technology}"', '"Visium"'))
    record, frame = converted()
    assert "2 of 6 slides of the table have no files here" in findings(record)
    assert f"the slide {FIRST.name} lies in ST, the table says Visium" in findings(record)
    assert frame.technology[FIRST.name] == "ST"


def test_columns_of_the_table_keep_to_their_place(tree_of_four, converted):
    """A column's name is data: it leads nowhere, and overwrites nothing that is known otherwise."""
    names = ["slide", "../../up", "path", "ok", "technology", "citation", "index", "", "reason", "height", "a b"]
    rows = [[name, *(f"{column} of {name}" for column in names[1:])] for name in FOUR]
    with (tree_of_four / "meta" / META).open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    before = set(tree_of_four.parent.rglob("*"))
    _, frame = converted()
    assert {path.parts[len(tree_of_four.parent.parts)] for path in set(tree_of_four.parent.rglob("*")) - before} == {
        "s.zarr"
    }
    assert frame.ok.all()
    assert frame.path[FOUR[0]] == f"ST/{FOUR[0]}"
    assert frame.technology[FOUR[0]] == "ST"
    assert frame.citation.isna().all()
    for column, name in {
        "______up": "../../up",
        "field_path": "path",
        "field_ok": "ok",
        "field_technology": "technology",
        "field_citation": "citation",
        "field_index": "index",
        "field_reason": "reason",
        "height": "height",
        "a_b": "a b",
    }.items():
        assert frame[column].tolist() == [f"{name} of {slide}" for slide in frame.index]
    assert frame.field_height.tolist() == [64, 64, 64, 102]


REFERENCES = {
    "none": (None, 0, 0),
    "not references": (HTML, 0, 0),
    "not UTF-8": (b"@article{34650042, title={caf\xe9}}", 1, 0),
    "a link": ("link", 0, 1),
}


@pytest.mark.parametrize(("data", "cited", "lost"), REFERENCES.values(), ids=REFERENCES)
def test_references_that_are_missing_cost_citations_only(data, cited, lost, tree_of_four, converted):
    path = tree_of_four / "meta" / "bib.txt"
    path.unlink()
    if data == "link":
        path.symlink_to(tree_of_four / "README.md")
    elif data is not None:
        path.write_bytes(data)
    record, frame = converted()
    assert frame.citation.notna().sum() == cited
    assert record.counts.quarantined == lost
    assert any("links are not followed" in message for message in findings(record)) == bool(lost)


def test_spots_that_one_file_lacks_are_counted_and_not_made_up(tree_of_four, converted, here):
    """Two spots without a place have NaN, one place without counts has no row; a label without counts is counted."""
    slide = CAST[3]
    path = file_of(tree_of_four, slide, "coord")
    lines = path.read_text().splitlines(keepends=True)
    extra = lines[1].replace(lines[1].split(",")[0], f"{slide.name}_elsewhere-1")
    path.write_text("".join([*lines[:3], *lines[5:][::-1], extra]))
    with file_of(tree_of_four, slide, "annotation").open("a") as file:
        file.write(f"{slide.name}_elsewhere-1,medulla\n")
    _, frame = converted()
    row, table = frame.loc[slide.name], counts_of(here / "s.zarr", f"Visium/{slide.name}")
    assert (row.n_spots, row.n_spots_without_coord, row.n_spots_without_counts) == (10, 2, 1)
    assert row.n_labels_without_counts == 1
    assert table.uns["spots_without_counts"].tolist() == [f"{slide.name}_elsewhere-1"]
    places = {name: (float(x), float(y)) for name, y, x, _ in rows_of(path)[1:]}
    for name, place, placed in zip(table.obs_names, table.obsm["spatial"], table.obs.in_coord, strict=True):
        assert placed == (name in places)
        np.testing.assert_array_equal(place, places.get(name, (np.nan, np.nan)))
    assert (~table.obs.in_coord).sum() == np.isnan(table.obs.radius).sum() == 2
    assert "medulla" not in set(table.obs.label.dropna())


def test_copies_are_ignored_and_other_files_of_a_slide_are_named(tree_of_four, converted):
    """Of two files in one place the first counts: an equal one is a copy, a different one is quarantined."""
    again = tree_of_four / "again"
    for role, change in (("image", None), ("coord", None), ("counts", b"\n")):
        path = again / file_of(tree_of_four, FIRST, role).relative_to(tree_of_four)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file_of(tree_of_four, FIRST, role).read_bytes() + (change or b""))
    packed = file_of(tree_of_four, CAST[1], "counts")
    (packed.parent / f"{packed.name}.gz").write_bytes(gzip.compress(packed.read_bytes()))
    record, _ = converted()
    quarantined = [one for one in record.conversions[0].findings if one.kind == "duplicate"]
    assert sorted(one.where.removeprefix("STimage-1K4M!/") for one in quarantined) == [
        f"Visium/gene_exp/{packed.name}.gz",
        f"again/ST/gene_exp/{FIRST.name}_count.csv",
    ]
    assert record.counts.ignored == 2 + 2
    packed.unlink()
    record, frame = converted()
    assert frame.counts_ok.all()
    assert record.counts.quarantined == 1


def test_a_name_belongs_to_one_technology(tree_of_four, converted):
    """The name of a slide is that of a row: files of that name in another technology are quarantined."""
    slide = CAST[1]
    other = tree_of_four / "VisiumHD" / "image" / f"{slide.name}.png"
    shutil.copy(file_of(tree_of_four, slide, "image"), other)
    record, frame = converted()
    assert "Visium has a slide of this name already" in findings(record)
    assert record.counts.quarantined == 1
    assert frame.technology[slide.name] == "Visium"
    assert len(frame) == 4


NAMES = {
    "Greek": ("β-catenin µ", "ST/beta-catenin__"),
    "spaces and signs": ("a b+c(1)#%", "ST/a_b_c_1___-2"),
    "looks the same": ("a_b+c(1)#%", "ST/a_b_c_1___-3"),
    "upper case": ("A b+c(1)#%", "ST/A_b_c_1___"),
    "Japanese": ("組織", "ST/__"),
    "dots": ("x..", "ST/x.."),
    "long": ("n" * 200, f"ST/{'n' * 200}"),
}


def test_names_of_slides_are_kept_and_their_groups_are_safe(tree_of_four, converted, here):
    """Any name is found by itself; no two groups are the same on any file system."""
    names = [name for name, _ in NAMES.values()]
    table = tree_of_four / "meta" / META
    for name in names:
        for role in ("image", "coord", "counts"):
            data = file_of(tree_of_four, FIRST, role).read_bytes()
            path = tree_of_four / PLACES[role].format("ST", name)
            path.write_bytes(data if role == "image" else data.replace(FIRST.name.encode(), name.encode()))
    with table.open("a", newline="", encoding="utf-8") as file:
        blank = [""] * 6
        csv.writer(file).writerows([name, "human", f"tissue of {name}", *blank[:5], "ST", 10, 10] for name in names)
    record, frame = converted()
    assert record.counts.quarantined == 0
    assert [frame.tissue[name] for name in names] == [f"tissue of {name}" for name in names]
    paths = frame.path[names].tolist()
    assert len({path.casefold() for path in paths}) == len(names)
    assert all(re.fullmatch(r"ST/[A-Za-z0-9._-]+", path) for path in paths)
    for name, path in zip(names, paths, strict=True):
        assert record.element(name).path == path
        assert counts_of(here / "s.zarr", path).obs_names[0].startswith(f"{name}_")
        (held,) = counts_of(here / "s.zarr", path).uns["spatial"]
        assert held == name
    assert dict(zip(names, paths, strict=True)) == dict(NAMES.values())


# --- other sources --------------------------------------------------------------------------------------------------


def packed_as(kind, tree, folder):
    """Pack a tree into an archive, its files in the order of their names."""
    files = sorted(path for path in tree.rglob("*") if path.is_file())
    if kind == "tar":
        path = folder / "slides.tar"
        with tarfile.open(path, "w") as file:
            for one in files:
                file.add(one, f"./{tree.name}/{one.relative_to(tree)}")
        return path
    path = folder / "slides.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if kind == "deflated zip" else zipfile.ZIP_STORED) as file:
        for one in files:
            file.write(one, f"a/b/{tree.name}/{one.relative_to(tree)}")
    return path


@pytest.fixture(scope="module")
def stored(four):
    """The store of the four slides as a folder gives it."""
    zs.convert(four, four.parent / "s.zarr")
    return four.parent / "s.zarr"


@pytest.mark.parametrize("kind", ["tar", "stored zip", "deflated zip"])
def test_archives_give_what_the_folder_gives(kind, four, stored, here):
    """Slides are read inside the archive, in whatever folder they lie there: every object is the same."""
    record = zs.convert(packed_as(kind, four, here), here / "s.zarr")
    assert elements(here / "s.zarr") == elements(stored)
    assert record.counts == zs.open(stored).record.counts
    assert [path.name for path in here.iterdir() if path.is_dir()] == ["s.zarr"]


def test_files_that_come_along_are_ignored(tree_of_four, stored, here):
    """What Hugging Face, git and macOS put beside the data is no slide, wherever it lies and whatever it is called."""
    for name in (
        *(".gitattributes", ".cache/huggingface/download/ST/image/a.png", ".cache/huggingface/.gitignore"),
        *("ST/image/._a.png", "__MACOSX/ST/image/._b.png", "__MACOSX/ST/image/c.png", "ST/coord/.d_coord.csv"),
        *("metadata.json", "docs/docs/index.md", "aux/f2.png", "LICENSE", "ST/README.md", "meta/meta_all.csv"),
        *("annotation/._e_anno.csv", "meta/._bib.txt", "Visium/gene_exp/.~f_count.csv"),
    ):
        (tree_of_four / name).parent.mkdir(parents=True, exist_ok=True)
        (tree_of_four / name).write_bytes(b"beside the data")
    for kind in ("folder", "tar", "stored zip"):
        given = tree_of_four if kind == "folder" else packed_as(kind, tree_of_four, here)
        record = zs.convert(given, here / "s.zarr", overwrite=True)
        assert record.counts.quarantined == 0
        assert record.counts.converted == 16
        assert adds_up(record.counts)
        assert elements(here / "s.zarr") == elements(stored)


@pytest.mark.parametrize("kind", ["stored zip", "deflated zip"])
@pytest.mark.parametrize("role", ["image", "counts"])
def test_a_bit_that_flipped_in_a_zip_is_seen(kind, role, four, here):
    """Its CRC-32 quarantines the member, though the picture or the counts might be decoded."""
    slide = CAST[2]  # pixels without compression, counts as text: nothing else would notice
    archive = packed_as(kind, four, here)
    data = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as file:
        (entry,) = [
            one for one in file.infolist() if one.filename.endswith(PLACES[role].format("VisiumHD", slide.name))
        ]
    middle = entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2
    while role == "counts" and kind == "stored zip" and not data[middle : middle + 1].isdigit():
        middle += 1
    data[middle] ^= 1
    archive.write_bytes(data)
    record = zs.convert(archive, here / "s.zarr")
    row = catalogue(here / "s.zarr").loc[slide.name]
    assert (row.image_ok, row.counts_ok) == (role != "image", role != "counts")
    assert re.search("CRC-32|deflated data", row.reason)
    assert record.counts.quarantined == (1 if role == "image" else 2)
    assert adds_up(record.counts)


def test_links_in_a_tar_are_not_followed(four, here):
    """A link is no file, even to a file of the same tar; neither is a device."""
    members = [(f"{four.name}/{one.relative_to(four)}", one.read_bytes()) for one in four.rglob("*") if one.is_file()]
    paths = {
        f"{four.name}/{file_of(four, CAST[at], role).relative_to(four)}": at
        for at, role in ((0, "image"), (1, "coord"))
    }
    kinds = [
        special(name, kind, members[0][0])
        for name, kind in zip(paths, (tarfile.SYMTYPE, tarfile.FIFOTYPE), strict=True)
    ]
    archive = write_tar(
        here / "slides.tar",
        [*((name, data) for name, data in members if name not in paths), *((kind, b"") for kind in kinds)],
    )
    record, frame = zs.convert(archive, here / "s.zarr"), catalogue(here / "s.zarr")
    assert record.counts.quarantined == 2
    assert adds_up(record.counts)
    assert "image: a symbolic link" in frame.reason[CAST[0].name]
    assert "coord: " in frame.reason[CAST[1].name]
    assert frame.counts_ok.all()


def test_a_tar_that_can_only_be_read_in_order_is_refused(four, here):
    """Slides are read at any place; a deflated tar has to be unpacked first."""
    with pytest.raises(RecipeError, match="none of the members tried can be decoded"):
        zs.convert(deflate(packed_as("tar", four, here), here / "slides.zip"), here / "s.zarr")
    assert not (here / "s.zarr").exists()


def test_a_tree_of_web_pages_is_refused(tree_of_four, here):
    for path in tree_of_four.rglob("*.*"):
        if path.is_file():
            path.write_bytes(HTML)
    with pytest.raises(RecipeError, match="names fit stimage, but none of the members tried can be decoded"):
        zs.convert(tree_of_four, here / "s.zarr")
    assert not (here / "s.zarr").exists()


def test_a_tree_without_slides_is_refused(tree_of_four, here):
    for name in ("ST", "Visium", "VisiumHD"):
        shutil.rmtree(tree_of_four / name)
    with pytest.raises(RecipeError, match="no slide: expected ST, Visium or VisiumHD"):
        zs.convert(tree_of_four, here / "s.zarr", recipe="stimage")


def test_parts_of_slides_may_lie_in_several_folders(stored, tree_of_four, here):
    """Counts here, pictures there: a slide is put together from all sources, and tables of both are read."""
    counts = here / "counts"
    for name in ("ST", "Visium", "VisiumHD"):
        (counts / name).mkdir(parents=True)
        (tree_of_four / name / "gene_exp").rename(counts / name / "gene_exp")
    shutil.copytree(tree_of_four / "meta", counts / "meta")
    record = zs.convert([counts, tree_of_four], here / "s.zarr")
    assert adds_up(record.counts)
    assert record.counts.converted == 16 + 2
    assert elements(here / "s.zarr") == elements(stored)


# --- a choice of slides ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def thirty(memory):
    """Thirty small slides, each with the rest of what makes a tree."""
    return make_stimage(memory / "thirty", slides=30, spots=10, genes=10, side=64, stamp=True)


def meta_of(source):
    with (source / "meta" / META).open(encoding="utf-8", newline="") as file:
        rows = {row["slide"]: row for row in csv.DictReader(file)}
    return {name: row for name, row in rows.items() if list(source.glob(f"*/image/{name}.png"))}


CHOICES = {
    "texts": (
        {"where": "tissue == 'brain' and species == 'human'"},
        lambda row: (row["tissue"], row["species"]) == ("brain", "human"),
    ),
    "a truth": ({"where": "involve_cancer"}, lambda row: row["involve_cancer"] == "True"),
    "no truth": (
        {"where": "not involve_cancer and technology != 'ST'"},
        lambda row: row["involve_cancer"] == "False" and row["tech"] != "ST",
    ),
    "a truth compared": ({"where": "involve_cancer == False"}, lambda row: row["involve_cancer"] == "False"),
    "numbers": (
        {"where": "10 < spot_num <= 20 or gene_num < 10"},
        lambda row: 10 < int(row["spot_num"]) <= 20 or int(row["gene_num"]) < 10,
    ),
    "some of many": ({"where": "tissue in ('heart', 'skin')"}, lambda row: row["tissue"] in ("heart", "skin")),
    "what is missing differs": ({"where": "pmid != '34650042'"}, lambda row: row["pmid"] != "34650042"),
    "a name": ({"where": f"index == '{FOUR[1]}'"}, lambda row: row["slide"] == FOUR[1]),
}


@pytest.mark.parametrize(("choice", "holds"), CHOICES.values(), ids=CHOICES)
def test_an_expression_over_the_table_of_slides(choice, holds, thirty, here):
    """Texts, numbers, truths and names choose the slides that they choose in the table; the rest is counted."""
    planned = zs.plan(thirty, here / "s.zarr", **choice)
    assert {sample.name for sample in planned.samples} == {name for name, row in meta_of(thirty).items() if holds(row)}
    left = sum(len(sample.pieces) for sample in planned.samples)
    assert planned.counts.left_out == planned.counts.members - planned.counts.ignored - left - 2
    assert not list(here.iterdir())


def test_a_few_slides_are_read_and_no_others(thirty, here, monkeypatch):
    """Of thirty slides three are converted: their files and those in meta/ are read, one is looked at, and no other."""
    reads, read = {}, Blob.read

    def spying(blob, offset, length):
        data = read(blob, offset, length)
        key = Path(blob.url.removeprefix("file://"))
        reads[key] = reads.get(key, 0) + len(data)
        return data

    monkeypatch.setattr(Blob, "read", spying)
    record = zs.convert(thirty, here / "s.zarr", where="tissue == 'brain' and species == 'human'", limit=3)
    frame = catalogue(here / "s.zarr")
    assert frame.tissue.tolist() == ["brain"] * 3
    wanted = {path for name in frame.index for path in thirty.rglob(f"{name}*")} | set((thirty / "meta").iterdir())
    mine = {path: size for path, size in reads.items() if path.is_relative_to(thirty)}
    looked = set(mine) - wanted
    assert set(mine) >= wanted
    assert len(looked) <= 1  # what tells that this is the dataset
    assert record.counts.converted == len(wanted)
    assert record.counts.left_out == record.counts.members - record.counts.ignored - len(wanted)
    assert adds_up(record.counts)
    assert {path.name for path in here.glob("s.zarr/*/*") if path.parent.name in ("ST", "Visium", "VisiumHD")} == {
        *frame.index,
        "zarr.json",
    }


WRONG = {
    "no such column": ("tisue == 'brain'", r"no column 'tisue'; there are .*species.* Did you mean 'tissue'"),
    "no such value": ("tissue == 'brian'", r"no row has tissue == 'brian'.*Did you mean 'brain'"),
    "a number for a text": ("tissue == 3", "holds text"),
    "none left": ("spot_num > 1000", "no sample is left"),
}


@pytest.mark.parametrize(("where", "message"), WRONG.values(), ids=WRONG)
def test_a_mistake_in_an_expression_says_what_there_is(where, message, thirty, here):
    with pytest.raises(QueryError, match=message):
        zs.convert(thirty, here / "s.zarr", where=where)
    assert not (here / "s.zarr").exists()


# --- what it will cost, and what it may ------------------------------------------------------------------------------


def test_a_plan_comes_close_and_writes_nothing(source, store, here):
    """The estimate is within a factor of two; the slides, tasks and counts of the plan are those of the store."""
    before = {path: path.stat().st_mtime_ns for path in source.rglob("*")}
    planned = zs.plan(source, here / "s.zarr", workers=2)
    assert {path: path.stat().st_mtime_ns for path in source.rglob("*")} == before
    assert not list(here.iterdir())
    record = zs.open(store).record
    assert (
        [task.image for task in planned.tasks]
        == [sample.path for sample in planned.samples]
        == list(catalogue(store).path)
    )
    written_bytes = sum(path.stat().st_size for path in store.glob("*/*/**/*") if path.is_file())
    assert written_bytes / 2 < planned.estimate.bytes_stored < 2 * written_bytes
    assert planned.estimate.bytes_read == sum(path.stat().st_size for path in source.glob("*/*/*")) + sum(
        path.stat().st_size for path in source.glob("annotation/*")
    )
    assert planned.estimate.sampled == 3
    assert planned.estimate.seconds > 0
    assert planned.counts.members == record.counts.members


def test_memory_below_the_least_is_refused(source, here, monkeypatch):
    """The message gives the least figure, and with it the conversion goes."""
    monkeypatch.setattr("zarrscope.engine.run.resident", lambda: 200 << 20)
    with pytest.raises(UsageError, match=r"--memory 100MB does not hold one task: at least \d+MB are needed") as error:
        zs.convert(source, here / "s.zarr", memory=100_000_000)
    assert not (here / "s.zarr").exists()
    least = int(re.search(r"least (\d+)MB", str(error.value))[1])
    zs.convert(source, here / "s.zarr", memory=least * 10**6, limit=1)


def large_jpeg(side):
    """Give a gray JPEG of so many pixels a side, in little memory: one block of 8 x 8, said to be repeated."""
    file = io.BytesIO()
    Image.new("L", (side, side)).save(file, "JPEG", quality=1, progressive=True)
    return file.getvalue()


def test_a_picture_that_memory_does_not_hold_costs_the_picture_alone(tree_of_four, here, monkeypatch):
    """It is quarantined with the figures, whatever the workers, and the counts of the slide still convert."""
    monkeypatch.setattr("zarrscope.engine.run.resident", lambda: 200 << 20)  # and not what other tests left behind
    file_of(tree_of_four, FIRST, "image").write_bytes(large_jpeg(12_000))
    stores = []
    for workers in (1, 4):
        record = zs.convert(tree_of_four, here / str(workers), memory=1_000_000_000, workers=workers)
        stores.append(tree(here / str(workers)))
        row = catalogue(here / str(workers)).loc[FIRST.name]
        assert (row.image_ok, row.counts_ok) == (False, True)
        assert re.search(
            r"decodes in [\d,]+ bytes of memory, found 12,000 x 12,000 pixels that need [\d,]+", row.reason
        )
        assert record.counts.quarantined == 1
    assert stores[0] == stores[1]
