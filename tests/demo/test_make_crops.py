"""The fast writer of large archives writes, byte for byte, what numpy and tarfile write."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from benchmarks import make_crops

NAME = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-3[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}-\d+-\d+$")


def build(**options):
    out = io.BytesIO()
    size = make_crops.write(
        out, **({"crops": 60, "size": 40, "seed": 0, "per_image": 26, "kind": "normalised"} | options)
    )
    assert size == len(out.getvalue())
    return out.getvalue()


def read(archive):
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return [(header.name, tar.extractfile(header).read()) for header in tar]


@given(st.data())
def test_template_is_savez(data):
    """Filled twice, so that nothing of the first crop is left."""
    shape = data.draw(arrays.array_shapes(min_dims=2, max_dims=2, max_side=40))
    dtype = data.draw(st.sampled_from([np.uint8, np.uint16]))
    info = data.draw(st.dictionaries(st.text(max_size=5), st.one_of(st.none(), st.integers(), st.floats(), st.text())))
    template = make_crops.NpzTemplate(shape, dtype, info)
    for _ in range(2):
        crop = data.draw(arrays.arrays(dtype, shape))
        buffer = io.BytesIO()
        np.savez(buffer, image=crop, metadata=info)
        assert template.fill(crop) == buffer.getvalue()


@pytest.mark.parametrize("kind", ["normalised", "raw"])
def test_archive_is_what_tarfile_and_savez_write(kind):
    archive = build(kind=kind)
    again = io.BytesIO()
    with tarfile.open(fileobj=again, mode="w") as tar:
        for name, content in read(archive):
            with np.load(io.BytesIO(content), allow_pickle=True) as npz:
                buffer = io.BytesIO()
                np.savez(buffer, image=npz["image"], metadata=npz["metadata"])
            header = tarfile.TarInfo(name)
            header.size = buffer.tell()
            buffer.seek(0)
            tar.addfile(header, buffer)
    assert archive == again.getvalue()


def test_crops():
    """The number asked for, names apart, pixels apart, dictionaries byte-identical within a picture."""
    found = read(build())
    assert len({name for name, _ in found}) == 60
    assert all(NAME.match(name) for name, _ in found)
    pixels, pickles = set(), {}
    for name, content in found:
        with np.load(io.BytesIO(content), allow_pickle=True) as npz:
            assert npz["image"].shape == (40, 40)
            assert npz["image"].dtype == "uint8"
            pixels.add(npz["image"].tobytes())
            info = npz["metadata"].item()
        j, i = (int(part) for part in name.split("-")[-2:])
        assert info["msr-metadata"]["SizeY"] > j
        assert info["msr-metadata"]["SizeX"] > i
        assert name.startswith(info["image-id"])
        pickles.setdefault(info["image-id"], set()).add(
            content[content.index(b"metadata.npy") :].split(b"PK\x01\x02")[0]
        )
    assert len(pixels) == 60
    assert [len(texts) for texts in pickles.values()] == [1, 1, 1]


def test_seed():
    assert build() == build()
    assert build() != build(seed=1)


def test_crops_compress_as_real_ones():
    """Zstandard at level 1 leaves 0.30 to 0.50 of the pixels of crops of full size."""
    stored = plain = 0
    for _, content in read(build(crops=96, size=224, per_image=4)):
        with np.load(io.BytesIO(content), allow_pickle=True) as npz:
            image = npz["image"].tobytes()
        plain += len(image)
        stored += len(zstandard.ZstdCompressor(level=1).compress(image))
    assert 0.30 < stored / plain < 0.50


@pytest.mark.parametrize("mean", [0.0, 0.8, 7.0, 90.0])
def test_poisson_quantiles(mean):
    counts = make_crops.poisson_quantiles(np.array([mean]))[0]
    assert counts.mean() == pytest.approx(mean, rel=0.02, abs=1e-6)
    assert counts.var() == pytest.approx(mean, rel=0.06, abs=1e-6)


def test_command_line(tmp_path):
    program = Path(make_crops.__file__)
    line = [sys.executable, str(program), str(tmp_path / "out.tar"), "--crops", "3", "--size", "16"]
    done = subprocess.run(line, check=True, capture_output=True, text=True)
    assert done.stderr.startswith("3 crops")
    assert len(read((tmp_path / "out.tar").read_bytes())) == 3
    refused = subprocess.run([*line, "--crops", "0"], check=False, capture_output=True, text=True)
    assert refused.returncode == 2
