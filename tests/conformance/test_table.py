"""A table written by anndata itself passes, and each rule, broken alone, is named at its place."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zarrscope.conformance import check_table
from zarrscope.errors import Problem

# anndata 0.13 asks pandas 3 for an option that pandas 4 will lack.
pytestmark = pytest.mark.filterwarnings("ignore:The 'future.infer_string' option is deprecated")
ABSENT = object()


def write_table():
    """Let anndata write one of each encoding, and give every document of the store by its path."""
    import anndata
    import numpy as np
    import pandas as pd
    import zarr
    from scipy import sparse

    obs = pd.DataFrame(
        {
            "protein": pd.Categorical(["psd95", "bassoon", "psd95"]),
            "area": [1.5, 2.5, 3.5],
            "count": [1, 2, 3],
            "ok": [True, False, True],
            "level": pd.array([1, None, 3], dtype="Int64"),
            "kept": pd.array([True, None, False], dtype="boolean"),
            "note": pd.array(["a", None, "b"], dtype="string"),
        },
        index=["r0", "r1", "r2"],
    )
    counts = np.array([[1, 0], [0, 2], [3, 0]], np.int32)
    table = anndata.AnnData(
        sparse.csr_matrix(counts),
        obs=obs,
        var=pd.DataFrame(index=["g0", "g1"]),
        layers={"csc": sparse.csc_matrix(counts), "dense": counts},
        obsm={"spatial": np.zeros((3, 2)), "frame": pd.DataFrame({"q": [1, 2, 3]}, index=obs.index)},
        varm={"loadings": np.zeros((2, 5))},
        obsp={"graph": sparse.csr_matrix(np.eye(3))},
        varp={"graph": np.eye(2)},
        uns={"n": 1, "s": "text", "a": np.arange(3), "t": np.array(["a", "b"]), "d": {"b": True}, "x": None},
    )
    table.raw = table
    objects = {}
    with anndata.settings.override(allow_write_nullable_strings=True):
        anndata.io.write_elem(zarr.create_group(zarr.storage.MemoryStore(objects), zarr_format=3), "rows", table)
    return {
        key.removeprefix("rows").removesuffix("zarr.json").strip("/"): json.loads(value.to_bytes())
        for key, value in objects.items()
        if key.startswith("rows/") and key.endswith("zarr.json")
    }


@pytest.fixture(scope="module", name="healthy")
def fixture_healthy():
    return write_table()


def altered(documents, path, field, value):
    """Give a copy of the documents with one field replaced or taken away; no field means the whole document."""
    documents = copy.deepcopy(documents)
    *parents, last = (path, *field.split(".")) if field else (path,)
    node = documents
    for part in parents:
        node = node[part]
    if value is ABSENT:
        del node[last]
    else:
        node[last] = value
    return documents


def check(documents):
    return check_table(documents.get("", {}), {path: one for path, one in documents.items() if path}, "s.zarr/rows")


def test_what_anndata_writes_passes(healthy):
    assert check(healthy) == []


def test_no_encoding_of_the_example_is_left_out(healthy):
    """The healthy table holds what our stores use, and what others are likely to."""
    found = {one["attributes"].get("encoding-type") for one in healthy.values()}
    assert found >= {
        *("anndata", "array", "categorical", "csc_matrix", "csr_matrix", "dataframe", "dict", "null", "string"),
        *("nullable-boolean", "nullable-integer", "nullable-string-array", "numeric-scalar", "raw", "string-array"),
    }


@pytest.mark.parametrize("entry", ["X", "layers", "obsm", "varm", "obsp", "varp", "uns", "raw"])
def test_what_may_be_there_may_be_absent(healthy, entry):
    assert check({path: one for path, one in healthy.items() if path.split("/")[0] != entry}) == []


E, V, A = "attributes.encoding-type", "attributes.encoding-version", "attributes"
DENSE = {
    "zarr_format": 3,
    "node_type": "array",
    "data_type": "float32",
    "shape": [3, 2],
    "attributes": {"encoding-type": "array", "encoding-version": "0.2.0"},
}
RAGGED = {
    "zarr_format": 3,
    "node_type": "group",
    "attributes": {"encoding-type": "awkward-array", "encoding-version": "0.1.0", "form": "{}", "length": 2},
}

# document, field, new value -> where the problem is, what is said of it
FAULTS = {
    "not-an-anndata": ("", E, "dict", "", "expected the encoding-type anndata, found 'dict'"),
    "no-encoding": ("", E, ABSENT, "", "expected the encoding-type anndata, found none"),
    "other-version": ("", V, "0.2.0", "", "expected the encoding-version '0.1.0' of anndata, found '0.2.0'"),
    "root-is-an-array": ("", "node_type", "array", "", "expected a Zarr group, found node_type 'array'"),
    "root-of-zarr-2": ("", "zarr_format", 2, "", "expected zarr_format 3, found 2"),
    "root-not-an-object": ("", "", "rows", "", "expected the encoding-type anndata, found none"),
    "unknown-entry": ("twin", "", DENSE, "/twin", "expected nothing but X, layers, obs,"),
    # dataframes
    "no-obs": ("obs", "", ABSENT, "/obs", "expected an element, found no zarr.json"),
    "obs-is-a-dict": ("obs", E, "dict", "/obs", "expected the encoding-type dataframe, found 'dict'"),
    "no-index": ("obs", f"{A}._index", ABSENT, "/obs", "expected in _index the name of an array, found none"),
    "index-elsewhere": ("obs", f"{A}._index", "id", "/obs/id", "expected an element, found no zarr.json"),
    "no-column-order": ("var", f"{A}.column-order", ABSENT, "/var", "expected in column-order a list of names"),
    "column-twice": ("var", f"{A}.column-order", ["a", "a"], "/var", "expected each column once in column-order"),
    "column-missing": ("obs/area", "", ABSENT, "/obs/area", "expected an element, found no zarr.json"),
    "column-unlisted": ("var/x", "", DENSE, "/var/x", "expected every column to stand in column-order"),
    "column-too-short": ("obs/area", "shape", [2], "/obs/area", "expected the shape (3), found (2,)"),
    "column-of-two-dimensions": ("obs/area", "shape", [3, 1], "/obs/area", "expected the shape (3), found (3, 1)"),
    "column-is-a-mapping": ("obs/level", E, "dict", "/obs/level", "expected the encoding-type array or categorical or"),
    "column-without-encoding": ("obs/area", A, {}, "/obs/area", "found none"),
    "column-is-a-group": ("obs/area", "node_type", "group", "/obs/area", "expected a Zarr array, found node_type 'gro"),
    # columns of several arrays
    "not-ordered-or-unordered": ("obs/protein", f"{A}.ordered", 1, "/obs/protein", "expected in ordered true or false"),
    "no-codes": ("obs/protein/codes", "", ABSENT, "/obs/protein/codes", "expected an array, found none"),
    "codes-are-floats": ("obs/protein/codes", "data_type", "float64", "/obs/protein/codes", "found float64"),
    "codes-too-long": ("obs/protein/codes", "shape", [4], "/obs/protein", "expected the shape (3), found (4,)"),
    "no-categories": ("obs/protein/categories", "", ABSENT, "/obs/protein/categories", "expected an element"),
    "categories-flat": ("obs/protein/categories", "shape", [2, 1], "/obs/protein/categories", "expected the shape (an"),
    "no-values": ("obs/level/values", "", ABSENT, "/obs/level/values", "expected an array, found none"),
    "values-are-floats": ("obs/level/values", "data_type", "float32", "/obs/level/values", "found float32"),
    "mask-too-short": ("obs/level/mask", "shape", [2], "/obs/level/mask", "expected the shape of values, (3,), found "),
    "mask-not-boolean": ("obs/kept/mask", "data_type", "uint8", "/obs/kept/mask", "expected the data type bool, found"),
    "text-of-fixed-length": (
        "uns/t", "data_type", {"name": "fixed_length_utf32"}, "/uns/t", "expected the data type string, found fixed_le",
    ),
    # sparse arrays
    "no-shape": ("X", f"{A}.shape", ABSENT, "/X", "expected in shape two lengths, found none"),
    "shape-of-three": ("X", f"{A}.shape", [3, 2, 1], "/X", "expected in shape two lengths, found [3, 2, 1]"),
    "wrong-shape": ("X", f"{A}.shape", [3, 5], "/X", "expected the shape (3, 2), found (3, 5)"),
    "no-data": ("X/data", "", ABSENT, "/X/data", "expected an array, found none"),
    "indices-too-short": ("X/indices", "shape", [2], "/X/indices", "expected the shape of data, (3,), found (2,)"),
    "indices-are-floats": ("X/indices", "data_type", "float32", "/X/indices", "found float32"),
    "pointers-of-rows": ("X/indptr", "shape", [3], "/X/indptr", "expected the shape (4,), found (3,)"),
    "pointers-of-columns": ("layers/csc/indptr", "shape", [4], "/layers/csc/indptr", "expected the shape (3,), found "),
    "rows-for-columns": ("X", E, "csc_matrix", "/X/indptr", "expected the shape (3,), found (4,)"),
    "data-of-two-dimensions": ("X/data", "shape", [3, 1], "/X/data", "expected 1 dimension(s), found the shape (3, 1)"),
    # aligned arrays
    "x-is-a-dataframe": ("X", E, "dataframe", "/X", "expected the encoding-type array or csc_matrix or csr_matrix"),
    "layers-not-a-mapping": ("layers", E, "raw", "/layers", "expected the encoding-type dict, found 'raw'"),
    "layer-of-other-shape": ("layers/dense", "shape", [2, 3], "/layers/dense", "expected the shape (3, 2), found (2, "),
    "layer-is-text": ("layers/dense", E, "string-array", "/layers/dense", "expected the encoding-type array or csc_"),
    "obsm-too-short": ("obsm/spatial", "shape", [2, 2], "/obsm/spatial", "expected the shape (3, ...), found (2, 2)"),
    "varm-too-long": ("varm/loadings", "shape", [3, 5], "/varm/loadings", "expected the shape (2, ...), found (3, 5)"),
    "obsp-not-square": ("obsp/graph", f"{A}.shape", [3, 4], "/obsp/graph", "expected the shape (3, 3, ...), found (3,"),
    "varp-flat": ("varp/graph", "shape", [2], "/varp/graph", "expected the shape (2, 2, ...), found (2,)"),
    "ragged-too-short": ("obsm/ragged", "", RAGGED, "/obsm/ragged", "expected the shape (3, ...), found (2,)"),
    "frame-too-short": ("obsm/frame/q", "shape", [1], "/obsm/frame/q", "expected the shape (3), found (1,)"),
    # uns and raw
    "unknown-encoding": ("uns/a", E, "pickle", "/uns/a", "expected the encoding-type one that anndata knows, found 'p"),
    "encoding-not-text": ("uns/a", E, ["array"], "/uns/a", "found ['array']"),
    "scalar-of-one-dimension": ("uns/n", "shape", [1], "/uns/n", "expected 0 dimension(s), found the shape (1,)"),
    "nested-entry-unknown": ("uns/d/b", E, "?", "/uns/d/b", "expected the encoding-type one that anndata knows"),
    "mapping-undeclared": ("uns/d", "", ABSENT, "/uns/d", "expected an element, found no zarr.json"),
    "raw-is-a-dataframe": ("raw", E, "dataframe", "/raw", "expected the encoding-type null or raw, found 'dataframe'"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS.values(), ids=FAULTS)
def test_a_broken_rule_is_named_at_its_place(healthy, case):
    path, field, value, where, message = case
    found = check(altered(healthy, path, field, value))
    assert any(problem.where == f"s.zarr/rows{where}" and message in problem.message for problem in found), found
    assert {problem.kind for problem in found} == {"conformance"}


def test_an_experimental_encoding_passes(healthy):
    assert check({**healthy, "varm/ragged": RAGGED}) == []


def test_all_problems_are_told_at_once(healthy):
    documents = altered(altered(healthy, "obs/area", "shape", [2]), "X/data", "", ABSENT)
    assert [problem.where for problem in check(documents)] == ["s.zarr/rows/obs/area", "s.zarr/rows/X/data"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)  # nothing is timed
@given(data=st.data())
def test_no_document_is_too_strange(healthy, data):
    """Whatever JSON stands in whichever field, the answer is a list of problems and never an exception."""
    documents = copy.deepcopy(healthy)
    for _ in range(data.draw(st.integers(1, 3))):
        document = documents[data.draw(st.sampled_from(sorted(documents)))]
        known = isinstance(document, dict)
        inner = document.get("attributes") if known else None
        node = data.draw(st.sampled_from([one for one in (documents, document, inner) if isinstance(one, dict)]))
        if node:
            node[data.draw(st.sampled_from(sorted(node)))] = data.draw(JSON)
    assert all(isinstance(problem, Problem) for problem in check(documents))
