"""A gene across slides: its own entries are read and no others; zero is measured, NaN is not."""

from __future__ import annotations

import json
import shutil
import warnings

import numpy as np
import pandas as pd
import pytest

from loaders.slide_builder import HAVING
from zarrscope.errors import MissingDataError, QueryError, StoreError
from zarrscope.loaders import open_store

VISIUM, MOUSE, BREAST = HAVING


def expected(columns, slides=HAVING):
    """Put together what the table should be: by column, the symbol and which of its copies, or ``sum``."""
    frames = []
    for slide in slides:
        frame = pd.DataFrame({"slide": slide.name, "spot": slide.names})
        frame[["x", "y"]] = slide.places
        for name, (symbol, copy) in columns.items():
            places = [at for at, one in enumerate(slide.genes) if one == symbol]
            chosen = places if copy == "sum" else places[copy : copy + 1]
            frame[name] = slide.counts[:, chosen].sum(axis=1).astype(float) if chosen else np.nan
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def same(found, columns, slides=HAVING):
    wanted = expected(columns, slides)
    assert list(found) == list(wanted)
    assert found["slide"].dtype == "category"
    pd.testing.assert_frame_equal(found.astype({"slide": str, "spot": str}), wanted.astype({"slide": str, "spot": str}))


@pytest.mark.parametrize(
    ("ask", "columns"),
    [
        pytest.param({"symbol": "ZERO"}, {"value": ("ZERO", 0)}, id="measured zeros are zeros"),
        pytest.param({"symbol": "ONLY"}, {"value": ("ONLY", 0)}, id="in one panel only"),
        pytest.param({"symbol": "DUP"}, {"value": ("DUP", 0), "value_1": ("DUP", 1)}, id="twice"),
        pytest.param({"symbol": "DUP", "sum_duplicates": True}, {"value": ("DUP", "sum")}, id="added up"),
        pytest.param({"symbol": ["MBP", "Mbp"]}, {"MBP": ("MBP", 0), "Mbp": ("Mbp", 0)}, id="both cases"),
        pytest.param(
            {"symbol": ["ONLY", "DUP", "ONLY"]},
            {"ONLY": ("ONLY", 0), "DUP": ("DUP", 0), "DUP_1": ("DUP", 1)},
            id="several, one asked for twice",
        ),
    ],
)
def test_a_gene_is_a_column_of_all_spots(slides, ask, columns):
    same(slides.gene(**ask), columns)


@pytest.mark.parametrize(
    ("choose", "chosen"),
    [
        pytest.param(lambda _: "Mouse_Brain+Kidney", [MOUSE], id="name"),
        pytest.param(lambda _: "Visium/Mouse_Brain_Kidney", [MOUSE], id="path"),
        pytest.param(lambda _: ["Breast_A1", "GSE1_GSM2"], [BREAST, VISIUM], id="names, in their order"),
        pytest.param(lambda store: store.query("n_spots < 10"), [MOUSE, BREAST], id="selection"),
        pytest.param(
            lambda store: store.query("technology == 'VisiumHD' or tissue == 'breast'", quarantined=True),
            [BREAST],
            id="those of a selection that have counts",
        ),
    ],
)
def test_slides_are_chosen(slides, choose, chosen):
    columns = {"value": ("DUP", 0), "value_1": ("DUP", 1)}
    same(slides.gene("DUP", choose(slides)), columns if chosen != [MOUSE] else {"value": ("DUP", 0)}, chosen)


def test_no_slide_is_an_empty_table(slides):
    assert list(slides.gene("DUP", [])) == ["slide", "spot", "x", "y", "value"]
    assert len(slides.gene("DUP", slides.query("n_spots > 100"))) == 0


def test_a_symbol_of_another_case_is_named_in_a_warning(slides):
    """Elsewhere it stays quiet: where the slides asked for measure the symbol, or none has the other one."""
    with pytest.warns(UserWarning, match=r"1 of 3 slides do not measure 'MBP' but Mbp: symbols are taken exactly"):
        found = slides.gene("MBP")
    same(found, {"value": ("MBP", 0)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        slides.gene("MBP", "GSE1_GSM2")
        slides.gene("MBP", ["GSE1_GSM2", "Breast_A1"])
        slides.gene("ONLY")


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        pytest.param({"symbol": "mbp"}, QueryError, "no slide of .* measures 'mbp'.*'MBP' or 'Mbp'", id="case"),
        pytest.param({"symbol": "SNAP52"}, QueryError, "there are 7. Did you mean 'SNAP25'", id="spelling"),
        pytest.param({"symbol": "Xist"}, QueryError, r"there are 7\.$", id="nothing like it"),
        pytest.param({"symbol": []}, QueryError, "no gene is asked for", id="none"),
        pytest.param({"symbol": "MBP", "slides": "GSE1_GSM3"}, MissingDataError, "Did you mean 'GSE1_GSM2'", id="name"),
        pytest.param({"symbol": "MBP", "slides": ["Colon_HD"]}, MissingDataError, "has no counts", id="no counts"),
        pytest.param({"symbol": "MBP", "slides": "Torn"}, MissingDataError, "no slide 'Torn'", id="quarantined"),
    ],
)
def test_a_wrong_question_is_answered(slides, ask, error, message):
    with pytest.raises(error, match=message):
        slides.gene(**ask)


def test_a_store_of_stacks_has_no_genes(store):
    with pytest.raises(MissingDataError, match="no store of slides"):
        store.gene("MBP")
    with pytest.raises(MissingDataError, match="no sample set or image 'slides'"):
        _ = store.slides


def test_damage_is_an_error_and_never_a_zero(slides_path, tmp_path):
    copy = shutil.copytree(slides_path, tmp_path / "copy.zarr")
    (copy / VISIUM.path / "by_gene/data/c/0").unlink()
    with pytest.raises(MissingDataError, match="by_gene/data/c/0 is missing"):
        open_store(str(copy)).gene("DUP")
    path = copy / BREAST.path / "by_gene/zarr.json"
    document = json.loads(path.read_text())
    document["attributes"]["shape"][0] = 8
    path.write_text(json.dumps(document))
    with pytest.raises(StoreError, match="expected 7 rows, found 8"):
        open_store(str(copy)).gene("DUP", BREAST.name)


def test_the_index_of_genes_is_read_once(slides_url, traffic):
    """Its document and four arrays; then two ranges a symbol, which are kept."""
    store = open_store(slides_url)
    traffic.clear()
    store.gene("DUP", [])
    assert traffic.total <= 5 + 2
    traffic.clear()
    store.gene("ONLY", [])
    assert traffic.requests == {"get": 2}
    store.gene(["ONLY", "DUP"], [])
    assert traffic.requests == {"get": 2}


@pytest.mark.parametrize(
    ("slide", "first", "second"),
    [
        pytest.param(MOUSE, 7, 5, id="whole arrays"),  # 2 documents; indptr, indices, data; names, places
        pytest.param(VISIUM, 9, 5, id="in shards"),  # and the index of a shard of indices, and of data
    ],
)
def test_a_gene_of_a_slide_is_few_requests(slides_url, traffic, slide, first, second):
    store = open_store(slides_url)
    store.gene("DUP", BREAST.name)
    traffic.clear()
    same(store.gene("DUP", slide.name, sum_duplicates=True), {"value": ("DUP", "sum")}, [slide])
    assert traffic.total <= first
    traffic.clear()
    store.gene("DUP", slide.name)
    assert traffic.total <= second


def test_a_slide_that_does_not_measure_a_gene_costs_its_spots_alone(slides_url, traffic):
    """The document of its counts, the names of spots, and their places."""
    store = open_store(slides_url)
    store.gene("ONLY", MOUSE.name)
    traffic.clear()
    assert store.gene("ONLY", BREAST.name)["value"].isna().all()
    assert traffic.total <= 3


def test_slides_are_read_side_by_side_and_come_in_order(slides_url):
    same(open_store(slides_url).gene("DUP", sum_duplicates=True), {"value": ("DUP", "sum")})
