"""Every object of a store against the manifests beside its images, and these against the record."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from zarrscope.errors import Problem, StoreError
from zarrscope.loaders.table import Table
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
        tables = {element.annotates: element for element in record.elements if element.role == MANIFEST}
        for element in record.elements:
            if element.kind == "image":
                self._take(element, tables.get(element.path))
        self._compare_digests(record)
        self._look_around(record)

    def _take(self, image: Element, manifest: Element | None) -> None:
        where = self.target.at(f"{image.path}/{MANIFEST}")
        if manifest is None:
            self.problems.append(Problem(where=where, kind="missing", message="the record lists no manifest"))
            return
        try:
            own = [(key, hash_object(self.target, key)) for key in self.there if key.startswith(f"{manifest.path}/")]
            if digest_lines((key.removeprefix(f"{manifest.path}/"), digest) for key, digest in own) != manifest.digest:
                self.problems.append(Problem(where=where, kind="content", message="the manifest itself was changed"))
            columns = Table(self.target, manifest.path).columns(["index", "size", "sha256"])
        except StoreError as error:
            self.problems.append(Problem(where=where, kind="content", message=f"the manifest can't be read: {error}"))
            return
        keys, sizes, digests = (np.asarray(columns[name]) for name in ("index", "size", "sha256"))
        for key, size, sha256 in zip(keys, sizes.tolist(), digests, strict=True):
            self.objects[f"{image.path}/{key}"] = Listed(size, str(sha256))

    def _compare_digests(self, record: Record) -> None:
        """Compare the record's one digest an element with the manifest's lines: a changed list is noticed."""
        listed = {image.path for image in record.elements if image.kind == "image"} & {
            key.split("/0/")[0] for key in self.objects
        }
        tables = [element for element in record.elements if element.kind == "table" and element.role != MANIFEST]
        for element in record.elements:
            if element.role == MANIFEST or (element.annotates or element.path) not in listed:
                continue
            inner = [one.path + "/" for one in tables if one.annotates == element.path]
            lines = [
                (key.removeprefix(f"{element.path}/"), one.sha256)
                for key, one in self.objects.items()
                if key.startswith(f"{element.path}/") and not key.startswith(tuple(inner))
            ]
            if digest_lines(lines) != element.digest:
                self.problems.append(
                    Problem(
                        where=self.target.at(element.path),
                        kind="content",
                        message="the digest in the record does not fit the manifest",
                    )
                )

    def _look_around(self, record: Record) -> None:
        """Check the groups between root and images, and note what no manifest knows."""
        manifests = tuple(f"{element.path}/" for element in record.elements if element.role == MANIFEST)
        folders = {
            "/".join(element.path.split("/")[:depth])
            for element in record.elements
            if element.kind == "image"
            for depth in range(1, element.path.count("/") + 1)
        }
        known = {ROOT, *(f"{folder}/{ROOT}" for folder in folders)}
        for key in sorted(known - {ROOT}):
            if key not in self.there or self.target.get(key) != PLAIN_GROUP:
                self.problems.append(
                    Problem(where=self.target.at(key), kind="content", message="expected the document of a plain group")
                )
        for key in sorted(self.there.keys() - self.objects.keys() - known):
            if not key.startswith((*manifests, f"{JOURNAL}/")):
                self.notes.append(f"{self.target.at(key)} is not part of the store")


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
