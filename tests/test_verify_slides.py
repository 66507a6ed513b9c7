"""Verify of slides: whatever is changed in a store, or in its source, is found and told with the slide's true name."""

import csv
import hashlib
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Picture

import zarrscope as zs
from hostile import copy, flipped, tree, write_tar
from zarrscope.demo import make_stimage
from zarrscope.errors import VerifyError
from zarrscope.proof.levels import check_levels
from zarrscope.proof.sparse import fingerprints
from zarrscope.record import PLAIN_GROUP, digest_lines, parse_root, root_document
from zarrscope.storage import Storage
from zarrscope.writers.codec import Codec
from zarrscope.writers.image import image_objects
from zarrscope.writers.pyramid import pyramid_image, write_pyramid
from zarrscope.writers.table import TableContent, table_objects

# By what they are: true name, and path in the store. The two of Visium have pictures of one shape.
ST, KIDNEY, GEO = (
    "Human_Breast_Andersson_10142021_ST_A1",
    "Mouse_Brain+Kidney_10X_02212023_Visium",
    "GSE175540_GSM5924045",
)
PATHS = {ST: f"ST/{ST}", GEO: f"Visium/{GEO}", KIDNEY: f"Visium/{KIDNEY.replace('+', '_')}"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three slides: pictures of two levels and several chunks, two annotations."""
    source = make_stimage(tmp_path_factory.mktemp("slides"), slides=4, side=540)
    shutil.rmtree(source / "VisiumHD")
    return source


@pytest.fixture(scope="module")
def right(made):
    """Their store. Tests change a copy."""
    store = made.parent / "s.zarr"
    zs.convert(made, store)
    return store


@pytest.fixture(scope="module")
def copied(right, tmp_path_factory):
    return copy(right, tmp_path_factory.mktemp("copy"))


@pytest.fixture
def store(right, copied):
    """The copy; what a test changed is mended after it, which takes less time than a copy of hundreds of objects."""
    yield copied
    there = files(copied)
    for key, known in files(right).items():
        if there.pop(key, None) != known:
            (copied / key).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(right / key, copied / key)
    for key in there:
        (copied / key).unlink()


def files(store):
    """Give size and time of change of every file."""
    return {
        path.relative_to(store).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in store.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def source(made, tmp_path):
    return shutil.copytree(made, tmp_path / made.name)


def problems(store, **options):
    """Give ``where: message`` of every problem, keys below the store or the folder that it lies in."""
    with pytest.raises(VerifyError) as error:
        zs.verify(store, **options)
    assert error.value.exit_code == 3
    assert all(str(problem) in str(error.value) for problem in error.value.problems)
    return [str(one).replace(f"{store}/", "").replace(f"{store.parent}/", "") for one in error.value.problems]


def found(fragment, told):
    """Tell whether one of some lines has a fragment; the lines are shown where none has."""
    assert any(fragment in line for line in told), "\n".join([f"not found: {fragment}", *told])
    return True


def array(store, key, **options):
    return zarr.open_array(store / key, mode="r+", **options)


def record_of(store):
    return parse_root((store / "zarr.json").read_bytes(), "")


def seal(store, *, keep=lambda _: True, more=()):
    """Make manifest and record fit whatever the store holds now, as a forger would."""
    record, sums = record_of(store), tree(store)
    owners = [one for one in record.elements if one.path != "manifest"]
    keys = [key for key in sums if any(key.startswith(f"{one.path}/") for one in owners) and keep(key)]
    keys += more
    content = TableContent(
        index=np.array(keys, np.dtypes.StringDType()),
        obs={
            "size": np.array([(store / key).stat().st_size if key in sums else 1 for key in keys]),
            "sha256": np.array([sums.get(key, "0" * 64) for key in keys], np.dtypes.StringDType()),
        },
    )
    shutil.rmtree(store / "manifest")
    for key, data in table_objects(content):
        path = store / "manifest" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    sums = {key: one for key, one in sums.items() if not key.startswith("manifest/")} | tree(store, "manifest")

    def digest(element):
        own = {
            key.removeprefix(f"{element.path}/"): one for key, one in sums.items() if key.startswith(f"{element.path}/")
        }
        return digest_lines((key, one) for key, one in own.items() if (element.kind, key) != ("sample", "zarr.json"))

    elements = tuple(replace(one, digest=digest(one)) for one in record.elements)
    write_record(store, replace(record, elements=elements))


def write_record(store, record):
    (store / "zarr.json").write_bytes(root_document(record))


def edit(path, change):
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))


# --- right stores ---------------------------------------------------------------------------------------------------


def test_the_report_says_against_what(right, made):
    """A right store is so at every depth, and against its source; the sentence names what was compared with."""
    told = []
    for options, basis in (
        ({"quick": True}, "their recorded sizes (quick: no content was read)."),
        ({}, "their recorded digests."),
        ({"read_data": True}, "their recorded digests, and every pixel and every count with theirs."),
        ({"sources": made}, f"their recorded digests, and with every member of {made.name}."),
    ):
        report = zs.verify(right, **options, say=told.append)
        assert (report.elements, report.rows, report.notes) == (6, 3, ())
        assert str(report).endswith(f"objects and 3 rows are right, compared with {basis}")
    decoded = [f"decoding {PATHS[name]}/{part}" for name in PATHS for part in ("image", "counts")]
    assert re.fullmatch(r"\d+ objects", told[0])
    assert told == [*told[:1] * 3, *decoded, "decoding genes", told[0], f"comparing {made.name}"]


def test_a_sealed_store_is_right(store):
    """The forger of the other tests makes a store that fits in all that is not forged; digests alone are fooled."""
    seal(store)
    zs.verify(store, read_data=True)
    change(store, f"{PATHS[KIDNEY]}/counts/X/data", 40, more)
    seal(store)
    zs.verify(store)


def test_the_manifest_lists_every_object(right):
    """What ``sha256sum -c`` takes are all objects but the record, the manifest and the groups of technologies."""
    listed = [line.split("  ")[1] for line in zs.manifest(right)]
    plain = {f"{technology}/zarr.json" for technology in ("ST", "Visium")}
    assert set(listed) == {key for key in tree(right) if not key.startswith("manifest/")} - {"zarr.json", *plain}
    assert all((right / PATHS[name] / "zarr.json").read_bytes() == PLAIN_GROUP for name in PATHS)
    assert f"{PATHS[KIDNEY]}/zarr.json" in listed


# --- objects --------------------------------------------------------------------------------------------------------

SHARDS = {
    "pixels": ("image/0/c/0/0/0", "rows 0 to 511 of level 0 can't be read: "),
    "pixels of a coarser level": ("image/1/c/0/0/0", "level 1: rows 0 to "),
    "counts": ("counts/X/data/c/0", "its values can't be checked: "),
    "column numbers": ("counts/X/indices/c/0", "its values can't be checked: "),
    "counts by gene": ("by_gene/data/c/0", "its values can't be checked: "),
    "places": ("counts/obsm/spatial/c/0/0", "it can't be read: "),
    "a small picture": (f"counts/uns/spatial/{KIDNEY}/images/lowres/c/0/0/0", "it can't be read: "),
}
HARMS = {
    "missing": (lambda path: path.unlink(), "the object is missing"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "it is torn"),
    "grown": (lambda path: path.write_bytes(path.read_bytes() + b"0"), "it is torn"),
    "flipped": (
        lambda path: path.write_bytes(flipped(path.read_bytes(), 300)),
        "its bytes differ from the recorded SHA-256",
    ),
}


DAMAGES = [(shard, harm) for shard in SHARDS for harm in HARMS if shard == "pixels" or harm in ("missing", "flipped")]


@pytest.mark.parametrize(("shard", "harm"), DAMAGES)
def test_a_damaged_object(store, shard, harm):
    """The object is named; what it holds is looked into, and told with the true name of the slide."""
    (key, message), (harm, told) = SHARDS[shard], HARMS[harm]
    where = f"{PATHS[KIDNEY]}/{key}"
    harm(store / where)
    lines = problems(store)
    assert found(f"{where}: ", [line for line in lines if told in line])
    assert told == HARMS["grown"][1] or found(f": {KIDNEY}: {message}", lines)
    assert all(PATHS[KIDNEY] in line for line in lines)
    if told == HARMS["flipped"][1]:
        zs.verify(store, quick=True)
    else:
        assert found(f"{where}: {told}" if "torn" not in told else f"{where}: expected ", problems(store, quick=True))


def test_a_changed_manifest(store):
    """The record has the digest of the manifest, as of all else."""
    path = next((store / "manifest/obs/size").rglob("c/*"))
    path.write_bytes(flipped(path.read_bytes(), 20))
    assert found("manifest: the manifest itself was changed", problems(store))
    shutil.rmtree(store / "manifest/obs/size")
    assert found("manifest: the manifest can't be read", problems(store, quick=True))


def test_a_record_without_a_manifest(store):
    record = record_of(store)
    write_record(store, replace(record, elements=tuple(one for one in record.elements if one.path != "manifest")))
    assert "manifest: the record lists no manifest" in problems(store)


def test_objects_that_the_manifest_leaves_out_or_makes_up(store):
    """A list that fits its own digest, but not those of the elements."""
    lost, made_up = f"{PATHS[ST]}/image/0/c/0/0/0", (f"{PATHS[GEO]}/image/9/c/0", "elsewhere/x")
    record = record_of(store)
    seal(store, keep=lambda key: key != lost, more=made_up)
    manifest = {one.path: one.digest for one in record_of(store).elements}["manifest"]
    forged = tuple(replace(one, digest=manifest) if one.path == "manifest" else one for one in record.elements)
    write_record(store, replace(record, elements=forged))
    lines = problems(store, quick=True)
    for path in (PATHS[ST], PATHS[GEO]):
        assert f"{path}: the digest in the record does not fit the manifest" in lines
    assert f"{made_up[0]}: the object is missing" in lines
    assert "elsewhere/x: the manifest lists it, but it is part of no element of the record" in lines
    assert not any(line.startswith(PATHS[KIDNEY]) for line in lines)


def test_a_stray_file_is_a_note(store):
    (store / PATHS[ST] / "image/0/c/7").mkdir()
    (store / PATHS[ST] / "image/0/c/7/x").write_text("mine")
    (store / "notes.txt").write_text("mine")
    assert zs.verify(store).notes == (
        f"{store}/{PATHS[ST]}/image/0/c/7/x is not part of the store",
        f"{store}/notes.txt is not part of the store",
    )


@pytest.mark.parametrize("key", ["Visium/zarr.json", f"{PATHS[ST]}/zarr.json"])
@pytest.mark.parametrize("harm", [lambda path: path.unlink(), lambda path: path.write_bytes(PLAIN_GROUP + b" ")])
def test_groups_on_the_way(store, key, harm):
    """The groups of technologies and slides hold nothing but what leads on."""
    harm(store / key)
    assert f"{key}: expected the document of a plain group" in problems(store, quick=True)


def test_every_object_is_covered(store, right):
    """Whatever object is lost, cut or has a bit flipped, it is told."""
    keys = [key for key in sorted(tree(store)) if key != "zarr.json"]
    for number, key in enumerate([*keys[:: len(keys) // 15], "genes/uns/panel/c/0", "genes/uns/panels/c/0"]):
        path, data = store / key, (right / key).read_bytes()
        harms = [path.unlink, lambda: path.write_bytes(data[: len(data) // 2]), lambda: path.write_bytes(flipped(data))]  # noqa: B023
        harms[number % 3]()
        assert problems(store), key
        path.write_bytes(data)
    zs.verify(store)


# --- documents, catalogue, record -----------------------------------------------------------------------------------


def multiscale(document):
    return document["attributes"]["ome"]["multiscales"][0]


def swap_axes(document):
    axes = multiscale(document)["axes"]
    axes[1], axes[2] = axes[2], axes[1]


def level(number, kind, vector):
    return lambda document: multiscale(document)["datasets"][number]["coordinateTransformations"][
        kind == "translation"
    ].update({kind: vector})


def declared(key, **changes):
    return lambda document: document["consolidated_metadata"]["metadata"][key].update(changes)


DOCUMENTS = {
    "swapped axes": ("image", swap_axes, "image/0: expected dimension_names ['c', 'x', 'y'], found ['c', 'y', 'x']"),
    "another version of OME-Zarr": (
        "image",
        lambda document: document["attributes"]["ome"].update(version="0.4"),
        "image: attributes.ome.version: ",
    ),
    "no image at all": (
        "image",
        lambda document: document["attributes"].clear(),
        "image: expected an OME-Zarr image, an AnnData or a sparse matrix, found none of these",
    ),
    "a level out of place": (
        "image",
        level(1, "translation", [0.0, 0.0, 0.0]),
        "image: level 1: expected the translation [0.0, 0.5, 0.5], found [0.0, 0.0, 0.0]",
    ),
    "pixels of another size": (
        "image",
        level(1, "scale", [1.0, 2.0, 3.0]),
        "image: level 1: expected the scale [1.0, 2.0, 2.0], found [1.0, 2.0, 3.0]",
    ),
    "a level of another shape": (
        "image",
        declared("1", shape=[3, 270, 300]),
        "image/1: expected the shape [3, 270, 338], that of level 0 halved 1 times, found [3, 270, 300]",
    ),
    "a copy that differs": (
        "image",
        declared("0", fill_value=7),
        "image/0: its document differs from the group's copy",
    ),
    "another encoding": (
        "counts",
        lambda document: document["attributes"].update({"encoding-version": "9"}),
        "counts: expected the encoding-version '0.1.0' of anndata, found '9'",
    ),
    "too few places": (
        "counts",
        declared("obsm/spatial", shape=[199, 2]),
        "counts/obsm/spatial: expected the shape (200, ...), found (199, 2)",
    ),
    "genes of another number": (
        "by_gene",
        lambda document: document["attributes"].update(shape=[200, 96]),
        "by_gene: expected the shape [200, 112] of counts/X, found [200, 96]",
    ),
    "no matrix by gene": (
        "by_gene",
        lambda document: document["attributes"].update({"encoding-type": "csr_matrix"}),
        "by_gene: expected a csc_matrix, found 'csr_matrix'",
    ),
    "values of another type": (
        "by_gene",
        declared("data", data_type="int64"),
        "by_gene: data ([4262], 'int64'), but ([4262], 'int32') in counts/X",
    ),
    "another number of levels": (
        "image",
        lambda document: multiscale(document)["datasets"].pop(),
        None,
    ),
}


@pytest.mark.parametrize(("part", "change", "message"), DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_an_edited_document(store, part, change, message):
    """Every group keeps to its format and to the others, whatever the digests say."""
    edit(store / PATHS[KIDNEY] / part / "zarr.json", change)
    seal(store)
    if message is not None:
        assert found(f"{PATHS[KIDNEY]}/{message}", problems(store, quick=True))


@pytest.mark.parametrize("part", ["image", "counts", "by_gene"])
def test_a_group_without_a_document(store, part):
    (store / PATHS[KIDNEY] / part / "zarr.json").unlink()
    lines = problems(store, quick=True)
    assert found(f"{PATHS[KIDNEY]}/{part}: ", [line for line in lines if "is missing" in line])


CELLS = {
    "a height": ("height", 541, f"{PATHS[KIDNEY]}: the catalogue says height 541, its groups 540"),
    "spots": ("n_spots", 7, f"{PATHS[KIDNEY]}: the catalogue says n_spots 7, its groups 200"),
    "a slide that failed": (
        "ok",
        False,
        f"{PATHS[KIDNEY]}: the catalogue says that nothing of {KIDNEY} could be converted, the record lists it",
    ),
    "a picture that failed": (
        "image_ok",
        False,
        f"{PATHS[KIDNEY]}: the catalogue says image_ok False of {KIDNEY}, the record True",
    ),
}


@pytest.mark.parametrize(("column", "value", "message"), CELLS.values(), ids=CELLS.keys())
def test_a_cell_of_the_catalogue(store, column, value, message):
    """The catalogue says of a slide what its groups say."""
    index = array(store, "slides/obs/_index")[...].tolist()
    array(store, f"slides/obs/{column}")[index.index(KIDNEY)] = value
    seal(store)
    assert problems(store, quick=True) == [message]


def test_a_row_of_another_name(store):
    """Rows of the catalogue and slides of the record find each other by their true names."""
    names = array(store, "slides/obs/_index")
    names[names[...].tolist().index(KIDNEY)] = "mine"
    seal(store)
    assert problems(store, quick=True) == [
        f"{PATHS[KIDNEY]}: the catalogue says that mine was converted, the record has no such sample",
        f"{PATHS[KIDNEY]}: no row of the catalogue is called '{KIDNEY}'",
    ]
    names[names[...].tolist().index("mine")] = GEO
    seal(store)
    assert "slides: 1 rows have the name of another" in problems(store, quick=True)


def test_a_slide_that_the_record_forgets(store):
    """A slide without an element is in the catalogue still, and so are its objects."""
    record = record_of(store)
    write_record(store, replace(record, elements=tuple(one for one in record.elements if one.name != KIDNEY)))
    lines = problems(store, quick=True)
    assert f"{PATHS[KIDNEY]}: the catalogue says that {KIDNEY} was converted, the record has no such sample" in lines
    assert found(f"{PATHS[KIDNEY]}/image/0/c/0/0/0: the manifest lists it, but it is part of no element", lines)


def test_a_catalogue_that_is_gone(store):
    shutil.rmtree(store / "slides")
    lines = problems(store)
    assert found("slides: it can't be read: ", lines)
    assert found("slides/zarr.json: the object is missing", lines)


GENES = {
    "a symbol of the index": (
        "genes/obs/_index",
        lambda values: np.where(values == "Mbp", "Mbq", values),
        f"genes: {KIDNEY}: column 3 is Mbp, in the index of genes Mbq",
    ),
    "a symbol of a slide": (
        f"{PATHS[GEO]}/counts/var/symbol",
        lambda values: np.where(values == "MBP", "MBQ", values),
        f"genes: {GEO}: column 3 is MBQ, in the index of genes MBP",
    ),
    "a column of the index": (
        "genes/uns/column",
        lambda values: np.roll(values, 1),
        f"genes: {KIDNEY}: expected each of 112 columns once in the index of genes, found ",
    ),
    "numbers of slides": (
        "genes/obs/n_slides",
        lambda values: values + 1,
        ": n_slides is 2, it stands in 1",
    ),
    "out of order": (
        "genes/obs/_index",
        lambda values: values[::-1],
        "genes: expected each symbol once, in the order of code points",
    ),
}


@pytest.mark.parametrize(("key", "change", "message"), GENES.values(), ids=GENES.keys())
def test_the_index_of_genes(store, key, change, message):
    """Each entry leads to a column that has the symbol."""
    held = array(store, key)
    held[...] = change(held[...])
    seal(store)
    assert found(message, problems(store, read_data=True))


# --- values ---------------------------------------------------------------------------------------------------------


def change(store, key, place, value):
    """Change one number of an array in a way that keeps every checksum of the format."""
    held = array(store, key)
    held[place] = value(held[place]) if callable(value) else value


def more(values):
    return values + 1


VALUES = {
    "a pixel": (
        ("image/0", (1, 5, 600), lambda value: value ^ 255),
        "image: {name}: the pixels of level 0 are not those that were written",
    ),
    "a mean": (
        ("image/1", (2, 269, 300), lambda value: value ^ 128),
        "image: {name}: level 1: 1 pixels are not the means of those of level 0, first ",
    ),
    "a count": (
        ("counts/X/data", 40, more),
        "counts/X: {name}: its values are not those that were written",
    ),
    "a count that both know": (
        ("counts/X/data", 40, more),
        "by_gene: {name}: another matrix than counts/X: 1 rows differ, first {spot}, and 1 columns, first ",
    ),
    "a count by gene": (
        ("by_gene/data", 40, more),
        "by_gene: {name}: another matrix than counts/X: 1 rows differ, first ",
    ),
    "a zero": (("counts/X/data", 40, 0), "counts/X: {name}: 1 entries hold zero"),
    "a column number": (
        ("counts/X/indices", 1, 0),
        "X: row 0: expected indices that increase up to 111, found 0 behind 0",
    ),
    "a column number beyond": (
        ("by_gene/indices", slice(-1, None), 200),
        "expected indices that increase up to 199, found 200 behind ",
    ),
    "a pointer": (("counts/X/indptr", 3, -1), "counts/X: its indptr does not cut 4,262 entries"),
    "a total": (
        ("counts/obs/total_counts", 7, more),
        "counts/obs: {name}: total_counts: 1 values are not those of the matrix, first of {name}_",
    ),
    "a number of genes": (
        ("counts/obs/n_genes_by_counts", 7, more),
        "counts/obs: {name}: n_genes_by_counts: 1 values are not those of the matrix, first of {name}_",
    ),
    "a total of a gene": (
        ("counts/var/total_counts", 2, more),
        "counts/var: {name}: total_counts: 1 values are not those of the matrix, first of Col1a1: ",
    ),
    "a number of spots": (
        ("counts/var/n_cells_by_counts", 2, more),
        "counts/var: {name}: n_cells_by_counts: 1 values are not those of the matrix, first of Col1a1: ",
    ),
    "a name twice": (("counts/var/_index", 3, "Tbce"), "counts/var: {name}: 1 names stand there twice"),
    "a spot twice": (("counts/obs/_index", 3, "{spot}"), "counts/obs: {name}: 1 names stand there twice"),
}


@pytest.mark.parametrize(("where", "message"), VALUES.values(), ids=VALUES.keys())
def test_a_changed_value(store, where, message):
    """Digests of bytes, made to fit by a forger, hide nothing from a look at all values."""
    key, place, value = where
    spots = array(store, f"{PATHS[KIDNEY]}/counts/obs/_index")[...].tolist()
    indptr = array(store, f"{PATHS[KIDNEY]}/counts/X/indptr")[...]
    if isinstance(value, str):
        value = value.format(spot=spots[0])
    change(store, f"{PATHS[KIDNEY]}/{key}", place, value)
    seal(store)
    spot = spots[int(np.searchsorted(indptr, 40, "right")) - 1]
    lines = problems(store, read_data=True)
    assert found(f"{message.format(name=KIDNEY, spot=spot)}", lines)
    assert all(line.startswith(PATHS[KIDNEY]) for line in lines)


def test_a_change_that_spares_what_follows_from_it(store):
    """Two counts of one row exchanged in both forms: sums of the row stay, the digests of values do not."""
    path = store / PATHS[KIDNEY]
    indptr, indices = (array(path, f"counts/X/{name}")[...] for name in ("indptr", "indices"))
    data = array(path, "counts/X/data")
    row = next(row for row in range(len(indptr) - 1) if data[indptr[row]] != data[indptr[row] + 1])
    places = [int(indptr[row]), int(indptr[row]) + 1]
    values = data[...][places]
    for place, value in zip(places, values[::-1], strict=True):
        data[place] = value
        start, stop = array(path, "by_gene/indptr")[...][indices[place] : indices[place] + 2].tolist()
        at = start + array(path, "by_gene/indices")[...][start:stop].tolist().index(row)
        array(path, "by_gene/data")[at] = value
    seal(store)
    lines = problems(store, read_data=True)
    for part in ("counts/X", "by_gene"):
        assert f"{PATHS[KIDNEY]}/{part}: {KIDNEY}: its values are not those that were written" in lines
    assert not found_any("another matrix", lines)
    assert not found_any("counts/obs", lines)
    assert found("counts/var: ", lines)


def found_any(fragment, lines):
    return [line for line in lines if fragment in line]


def test_two_pictures_swapped(store):
    """Each is right in itself: the report says whose each is."""
    one, other = (store / PATHS[name] / "image" for name in (KIDNEY, GEO))
    one.rename(store / "aside")
    other.rename(one)
    (store / "aside").rename(other)
    seal(store)
    zs.verify(store)
    assert problems(store, read_data=True) == [
        f"{PATHS[GEO]}/image: {GEO}: it holds the picture of {KIDNEY}",
        f"{PATHS[KIDNEY]}/image: {KIDNEY}: it holds the picture of {GEO}",
    ]


def test_two_tables_swapped(store):
    """Counts of one slide under the name of another."""
    for part in ("counts", "by_gene"):
        one, other = (store / PATHS[name] / part for name in (KIDNEY, GEO))
        one.rename(store / "aside")
        other.rename(one)
        (store / "aside").rename(other)
    seal(store)
    assert found(f"{PATHS[KIDNEY]}: the catalogue says n_genes 112, its groups 96", problems(store, quick=True))
    lines = problems(store, read_data=True)
    assert f"{PATHS[KIDNEY]}/counts/X: {KIDNEY}: its values are not those that were written" in lines
    assert found(f"genes: {KIDNEY}: ", lines)


SHAPES = {
    "one level": ((1, 100, 90), "uint8"),
    "odd sides": ((3, 601, 1025), "uint8"),
    "several shards": ((3, 1100, 700), "uint8"),
    "two bytes": ((2, 640, 513), "uint16"),
    "floats with gaps": ((1, 520, 700), "float32"),
    "below nought": ((1, 530, 530), "int16"),
}


@pytest.mark.parametrize(("shape", "dtype"), SHAPES.values(), ids=SHAPES.keys())
def test_levels_are_the_means_of_level_0(tmp_path, shape, dtype):
    """What the writer makes of any shape and type is what is expected here; one pixel more or less is seen."""
    rng = np.random.default_rng(7)
    pixels = rng.integers(-(2**14) if dtype == "int16" else 0, 200, shape).astype(dtype)
    if dtype == "float32":
        pixels /= 7
        pixels[:, 100:103, 50] = np.nan
    channels, height, width = shape
    image = pyramid_image(
        "g", height=height, width=width, channels=channels, dtype=dtype, chunk=64, shard=(128, 256), scale=0.5
    )
    store, codec = Storage(str(tmp_path)), Codec.parse("zstd:1")
    bands = (pixels[:, at : at + 100].transpose(1, 2, 0) for at in range(0, height, 100))
    written = write_pyramid(image, bands, codec.encoder(), lambda key, data: store.put(f"g/{key}", data))
    documents = dict(image_objects(image, codec))
    for key, data in documents.items():
        store.put(f"g/{key}", data)
    finest = [shard for shard in written.shards if shard.place[0] == 0]
    lines = "".join(f"{shard.values}\n" for shard in finest)
    values = hashlib.sha256(lines.encode()).hexdigest()
    assert check_levels(store, "g", values, {}) == []
    (told,) = check_levels(store, "g", "0" * 64, {values: "another"})
    assert told.message == "it holds the picture of another"
    if image.levels > 1:
        change(tmp_path, f"g/{image.levels - 1}", (0, 1, 2), more)
        (told,) = check_levels(store, "g", values, {})
        assert told.message.startswith(
            f"level {image.levels - 1}: 1 pixels are not the means of those of level 0, first "
        )
        assert " at channel 0, y 1, x 2, where the mean is " in told.message


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(1, 3)), min_size=2, max_size=2, unique=True)
)
@settings(max_examples=50, deadline=None)
def test_different_entries_have_different_fingerprints(entries):
    """Row, column and value all count, and none stands for another; the type of the value does not."""
    rows, columns, values = np.array(entries, np.int64).T
    one, other = fingerprints(rows, columns, values).tolist()
    assert one != other
    assert fingerprints(rows, columns, values.astype(np.float64)).tolist() == [one, other]


# --- against sources ------------------------------------------------------------------------------------------------


def member(source, slide, role):
    """Give the file of a slide."""
    folder, ending = {
        "image": ("image", ".png"),
        "coord": ("coord", "_coord.csv"),
        "counts": ("gene_exp", "_count.csv"),
        "annotation": ("", "_anno.csv"),
    }[role]
    return source / (PATHS[slide].split("/")[0] if folder else "annotation") / folder / f"{slide}{ending}"


def lines_of(path, change):
    """Change a file line by line: ``change`` takes the lines and gives those to write, or changes them in place."""
    lines = path.read_text().splitlines()
    lines = change(lines) or lines
    path.write_text("".join(f"{line}\n" for line in lines))


def cell(row, column, value):
    """Give a change of one cell of a table that has no quotes."""

    def change(lines):
        cells = lines[row].split(",")
        cells[column] = value(cells[column]) if callable(value) else value
        lines[row] = ",".join(cells)

    return change


def exchange(one, other):
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)


def transposed(path):
    with Picture.open(path) as picture:
        turned = picture.transpose(Picture.Transpose.TRANSPOSE)
    turned.save(path, "PNG")


def pixel(path):
    with Picture.open(path) as picture:
        pixels = np.array(picture)
    pixels[530, 600, 1] ^= 1
    Picture.fromarray(pixels).save(path, "PNG")


def meta(path, change):
    """Change one cell of the table of slides."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    row = next(row for row in rows if row[0] == GEO)
    row[rows[0].index(change[0])] = change[1]
    with path.open("w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)


def of_slide(slide, role, change):
    return lambda source: change(member(source, slide, role))


def of_lines(slide, role, change):
    return lambda source: lines_of(member(source, slide, role), change)


def swap_rows(one, other):
    def change(lines):
        lines[one], lines[other] = lines[other], lines[one]

    return change


IMAGE, COUNTS = f"{PATHS[GEO]}/image: {GEO}: ", f"{PATHS[GEO]}/counts: {GEO}: "
CONVERTED = "converted, but now it can't be decoded: "
# What is done to the source, and what is told of the slide; {name} stands for a spot.
SOURCES = {
    "two pictures swapped": (
        lambda source: exchange(member(source, GEO, "image"), member(source, KIDNEY, "image")),
        [
            IMAGE + r"\d+,\d+ pixels differ from the source's, first at y \d+, x \d+: .*; "
            rf"the source has the picture of {re.escape(KIDNEY)} there",
        ],
    ),
    "two tables swapped": (
        lambda source: exchange(member(source, GEO, "counts"), member(source, KIDNEY, "counts")),
        [COUNTS + "96 columns, 112 in the source", re.escape(f"{PATHS[KIDNEY]}/counts: {KIDNEY}: 112 columns, 96 in")],
    ),
    "a pixel": (
        of_slide(GEO, "image", pixel),
        [IMAGE + r"1 pixels differ from the source's, first at y 530, x 600: \[.*\], in the source \[.*\]"],
    ),
    "y and x of a picture": (
        of_slide(GEO, "image", transposed),
        [
            IMAGE + r"expected uint8 \(3, 675, 540\) \(c, y, x\) as in the source, found uint8 \(3, 540, 675\): "
            "y and x are swapped"
        ],
    ),
    "a place": (
        of_lines(GEO, "coord", cell(5, 2, "17.5")),
        [COUNTS + rf"obsm/spatial of 1 rows is not the source's, first of {GEO}_\w+-1: \[.*\], in the source \[17.5, "],
    ),
    "y and x of all places": (
        of_lines(GEO, "coord", cell(0, slice(1, 3), ["xaxis", "yaxis"])),
        [COUNTS + r"obsm/spatial of 200 rows is not the source's \(x and y are swapped\), first of "],
    ),
    "a radius": (
        of_lines(GEO, "coord", cell(1, 3, "1.5")),
        [COUNTS + r"radius of 1 rows is not the source's, first of .*: \d.*, in the source 1.5"],
    ),
    "a spot without a place": (
        of_lines(GEO, "coord", lambda lines: lines[:-1]),
        [
            COUNTS + "in_coord of 1 rows is not the source's, first of .*: True, in the source None",
            COUNTS + "radius of 1 rows is not the source's",
            COUNTS + r"obsm/spatial of 1 rows is not the source's, first of .*: \[.*\], in the source \[nan, nan\]",
        ],
    ),
    "no places": (
        of_slide(GEO, "coord", lambda path: path.unlink()),
        [COUNTS + "in_coord of 200 rows", COUNTS + "obsm/spatial of 200 rows"],
    ),
    "a count": (
        of_lines(GEO, "counts", cell(8, 3, lambda text: f"{float(text) + 1}")),
        [COUNTS + rf"row 7 \({GEO}_\w+-1\): COL1A1 is (\d+), in the source \d+"],
    ),
    "many counts": (
        of_lines(GEO, "counts", lambda lines: [lines[0], *(line[:-3] + "9.0" for line in lines[1:])]),
        [
            COUNTS + rf"row 0 \({GEO}_\w+-1\): ERBB2 is 0, in the source 9",
            COUNTS + "and 190 further rows differ from the",
        ],
    ),
    "rows out of place": (
        of_lines(GEO, "counts", swap_rows(3, 9)),
        [
            COUNTS
            + rf"2 rows have another name than in the source, first row 2: {GEO}_\w+-1, in the source {GEO}_\w+-1",
            COUNTS + rf"row 2 \({GEO}_\w+-1\): it holds the counts of row 8 of the source",
        ],
    ),
    "a row less": (
        of_lines(GEO, "counts", lambda lines: lines[:-1]),
        [COUNTS + "200 rows, 199 in the source"],
    ),
    "a row more": (
        of_lines(GEO, "counts", lambda lines: [*lines, lines[-1].replace(GEO, f"{GEO}_more")]),
        [COUNTS + "200 rows, 201 in the source"],
    ),
    "a symbol": (
        of_lines(GEO, "counts", cell(0, 4, "MBQ")),
        [COUNTS + "1 symbols differ, first column 3: MBP, in the source MBQ"],
    ),
    "a label": (
        of_lines(GEO, "annotation", cell(100, 1, "mine")),
        [COUNTS + rf"label of 1 rows is not the source's, first of {GEO}_\w+-1: .*, in the source mine"],
    ),
    "no labels": (
        of_slide(GEO, "annotation", lambda path: path.unlink()),
        [COUNTS + r"label of \d+ rows is not the source's, first of .*, in the source None"],
    ),
    "a row of the table of slides": (
        lambda source: meta(source / "meta/meta_all_gene02122025.csv", ("tissue", "lung")),
        [f"{PATHS[GEO]}: {GEO}: the catalogue says tissue 'kidney', the source 'lung'"],
    ),
    "a reference": (
        lambda source: lines_of(
            source / "meta/bib.txt", lambda lines: [line.replace("2026", "1926") for line in lines]
        ),
        [rf"{PATHS[ST]}: {ST}: the catalogue says citation '@article.*2026.*', the source '@article.*1926.*'"],
    ),
    "no picture": (
        of_slide(GEO, "image", lambda path: path.unlink()),
        [IMAGE + "the source has no member for it"],
    ),
    "no slide": (
        lambda source: [member(source, GEO, role).unlink() for role in ("image", "coord", "counts", "annotation")],
        [f"{PATHS[GEO]}: the store holds {GEO}, STimage-1K4M does not"],
    ),
    "another slide": (
        lambda source: shutil.copy(member(source, GEO, "image"), source / "ST/image/mine.png"),
        ["ST/mine: mine: the source holds it, the store does not"],
    ),
    "a picture cut in two": (
        of_slide(GEO, "image", lambda path: path.write_bytes(path.read_bytes()[:-1000])),
        [IMAGE + f"image: {CONVERTED}"],
    ),
    "a web page for a picture": (
        of_slide(GEO, "image", lambda path: path.write_bytes(b"<!DOCTYPE html>")),
        [IMAGE + f"image: {CONVERTED}expected a PNG, JPEG or TIFF picture"],
    ),
    "a table cut in two": (
        of_slide(GEO, "counts", lambda path: path.write_bytes(path.read_bytes()[:-9])),
        [COUNTS + f"counts: {CONVERTED}row 201"],
    ),
    "places that are none": (
        of_lines(GEO, "coord", cell(3, 1, "here")),
        [f"{PATHS[GEO]}: {GEO}: coord: {CONVERTED}expected a number in row 3, column 'yaxis', found 'here'"],
    ),
    "the same numbers, written otherwise": (
        of_lines(GEO, "coord", cell(3, 3, lambda text: f"{text}0")),
        [],
    ),
}


@pytest.mark.parametrize(("harm", "messages"), SOURCES.values(), ids=SOURCES.keys())
def test_a_source_that_is_not_the_one_converted(right, source, harm, messages):
    """Every member is read and decoded again: what differs is told of the slide, of its group, of spot and gene."""
    harm(source)
    lines = problems(right, sources=source)
    for message in messages:
        assert any(re.match(message, line) for line in lines), "\n".join([message, *lines])
    assert found(
        f"{source.name}: its members are not those that were converted: their fingerprint is another",
        [line.replace(f"{source.parent}/", "") for line in lines],
    )


def roll_rows(store):
    """Exchange rows 2 and 8 of X, in a matrix that stays sound."""
    path = store / PATHS[GEO] / "counts/X"
    indptr, indices, data = (array(path, name)[...] for name in ("indptr", "indices", "data"))
    order = list(range(len(indptr) - 1))
    order[2], order[8] = 8, 2
    places = np.concatenate([np.arange(indptr[row], indptr[row + 1]) for row in order])
    array(path, "indices")[...] = indices[places]
    array(path, "data")[...] = data[places]
    array(path, "indptr")[...] = np.concatenate([[0], np.cumsum(np.diff(indptr)[order])])


STORES = {
    "rows of X out of place": (
        roll_rows,
        [
            rf"row 2 \({GEO}_\w+-1\): it holds the counts of row 8 of the source",
            rf"row 8 \({GEO}_\w+-1\): it holds the counts of row 2 of the source",
        ],
    ),
    "a count": (
        lambda store: change(store, f"{PATHS[GEO]}/counts/X/data", 0, more),
        [rf"row 0 \({GEO}_\w+-1\): \w+ is \d+, in the source \d+"],
    ),
    "x and y": (
        lambda store: change(store, f"{PATHS[GEO]}/counts/obsm/spatial", slice(None), lambda places: places[:, ::-1]),
        [r"obsm/spatial of 200 rows is not the source's \(x and y are swapped\), first of "],
    ),
    "a label": (
        lambda store: change(store, f"{PATHS[GEO]}/counts/obs/label/codes", 7, 0),
        ["label of 1 rows is not the source's, first of .*: cancer in situ, in the source "],
    ),
    "a name": (
        lambda store: change(store, f"{PATHS[GEO]}/counts/obs/_index", 7, "mine"),
        [
            "1 rows have another name than in the source, first row 7: mine, in the source ",
            "in_coord of 1 rows is not the source's, first of mine: True, in the source None",
            "radius of 1 rows is not the source's, first of mine: ",
            "obsm/spatial of 1 rows is not the source's, first of mine: ",
            "label of 1 rows is not the source's, first of mine: ",
        ],
    ),
    "a pixel": (
        lambda store: change(store, f"{PATHS[GEO]}/image/0", (0, 3, 600), lambda value: value ^ 1),
        [r"1 pixels differ from the source's, first at y 3, x 600: \[.*\], in the source \[.*\]"],
    ),
}


@pytest.mark.parametrize(("harm", "messages"), STORES.values(), ids=STORES.keys())
def test_a_store_that_is_not_what_its_source_says(store, made, harm, messages):
    """Digests that fit and forms that agree hide nothing from a look into the source."""
    harm(store)
    seal(store)
    zs.verify(store)
    lines = problems(store, sources=made)
    for message in messages:
        wanted = re.compile(rf"{PATHS[GEO]}/(image|counts): {GEO}: {message}")
        assert any(wanted.match(line) for line in lines), "\n".join([message, *lines])
    assert len(lines) == len(messages)


def test_what_was_quarantined_fails_still(source, made, tmp_path):
    """A picture, places and a whole slide that can't be decoded are right where they can't be decoded still."""
    member(source, GEO, "image").write_bytes(b"<!DOCTYPE html>")
    member(source, ST, "coord").write_bytes(b"nothing\n")
    for role in ("image", "coord", "counts"):
        member(source, KIDNEY, role).write_bytes(b"")
    store = tmp_path / "s.zarr"
    zs.convert(source, store)
    record = record_of(store)
    assert [(one.name, one.holds) for one in record.elements if one.kind == "sample"] == [
        (ST, ("by_gene", "counts", "image")),
        (GEO, ("by_gene", "counts")),
    ]
    assert zs.verify(store, sources=source, read_data=True).rows == 3
    lines = problems(store, sources=made)
    assert f"{PATHS[GEO]}/image: {GEO}: quarantined, but it decodes" in lines
    assert f"{PATHS[KIDNEY]}/image: {KIDNEY}: quarantined, but it decodes" in lines
    assert f"{PATHS[KIDNEY]}/counts: {KIDNEY}: quarantined, but it decodes" in lines
    assert found(f"{PATHS[ST]}/counts: {ST}: in_coord of 200 rows is not the source's, first of ", lines)
    assert found(f"{PATHS[ST]}/counts: {ST}: obsm/spatial of 200 rows is not the source's, first of ", lines)


def test_a_suspicion_is_a_note(source, tmp_path):
    """Spots beside the tissue are worth a look and no fault of the store, which has what its source has."""
    lines_of(member(source, KIDNEY, "coord"), cell(0, slice(1, 3), ["xaxis", "yaxis"]))
    store = tmp_path / "s.zarr"
    zs.convert(source, store)
    (note,) = zs.verify(store, sources=source).notes
    assert note.startswith(f"{KIDNEY}: its spots may not lie where its picture shows them; with coordinates swapped")
    assert f"note: {KIDNEY}: " in str(zs.verify(store, quick=True))


def test_slides_of_several_sources(made, tmp_path):
    """Files of one slide in two archives: both are needed to compare; slides that were added have their own sources."""
    parts = {"pictures.tar": "*/image/*", "tables.tar": "*/*/*.csv", "later.tar": "*/*/*"}
    for name, pattern in parts.items():
        later = name == "later.tar"
        chosen = [path for path in sorted(made.glob(pattern)) if path.is_file() and (KIDNEY in path.name) == later]
        write_tar(tmp_path / name, {path.relative_to(made).as_posix(): path.read_bytes() for path in chosen})
    store = tmp_path / "s.zarr"
    together = [tmp_path / "pictures.tar", tmp_path / "tables.tar"]
    zs.convert(together, store)
    zs.convert(tmp_path / "later.tar", store)
    assert "every member of pictures.tar, tables.tar" in str(zs.verify(store, sources=together, read_data=True))
    assert "every member of later.tar" in str(zs.verify(store, sources=tmp_path / "later.tar"))
    (line,) = problems(store, sources=together[0])
    assert "its samples were made from tables.tar, too: give all sources that were converted together" in line


def test_part_of_a_source(made, tmp_path):
    """What a condition left out is not missed."""
    store = tmp_path / "s.zarr"
    zs.convert(made, store, where="technology == 'Visium'", limit=1)
    assert zs.verify(store, sources=made, read_data=True).rows == 1


def test_counts_that_are_not_whole(source, tmp_path):
    """Totals of floats are compared as floats; the digests of their values are exact."""
    lines_of(member(source, GEO, "counts"), cell(5, 3, "0.1"))
    store = tmp_path / "s.zarr"
    zs.convert(source, store)
    zs.verify(store, sources=source, read_data=True)
    change(store, f"{PATHS[GEO]}/counts/obs/total_counts", 4, lambda value: value + 0.001)
    seal(store)
    assert found("total_counts: 1 values are not those of the matrix", problems(store, read_data=True))
