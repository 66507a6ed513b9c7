"""Real slides keep every number: a Visium slide with symbols that stand twice, places of an ST slide, the whole table.

The files are published ones; see ``SOURCES.md`` beside them. Counts of the Visium slide were published by 10x Genomics'
software, genes by spots, and are written here as STimage-1K4M has them, dense and spots by genes.
"""

import csv
import gzip
import json
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import anndata
import numpy as np
import pandas as pd
import pytest
import zarr
from anndata.utils import make_index_unique
from PIL import Image
from scipy import sparse
from scipy.io import mmread

import zarrscope as zs

SAMPLES = Path(__file__).parents[2] / "shared" / "samples" / "stimage"
TENX = SAMPLES / "visium-cytassist"
VISIUM = "Mouse_Sample_10X_CytAssist_Visium"
ST = "Human_Breast_Andersson_10142021_ST_A1"
META = "meta_all_gene02122025.csv"
SYMBOLS = ["ERBB2", "TBCE", "RP11-34P13.7", "TBCE", "FO538757.1", "GAPDH"]  # of the ST slide, whose counts are made up

pytestmark = pytest.mark.skipif(not SAMPLES.exists(), reason="the shared samples are absent")


class Tenx(NamedTuple):
    """What was published of the Visium slide: counts ``(spots, genes)``, and x, y of each spot."""

    counts: sparse.csr_array
    symbols: list[str]
    spots: list[str]
    places: list[tuple[str, str]]
    radius: float


def lines(name):
    with gzip.open(TENX / name, "rt") as file:
        return [line.rstrip("\n").split("\t") for line in file]


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def tenx():
    """The Visium slide as published."""
    with gzip.open(TENX / "matrix.mtx.gz") as file:
        counts = sparse.csr_array(mmread(file, spmatrix=False).T)
    barcodes = [row[0] for row in lines("barcodes.tsv.gz")]
    held = {row["barcode"]: row for row in rows_of(TENX / "tissue_positions.csv")}
    return Tenx(
        counts=counts,
        symbols=[row[1] for row in lines("features.tsv.gz")],
        spots=[f"{VISIUM}_{barcode}" for barcode in barcodes],
        places=[(held[one]["pxl_col_in_fullres"], held[one]["pxl_row_in_fullres"]) for one in barcodes],
        radius=json.loads((TENX / "scalefactors_json.json").read_text())["spot_diameter_fullres"] / 2,
    )


def write_counts(path, spots, symbols, counts, form):
    """Write the dense table, each number in one form: ``{}`` or ``{}.0``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [form.format(number) for number in range(counts.max() + 1)]
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("," + ",".join(symbols) + "\n")
        for row, spot in enumerate(spots):
            file.write(f"{spot},{','.join(map(texts.__getitem__, counts[[row]].toarray()[0].tolist()))}\n")


def visium(root, tenx, form):
    """Write the Visium slide as STimage-1K4M has such slides; its JPEG is called ``.png``."""
    write_counts(root / "Visium" / "gene_exp" / f"{VISIUM}_count.csv", tenx.spots, tenx.symbols, tenx.counts, form)
    for folder in ("coord", "image"):
        (root / "Visium" / folder).mkdir()
    rows = [f"{spot},{y},{x},{tenx.radius}\n" for spot, (x, y) in zip(tenx.spots, tenx.places, strict=True)]
    (root / "Visium" / "coord" / f"{VISIUM}_coord.csv").write_text(",yaxis,xaxis,r\n" + "".join(rows))
    shutil.copyfile(TENX / "detected_tissue_image.jpg", root / "Visium" / "image" / f"{VISIUM}.png")


def made_up(spots):
    """Counts that say where they stand."""
    return sparse.csr_array(np.arange(spots * len(SYMBOLS)).reshape(spots, -1))


@pytest.fixture(scope="module")
def scratch():
    """A folder that goes with its tables, 340 MB of text."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def tree(tenx, scratch):
    """The Visium slide with counts as ``0.0``, the ST slide's places with counts in another order, and the table."""
    root = scratch / "STimage-1K4M"
    visium(root, tenx, "{}.0")
    (root / "ST" / "coord").mkdir(parents=True)
    shutil.copyfile(SAMPLES / f"{ST}_coord.csv", root / "ST" / "coord" / f"{ST}_coord.csv")
    spots = [row[""] for row in rows_of(SAMPLES / f"{ST}_coord.csv")][::-1]
    write_counts(root / "ST" / "gene_exp" / f"{ST}_count.csv", spots, SYMBOLS, made_up(len(spots)), "{}")
    (root / "meta").mkdir()
    shutil.copyfile(SAMPLES / META, root / "meta" / META)
    return root


@pytest.fixture(scope="module")
def store(tree, scratch):
    """The tree as a store. Tests must not change it."""
    zs.convert(tree, scratch / "s.zarr")
    return scratch / "s.zarr"


@pytest.fixture(scope="module")
def table(store):
    return anndata.read_zarr(store / "Visium" / VISIUM / "counts")


def same(found, expected):
    """Hold entries of two CSR matrices against each other; none of them is zero."""
    assert found.shape == expected.shape
    for part in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(found, part), getattr(expected, part))


def test_counts_as_the_published_matrix_market_file_has_them(tenx, store, table):
    """Each of 1,069,459 numbers stands at its spot and gene, in both orders."""
    assert table.shape == (2_898, 19_465)
    assert table.X.dtype == np.int32
    same(table.X, tenx.counts)
    by_gene = anndata.io.read_elem(zarr.open_group(store / "Visium" / VISIUM / "by_gene", mode="r"))
    assert by_gene.format == "csc"
    same(by_gene.tocsr(), tenx.counts)
    np.testing.assert_array_equal(table.obs.total_counts, tenx.counts.sum(axis=1))
    np.testing.assert_array_equal(table.var.n_cells_by_counts, (tenx.counts > 0).sum(axis=0))


def test_counts_as_pandas_reads_the_text(tree, table):
    """So do they in the dense table, which is what users of the dataset read."""
    frame = pd.read_csv(tree / "Visium" / "gene_exp" / f"{VISIUM}_count.csv", index_col=0, low_memory=False)
    assert table.obs_names.tolist() == frame.index.tolist()
    same(table.X, sparse.csr_array(frame.to_numpy()))


def test_whole_numbers_and_decimals_are_the_same_counts(tenx, store, scratch):
    """``0`` and ``0.0`` give the same objects, byte by byte."""
    root = scratch / "whole" / "STimage-1K4M"
    visium(root, tenx, "{}")
    zs.convert(root, scratch / "whole.zarr")
    for group in ("counts", "by_gene"):
        found, expected = (one / "Visium" / VISIUM / group for one in (scratch / "whole.zarr", store))
        objects = {path.relative_to(expected) for path in expected.rglob("*") if path.is_file()}
        assert {path.relative_to(found) for path in found.rglob("*") if path.is_file()} == objects
        assert not [one for one in objects if (found / one).read_bytes() != (expected / one).read_bytes()]


def test_symbols_that_stand_twice(tenx, table):
    """All are kept, in order; names are made unique as ``var_names_make_unique`` does."""
    assert table.var.symbol.tolist() == tenx.symbols
    assert len(set(tenx.symbols)) == len(tenx.symbols) - 11
    assert table.var_names.tolist() == make_index_unique(pd.Index(tenx.symbols)).tolist()


def test_each_column_of_such_a_symbol_is_a_column_of_its_gene(tenx, store):
    """``value`` is the first of the file, ``value_1`` the second; a slide that does not measure it has NaN."""
    opened = zs.open(store)
    twice = [symbol for symbol, count in Counter(tenx.symbols).items() if count == 2]
    assert len(twice) == 11
    for symbol in twice:
        found = opened.gene(symbol)
        columns = [number for number, one in enumerate(tenx.symbols) if one == symbol]
        assert list(found.columns) == ["slide", "spot", "x", "y", "value", "value_1"]
        here = found[found.slide == VISIUM]
        assert here.spot.tolist() == tenx.spots
        np.testing.assert_array_equal(here[["value", "value_1"]], tenx.counts[:, columns].toarray())
        np.testing.assert_array_equal(here[["x", "y"]], np.array(tenx.places, float))
        assert found[found.slide == ST].value.isna().sum() == 346
        summed = opened.gene(symbol, VISIUM, sum_duplicates=True)
        np.testing.assert_array_equal(summed.value, tenx.counts[:, columns].sum(axis=1))


def test_spots_lie_on_their_pixels(tenx, store, table):
    """``spatial`` is x, then y, as published; the picture is the published one, and the spots lie on its tissue."""
    np.testing.assert_array_equal(table.obsm["spatial"], np.array(tenx.places, float))
    np.testing.assert_array_equal(table.obs.radius, tenx.radius)
    pixels = zarr.open_array(store / "Visium" / VISIUM / "image" / "0", mode="r")[:]
    with Image.open(TENX / "detected_tissue_image.jpg") as picture:
        np.testing.assert_array_equal(pixels, np.moveaxis(np.asarray(picture), -1, 0))
    row = zs.open(store).slides.loc[VISIUM]
    assert not row.suspicious
    assert (row.orientation, row.n_spots_outside) == ("as given", 0)
    assert row.on_tissue > 0.9
    assert np.isnan(row.micrometres_per_pixel)
    assert row.micrometres_how.startswith("unknown")


def test_places_of_the_st_slide(store):
    """They are joined by name; the radius of 50 micrometres gives a pixel, and with it spots lie 200 of them apart."""
    published = rows_of(SAMPLES / f"{ST}_coord.csv")
    table, row = anndata.read_zarr(store / "ST" / ST / "counts"), zs.open(store).slides.loc[ST]
    assert table.obs_names.tolist() == [one[""] for one in published][::-1]
    places = np.array([[float(one["xaxis"]), float(one["yaxis"])] for one in published])[::-1]
    np.testing.assert_array_equal(table.obsm["spatial"], places)
    same(table.X, made_up(len(published)))
    assert table.var.symbol.tolist() == SYMBOLS
    assert (row.radius, row.micrometres_per_pixel) == (float(published[0]["r"]), 50 / float(published[0]["r"]))
    assert row.micrometres_how.startswith("derived")
    array = table.obs[["array_col", "array_row"]].to_numpy()
    at = {tuple(place): number for number, place in enumerate(array.tolist())}
    pairs = [(number, at[col + 1, row]) for (col, row), number in at.items() if (col + 1, row) in at]
    apart = np.hypot(*(places[[after for _, after in pairs]] - places[[before for before, _ in pairs]]).T)
    assert np.median(apart) * row.micrometres_per_pixel == pytest.approx(200, rel=0.05)


def test_all_of_the_table_of_slides_is_read(store):
    """It has 1,149 rows on 1,946 lines; those without files here are counted, and so is the slide it does not know."""
    rows = {row["slide"]: row for row in rows_of(SAMPLES / META)}
    assert (len(rows), (SAMPLES / META).read_bytes().count(b"\n")) == (1_149, 1_946)
    opened = zs.open(store)
    told = [one.message for one in opened.record.conversions[0].findings]
    assert "1,148 of 1,149 slides of the table have no files here" in told
    assert f"the slide {VISIUM} is not in the table of slides" in told
    assert f"the slide {ST} has no image file" in told
    row = opened.slides.loc[ST]
    for column in ("species", "tissue", "title", "abstract", "keywords"):
        assert (None if pd.isna(row[column]) else row[column]) == (rows[ST][column] or None)
    assert (row.spot_num, row.gene_num) == (int(rows[ST]["spot_num"]), int(rows[ST]["gene_num"]))
    assert opened.slides.ok.all()


def test_the_store_is_proven_against_its_files(store, tree):
    """Every count, place and pixel is decoded again from store and source, and compared."""
    report = zs.verify(store, sources=tree, read_data=True)
    assert report.rows == 2
    assert "every pixel and every count" in report.basis
    assert f"every member of {tree.name}" in report.basis
    assert report.notes == ()
