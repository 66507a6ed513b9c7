"""The tree of ``make_stimage`` has the names, forms and traps of the published one, and reads back as it was made."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import tifffile
from PIL import Image

from zarrscope.demo import make_stimage
from zarrscope.demo.pictures import stamped_pixels
from zarrscope.demo.slides import META, cast
from zarrscope.demo.tissue import cover, grow, layers
from zarrscope.demo.transcripts import panel, stamped_counts
from zarrscope.errors import UsageError
from zarrscope.readers.slides import (
    alignment,
    micrometres_per_pixel,
    read_annotation,
    read_bib,
    read_coords,
    read_meta,
    spot_grid,
    tissue_mask,
)

SIDE = 160
SLIDES = {slide.name: slide for slide in cast(7)}
EVERY = pytest.mark.parametrize("slide", SLIDES.values(), ids=SLIDES)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return make_stimage(tmp_path_factory.mktemp("drawn"), slides=7, spots=60, genes=40, side=SIDE)


@pytest.fixture(scope="module")
def stamped(tmp_path_factory):
    return make_stimage(tmp_path_factory.mktemp("stamped"), slides=7, spots=60, genes=40, side=SIDE, stamp=True)


def coords_of(root, slide):
    return read_coords((root / slide.technology / "coord" / f"{slide.name}_coord.csv").read_bytes())


def counts_of(root, slide):
    """Read a table of counts as text: names of genes, names of spots, cells ``(spots, genes)``."""
    lines = (root / slide.technology / "gene_exp" / f"{slide.name}_count.csv").read_text().splitlines()
    header, *rows = (line.split(",") for line in lines)
    assert header[0] == ""
    return header[1:], [row[0] for row in rows], np.array([row[1:] for row in rows])


def picture_of(root, slide):
    """Decode a picture by what it is: ``(y, x, samples)`` or ``(y, x)``."""
    data = (root / slide.technology / "image" / f"{slide.name}.png").read_bytes()
    if "tiff" not in slide.form:
        return np.asarray(Image.open(io.BytesIO(data)))
    pixels = tifffile.imread(io.BytesIO(data))
    return np.moveaxis(pixels, 0, -1) if slide.form.startswith("channel-first") else pixels


def tree(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_files(drawn):
    """Three files a slide, in the folder of its technology, and nothing else than is published."""
    expected = {f"meta/{META}", "meta/bib.txt", "aux/f1.png", "README.md"}
    for name, slide in SLIDES.items():
        expected |= {f"{slide.technology}/image/{name}.png", f"{slide.technology}/coord/{name}_coord.csv"}
        expected |= {f"{slide.technology}/gene_exp/{name}_count.csv"}
        if slide.separator:
            expected.add(f"annotation/{name}_anno.csv")
    assert set(tree(drawn)) == expected
    assert drawn.name == "STimage-1K4M"


def test_the_first_four_show_each_technology(tmp_path):
    """The default is small, and covers the technologies, integers and floats, and both annotations."""
    root = make_stimage(tmp_path)
    assert {path.name for path in root.iterdir()} > {"ST", "Visium", "VisiumHD", "annotation"}
    assert len(list((root / "annotation").iterdir())) == 2
    assert len(list(root.glob("*/image/*.png"))) == 4
    assert sum(map(len, tree(root).values())) < 15e6


FORMS = {  # what is at the start of the file, shape
    "jpeg": (b"\xff\xd8\xff", (SIDE, SIDE * 5 // 4, 3)),
    "tiled tiff": (b"II*\0", (SIDE, SIDE * 5 // 4, 3)),
    "bigtiff": (b"II+\0", (SIDE * 8 // 5, SIDE * 2, 3)),
    "rgba png": (b"\x89PNG", (SIDE, SIDE * 5 // 4, 4)),
    "channel-first tiff": (b"II*\0", (SIDE, SIDE * 5 // 4, 3)),
    "gray png": (b"\x89PNG", (SIDE, SIDE * 5 // 4)),
    "rgb png": (b"\x89PNG", (SIDE, SIDE * 5 // 4, 3)),
}


@EVERY
def test_pictures(slide, drawn, stamped):
    """Whatever the name says; stamped pixels say where they stand, in a JPEG to within a few levels."""
    magic, shape = FORMS[slide.form]
    for root in (drawn, stamped):
        assert (root / slide.technology / "image" / f"{slide.name}.png").read_bytes().startswith(magic)
        pixels = picture_of(root, slide)
        assert (pixels.shape, pixels.dtype) == (shape, np.uint8)
    expected = stamped_pixels(shape[:2], 1 if slide.form == "gray png" else 3)
    found = pixels[..., :3] if pixels.ndim == 3 else pixels
    away = np.abs(found.astype(int) - expected)
    assert away.max() <= (12 if slide.form == "jpeg" else 0)
    assert away.mean() < 1.5
    assert shape[-1] != 4 or (pixels[..., 3] == 255).all()


def test_forms_of_tiff(drawn):
    """One is tiled and deflated, one is a BigTIFF in strips, one has its channels first; a JPEG has its orientation."""
    pages = {}
    for slide in SLIDES.values():
        path = drawn / slide.technology / "image" / f"{slide.name}.png"
        if "tiff" in slide.form:
            with tifffile.TiffFile(path) as file:
                page = file.pages[0]
                pages[slide.form] = (
                    page.is_tiled,
                    file.is_bigtiff,
                    page.shape[0],
                    int(page.compression),
                    len(file.pages),
                )
        elif slide.form == "jpeg":
            with Image.open(path) as picture:
                assert picture.getexif()[0x0112] == 1
    assert pages == {
        "tiled tiff": (True, False, SIDE, 8, 1),
        "bigtiff": (False, True, SIDE * 8 // 5, 1, 1),
        "channel-first tiff": (False, False, 3, 1, 1),
    }


def test_stamps_differ_by_axis():
    """A stamped picture is neither its own flip nor its transpose, and no channel is another."""
    pixels = stamped_pixels((300, 300), 3)
    for other in (pixels[::-1], pixels[:, ::-1], pixels.swapaxes(0, 1), pixels[..., ::-1]):
        assert (pixels != other).mean() > 0.5
    assert (stamped_pixels((300, 300), 1) != stamped_pixels((300, 300), 1).T).mean() > 0.5


@EVERY
def test_spots(slide, drawn):
    """Spots start with their slide, are as many in the table of slides, in the same order in the counts, each once."""
    coords = coords_of(drawn, slide)
    _, names, _ = counts_of(drawn, slide)
    assert coords.names.tolist() == names
    assert len(coords) == 60 * slide.larger[1]
    assert coords.radius_constant is not None
    assert coords.notes == ()
    grid = spot_grid(coords.names, slide.name)
    assert grid.foreign == 0
    assert grid.form == {"ST": "array", "Visium": "barcode", "VisiumHD": "bin"}[slide.technology]
    if slide.technology == "ST":
        assert (grid.array_col.dtype.kind == "f") == slide.measured
        assert grid.array_col.min() > 1


@EVERY
def test_spots_lie_on_the_tissue(slide, drawn):
    """The picture and the places belong together, and tissue lies so that each swap and flip is found out."""
    coords, picture = coords_of(drawn, slide), picture_of(drawn, slide)
    found = alignment(coords.x, coords.y, tissue_mask(picture), picture.shape[:2])
    assert found.best == "as given"
    assert found.score > 0.9
    assert found.outside == 0
    assert max(share for reading, share in found.shares.items() if reading != "as given") < 0.85


@pytest.mark.parametrize("technology", ["ST", "Visium", "VisiumHD"])
@pytest.mark.parametrize("count", [10, 60, 399])
def test_arrays(technology, count):
    """A square array, or a honeycomb whose rows are shifted by half a pitch; as many spots as asked for, inside."""
    tissue = grow(np.random.default_rng(5), (300, 400))
    spots = cover(np.random.default_rng(6), tissue, technology, count)
    assert len(spots) == count
    assert (tissue.depth(spots.y, spots.x) > -0.05).all()
    assert len(set(zip(spots.row.tolist(), spots.col.tolist(), strict=True))) == count
    apart = np.hypot(spots.y[:, None] - spots.y, spots.x[:, None] - spots.x) + 1e9 * np.eye(count)
    np.testing.assert_allclose(apart.min(axis=1), spots.pitch, rtol=0.08)
    if technology == "Visium":
        assert not ((spots.row + spots.col) % 2).any()
        assert 5.5 < (apart < 1.1 * spots.pitch).sum(axis=1).max() < 6.5


@EVERY
def test_pixel_size_can_be_derived(slide, drawn):
    """As the technology allows: 200 micrometres from spot to spot for ST, 8 from bin to bin for Visium HD."""
    coords = coords_of(drawn, slide)
    value, how = micrometres_per_pixel(slide.technology, coords, spot_grid(coords.names, slide.name))
    if slide.technology == "Visium":
        assert value is None
    else:
        radius = 50 if slide.technology == "ST" else 4
        assert value == pytest.approx(radius / coords.radius_constant, rel=1e-5)
        assert how.startswith("derived")


@EVERY
def test_counts(slide, drawn):
    """Integers in one study, floats in all others; symbols stand twice, one is called X.1, some genes are empty."""
    genes, _, cells = counts_of(drawn, slide)
    assert all(text.isdigit() if slide.whole else text.endswith(".0") for text in cells.ravel())
    values = cells.astype(float)
    assert Counter(genes)[genes[0]] == Counter(genes)[genes[1]] == 2
    assert f"{genes[0]}.1" in genes
    empty = (values.sum(axis=0) == 0).mean()
    assert 0.1 < empty < 0.5
    assert (values == 0).mean() > 0.4
    assert values.max() > 3


def test_panels_differ(drawn):
    """In length and in content, and between species also in spelling; some genes are in all panels of one species."""
    panels = {name: counts_of(drawn, slide)[0] for name, slide in SLIDES.items()}
    assert len({len(genes) for genes in panels.values()}) > 2
    human = [set(panels[name]) for name, slide in SLIDES.items() if slide.species == "human"]
    mouse = [set(panels[name]) for name, slide in SLIDES.items() if slide.species == "mouse"]
    assert len(set(map(frozenset, human))) == len(human)
    assert len(set.intersection(*human)) >= 8
    assert not human[0] & mouse[0]


def test_genes_follow_the_layers(tmp_path):
    """A marker is many times more frequent in its own layer than in the others, and one gene is alike on two slides."""
    root = make_stimage(tmp_path, slides=7, spots=400, genes=40, side=SIDE)
    for slide in SLIDES.values():
        genes, _, cells = counts_of(root, slide)
        coords = coords_of(root, slide)
        height = round(SIDE * slide.larger[0])
        rng = np.random.default_rng([0, *slide.name.encode()])
        layer = layers(grow(rng, (height, round(1.25 * height))).depth(coords.y, coords.x))
        means = np.stack([cells.astype(float)[layer == at].mean(axis=0) for at in range(5)])
        place = [gene.upper() for gene in genes].index("COL1A1")  # the third gene: a marker of the second layer
        assert means[:, place].argmax() == 1
        assert means[1, place] > 5 * np.delete(means[:, place], 1).max()


@EVERY
def test_stamped_counts(slide, stamped):
    """Each cell says which spot and which gene it is of."""
    genes, names, cells = counts_of(stamped, slide)
    np.testing.assert_array_equal(cells.astype(float), stamped_counts(np.arange(len(names)), len(genes)))


def test_stamped_counts_show_swaps():
    """No row or column is like its neighbour, none is empty, and spots and genes do not change places unseen."""
    counts = stamped_counts(np.arange(200), 200)
    assert (counts != counts.T)[~np.eye(200, dtype=bool)].mean() > 0.3
    assert len({row.tobytes() for row in counts}) == len({column.tobytes() for column in counts.T.copy()}) == 200
    assert (counts.sum(axis=0) > 0).all()
    assert (counts.sum(axis=1) > 0).all()


def test_annotations(drawn):
    """Two slides have one, separated by tabs and by commas; each spells what means nothing in its own way."""
    found = {}
    for slide in SLIDES.values():
        if slide.separator:
            data = (drawn / "annotation" / f"{slide.name}_anno.csv").read_bytes()
            names, labels = read_annotation(data)
            assert names.tolist() == coords_of(drawn, slide).names.tolist()
            assert len(set(labels) - {None}) == 4
            texts = [line.split(slide.separator)[1] for line in data.decode().splitlines()[1:]]
            assert {text for text, label in zip(texts, labels, strict=True) if label is None} == {"", slide.missing}
            found[slide.separator] = slide.missing
    assert found == {"\t": "undetermined", ",": "Exclude"}


def test_meta(drawn):
    """Everything is quoted, abstracts have newlines and quotes, and two slides of the table have no files."""
    data = (drawn / "meta" / META).read_bytes()
    table = read_meta(data)
    assert all(line.startswith('"') for line in data.decode().splitlines() if line.startswith(tuple(SLIDES)))
    assert set(table["slide"]) > set(SLIDES)
    assert len(table["slide"]) == len(SLIDES) + 2
    rows = {row["slide"]: row for row in csv.DictReader(io.StringIO(data.decode(), newline=""))}
    for name, slide in SLIDES.items():
        genes, names, _ = counts_of(drawn, slide)
        assert (rows[name]["spot_num"], rows[name]["gene_num"]) == (str(len(names)), str(len(genes)))
        assert (rows[name]["tech"], rows[name]["pmid"]) == (slide.technology, slide.pmid)
    assert any("\n" in text and '"' in text for text in table["abstract"] if text)
    assert {None, "34650042", "32579974,38037084"} <= set(table["pmid"])
    assert {"ST", "Visium", "VisiumHD"} == set(table["tech"])


def test_references(drawn):
    """Each publication that a slide names has an entry."""
    found = read_bib((drawn / "meta" / "bib.txt").read_bytes())
    assert found.unparsed == ""
    assert set(found.by_pmid()) == {number for slide in SLIDES.values() for number in slide.pmid.split(",") if number}


def test_names_are_true_to_form():
    assert any("+" in name for name in SLIDES)
    assert any("." in name for name in SLIDES)
    assert any("VIsiumHD" in name for name in SLIDES)
    more = [slide.name for slide in cast(40)]
    assert len(set(more)) == 40
    assert more[:7] == list(SLIDES)


def test_same_seed_same_bytes(drawn, tmp_path):
    """Also in another process, where Python's own hash is salted differently."""
    script = (
        "import sys, pathlib; from zarrscope.demo import make_stimage; "
        f"make_stimage(pathlib.Path(sys.argv[1]), slides=7, spots=60, genes=40, side={SIDE})"
    )
    environment = os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, env=environment)
    assert tree(tmp_path / "STimage-1K4M") == tree(drawn)
    other = tree(make_stimage(tmp_path / "other", slides=7, spots=60, genes=40, side=SIDE, seed=1))
    assert other.keys() == tree(drawn).keys()
    assert all(other[name] != content for name, content in tree(drawn).items() if "gene_exp" in name)


def test_a_panel_of_few_genes():
    """The traps fit even into the smallest panel."""
    names, rates = panel(np.random.default_rng(0), 0, 10, mouse=False)
    assert len(names) == len(rates) == 10
    assert names[-3:] == [f"{names[0]}.1", names[0], names[1]]


@pytest.mark.parametrize("options", [{"slides": 0}, {"spots": 9}, {"genes": 9}, {"side": 63}], ids=str)
def test_refused(options, tmp_path):
    """A call that makes no sense says what it found, and writes nothing."""
    with pytest.raises(UsageError, match="{}={}".format(*next(iter(options.items())))):
        make_stimage(tmp_path, **options)
    assert not list(tmp_path.iterdir())
