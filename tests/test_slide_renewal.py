"""A finished store of slides, converted again from files that changed: only what they make is made anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import zarrscope as zs
from faults.injector import digest_tree
from zarrscope.demo import make_stimage
from zarrscope.engine.journal import Journal
from zarrscope.errors import StoreError

SLIDE = "Visium/GSE175540_GSM5924045"
NAME = "GSE175540_GSM5924045"
ROOT = {"zarr.json", "slides", "genes", "manifest"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small tree of slides, and the store made of it."""
    home = tmp_path_factory.mktemp("made")
    tree = make_stimage(home, slides=4, spots=60, genes=40, side=200)
    zs.convert(tree, home / "s.zarr")
    return tree, home / "s.zarr"


@pytest.fixture
def both(made, tmp_path):
    """Copies of both, to change."""
    tree, store = made
    shutil.copytree(tree, tmp_path / tree.name)
    shutil.copytree(store, tmp_path / "s.zarr")
    return tmp_path / tree.name, tmp_path / "s.zarr"


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """Give the groups in which an object was written anew, came or went: of slides two levels below the slide."""
    keys = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    files = {key for key in keys if not key.endswith("/")}
    return {"/".join(key.split("/")[:3]) if key.startswith(("ST", "Visium")) else key.split("/")[0] for key in files}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def correct_radius(tree: Path) -> None:
    """Write another radius of as many characters: the file keeps its size, as a published correction nearly did."""
    path = tree / f"Visium/coord/{NAME}_coord.csv"
    radius = path.read_text().splitlines()[1].rpartition(",")[2]
    edit(path, f",{radius}", "," + radius[:-1] + ("1" if radius[-1] != "1" else "2"))


def relabel(tree: Path) -> None:
    edit(tree / f"annotation/{NAME}_anno.csv", "invasive cancer", "invasive CANCER")


def drop_labels(tree: Path) -> None:
    (tree / f"annotation/{NAME}_anno.csv").unlink()


def retell(tree: Path) -> None:
    edit(next((tree / "meta").glob("*.csv")), '"kidney"', '"Kidney"')


def repaint(tree: Path) -> None:
    other = next(path for path in (tree / "ST/image").glob("*.png"))
    (tree / f"Visium/image/{NAME}.png").write_bytes(other.read_bytes())


TABLES = {f"{SLIDE}/counts"}
CHANGES = {
    "a coordinate file of the same size": (correct_radius, TABLES),
    "labels": (relabel, TABLES),
    "labels that are gone": (drop_labels, TABLES),
    "the table of slides": (retell, set()),
    "a picture": (repaint, TABLES | {f"{SLIDE}/image"}),
}


@pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=CHANGES.keys())
def test_only_what_changed_files_make_is_written(change, expected, both, tmp_path):
    """The tables of the store as a whole follow; the result is that of converting everything at once."""
    tree, store = both
    before = digest_tree(store)
    change(tree)
    record = zs.convert(tree, store)
    after = digest_tree(store)
    assert changed(before, after) - ROOT == expected
    zs.convert(tree, tmp_path / "anew.zarr")
    assert changed(digest_tree(tmp_path / "anew.zarr"), after) == {"zarr.json"}  # there the record has one conversion
    counts = record.conversions[-1].counts
    assert counts.members == counts.converted + counts.ignored + counts.quarantined
    assert "3 of 4 samples are in the store already" in record.conversions[-1].findings[-1].message
    assert str(zs.verify(store, sources=tree, read_data=True))


def test_nothing_changed_is_nothing_done(both):
    """Nothing is written, whatever the folder is called now; the record stays as it is."""
    tree, store = both
    before, told = digest_tree(store), []
    moved = tree.rename(tree.with_name("elsewhere"))
    record = zs.convert(moved, store, say=told.append)
    assert record == zs.open(store).record
    assert digest_tree(store) == before
    assert "holds all of it already" in told[-1]


class StopError(Exception):
    """Raised where a conversion is stopped."""


def test_stopped_half_way_it_goes_on(both, tmp_path):
    """Until it is done the slide is pending and the others are served; the same line again ends as without a stop."""
    tree, store = both
    correct_radius(tree)
    shutil.copytree(store, tmp_path / "whole.zarr")
    zs.convert(tree, tmp_path / "whole.zarr")

    def stop(state):
        if state.stage == "tables":
            raise StopError

    with pytest.raises(StopError):
        zs.convert(tree, store, progress=stop)
    with pytest.warns(UserWarning, match=f"adds or replaces {SLIDE}"):
        opened = zs.open(store)
    with pytest.raises(StoreError, match="pending"):
        opened.table(f"{SLIDE}/counts")
    zs.convert(tree, store)
    assert digest_tree(store) == digest_tree(tmp_path / "whole.zarr")


def test_what_a_killed_clean_up_left_is_not_believed(both, tmp_path, monkeypatch):
    """Receipts of the conversion before name the same tasks: a corrected file is converted all the same."""
    tree, store = both
    with monkeypatch.context() as patched:
        patched.setattr("zarrscope.engine.journal.Journal.delete", Journal.end)
        zs.convert(tree, store, overwrite=True)
    assert list((store / ".zarrscope/receipts").rglob("0"))
    correct_radius(tree)
    zs.convert(tree, store)
    zs.convert(tree, tmp_path / "anew.zarr")
    assert changed(digest_tree(tmp_path / "anew.zarr"), digest_tree(store)) == {"zarr.json"}


def test_slides_left_out_are_added_later(made, tmp_path):
    """``--where`` may ask for others the next time; those that are there stay untouched."""
    tree, _ = made
    store = tmp_path / "s.zarr"
    zs.convert(tree, store, where="technology == 'ST'")
    first = digest_tree(store)
    zs.convert(tree, store, where="technology == 'Visium'")
    after = digest_tree(store)
    assert not [key for key in first if key.startswith("ST/") and first[key] != after.get(key)]
    assert sorted(set(zs.open(store).slides["technology"])) == ["ST", "Visium"]
    zs.verify(store, sources=tree)


def test_made_in_another_way_is_refused(both):
    """Slides of one store are made with one codec, else a part that stays would not fit one that is made anew."""
    tree, store = both
    correct_radius(tree)
    with pytest.raises(StoreError, match=r"was made by stimage 1 with .*zstd:1; this is stimage 1 .*zstd:3"):
        zs.convert(tree, store, codec="zstd:3")
