"""Conversions struck at their file operations and run again: the store is that of an uninterrupted run, byte for byte.

A sample of the points is tried by default; ``ZARRSCOPE_FAULT_POINTS=200`` tries more of each kind of fault, ``all``
tries every one (an hour a scenario).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import zarrscope
from faults.conversions import BIOSR, STEDFM, convert, copy_store, make_sources, with_flaw, without_tables
from faults.injector import unusable
from faults.sweep import sweep_fork
from zarrscope.errors import StoreError

pytestmark = [
    pytest.mark.skipif(unusable() is not None, reason=str(unusable())),
    # What an addition under way makes `open` say; checks run in threads, where no test can expect it.
    pytest.mark.filterwarnings("ignore:.*a conversion under way adds or replaces:UserWarning"),
]
SIBLINGS = ("normalised", "raw")
OLD = "subset/normalised"


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """A folder in memory where there is one: what is tried is the order of operations, not the disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def sources(scratch: Path) -> dict[str, Path]:
    return make_sources(scratch / "sources")


@pytest.fixture(scope="module")
def finished(scratch: Path, sources: dict[str, Path]) -> Path:
    """A finished store of two siblings, which others are added to."""
    zarrscope.convert([sources[name] for name in SIBLINGS], scratch / "finished", **STEDFM)
    return scratch / "finished"


def points(default: int) -> int | None:
    wanted = os.environ.get("ZARRSCOPE_FAULT_POINTS", str(default))
    return None if wanted == "all" else int(wanted)


def refuses_or_is_whole(directory: Path) -> None:
    """Read as a user would: the store says that it is unfinished, or it is complete and every digest fits."""
    try:
        zarrscope.open(directory / "store")
    except StoreError:
        return
    zarrscope.verify(directory / "store")


def serves_what_was_there(directory: Path, finished: Path) -> None:
    """While others are added, the old elements stay readable and right; what is announced is not served."""
    store, before = zarrscope.open(directory / "store"), zarrscope.open(finished)
    assert np.array_equal(store.image(OLD, chunks=None).values, before.image(OLD, chunks=None).values)
    assert store.columns(f"{OLD}/rows", ["grid_row"])["grid_row"].tolist() == list(
        before.columns(f"{OLD}/rows", ["grid_row"])["grid_row"]
    )
    if store.record.pending:
        assert store.images == before.images
    else:
        zarrscope.verify(directory / "store")


FRESH = {
    "siblings, one member broken": ((*SIBLINGS, "tiff"), STEDFM, 10),
    "BioSR": (("biosr",), BIOSR, 4),
}


@pytest.mark.parametrize(("names", "options", "default"), FRESH.values(), ids=FRESH.keys())
def test_a_conversion_resumes_from_any_point(scratch, sources, names, options, default):
    """Killed, torn, out of space or refused a write at any point, and run again: the clean tree, nothing left over."""
    work = partial(convert, sources=[sources[name] for name in names], **options)
    assert sweep_fork(work, scratch / "fresh", between=refuses_or_is_whole, points=points(default)) == []


@pytest.mark.parametrize("names", [("tiff",), (*SIBLINGS, "tiff")], ids=["alone", "in a line with the others"])
def test_an_addition_resumes_from_any_point(scratch, sources, finished, names):
    """Adding an archive to a finished store never harms what is there, and resumes by the same line."""
    work = partial(convert, sources=[sources[name] for name in names], **STEDFM)
    found = sweep_fork(
        work,
        scratch / "added",
        prepare=partial(copy_store, store=finished),
        between=partial(serves_what_was_there, finished=finished),
        points=points(6),
    )
    assert found == []


def test_an_overwrite_resumes_from_any_point(scratch, sources, finished):
    """Struck while it deletes a store or writes the new one, an overwrite leaves what it can overwrite."""
    work = partial(convert, sources=[sources["normalised"]], overwrite=True, shard=6, workers=2)
    found = sweep_fork(
        work,
        scratch / "overwritten",
        prepare=partial(copy_store, store=finished),
        between=refuses_or_is_whole,
        points=points(8),
    )
    assert found == []


def test_shards_and_receipts_resume_from_any_point(scratch, sources):
    """Without the tables, which are nine operations of ten, the same is tried densely."""
    work = partial(without_tables, sources=[sources["normalised"]], **STEDFM)
    assert sweep_fork(work, scratch / "dense", points=points(25)) == []


FLAWS = {
    "receipts first, and trusted": (without_tables, {"shard": 1}, 12, "the resumed tree differs"),
    "written in place": (without_tables, STEDFM, None, "the resumed run failed"),
    "leftovers": (without_tables, {"shard": 1}, 12, "the resumed tree differs"),
    "record before the manifests": (with_flaw, STEDFM, 12, "between: VerifyError"),
}


@pytest.mark.parametrize(("flaw", "how"), FLAWS.items(), ids=FLAWS.keys())
def test_a_mistake_in_the_order_of_writes_is_found(scratch, sources, flaw, how):
    """The sweep can fail: each mistake planted in the converter is reported."""
    work, options, some, problem = how
    work = partial(work, sources=[sources["normalised"]], flaw=flaw, **options)
    between = None if how[0] is without_tables else refuses_or_is_whole
    found = sweep_fork(work, scratch / "flawed", between=between, modes=["torn"], points=some)
    assert any(problem in bad.problem for bad in found), found
