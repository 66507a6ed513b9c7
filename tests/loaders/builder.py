"""A small finished store, written by zarr-python and AnnData rather than by our own writers, for the loaders to read.

Every pixel tells where it belongs: ``image * 10,000 + row * 100 + y * 10 + x``, modulo the type's range.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scipy.sparse
import zarr

from zarrscope import record as rec
from zarrscope.statistics import Accumulator, merge

STACKS = {  # path: (number, rows, size, shard, pixel size in nm)
    "subset/normalised": (1, 40, (8, 6), 16, None),
    "train/wf": (2, 6, (6, 6), 4, 62.6),
    "train/gt": (3, 6, (12, 12), 4, 31.3),
    "test/wf": (4, 18, (6, 6), 8, 62.6),
    "test/gt": (5, 3, (12, 12), 2, 31.3),
}
PROTEINS = ("actin", "psd95", "tubulin")
BAD = {"subset/normalised": (7,), "train/gt": (2,), "test/gt": (2,)}


def pixels(path: str) -> np.ndarray:
    """Give the pixels of a stack, ``(n, y, x)`` uint16; quarantined rows are zeros."""
    number, rows, (height, width), _, _ = STACKS[path]
    n, y, x = np.ogrid[:rows, :height, :width]
    values = (number * 10_000 + n * 100 + y * 10 + x).astype(np.uint16)
    values[list(BAD.get(path, ()))] = 0
    return values


def rows(path: str) -> pd.DataFrame:
    """Give the rows table of a stack."""
    number, count, _, _, _ = STACKS[path]
    at = np.arange(count)
    ok = ~np.isin(at, BAD.get(path, ()))
    columns: dict[str, object] = {
        "ok": ok,
        "reason": pd.Categorical(np.where(ok, None, "its pickle was refused")),
        "grid_row": at // 4,
        "weight": np.where(at % 5 == 1, np.nan, at / 2),
        "image_id": pd.array([f"im{one}" if one % 3 else None for one in at], dtype="str"),
        "channel": pd.array([None if one % 7 == 3 else int(one) for one in at], dtype="Int64"),
        "flipped": pd.array([None if one % 7 == 3 else bool(one % 2) for one in at], dtype="boolean"),
    }
    if number == 1:
        columns["protein"] = pd.Categorical([None if one == 5 else PROTEINS[one % 3] for one in at])
    if path == "test/wf":
        columns["gt_row"] = at // 6
    if path in ("train/wf", "test/wf"):  # one structure is in both, each has one of its own
        own = "CCPs" if path == "train/wf" else "ER"
        columns["structure"] = pd.Categorical(np.where(at % 2, "Microtubules", own))
    index = pd.Index([f"{path.replace('/', '-')}-{one}" for one in at], name=None)
    return pd.DataFrame(columns, index=index)


def statistics(path: str) -> anndata.AnnData:
    """Give the statistics table of a stack: a class an odd or even row."""
    found = {}
    for name, part in (("even", pixels(path)[::2]), ("odd", pixels(path)[1::2])):
        accumulator = Accumulator(np.uint16)
        accumulator.add(np.ascontiguousarray(part))
        found[name] = accumulator.result()
    bins = merge(found.values()).bins
    counts = [[dict(zip(one.bins, one.counts, strict=True)).get(key, 0) for key in bins] for one in found.values()]
    obs = pd.DataFrame(
        {
            "count": [one.count for one in found.values()],
            "min": [one.minimum for one in found.values()],
            "max": [one.maximum for one in found.values()],
            "sum": [one.sum for one in found.values()],
            "sum_of_squares": [one.sum_of_squares for one in found.values()],
        },
        index=list(found),
    )
    var = pd.DataFrame({"bin": np.array(bins, np.int64)}, index=[str(key) for key in bins])
    return anndata.AnnData(X=scipy.sparse.csr_matrix(np.array(counts, np.int64)), obs=obs, var=var)


def write_image(root: Path, path: str) -> None:
    """Write one stack as OME-Zarr, consolidated in its own group."""
    _, count, size, shard, step = STACKS[path]
    space = {"type": "space"} if step is None else {"type": "space", "unit": "nanometer"}
    scale = [1.0, step or 1.0, step or 1.0]
    offset = 0.0 if step != 31.3 else (31.3 - 62.6) / 2
    transformations = [
        {"type": "scale", "scale": scale},
        {"type": "translation", "translation": [0.0, offset, offset]},
    ]
    multiscale = {
        "name": path,
        "axes": [{"name": "n", "type": "sample"}, {"name": "y", **space}, {"name": "x", **space}],
        "datasets": [{"path": "0", "coordinateTransformations": transformations}],
    }
    group = zarr.open_group(root / path, mode="w", attributes={"ome": {"version": "0.5", "multiscales": [multiscale]}})
    array = group.create_array(
        "0",
        shape=(count, *size),
        chunks=(1, *size),
        shards=(shard, *size),
        dtype="uint16",
        compressors=zarr.codecs.ZstdCodec(level=1, checksum=True),
        fill_value=0,
        dimension_names=("n", "y", "x"),
        config={"write_empty_chunks": True},
    )
    array[...] = pixels(path)
    consolidate(root / path)


def consolidate(group: Path) -> None:
    """Consolidate a group's metadata, as zarr does it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata", zarr.errors.ZarrUserWarning)
        zarr.consolidate_metadata(group)


def write_table(root: Path, path: str, table: anndata.AnnData) -> None:
    """Write one table through AnnData."""
    with zarr.config.set({"array.write_empty_chunks": True}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The 'future.infer_string' option")  # AnnData asks pandas for it
        table.write_zarr(root / path)


def elements() -> tuple[rec.Element, ...]:
    """Give the elements of the record."""
    found = []
    for path, (_, count, size, shard, _) in STACKS.items():
        role = path.rpartition("/")[2]
        bad = len(BAD.get(path, ()))
        found += [
            rec.Element(
                path=path,
                kind="image",
                role=role,
                shape=(count, *size),
                dtype="uint16",
                chunks=(1, *size),
                shards=(shard, *size),
                digest="0" * 64,
                name="Nanobodies β" if path == "subset/normalised" else "",
                quarantined=bad,
            ),
            rec.Element(
                path=f"{path}/rows", kind="table", role="rows", shape=(count, 0), digest="0" * 64, annotates=path
            ),
        ]
    return (
        *found,
        rec.Element(
            path="subset/normalised/statistics",
            kind="table",
            role="statistics",
            shape=(2, 0),
            digest="0" * 64,
            annotates="subset/normalised",
        ),
    )


def record(**changes: object) -> rec.Record:
    """Give the record of the store."""
    linked = rec.Linked
    sets = (
        rec.Samples(
            name="subset/normalised",
            length=40,
            rows="subset/normalised/rows",
            images=(linked(role="normalised", path="subset/normalised"),),
        ),
        rec.Samples(
            name="train",
            length=6,
            rows="train/wf/rows",
            images=(linked(role="wf", path="train/wf"), linked(role="gt", path="train/gt")),
        ),
        rec.Samples(
            name="test",
            length=18,
            rows="test/wf/rows",
            images=(linked(role="wf", path="test/wf"), linked(role="gt", path="test/gt", column="gt_row")),
        ),
    )
    values = {
        "recipe": "demo",
        "recipe_version": 1,
        "title": "Phantoms",
        "terms": rec.Terms(),
        "conversions": (),
        "elements": elements(),
        "samples": sets,
        "version": "0.1.0",
    }
    return rec.Record(**(values | changes))


def build(root: Path) -> Path:
    """Write the whole store."""
    for path in STACKS:
        write_image(root, path)
        write_table(root, f"{path}/rows", anndata.AnnData(obs=rows(path)))
    write_table(root, "subset/normalised/statistics", statistics("subset/normalised"))
    (root / "zarr.json").write_bytes(rec.root_document(record()))
    return root
