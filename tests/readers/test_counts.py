"""The reader of count matrices: every spelling of a number as ``float`` reads it, and none made up."""

import gzip
import io
import itertools
import pickle
import struct
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix, vstack

from zarrscope.errors import DecodeError
from zarrscope.readers import counts
from zarrscope.readers.counts import content, text
from zarrscope.readers.counts.text import exact
from zarrscope.storage import Blob

SAMPLE = Path(__file__).parents[3] / "shared" / "samples" / "stimage" / "visium-cytassist"


def read(data, **options):
    """Read a whole file: its header, and its bands put together."""
    file = counts.Bytes(data)
    header = counts.read_header(file)
    return header, list(counts.stream(file, header, **options))


def dense(header, bands):
    """Give names and all numbers, and check on the way what the bands say of themselves."""
    rows = []
    for band in bands:
        matrix = csr_matrix((band.data, band.indices, band.indptr), (len(band), header.columns))
        assert matrix.has_canonical_format
        assert (band.data != 0).all()
        np.testing.assert_allclose(band.row_totals, np.asarray(matrix.sum(1)).ravel(), rtol=1e-12)
        np.testing.assert_allclose(band.column_totals, np.asarray(matrix.sum(0)).ravel(), rtol=1e-12)
        np.testing.assert_array_equal(band.row_counts, matrix.getnnz(1))
        np.testing.assert_array_equal(band.column_counts, matrix.getnnz(0))
        assert band.negative == bool((band.data < 0).any())
        rows.append(matrix)
    return [name for band in bands for name in band.names], vstack(rows).toarray()


PLAIN = (["a", "b"], ["s1", "s2"], [[0, 3], [1, 0]])
DIALECTS = {
    "floats": (b",a,b\ns1,0.0,3.0\ns2,1.0,0.0\n", PLAIN),
    "integers": (b",a,b\ns1,0,3\ns2,1,0\n", PLAIN),
    "mixed": (b",a,b\ns1,0,3.0\ns2,1,0.0\n", PLAIN),
    "no last line end": (b",a,b\ns1,0,3\ns2,1,0", PLAIN),
    "CRLF": (b",a,b\r\ns1,0,3\r\ns2,1,0\r\n", PLAIN),
    "CRLF, the last cut": (b",a,b\r\ns1,0,3\r\ns2,1,0\r", PLAIN),
    "CRLF, no last line end": (b",a,b\r\ns1,0,3.25e1\r\ns2,1,0", (["a", "b"], ["s1", "s2"], [[0, 32.5], [1, 0]])),
    "one LF among CRLF": (b",a,b\r\ns1,0,3\ns2,1,0\r\n", PLAIN),
    "byte order mark": (b"\xef\xbb\xbf,a,b\ns1,0,3\ns2,1,0\n", PLAIN),
    "tabs": (b"\ta\tb\ns1\t0.0\t3.0\ns2\t1\t0\n", PLAIN),
    "semicolons": (b";a;b\ns1;0;3.0\ns2;1;0\n", PLAIN),
    "a corner": (b"spot,a,b\ns1,0,3\ns2,1,0\n", PLAIN),
    "quoted names": (b'"","a","b"\n"s1",0,3\n"s2",1,0\n', PLAIN),
    "quoted numbers": (b',a,b\ns1,"0","3.0"\ns2,"1",0\n', PLAIN),
    "no corner, as write.table": (b'"a","b"\n"s1",0,3\n"s2",1,0\n', PLAIN),
    "no corner, one column": (b"a\ns1,0\ns2,7\n", (["a"], ["s1", "s2"], [[0], [7]])),
    "one column": (b",a\ns1,0\ns2,7\n", (["a"], ["s1", "s2"], [[0], [7]])),
    "blank lines at the end": (b",a,b\ns1,0,3\ns2,1,0\n\n\r\n\n", PLAIN),
    "signs": (b",a,b\ns1,-0.0,+3\ns2,+1.,-0\n", PLAIN),
    "blanks": (b",a,b\ns1, 0,3 \ns2,\t1.0, 0.0 \n", PLAIN),
    "exponents": (b",a,b\ns1,0e5,3E0\ns2,10e-1,0e999999\n", PLAIN),
    "bare points": (b",a,b\ns1,.0,3.\ns2,1.000,0.\n", PLAIN),
    "long zeros": (b",a,b\ns1,0.0000000000000000000000000,3\ns2,0000000000000000000000001,0000\n", PLAIN),
    "R's thousands": (b",a\ns1,1e+05\n", (["a"], ["s1"], [[100000]])),
    "names of anything": (
        b'"","a,b","say ""x""",\xce\xb2\n"s,1",1,0,2\ns 2 "q",0,0,0\n,0,0,5\n',
        (["a,b", 'say "x"', "β"], ["s,1", 's 2 "q"', ""], [[1, 0, 2], [0, 0, 0], [0, 0, 5]]),
    ),
    "names are not stripped": (b", a,b \n s1 ,0,1\n", ([" a", "b "], [" s1 "], [[0, 1]])),
    "names that look like none": (b",NA,nan\nNA,0,1\n", (["NA", "nan"], ["NA"], [[0, 1]])),
    "repeated symbols": (b",a,a,a.1\ns1,1,2,3\n", (["a", "a", "a.1"], ["s1"], [[1, 2, 3]])),
    "a separator of others within names": (b",a;b,c\td\ns;1,1,2\n", (["a;b", "c\td"], ["s;1"], [[1, 2]])),
}


@pytest.mark.parametrize(("data", "expected"), DIALECTS.values(), ids=DIALECTS.keys())
def test_dialects(data, expected):
    """Each way to write a matrix gives the same names and numbers, plain or gzip, however it is cut."""
    symbols, names, numbers = expected
    for file in (data, gzip.compress(data)):
        for target in (1, 7, 1 << 20):
            header, bands = read(file, target_bytes=target)
            assert header.symbols.tolist() == symbols
            found = dense(header, bands)
            assert found[0] == names
            np.testing.assert_array_equal(found[1], numbers)


HINT = " Nothing is put in its place: write a number, or 0."
FINITE = "row 3 (spot 's2'), column 'b': expected a finite number, found "
RAGGED = "expected 2 numbers, one a column, found "
WRONG = {
    "empty file": (b"", "expected a header and rows of counts, found an empty file."),
    "header alone": (b",a,b\n", "expected a header and rows of counts below, found b',a,b\\n' and no row."),
    "header and blank lines": (
        b",a\n\n\n",
        "expected a header and rows of counts below, found b',a\\n\\n\\n' and no row.",
    ),
    "old Macintosh": (b",a\rs,1\r", "expected a header and rows of counts below, found b',a\\rs,1\\r' and no row."),
    "a page": (
        b"<!DOCTYPE html>\n<html>\n",
        "the header: expected names between commas, tabs or semicolons, found '<!DOCTYPE html>'.",
    ),
    "rows alone": (
        b"s1,0.0,0.0\ns2,1.0,0.0\n",
        "the header: expected the names of columns, found numbers ('s1,0.0,0.0'): is it missing?",
    ),
    "header not UTF-8": (b",a,\xe9\ns,1,2\n", "the header: expected names in UTF-8, found the byte 0xe9 at byte 3."),
    "header with NUL": (b",a,\0\ns,1,2\n", "the header: expected names, found a NUL byte behind ',a,'."),
    "header over two lines": (
        b',"a\nb",c\ns,1,2\n',
        "the header: expected names, quoted or not, found a quoted name that does not end on its line.",
    ),
    "too few": (b",a,b\ns1,0,1\ns2,0\ns3,0,1\n", f"row 3 (spot 's2'): {RAGGED}1."),
    "too many": (b",a,b\ns1,0,1\ns2,0,1,0\n", f"row 3 (spot 's2'): {RAGGED}3."),
    "far too many": (b",a,b\ns1,1,1\ns2" + b",7.5" * 99 + b"\n", f"row 3 (spot 's2'): {RAGGED}99."),
    "corner alone": (b"a,\n\n", "expected a header and rows of counts below, found b'a,\\n\\n' and no row."),
    "separator at the end": (b",a,b\ns1,0,1,\n", f"row 2 (spot 's1'): {RAGGED}3."),
    "cut within the last row": (b",a,b\ns1,0,1\ns2,0", f"row 3 (spot 's2'): {RAGGED}1: the text ends within this row."),
    "a name alone": (b",a,b\ns1,0,1\nEND\n", f"row 3 (spot 'END'): {RAGGED}0."),
    "blank line": (b",a\ns1,0\n\ns2,1\n", "row 3: expected a name and numbers, found a blank line with rows below."),
    "blank CRLF": (b",a\ns1,0\r\n\r\ns2,1", "row 3: expected a name and numbers, found a blank line with rows below."),
    "name over two lines": (
        b',a\ns1,0\n"s\n2",1\n',
        "row 3: expected a name on one line, found that its quotes do not end there.",
    ),
    "quote without end": (
        b',a\ns1,0\n"s2,1',
        "row 3: expected a name on one line, found that its quotes do not end there.",
    ),
    "letters behind quotes": (
        b',a\ns1,0\n"s"2,1\n',
        "row 3: expected a separator behind the quoted name, found something else.",
    ),
    "name not UTF-8": (b",a\ns1,0\n\xe9,1\n", "row 3 (spot '\\\\xe9'): expected a name in UTF-8, found the byte 0xe9."),
    "name with NUL": (b",a\ns1,0\ns\0,1\n", "row 3 (spot 's\\x00'): expected a name, found a NUL byte in it."),
    "name twice": (b",a\ns1,0\ns1,1\n", "row 3 (spot 's1'): expected each name once, found it in a row above too."),
    "empty cell": (b",a,b,c\ns1,0,1,2\ns2,0,,1\n", f"{FINITE}an empty cell.{HINT}"),
    "empty cell at the end": (b",a,b\ns1,0,1\ns2,0,\n", f"{FINITE}an empty cell.{HINT}"),
    "empty cell at the very end": (b",a,b\ns1,0,1\ns2,0,", f"{FINITE}an empty cell.{HINT}"),
    "quoted nothing": (b',a,b\ns1,0,1\ns2,0,""\n', f"{FINITE}an empty cell.{HINT}"),
    "NA": (b",a,b\ns1,0,1\ns2,0,NA\n", f"{FINITE}'NA'.{HINT}"),
    "nan": (b",a,b\r\ns1,0,1\r\ns2,0,nan\r\n", f"{FINITE}'nan'.{HINT}"),
    "inf": (b",a,b\ns1,0,1\ns2,0,-inf\n", f"{FINITE}'-inf'.{HINT}"),
    "too large": (b",a,b\ns1,0,1\ns2,0,1e999\n", f"{FINITE}'1e999'."),
    "text": (b",a,b\ns1,0,1\ns2,0,high\n", f"{FINITE}'high'."),
    "thousands": (b',a,b\ns1,0,1\ns2,0,"1,000"\n', f"{FINITE}'\"1,000\"'."),
    "decimal comma": (b";a;b\ns1;0;1\ns2;0;1,5\n", f"{FINITE}'1,5'."),
    "underscore": (b",a,b\ns1,0,1\ns2,0,1_0\n", f"{FINITE}'1_0'."),
    "hexadecimal": (b",a,b\ns1,0,1\ns2,0,0x1\n", f"{FINITE}'0x1'."),
    "digits of others": (",a,b\ns1,0,1\ns2,0,\u0663\n".encode(), f"{FINITE}'\u0663'."),
    "two points": (b",a,b\ns1,0,1\ns2,0,1.0.0\n", f"{FINITE}'1.0.0'."),
    "half a number": (b",a,b\ns1,0,1\ns2,0,1e\n", f"{FINITE}'1e'."),
    "half a quote": (b',a,b\ns1,0,1\ns2,0,"1\n', f"{FINITE}'\"1'."),
    "NUL": (b",a,b\ns1,0,1\ns2,0,\0\n", f"{FINITE}'\\x00'."),
    "lone CR": (b",a,b\ns1,0,1\ns2,0,3\r\r\ns3,0,1\n", f"{FINITE}'3\\r'."),
    "the first of several": (b",a,b\ns1,0,1\ns2,0,x\n\xe9,0,1\ns3,,1\ns4\n", f"{FINITE}'x'."),
    "name before number": (
        b",a,b\n\xe9,0,x\n\n",
        "row 2 (spot '\\\\xe9'): expected a name in UTF-8, found the byte 0xe9.",
    ),
}


@pytest.mark.parametrize(("data", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_said(data, message):
    """What is no matrix of numbers is refused, naming row, spot and column: the same however the file is cut."""
    for file in (data, gzip.compress(data)):
        for target in (1, 1 << 20):
            with pytest.raises(DecodeError) as raised:
                read(file, target_bytes=target)
            assert str(raised.value) == message


def test_a_band_alone_counts_its_rows():
    """Whoever parses a band elsewhere says how many rows stand above it; the error survives a pickle."""
    header = counts.read_header(counts.Bytes(b",a\ns,1\n"))
    with pytest.raises(counts.RowError) as raised:
        counts.parse_band(memoryview(b"s1,0\ns2,x\n"), header, rows_before=10)
    assert str(raised.value) == "row 13 (spot 's2'), column 'a': expected a finite number, found 'x'."
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


NUMBERS = ["1e22", "1e23", "123456789012345678", "9007199254740993", "9007199254740992", "0.1", "1.0986122886681098"]
NUMBERS += ["5e-324", "1e-400", "1.7976931348623157e308", "0.3000000000000000000001", "8.5e-23", "1e-22", "12345e-27"]
NUMBERS += ["4503599627370496.5", "00000000000000000000.5", "0.000000000000000000000000000001", "9.5e-5", "1E+2", "2e1"]
NUMBERS += ["3.05", "3.00", "3.", "12.0", "345", "99999.0", "123456.0", "00012", "0.01", "0.05", "10.0", "-3.0", "+3.0"]
SPELLED = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(["0", "0.0", "-0.0", "0e5", "00", ".0", "0."]),
    st.integers(-(10**20), 10**20).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.builds("{}.{}e{}".format, st.integers(0, 10**18), st.integers(0, 10**9), st.integers(-40, 40)),
    st.decimals(0, 1000, places=6, allow_nan=False).map(str),
)


@settings(deadline=None)
@given(st.lists(SPELLED, min_size=1, max_size=50))
def test_numbers_are_those_of_python(spelled):
    """Every number is bit for bit what ``float`` makes of its text."""
    header, bands = read(f",{','.join(map(str, range(len(spelled))))}\ns,{','.join(spelled)}\n".encode())
    found = np.zeros(len(spelled))
    found[bands[0].indices] = bands[0].data
    expected = np.array([float(number) for number in spelled]) + 0.0  # -0.0 is not stored
    np.testing.assert_array_equal(found.view(np.uint64), expected.view(np.uint64))
    assert header.columns == len(spelled)
    for number in spelled:
        assert struct.pack("d", exact(number.encode())) == struct.pack("d", float(number))


def spell(style, value):
    if style == "float":
        return repr(float(value))
    if style == "plain":
        return f"{value:g}" if value == int(value) else repr(float(value))
    if style == "quoted":
        return f'"{float(value)!r}"'
    return f"{float(value):.17e}"


@st.composite
def matrices(draw):
    """A matrix, mostly zeros, and its text in any mix of spellings."""
    rows, columns = draw(st.integers(1, 12)), draw(st.integers(1, 40))
    element = st.sampled_from([0, 0, 0, 0, 0, 0, 1, 2, 12, 345, 0.5, 2.25, -1.5, 0.1, 1234567.0625])
    values = np.array(draw(st.lists(element, min_size=rows * columns, max_size=rows * columns))).reshape(rows, columns)
    end, separator = draw(st.sampled_from(["\n", "\r\n"])), draw(st.sampled_from([",", "\t", ";"]))
    style = st.sampled_from(["float", "plain", "float", "plain", "quoted", "exponent"])
    lines = [separator.join(["", *(f"g{column}" for column in range(columns))])]
    for row in range(rows):
        styles = draw(st.lists(style, min_size=columns, max_size=columns))
        lines.append(separator.join([f"s{row}", *map(spell, styles, values[row].tolist())]))
    return separator, end.join(lines) + draw(st.sampled_from(["", end])), values


# Its default is as exact only since pandas 3, which therefore warns of the option.
@pytest.mark.filterwarnings("ignore:The 'float_precision' argument is deprecated")
@settings(deadline=None, max_examples=60)
@given(matrices(), st.integers(1, 400), st.integers(1, 3), st.booleans())
def test_pandas_reads_the_same(matrix, target, workers, packed):
    """Whatever the spelling, the cut and the number of threads: the numbers of pandas, and of the matrix written."""
    separator, written, values = matrix
    expected = pd.read_csv(io.StringIO(written), sep=separator, index_col=0, float_precision="round_trip")
    data = written.encode()
    header, bands = read(gzip.compress(data) if packed else data, target_bytes=target, workers=workers)
    names, found = dense(header, bands)
    np.testing.assert_array_equal(found, expected.to_numpy(float))
    np.testing.assert_array_equal(found, values)
    assert (names, header.symbols.tolist()) == (list(expected.index), list(expected.columns))
    assert bands[-1].terminated == data.endswith(b"\n")
    whole = counts.combined_dtype([band.data.dtype for band in bands])
    assert whole == read(data)[1][0].data.dtype


TYPES = {
    "small": ("3.0", "int32"),
    "nothing": ("0", "int32"),
    "largest int32": ("2147483647", "int32"),
    "beyond int32": ("2147483648.0", "int64"),
    "least": ("-2147483648", "int64"),
    "largest int64": ("9007199254740991", "int64"),
    "beyond what float64 tells apart": ("9007199254740992", "float64"),
    "fraction": ("0.5", "float64"),
}


@pytest.mark.parametrize(("spelled", "dtype"), TYPES.values(), ids=TYPES.keys())
def test_types(spelled, dtype):
    """Whole numbers become integers as long as float64 tells them apart; nothing is narrowed."""
    band = read(f",a,b\ns1,1,{spelled}\n".encode())[1][0]
    assert band.data.dtype == dtype
    assert band.integral == (dtype != "float64")
    assert band.row_totals.dtype == band.column_totals.dtype == ("int64" if dtype == "int32" else "float64")
    assert band.data[-1] == (float(spelled) or 1)


def test_bands_join_to_the_type_that_holds_all():
    kinds = [np.dtype(name) for name in ("int32", "int64", "float64")]
    assert [counts.combined_dtype(kinds[:count]) for count in range(4)] == [kinds[0], *kinds]


def test_bands_are_cut_at_line_ends():
    """Bands follow each other without gaps, each ends a line and has a row; blank lines at the end are left out."""
    rows = b"".join(b"spot %d,%s,1\n" % (row, b"0.0" * (row % 3) or b"2") for row in range(50)).replace(b"0.00", b"0")
    data = b",a,b\n" + rows + b"\n\r\n" * 40_000
    file = counts.Bytes(data)
    header = counts.read_header(file)
    for target in (1, 30, 100, 10_000):
        found = counts.bands(file, header, target)
        assert (found[0][0], found[-1][1]) == (header.body, header.body + len(rows))
        assert all(stop == start for (_, stop), (start, _) in itertools.pairwise(found))
        assert all(data[stop - 1 : stop] == b"\n" and stop > start for start, stop in found)
        assert len(found) == 50 if target == 1 else len(found) <= 1 + len(rows) // target


def test_a_line_longer_than_the_first_reads():
    """Headers and rows may be megabytes long, far longer than a band."""
    columns = 300_000
    data = b",".join([b"", *(b"gene%d" % column for column in range(columns))]) + b"\n"
    data += b"".join(b"s%d%s,%d\n" % (row, b",0.0" * (columns - 1), row) for row in range(3))
    header, bands = read(data, target_bytes=1000)
    assert header.columns == columns
    assert [(band.names[0], band.indices.tolist(), band.data.tolist()) for band in bands] == [
        ("s0", [], []),
        ("s1", [columns - 1], [1]),
        ("s2", [columns - 1], [2]),
    ]


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_lines_have_a_limit(pack, monkeypatch):
    """A file without line ends is not read to its end."""
    for module in ("header", "whole"):
        monkeypatch.setattr(f"zarrscope.readers.counts.{module}.MAX_LINE", 1 << 17)
    with pytest.raises(DecodeError, match="expected lines of at most 131,072 bytes"):
        read(pack(b",a" * 300_000))
    with pytest.raises(DecodeError, match="expected a line end within 131,072 bytes, found none"):
        read(pack(b",a\ns,1\nt," + b"1" * 600_000), target_bytes=1000)


def test_dense_rows_make_the_buffers_grow():
    """A matrix without a zero is read too."""
    values = np.arange(1, 200 * 300 + 1).reshape(200, 300) % 9 + 1
    lines = [b",".join([b"s%d" % row, *(b"%d" % value for value in line)]) for row, line in enumerate(values)]
    data = b",".join([b"", *(b"g%d" % gene for gene in range(300))]) + b"\n" + b"\n".join(lines)
    np.testing.assert_array_equal(dense(*read(data))[1], values)


def test_the_look_ahead_is_bounded():
    """While the caller holds one band, no more than the threads' and one more are read."""
    data = b",a\n" + b"".join(b"s%03d,1\n" % row for row in range(200))
    reads = []

    class Watched(counts.Bytes):
        def read(self, offset, length):
            reads.append(offset)
            return super().read(offset, length)

    file = Watched(data)
    header = counts.read_header(file)
    bands = counts.stream(file, header, workers=2, target_bytes=10)
    next(bands)
    assert max(offset for offset in reads if offset < len(data) - 20) < header.body + 5 * 14
    bands.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("zarrscope-counts")]


def test_a_file_that_shrinks_is_noticed():
    class Shrunk(counts.Bytes):
        size = 1000

    file = Shrunk(b",a\ns1,1\ns2,2\n")
    with pytest.raises(DecodeError, match="the file is shorter than it was"):
        list(counts.stream(file, counts.read_header(file)))


def test_a_blob_is_content(tmp_path):
    """What storage and sources give is read as it is."""
    (tmp_path / "counts.csv").write_bytes(b",a\ns1,1\n")
    file = Blob(str(tmp_path / "counts.csv"))
    assert [band.data.tolist() for band in counts.stream(file, counts.read_header(file))] == [[1]]


def test_a_given_separator_is_not_guessed():
    header = counts.read_header(counts.Bytes(b",a;b;c,d\ns,1,2\n"), separator=",")
    assert header.symbols.tolist() == ["a;b;c", "d"]


@pytest.mark.parametrize(
    ("data", "corner"), [(b",a\ns,1\n", ""), (b"spot,a\ns,1\n", "spot"), (b"a\ns,1\n", None)], ids=str
)
def test_the_corner(data, corner):
    assert counts.read_header(counts.Bytes(data)).corner == corner


GZIP = {
    "members": (lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:]), None),
    "padded": (lambda data: gzip.compress(data) + bytes(700_000), None),
    "members and padding": (lambda data: gzip.compress(data[:9]) + bytes(9) + gzip.compress(data[9:]) + bytes(5), None),
    "cut": (lambda data: gzip.compress(data)[:-9], "the gzip data are cut off"),
    "cut in the checksum": (lambda data: gzip.compress(data)[:-2], "the gzip data are cut off"),
    "checksum": (lambda data: gzip.compress(data)[:-8] + bytes(8), "the gzip data are corrupt"),
    "letters behind": (lambda data: gzip.compress(data) + b"letters behind it", "the gzip data are corrupt"),
}


@pytest.mark.parametrize(("pack", "message"), GZIP.values(), ids=GZIP.keys())
def test_gzip(pack, message):
    """Members follow each other, zeros may pad; what is cut or corrupt is an error, never fewer rows."""
    data = b",a\n" + b"".join(b"s%d,%d\n" % (row, row % 7) for row in range(30_000))
    packed = pack(data)
    if message is None:
        header, bands = read(packed, target_bytes=1 << 16)
        assert len(header.symbols) == 1
        assert sum(map(len, bands)) == 30_000
        assert sum(int(band.column_totals[0]) for band in bands) == sum(row % 7 for row in range(30_000))
    else:
        with pytest.raises(DecodeError, match=message):
            read(packed, target_bytes=1 << 16)


def test_gzip_moves_forwards_only():
    data = np.random.default_rng(0).integers(0, 256, 20_000_000, np.uint8).tobytes()
    stream = content.Gunzip(counts.Bytes(gzip.compress(data, 1)))
    assert bytes(stream.read(5, 3)) == data[5:8]
    assert bytes(stream.read(12_345_678, 4)) == data[12_345_678:12_345_682]
    with pytest.raises(ValueError, match="forwards only"):
        stream.read(0, 1)
    assert bytes(stream.read(19_999_999, 10)) == data[-1:]
    file = counts.Bytes(gzip.compress(b",a\ns,1\n"))
    with pytest.raises(DecodeError, match="found gzip"):
        counts.bands(file, counts.read_header(file))


def test_a_band_has_a_size():
    file = counts.Bytes(b",a\ns,1\n")
    header = counts.read_header(file)
    for call in (counts.bands, lambda *given: list(counts.stream(*given[:2], target_bytes=given[2]))):
        with pytest.raises(ValueError, match="at least 1 byte"):
            call(file, header, 0)


SYMBOLS = st.lists(st.sampled_from(["a", "b", "a-1", "a-2", "b-1", "a-1-1", "FO538757.1", "FO538757", ""]), max_size=12)


@given(SYMBOLS)
def test_unique_names(symbols):
    """Names are unique, the first of equal ones keeps its own, and no name that exists is taken from its column."""
    names = counts.unique_names(symbols).tolist()
    assert len(set(names)) == len(names)
    for place, (symbol, name) in enumerate(zip(symbols, names, strict=True)):
        first = symbols.index(symbol) == place
        assert name == symbol if first else name.startswith(f"{symbol}-") and name not in symbols


TRANSPOSED = {
    "spots as rows": (b",g1,g2\ns1,1,0\n", ["s1"], False),
    "genes as rows": (b",s1,s2\ng1,1,0\n", ["g1"], True),
    "nothing known": (b",x,y\nz,1,0\n", ["z"], False),
}


@pytest.mark.parametrize(("data", "rows", "expected"), TRANSPOSED.values(), ids=TRANSPOSED.keys())
def test_looks_transposed(data, rows, expected):
    """Known spots, known genes or both tell which way a matrix lies."""
    header = counts.read_header(counts.Bytes(data))
    for known in ({"spots": {"s1", "s2", "s3"}}, {"genes": ["g1", "g2"]}, {"spots": ["s1"], "genes": {"g1"}}):
        assert counts.looks_transposed(header, rows, **known) is expected


def test_words_at_any_address():
    """Text need not be aligned, and texts shorter than a word are read too."""
    for shift in range(9):
        given_bytes = memoryview(b"x" * shift + b"s,0.0,0.0,5\n")[shift:]
        header = counts.read_header(counts.Bytes(b",a,b,c\ns,0,0,0\n"))
        assert counts.parse_band(given_bytes, header).indices.tolist() == [2]
    assert [len(text.words(np.zeros(size, np.uint8))) for size in (0, 7, 8, 9)] == [0, 0, 1, 2]
    assert len(counts.parse_band(memoryview(b""), header)) == 0


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the sample of a CytAssist slide is not here")
def test_a_real_slide_with_repeated_symbols(tmp_path):
    """Some hundred spots of a published slide, written as STimage-1K4M writes them, come back exactly."""
    from anndata.utils import make_index_unique
    from scipy.io import mmread

    symbols = [
        line.split("\t")[1] for line in gzip.decompress((SAMPLE / "features.tsv.gz").read_bytes()).decode().splitlines()
    ]
    with gzip.open(SAMPLE / "matrix.mtx.gz") as file:
        expected = mmread(file, spmatrix=False).T.tocsr()[:200].astype(float)
    path = tmp_path / "slide_count.csv"
    names = [f"slide_{row}" for row in range(200)]
    rows = [[name, *map(repr, numbers)] for name, numbers in zip(names, expected.toarray().tolist(), strict=True)]
    path.write_text("\n".join(map(",".join, [["", *symbols], *rows])) + "\n")
    file = Blob(str(path))
    header = counts.read_header(file)
    found, values = dense(header, list(counts.stream(file, header, target_bytes=1 << 20)))
    assert header.symbols.tolist() == symbols
    assert len(set(symbols)) < len(symbols)
    assert found == names
    np.testing.assert_array_equal(values, expected.toarray())
    assert counts.unique_names(symbols).tolist() == list(make_index_unique(pd.Index(symbols)))
