"""Slides below each other: every count where the files have it, and nothing claimed of what was not measured."""

from __future__ import annotations

import pickle
import re
import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

import zarrscope as zs
from loaders.conftest import in_memory
from zarrscope.demo import make_stimage
from zarrscope.errors import MissingDataError, QueryError, StoreError, UsageError
from zarrscope.loaders import stacked

# anndata 0.13 sets that option when it takes a view with categories; nothing of ours can help it.
pytestmark = pytest.mark.filterwarnings("ignore:The 'mode.chained_assignment' option:DeprecationWarning")
HUMAN = "species == 'human'"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Make seven slides of three technologies, five of them human, whose counts tell where they stand."""
    return make_stimage(tmp_path_factory.mktemp("concat"), slides=7, spots=40, genes=60, side=96, stamp=True)


@pytest.fixture(scope="module")
def path(tree):
    zs.convert(tree, tree.parent / "s.zarr")
    return tree.parent / "s.zarr"


@pytest.fixture
def store(path):
    return zs.open(path)


def dense(tree, name):
    """Read the file of a slide with pandas: columns are (symbol, which of that symbol)."""
    (file,) = tree.glob(f"*/gene_exp/{name}_count.csv")
    frame = pd.read_csv(file, index_col=0)
    symbols = pd.Series(file.read_text().splitlines()[0].split(",")[1:])
    copies = symbols.groupby(symbols).cumcount()
    return frame.set_axis(pd.Index(list(zip(symbols, copies, strict=True)), tupleize_cols=False), axis=1)


def keys(data):
    """Give the same for the columns of an AnnData."""
    symbols = data.var["symbol"]
    return list(zip(symbols, symbols.groupby(symbols).cumcount(), strict=True))


def quiet_concat(store, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return store.concat(*args, **options)


@pytest.mark.parametrize("rows", [7, 1024])
@pytest.mark.parametrize(("chosen", "join"), [(HUMAN, "inner"), (HUMAN, "outer"), (None, "outer")])
def test_counts_are_those_of_the_files(store, tree, chosen, join, rows, monkeypatch):
    """X is what pandas makes of the dense files, whatever the blocks; nothing is read before it is asked for."""
    monkeypatch.setattr(stacked, "ROWS", rows)
    slides = None if chosen is None else store.query(chosen)
    lazy = quiet_concat(store, slides, join=join)
    assert isinstance(lazy.X._meta, scipy.sparse.csr_matrix)
    assert max(lazy.X.chunks[0]) <= rows
    data = lazy.to_memory()
    names = data.obs["slide"].cat.categories.tolist()
    assert set(names) == set(store.slides.index if slides is None else slides.names)
    expected = pd.concat([dense(tree, name) for name in names], join=join)
    assert data.obs_names.tolist() == expected.index.tolist()
    assert set(keys(data)) == set(expected.columns)
    assert data.X.dtype == np.float32
    assert data.X.has_canonical_format
    np.testing.assert_array_equal(data.X.toarray(), expected[keys(data)].fillna(0))
    measured = expected.notna().groupby(data.obs["slide"].to_numpy()).any()[keys(data)].T
    np.testing.assert_array_equal(data.varm["measured"], measured[names])
    np.testing.assert_array_equal(data.var["n_slides"], measured.sum(axis=1))


def test_rows_are_those_of_the_slides(store):
    """Columns and places are those of each slide by itself; a column that some slides lack is missing there."""
    data = quiet_concat(store, join="outer")
    assert data.obs_names.is_unique
    assert data.obs["slide"].dtype == "category"
    for name, rows in data.obs.groupby("slide", observed=True).groups.items():
        alone, here = store[name].anndata(), data[rows]
        assert here.obs_names.tolist() == alone.obs_names.tolist()
        np.testing.assert_array_equal(here.obsm["spatial"], alone.obsm["spatial"])
        for column in data.obs.columns.drop("slide"):
            if column in alone.obs:
                wanted, found = (frame.obs[column].astype(object) for frame in (alone, here))
                assert found.where(found.notna(), None).tolist() == wanted.where(wanted.notna(), None).tolist(), column
            else:
                assert here.obs[column].isna().all()
    assert data.obs["in_coord"].dtype == bool
    assert data.obs["label"].dtype == "category"
    few = quiet_concat(store, columns=["label", "radius"], join="outer")
    assert few.obs.columns.tolist() == ["slide", "label", "radius"]
    assert few.obs["label"].equals(data.obs["label"])


@pytest.mark.parametrize("few", [1, 1000], ids=["of the twin", "of rows"])
def test_some_genes(store, tree, few, monkeypatch):
    """Genes come in the order asked for, all columns of a symbol together, from the twin or from rows alike."""
    monkeypatch.setattr(stacked, "FEW", few)
    names = store.query(HUMAN).names
    data = store.concat(names[::-1], ["MBP", "TBCE"]).to_memory()
    assert data.var_names.tolist() == ["MBP", "TBCE", "TBCE-1"]
    expected = pd.concat([dense(tree, name) for name in names[::-1]])
    np.testing.assert_array_equal(data.X.toarray(), expected[[("MBP", 0), ("TBCE", 0), ("TBCE", 1)]])


def test_few_genes_are_read_from_the_twin(path, traffic):
    """For one gene no slide's rows are read: of each the document of the twin, and its parts."""
    store = zs.open(in_memory(path, "concat.zarr"))
    data = store.concat(store.query(HUMAN), "MBP", columns=[])
    traffic.clear()
    data.to_memory()
    assert traffic.total == 5 * 4


def test_parts_of_it(store):
    """Views by rows, columns and masks give what the whole does; dask reduces it; it pickles; the type is kept."""
    lazy = store.concat(store.query(HUMAN))
    whole = lazy.to_memory()
    rows = np.random.default_rng(0).permutation(lazy.n_obs)[:30]
    columns = lazy.var_names[7:2:-1]
    np.testing.assert_array_equal(lazy[rows, columns].to_memory().X.toarray(), whole[rows, columns].X.toarray())
    first = lazy.obs["slide"] == lazy.obs["slide"].iloc[0]
    np.testing.assert_array_equal(lazy[first].to_memory().X.toarray(), whole[first].X.toarray())
    blocks = lazy.X.map_blocks(lambda block: block.toarray(), dtype=np.float32, meta=np.empty((0, 0), np.float32))
    np.testing.assert_array_equal(blocks.sum(axis=0), whole.X.sum(axis=0).A1)
    again = pickle.loads(pickle.dumps(lazy.X)).compute()
    np.testing.assert_array_equal(again.toarray(), whole.X.toarray())
    assert lazy.X.name == store.concat(store.query(HUMAN)).X.name != store.concat(store.query(HUMAN), dtype=None).X.name
    assert store.concat(dtype=None, slides="GSE144239_GSM4284316").to_memory().X.dtype == np.int32


def test_what_is_not_measured_is_said(store):
    """An outer join warns, with the number of genes; an inner one does not."""
    store.concat(store.query(HUMAN))
    with pytest.warns(UserWarning, match=r"of \d+ genes are not measured by all 5 slides: there X holds 0.*measured"):
        data = store.concat(store.query(HUMAN), join="outer")
    assert not data.varm["measured"].all(axis=None)
    with pytest.warns(UserWarning, match="2 of 2 genes"):
        both = store.concat(genes=["MBP", "Mbp"], join="outer")
    assert both.var["n_slides"].tolist() == [5, 2]


def test_equal_names_of_different_genes_stay_apart(store):
    """A symbol that looks like the second column of another is a column of its own."""
    data = quiet_concat(store, join="outer")
    assert {"TBCE", "TBCE-1", "TBCE.1"} <= set(data.var_names)
    assert data.var_names.is_unique


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, UsageError, "no gene is measured by all 7 slides. Leave some out"),
        ({"genes": ["MBP"]}, UsageError, r"'MBP' \(column 1 .*not measured by 2 of 7 slides: .*Mouse"),
        ({"genes": ["MBPP"], "join": "outer"}, QueryError, "no gene 'MBPP'.*Did you mean 'MBP'"),
        ({"join": "left"}, UsageError, "join='inner' or 'outer', found 'left'"),
        ({"slides": ["GSE1"]}, MissingDataError, "no slide 'GSE1'"),
        ({"slides": []}, UsageError, "no slides"),
        ({"columns": ["lable"], "join": "outer"}, MissingDataError, "no column 'lable'.*Did you mean 'label'"),
    ],
)
def test_refusals(store, options, error, message):
    """What can't be done is said, and by which slides."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        with pytest.raises(error, match=message):
            store.concat(**options)


@pytest.mark.parametrize("part", ["data", "indices", "indptr"])
def test_a_missing_object_is_an_error(path, tmp_path, part):
    """What is gone from a slide is an error that names it, never zeros."""
    copy = shutil.copytree(path, tmp_path / "s.zarr")
    slide = copy / "ST" / "GSE144239_GSM4284316" / "counts" / "X" / part
    shutil.rmtree(slide / "c")
    store = zs.open(copy)
    with pytest.raises(StoreError, match=re.escape(f"GSM4284316/counts/X/{part}")):
        store.concat(store.query("technology == 'ST'")).to_memory()


def test_slides_by_another_writer(slides):
    """A store of slides that zarr-python and AnnData wrote: bools, missing texts and places are kept."""
    data = quiet_concat(slides, join="outer").to_memory()
    assert data.shape == (28, 8)
    assert np.isnan(data.obsm["spatial"]).any()
