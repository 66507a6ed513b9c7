"""Small archives, made once: crops of 48 pixels that carry their row, and the same ones without."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
import tifffile

from zarrscope.demo import make_biosr, make_stedfm

SIZE = 48


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    return make_stedfm(tmp_path_factory.mktemp("plain"), size=SIZE)


@pytest.fixture(scope="session")
def stamped(tmp_path_factory):
    return make_stedfm(tmp_path_factory.mktemp("stamped"), size=SIZE, stamp=True)


@pytest.fixture(scope="session")
def biosr(tmp_path_factory):
    return make_biosr(tmp_path_factory.mktemp("biosr"), stamp=True)


@pytest.fixture(scope="session")
def members():
    """Read an archive: ``(header, content)`` of each member, in order."""

    def read(path):
        with tarfile.open(path) as tar:
            return [(header, tar.extractfile(header).read()) for header in tar]

    return read


@pytest.fixture(scope="session")
def pixels():
    """Decode one member."""

    def decode(kind, content):
        if kind.endswith("tiff"):
            return tifffile.imread(io.BytesIO(content))
        with np.load(io.BytesIO(content), allow_pickle=True) as npz:
            return npz["image"]

    return decode
