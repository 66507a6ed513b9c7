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

import zarrscope as zs
from faults.conversions import convert, copy_store
from faults.injector import unusable
from faults.sweep import sweep_fork
from hostile import HTML, elements, tree
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
    held = {
        key: digest for key, digest in tree(store).items() if key.count("/") > 1 and not key.startswith("manifest/")
    }
    return held.items() <= listed(store).items()


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
