"""Outside judges agree: validators, readers and AnnData that we did not write accept what we write, and read the same.

They are run in environments of their own (``tests/judges``), which are made at the first use; hence the marker, and
``pytest -m judges``. Another store in which one thing is broken shows that each kind of judge can refuse.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import zarrscope
from judges import judge
from judges.judge import READERS, VALIDATORS, Verdict
from zarrscope.errors import MissingDataError

pytestmark = pytest.mark.judges
IMAGE = "subset/normalised"


def digest_table(table):
    """Digest the names and every column of an AnnData; whole by itself, since a judge's environment runs it too."""
    import hashlib

    import numpy as np
    import pandas as pd

    def sha(values):
        return hashlib.sha256("\n".join(map(str, values)).encode()).hexdigest()

    def text(column):
        values = column.astype(object)
        return [None if pd.isna(value) else repr(value.item() if hasattr(value, "item") else value) for value in values]

    found = {"index": sha(table.obs_names), "var": sha(table.var_names)}
    found |= {f"obs/{name}": sha(text(table.obs[name])) for name in table.obs}
    found |= {f"obsm/{name}": sha(np.asarray(value).ravel().tolist()) for name, value in table.obsm.items()}
    if table.X is not None:
        found["X"] = sha(table.X.toarray().ravel().tolist())
    return found


TABLES = {
    "stedfm": {"rows", "statistics", "manifest"},
    "biosr": {"rows", "statistics", "manifest"},
    "stimage": {"counts", "slides", "genes", "manifest"},
}


@pytest.fixture(scope="module", params=TABLES)
def store(request) -> Path:
    """A converted store of each dataset."""
    path: Path = request.getfixturevalue(f"{request.param}_store")
    return path


@pytest.fixture(scope="module")
def verdicts(store) -> Mapping[str, Mapping[str, Verdict]]:
    """What every judge says of every image of the store."""
    return judge.judge_images(store / name for name in zarrscope.open(store).images)


@pytest.mark.parametrize("validator", VALIDATORS)
def test_every_image_is_valid_to(validator, verdicts):
    """No validator refuses an image, or has anything to say against it."""
    refused = {path: verdict.message for path, verdict in verdicts[validator].items() if not verdict.accepted}
    assert verdicts[validator]
    assert refused == {}


@pytest.mark.parametrize("reader", READERS)
def test_every_image_has_the_same_pixels_to(reader, store, verdicts):
    """A reader in another language or library gives shape, type and pixels as ours does."""
    ours = zarrscope.open(store)
    for name in ours.images:
        verdict, pixels = verdicts[reader][str(store / name)], ours.image(name).to_numpy()
        assert verdict.accepted, verdict.message
        assert verdict.found["sha256"] == hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest(), name
        assert (tuple(verdict.found["shape"]), verdict.found["dtype"]) == (pixels.shape, pixels.dtype.name)


def test_every_table_is_read_by_anndata(store):
    """AnnData, with no code of ours, reads every table whole: same names, columns and values."""
    ours = zarrscope.open(store)
    assert {name.rpartition("/")[2] for name in ours.tables} == TABLES[store.stem]
    verdicts = judge.judge_tables(store / name for name in ours.tables)
    assert {path: verdict.message for path, verdict in verdicts.items() if not verdict.accepted} == {}
    code = f"import anndata, json, sys\n{inspect.getsource(digest_table)}\n"
    code += "print(json.dumps([digest_table(anndata.read_zarr(path)) for path in sys.argv[1:]]))"
    command = [judge.environment("readers") / "python", "-c", code, *(store / name for name in ours.tables)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for name, theirs in zip(ours.tables, json.loads(told.splitlines()[-1]), strict=True):
        assert digest_table(ours.table(name).to_memory()) == theirs, name


@pytest.fixture
def image(stedfm_store, tmp_path) -> Path:
    """A copy of a store to break, and the path of an image in it."""
    shutil.copytree(stedfm_store, tmp_path / "store")
    return tmp_path / "store" / IMAGE


def edit(path: Path, change) -> None:
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))


def swap_axes(image: Path) -> None:
    edit(image / "zarr.json", lambda held: held["attributes"]["ome"]["multiscales"][0]["axes"].reverse())


def drop_scale(image: Path) -> None:
    def change(held):
        held["attributes"]["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"] = []

    edit(image / "zarr.json", change)


def drop_array(image: Path) -> None:
    shutil.rmtree(image / "0")


def flip_bit(image: Path) -> None:
    shard = image / "0/c/0/0/0"
    data = bytearray(shard.read_bytes())
    data[20] ^= 1
    shard.write_bytes(data)


BROKEN = {
    "axes in another order": (swap_axes, {"ome-zarr-models", "yaozarrs"}),
    "no transformation": (drop_scale, {"ome-zarr-models", "yaozarrs", "ngff-zarr"}),
    "no array": (drop_array, {"ome-zarr-models", "yaozarrs", "ngff-zarr", "tensorstore", "zarr"}),
    "one bit of a shard": (flip_bit, {"ngff-zarr", "tensorstore", "zarr"}),
}


@pytest.mark.parametrize(("harm", "expected"), BROKEN.values(), ids=BROKEN.keys())
def test_judges_can_refuse(image, harm, expected):
    """The judges are no rubber stamps: each refuses what it can see."""
    harm(image)
    verdicts = judge.judge_images([image])
    assert expected <= {name for name, said in verdicts.items() if not said[str(image)].accepted}


def test_a_missing_shard_is_an_error_here_and_zeros_elsewhere(image):
    """The contrast that ``open`` exists for: plain zarr-python fills a lost shard with zeros and says nothing."""
    import zarr

    lost = image / "0/c/1/0/0"
    whole = zarr.open_array(image / "0", mode="r")[...]
    lost.unlink()
    plain = zarr.open_array(image / "0", mode="r")[...]
    assert not plain[16:32].any()
    assert whole[16:32].any()
    store = zarrscope.open(image.parents[1])
    for read in (
        store.image(IMAGE).to_numpy,
        store.image(IMAGE, chunks=None)[20].to_numpy,
        lambda: store.samples(IMAGE)[20],
    ):
        with pytest.raises(MissingDataError, match="subset/normalised/0/c/1/0/0"):
            read()
    verdicts = judge.judge_images([image])
    assert [name for name in READERS if verdicts[name][str(image)].accepted] == ["ngff-zarr"]
    with pytest.raises(zarrscope.errors.VerifyError, match="subset/normalised/0/c/1/0/0"):
        zarrscope.verify(image.parents[1], quick=True)
