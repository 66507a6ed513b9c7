"""Bad input: a bad member is quarantined and its siblings stay in line; a source broken as a whole is refused."""

import gzip
import io
import re
import tarfile

import numpy as np
import pytest

import zarrscope as zs
from hostile import HTML, bad_npz, bad_tiff, contains, flipped, members_of, special, tree, write_tar
from zarrscope.demo import read_stamp
from zarrscope.errors import DecodeError, LayoutError, RecipeError, SourceError

SIDE = 40
KINDS = ("subset/normalised", "subset/raw", "subset/tiff")
BAD = {"subset/raw": bad_npz(SIDE), "subset/tiff": bad_tiff((SIDE, SIDE), np.uint16)}
# Every case has a row of its own, in one of three siblings; they are far from the few that tell what an archive is.
ROWS = {
    (kind, case): 10 + 25 * (kind == "subset/tiff") + number
    for kind, cases in BAD.items()
    for number, case in enumerate(cases)
}


def spoil(archive, path, changes):
    """Write an archive again with other content in some rows."""
    members = list(members_of(archive).items())
    for row, data in changes.items():
        members[row] = (members[row][0], data)
    return write_tar(path, members)


@pytest.fixture(scope="module")
def wounded(stedfm, tmp_path_factory):
    """Three siblings, two of them with bad members, converted."""
    folder = tmp_path_factory.mktemp("wounded")
    sources = [
        spoil(
            stedfm[kind],
            folder / stedfm[kind].name,
            {ROWS[kind, case]: bad[0] for case, bad in BAD.get(kind, {}).items()},
        )
        for kind in KINDS
    ]
    record = zs.convert(sources, folder / "s.zarr", shard=16)
    return zs.open(folder / "s.zarr"), record, sources


@pytest.mark.parametrize(("kind", "case"), ROWS, ids=[f"{kind.partition('/')[2]}: {case}" for kind, case in ROWS])
def test_a_bad_member_is_quarantined_in_its_row(kind, case, wounded):
    """Its row stays, with ``ok`` False, the reason, and pixels of zeros; the record names it."""
    store, record, sources = wounded
    row = ROWS[kind, case]
    frame = store.table(kind, ["index", "ok", "reason", "protein"])
    assert not frame.ok.iloc[row]
    assert BAD[kind][case][1] in frame.reason.iloc[row]
    assert frame.protein.iloc[row] == frame.index[row].rpartition("-")[0].rpartition("-")[0][: -len("-" + "0" * 36)]
    assert not store.image(kind, chunks=None)[row].to_numpy().any()
    name = sources[KINDS.index(kind)].name
    named = {finding.where: finding for finding in record.conversions[0].findings}
    finding = named[f"{name}!/{frame.index[row]}"]
    assert (finding.kind, finding.message) == ("decode", frame.reason.iloc[row])


def test_siblings_stay_in_line_and_samples_leave_the_row_out(wounded):
    """A bad crop costs its sample and no other: every other sample still has its three partners."""
    store, record, _ = wounded
    bad = sorted(ROWS.values())
    samples = store.samples("subset")
    assert len(samples) == 72 - len(bad)
    rows = [row for row in range(72) if row not in bad]
    for row, sample in zip(rows, samples, strict=True):
        assert {read_stamp(sample[role]) for role in samples.images} == {row}
    assert len(store.samples("subset", quarantined=True)) == 72
    assert len(store.query("grid_row >= 0")) == 72 - len(bad)
    counts = record.counts
    assert (counts.members, counts.converted, counts.quarantined) == (3 * 72, 3 * 72 - len(bad), len(bad))
    assert [record.element(kind).quarantined for kind in KINDS] == [0, len(BAD["subset/raw"]), len(BAD["subset/tiff"])]
    assert record.findings == ()


def test_statistics_leave_the_quarantined_out(wounded):
    store, _, _ = wounded
    frame = store.table("subset/raw", ["ok"])
    pixels = store.image("subset/raw").to_numpy()[frame.ok.to_numpy()]
    assert store.statistics("subset/raw").loc["all", "count"] == pixels.size
    assert store.statistics("subset/raw").loc["all", "mean"] == pytest.approx(pixels.mean())


def test_a_store_with_quarantined_members_is_a_right_one(wounded):
    store, _, sources = wounded
    assert zs.verify(store.url, sources=sources, read_data=True).rows == 3 * 72
    assert contains(sources[0].parent / "s.zarr", str(sources[0].parent)) == []


STRICT = [
    ("subset/raw", "a key of another name"),
    ("subset/raw", "a pickle that runs a command"),
    ("subset/tiff", "cut"),
]


@pytest.mark.parametrize(("kind", "case"), STRICT)
def test_strict_stops_at_the_first_and_names_it(kind, case, stedfm, tmp_path):
    """The error says which member as a user would type it, once, and what was found; then it can be quarantined."""
    tar = spoil(stedfm[kind], tmp_path / "crops.tar", {30: BAD[kind][case][0]})
    with pytest.raises(DecodeError) as error:
        zs.convert(tar, tmp_path / "s.zarr", shard=8, strict=True)
    name = list(members_of(tar))[30]
    assert re.fullmatch(
        rf"{re.escape(f'{tar}!/{name}: ')}(?!.*!/).*{re.escape(BAD[kind][case][1])}.*", str(error.value)
    )
    record = zs.convert(tar, tmp_path / "s.zarr", shard=8)
    assert record.counts.quarantined == 1


def test_strict_says_it_once_where_the_source_refuses_the_member(stedfm, tmp_path):
    """What a source says of a member names it already."""
    members = list(members_of(stedfm["full/raw"]).items())
    members[30] = (special(members[30][0], tarfile.SYMTYPE, "/etc/passwd"), b"")
    tar = write_tar(tmp_path / "crops.tar", members)
    with pytest.raises(DecodeError) as error:
        zs.convert(tar, tmp_path / "s.zarr", shard=8, strict=True)
    assert str(error.value) == f"{tar}!/{members[30][0].name}: a symbolic link."


@pytest.mark.parametrize("share", [2, 40, 93])
def test_no_share_of_bad_members_refuses_a_source(share, stedfm, tmp_path):
    """One good crop in 94 is a store; it is only said loudly."""
    tar = spoil(stedfm["full/raw"], tmp_path / "crops.tar", {row: HTML for row in range(94) if row >= 94 - share})
    record = zs.convert(tar, tmp_path / "s.zarr", recipe="stedfm", shard=16)
    assert (record.counts.converted, record.counts.quarantined) == (94 - share, share)
    from zarrscope.describe import record_text

    assert f"WARNING: {share / 94:.1%} of the members are quarantined." in record_text(record)
    zs.verify(tmp_path / "s.zarr", sources=tar)


def test_what_decodes_nowhere_is_refused(stedfm, tmp_path):
    tar = write_tar(tmp_path / "crops.tar", dict.fromkeys(members_of(stedfm["full/raw"]), HTML))
    with pytest.raises(
        RecipeError, match=r"no recipe takes crops\.tar: names fit stedfm, but none of the members tried can"
    ):
        zs.convert(tar, tmp_path / "s.zarr")
    with pytest.raises(SourceError, match=r"crops\.tar: none of \d+ members tried can be decoded by stedfm"):
        zs.convert(tar, tmp_path / "s.zarr", recipe="stedfm")
    assert not (tmp_path / "s.zarr").exists()


# --- members that have no row ---------------------------------------------------------------------------------------

UUID = "0f1b0f1b-1111-3aaa-8aaa-0123456789ab"
STRAY = {
    "not the name of a crop": "notes.csv",
    "a path above": f"../../{UUID}-0-0",
    "an absolute path": f"/etc/{UUID}-0-0",
    "a folder before it": f"crops/{UUID}-0-0",
    "no version 3 id": f"{UUID.replace('-3', '-4')}-0-0",
    "no grid place": f"{UUID}-0",
    "a number that fits nowhere": f"{UUID}-{'9' * 30}-0",
    "digits of another script": f"{UUID}-٣-0",
    "another suffix": f"{UUID}-0-0.tif.part",
    "capitals": f"{UUID.upper()}-0-0",
    "a newline at its end": f"{UUID}-0-0\n",
    "control characters": f"\x1b[31m{UUID}/x-0-0",
}


def test_members_that_fit_no_pattern_are_named_and_counted(stedfm, tmp_path):
    """Whatever is no crop by its name has no row: quarantined by name, or ignored by rule, and written nowhere."""
    further = [*((name, b"x") for name in STRAY.values()), ("README.txt", b"r"), (".hidden", b"h"), ("a/b/._x", b"h")]
    further += [(special("crops/", tarfile.DIRTYPE), b""), (special("pipe", tarfile.FIFOTYPE), b"")]
    tar = write_tar(tmp_path / "crops.tar", [*members_of(stedfm["full/raw"]).items(), *further])
    record = zs.convert(tar, tmp_path / "s.zarr")
    counts = record.counts
    assert (counts.members, counts.converted) == (94 + len(further), 94)
    assert (counts.ignored, counts.quarantined) == (4, len(STRAY) + 1)
    named = {finding.where: finding for finding in record.conversions[0].findings}
    assert set(named) == {f"crops.tar!/{name}" for name in [*STRAY.values(), "pipe"]}
    assert {finding.kind for finding in named.values()} == {"misnamed"}
    assert named["crops.tar!/notes.csv"].message == "the name fits no pattern of the recipe stedfm"
    assert "pipe" in named["crops.tar!/pipe"].message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["crops.tar", "s.zarr"]
    zs.verify(tmp_path / "s.zarr", sources=tar)


def test_links_and_devices_in_place_of_crops(stedfm, tmp_path):
    """They keep their rows, quarantined; nothing that they point to is read."""
    members = list(members_of(stedfm["full/raw"]).items())
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
    for row, kind in enumerate(kinds, 20):
        members[row] = (special(members[row][0], kind, members[0][0]), b"")
    tar = write_tar(tmp_path / "crops.tar", members)
    record = zs.convert([stedfm["full/normalised"], tar], tmp_path / "s.zarr", shard=16)
    store = zs.open(tmp_path / "s.zarr")
    assert np.flatnonzero(~store.table("full/raw", ["ok"]).ok).tolist() == [20, 21, 22, 23, 24]
    assert record.counts.quarantined == len(kinds)
    assert len(store.samples("full")) == 94 - len(kinds)
    zs.verify(tmp_path / "s.zarr", sources=[tar])


# --- sources that are broken as a whole -------------------------------------------------------------------------------


def header_flipped(data):
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        place = tar.getmembers()[40].offset
    return flipped(data, place + 130)


def hole(data):
    return data[: 512 * 20] + bytes(512 * 3) + data[512 * 23 :]


BROKEN = {
    "a header with a flipped bit": (header_flipped, "broken at byte .*checksum does not hold"),
    "cut inside a member": (lambda data: data[: len(data) // 2 + 700], "broken at byte"),
    "cut inside a header": (lambda data: data[: 512 * 40 + 100], "broken at byte"),
    "without its end": (lambda data: data.rstrip(b"\0") + bytes(-len(data.rstrip(b"\0")) % 512), "two blocks of zeros"),
    "a hole of zeros": (hole, "broken at byte"),
    "two archives joined": (lambda data: data + data, "second archive begins at byte"),
    "a web page": (lambda _: HTML, "it looks like an HTML page, so the download failed"),
    "empty": (lambda _: b"", "it is empty"),
    "zeros": (lambda data: bytes(len(data)), "begins with zeros"),
    "packed by gzip": (lambda data: gzip.compress(data[:5000]), "gunzip"),
}


@pytest.mark.parametrize(("harm", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_archive_is_refused_and_nothing_is_written(harm, message, stedfm, tmp_path):
    """One flipped bit in a header could drop a million crops in silence: the source is refused, naming the byte."""
    tar = tmp_path / "crops.tar"
    tar.write_bytes(harm(stedfm["full/raw"].read_bytes()))
    for verb in (zs.convert, zs.plan):
        with pytest.raises(SourceError, match=message) as error:
            verb([stedfm["full/tiff"], tar], tmp_path / "s.zarr")
        assert str(tar) in str(error.value)
        assert error.value.exit_code == 3
    assert [path.name for path in tmp_path.iterdir()] == ["crops.tar"]


SALVAGED = ["a header with a flipped bit", "cut inside a member", "cut inside a header", "two archives joined"]


@pytest.mark.parametrize("case", SALVAGED)
def test_what_stands_before_the_break_can_be_salvaged(case, stedfm, tmp_path):
    """With ``salvage`` the members before the break are converted, and the record says so."""
    tar = tmp_path / "crops.tar"
    tar.write_bytes(BROKEN[case][0](stedfm["full/raw"].read_bytes()))
    record = zs.convert(tar, tmp_path / "s.zarr", salvage=True)
    (source,) = record.conversions[0].sources
    assert source.salvaged
    (finding,) = record.conversions[0].findings
    assert (finding.where, finding.kind) == ("crops.tar", "archive")
    assert f"the {source.members} members before that are taken" in finding.message
    stack = zs.open(tmp_path / "s.zarr").image("full/raw")
    assert [read_stamp(one) for one in stack.to_numpy()] == list(range(source.members))
    zs.verify(tmp_path / "s.zarr", sources=tar)
    assert contains(tmp_path / "s.zarr", str(tmp_path)) == []


def test_salvaged_siblings_of_other_lengths_are_served_alone(stedfm, tmp_path):
    tar = tmp_path / "crops.tar"
    tar.write_bytes(stedfm["full/raw"].read_bytes()[: 512 * 40 + 100])
    record = zs.convert([stedfm["full/normalised"], tar], tmp_path / "s.zarr", salvage=True)
    assert [linked.role for linked in record.samples[0].images] == ["normalised"]
    assert re.fullmatch(r"not joined with full/normalised: \d rows here, 94 there\. .*", record.findings[0].message)


def test_pickles_run_nothing(stedfm, tmp_path, monkeypatch):
    """A member whose metadata would touch a file when unpickled touches none."""
    monkeypatch.chdir(tmp_path)
    tar = spoil(stedfm["subset/raw"], tmp_path / "a.tar", {5: BAD["subset/raw"]["a pickle that runs a command"][0]})
    zs.convert(tar, tmp_path / "s.zarr")
    assert not (tmp_path / "this-was-run").exists()
    numpy_runs_it = np.load(io.BytesIO(members_of(tar)[list(members_of(tar))[5]]), allow_pickle=True)["metadata"]
    assert numpy_runs_it.item()["a"] == 0
    assert (tmp_path / "this-was-run").exists()


def test_a_group_name_that_would_leave_the_store_is_no_layout():
    from zarrscope.model import Layout, Table

    with pytest.raises(LayoutError, match="a group name keeps to letters"):
        Layout(images=(), tables=(Table(path="../x", role="rows"), Table(path="a/../b", role="rows")), parts=())


def test_two_conversions_of_bad_input_are_the_same(wounded, tmp_path):
    """Quarantine is part of what is deterministic."""
    store, _, sources = wounded
    zs.convert(sources, tmp_path / "s.zarr", shard=16, workers=1)
    assert tree(tmp_path / "s.zarr") == tree(sources[0].parent / "s.zarr")
    assert store.record == zs.open(tmp_path / "s.zarr").record
