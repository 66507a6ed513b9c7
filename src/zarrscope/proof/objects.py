"""Every object of a store against the manifests that list it, and these against the record."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from zarrscope.errors import Kind, Problem, StoreError
from zarrscope.loaders.table import Table
from zarrscope.query import Categories, Values
from zarrscope.record import JOURNAL, MANIFEST, PLAIN_GROUP, ROOT, Element, Record, digest_lines
from zarrscope.storage import Storage

READ = 8 << 20  # bytes read at once for hashing


@dataclass(frozen=True, slots=True)
class Listed:
    """What a manifest says of an object."""

    size: int
    sha256: str


class Inventory:
    """The objects that a store should have, by key, and what is wrong with the lists themselves.

    The manifest beside an image lists what lies below it; that at the root what lies below all samples, and the tables
    of the store as a whole.

    Parameters
    ----------
    target, record
        The store.
    """

    def __init__(self, target: Storage, record: Record) -> None:
        self.target = target
        self.there = dict(target.keys())
        self.objects: dict[str, Listed] = {}
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self._read: set[str] = set()  # the groups whose manifests were read
        manifests = {element.annotates: element for element in record.elements if element.role == MANIFEST}
        for element in record.elements:
            if element.kind == "image":
                self._take(element.path, manifests.get(element.path))
        if None in manifests or any(element.kind == "sample" for element in record.elements):
            self._take("", manifests.get(None))
        self._compare_digests(record)
        self._look_around(record)

    def _take(self, group: str, manifest: Element | None) -> None:
        below = f"{group}/" if group else ""
        where = self.target.at(f"{below}{MANIFEST}")
        if manifest is None:
            self._wrong(where, "the record lists no manifest", "missing")
            return
        try:
            own = [(key, hash_object(self.target, key)) for key in self.there if key.startswith(f"{manifest.path}/")]
            if digest_lines((key.removeprefix(f"{manifest.path}/"), digest) for key, digest in own) != manifest.digest:
                self._wrong(where, "the manifest itself was changed")
            columns = Table(self.target, manifest.path).columns(["index", "size", "sha256"])
        except StoreError as error:
            self._wrong(where, f"the manifest can't be read: {error}")
            return
        self._read.add(group)
        keys, sizes, digests = (_listed(columns[name]) for name in ("index", "size", "sha256"))
        for key, size, sha256 in zip(keys, sizes, digests, strict=True):
            self.objects[f"{below}{key}"] = Listed(size, sha256)

    def _wrong(self, where: str, message: str, kind: Kind = "content") -> None:
        self.problems.append(Problem(where=where, kind=kind, message=message))

    def _compare_digests(self, record: Record) -> None:
        """Compare the record's one digest an element with the manifest's lines: a changed list is noticed."""
        elements = [element for element in record.elements if element.role != MANIFEST]
        owned = self._owned({element.path for element in elements})
        for element in elements:
            lister = element.path if element.kind == "image" else element.annotates or ""
            if lister not in self._read:
                continue
            # The group of a sample is listed, but none of its parts.
            group = f"{element.path}/{ROOT}" if element.kind == "sample" else None
            keys = [key for key in owned.get(element.path, []) if key != group]
            lines = ((key.removeprefix(f"{element.path}/"), self.objects[key].sha256) for key in keys)
            if digest_lines(lines) != element.digest:
                self._wrong(self.target.at(element.path), "the digest in the record does not fit the manifest")
        for key in owned.get("", []):
            self._wrong(self.target.at(key), "the manifest lists it, but it is part of no element of the record")

    def _owned(self, paths: set[str]) -> dict[str, list[str]]:
        """Give the listed keys by the innermost of some groups that they lie in; under "" those that lie in none."""
        owned: dict[str, list[str]] = {}
        for key in self.objects:
            group = key.rpartition("/")[0]
            while group and group not in paths:
                group = group.rpartition("/")[0]
            owned.setdefault(group, []).append(key)
        return owned

    def _look_around(self, record: Record) -> None:
        """Check the groups between root and elements, and note what no manifest knows."""
        manifests = tuple(f"{element.path}/" for element in record.elements if element.role == MANIFEST)
        folders = {
            "/".join(element.path.split("/")[:depth])
            for element in record.elements
            if element.kind in ("image", "sample")
            for depth in range(1, element.path.count("/") + 1 + (element.kind == "sample"))
        }
        known = {ROOT, *(f"{folder}/{ROOT}" for folder in folders)}
        for key in sorted(known - {ROOT}):
            if key not in self.there or self.target.get(key) != PLAIN_GROUP:
                self._wrong(self.target.at(key), "expected the document of a plain group")
        for key in sorted(self.there.keys() - self.objects.keys() - known):
            if not key.startswith((*manifests, f"{JOURNAL}/")):
                self.notes.append(f"{self.target.at(key)} is not part of the store")


def _listed(column: Values) -> list[Any]:
    """Give a column as plain values; text of few distinct values is stored as categories."""
    if isinstance(column, Categories):
        return [str(column.values[code]) for code in column.codes.tolist()]
    values: list[Any] = column.tolist()
    return values


def check_objects(inventory: Inventory, *, sizes_only: bool) -> list[Problem]:
    """Compare each object's size, and unless told otherwise its SHA-256, with the manifest."""
    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) * 2), "zarrscope-verify") as pool:
        found = pool.map(
            lambda item: _object(inventory, *item, sizes_only=sizes_only), sorted(inventory.objects.items())
        )
        return [problem for problem in found if problem is not None]


def _object(inventory: Inventory, key: str, listed: Listed, *, sizes_only: bool) -> Problem | None:
    where, size = inventory.target.at(key), inventory.there.get(key)
    if size is None:
        return Problem(where=where, kind="missing", message="the object is missing")
    if size != listed.size:
        return Problem(where=where, kind="content", message=f"expected {listed.size} bytes, found {size}: it is torn")
    if sizes_only:
        return None
    try:
        same = hash_object(inventory.target, key) == listed.sha256
    except FileNotFoundError:
        return Problem(where=where, kind="missing", message="the object is missing")
    return None if same else Problem(where=where, kind="content", message="its bytes differ from the recorded SHA-256")


def hash_object(target: Storage, key: str) -> str:
    """Give the SHA-256 of an object, read in pieces."""
    state = hashlib.sha256()
    for piece in _pieces(target, key):
        state.update(piece)
    return state.hexdigest()


def _pieces(target: Storage, key: str) -> Iterator[bytes]:
    if target.root is None:
        yield target.get(key)
        return
    start = 0
    while piece := target.get(key, start, start + READ):
        yield piece
        start += len(piece)
