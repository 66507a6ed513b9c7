"""The table of slides and the references: text with newlines, quotes and separators inside."""

import csv
import io
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zarrscope.errors import DecodeError
from zarrscope.readers.slides import read_bib, read_meta

COLUMNS = ["slide", "pmid", "abstract", "involve_cancer", "spot_num", "gene_num"]
ROWS = [
    ("GSE1_GSM2", "32579974,38037084", 'Abstract 1: "Two"\nlines,\tone tab.', "True", "666", "17138"),
    ("Mouse_Brain+Kidney_4.5-5PCW_1", "", "", "False", "54", "30479"),
    ("Mouse_Brain_10X_03292024_VIsiumHD", "00123", "NA", "", "", "19059.0"),
]


def written(rows, *, columns=COLUMNS, delimiter=",", quoting=csv.QUOTE_ALL, end="\n"):
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerows([columns, *rows])
    return file.getvalue().encode()


@pytest.mark.parametrize("delimiter", [",", "\t"], ids=["commas", "tabs"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_ALL, csv.QUOTE_MINIMAL], ids=["all quoted", "quoted where needed"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_meta(delimiter, quoting, end):
    """Newlines stay in their abstract, numbers of publications stay text, what is empty is None."""
    table = read_meta(written(ROWS, delimiter=delimiter, quoting=quoting, end=end))
    assert table == {
        "slide": [row[0] for row in ROWS],
        "pmid": ["32579974,38037084", None, "00123"],
        "abstract": [ROWS[0][2], None, "NA"],
        "involve_cancer": [True, False, None],
        "spot_num": [666, 54, None],
        "gene_num": [17138, 30479, 19059],
    }
    assert list(table) == COLUMNS
    assert type(table["involve_cancer"][0]) is bool


def test_an_older_edition_has_no_numbers():
    """Only the column of slides must be there; every other is given as it is."""
    assert read_meta(b"slide\ttech\nGSE1_GSM2\tST\n") == {"slide": ["GSE1_GSM2"], "tech": ["ST"]}


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=9),
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=80, deadline=None)
def test_any_text_comes_back(abstracts):
    """Whatever an abstract holds, it is in its own row, character by character."""
    table = read_meta(written(abstracts.items(), columns=["slide", "abstract"]))
    assert table == {"slide": list(abstracts), "abstract": [text or None for text in abstracts.values()]}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        pytest.param([ROWS[0], ROWS[1], ROWS[0]], "'GSE1_GSM2' in rows 1 and 3", id="a slide twice"),
        pytest.param([ROWS[0], ("", *ROWS[1][1:])], "a slide in row 2, column 'slide', found ''", id="no name"),
        pytest.param([ROWS[0], ROWS[1][:4]], "expected 6 fields in row 2, found 4", id="a short row"),
        pytest.param([(*ROWS[0][:4], "12.5", "1")], "row 1, column 'spot_num', found '12.5'", id="half a spot"),
        pytest.param([(*ROWS[0][:4], "-1", "1")], "row 1, column 'spot_num', found '-1'", id="less than none"),
        pytest.param([(*ROWS[0][:3], "maybe", "1", "1")], "row 1, column 'involve_cancer', found 'maybe'", id="maybe"),
    ],
)
def test_meta_refused(rows, message):
    """Rows are counted as rows, not as lines: the first one here has a newline inside."""
    with pytest.raises(DecodeError, match=message):
        read_meta(written(rows))


@pytest.mark.parametrize("columns", [["name", *COLUMNS[1:]], [*COLUMNS[:-1], "pmid"]], ids=["no slide", "pmid twice"])
def test_columns_refused(columns):
    with pytest.raises(DecodeError, match="expected a column 'slide' and each column once"):
        read_meta(written(ROWS, columns=columns))


def test_a_cut_abstract_is_refused():
    with pytest.raises(DecodeError, match="closed quotes"):
        read_meta(written(ROWS)[:120])


BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
BIB = r"""References of all studies, as of today.

@article{pmid34650042,
  Title = {Spatial deconvolution of {HER2}-positive
           breast cancer, with "quotes" = {not a field}},
  booktitle = {no title}, doi={10.1038/s41467-021-26271-2},
  year = 2021
}
some words between
@Misc{key:two, title = "In {"}quotes", note = {title = {no}}, PMID = {31835037} }
@article{33558695, title={By number}, journal={J}}
@comment{not an entry}
@article{pmid34650042, title={Something else}}
@article{33558695, title={By number}, journal={J}}
@article{cut, title={It never {closes},
@book(round, title={Other brackets})
"""


def test_bib():
    """Entries by key with what identifies them; all that is no entry is handed back as text."""
    found = read_bib(BIB.encode())
    assert list(found.entries) == ["pmid34650042", "key:two", "33558695", "pmid34650042#2"]
    first = found.entries["pmid34650042"]
    assert first.title == 'Spatial deconvolution of HER2-positive breast cancer, with "quotes" = not a field'
    assert (first.kind, first.doi, first.pmid) == ("article", "10.1038/s41467-021-26271-2", "34650042")
    assert first.text == BIB[BIB.index("@article") : BIB.index("some words")].strip()
    assert (found.entries["key:two"].kind, found.entries["33558695"].title) == ("misc", "By number")
    assert found.entries["pmid34650042#2"].title == "Something else"
    for text in ("References of", "some words", "@comment{not an entry}", "@article{cut", "@book(round"):
        assert text in found.unparsed
    assert found.entries["key:two"].title == 'In "quotes'
    assert found.by_pmid() == {
        "34650042": first,
        "31835037": found.entries["key:two"],
        "33558695": found.entries["33558695"],
    }


@pytest.mark.parametrize(
    ("data", "unparsed"),
    [
        pytest.param(b"", "", id="empty"),
        pytest.param(
            b"1. A. Author. A title. 2021. PMID: 34650042\n", "1. A. Author. A title. 2021. PMID: 34650042", id="prose"
        ),
        pytest.param(b"\xb5m", r"\xb5m", id="not UTF-8"),
        pytest.param(b"@article{}", "@article{}", id="no key"),
        pytest.param(b"@article{a b, title={x}}", "@article{a b, title={x}}", id="a key of two words"),
    ],
)
def test_bib_without_entries(data, unparsed):
    found = read_bib(data)
    assert dict(found.entries) == {}
    assert found.unparsed == unparsed


@given(st.text(alphabet='@a{}=", \n1', max_size=200) | st.text(st.characters(exclude_characters=BOM), max_size=50))
@settings(max_examples=200, deadline=None)
def test_bib_never_fails_and_loses_nothing(text):
    """Whatever the text is, each of its characters is in an entry or in the rest; only a repeated entry is left out."""
    found = read_bib(text.encode())
    assert set(found.by_pmid().values()) <= set(found.entries.values())
    texts = [entry.text for entry in found.entries.values()]
    lost = Counter("".join(text.split())) - Counter("".join([found.unparsed, *texts]))
    assert not lost or any(text.count(entry) > 1 for entry in texts)


@pytest.mark.parametrize(
    "text", ["@a{b," + " " * 300_000, "@a{b,}\n" * 50_000, "@a{b,c={" * 50_000, "@a{" + "k" * 300_000]
)
def test_bib_takes_no_time(text):
    """Nothing that a file of a few hundred kilobytes holds takes more than one pass (a quadratic one takes minutes)."""
    assert len(read_bib(text.encode()).entries) <= 1
