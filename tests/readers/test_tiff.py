"""The TIFF reader: every flavour as tifffile reads it, and never a page fewer than the file promises."""

import io
import json
import logging
import random
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from zarrscope.errors import DecodeError
from zarrscope.readers import ifd, tiff
from zarrscope.readers.descriptions import describe
from zarrscope.readers.tiff import decode_tiff

SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "dl-smlm"


def write(pixels, **options):
    file = io.BytesIO()
    if "imagej" not in options:
        options.setdefault("photometric", "minisblack")
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def numbered(*shape, dtype="u2"):
    """Make an image in which each pixel carries its own index."""
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4", "f4", "f8"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_one_plain_page(dtype, order):
    """Pixels come in the byte order of this machine, read-only."""
    pixels = numbered(5, 7, dtype=dtype)
    found = decode_tiff(write(pixels, byteorder=order))
    np.testing.assert_array_equal(found.pixels, pixels)
    assert (found.pixels.dtype, found.axes) == (np.dtype(dtype), "YX")
    assert not found.pixels.flags.writeable


def test_a_plain_page_is_not_copied():
    data = write(numbered(5, 7), byteorder="=")
    assert np.shares_memory(decode_tiff(data).pixels, np.frombuffer(data, np.uint8))


def imagej(*lines):
    return "\n".join(("ImageJ=1.53t", *lines, ""))


FLAVOURS = {
    "shaped": (numbered(5, 7), {}, (5, 7), "YX"),
    "trailing axis": (numbered(5, 7, 1), {}, (5, 7), "YX"),
    "leading axes": (numbered(1, 1, 5, 7), {}, (5, 7), "YX"),
    "one row": (numbered(1, 7), {}, (1, 7), "YX"),
    "other axes": (numbered(5, 7), {"metadata": {"axes": "ZX"}}, (5, 7), "ZX"),
    "one pixel": (numbered(1, 1), {}, (1, 1), "YX"),
    "named axes": (numbered(3, 1, 5, 7), {"metadata": {"axes": "TCYX"}}, (3, 5, 7), "TYX"),
    "stack": (numbered(3, 5, 7), {}, (3, 5, 7), "QYX"),
    "plain": (numbered(5, 7), {"metadata": None}, (5, 7), "YX"),
    "plain stack": (numbered(3, 5, 7), {"metadata": None}, (3, 5, 7), "IYX"),
    "strips": (numbered(5, 7), {"rowsperstrip": 2}, (5, 7), "YX"),
    "tiles": (numbered(40, 50), {"tile": (16, 32)}, (40, 50), "YX"),
    "deflate": (numbered(40, 50), {"compression": "zlib"}, (40, 50), "YX"),
    "deflated stack": (numbered(3, 40, 50), {"compression": "zlib", "rowsperstrip": 7}, (3, 40, 50), "QYX"),
    "colours": (numbered(5, 7, 3), {"photometric": "rgb"}, (5, 7, 3), "YXS"),
    "planes of colours": (numbered(3, 5, 7), {"photometric": "rgb", "planarconfig": "separate"}, (3, 5, 7), "SYX"),
    "ImageJ": (numbered(5, 7), {"imagej": True}, (5, 7), "YX"),
    "ImageJ stack": (numbered(3, 5, 7), {"imagej": True, "metadata": {"axes": "ZYX"}}, (3, 5, 7), "ZYX"),
    "ImageJ hyperstack": (numbered(2, 3, 5, 7), {"imagej": True, "metadata": {"axes": "TCYX"}}, (2, 3, 5, 7), "TCYX"),
    "ImageJ labels": (
        numbered(3, 5, 7),
        {"imagej": True, "metadata": {"axes": "TYX", "Labels": ["a", "b", "c"]}},
        (3, 5, 7),
        "TYX",
    ),
    "ImageJ pages": (
        numbered(3, 5, 7),
        {"metadata": None, "description": imagej("images=3", "slices=3"), "contiguous": False},
        (3, 5, 7),
        "ZYX",
    ),
    "OME": (numbered(3, 5, 7), {"ome": True}, (3, 5, 7), "IYX"),
    "BigTIFF": (numbered(5, 7), {"bigtiff": True}, (5, 7), "YX"),
    "BigTIFF stack": (numbered(3, 5, 7), {"bigtiff": True}, (3, 5, 7), "QYX"),
}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("pixels", "options", "shape", "axes"), FLAVOURS.values(), ids=FLAVOURS)
def test_flavours(pixels, options, shape, axes, order):
    """Every flavour gives all pixels; only axes of length 1 go, and trailing bytes are ignored."""
    data = write(pixels, byteorder=order, **options)
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(data)).ravel(), pixels.ravel())
    for found in (decode_tiff(data), decode_tiff(data + b"trailing")):
        assert (found.pixels.shape, found.axes) == (shape, axes)
        np.testing.assert_array_equal(found.pixels.ravel(), pixels.ravel())


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    extra=st.sampled_from(["", "leading", "trailing"]),
    dtype=st.sampled_from(["u1", "u2", "u4", "i1", "i2", "i4", "f4", "f8"]),
    order=st.sampled_from("<>"),
    big=st.booleans(),
    rows=st.none() | st.integers(1, 9),
    style=st.sampled_from(["shaped", "plain", "imagej"]),
    resolution=st.none() | st.tuples(st.integers(1, 99), st.integers(1, 99)),
)
@settings(max_examples=100, deadline=None)
def test_the_view_is_what_tifffile_reads(shape, extra, dtype, order, big, rows, style, resolution):
    """Both ways of reading give the same pixels, type and axes, and so does tifffile by itself."""
    pixels = numbered(*shape, dtype=dtype)
    options = {"byteorder": order, "rowsperstrip": rows, "resolution": resolution, "software": "s", "datetime": True}
    if style == "imagej" and dtype in {"u1", "u2", "f4"}:
        options |= {"imagej": True, "metadata": {"unit": "um"}}
    else:
        options |= {"bigtiff": big, **({"metadata": None} if style == "plain" else {})}
    if style == "shaped" and 1 not in shape:  # otherwise tifffile takes other axes for y and x as it writes
        pixels = {"": pixels, "leading": pixels[None], "trailing": pixels[..., None]}[extra]
    data = memoryview(write(pixels, **options))
    pages = ifd.walk(data)
    described = describe(pages[0].texts)
    slow, axes = tiff._decode(data, pages, described, 1 << 20)
    assert axes == "YX"
    assert slow.shape == shape
    np.testing.assert_array_equal(slow, tifffile.imread(io.BytesIO(data)).reshape(shape))
    fast = tiff._view(data, pages, described, 1 << 20)
    assert (fast is not None) or 1 in shape
    if fast is not None:
        np.testing.assert_array_equal(fast, slow)
        assert (fast.dtype, fast.flags.writeable) == (slow.dtype, slow.flags.writeable)
    found = decode_tiff(data)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        x, y = file.pages.first.resolution
        assert (found.resolution, found.description) == ((y, x), file.pages.first.description or None)
        if file.imagej_metadata:
            assert dict(found.metadata) == file.imagej_metadata


SIZES = {
    "ImageJ": ({"imagej": True, "resolution": (50, 25), "metadata": {"unit": "um"}}, (25, 50), "um"),
    "ImageJ without unit": ({"imagej": True, "resolution": (50, 25)}, (25, 50), None),
    "unit of None": ({"imagej": True, "resolution": (50, 25), "metadata": {"unit": None}}, (25, 50), "None"),
    "escaped unit": ({"metadata": None, "description": imagej("unit=\\u00B5m")}, (1, 1), "\\u00B5m"),
    "inch": ({"resolution": (300, 150), "resolutionunit": "INCH"}, (150, 300), "inch"),
    "centimetre": ({"resolution": (300, 150), "resolutionunit": "CENTIMETER"}, (150, 300), "centimeter"),
    "no unit": ({"resolution": (300, 150), "resolutionunit": "NONE"}, (150, 300), None),
}


@pytest.mark.parametrize(("options", "resolution", "unit"), SIZES.values(), ids=SIZES)
def test_pixel_size(options, resolution, unit):
    """Resolution is given along (y, x), the unit as it is written."""
    found = decode_tiff(write(numbered(5, 7), **options))
    assert (found.resolution, found.unit) == (resolution, unit)


def test_metadata_is_plain_and_read_only():
    found = decode_tiff(write(numbered(5, 7), metadata={"axes": "YX", "laser": [1.5, "a"]}))
    assert dict(found.metadata) == {"shape": [5, 7], "axes": "YX", "laser": [1.5, "a"]}
    with pytest.raises(TypeError):
        found.metadata["laser"] = 1


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample files are not here")
@pytest.mark.parametrize(
    ("name", "pages", "unit"),
    [
        ("deep-storm/ArtificialDataset_demo1.tif", 20, "\\u00B5m"),
        ("deep-storm/testStack_SimulatedMicrotubules.tif", 361, "\\u00B5m"),
        ("locan/images.tif", 5, "pixel"),
    ],
)
def test_reads_real_stacks(name, pages, unit):
    """ImageJ's own files: big-endian, slices where it is time."""
    data = (SAMPLES / name).read_bytes()
    found = decode_tiff(data)
    assert (len(found.pixels), found.axes, found.unit) == (pages, "ZYX", unit)
    np.testing.assert_array_equal(found.pixels, tifffile.imread(io.BytesIO(data)))
    for stop in (len(data) - 1, len(data) // 2, 300):
        with pytest.raises(DecodeError):
            decode_tiff(data[:stop])


# What must be refused.


def entry(data, tag, page=0):
    """Find the directory entry of a tag in a little-endian classic TIFF: where its value stands."""
    (at,) = struct.unpack_from("<I", data, 4)
    for _ in range(page):
        (count,) = struct.unpack_from("<H", data, at)
        (at,) = struct.unpack_from("<I", data, at + 2 + 12 * count)
    (count,) = struct.unpack_from("<H", data, at)
    if tag == "next":
        return at + 2 + 12 * count
    tags = [struct.unpack_from("<H", data, at + 2 + 12 * place)[0] for place in range(count)]
    return at + 2 + 12 * tags.index(tag) + 8


def patched(data, tag, value, page=0):
    place = entry(data, tag, page)
    return data[:place] + struct.pack("<I", value) + data[place + 4 :]


ONE = write(numbered(5, 7), byteorder="<", metadata=None)
STACK = write(numbered(3, 5, 7), byteorder="<", metadata=None)
SHAPED = write(numbered(3, 5, 7), byteorder="<")
DEFLATED = write(np.zeros((64, 64), "u2"), byteorder="<", metadata=None, compression="zlib")
BOMB = zlib.compress(bytes(20_000_000), 9)
OME = (
    '<?xml version="1.0"?><OME><Image><Pixels SizeT="9"><TiffData><UUID FileName="../../other.tif"/></TiffData>'
    "</Pixels></Image></OME>"
)

BAD = {
    "empty": (b"", "expected a TIFF file"),
    "page of HTML": (b"<!DOCTYPE html><html>" + bytes(99), "<!DOCTYPE html>"),
    "header only": (b"II*\0\x08\0\0\0", "ends at 8"),
    "BigTIFF header cut": (b"II+\0\x08\0\0\0\x10\0", "ends at 10"),
    "no pages": (b"II*\0\0\0\0\0" + bytes(99), "without pages"),
    "another version": (b"II\x2c\0" + ONE[4:], "expected a TIFF file"),
    "directory beyond the end": (patched(ONE, "next", 1 << 30), "page 2"),
    "loop": (patched(STACK, "next", 8, page=2), "leads back to byte 8"),
    "loop to itself": (patched(ONE, "next", 8), "leads back"),
    "pixels beyond the end": (patched(ONE, 273, len(ONE) - 69), "70 bytes of pixels"),
    "pixels nowhere": (patched(ONE, 273, 0), "at byte 0"),
    "strip too short": (patched(ONE, 279, 69), "found 69"),
    "last page cut": (STACK[:-50], "found"),
    "strips missing": (patched(ONE, 278, 1), "5 strips"),
    "no width": (patched(ONE, 256, 0), "expected an image"),
    "no rows": (patched(ONE, 278, 0), "expected an image"),
    "odd bits": (patched(ONE, 258, 0), "expected an image"),
    "too many pixels": (patched(patched(ONE, 256, 2_000_000), 257, 2_000_000), "at most 2147483648 pixels"),
    "another compression": (patched(ONE, 259, 7), "found 7"),
    "pages of two sizes": (patched(STACK, 256, 5, page=1), "page 2 of 3 differs"),
    "ImageJ with more images": (
        write(numbered(3, 5, 7), metadata=None, description=imagej("images=4", "slices=4")),
        "expected 4 pages",
    ),
    "ImageJ with fewer images": (
        write(numbered(3, 5, 7), metadata=None, description=imagej("images=2", "slices=2")),
        "expected 2 pages",
    ),
    "ImageJ that contradicts itself": (
        write(numbered(3, 5, 7), metadata=None, description=imagej("images=3", "slices=4")),
        "to make 3 images, found 4",
    ),
    "ImageJ that counts in text": (write(numbered(5, 7), metadata=None, description=imagej("images=x")), "to count"),
    "ImageJ stack cut": (write(numbered(9, 50, 70), imagej=True)[:40_000], "found"),
    "ImageJ stack of one": (write(numbered(5, 7), metadata=None, description=imagej("images=90")), "expected 90 pages"),
    "shape of more pages": (SHAPED.replace(b"[3, 5, 7]", b"[4, 5, 7]"), "expected 4 pages"),
    "shape of fewer pages": (SHAPED.replace(b"[3, 5, 7]", b"[2, 5, 7]"), "expected 2 pages"),
    "shape of part of a page": (SHAPED.replace(b"[3, 5, 7]", b"[3, 5, 6]"), "whole pages"),
    "shape of text": (SHAPED.replace(b"[3, 5, 7]", b'["a",2,3]'), "JSON"),
    "shape that is no JSON": (SHAPED.replace(b"[3, 5, 7]", b"[3, 5, 7}"), "JSON"),
    "shape of nothing": (SHAPED.replace(b"[3, 5, 7]", b"[]       "), "JSON"),
    "deflate bomb": (
        patched(patched(DEFLATED + BOMB, 273, len(DEFLATED)), 279, len(BOMB)),
        "8192 bytes of pixels unpacked",
    ),
    "deflate cut": (patched(DEFLATED, 279, 5), "unpacked"),
    "deflate that is none": (patched(DEFLATED, 273, 8), "deflated pixels"),
}


@pytest.mark.parametrize(("data", "reason"), BAD.values(), ids=BAD)
def test_refuses(data, reason):
    """Whatever is missing, cut or contradictory refuses the file, with what was found."""
    with pytest.raises(DecodeError) as caught:
        decode_tiff(data)
    assert reason in str(caught.value)


def test_refuses_two_images():
    """A reduced copy in a SubIFD is another image, and which one is meant is not said."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(numbered(8, 8), subifds=1, metadata=None)
        writer.write(numbered(4, 4), subfiletype=1, metadata=None)
    with pytest.raises(DecodeError, match="expected one image"):
        decode_tiff(file.getvalue())


@pytest.mark.parametrize(
    "options", [{}, {"metadata": None}, {"imagej": True}, {"compression": "zlib"}, {"bigtiff": True}]
)
def test_every_cut_is_noticed(options):
    """Never fewer pages or pixels: a file cut anywhere is refused."""
    data = write(numbered(3, 5, 7), **options)
    whole = decode_tiff(data).pixels
    for stop in range(len(data)):
        try:
            found = decode_tiff(data[:stop])
        except DecodeError:
            continue
        np.testing.assert_array_equal(found.pixels, whole)  # what was cut is padding


def test_the_pixel_budget_is_the_callers():
    data = write(numbered(3, 5, 7))
    assert decode_tiff(data, max_pixels=105).pixels.size == 105
    with pytest.raises(DecodeError, match="at most 104 pixels"):
        decode_tiff(data, max_pixels=104)


def test_other_files_are_never_opened(tmp_path, monkeypatch):
    """OME-XML may name files anywhere: they stay closed, and the pages here are what is read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.tif").write_bytes(STACK)
    data = write(numbered(3, 5, 7), metadata=None, description=OME.replace("../../other", "other"))
    monkeypatch.setattr(tifffile.tifffile.FileHandle, "open", _only_memory(tifffile.tifffile.FileHandle.open))
    np.testing.assert_array_equal(decode_tiff(data).pixels, numbered(3, 5, 7))


def _only_memory(opener):
    def check(self):
        assert isinstance(self._file, io.BytesIO)
        return opener(self)

    return check


def test_warnings_of_tifffile_refuse_the_file(caplog, capsys):
    """What tifffile only mentions refuses the file, and is not printed; outside, its warnings pass."""
    place = entry(STACK, 305)
    broken = STACK[: place - 8] + struct.pack("<HHI", 42113, 2, 4) + b"zzz\0" + STACK[place + 4 :]  # GDAL_NODATA
    with pytest.raises(DecodeError, match="GDAL_NODATA"):
        decode_tiff(broken)
    assert not caplog.records
    assert capsys.readouterr() == ("", "")
    logging.getLogger("tifffile").warning("of someone else")
    assert [record.message for record in caplog.records] == ["of someone else"]


def test_warnings_belong_to_their_thread():
    """Two threads decode at once: the damage in one file never refuses the other."""
    place = entry(STACK, 305)
    broken = STACK[: place - 8] + struct.pack("<HHI", 42113, 2, 4) + b"zzz\0" + STACK[place + 4 :]
    outcomes = {"good": set(), "broken": set()}

    def work(name, data):
        for _ in range(40):
            try:
                outcomes[name].add(decode_tiff(data).pixels.shape)
            except DecodeError:
                outcomes[name].add("refused")

    threads = [threading.Thread(target=work, args=pair) for pair in (("good", STACK), ("broken", broken)) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == {"good": {(3, 5, 7)}, "broken": {"refused"}}


def test_shared_tag_values_have_a_budget():
    """Thousands of pages that point at one long text would take minutes: together they may not exceed the file."""
    long = 100_000
    page = struct.pack("<H", 1) + struct.pack("<HHII", 270, 2, long, 8)
    pages = b"".join(page + struct.pack("<I", 8 + long + 18 * (n + 1)) for n in range(2_000))
    with pytest.raises(DecodeError, match="less than the file"):
        decode_tiff(b"II*\0" + struct.pack("<I", 8 + long) + b"a" * long + pages + bytes(8))


def test_mutated_files_decode_or_are_refused(capsys):
    """No damage gets past the errors that are promised, and nothing is printed."""
    rng = random.Random(0)
    originals = [ONE, STACK, SHAPED, DEFLATED, write(numbered(5, 7), imagej=True, resolution=(3, 4))]
    headers = [len(data) if data is DEFLATED else min(len(data), 700) for data in originals]
    for number in range(1_500):
        data = bytearray(originals[number % len(originals)])
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(headers[number % len(originals)])] = rng.randrange(256)
        try:
            decode_tiff(data, max_pixels=1 << 20)
        except DecodeError as error:
            assert str(error).startswith("expected")  # noqa: PT017
    assert capsys.readouterr() == ("", "")


def test_metadata_survives_json():
    """What ImageJ says is plain enough for a record."""
    found = decode_tiff(write(numbered(5, 7), imagej=True, metadata={"unit": "um", "min": 0.5, "loop": False}))
    assert json.loads(json.dumps(dict(found.metadata)))["min"] == 0.5
