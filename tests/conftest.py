"""Small datasets true to form, made once a session, and stores converted from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from zarrscope import convert
from zarrscope.demo import make_biosr, make_stedfm, make_stimage

SIDE = 40  # pixels of a crop: small enough that a hundred of them convert in a blink


@pytest.fixture(scope="session")
def stedfm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """STED-FM's six archives of stamped crops, by kind."""
    return make_stedfm(tmp_path_factory.mktemp("stedfm"), images=6, size=SIDE, stamp=True)


@pytest.fixture(scope="session")
def biosr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BioSR's folder tree of stamped patches."""
    return make_biosr(tmp_path_factory.mktemp("biosr"), stamp=True)


@pytest.fixture(scope="session")
def stedfm_store(stedfm: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All six archives in one store, with several shards a stack. Tests must not change it."""
    store = tmp_path_factory.mktemp("store") / "stedfm.zarr"
    convert(list(stedfm.values()), store, shard=16)
    return store


@pytest.fixture(scope="session")
def biosr_store(biosr: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder tree as a store, with several shards a stack. Tests must not change it."""
    store = tmp_path_factory.mktemp("store") / "biosr.zarr"
    convert(biosr, store, shard=16)
    return store


@pytest.fixture(scope="session")
def stimage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """STimage-1K4M's folder tree, with a picture of every form."""
    return make_stimage(tmp_path_factory.mktemp("stimage"), slides=7)


@pytest.fixture(scope="session")
def stimage_store(stimage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The slides as a store. Tests must not change it."""
    store = tmp_path_factory.mktemp("store") / "stimage.zarr"
    convert(stimage, store)
    return store
