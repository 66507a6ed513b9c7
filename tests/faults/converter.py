"""Copies a few members to a store with receipts, as a converter does, with one of five mistakes if asked."""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from pathlib import Path


def prepare(directory: Path) -> None:
    """Lay out a source of three members; each byte tells its member."""
    for number in range(3):
        (directory / f"source-{number}").write_bytes(bytes([number]) * 300)


def put(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    partial_path = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    with partial_path.open("xb", buffering=0) as file:
        file.write(data)
        os.fsync(file.fileno())
    partial_path.replace(path)


def fill(source: Path, store: Path, flaw: str) -> None:
    """Copy one member, then write its receipt."""
    target, receipt = store / source.name, store / ".journal" / source.name
    if (target if flaw == "files trusted" else receipt).exists():
        return
    if flaw == "receipt first":
        put(receipt, b"done")
    if flaw == "files trusted":
        with target.open("wb", buffering=0) as file:
            file.write(source.read_bytes()[:100])
            file.write(source.read_bytes()[100:])
        return
    try:
        put(target, source.read_bytes())
    except OSError:
        if flaw == "errors swallowed":
            return
        raise
    put(receipt, b"done")


def convert(directory: Path, flaw: str = "") -> None:
    """Copy the members to a store with receipts, the record last; each flaw is one mistake in it."""
    store, journal, record = directory / "store", directory / "store" / ".journal", directory / "store" / "record"
    if not record.exists():
        journal.mkdir(parents=True, exist_ok=True)
        if flaw == "record first":
            put(record, b"done")
        for stale in [] if flaw == "leftovers" else store.rglob(".*.partial"):
            stale.unlink()
        for source in sorted(directory.glob("source-*")):
            fill(source, store, flaw)
        put(record, b"done")
    if journal.exists():
        shutil.rmtree(journal)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), *sys.argv[2:])
