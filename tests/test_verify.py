"""Verify: whatever is changed in a store is found and named; a store that is right is said to be, and against what."""

import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

import zarrscope as zs
from hostile import copy, flipped, members_of, npz, tiff, tree, write_tar
from zarrscope.demo import make_stedfm
from zarrscope.errors import StoreError, VerifyError, ZarrscopeError
from zarrscope.record import digest_lines, dump, parse_root, root_document
from zarrscope.writers.codec import Codec
from zarrscope.writers.image import ShardEncoder

SIDE, SHARD = 24, 8


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two small archives."""
    folder = tmp_path_factory.mktemp("verify")
    return make_stedfm(folder, images=2, size=SIDE, kinds=["full/normalised", "full/raw"], stamp=True)


@pytest.fixture(scope="module")
def right(made):
    """Their store. Tests change a copy."""
    store = made["full/raw"].parent / "s.zarr"
    zs.convert(list(made.values()), store, shard=SHARD)
    return store


@pytest.fixture
def store(right, tmp_path):
    return copy(right, tmp_path)


def shard(store, number, path="full/raw"):
    return store / path / "0" / "c" / str(number) / "0" / "0"


def problems(store, **options):
    with pytest.raises(VerifyError) as error:
        zs.verify(store, **options)
    assert error.value.exit_code == 3
    assert all(str(problem) in str(error.value) for problem in error.value.problems)
    return {
        (problem.where.removeprefix(f"{store}/"), problem.kind, problem.message) for problem in error.value.problems
    }


def test_the_report_says_against_what(right, made):
    """Size only, digests, pixels or sources: the sentence names what was compared with."""
    sources = list(made.values())
    rows = zs.open(right).image("full/raw").shape[0]
    told = {
        "quick": zs.verify(right, quick=True),
        "digests": zs.verify(right),
        "data": zs.verify(right, read_data=True),
        "sources": zs.verify(right, sources=sources),
    }
    for report in told.values():
        assert (report.elements, report.rows, report.notes) == (8, 2 * rows, ())
        assert str(report).startswith(
            f"{right}: 8 elements, {report.objects:,} objects and {2 * rows:,} rows are right, "
        )
    assert "with their recorded sizes (quick: no content was read)." in str(told["quick"])
    assert str(told["digests"]).endswith("compared with their recorded digests.")
    assert str(told["data"]).endswith("with their recorded digests, and every row's pixels with theirs.")
    named = ", ".join(path.name for path in sources)
    assert str(told["sources"]).endswith(f"digests, and with every member of {named}.")


def test_verifying_says_what_it_does(right, made):
    told = []
    zs.verify(right, sources=made["full/raw"], read_data=True, say=told.append)
    assert re.fullmatch(r"\d+ objects", told[0])
    assert told[1:] == ["decoding full/normalised", "decoding full/raw", f"comparing {made['full/raw'].name}"]


# --- objects --------------------------------------------------------------------------------------------------------


def test_a_missing_shard(store):
    shard(store, 1).unlink()
    for options in ({"quick": True}, {}, {"read_data": True}):
        assert ("full/raw/0/c/1/0/0", "missing", "the object is missing") in problems(store, **options)
    found = problems(store)
    assert any(where == "full/raw" and re.match("rows 8 to 15 can't be read", message) for where, _, message in found)


@pytest.mark.parametrize("place", [0, 300, -30, -1], ids=["first byte", "pixels", "index", "last byte"])
def test_a_flipped_bit_in_a_shard(store, place):
    """Its size is right, so that only a look at the content finds it; the report names rows where it can."""
    path = shard(store, 1)
    path.write_bytes(flipped(path.read_bytes(), place))
    zs.verify(store, quick=True)
    for options in ({}, {"read_data": True}):
        found = problems(store, **options)
        assert ("full/raw/0/c/1/0/0", "content", "its bytes differ from the recorded SHA-256") in found
        assert any(
            where == "full/raw" and "row" in message and "can't be read" in message for where, _, message in found
        )
    assert all("full/raw" in where for where, _, _ in problems(store))


@pytest.mark.parametrize(
    "harm", [lambda data: data[:-1], lambda data: data[:40], lambda _: b"", lambda data: data + b"\0"]
)
def test_a_torn_shard(store, harm):
    path = shard(store, 0)
    size = path.stat().st_size
    path.write_bytes(harm(path.read_bytes()))
    torn = ("full/raw/0/c/0/0/0", "content", f"expected {size} bytes, found {path.stat().st_size}: it is torn")
    assert torn in problems(store, quick=True)
    assert torn in problems(store)


def test_two_shards_swapped(store):
    """Each is right in itself; the digests are bound to their places, and the rows are named."""
    one, other = shard(store, 0).read_bytes(), shard(store, 1).read_bytes()
    shard(store, 0).write_bytes(other)
    shard(store, 1).write_bytes(one)
    messages = {message for _, _, message in problems(store)}
    names = zs.open(store).table("full/raw", ["index"]).index
    assert f"row 0 ({names[0]}): it holds the pixels of row 8" in messages
    assert f"row 15 ({names[15]}): it holds the pixels of row 7" in messages


def write_shard(store, number, rows, path="full/raw"):
    """Encode rows as a valid shard."""
    from zarrscope.model import Axis, Image

    element = zs.open(store).record.element(path)
    axes = tuple(Axis(name=name, size=size, type="space") for name, size in zip("nyx", element.shape, strict=True))
    image = Image(path=path, role="raw", axes=axes, dtype=element.dtype, chunks=element.chunks, shards=element.shards)
    encoder = ShardEncoder(image, Codec("zstd", 5).encoder())
    for place, row in enumerate(rows):
        encoder.add(place, np.ascontiguousarray(row)[np.newaxis])
    shard(store, number, path).write_bytes(bytes(encoder.finish()))


def test_two_rows_swapped_inside_a_valid_shard(store):
    """Every checksum of the format holds; the digest of the object finds it and the digests of pixels name the rows."""
    pixels = zs.open(store).image("full/raw").to_numpy()
    write_shard(store, 1, pixels[[8, 13, 10, 11, 12, 9, 14, 15]])
    names = zs.open(store).table("full/raw", ["index"]).index
    messages = {message for where, _, message in problems(store) if where == "full/raw"}
    assert messages == {
        f"row 9 ({names[9]}): it holds the pixels of row 13",
        f"row 13 ({names[13]}): it holds the pixels of row 9",
    }


def test_a_changed_pixel_inside_a_valid_shard(store, made):
    pixels = zs.open(store).image("full/raw").to_numpy()
    pixels[9, 3, 3] += 1
    write_shard(store, 1, pixels[8:16])
    name = zs.open(store).table("full/raw", ["index"]).index[9]
    assert ("full/raw", "content", f"row 9 ({name}): its pixels are not those that were written") in problems(store)
    against = problems(store, sources=made["full/raw"])
    assert ("full/raw", "content", f"row 9 ({name}): the store's pixels differ from the source's") in against


def seal(store, path):
    """Make manifest and record fit whatever an image holds now, as a forger would."""
    record = parse_root((store / "zarr.json").read_bytes(), "")
    sums = tree(store, f"{path}/manifest")
    changed = digest_lines((key.removeprefix(f"{path}/manifest/"), digest) for key, digest in sums.items())
    elements = tuple(replace(one, digest=changed) if one.path == f"{path}/manifest" else one for one in record.elements)
    (store / "zarr.json").write_bytes(root_document(replace(record, elements=elements)))


def test_a_manifest_that_was_changed_too(store):
    """Shard and manifest agree with each other, but the record's digest of the element does not fit them."""
    path = next((store / "full/raw/manifest/obs/size").rglob("c/*"))
    path.write_bytes(flipped(path.read_bytes(), 20))
    found = problems(store)
    assert ("full/raw/manifest", "content", "the manifest itself was changed") in found


def test_a_manifest_and_record_sealed_anew(store):
    """Even with the record's digest of the manifest made to fit, a list of objects that differs is noticed."""
    digests = next((store / "full/raw/manifest/obs/sha256").rglob("c/*"))
    one, other = shard(store, 0), shard(store, 1)
    data = one.read_bytes(), other.read_bytes()
    one.write_bytes(data[1])
    other.write_bytes(data[0])
    import zarr

    array = zarr.open_array(store / "full/raw/manifest/obs/sha256", mode="r+")
    keys = zs.open(store).table("full/raw/manifest", ["index"]).index.tolist()
    values, places = array[...], [keys.index(f"0/c/{number}/0/0") for number in (0, 1)]
    values[places] = values[places[::-1]]
    array[...] = values
    assert digests.exists()
    seal(store, "full/raw")
    found = problems(store)
    assert ("full/raw", "content", "the digest in the record does not fit the manifest") in found
    assert any(
        "can't be read" in m or "holds the pixels" in m or "torn" in m for _, _, m in problems(store, read_data=True)
    )


def test_a_stray_file_is_a_note(store):
    """What no manifest knows harms nothing; it is mentioned."""
    (store / "notes.txt").write_text("mine")
    (store / "full/raw/0/c/99").mkdir()
    (store / "full/raw/0/c/99/x").write_text("mine")
    report = zs.verify(store)
    assert report.notes == (
        f"{store}/full/raw/0/c/99/x is not part of the store",
        f"{store}/notes.txt is not part of the store",
    )
    assert str(report).endswith(f"note: {store}/notes.txt is not part of the store")


# --- documents, record, tables --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", ["full/raw/zarr.json", "full/raw/0/zarr.json", "full/raw/rows/zarr.json", "full/zarr.json"]
)
def test_a_missing_document(store, key):
    (store / key).unlink()
    for quick in (True, False):
        assert any(key.removesuffix("/zarr.json") in where for where, _, _ in problems(store, quick=quick))


def edit(path, change):
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))


def swap_axes(document):
    axes = document["attributes"]["ome"]["multiscales"][0]["axes"]
    axes[1], axes[2] = axes[2], axes[1]


def transpose_shape(document):
    document["shape"] = [*document["shape"][:1], SIDE // 2, SIDE * 2]


EDITS = {
    "swapped axes": ("full/raw/zarr.json", swap_axes, "full/raw"),
    "another version of OME-Zarr": (
        "full/raw/zarr.json",
        lambda d: d["attributes"]["ome"].update(version="0.4"),
        "full/raw",
    ),
    "another shape": ("full/raw/0/zarr.json", transpose_shape, "full/raw/0"),
    "another fill value": ("full/raw/0/zarr.json", lambda d: d.update(fill_value=7), "full/raw/0"),
    "another encoding": (
        "full/raw/rows/zarr.json",
        lambda d: d["attributes"].update({"encoding-type": "dict"}),
        "full/raw/rows",
    ),
    "a group with attributes": ("full/zarr.json", lambda d: d["attributes"].update(a=1), "full/zarr.json"),
}


@pytest.mark.parametrize(("key", "change", "where"), EDITS.values(), ids=EDITS.keys())
def test_an_edited_document(store, key, change, where):
    edit(store / key, change)
    found = problems(store)
    assert any(one.startswith(where) for one, _, _ in found)


def change_record(**changes):
    return lambda document: document["attributes"]["zarrscope"].update(changes)


RECORDS = {
    "licence": (
        lambda document: document["attributes"]["zarrscope"]["terms"].update(license="x"),
        "digest does not fit",
    ),
    "title": (change_record(title="another"), "its digest does not fit"),
    "digest": (change_record(digest="0" * 64), "its digest does not fit"),
    "later format": (change_record(format=99), "has a record of format 99; this version reads up to 1"),
    "another type": (change_record(title=3), "does not keep to its schema"),
    "none": (lambda document: document["attributes"].clear(), "without a zarrscope record"),
}


@pytest.mark.parametrize(("change", "message"), RECORDS.values(), ids=RECORDS.keys())
def test_an_edited_record(store, change, message):
    edit(store / "zarr.json", change)
    for verb in (zs.verify, zs.open):
        with pytest.raises(StoreError, match=message):
            verb(store)


def test_an_edited_column(store, made):
    """A value of the rows changed with every checksum in order is found by the object's digest, and against sources."""
    import zarr

    array = zarr.open_array(store / "full/raw/rows/obs/grid_row", mode="r+")
    array[3] = array[3] + 1
    found = problems(store)
    assert {where.split("/c/")[0] for where, _, _ in found} == {"full/raw/rows/obs/grid_row"}
    against = {message for _, _, message in problems(store, sources=made["full/raw"])}
    assert any(message.startswith("row 3: grid_row is ") for message in against)


def test_every_object_is_covered(store, right):
    """Whatever object is lost, cut or has a bit flipped: it is told as an error of ours, never as a right store."""
    keys = sorted(tree(store))
    chosen = [*keys[:: max(1, len(keys) // 30)], "zarr.json", "full/zarr.json"]
    for number, key in enumerate(chosen):
        path, data = store / key, (right / key).read_bytes()
        harms = [path.unlink, lambda: path.write_bytes(data[: len(data) // 2]), lambda: path.write_bytes(flipped(data))]  # noqa: B023
        harms[number % 3]()
        with pytest.raises(ZarrscopeError) as error:
            zs.verify(store)
        assert error.value.exit_code == 3, key
        path.write_bytes(data)
    zs.verify(store)


# --- against sources ------------------------------------------------------------------------------------------------


def changed_archive(archive, path, change):
    members = list(members_of(archive).items())
    change(members)
    return write_tar(path, members)


def other_pixels(members):
    from zarrscope.readers.npz import decode_npz

    held = decode_npz(members[5][1])
    members[5] = (members[5][0], npz(held["image"] + np.uint16(1), {"a": 1}))


def other_metadata(members):
    from zarrscope.readers.npz import decode_npz

    held = decode_npz(members[5][1])
    members[5] = (members[5][0], npz(held["image"], {"protein-id": "forged"}))


SOURCES = {
    "other pixels": (other_pixels, r"row 5 \(.*\): the member's bytes are not those that were converted"),
    "other metadata": (other_metadata, r"row 5 \(.*\): the member's bytes are not those that were converted"),
    "one member less": (lambda members: members.pop(5), r"\d+ rows, but .*raw\.tar gives \d+"),
    "one member more": (
        lambda members: members.append((members[0][0] + "0009", members[0][1])),
        r"\d+ rows, but .* gives",
    ),
    "two swapped": (lambda m: m.__setitem__(slice(5, 7), m[6:4:-1]), r"2 rows out of place, first row 5: expected"),
    "another name": (
        lambda m: m.__setitem__(5, (m[5][0] + "0", m[5][1])),
        r"1 rows out of place, first row 5: expected",
    ),
    "broken": (
        lambda m: m.__setitem__(5, (m[5][0], tiff(np.zeros((3, 3)))[:40])),
        r"row 5 .*: the member's bytes are not",
    ),
}


@pytest.mark.parametrize(("change", "message"), SOURCES.values(), ids=SOURCES.keys())
def test_a_source_that_is_not_the_one_converted(change, message, right, made, tmp_path):
    """Every member is read and compared: what differs is told by row and member."""
    other = changed_archive(made["full/raw"], tmp_path / made["full/raw"].name, change)
    found = problems(right, sources=other)
    (told,) = (told for where, _, told in found if where == "full/raw")
    assert re.fullmatch(message + ".*", told)
    further = [told for where, _, told in found if where == str(other)]
    assert len(further) == ("gives" in message)
    assert all(re.fullmatch(r"\d+ members, \d+ when it was converted", told) for told in further)


def test_a_source_of_another_store(right, stedfm):
    with pytest.raises(
        VerifyError, match=r"subset.*tiff.* is not a source of .*; its sources are STED-FM-dataset-crops\.tar"
    ):
        zs.verify(right, sources=stedfm["subset/tiff"])


def test_a_renamed_source_is_known_by_its_size(right, made, tmp_path):
    renamed = shutil.copy(made["full/raw"], tmp_path / "renamed.tar")
    assert "every member of renamed.tar" in str(zs.verify(right, sources=renamed))


def test_a_biosr_patch_that_is_gone_since(biosr, biosr_store, tmp_path):
    """A folder with one file less: its row is expected by its partner's number, and not there."""
    folder = shutil.copytree(biosr, tmp_path / "biosr_dataset")
    (folder / "training_gt/00000003.tif").unlink()
    gone = "converted, but now it can't be decoded: the member is missing from the source"
    assert problems(biosr_store, sources=folder) == {
        ("train/gt", "content", f"row 2 (training_gt/00000003.tif): {gone}"),
        (str(folder), "content", "208 members, 209 when it was converted"),
    }


def test_members_that_have_no_row_are_counted(right, made, tmp_path):
    """A member more that would be ignored changes no row, but the source is another one."""
    more = changed_archive(made["full/raw"], tmp_path / "raw.tar", lambda members: members.append(("README", b"x")))
    named = shutil.move(more, tmp_path / made["full/raw"].name)
    ((where, _, message),) = problems(right, sources=named)
    assert where == str(named)
    assert re.fullmatch(r"\d+ members, \d+ when it was converted", message)


# --- stores that are none, and the manifest -------------------------------------------------------------------------


def test_no_store_and_an_unfinished_one(right, tmp_path):
    with pytest.raises(StoreError, match="is no store of ours"):
        zs.verify(tmp_path / "none.zarr")
    store = copy(right, tmp_path)
    (store / "zarr.json").unlink()
    (store / ".zarrscope").mkdir()
    (store / ".zarrscope/plan.json").write_text("{}")
    with pytest.raises(StoreError, match="holds an unfinished conversion: run convert again to resume it"):
        zs.verify(store)


def test_sha256sum_takes_the_manifest(store, tmp_path):
    """The lines are those of ``sha256sum``, relative to the store; it finds what we find."""
    lines = zs.manifest(store)
    assert len(lines) > 80
    (tmp_path / "sums").write_text("".join(f"{line}\n" for line in lines))
    check = ["sha256sum", "--check", "--quiet", "--strict", str(tmp_path / "sums")]
    assert subprocess.run(check, cwd=store, capture_output=True, text=True, check=False).stdout == ""
    path = shard(store, 1)
    path.write_bytes(flipped(path.read_bytes()))
    done = subprocess.run(check, cwd=store, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == "full/raw/0/c/1/0/0: FAILED\n"


def test_a_damaged_manifest_is_not_handed_out(store):
    path = next((store / "full/raw/manifest/obs/size").rglob("c/*"))
    path.write_bytes(flipped(path.read_bytes(), 20))
    with pytest.raises(VerifyError, match="its manifests are damaged"):
        zs.manifest(store)


def test_the_digest_of_an_element_is_that_of_sha256sum(right):
    """SHA-256 over the sorted ``sha256  key`` lines of the element's own objects, keys below the element."""
    record = zs.open(right).record
    (rows,) = (one for one in record.elements if one.path == "full/raw/rows")
    sums = tree(right, "full/raw/rows")
    lines = sorted((key.removeprefix("full/raw/rows/"), digest) for key, digest in sums.items())
    text = "".join(f"{digest}  {key}\n" for key, digest in lines)
    assert rows.digest == hashlib.sha256(text.encode()).hexdigest()
    assert json.loads(dump(record))["format"] == 1
