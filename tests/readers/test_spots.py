"""Spots of a slide: their places, their labels, what their names say, and how large a pixel is."""

import csv
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zarrscope.errors import DecodeError
from zarrscope.readers.slides import micrometres_per_pixel, read_annotation, read_coords, spot_grid
from zarrscope.readers.slides.delimited import BLOCK

PLAIN = ",yaxis,xaxis,r\nS_1x2,10.5,20.25,3\nS_1x3,11,21,3\n"

WRITTEN = {
    "as published": PLAIN,
    "CRLF": PLAIN.replace("\n", "\r\n"),
    "CR": PLAIN.replace("\n", "\r"),
    "byte order mark": "\N{ZERO WIDTH NO-BREAK SPACE}" + PLAIN,
    "quoted": '"","yaxis","xaxis","r"\n"S_1x2","10.5","20.25","3"\n"S_1x3","11","21","3"\n',
    "tabs": PLAIN.replace(",", "\t"),
    "another order": "r,xaxis,spot,yaxis\n3,20.25,S_1x2,10.5\n3,21,S_1x3,11\n",
    "header of R, one short": "yaxis,xaxis,r\nS_1x2,10.5,20.25,3\nS_1x3,11,21,3\n",
    "exponents and spaces": ",yaxis , xaxis,r\nS_1x2,1.05e1, 20.25,+3.\nS_1x3,11,2.1E+1,3e0\n",
    "blank lines": PLAIN.replace("\n", "\n\n"),
}


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN)
@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_coords(text, wrap):
    """However it is written, y is y and x is x."""
    coords = read_coords(wrap(text.encode()))
    assert coords.names.tolist() == ["S_1x2", "S_1x3"]
    assert coords.y.tolist() == [10.5, 11]
    assert coords.x.tolist() == [20.25, 21]
    assert coords.radius.tolist() == [3, 3]
    assert {values.dtype for values in (coords.x, coords.y, coords.radius)} == {np.dtype(np.float64)}
    assert coords.radius_constant == 3
    assert coords.notes == ()
    assert len(coords) == 2


def test_radii_may_differ():
    coords = read_coords(PLAIN.replace(",3\n", ",4\n", 1).encode())
    assert coords.radius.tolist() == [4, 3]
    assert coords.radius_constant is None


def test_what_is_odd_is_noted():
    """Columns that nobody reads, and a last line without an end, which may be cut inside its number."""
    coords = read_coords(b"spot,yaxis,xaxis,r,in_tissue\nA,1,2,3,1\nB,1,2,3,0")
    assert coords.names.tolist() == ["A", "B"]
    assert coords.notes == (
        "columns that are not read: in_tissue",
        "the last line does not end: its last number may be cut",
    )


@given(
    rows=st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=12),
            *[st.floats(allow_nan=False, allow_infinity=False)] * 3,
        ),
        min_size=1,
        max_size=9,
        unique_by=lambda row: row[0],
    ),
    separator=st.sampled_from(",\t"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n"]),
)
@settings(max_examples=80, deadline=None)
def test_coords_come_back_to_the_last_bit(rows, separator, quoting, end):
    """What the csv module writes is read bit by bit, whatever the names are."""
    file = io.StringIO()
    writer = csv.writer(file, delimiter=separator, quoting=quoting, lineterminator=end)
    writer.writerows([("", "yaxis", "xaxis", "r"), *rows])
    coords = read_coords(file.getvalue().encode())
    found = zip(coords.names.tolist(), coords.y.tolist(), coords.x.tolist(), coords.radius.tolist(), strict=True)
    assert list(found) == rows


REFUSED = {
    "empty": ("", "expected a header, found none"),
    "an HTML page": ("<!DOCTYPE html>\n<html>", "once each, found '<!DOCTYPE html>'"),
    "no column r": (",yaxis,xaxis\na,1,2\n", "found '', 'yaxis', 'xaxis'"),
    "two columns r": (",yaxis,xaxis,r,r\na,1,2,3,3\n", "once each"),
    "no names": ("yaxis,xaxis,r\n1,2,3\n", "a column of names"),
    "no spots": (",yaxis,xaxis,r\n", "expected spots below the header, found none"),
    "a spot twice": (PLAIN + "S_1x2,1,1,3\n", "'S_1x2' in rows 1 and 3"),
    "a spot without a name": (PLAIN + ",1,1,3\n", "row 3, column '', found ''"),
    "two rows in one name": (PLAIN + '"a\nb",1,1,3\n', r"row 3, column '', found 'a\\nb'"),
    "a short row": (PLAIN + "a,1,1\n", "expected 4 fields in row 3, found 3"),
    "a long row": (PLAIN + "a,1,1,3,4\n", "expected 4 fields in row 3, found 5"),
    "NaN": (PLAIN + "a,1,NaN,3\n", "a number in row 3, column 'xaxis', found 'NaN'"),
    "NA": (PLAIN + "a,NA,1,3\n", "row 3, column 'yaxis', found 'NA'"),
    "nothing": (PLAIN + "a,1,1,\n", "row 3, column 'r', found ''"),
    "infinity": (PLAIN + "a,1,1,1e999\n", "row 3, column 'r', found '1e999'"),
    "underscores": (PLAIN + "a,1_000,1,3\n", "row 3, column 'yaxis', found '1_000'"),
    "thousands": (PLAIN + 'a,"1,000",1,3\n', "row 3, column 'yaxis', found '1,000'"),
    "other digits": (PLAIN + "a,\N{ARABIC-INDIC DIGIT ONE},1,3\n", "row 3, column 'yaxis'"),
    "an open quote": (PLAIN + '"a,1,1,3\n', "closed quotes, found in line 4"),
    "a quote inside": (PLAIN + '"a"b,1,1,3\n', "closed quotes, found in line 4"),
    "a zero byte": (PLAIN + "a\0,1,1,3\n", "found a zero byte at byte"),
    "semicolons": (PLAIN.replace(",", ";"), "once each, found ';yaxis;xaxis;r'"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_coords_refused(text, message):
    """What is broken is said with its row, counted from 1 below the header, and its column."""
    with pytest.raises(DecodeError, match=message):
        read_coords(text.encode())


def test_rows_are_counted_across_blocks():
    """A file of several blocks is read whole; a fault in a later block is found in its row, as is text not UTF-8."""
    count = 2 * BLOCK + 7
    lines = [f"S_{row},{row},{2 * row},3" for row in range(1, count + 1)]
    coords = read_coords("\n".join([",yaxis,xaxis,r", *lines, ""]).encode())
    np.testing.assert_array_equal(coords.y, np.arange(1, count + 1))
    np.testing.assert_array_equal(coords.x, 2 * coords.y)
    assert coords.names[-1] == f"S_{count}"
    row = BLOCK + 100
    for fault, message in (("S,1,2", f"in row {row}, found 3"), ("S,1,2,x", f"row {row}, column 'r', found 'x'")):
        broken = [*lines[: row - 1], fault, *lines[row:]]
        with pytest.raises(DecodeError, match=message):
            read_coords("\n".join([",yaxis,xaxis,r", *broken]).encode())
    data = "\n".join([",yaxis,xaxis,r", *lines]).encode().replace(b"S_20000,", b"S_\xb5,")
    with pytest.raises(DecodeError, match="found the byte 0xb5 in line 20001"):
        read_coords(data)


ANNOTATIONS = {
    "tabs, both named": "V1\tV2\nS_1\tTLS\nS_2\ttumour, core\nS_3\t\n",
    "commas, one named": ',V2\nS_1,TLS\nS_2,"tumour, core"\nS_3,\n',
    "none named": '"",""\n"S_1","TLS"\n"S_2","tumour, core"\n"S_3",""\n',
    "header one short": '"V2"\n"S_1",TLS\n"S_2","tumour, core"\n"S_3",\n',
    "rows numbered": ',V1,V2\n1,S_1,TLS\n2,S_2,"tumour, core"\n3,S_3,\n',
    "another name": ',label\nS_1,TLS\nS_2,"tumour, core"\nS_3,\n',
}


@pytest.mark.parametrize("text", ANNOTATIONS.values(), ids=ANNOTATIONS)
def test_annotation(text):
    """Separated by tabs or commas, with the headers that R and pandas write."""
    names, labels = read_annotation(text.encode())
    assert names.tolist() == ["S_1", "S_2", "S_3"]
    assert labels == ["TLS", "tumour, core", None]


@pytest.mark.parametrize(
    ("label", "kept"),
    [
        *((text, None) for text in ("", " ", "undetermined", "Exclude", "NA", "undetermined ")),
        *((text, text) for text in ("Undetermined", "exclude", "nan", "NO_TLS", "excluded")),
    ],
)
def test_labels_that_mean_nothing(label, kept):
    """They are missing in exactly the published spelling; anything else is a label."""
    assert read_annotation(f"V1\tV2\na\t{label}\n".encode())[1] == [kept]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("S_1,TLS\nS_2,TLS\n", "found 'S_1', 'TLS'", id="no header"),
        pytest.param(",a,b\nS_1,1,2\n", "found '', 'a', 'b'", id="which label"),
        pytest.param("V1,V2\nS_1,a\nS_1,b\n", "'S_1' in rows 1 and 2", id="a spot twice"),
        pytest.param("V1,V2\nS_1\n", "expected 2 fields in row 1, found 1", id="a short row"),
        pytest.param("V1\nS_1\n", "expected a column of spots", id="no labels"),
    ],
)
def test_annotation_refused(text, message):
    with pytest.raises(DecodeError, match=message):
        read_annotation(text.encode())


GRIDS = {
    "ST": (["10x13", "7x20"], "array", [13, 20], [10, 7], None),
    "ST, measured": (["10.25x13", "-7.5x20"], "array", [13.0, 20.0], [10.25, -7.5], None),
    "Visium": (["AAACAACGAATAGTTC-1", "AAACAAGTATCTCCCA-1"], "barcode", None, None, None),
    "Visium HD": (["s_008um_00012_00345-1", "s_008um_00013_00001-1"], "bin", [12, 13], [345, 1], 8.0),
    "HD of two sizes": (["s_008um_00012_00345-1", "s_016um_00013_00001-1"], "other", None, None, None),
    "mixed": (["10x13", "AAACAACGAATAGTTC-1"], "other", None, None, None),
    "unknown": (["spot 1", "spot 2"], "other", None, None, None),
    "too large": (["1" * 5000 + "x1"], "other", None, None, None),
    "none": ([], "other", None, None, None),
}


@pytest.mark.parametrize(("names", "form", "row", "col", "bin_um"), GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("slide", ["GSE1_GSM2", "Mouse_Brain+Kidney_4.5-5PCW_1"])
def test_spot_grid(names, form, row, col, bin_um, slide):
    """ST writes x first, HD the row first; the rest says nothing. The name of the slide is cut off, not matched."""
    grid = spot_grid([f"{slide}_{name}" for name in names], slide)
    assert (grid.form, grid.bin_um, grid.foreign) == (form, bin_um, 0)
    assert grid.spot.tolist() == names
    for found, expected in ((grid.array_row, row), (grid.array_col, col)):
        assert (found is None) == (expected is None)
        if found is not None:
            assert found.tolist() == expected
            assert found.dtype == (np.int64 if isinstance(row[0], int) else np.float64)


def test_names_of_another_slide_are_kept_whole():
    grid = spot_grid(["A1_1x2", "A2_1x3"], "A1")
    assert grid.spot.tolist() == ["1x2", "A2_1x3"]
    assert (grid.foreign, grid.form) == (1, "other")


def lay(form, step, *, turn=0.3, mirror=1.0, skew=0.0, radius=54.0, noise=0.0):
    """Lay 12 x 9 spots over a picture, ``step`` pixels apart, turned by ``turn`` radians, perhaps mirrored."""
    row, col = (places.ravel() for places in np.mgrid[:9, :12])
    x = 900 + step * (col * np.cos(turn) - (mirror + skew) * row * np.sin(turn))
    y = 700 + step * (col * np.sin(turn) + (mirror + skew) * row * np.cos(turn))
    x = x + np.random.default_rng(0).normal(0, noise * step, x.size)
    names = [f"S_{c}x{r}" if form == "ST" else f"S_s_008um_{r:05d}_{c:05d}-1" for r, c in zip(row, col, strict=True)]
    rows = zip(names, y.tolist(), x.tolist(), strict=True)
    coords = read_coords((",yaxis,xaxis,r\n" + "".join(f"{n},{b},{a},{radius}\n" for n, b, a in rows)).encode())
    return coords, spot_grid(coords.names, "S")


SIZES = {
    "ST": ("ST", {"form": "ST", "step": 216.0}, 50 / 54, "derived: ST spots have a radius of 50 µm"),
    "ST, 8 % apart": ("ST", {"form": "ST", "step": 233.0}, 50 / 54, "derived"),
    "ST, radius half": ("ST", {"form": "ST", "step": 432.0}, None, "50 µm gives 0.926 µm a pixel, a spacing of"),
    "ST, scattered": ("ST", {"form": "ST", "step": 432.0, "noise": 0.9}, 50 / 54, "derived"),
    "ST, no radius": ("ST", {"form": "ST", "step": 216.0, "radius": 0}, None, "unknown: the spots have no common"),
    "HD": ("VisiumHD", {"form": "HD", "step": 29.2}, 0.273973, "derived: bins of 8 µm lie side by side"),
    "HD, mirrored": ("VisiumHD", {"form": "HD", "step": 29.2, "mirror": -1.0}, 0.273973, "derived"),
    "HD, stretched": ("VisiumHD", {"form": "HD", "step": 29.2, "skew": 0.2}, None, "unknown: the names of the bins"),
    "HD, in disorder": ("VisiumHD", {"form": "HD", "step": 29.2, "noise": 2.0}, None, "unknown"),
    "HD, no bins": ("VisiumHD", {"form": "ST", "step": 29.2}, None, "unknown"),
    "Visium": ("Visium", {"form": "ST", "step": 29.2}, None, "55 µm or for 65 µm"),
    "another": ("Xenium", {"form": "ST", "step": 29.2}, None, "unknown: nothing is known of the technology 'Xenium'"),
}


@pytest.mark.parametrize(("technology", "layout", "size", "how"), SIZES.values(), ids=SIZES)
def test_micrometres_per_pixel(technology, layout, size, how):
    """Given only where the technology fixes it and nothing contradicts it; and always with the reason."""
    found = micrometres_per_pixel(technology, *lay(**layout))
    assert found.value == size
    assert how in found.how
    assert found.how.startswith("unknown: " if size is None else "derived: ")


def test_spots_on_one_line_fix_no_array():
    """HD bins of a single row say nothing about the other axis."""
    text = "".join(f"S_s_008um_00001_{c:05d}-1,5,{29 * c},4\n" for c in range(9))
    coords = read_coords((",yaxis,xaxis,r\n" + text).encode())
    assert micrometres_per_pixel("VisiumHD", coords, spot_grid(coords.names, "S")).value is None
