"""BioSR: a folder tree becomes pairs of stacks; in the test part nine levels share one ground truth."""

import shutil

import numpy as np
import pytest

import zarrscope as zs
from hostile import HTML, bad_tiff, contains, elements
from zarrscope.demo import make_biosr, read_stamp
from zarrscope.errors import RecipeError, VerifyError

PAIRS = {"train": ("training", 36), "validate": ("validate", 18)}


@pytest.fixture(scope="module")
def store(biosr_store):
    return zs.open(biosr_store)


@pytest.mark.parametrize(("part", "folder", "n"), [(part, *rest) for part, rest in PAIRS.items()])
@pytest.mark.parametrize("role", ["wf", "gt"])
def test_pairs_lie_in_the_order_of_their_numbers(store, part, folder, n, role):
    """Row i of both stacks is patch i + 1."""
    assert [read_stamp(one) for one in store.image(f"{part}/{role}").to_numpy()] == list(range(n))
    frame = store.table(f"{part}/{role}", ["index", "number"])
    assert frame.index.tolist() == [f"{folder}_{role}/{number:08d}.tif" for number in range(1, n + 1)]
    assert frame.number.tolist() == list(range(1, n + 1))


def test_pixels_are_those_of_the_files(store, biosr):
    import tifffile

    pixels = store.image("train/wf").to_numpy()
    for row in range(36):
        held = tifffile.imread(biosr / f"training_wf/{row + 1:08d}.tif")
        np.testing.assert_array_equal(pixels[row], held.squeeze())
    assert pixels.dtype == np.float32


def test_nine_levels_share_one_ground_truth(store):
    """A row of ``test/wf`` has its level and the row of its partner; every level has every number."""
    frame = store.table("test/wf", ["level", "number", "gt_row"])
    assert frame.level.tolist() == [level for level in range(1, 10) for _ in range(10)]
    assert frame.number.tolist() == list(range(1, 11)) * 9
    wf, gt = store.image("test/wf").to_numpy(), store.image("test/gt").to_numpy()
    assert [read_stamp(one) for one in wf] == list(range(90))
    for row, partner in enumerate(frame.gt_row):
        assert read_stamp(gt[partner]) == row % 10
    samples = store.samples("test", columns=["level"])
    assert len(samples) == 90
    assert all(read_stamp(one["wf"]) % 10 == read_stamp(one["gt"]) for one in samples)


def test_a_query_over_levels_brings_the_partners(store):
    chosen = store.query("level == 3").samples(columns=["number"])
    assert [read_stamp(one["wf"]) for one in chosen] == list(range(20, 30))
    assert [read_stamp(one["gt"]) for one in chosen] == list(range(10))


def test_no_pixel_size_is_claimed(store):
    """It is not known whether the pairs have 62.6 or 31.3 nm: axes have no unit, scale 1."""
    for path in store.images:
        image = store.image(path)
        assert not [name for name in image.coords if name in "yx"]
        assert "meter" not in str(image.attrs)


def inferred(store, path):
    return [name for name in store.table(path).obs.columns if name.startswith("inferred")]


def test_provenance_is_inferred_only_where_counts_fit(store, tmp_path):
    """36 and 18 pairs are no multiple of what the authors' loops give, and 10 test patches no multiple of 15 cells."""
    assert [inferred(store, path) for path in store.images] == [[]] * 6
    tree_of_15 = make_biosr(tmp_path, train=0, validate=180, test=15, levels=1)
    zs.convert(tree_of_15, tmp_path / "s.zarr")
    fitting = zs.open(tmp_path / "s.zarr")
    columns = ["inferred_cell", "inferred_level", "inferred_flip"]
    for role in ("wf", "gt"):
        frame = fitting.table(f"validate/{role}", columns)
        expected = [
            (1 + k // 36, 1 + k % 36 // 4, ("none", "up-down", "left-right", "both")[k % 4]) for k in range(180)
        ]
        assert list(frame.itertuples(index=False, name=None)) == expected
        assert fitting.table(f"test/{role}", ["inferred_cell"]).inferred_cell.tolist() == list(range(1, 16))


def test_the_published_counts_give_the_published_provenance():
    """With 41,040 pairs: 38 patches a flip, 152 a level, 1,368 a cell, cells from 6."""
    from zarrscope.recipes.biosr import _inferred

    found = _inferred("training", np.arange(1, 41_041))
    k = np.arange(41_040)
    np.testing.assert_array_equal(found["inferred_cell"], 6 + k // 1368)
    np.testing.assert_array_equal(found["inferred_level"], 1 + k % 1368 // 152)
    assert found["inferred_flip"][[0, 38, 76, 114, 152]].tolist() == ["none", "up-down", "left-right", "both", "none"]
    test = _inferred("test", np.tile(np.arange(1, 151), 9))
    np.testing.assert_array_equal(test["inferred_cell"], 1 + np.tile(np.arange(150), 9) // 10)


def test_a_limit_takes_pairs_of_each_part(biosr, tmp_path):
    record = zs.convert(biosr, tmp_path / "s.zarr", limit=4, shard=2)
    shapes = {one.path: one.shape[0] for one in record.elements if one.kind == "image"}
    assert shapes == dict.fromkeys(("train/wf", "train/gt", "validate/wf", "validate/gt", "test/wf", "test/gt"), 4)
    assert (record.counts.converted, record.counts.left_out, record.counts.ignored) == (24, 208 - 24, 1)
    zs.verify(tmp_path / "s.zarr", sources=biosr)


def test_an_expression_takes_whole_levels_with_their_partners(biosr, tmp_path):
    """A column of the test part leaves the others out; ground truths are written once."""
    record = zs.convert(biosr, tmp_path / "s.zarr", where="level in (2, 9) and number > 7")
    store = zs.open(tmp_path / "s.zarr")
    assert {path: store.image(path).shape[0] for path in store.images} == {"test/wf": 6, "test/gt": 3}
    samples = store.samples("test", columns=["level", "number"])
    assert [(one["level"], one["number"]) for one in samples] == [(2, 8), (2, 9), (2, 10), (9, 8), (9, 9), (9, 10)]
    assert all(read_stamp(one["wf"]) % 10 == read_stamp(one["gt"]) == one["number"] - 1 for one in samples)
    assert record.counts.left_out == 208 - 9


# --- what is wrong with the tree ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Few patches, three levels: what the tests below change a copy of."""
    return make_biosr(tmp_path_factory.mktemp("small"), train=9, validate=0, test=5, levels=3, stamp=True)


@pytest.fixture
def folder(small, tmp_path):
    return shutil.copytree(small, tmp_path / "data" / "biosr_dataset")


@pytest.fixture
def converted(folder, tmp_path):
    """Convert the folder as it then is, with the counts checked and the store proven."""

    def convert(**options):
        record = zs.convert(folder, tmp_path / "s.zarr", **options)
        counts = record.counts
        assert counts.members == counts.converted + counts.ignored + counts.quarantined + counts.left_out
        assert counts.members == sum(path.is_file() or path.is_symlink() for path in folder.rglob("*"))
        zs.verify(tmp_path / "s.zarr", sources=folder, read_data=True)
        assert contains(tmp_path / "s.zarr", str(tmp_path)) == []
        return record, zs.open(tmp_path / "s.zarr")

    return convert


def findings(record):
    return {
        one.where.removeprefix("biosr_dataset!/"): (one.kind, one.message) for one in record.conversions[0].findings
    }


@pytest.mark.parametrize(("gone", "other"), [("wf", "gt"), ("gt", "wf")])
def test_a_partner_that_is_missing_keeps_its_row(folder, converted, gone, other):
    """The row stays, not ok; the other one is converted and in line; the sample is left out."""
    name = f"training_{gone}/00000007.tif"
    (folder / name).unlink()
    record, store = converted()
    frame = store.table(f"train/{gone}", ["index", "ok", "reason"])
    assert np.flatnonzero(~frame.ok).tolist() == [6]
    assert frame.index[6] == name
    assert frame.reason.iloc[6] == "the member is missing from the source"
    assert store.table(f"train/{other}", ["ok"]).ok.all()
    assert findings(record)[name][0] == "missing"
    assert record.counts.converted == 37
    assert record.counts.quarantined == 0
    assert [read_stamp(one[other]) for one in store.samples("train")] == [row for row in range(9) if row != 6]
    assert not store.image(f"train/{gone}")[6].to_numpy().any()


def test_a_patch_that_is_missing_in_one_level(folder, converted):
    """The levels keep their rows, so that every level has every number."""
    (folder / "test_wf/level_02/005.tif").unlink()
    _, store = converted()
    frame = store.table("test/wf", ["index", "ok", "level", "number"])
    (row,) = np.flatnonzero(~frame.ok)
    assert (frame.index[row], frame.level.iloc[row], frame.number.iloc[row]) == ("test_wf/level_02/005.tif", 2, 5)
    assert len(store.samples("test")) == 14


def test_a_ground_truth_that_is_missing_costs_a_sample_a_level(folder, converted):
    (folder / "test_gt/005.tif").unlink()
    record, store = converted()
    assert not store.table("test/gt", ["ok"]).ok.iloc[4]
    samples = store.samples("test", columns=["number"])
    assert len(samples) == 12
    assert 5 not in {one["number"] for one in samples}
    assert record.counts.converted == 37


def test_numbers_that_are_not_there_are_told(folder, converted):
    """A number that neither folder has is no row; that there is a hole is worth knowing."""
    for role in ("wf", "gt"):
        for number in (3, 8):
            (folder / f"training_{role}/{number:08d}.tif").unlink()
    record, store = converted()
    assert store.image("train/wf").shape[0] == 7
    assert findings(record)["training_gt"] == ("missing", "2 numbers up to 9 are not there: 3, 8")
    assert [read_stamp(one["gt"]) for one in store.samples("train")] == [row for row in range(9) if row not in (2, 7)]


STRAY = {
    "a level in a part that has none": ("training_wf/level_01/00000001.tif", "expected a level_NN folder in test_wf"),
    "a level in the ground truth": ("test_gt/level_01/001.tif", "expected a level_NN folder in test_wf"),
    "no level where there should be one": ("test_wf/001.tif", "expected a level_NN folder in test_wf"),
    "level nought": ("test_wf/level_00/001.tif", "expected a level_NN folder in test_wf"),
    "a number written twice": ("training_wf/1.tif", "another member has its place already"),
    "the same folder further down": ("z/training_wf/00000001.tif", "another member has its place already"),
    "another folder": ("extra/00000001.tif", "fits no pattern"),
    "another suffix": ("training_wf/00000001.png", "fits no pattern"),
    "a number that fits nowhere": (f"training_wf/{'9' * 30}.tif", "fits no pattern"),
    "no number": ("training_wf/a.tif", "fits no pattern"),
}


def test_files_in_the_wrong_place_are_named(folder, converted, small, tmp_path):
    """What has no place is quarantined by name; all the rest is as if it were not there."""
    patch = (folder / "training_wf/00000001.tif").read_bytes()
    for name, _ in STRAY.values():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(patch)
    record, _ = converted()
    told = findings(record)
    assert set(told) == {name for name, _ in STRAY.values()}
    for name, message in STRAY.values():
        assert told[name][0] == "misnamed"
        assert message in told[name][1]
    assert record.counts.quarantined == len(STRAY)
    zs.convert(small, tmp_path / "clean.zarr")
    assert elements(tmp_path / "s.zarr") == elements(tmp_path / "clean.zarr")


def test_a_number_far_away_costs_no_memory(folder, converted):
    """A single file of a huge number is one more row without a partner, and a hole that is told in one line."""
    patch = (folder / "training_gt/00000001.tif").read_bytes()
    (folder / "training_gt/999999999.tif").write_bytes(patch)
    record, store = converted()
    assert store.image("train/wf").shape[0] == 10
    assert (
        findings(record)["training_gt"][1] == "999999989 numbers up to 999999999 are not there: 10, 11, 12, 13, 14, ..."
    )
    assert len(store.samples("train")) == 9


BAD = bad_tiff((128, 128), np.float32)


def test_bad_patches_are_quarantined_with_their_reason(folder, converted):
    for number, (data, _) in enumerate(BAD.values(), 2):
        (folder / f"training_gt/{number:08d}.tif").write_bytes(data)
    record, store = converted(shard=4)
    frame = store.table("train/gt", ["ok", "reason"])
    assert np.flatnonzero(~frame.ok).tolist() == list(range(1, 1 + len(BAD)))
    for row, (_, reason) in enumerate(BAD.values(), 1):
        assert reason in frame.reason.iloc[row]
    assert record.counts.quarantined == len(BAD)
    assert len(store.samples("train")) == 9 - len(BAD)
    assert not store.image("train/gt")[1 : 1 + len(BAD)].to_numpy().any()


def test_links_in_the_tree_are_not_followed(folder, converted, tmp_path):
    """A link to a file keeps its row, quarantined; a link to a folder is one member that fits no name."""
    secret = tmp_path / "secret.tif"
    shutil.copy(folder / "training_wf/00000002.tif", secret)
    (folder / "training_wf/00000002.tif").unlink()
    (folder / "training_wf/00000002.tif").symlink_to(secret)
    (folder / "more").symlink_to(tmp_path)
    record, store = converted()
    frame = store.table("train/wf", ["ok", "reason"])
    assert np.flatnonzero(~frame.ok).tolist() == [1]
    assert "a link, and links are not followed" in frame.reason.iloc[1]
    assert findings(record)["more"] == ("misnamed", "a link, and links are not followed")


def test_a_part_may_be_missing_as_a_whole_but_not_by_half(folder, converted, tmp_path):
    """A tree without a test part is fine; one folder of a pair without the other is not what it says."""
    for name in ("test_gt", "test_wf"):
        shutil.rmtree(folder / name)
    _, store = converted()
    assert store.sets == ["train"]
    shutil.rmtree(folder / "training_gt")
    with pytest.raises(RecipeError, match="biosr_dataset: the folder training_gt is missing or empty"):
        zs.convert(folder, tmp_path / "t.zarr")
    assert not (tmp_path / "t.zarr").exists()


def test_a_tree_of_web_pages_is_refused(folder, tmp_path):
    for path in folder.rglob("*.tif"):
        path.write_bytes(HTML)
    with pytest.raises(RecipeError, match="names fit biosr, but none of the members tried can be decoded"):
        zs.convert(folder, tmp_path / "s.zarr")
    assert not (tmp_path / "s.zarr").exists()


def test_parts_may_come_from_several_folders(folder, tmp_path):
    """Wide and sharp patches in folders of their own are paired across them, and proven against both."""
    sharp = tmp_path / "sharp"
    sharp.mkdir()
    for name in ("training_gt", "test_gt"):
        (folder / name).rename(sharp / name)
    zs.convert([folder, sharp], tmp_path / "s.zarr")
    store = zs.open(tmp_path / "s.zarr")
    assert [read_stamp(one) for one in store.image("test/gt").to_numpy()] == list(range(5))
    assert all(read_stamp(one["wf"]) == read_stamp(one["gt"]) for one in store.samples("train"))
    assert zs.verify(tmp_path / "s.zarr", sources=[sharp, folder]).rows == 38
    shutil.copy(sharp / "test_gt/001.tif", sharp / "test_gt/002.tif")
    with pytest.raises(VerifyError, match=r"test/gt: row 1 \(test_gt/002\.tif\): the member's bytes are not those"):
        zs.verify(tmp_path / "s.zarr", sources=[folder, sharp])
