"""Conversions to be struck: small sources, the line that is run twice, and mistakes to plant in it.

Whatever is called in a fork server gets a directory and writes to ``directory/store``; the sources lie elsewhere, so
only changes to the store are counted and struck.
"""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import zarrscope
from zarrscope.demo import make_biosr, make_stedfm
from zarrscope.storage import Storage

STEDFM = {"shard": 4, "workers": 2}  # twelve crops: three shards a stack
BIOSR = {"shard": 2, "workers": 2}


def make_sources(folder: Path) -> dict[str, Path]:
    """Make two STED-FM siblings, a third with a member that can't be decoded, and a BioSR folder, all stamped."""
    kinds = ("subset/normalised", "subset/raw", "subset/tiff")
    made = make_stedfm(folder / "stedfm", images=2, size=16, kinds=kinds, stamp=True)
    break_member(made["subset/tiff"], 5)
    biosr = make_biosr(folder / "biosr", train=4, validate=2, test=2, levels=2, stamp=True)
    return {kind.split("/")[1]: path for kind, path in made.items()} | {"biosr": biosr}


def break_member(tar: Path, number: int) -> None:
    """Overwrite the first bytes of one member's content."""
    with tarfile.open(tar) as archive:
        offset = archive.getmembers()[number].offset_data
    with tar.open("r+b") as file:
        file.seek(offset)
        file.write(b"broken!")


def convert(directory: Path, sources: Sequence[Path], **options: Any) -> None:
    """Run the line: convert sources into the store of a directory, in two threads unless told otherwise."""
    zarrscope.convert(sources, directory / "store", **options)


def copy_store(directory: Path, store: Path) -> None:
    """Begin with a copy of a finished store."""
    shutil.copytree(store, directory / "store")


def without_tables(directory: Path, sources: Sequence[Path], *, flaw: str = "", **options: Any) -> None:
    """Convert without writing tables, which are nine changes of ten, and with a mistake if asked; in a child only."""
    from zarrscope.engine import finish

    patch.object(finish, "write_table", lambda *_: []).start()
    plant(flaw)
    convert(directory, sources, **options)


def with_flaw(directory: Path, sources: Sequence[Path], *, flaw: str, **options: Any) -> None:
    """Convert with a mistake; in a child only."""
    plant(flaw)
    convert(directory, sources, **options)


def plant(flaw: str) -> None:
    """Make one mistake for the rest of this process."""
    if flaw:
        FLAWS[flaw]()


def _receipts_first_and_trusted() -> None:
    from zarrscope.engine.journal import Journal
    from zarrscope.engine.run import Workplace

    commit = Workplace.commit

    def commit_receipt_first(place: Workplace, data: Any, receipt: Any) -> Any:
        place.journal.add(receipt)
        return commit(place, data, receipt)

    def trust_receipts(journal: Journal, plan: Any) -> set[Any]:
        return {task for task in plan.tasks if journal.receipt(task) is not None}

    patch.object(Workplace, "commit", commit_receipt_first).start()
    patch.object(Journal, "done", trust_receipts).start()


def _written_in_place() -> None:
    def put(storage: Storage, key: str, data: Any) -> None:
        path = storage.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb", buffering=0) as file:
            file.write(data)

    patch.object(Storage, "put", put).start()


def _leftovers() -> None:
    from zarrscope.engine.journal import Journal

    patch.object(Journal, "sweep", lambda _: None).start()


def _record_before_the_manifests() -> None:
    put, held = Storage.put, list[tuple[str, bytes]]()

    def put_record_first(storage: Storage, key: str, data: Any) -> None:
        if "/manifest/" in key:
            held.append((key, data))
            return
        put(storage, key, data)
        if key == "zarr.json":
            for later in held:
                put(storage, *later)

    patch.object(Storage, "put", put_record_first).start()


FLAWS = {
    "receipts first, and trusted": _receipts_first_and_trusted,
    "written in place": _written_in_place,
    "leftovers": _leftovers,
    "record before the manifests": _record_before_the_manifests,
}
