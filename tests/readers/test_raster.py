"""Large pictures in bands: the pixels that others read, in bounded memory, and never a filler for what is cut."""

import io
import itertools
import pickle
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

import pictures
from pictures import COLOUR, GREY, PICTURE, Held, numbered, pages, pillow, saved, tiff
from zarrscope.errors import DecodeError, TemporaryError, UsageError
from zarrscope.readers.raster import open_raster

CASES = pictures.tiffs() | pictures.others()
each = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def decode(data, rows=1000, **options):
    return np.concatenate(list(open_raster(Held(data)).bands(rows, **options)))


@each
def test_pixels_are_those_that_were_written(case):
    """Lossless kinds are exact, lossy ones equal Pillow's decoder; what was changed is noted."""
    raster = open_raster(Held(case.data))
    bands = raster.bands(1000)
    np.testing.assert_array_equal(np.concatenate(list(bands)), case.pixels)
    assert ((raster.height, raster.width, raster.channels), raster.dtype) == (case.pixels.shape, case.pixels.dtype)
    assert (raster.kind, bands.notes, raster.random) == (case.kind, case.notes, case.kind == "tiff")
    assert raster.orientation == (6 if pictures.TURNED[0] in case.notes else 1)


@each
def test_bands_of_every_height(case):
    """Any height, first row and number of threads gives the same rows, in arrays that are the caller's own."""
    raster = pickle.loads(pickle.dumps(open_raster(Held(case.data))))
    heights = (1, raster.row_step, raster.row_step + 3, raster.height)
    for rows, start, workers in itertools.product(heights, (0, 1, 40), (1, 3)):
        bands = list(raster.bands(rows, start=start, workers=workers))
        assert [len(band) for band in bands[:-1]] == [rows] * (len(bands) - 1)
        assert all(band.flags.c_contiguous and band.flags.writeable and band.flags.owndata for band in bands)
        np.testing.assert_array_equal(np.concatenate(bands), case.pixels[start:])
    assert list(raster.bands(7, start=raster.height)) == []


@given(
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    samples=st.sampled_from([1, 3]),
    dtype=st.sampled_from(["u1", "u2"]),
    packing=st.sampled_from([(None, False), ("zlib", False), ("zlib", True)]),
    tile=st.none() | st.sampled_from([(16, 16), (32, 48)]),
    order=st.sampled_from("<>"),
    rows=st.integers(1, 80),
    seed=st.integers(0, 9),
)
@settings(max_examples=80, deadline=None)
def test_tiff_as_tifffile_writes_it(shape, samples, dtype, packing, tile, order, rows, seed):
    pixels = np.random.default_rng(seed).integers(0, 1 << 16, (*shape, samples)).astype(dtype)
    layout = {"tile": tile} if tile else {"rowsperstrip": 9}
    layout["photometric"] = "rgb" if samples == 3 else "minisblack"
    written = pixels if samples == 3 else pixels[..., 0]
    data = tiff(written, compression=packing[0], predictor=packing[1], byteorder=order, metadata=None, **layout)
    np.testing.assert_array_equal(decode(data, rows), pixels)


@given(
    seed=st.integers(0, 999),
    steps=st.integers(1, 400),
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    predictor=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_lzw_as_libtiff_writes_it(seed, steps, shape, predictor):
    """Few values make long strings, many fill the table and clear it."""
    pixels = np.random.default_rng(seed).integers(0, steps, (*shape, 3)).astype("u1")
    options = {"tiffinfo": {317: 2}} if predictor else {}
    data = saved(Image.fromarray(pixels), "TIFF", compression="tiff_lzw", **options)
    np.testing.assert_array_equal(decode(data), pixels)


def chunk(kind, content=b""):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, bits, colour, packed, *, interlace=0, before=(), pieces=1):
    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, bits, colour, 0, 0, interlace))
    size = -(-len(packed) // pieces)
    pixels = [chunk(b"IDAT", packed[at : at + size]) for at in range(0, len(packed), size)]
    return b"".join((b"\x89PNG\r\n\x1a\n", header, *before, *pixels, chunk(b"tEXt", b"Comment\0x"), chunk(b"IEND")))


PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


def filtered(draw, width, height, bits, colour, interlace):
    """Any bytes behind a filter type from 0 to 4 are a row of a PNG: draw such rows."""
    noise = np.random.default_rng(draw(st.integers(0, 999)))
    rows = []
    for left, top, across, down in PASSES if interlace else [(0, 0, 1, 1)]:
        columns = -(-(width - left) // across) * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
        for _ in range(top, height, down) if columns > 0 else ():
            row = noise.integers(0, 256, 1 + -(-columns * bits // 8), dtype=np.uint8)
            row[0] = noise.integers(0, 5)
            rows.append(row.tobytes())
    return b"".join(rows)


@given(data=st.data(), kind=st.sampled_from([(c, b) for c, depths in DEPTHS.items() for b in depths]))
@settings(max_examples=150, deadline=None)
def test_png_of_any_rows(data, kind):
    """Every filter, depth, colour type and interlacing gives what Pillow reads, which may keep only 8 of 16 bits."""
    colour, bits = kind
    width, height = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    interlace, pieces = data.draw(st.sampled_from([0, 1])), data.draw(st.sampled_from([1, 3]))
    palette = [chunk(b"PLTE", bytes(range(256)) * 3)] if colour == 3 else []
    rows = filtered(data.draw, width, height, bits, colour, interlace)
    written = png(width, height, bits, colour, zlib.compress(rows), interlace=interlace, before=palette, pieces=pieces)
    found = decode(written, data.draw(st.integers(1, 50)), workers=data.draw(st.sampled_from([1, 2])))
    grey16 = bits == 16 and colour == 0
    expected = pillow(written, None if grey16 else "L" if colour in {0, 4} else "RGB")
    np.testing.assert_array_equal(found >> 8 if bits == 16 and not grey16 else found, expected)


@each
def test_a_file_that_is_cut_is_refused(case):
    """However much is missing, in the last pixels or in all: no filler, and no other exception."""
    end = len(case.data.rstrip(b"\0")) if case.kind == "jpeg" else len(case.data)
    for length in {*range(0, end, max(end // 60, 1)), *range(max(end - 12, 0), end)}:
        with pytest.raises(DecodeError):
            decode(case.data[:length], 16)


@each
def test_corrupt_bytes(case):
    """A file with other bytes in it is refused, or has the shape that it declares; nothing else may be raised."""
    noise = np.random.default_rng(len(case.data))
    for _ in range(80):
        changed = np.frombuffer(case.data, np.uint8).copy()
        places = noise.integers(0, [len(case.data), min(len(case.data), 300)][noise.integers(2)], 3)
        changed[places] = noise.integers(0, 256, 3)
        try:
            raster = open_raster(Held(changed.tobytes()), memory=1 << 26, max_pixels=1 << 22)
            bands = list(raster.bands(16))
        except DecodeError as error:
            assert str(error)  # noqa: PT017  # it may be raised or not
        else:
            assert np.concatenate(bands).shape == (raster.height, raster.width, raster.channels)


CHECKED = [name for name in CASES if name.startswith("PNG") or "deflate" in name or "planes of tiles" in name]


@pytest.mark.parametrize("name", CHECKED)
def test_a_flipped_bit_of_checked_pixels_is_refused(name):
    """PNG and deflate carry checksums: no bit of the pixels changes unseen."""
    data, pixels, kind, _ = CASES[name]
    start = data.index(b"IDAT") if kind == "png" else None
    places = range(start, data.rindex(b"IEND") - 8) if start else segment(data)
    for place in list(places)[:: max(len(places) // 60, 1)]:
        changed = bytearray(data)
        changed[place] ^= 4
        with pytest.raises(DecodeError):
            decode(bytes(changed))
    np.testing.assert_array_equal(decode(data), pixels)


def segment(data):
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        return range(page.dataoffsets[0] + 2, page.dataoffsets[0] + page.databytecounts[0])


BLACK = zlib.compress(bytes(64 * (1 + 64 * 3)))
DOUBLE = tiff(COLOUR, compression="zlib", rowsperstrip=75, metadata=None)
REFUSED = {
    "nothing": (b"", "found 0 bytes"),
    "text": (b"<!DOCTYPE html>", "that start with b'<!DOCTYPE html>'"),
    "a picture of another kind": (saved(PICTURE, "GIF"), "expected a PNG, JPEG or TIFF"),
    "a PNG that declares too much": (png(60_000, 60_000, 8, 2, BLACK), "at most 1,000,000,000 pixels"),
    "a PNG that holds more": (png(64, 63, 8, 2, BLACK), "no more pixels"),
    "a PNG that holds less": (png(64, 65, 8, 2, BLACK), "found fewer"),
    "a PNG of unknown filters": (png(64, 64, 8, 2, zlib.compress(b"\5" * 64 * 193)), "filter of type 0 to 4, found 5"),
    "a PNG without a palette": (png(64, 64, 8, 3, BLACK), "1 to 256 colours in PLTE"),
    "a PNG of colours that it lacks": (
        png(2, 1, 8, 3, zlib.compress(b"\0\0\1"), before=[chunk(b"PLTE", b"rgb")]),
        "palette of 2 colours, found 1",
    ),
    "a PNG of wide rows": (png(900_000_000, 1, 8, 2, BLACK), "that need"),
    "an interlaced PNG of much memory": (png(30_000, 30_000, 8, 2, BLACK, interlace=1), "allow more memory"),
    "CMYK in a JPEG": (saved(PICTURE.convert("CMYK"), "JPEG"), "1 or 3 components, found 04"),
    "CMYK": (saved(PICTURE.convert("CMYK"), "TIFF"), "5 (CMYK)"),
    "CIE L*a*b*": (saved(PICTURE.convert("LAB"), "TIFF"), "8 (CIE L*a*b*)"),
    "floats": (tiff(GREY[..., 0].astype("f4")), "floating point ones of 32 bits"),
    "signs": (tiff(GREY[..., 0].astype("i2")), "signed ones of 16 bits"),
    "32 bits": (tiff(GREY[..., 0].astype("u4")), "unsigned ones of 32 bits"),
    "CCITT": (saved(PICTURE.convert("1"), "TIFF", compression="group4"), "found compression 4 (CCITT)"),
    "LERC": (pictures.packed([b"x"], 34887, rowsperstrip=75), "found compression 34887 (LERC)"),
    "two samples of grey": (
        tiff(numbered(samples=2), planarconfig=1, extrasamples=["unspecified"]),
        "found 2 of photometric interpretation 1, with extra samples (0,)",
    ),
    "five samples": (tiff(np.zeros((9, 9, 5), "u1"), planarconfig=1), "found 5 of photometric interpretation 1"),
    "a stack": (tiff(np.zeros((5, 9, 9), "u1")), "found 5 of 9 x 9 pixels"),
    "a stack of colours": (pages((COLOUR, {}), (COLOUR, {})), "three planes of one, found 2"),
    "three pages that differ": (
        pages(*[(GREY[..., 0], {"photometric": "minisblack", "compression": c}) for c in (None, None, "zlib")]),
        "three pages that differ",
    ),
    "a missing page": (
        tiff(pictures.PLANES, metadata={"axes": "CYX"}).replace(b"[3, 75, 52]", b"[4, 75, 52]"),
        "found 4",
    ),
    "a JPEG tile of another size": (
        pictures.packed([saved(PICTURE.resize((4000, 4000)), "JPEG")], 7, tile=(80, 64)),
        "expected JPEG data of 64 x 80 pixels",
    ),
    "a JPEG tile that is cut": (
        pictures.packed([saved(PICTURE.resize((64, 80)), "JPEG")[:-300]], 7, tile=(80, 64)),
        "they are cut",
    ),
    "a tile that inflates to more": (
        pictures.packed([zlib.compress(bytes(99_999))], 8, tile=(80, 64)),
        "at most 15,360 bytes, found more",
    ),
    "a tile that inflates to less": (
        pictures.packed([zlib.compress(bytes(9_999))], 8, tile=(80, 64)),
        "expected 15,360 bytes in a strip or tile, found 9,999",
    ),
    "Zstandard for deflate": (DOUBLE.replace(b"\x78\x9c", b"\x28\xb5", 1), None),
}


@pytest.mark.parametrize(("data", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals_say_what_was_found(data, message):
    """Nothing is allocated on the word of a header: each refusal costs less than 40 MB."""
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError, match="expected") as caught:
            list(open_raster(Held(data), max_pixels=1_000_000_000).bands(64))
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()
    assert message is None or message in str(caught.value)


def test_texts_and_profiles_are_not_inflated():
    """A profile that would inflate to gigabytes is stepped over, and so is its checksum."""
    bomb = chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(50_000_000), 9)) + chunk(b"zTXt", b"a\0\0" + b"no zlib")
    data = saved(PICTURE, "PNG")
    tracemalloc.start()
    raster = open_raster(Held(data[:33] + bomb + data[33:]))
    np.testing.assert_array_equal(np.concatenate(list(raster.bands(50))), COLOUR)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert raster.notes == pictures.PROFILE
    assert peak < 20_000_000


SIDE = 6000


def large(kind):
    """Write 108 MB of pixels: rows that differ, columns too."""
    pixels = np.empty((SIDE, SIDE, 3), np.uint8)
    pixels[...] = np.arange(SIDE, dtype=np.uint16)[:, None, None] % 251
    pixels[..., 1] += np.arange(SIDE, dtype=np.uint16).astype("u1")
    if kind == "PNG":
        return saved(Image.fromarray(pixels), "PNG", compress_level=1)
    return tiff(
        pixels, **({"rowsperstrip": SIDE} if kind == "one strip" else {"compression": "zlib", "tile": (256, 256)})
    )


@pytest.mark.parametrize("kind", ["PNG", "one strip", "tiles"])
def test_memory_is_bounded(kind):
    """Opening reads headers only; decoding takes what `need` says, a small part of the picture."""
    content = Held(large(kind))
    raster = open_raster(content)
    assert content.seen < 400_000
    for workers in (1, 2):
        tracemalloc.start()
        for number, band in enumerate(raster.bands(200, workers=workers)):
            assert (band[:, 7, 0] == np.arange(200 * number, 200 * number + 200) % 251).all()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= raster.need(200, workers) < 45_000_000


def test_what_cannot_be_cut_is_measured_against_the_memory():
    """A JPEG is decoded whole: the refusal says what it needs, and what was allowed."""
    data = saved(PICTURE.resize((1500, 1500)), "JPEG")
    with pytest.raises(
        DecodeError, match=r"decodes in 5,000,000 bytes of memory, found 1,500 x 1,500 pixels that need"
    ):
        open_raster(Held(data), memory=5_000_000)
    need = open_raster(Held(data)).need(1)
    assert open_raster(Held(data), memory=need).need(1) == need
    assert open_raster(Held(saved(PICTURE.resize((1500, 1500)), "JPEG", progressive=True))).need(1) > need


@pytest.mark.parametrize(
    "options", [{"rows": 0}, {"rows": 5, "start": 76}, {"rows": 5, "start": -1}, {"rows": 5, "workers": 0}]
)
def test_arguments_that_make_no_sense(options):
    with pytest.raises(UsageError, match="expected rows and workers of at least 1 and a start of 0 to 75"):
        open_raster(Held(tiff(COLOUR))).bands(**options)


class Failing(Held):
    """Storage that stops answering."""

    allowed = float("inf")

    def read(self, offset, length):
        """Answer while allowed."""
        self.allowed -= 1
        if self.allowed < 0:
            raise TemporaryError("the storage did not answer")
        return super().read(offset, length)


@each
def test_faults_of_the_storage_stay_what_they_are(case):
    """A picture is not called corrupt because its storage did not answer."""
    content = Failing(case.data)
    raster = open_raster(content)
    content.allowed = 0
    with pytest.raises(TemporaryError):
        list(raster.bands(16, workers=2))


def test_pillow_told_to_fill_what_is_missing(monkeypatch):
    """Other packages may have told Pillow, for the whole process, to turn missing pixels grey."""
    raster = open_raster(Held(saved(PICTURE, "JPEG")))
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(DecodeError, match="LOAD_TRUNCATED_IMAGES"):
        list(raster.bands(16))


def test_bands_that_nobody_wants():
    """Bands may be left half read: threads end, and the picture can be read again."""
    raster = open_raster(Held(tiff(COLOUR, compression="zlib", tile=(16, 16))))
    first = next(raster.bands(16, workers=2))
    np.testing.assert_array_equal(first, COLOUR[:16])
    np.testing.assert_array_equal(np.concatenate(list(raster.bands(16, workers=2))), COLOUR)
