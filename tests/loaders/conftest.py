"""The store that the loaders' tests read, here, in memory behind fsspec, and as a copy to damage."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass, field

import fsspec
import pytest

from loaders.builder import build
from loaders.slide_builder import build_slides
from zarrscope.loaders import open_store
from zarrscope.storage import Storage


@pytest.fixture(scope="session")
def store_path(tmp_path_factory):
    return build(tmp_path_factory.mktemp("stores") / "demo.ome.zarr")


@pytest.fixture
def store(store_path):
    return open_store(str(store_path))


@pytest.fixture
def copy(store_path, tmp_path):
    """Copy the store, for a test that damages it."""
    return shutil.copytree(store_path, tmp_path / "copy.ome.zarr")


@pytest.fixture(scope="session")
def remote_url(store_path):
    """Put the store into fsspec's memory, where it is read as any remote one is."""
    return in_memory(store_path, "loaders-demo.zarr")


def in_memory(store_path, name):
    memory = fsspec.filesystem("memory")
    for path in store_path.rglob("*"):
        if path.is_file():
            memory.pipe_file(f"/{name}/{path.relative_to(store_path).as_posix()}", path.read_bytes())
    return f"memory://{name}"


@dataclass
class Traffic:
    """Requests by kind, and bytes received."""

    requests: Counter = field(default_factory=Counter)
    bytes: int = 0

    @property
    def total(self) -> int:
        return sum(self.requests.values())

    def clear(self) -> None:
        self.requests.clear()
        self.bytes = 0


@pytest.fixture
def traffic(monkeypatch):
    """Count everything that goes through the door to remote storage."""
    counted = Traffic()

    def counting(kind, method):
        def call(self, *args, **kwargs):
            counted.requests[kind] += 1
            found = method(self, *args, **kwargs)
            counted.bytes += len(found) if isinstance(found, bytes) else 0
            return found

        return call

    for kind in ("get", "size", "keys"):
        monkeypatch.setattr(Storage, kind, counting(kind, getattr(Storage, kind)))
    return counted


@pytest.fixture(scope="session")
def slides_path(tmp_path_factory):
    return build_slides(tmp_path_factory.mktemp("stores") / "slides.ome.zarr")


@pytest.fixture
def slides(slides_path):
    return open_store(str(slides_path))


@pytest.fixture(scope="session")
def slides_url(slides_path):
    """Put the store of slides into fsspec's memory."""
    return in_memory(slides_path, "slides.zarr")
