"""What stands between two runs of one line: damage to the journal, a full disk, a change of mind, another converter."""

from __future__ import annotations

import json
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

import zarrscope
from faults.conversions import STEDFM, convert, make_sources
from faults.forkserver import ForkServer
from faults.injector import digest_tree, run, unusable
from zarrscope.engine.journal import Journal
from zarrscope.errors import StoreError
from zarrscope.model import Progress
from zarrscope.storage import Storage

needs_injector = pytest.mark.skipif(unusable() is not None, reason=str(unusable()))


class StoppedError(RuntimeError):
    """What ends a run on purpose."""


def stop(progress: Progress) -> None:
    """Stop once two shards are done in this run."""
    if progress.bytes_written and progress.tasks_done >= 2:
        raise StoppedError


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, Path]:
    return make_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def clean(sources, tmp_path_factory) -> dict[str, str]:
    """The tree of an uninterrupted conversion."""
    store = tmp_path_factory.mktemp("clean") / "store"
    zarrscope.convert(sources["raw"], store, **STEDFM)
    return digest_tree(store)


@pytest.fixture
def stopped(sources, tmp_path) -> Path:
    """A store whose conversion was stopped on the way."""
    with pytest.raises(StoppedError):
        zarrscope.convert(sources["raw"], tmp_path / "store", shard=4, workers=1, progress=stop)
    return tmp_path / "store"


def test_no_changed_byte_of_a_receipt_goes_unseen(stopped):
    """A receipt with any one byte changed is none, so that its shard is written again."""
    journal = Journal(Storage(str(stopped)))
    task = next(iter(journal.done(journal.plan())))
    path = stopped / ".zarrscope" / "receipts" / task.image / str(task.shard)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        assert journal.receipt(task) is None, f"byte {place} of {len(whole)}"
    path.write_bytes(whole[:-1])
    assert journal.receipt(task) is None


def test_receipts_that_changed_places_are_none(stopped, sources, clean):
    """A receipt counts for the task that stands in it, wherever it lies."""
    folder = stopped / ".zarrscope" / "receipts" / "subset" / "raw"
    shutil.copy(folder / "0", folder / "2")
    zarrscope.convert(sources["raw"], stopped, **STEDFM)
    assert digest_tree(stopped) == clean


@pytest.mark.parametrize("name", ["plan.json", "rows/subset/raw"])
@pytest.mark.parametrize("harm", ["damaged", "emptied", "deleted"])
def test_a_journal_that_cannot_be_read_is_told(stopped, sources, clean, name, harm):
    """Where plan or rows are lost the message says what to do, and that does it."""
    path = stopped / ".zarrscope" / name
    if harm == "deleted":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[::-1] if harm == "damaged" else b"")
    if (name, harm) != ("plan.json", "deleted"):  # without a plan nothing was begun
        with pytest.raises(StoreError, match=f"{name} .*--overwrite"):
            zarrscope.convert(sources["raw"], stopped, **STEDFM)
    zarrscope.convert(sources["raw"], stopped, overwrite=True, **STEDFM)
    assert digest_tree(stopped) == clean


def test_another_recipe_does_not_go_on(stopped, sources):
    """A conversion goes on with the recipe that it was begun with, in the same version."""
    before = digest_tree(stopped)
    with pytest.raises(StoreError, match="was begun with the recipe stedfm 1, not biosr 1"):
        zarrscope.convert(sources["raw"], stopped, recipe="biosr", **STEDFM)
    assert digest_tree(stopped) == before


def test_an_overwrite_that_was_stopped_goes_on_unasked(sources, clean, tmp_path, monkeypatch):
    """A store half deleted is not taken for one to resume or to add to: its deletion is finished first."""
    zarrscope.convert([sources["raw"], sources["normalised"]], tmp_path / "store", shard=2)
    delete = Storage.delete

    def stop_at_subset(storage: Storage, key: str) -> None:
        if key == "subset":
            shutil.rmtree(tmp_path / "store" / "subset" / "raw")
            raise StoppedError
        delete(storage, key)

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "delete", stop_at_subset)
        with pytest.raises(StoppedError):
            zarrscope.convert(sources["raw"], tmp_path / "store", overwrite=True, **STEDFM)
    with pytest.raises(StoreError):
        zarrscope.open(tmp_path / "store")
    zarrscope.convert(sources["raw"], tmp_path / "store", **STEDFM)
    assert digest_tree(tmp_path / "store") == clean


def test_an_addition_that_was_only_announced_can_be_dropped(sources, clean, tmp_path, monkeypatch):
    """The old line takes the announcement back; had a shard been written, only the new line would go on."""
    zarrscope.convert(sources["raw"], tmp_path / "store", **STEDFM)

    def stop_at_once(*_: object) -> None:
        raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "begin", stop_at_once)
        with pytest.raises(StoppedError):
            zarrscope.convert(sources["tiff"], tmp_path / "store", **STEDFM)
    with pytest.warns(UserWarning, match="adds or replaces subset/tiff"):
        assert zarrscope.open(tmp_path / "store").record.pending
    zarrscope.convert(sources["raw"], tmp_path / "store", **STEDFM)
    assert digest_tree(tmp_path / "store") == clean


@needs_injector
@pytest.mark.parametrize("share", [0.02, 0.1, 0.6, 0.95], ids=["at the start", "in shards", "in tables", "at the end"])
def test_a_full_disk_is_told_in_a_sentence(sources, clean, tmp_path, share):
    """No space: one line on stderr and exit code 3, without a traceback; with room, the same line finishes."""
    command = [
        sys.executable,
        "-m",
        "zarrscope",
        "convert",
        str(sources["raw"]),
        str(tmp_path / "store"),
        "--shard",
        "4",
    ]
    full = run(command, tmp_path, "enospc", 1 + round(share * 1000))
    assert full.returncode == 3, full.stderr
    assert re.search("^StoreError: .*no space is left.* run the same line again", full.stderr, re.MULTILINE)
    assert "Traceback" not in full.stderr
    again = run(command, tmp_path)
    assert again.returncode == 0, again.stderr
    assert digest_tree(tmp_path / "store") == clean


def both(one: ForkServer, other: ForkServer, directory: Path) -> tuple[list[int], str]:
    """Run two converters on one store at the same moment; give exit codes and what they said."""
    directory.mkdir()
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda server: server.run(directory), (one, other)))
    return [result.returncode for result in results], "".join(result.stderr for result in results)


def loud(directory: Path, sources: list[Path], **options: object) -> None:
    """Convert, and print what it says."""
    convert(directory, sources, say=lambda text: print(text, file=sys.stderr), **options)


@needs_injector
def test_two_converters_that_start_at_once_write_one_store(sources, clean, tmp_path):
    """Whichever comes first converts, the other waits and finds everything done; both succeed."""
    servers = [ForkServer(partial(loud, sources=[sources["raw"]], **STEDFM)) for _ in range(2)]
    try:
        for number in range(4):  # the first runs are slow and differ, since they import
            codes, told = both(*servers, tmp_path / str(number))
            assert codes == [0, 0], told
            assert digest_tree(tmp_path / str(number) / "store") == clean
    finally:
        for server in servers:
            server.close()
    assert "is being written by process" in told


@needs_injector
def test_two_that_want_different_stores_do_not_mix(sources, tmp_path):
    """Of two converters with other options one is refused, and the store is whole and of one kind."""
    servers = [ForkServer(partial(loud, sources=[sources["raw"]], shard=shard, workers=2)) for shard in (4, 6)]
    try:
        for number in range(3):
            codes, told = both(*servers, tmp_path / str(number))
            assert sorted(codes) == [0, 1], told
            assert re.search("was begun with shard [46], not|into this store with other options", told), told
            zarrscope.verify(tmp_path / str(number) / "store", read_data=True)
    finally:
        for server in servers:
            server.close()


@needs_injector
def test_a_killed_converter_is_taken_over_at_once(sources, clean, tmp_path):
    """Its claim is there, its process is not: nobody waits."""
    work = partial(convert, sources=[sources["raw"]], **STEDFM)
    server = ForkServer(work)
    try:
        assert server.run(tmp_path, "kill", 60).returncode == -9
    finally:
        server.close()
    claim = json.loads((tmp_path / "store" / ".zarrscope" / "claim").read_bytes())
    assert not Path(f"/proc/{claim['pid']}").exists()
    told: list[str] = []
    zarrscope.convert(sources["raw"], tmp_path / "store", say=told.append, **STEDFM)
    assert not [text for text in told if "waiting" in text]
    assert digest_tree(tmp_path / "store") == clean
