"""STED-FM: six archives become six stacks, row by row in their place, with what their names and metadata tell."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

import zarrscope as zs
from hostile import contains, members_of, npz, special, tiff, write_tar
from zarrscope.demo import ARCHIVES, make_stedfm, read_stamp
from zarrscope.demo.metadata import full_planes, subset_planes
from zarrscope.demo.stedfm import crop_window
from zarrscope.errors import RecipeError
from zarrscope.readers.npz import decode_npz
from zarrscope.recipes.stedfm import recipe
from zarrscope.sources import open_source

SIDE = 40
UUID = "0f1b0f1b-1111-3aaa-8aaa-0123456789ab"


@pytest.fixture(scope="module")
def store(stedfm_store):
    return zs.open(stedfm_store)


@pytest.fixture(scope="module", params=ARCHIVES)
def kind(request):
    return request.param


def test_every_row_holds_its_own_pixels(store, stedfm, kind):
    """Row i of a stack is member i of its archive: its stamp says i, and all its pixels are those of the member."""
    pixels = store.image(kind).to_numpy()
    assert [read_stamp(one) for one in pixels] == list(range(len(pixels)))
    members = members_of(stedfm[kind])
    assert store.table(kind, ["index"]).index.tolist() == list(members)
    if "tiff" not in kind:
        for row, data in enumerate(members.values()):
            np.testing.assert_array_equal(pixels[row], decode_npz(data)["image"])


def test_names_become_columns(store, stedfm, kind):
    frame = store.table(kind, ["index", "protein", "image_id", "grid_row", "grid_column", "ok", "member_size"])
    for name, row in frame.iterrows():
        protein = "" if row.protein == "unknown" else f"{row.protein}-"
        assert re.fullmatch(rf"{protein}{row.image_id}-{row.grid_row}-{row.grid_column}(\.tif)?", name)
    assert frame.ok.all()
    assert frame.member_size.tolist() == [len(data) for data in members_of(stedfm[kind]).values()]
    assert (frame.protein == "unknown").all() == kind.startswith("full")


def test_a_stack_claims_no_pixel_size(store, kind):
    """The pixel size differs by crop, so that the axes have no unit and the scale means nothing."""
    multiscale = store.image(kind).attrs
    element = store.record.element(kind)
    assert element.shape[1:] == (SIDE, SIDE)
    assert "nanometer" not in str(multiscale)
    assert not [name for name in store.image(kind).coords if name in "yx"]


def planes_by_row(store, kind):
    """Give for each row the plane that it was cut from: images follow each other in the order of the planes."""
    collection = full_planes if kind.startswith("full") else subset_planes
    planes = list(collection(6, 0, SIDE))
    ids = store.table(kind, ["image_id"]).image_id.tolist()
    order = list(dict.fromkeys(ids))
    assert len(order) == len(planes)
    return [planes[order.index(one)] for one in ids]


NANOMETRES = {"µm": 1e3, "m": 1e9, "nm": 1.0}


def test_pixel_sizes_are_normalised_to_nm(store):
    """Metres, micrometres and nanometres become nm; a size in pixels gives none; the original text is kept."""
    for kind in ("full/normalised", "full/raw"):
        units = [f"msr_metadata_PhysicalSize{axis}Unit" for axis in "YX"]
        frame = store.table(kind, ["pixel_size_y_nm", "pixel_size_x_nm", *units])
        seen = set()
        for plane, (_, row) in zip(planes_by_row(store, kind), frame.iterrows(), strict=True):
            told = plane.info["msr-metadata"]
            for axis in "yx":
                unit, size = told[f"PhysicalSize{axis.upper()}Unit"], told[f"PhysicalSize{axis.upper()}"]
                assert row[f"msr_metadata_PhysicalSize{axis.upper()}Unit"] == unit
                wanted = size * NANOMETRES[unit] if unit in NANOMETRES else np.nan
                np.testing.assert_allclose(row[f"pixel_size_{axis}_nm"], wanted)
            seen.add(told["PhysicalSizeXUnit"])
        assert seen == {"µm", "m", "nm", "pixel"} & seen
        assert len(seen) >= 2


def test_every_other_field_is_kept(store):
    """Nested metadata become columns of their own, with their values."""
    frame = store.table("full/raw", ["key", "msr_key", "chan_id", "msr_metadata_SizeX", "msr_metadata_DimensionOrder"])
    for plane, (_, row) in zip(planes_by_row(store, "full/raw"), frame.iterrows(), strict=True):
        assert row.key == plane.info["key"]
        assert row.msr_key == plane.info["msr-key"]
        assert row.msr_metadata_SizeX == plane.shape[1]
        assert row.msr_metadata_DimensionOrder == "XYZCT"
    mixed = store.table("subset/raw", ["chan_id"]).chan_id  # text or a number, in one column
    assert mixed.tolist() == [str(plane.info["chan-id"]) for plane in planes_by_row(store, "subset/raw")]


def test_users_are_not_kept_unless_asked_for(store, stedfm, stedfm_store, tmp_path):
    """The login name in the metadata is personal: it stands nowhere in a store, except by ``keep``."""
    assert "user_id" not in store.catalogue.columns
    assert contains(stedfm_store, "user_id", "user-1", "user-2") == []
    kept = tmp_path / "kept.zarr"
    zs.convert(stedfm["subset/raw"], kept, keep=("user_id",), limit=20)
    users = zs.open(kept).table("subset/raw", ["user_id"]).user_id
    assert set(users) <= {"user-1", "user-2", "user-3", "user-4"}
    assert zs.verify(kept, sources=stedfm["subset/raw"]).rows == 20


@pytest.fixture(scope="module")
def full_size(tmp_path_factory):
    """Crops of the published size, which the origin of a crop depends on."""
    folder = tmp_path_factory.mktemp("full-size")
    made = make_stedfm(folder, images=5, kinds=["full/raw", "full/tiff"], stamp=True)
    zs.convert(list(made.values()), folder / "store.zarr")
    return zs.open(folder / "store.zarr")


def test_the_true_origin_of_a_crop(full_size):
    """The last crop of a row or column is moved back into its image: y0 and x0 say where it really begins."""
    planes = list(full_planes(5, 0, 224))
    frame = full_size.table("full/raw", ["image_id", "grid_row", "grid_column", "y0", "x0"])
    order = list(dict.fromkeys(frame.image_id))
    moved = 0
    for row in frame.itertuples():
        y, x = crop_window((row.grid_row, row.grid_column), planes[order.index(row.image_id)].shape, 224)
        assert (row.y0, row.x0) == (y.start, x.start)
        moved += (row.y0, row.x0) != (row.grid_row, row.grid_column)
    assert moved
    assert {225} <= {plane.shape[0] for plane in planes}  # one pixel more than a crop is among them
    assert "y0" not in full_size.table("full/tiff").obs.columns  # a TIFF does not tell how large its image was


def test_a_tiff_made_from_nanometres_is_not_believed(full_size):
    """The published writer divided by 1,000 where it should have multiplied: such a size is no pixel's."""
    planes = list(full_planes(5, 0, 224))
    frame = full_size.table(
        "full/tiff", ["image_id", "pixel_size_y_nm", "pixel_size_x_nm", "tiff_unit", "tiff_resolution_x"]
    )
    order = list(dict.fromkeys(frame.image_id))
    seen = set()
    for row in frame.itertuples():
        told = planes[order.index(row.image_id)].info["msr-metadata"]
        unit = told["PhysicalSizeXUnit"]
        known = unit in ("µm", "m")
        for axis in "YX":
            wanted = told[f"PhysicalSize{axis}"] * NANOMETRES[unit] if known else np.nan
            np.testing.assert_allclose(getattr(row, f"pixel_size_{axis.lower()}_nm"), wanted, rtol=1e-4)
        assert row.tiff_unit == (None if unit == "pixel" else "um") or unit == "pixel"
        assert row.tiff_resolution_x > 0
        seen.add(unit)
    assert {"µm", "m", "nm"} <= seen


def test_siblings_are_joined_although_their_ids_differ(store):
    """Ids made with a salted hash differ between archives; order and grid place join the stacks all the same."""
    for collection in ("full", "subset"):
        columns = {
            kind: store.table(f"{collection}/{kind}", ["image_id"]).image_id.tolist() for kind in ("raw", "tiff")
        }
        assert columns["raw"] != columns["tiff"]
        samples = store.samples(collection, columns=["grid_row"])
        assert list(samples.images) == ["normalised", "raw", "tiff"]
        for row, sample in enumerate(samples):
            assert {read_stamp(sample[role]) for role in samples.images} == {row}
            np.testing.assert_array_equal(sample["raw"][1:], sample["tiff"][1:])
    assert store.record.findings == ()


def test_siblings_that_do_not_line_up_are_not_joined(stedfm, tmp_path):
    """A stack in another order is served alone, and the record says where the first difference is."""
    members = list(members_of(stedfm["full/raw"]).items())
    members[3], members[9] = members[9], members[3]
    shuffled = write_tar(tmp_path / "raw.tar", members)
    record = zs.convert([stedfm["full/normalised"], shuffled, stedfm["full/tiff"]], tmp_path / "s.zarr")
    assert [linked.path for linked in record.samples[0].images] == ["full/normalised", "full/tiff"]
    (finding,) = record.findings
    assert (finding.where, finding.kind) == ("full/raw", "pairing")
    assert "not joined with full/normalised: 2 rows differ in grid_" in finding.message
    assert "first row 3" in finding.message
    alone = zs.open(tmp_path / "s.zarr").samples("full/raw")
    assert read_stamp(alone[3]["raw"]) == 9


def test_statistics_are_kept_by_protein(store):
    frame = store.statistics("subset/raw")
    proteins = set(store.table("subset/raw", ["protein"]).protein)
    assert set(frame.index) == proteins | {"all"}
    pixels = store.image("subset/raw").to_numpy()
    assert frame.loc["all", "mean"] == pytest.approx(pixels.mean())
    assert frame.loc["all", "max"] == pixels.max()


SIZES = {
    "micrometres": (0.02, "µm", 20.0),
    "another micro sign": (0.02, "μm", 20.0),
    "spelled out": (2e-8, "metres", 20.0),
    "spaces": (20, " nm ", 20.0),
    "no unit": (20.0, None, None),
    "an empty unit": (20.0, "", None),
    "an unknown unit": (20.0, "furlong", None),
    "text": ("20", "nm", None),
    "true": (True, "nm", None),
    "none": (None, "nm", None),
    "too small for a pixel": (1e-9, "m", 1.0),
    "far too small": (1e-12, "m", None),
    "far too large": (1.0, "m", None),
    "negative": (-20.0, "nm", None),
    "not a number": (float("nan"), "nm", None),
    "larger than any float": (10**400, "nm", None),
}


@pytest.mark.parametrize(("size", "unit", "wanted"), SIZES.values(), ids=SIZES.keys())
def test_a_pixel_size_is_never_invented(size, unit, wanted):
    told = {
        "msr-metadata": {
            "PhysicalSizeX": size,
            "PhysicalSizeXUnit": unit,
            "PhysicalSizeY": 1,
            "PhysicalSizeYUnit": "nm",
        }
    }
    described = recipe.describe(told)
    assert described["pixel_size_x_nm"] == (pytest.approx(wanted) if wanted else None)
    assert described["msr_metadata_PhysicalSizeX"] is size


HOSTILE = {
    "names of our own columns": {
        "ok": False,
        "reason": "no",
        "protein": "x",
        "member_size": 1,
        "source": 3,
        "index": "i",
    },
    "names that stand for themselves": {"_index": 1, "": 2, "a/b": 3, ".": 4, "..": 5, "a" * 500: 6, "Ω": 7},
    "names that become one": {"a-b": 1, "a_b": 2, "ok": 1, "field_ok": 2},
    "names of ours for TIFFs": {"tiff_resolution": "x", "unit": 1, "resolution": 0},
    "values of every kind": {
        "i": 2**63,
        "f": float("inf"),
        "n": float("nan"),
        "l": [1, {"a": [None]}],
        "t": "\0\n\ud800",
    },
    "a type in each row": {"v": "text"},
}


def test_metadata_of_any_form_become_columns_and_harm_nothing(tmp_path):
    """Fields never overwrite what names and the engine tell of a row, and any keys and values can be stored."""
    pixels = np.zeros((SIDE, SIDE), np.uint16)
    told = [*HOSTILE.values(), {"v": 1}, {"v": 1.5}, {"v": True}, {"v": None}, {"v": 2**60 + 1}, {}]
    names = [f"psd95-{UUID}-0-{224 * row}" for row in range(len(told))]
    tar = write_tar(tmp_path / "a.tar", [(name, npz(pixels, one)) for name, one in zip(names, told, strict=True)])
    zs.convert(tar, tmp_path / "a.zarr", shard=4)
    store = zs.open(tmp_path / "a.zarr")
    frame = store.table("subset/raw", ["index", "ok", "protein", "member_size", "v", "l", "field_ok", "field_protein"])
    assert frame.index.tolist() == names
    assert frame.ok.all()
    assert (frame.protein == "psd95").all()
    assert frame.field_protein.tolist()[0] == "x"
    assert frame.member_size.min() > SIDE * SIDE
    assert frame.v.dropna().tolist() == ["text", "1", "1.5", "True", str(2**60 + 1)]
    assert frame.l.dropna().tolist() == ['[1, {"a": [null]}]']
    assert len(store.samples("subset")) == len(told)
    assert store.table("subset/raw").to_memory().n_obs == len(told)
    zs.verify(tmp_path / "a.zarr", sources=tar, read_data=True)


def test_the_kind_of_an_archive_is_told_by_its_content(tmp_path):
    """Archives may have any name: collection, normalised, raw or tiff show in their members."""
    made = {
        "full/normalised": (f"{UUID}-0-0", npz(np.zeros((8, 8), np.uint8))),
        "subset/raw": (f"sir-actin-{UUID}-0-0", npz(np.zeros((8, 8), np.uint16))),
        "full/tiff": (f"{UUID}-0-0.tif", tiff(np.zeros((8, 8), np.uint16), imagej=True)),
    }
    tars = [write_tar(tmp_path / f"{number}.tar", [one]) for number, one in enumerate(made.values())]
    record = zs.convert(tars, tmp_path / "s.zarr")
    assert [one.path for one in record.elements if one.kind == "image"] == sorted(made)


def test_both_collections_in_one_archive_become_two_stacks(tmp_path):
    data = npz(np.zeros((8, 8), np.uint16))
    tar = write_tar(tmp_path / "a.tar", [(f"{UUID}-0-0", data), (f"FUS-{UUID}-0-0", data), (f"{UUID}-0-224", data)])
    record = zs.convert(tar, tmp_path / "s.zarr")
    assert {one.path: one.shape[0] for one in record.elements if one.kind == "image"} == {
        "full/raw": 2,
        "subset/raw": 1,
    }


def test_two_archives_for_one_stack_are_refused(stedfm, tmp_path):
    twice = tmp_path / "again.tar"
    twice.write_bytes(stedfm["full/raw"].read_bytes())
    with pytest.raises(RecipeError, match=r"again\.tar holds full/raw, and so does another source: give one of them"):
        zs.convert([stedfm["full/raw"], twice], tmp_path / "s.zarr")
    assert not (tmp_path / "s.zarr").exists()


def test_of_members_with_one_name_the_first_keeps_the_row(stedfm, tmp_path):
    """A writer that was run again appends everything again: an equal copy is ignored, a different one is named."""
    members = list(members_of(stedfm["full/raw"]).items())
    (same, data), (other, _) = members[2], members[5]
    changed = npz(np.full((SIDE, SIDE), 7, np.uint16))
    tar = write_tar(tmp_path / "raw.tar", [*members, (same, data), (other, changed), (same, data)])
    record = zs.convert([stedfm["full/normalised"], tar], tmp_path / "s.zarr", shard=16)
    n = len(members)
    counts = record.counts
    assert (counts.members, counts.converted, counts.ignored, counts.quarantined) == (2 * n + 3, 2 * n, 2, 1)
    (finding,) = record.conversions[0].findings
    assert finding.kind == "duplicate"
    assert finding.where == f"raw.tar!/{other}"
    assert re.fullmatch(
        r"a second member of this name at byte \d+, and its bytes differ: the first one is kept\.", finding.message
    )
    offset = int(re.search(r"byte (\d+)", finding.message)[1])
    assert tar.read_bytes()[offset : offset + len(changed)] == changed
    assert [read_stamp(one["raw"]) for one in zs.open(tmp_path / "s.zarr").samples("full")] == list(range(n))
    zs.verify(tmp_path / "s.zarr", sources=[tar, stedfm["full/normalised"]])


def test_where_a_member_lies_is_kept_with_its_row(store, stedfm):
    """Name, offset and size in the rows: a crop of the archive can be read again without a pass over the archive."""
    frame = store.table("full/tiff", ["index", "member_offset", "member_size"])
    archive = Path(stedfm["full/tiff"]).read_bytes()
    members = members_of(stedfm["full/tiff"])
    for name, row in frame.iterrows():
        assert archive[row.member_offset : row.member_offset + row.member_size] == members[name]


def test_the_fingerprint_of_a_source_can_be_computed_again(stedfm_store, stedfm):
    """SHA-256 over name, size and XXH3-128 of each member: the documented recipe gives the recorded text."""
    import xxhash

    record = zs.open(stedfm_store).record
    by_name = {source.name: source for source in record.conversions[0].sources}
    for path in stedfm.values():
        state = hashlib.sha256()
        for name, data in members_of(path).items():
            state.update(f"{name}\0{len(data)}\0{xxhash.xxh3_128_hexdigest(data)}\n".encode())
        assert by_name[path.name].fingerprint == state.hexdigest()
        assert by_name[path.name].members == len(open_source(str(path)).index().members)


def test_a_link_among_the_crops_is_quarantined(stedfm, tmp_path):
    """A link is not followed: its row is quarantined, and no folder of this machine stands in the reason."""
    members = list(members_of(stedfm["full/raw"]).items())
    name = members[4][0]
    members[4] = (special(name, b"2", "../../secret"), b"")
    tar = write_tar(tmp_path / "raw.tar", members)
    zs.convert(tar, tmp_path / "s.zarr")
    frame = zs.open(tmp_path / "s.zarr").table("full/raw", ["index", "ok", "reason"])
    assert frame.index[~frame.ok].tolist() == [name]
    assert "link" in frame.reason[name]
    assert str(tmp_path) not in frame.reason[name]
    assert contains(tmp_path / "s.zarr", str(tmp_path)) == []
