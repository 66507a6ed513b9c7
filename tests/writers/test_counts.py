"""Counts that arrive as bands become an AnnData and its gene-major twin: exact, bounded, the same bytes every time."""

from __future__ import annotations

import hashlib
import itertools
import json
import tracemalloc
import warnings

import anndata
import numpy as np
import pytest
import xxhash
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse
from zarr.storage import LocalStore, MemoryStore

from zarrscope.conformance import check_table
from zarrscope.errors import DecodeError, LayoutError, StoreError
from zarrscope.model import strings
from zarrscope.query import Categories
from zarrscope.readers.counts import Band, Bytes, read_header, stream
from zarrscope.writers.codec import Codec
from zarrscope.writers.counts import write_counts
from zarrscope.writers.table import TableContent, table_objects
from zarrscope.writers.transpose import cuts

ZSTD = Codec.parse("zstd")
SMALL = {"chunk": 8, "shard": 32}  # entries: a few rows have several shards


def matrix(rows, genes, density=0.3, seed=0):
    """Give counts (rows, genes) that tell where they are, among zeros."""
    row, gene = np.ogrid[:rows, :genes]
    kept = np.random.default_rng(seed).random((rows, genes)) < density
    return np.where(kept, row * genes + gene + 1, 0)


def band_of(names, dense, *, terminated=True):
    """Give what the reader makes of some rows."""
    largest = float(np.abs(dense).max(initial=0))
    whole = bool((dense == np.floor(dense)).all())
    dtype = "f8" if not whole or largest >= 2**53 else "i4" if largest < 2**31 else "i8"
    total = "i8" if dtype == "i4" else "f8"
    rows = sparse.csr_matrix(dense.astype(dtype))
    return Band(
        names=strings(names),
        indptr=rows.indptr.astype(np.int64),
        indices=rows.indices.astype(np.int32),
        data=rows.data,
        row_totals=np.array([np.cumsum(row)[-1] for row in dense.astype(total)], total),
        column_totals=dense.astype(total).sum(0),
        column_counts=(dense != 0).sum(0).astype(np.int64),
        negative=bool((dense < 0).any()),
        terminated=terminated,
    )


def bands(dense, edges=()):
    """Cut a matrix into bands that end at some rows."""
    edges = [0, *sorted(edges), len(dense)]
    for start, stop in itertools.pairwise(edges):
        if stop > start:
            yield band_of([f"spot {row}" for row in range(start, stop)], dense[start:stop])


class Objects(dict):
    """What was put, by key; bytes are valid during the call alone."""

    def put(self, key, data):
        self[key] = bytes(data)


def write(dense, *, edges=(), symbols=None, codec=ZSTD, **options):
    """Give what was put, by key, and what is known of it."""
    objects = Objects()
    result = write_counts(
        objects.put,
        objects.__getitem__,
        lambda: bands(dense, edges),
        strings([f"GENE{gene}" for gene in range(dense.shape[1])] if symbols is None else symbols),
        codec=codec,
        **{**SMALL, **options},
    )
    return objects, result


def store(folder, objects):
    """Write objects into a folder."""
    for key, data in objects.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(data)
    return folder


def twin(folder):
    """Open the gene-major matrix as anndata does."""
    return anndata.io.sparse_dataset(zarr.open_group(folder / "by_gene", mode="r"))


FLOATS = matrix(9, 7) / 3
WIDE = matrix(9, 7).astype(float)
WIDE[8, 6] = 2.0**40
FRACTION = WIDE.copy()
FRACTION[8, 5] = 0.1
MATRICES = {
    "counts": (matrix(40, 30), "int32"),
    "one shard and one chunk": (matrix(2, 3), "int32"),
    "a dense one": (matrix(20, 9, density=2), "int32"),
    "one gene": (matrix(50, 1), "int32"),
    "one spot": (matrix(1, 50), "int32"),
    "no spots": (np.zeros((0, 5)), "int32"),
    "no counts": (np.zeros((7, 5)), "int32"),
    "empty rows and genes": (matrix(30, 20) * (np.arange(30) % 4 == 1)[:, None] * (np.arange(20) % 3 == 1), "int32"),
    "genes further apart than seven bits, and fourteen": (matrix(5, 40_000, density=0.0002), "int32"),
    "values of more than a byte, and below zero": (matrix(9, 9) * 2**20 - 2**26, "int32"),
    "the largest int32": (np.array([[2**31 - 1, 0], [-(2**31) + 1, 255], [256, 1]]), "int32"),
    "int64": (np.array([[2**31, 0], [2**53 - 1, 3], [-(2**40), 1]]), "int64"),
    "float64": (FLOATS, "float64"),
    "int64 in the last band": (WIDE, "int64"),
    "float64 in the last band": (FRACTION, "float64"),
}


@pytest.mark.parametrize(("dense", "dtype"), MATRICES.values(), ids=MATRICES.keys())
@pytest.mark.parametrize("codec", ["zstd:3", "none"])
def test_others_read_what_was_given(dense, dtype, codec, tmp_path):
    """Each number comes back through anndata, by row and by gene, in the narrowest type, and the statistics fit."""
    objects, result = write(dense, edges=(3, 8) if len(dense) > 8 else (), codec=Codec.parse(codec), budget=300)
    folder = store(tmp_path, objects)
    table = anndata.read_zarr(folder / "counts")
    assert isinstance(table.X, sparse.csr_matrix)
    assert (table.X.dtype, result.dtype, result.shape) == (dtype, dtype, dense.shape)
    assert np.array_equal(table.X.toarray(), dense)
    assert result.nnz == np.count_nonzero(dense)
    by_gene = twin(folder)
    assert (by_gene.format, by_gene.dtype, by_gene.shape) == ("csc", dtype, dense.shape)
    assert np.array_equal(by_gene.to_memory().toarray(), dense)
    for gene in {0, dense.shape[1] - 1}:
        assert np.array_equal(by_gene[:, gene].toarray()[:, 0], dense[:, gene])
    for column, axis in ((table.obs["total_counts"], 1), (table.var["total_counts"], 0)):
        assert column.dtype == ("int64" if dtype == "int32" else "float64")
        np.testing.assert_allclose(column, dense.sum(axis), rtol=1e-12, atol=1e-12)
    for column, axis in ((table.obs["n_genes_by_counts"], 1), (table.var["n_cells_by_counts"], 0)):
        assert column.dtype == "int32"
        assert np.array_equal(column, (dense != 0).sum(axis))
    assert result.negative == bool((dense < 0).any())
    assert not check_table(*documents(folder / "counts"), "counts")


def documents(folder):
    """Give the document of a group, and those below it."""
    found = {str(path.parent.relative_to(folder)): json.loads(path.read_bytes()) for path in folder.rglob("zarr.json")}
    return found.pop("."), found


@pytest.mark.parametrize(("dense", "dtype"), MATRICES.values(), ids=MATRICES.keys())
def test_zarr_reads_each_array(dense, dtype, tmp_path):
    """Arrays are sharded, numbers of genes and spots ascend, and the digests are those of the numbers."""
    objects, result = write(dense, workers=1)
    folder = store(tmp_path, objects)
    for path, expected in (
        ("counts/X", sparse.csr_matrix(dense.astype(dtype))),
        ("by_gene", sparse.csc_matrix(dense.astype(dtype))),
    ):
        group = zarr.open_group(folder / path, mode="r")
        found = {name: array[:] for name, array in group.arrays()}
        assert {name: values.dtype for name, values in found.items()} == {
            "data": dtype,
            "indices": "int32",
            "indptr": "int64",
        }
        for name in ("indptr", "indices", "data"):
            assert np.array_equal(found[name], getattr(expected, name))
        assert (group["data"].chunks, group["data"].shards) == ((8,), (32,))
        digests = b"".join(xxhash.xxh3_128_digest(found[name].tobytes()) for name in ("indptr", "indices", "data"))
        assert hashlib.sha256(digests).hexdigest() == result.values[path.split("/")[0]]


NUMBERS = st.sampled_from([0, 0, 0, 1, 2, 254, 255, 256, 70_000, -1, 2**31, 2**50, 0.5, 0.1, 1e300])


@settings(max_examples=80, deadline=None)
@given(
    dense=hnp.arrays("f8", st.tuples(st.integers(0, 12), st.integers(1, 200)), elements=NUMBERS, fill=st.just(0.0)),
    edges=st.lists(st.integers(0, 12), max_size=4),
    budget=st.sampled_from([1, 300, 2_000, 10_000, 1 << 30]),
    workers=st.integers(1, 4),
)
def test_the_bytes_follow_from_the_matrix(dense, edges, budget, workers):
    """Bands, memory and threads change no byte; and the bytes are those of the matrix."""
    expected, result = write(dense, workers=1, budget=1 << 30)
    edges = [min(edge, len(dense)) for edge in edges]
    found, again = write(dense, edges=edges, budget=budget, workers=workers)
    assert found == expected
    assert again.values == result.values
    if result.nnz:
        rows = zarr.open_group(MemoryStore({k: buffer(v) for k, v in found.items()}), path="by_gene", mode="r")
        whole = sparse.csc_matrix(tuple(rows[name][:] for name in ("data", "indices", "indptr")), shape=dense.shape)
        assert np.array_equal(whole.toarray(), dense)


def buffer(data):
    return zarr.core.buffer.cpu.Buffer.from_bytes(data)


def test_what_fits_is_not_read_again():
    """With memory for all packed entries nothing that was put is asked for; with less it is, several times."""
    asked = []
    objects = Objects()

    def get(key):
        asked.append(key)
        return objects[key]

    for budget in (1 << 20, 5_000):
        asked.clear()
        write_counts(
            objects.put,
            get,
            lambda: bands(matrix(60, 50)),
            strings([str(gene) for gene in range(50)]),
            codec=ZSTD,
            budget=budget,
            **SMALL,
        )
        assert bool(asked) == (budget == 5_000)
    assert len(asked) > 2 * len(set(asked))


def test_rows_are_asked_for_again_where_a_type_is_too_narrow():
    """A pass ends at the first band that needs a wider type, the stream is closed, and the next has room."""
    started, closed = [], []

    def rows():
        started.append(0)
        try:
            for band in bands(FRACTION, range(9)):
                started[-1] += 1
                yield band
        finally:
            closed.append(len(started))

    objects = Objects()
    result = write_counts(
        objects.put, objects.__getitem__, rows, strings([str(gene) for gene in range(7)]), codec=ZSTD, **SMALL
    )
    assert (started, closed, result.dtype) == ([9, 9], [1, 2], "float64")


def test_spots_genes_and_pictures_are_described(tmp_path):
    """Columns stand before the statistics, symbols stay as they are beside unique names, and ``uns`` is nested."""
    dense = matrix(6, 4)
    picture = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
    scale = {"spot_diameter_fullres": 80.5, "tissue_hires_scalef": 0.1, "n": 3, "whole": True, "nothing": {}}
    library = {"images": {"hires": picture, "lowres": picture[::2]}, "scalefactors": scale, "metadata": {"by": "β"}}
    objects, result = write(
        dense,
        symbols=["Ddit3", "Ddit3", "β", "HLA-A,B"],
        obs=lambda names: {
            "spot": strings([name.upper() for name in names.tolist()]),
            "label": Categories(np.array([0, 1, -1, 0, 1, 0], np.int8), np.array(["tumour", "stroma"])),
            "in_coord": np.arange(len(names)) > 2,
        },
        obsm=lambda names: {"spatial": np.arange(2.0 * len(names)).reshape(-1, 2)},
        uns={"spatial": {"GSE1 GSM2": library}, "genes": strings(["a", "b"])},
    )
    table = anndata.read_zarr(store(tmp_path, objects) / "counts")
    assert list(table.obs) == ["spot", "label", "in_coord", "total_counts", "n_genes_by_counts"]
    assert table.obs_names.tolist() == [f"spot {row}" for row in range(6)] == result.names.tolist()
    assert table.obs["spot"].tolist() == [f"SPOT {row}" for row in range(6)]
    assert table.obs["label"].astype(object).fillna("?").tolist() == [
        "tumour",
        "stroma",
        "?",
        "tumour",
        "stroma",
        "tumour",
    ]
    assert table.var_names.tolist() == ["Ddit3", "Ddit3-1", "β", "HLA-A,B"]
    assert table.var["symbol"].tolist() == ["Ddit3", "Ddit3", "β", "HLA-A,B"]
    assert np.array_equal(table.obsm["spatial"], np.arange(12.0).reshape(6, 2))
    found = table.uns["spatial"]["GSE1 GSM2"]
    assert np.array_equal(found["images"]["hires"], picture)
    assert np.array_equal(found["images"]["lowres"], picture[::2])
    assert found["scalefactors"] == scale
    assert found["metadata"]["by"] == "β"
    assert table.uns["genes"].tolist() == ["a", "b"]
    assert zarr.open_array(tmp_path / "counts/uns/spatial/GSE1 GSM2/images/hires", mode="r").chunks == picture.shape
    assert not check_table(*documents(tmp_path / "counts"), "counts")


def test_anndata_reads_it_lazily(tmp_path):
    """A slice of rows and columns comes without the rest of the matrix."""
    dense = matrix(40, 30)
    folder = store(tmp_path, write(dense)[0])
    rows = anndata.io.sparse_dataset(zarr.open_group(folder / "counts/X", mode="r"))
    assert np.array_equal(rows[7:19].toarray(), dense[7:19])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what anndata calls experimental
        lazy = anndata.experimental.read_lazy(zarr.open_group(folder / "counts", mode="r"))
        assert np.array_equal(lazy[5:9, 2:20].to_memory().X.toarray(), dense[5:9, 2:20])


class Counting(LocalStore):
    """A folder that notes each request."""

    def __init__(self, root):
        super().__init__(root, read_only=True)
        self.asked = []

    async def get(self, key, prototype=None, byte_range=None):
        self.asked.append((key, byte_range is None))
        return await super().get(key, prototype, byte_range)


def test_a_gene_is_six_requests(tmp_path):
    """The group's document, a chunk of indptr, and the index and a range of a shard of both other arrays."""
    dense = matrix(300, 200)
    watched = Counting(store(tmp_path, write(dense, chunk=1024, shard=4096)[0]) / "by_gene")
    group = zarr.open_group(watched, mode="r", zarr_format=3, use_consolidated=True)
    start, stop = group["indptr"][20:22].tolist()
    rows, values = group["indices"][start:stop], group["data"][start:stop]
    assert np.array_equal(rows, np.flatnonzero(dense[:, 20]))
    assert np.array_equal(values, dense[rows, 20])
    whole, ranges = [("zarr.json", True), ("indptr/c/0", True)], [("indices/c/0", False), ("data/c/0", False)]
    assert sorted(watched.asked) == sorted(whole + 2 * ranges)


@pytest.mark.parametrize("path", ["counts", "by_gene"])
def test_one_document_holds_those_of_all_below(path, tmp_path):
    """The consolidated metadata are the documents themselves."""
    document, below = documents(store(tmp_path, write(matrix(9, 9))[0]) / path)
    held = document["consolidated_metadata"]["metadata"]
    assert held.keys() == below.keys()
    for name, one in held.items():
        one.pop("consolidated_metadata", None)
        assert one == below[name]


def test_memory_does_not_grow_with_the_rows():
    """Ten times the rows take a fifth more at most, though entries no longer fit and are read again and again."""
    rows, genes, keys = 60, 3_000, set()
    some = (np.arange(genes) % 5 < 2) * np.random.default_rng(0).geometric(0.3, (rows, genes))
    band, objects = band_of([f"spot {row}" for row in range(rows)], some), {}
    entries = len(band.data)

    def put(key, data):
        keys.add(key)
        if key.endswith("/c/0") or "/c/" not in key:
            objects[key.rpartition("/c/")[0]] = bytes(data)  # each shard holds the same

    def peak(times):
        tracemalloc.start()
        write_counts(
            put,
            lambda key: objects[key.rpartition("/c/")[0]],
            lambda: (band for _ in range(times)),
            strings([str(gene) for gene in range(genes)]),
            codec=ZSTD,
            budget=1 << 20,
            workers=1,  # several at once take what they take by chance
            chunk=entries // 24,
            shard=entries,
        )
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1)  # imports and compiles
    least = peak(6)
    assert peak(60) < 1.2 * least
    assert "counts/X/data/c/59" in keys


def flip(objects, key):
    data = bytearray(objects[key])
    data[len(data) // 3] ^= 4
    return bytes(data)


DAMAGE = {
    "a flipped bit, zstd": ("zstd", flip, "expected a frame"),
    "a flipped bit, not compressed": ("none", flip, "expected bytes"),
    "a cut index": ("zstd", lambda objects, key: objects[key][:-1], "expected the index"),
    "nothing": ("zstd", lambda objects, key: b"", "expected the index"),  # noqa: ARG005
}


@pytest.mark.parametrize(("codec", "damaged", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_of_what_was_put_is_seen(codec, damaged, message):
    """Rows that are read again are not believed."""
    objects = Objects()
    with pytest.raises(StoreError, match=message):
        write_counts(
            objects.put,
            lambda key: damaged(objects, key),
            lambda: bands(matrix(20, 20)),
            strings([str(gene) for gene in range(20)]),
            codec=Codec.parse(codec),
            budget=1,
            **SMALL,
        )


def refuse(*_):
    raise DecodeError("as given")


WRONG = {
    "the stream fails": ({"stream": refuse}, DecodeError, "as given"),
    "nothing can be put": ({"put": refuse}, DecodeError, "as given"),
    "nothing can be got": ({"get": refuse, "budget": 1}, DecodeError, "as given"),
    "another number of genes": ({"symbols": strings(["a"])}, LayoutError, "bands of 1 columns, found one of 5"),
    "too few rows in obs": ({"obs": lambda _: {"a": np.zeros(3)}}, LayoutError, "'a': expected 6 rows"),
    "too few rows in obsm": ({"obsm": lambda _: {"a": np.zeros((3, 2))}}, LayoutError, "'a': expected 6 rows"),
    "a path in uns": ({"uns": {"a": {"../b": 1}}}, LayoutError, "uns/a: expected a name that a zarr group can have"),
}


@pytest.mark.parametrize(("options", "error", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_raised(options, error, message):
    """Errors of those who give and take come through; what does not fit is refused."""
    objects = Objects()
    given = {
        "put": objects.put,
        "get": objects.__getitem__,
        "stream": lambda: bands(matrix(6, 5)),
        "symbols": strings(list("abcde")),
        "codec": ZSTD,
        **SMALL,
        **options,
    }
    with pytest.raises(error, match=message):
        write_counts(given.pop("put"), given.pop("get"), given.pop("stream"), given.pop("symbols"), **given)
    assert "counts/zarr.json" not in objects


def test_a_text_is_converted(tmp_path):
    """From the bytes of a file to a store, with its names and whether its last line ends."""
    text = b"".join([b",SNAP25,MBP\n", *(b"spot %d,%d.0,0.0\n" % (row, row % 300) for row in range(1000))])
    content = Bytes(text[:-1])
    header = read_header(content)
    objects = Objects()
    result = write_counts(
        objects.put,
        objects.__getitem__,
        lambda: stream(content, header, target_bytes=500),
        header.symbols,
        codec=ZSTD,
    )
    assert (result.shape, result.nnz, result.terminated, result.negative) == ((1000, 2), 996, False, False)
    table = anndata.read_zarr(store(tmp_path, objects) / "counts")
    assert np.array_equal(table["spot 777"].X.toarray(), [[777 % 300, 0]])
    assert table.var_names.tolist() == ["SNAP25", "MBP"]


def test_a_table_without_uns_is_as_before():
    """A table that holds nothing of its own as a whole has an empty mapping there."""
    objects = dict(table_objects(TableContent(index=strings(["a"]), obs={})))
    assert json.loads(objects["uns/zarr.json"])["attributes"] == {"encoding-type": "dict", "encoding-version": "0.1.0"}
    assert not [key for key in objects if key.startswith("uns/") and key != "uns/zarr.json"]


@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=30), limit=st.integers(-2, 40))
def test_bands_of_genes_keep_within_the_limit(sizes, limit):
    """Bands follow one another without gaps, and none can be longer."""
    genes = range(len(sizes))
    found = list(cuts(genes, np.array(sizes), limit))
    assert [gene for band in found for gene in band] == list(genes)
    for band in found:
        assert sum(sizes[band.start : band.stop]) <= limit or len(band) == 1
        assert band.stop == len(sizes) or sum(sizes[band.start : band.stop + 1]) > limit
