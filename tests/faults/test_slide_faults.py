"""Slides whose conversion is struck, repeated, shared out and added to: always the tree of one quiet conversion.

A sample of the points is tried by default; ``ZARRSCOPE_FAULT_POINTS=200`` tries more of each kind of fault, ``all``
tries every one.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import zarrscope as zs
from faults.conversions import convert, copy_store
from faults.injector import unusable
from faults.sweep import sweep_fork
from hostile import HTML, tree
from zarrscope.demo import make_stimage
from zarrscope.demo.slides import cast
from zarrscope.errors import StoreError
from zarrscope.loaders.table import Table
from zarrscope.recipes.stimage import slide as slides
from zarrscope.storage import Storage

# What an addition under way makes `open` say; checks run in threads, where no test can expect it.
pytestmark = pytest.mark.filterwarnings("ignore:.*a conversion under way adds or replaces:UserWarning")
struck = pytest.mark.skipif(unusable() is not None, reason=str(unusable()))
SMALL = {"spots": 10, "genes": 10, "side": 64, "stamp": True}
OPTIONS = {"workers": 2}
TECHNOLOGIES = ("ST", "Visium", "VisiumHD")


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """A folder in memory where there is one: what is tried is the order of operations, not the disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture
def here(scratch: Path) -> Path:
    """A folder of this test alone."""
    return Path(tempfile.mkdtemp(dir=scratch))


def file_of(root: Path, number: int, kind: str) -> Path:
    """Give a file of a slide by the slide's number."""
    slide = list(cast(number + 1))[number]
    return next((root / slide.technology / kind).glob(f"{slide.name}*"))


@pytest.fixture(scope="module")
def source(scratch: Path) -> Path:
    """Four slides: one sound, one without a picture that can be read, one without counts, one without either."""
    root = make_stimage(scratch / "four", slides=4, **SMALL)
    broken = file_of(root, 1, "image")
    broken.write_bytes(broken.read_bytes()[:-100])
    counts = file_of(root, 2, "gene_exp")
    counts.write_bytes(counts.read_bytes()[:-30])
    for kind in ("image", "gene_exp"):
        file_of(root, 3, kind).write_bytes(HTML)
    return root


@pytest.fixture(scope="module")
def further(scratch: Path) -> Path:
    """A second folder, with other slides and a table of slides of its own; one picture of it is broken."""
    root = make_stimage(scratch / "further", slides=9, **SMALL)
    for slide in list(cast(9))[:7]:
        for path in root.glob(f"*/*/{slide.name}*"):
            path.unlink()
    file_of(root, 8, "image").write_bytes(HTML)
    return root.rename(root.with_name("Further"))


@pytest.fixture(scope="module")
def finished(scratch: Path, source: Path) -> Path:
    """The store of the four slides. Tests must not change it."""
    zs.convert(source, scratch / "finished", **OPTIONS)
    return scratch / "finished"


@pytest.fixture(scope="module")
def added(scratch: Path, finished: Path, further: Path) -> Path:
    """The same store with the further slides."""
    shutil.copytree(finished, scratch / "added")
    zs.convert(further, scratch / "added", **OPTIONS)
    return scratch / "added"


def rows(store: Path) -> dict[str, dict[str, Any]]:
    """Read the table of slides as plain values."""
    table = Table(Storage(str(store)), "slides")
    frame = table.frame(["index", *table.names]).astype(object)
    return frame.where(frame.notna(), None).to_dict("index")


def listed(store: Path) -> dict[str, str]:
    """Read the manifest: the digest of each object."""
    frame = Table(Storage(str(store)), "manifest").frame(["index", "sha256"])
    return dict(zip(frame.index, frame.sha256, strict=True))


def is_whole(store: Path) -> bool:
    """Compare every object with the manifest."""
    there = {key: digest for key, digest in tree(store).items() if not key.startswith(("manifest/", ".zarrscope/"))}
    others = {"zarr.json", *(f"{technology}/zarr.json" for technology in TECHNOLOGIES)}
    assert {key: digest for key, digest in there.items() if key not in others} == listed(store)
    return True


# --- struck ---------------------------------------------------------------------------------------------------------


def points(default: int) -> int | None:
    wanted = os.environ.get("ZARRSCOPE_FAULT_POINTS", str(default))
    return None if wanted == "all" else int(wanted)


def refuses_or_is_whole(directory: Path) -> None:
    """Read as a user would: the store says that it is unfinished, or it is complete and every digest fits."""
    try:
        store = zs.open(directory / "store")
    except StoreError:
        return
    assert is_whole(directory / "store")
    assert len(rows(directory / "store")) == store.record.samples[0].length == 4


def serves_what_was_there(directory: Path, finished: Path, added: Path) -> None:
    """While slides are added the earlier ones stay as they are, and no table is read that is half written."""
    path = directory / "store"
    record, before = zs.open(path).record, zs.open(finished).record
    old = {one.path: one for one in before.elements if one.kind == "sample"}
    assert old.items() <= {one.path: one for one in record.elements}.items()
    for one in old:
        assert tree(path, one) == tree(finished, one)
    if "slides" in record.pending:
        assert record.samples == ()
        assert not {one.path for one in record.elements} & {"slides", "genes", "manifest"}
    elif record.pending:
        assert rows(path) == rows(finished)
        assert listed(path) == listed(finished)
    else:
        assert rows(path) == rows(finished if record == before else added)
        assert is_whole(path)


@struck
def test_a_conversion_resumes_from_any_point(scratch: Path, source: Path) -> None:
    """Killed, torn, out of space or refused a write at any point, and run again: the clean tree, nothing left over."""
    work = partial(convert, sources=[source], **OPTIONS)
    assert sweep_fork(work, scratch / "fresh", between=refuses_or_is_whole, points=points(9)) == []


@struck
def test_an_addition_resumes_from_any_point(scratch: Path, finished: Path, added: Path, further: Path) -> None:
    """Further slides never harm those that are there; the same line again gives the tree of a quiet addition."""
    found = sweep_fork(
        partial(convert, sources=[further], **OPTIONS),
        scratch / "more",
        prepare=partial(copy_store, store=finished),
        between=partial(serves_what_was_there, finished=finished, added=added),
        points=points(9),
    )
    assert found == []


# --- repeated -------------------------------------------------------------------------------------------------------


class Stop(KeyboardInterrupt):
    """What a test raises in place of a user's Ctrl-C."""


@contextmanager
def stopping(monkeypatch: pytest.MonkeyPatch, when: Callable[[str], bool], error: BaseException) -> Iterator[None]:
    """Raise an error in place of the first write of a key for which ``when`` holds."""
    put = Storage.put

    def stop(storage: Storage, key: str, data: Any) -> None:
        if when(key):
            raise error
        put(storage, key, data)

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "put", stop)
        yield


def test_a_part_that_is_finished_is_not_made_again(source, finished, here, monkeypatch):
    """Stopped in the counts of each slide in turn: pictures that were written are not decoded again, nor are slides."""
    for slide in ("ST", "Visium"):
        with (
            stopping(monkeypatch, lambda key, slide=slide: key.startswith(slide) and "/by_gene/" in key, Stop()),
            pytest.raises(Stop),
        ):
            zs.convert(source, here / "s.zarr", workers=1)
    made: list[str] = []
    for name in ("write_picture", "_write_counts"):
        function = getattr(slides, name)

        def counting(desk, *rest, name=name, function=function):
            made.append(f"{name.split('_')[-1]} of {desk.sample.path}")
            return function(desk, *rest)

        monkeypatch.setattr(slides, name, counting)
    zs.convert(source, here / "s.zarr", workers=1)
    _, second, third, _ = cast(4)
    assert sorted(made) == [
        f"counts of Visium/{second.name.replace('+', '_')}",
        f"counts of VisiumHD/{third.name}",
        f"picture of VisiumHD/{third.name}",
    ]
    assert tree(here / "s.zarr") == tree(finished)


def test_a_full_disk_says_so_and_the_same_line_goes_on(source, finished, here, monkeypatch):
    """Whatever was being written, parts or tables, what is there is kept."""
    for when in (lambda key: "/counts/" in key, lambda key: key.startswith("genes/"), lambda key: key == "zarr.json"):
        with (
            stopping(monkeypatch, when, OSError(errno.ENOSPC, "no space")),
            pytest.raises(StoreError, match=r"no space is left\. What is written is safe: make room"),
        ):
            zs.convert(source, here / "s.zarr")
        with pytest.raises(StoreError, match="holds an unfinished conversion"):
            zs.open(here / "s.zarr")
    zs.convert(source, here / "s.zarr")
    assert tree(here / "s.zarr") == tree(finished)


def test_what_a_killed_picture_left_behind_goes_with_it(here, monkeypatch):
    """Begun with much memory and resumed with little, a picture is quarantined: none of its shards stays."""
    monkeypatch.setattr("zarrscope.engine.run.resident", lambda: 200 << 20)  # and not what other tests left behind
    root = make_stimage(here, slides=1, **SMALL)
    Image.new("L", (12_000, 12_000)).save(file_of(root, 0, "image"), "JPEG", quality=1, progressive=True)
    with stopping(monkeypatch, lambda key: key.endswith("/image/zarr.json"), Stop()), pytest.raises(Stop):
        zs.convert(root, here / "s.zarr")
    assert list(here.glob("s.zarr/ST/*/image"))
    for name in ("s.zarr", "clean.zarr"):
        record = zs.convert(root, here / name, memory=1_000_000_000)
        assert record.counts.quarantined == 1
    assert tree(here / "s.zarr") == tree(here / "clean.zarr")
    assert not list(here.glob("s.zarr/ST/*/image"))


# --- shared out -----------------------------------------------------------------------------------------------------


@contextmanager
def dask() -> Iterator[Executor]:
    """Start a cluster of two processes on this host."""
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": "127.0.0.1:0"}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        yield client.get_executor()


type Make = Callable[[], AbstractContextManager[Executor]]
EXECUTORS: dict[str, Make] = {
    "threads": lambda: ThreadPoolExecutor(3),
    "spawned processes": lambda: ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")),
    "a dask cluster": dask,
}
WAYS = {
    "one worker": {"workers": 1},
    "two workers": {"workers": 2},
    "four workers": {"workers": 4},
    "little memory": {"memory": 1_000_000_000, "workers": 2},
    "much memory": {"memory": 8_000_000_000, "workers": 3},
}


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_workers_and_memory_change_no_byte(options, source, finished, here):
    zs.convert(source, here / "s.zarr", **options)
    assert tree(here / "s.zarr") == tree(finished)


@pytest.mark.parametrize("make", EXECUTORS.values(), ids=EXECUTORS)
def test_every_executor_writes_the_same_bytes(make, source, further, finished, added, here):
    """One executor converts, and adds: workers know nothing of the conversion before."""
    with make() as executor:
        zs.convert(source, here / "s.zarr", executor=executor)
        assert tree(here / "s.zarr") == tree(finished)
        zs.convert(further, here / "s.zarr", executor=executor)
    assert tree(here / "s.zarr") == tree(added)


# --- added to -------------------------------------------------------------------------------------------------------


def test_further_slides_leave_those_that_are_there_alone(source, further, finished, here):
    """Objects of earlier slides are not written again; tables have all slides, with the values they had."""
    store = shutil.copytree(finished, here / "s.zarr")
    before = {path: path.stat().st_mtime_ns for path in store.glob("*/*/**/*") if path.is_file()}
    record = zs.convert(further, store)
    kept = {path: time for path, time in before.items() if path.relative_to(store).parts[0] in TECHNOLOGIES}
    assert len(kept) > 100
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert [one.counts.members for one in record.conversions] == [
        sum(path.is_file() for path in root.rglob("*")) for root in (source, further)
    ]
    assert record.samples[0].length == 6
    was, now = rows(finished), rows(store)
    for name, row in was.items():
        assert {key: value for key, value in now[name].items() if value is not None or key in row} == row
    assert is_whole(store)
    assert listed(store).keys() >= {key for key in listed(finished) if not key.startswith(("slides/", "genes/"))}


def test_slides_added_make_the_tables_of_all_at_once(source, further, added, here):
    """Values and their types are those of one conversion of both folders; every slide has the same bytes."""
    zs.convert([source, further], here / "s.zarr")
    assert rows(here / "s.zarr") == rows(added)
    one, other = (Table(Storage(str(store)), "slides") for store in (here / "s.zarr", added))
    wanted = one.frame(sorted(one.names))
    assert other.frame(sorted(other.names)).dtypes.astype(str).to_dict() == wanted.dtypes.astype(str).to_dict()
    for technology in TECHNOLOGIES:
        assert tree(here / "s.zarr", technology) == tree(added, technology)
    assert tree(here / "s.zarr", "genes") == tree(added, "genes")


def test_a_slide_that_was_lost_can_be_added(finished, here):
    """A slide of which nothing was converted has only a row, which better files replace; the others stay."""
    store, lost = shutil.copytree(finished, here / "s.zarr"), list(cast(4))[3]
    better = make_stimage(here, slides=4, **SMALL).rename(here / "better")
    zs.convert(better, store, where=f"index == '{lost.name}'")
    row = rows(store)[lost.name]
    assert (row["ok"], row["image_ok"], row["counts_ok"], row["reason"]) == (True, True, True, None)
    assert len(rows(store)) == 4
    assert is_whole(store)


def test_a_name_of_another_technology_is_refused(finished, here):
    """The name of a slide is that of its row in one table for all: it would take the row of the other."""
    name = next(cast(1)).name
    root = make_stimage(here, slides=1, **SMALL)
    (root / "ST").rename(root / "Visium")
    root = root.rename(here / "moved")
    with pytest.raises(StoreError, match=f"holds {name} already"):
        zs.convert(root, shutil.copytree(finished, here / "s.zarr"))
    assert tree(here / "s.zarr") == tree(finished)


def test_a_finished_store_is_left_alone(source, finished):
    """The same line again does nothing, though some members were quarantined."""
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    record = zs.convert(source, finished)
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before
    assert record.counts.quarantined == 7
