"""Pictures of every kind, written by Pillow and tifffile, each with the pixels to expect."""

from __future__ import annotations

import io
import struct
from typing import Any, NamedTuple

import numpy as np
import tifffile
from PIL import Image


class Case(NamedTuple):
    """A file, its pixels ``(y, x, channel)``, its kind, and what there is to note of it."""

    data: bytes
    pixels: Any
    kind: str
    notes: tuple[str, ...] = ()


class Held:
    """Bytes that are read at a place, and how many were."""

    def __init__(self, data):
        self.data = data
        self.size = len(data)
        self.seen = 0

    def read(self, offset, length):
        """Give fewer bytes only at the end, as storage does."""
        assert offset >= 0
        assert length >= 0
        self.seen += length
        return memoryview(self.data)[offset : offset + length]


def numbered(height=75, width=52, samples=3, dtype="u1"):
    """Make a picture of which each pixel tells its row, its column and both; the fourth sample is 255 once."""
    y, x = np.mgrid[:height, :width]
    planes = np.stack([y * 3, x * 4, (x + y) * 2, np.where(x + y, 254 - y % 99, 255)][:samples], -1).astype("u1")
    return planes.astype(dtype) * np.dtype(dtype).type(1 if dtype == "u1" else 257)


def tiff(pixels, **options):
    """Write a TIFF with tifffile."""
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **{"photometric": "rgb" if pixels.shape[-1] == 3 else "minisblack"} | options)
    return file.getvalue()


def packed(segments, compression, photometric=2, tables=None, **options):
    """Write a TIFF of strips or tiles that are encoded already, whatever codecs tifffile has here."""
    file = io.BytesIO()
    extra = [(347, 7, len(tables), tables, True)] if tables else []
    options = {"shape": COLOUR.shape, "photometric": "rgb"} | options
    tifffile.imwrite(file, iter(segments), dtype="u1", compression="zlib", extratags=extra, **options)
    data = bytearray(file.getvalue())
    with tifffile.TiffFile(io.BytesIO(data)) as opened:
        for tag, value in ((259, compression), (262, photometric)):
            struct.pack_into("<H", data, opened.pages[0].tags[tag].valueoffset, value)
    return bytes(data)


def pages(*images):
    """Write a TIFF of several pages, each an array with its options."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for pixels, options in images:
            writer.write(pixels, **{"photometric": "rgb", "metadata": None} | options)
    return file.getvalue()


def saved(image, kind, **options):
    """Write a picture with Pillow."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pillow(data, mode=None):
    """Give the pixels that Pillow reads, with an axis of channels."""
    with Image.open(io.BytesIO(data)) as image:
        pixels = np.asarray(image.convert(mode) if mode else image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def jpeg_tiles(*, shared, rgb=False):
    """Write JPEG tiles that Pillow encodes; give the file, and the picture that Pillow's decoder makes of them."""
    tiles, out = [], np.zeros((80, 64, 3), np.uint8)
    padded = np.pad(COLOUR, ((0, 5), (0, 12), (0, 0)))
    options = {"quality": 90, "keep_rgb": rgb, "subsampling": 0 if rgb else 2}
    for place in (np.s_[top : top + 16, left : left + 16] for top in range(0, 80, 16) for left in range(0, 64, 16)):
        tile = Image.fromarray(padded[place])
        out[place] = pillow(saved(tile, "JPEG", **options))
        data = saved(tile, "JPEG", streamtype=2 if shared else 0, **options)
        tiles.append(unnamed(data) if rgb else data)
    tables = saved(PICTURE, "JPEG", streamtype=1, **options) if shared else None
    return packed(tiles, 7, photometric=2 if rgb else 6, tables=tables, tile=(16, 16)), out[:75, :52]


def unnamed(data):
    """Make JPEG data of RGB such as slide scanners write: no marker says RGB, and components have only numbers."""
    adobe, data = data.index(b"\xff\xee"), bytearray(data)
    del data[adobe : adobe + 16]
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    data[frame + 10 : frame + 19 : 3] = data[scan + 5 : scan + 11 : 2] = b"\1\2\3"
    return bytes(data)


COLOUR, GREY = numbered(), numbered(samples=1)
DEEP, DEEP_GREY = numbered(dtype="u2"), numbered(samples=1, dtype="u2")
FADED = numbered(samples=4)
PLANES = np.ascontiguousarray(np.moveaxis(COLOUR, -1, 0))
COLOURS = np.arange(768).reshape(3, 256).astype("u2") * 85
PICTURE = Image.fromarray(COLOUR)
ONE_BIT, INDEXED, PLAIN = PICTURE.convert("1"), PICTURE.convert("P"), PICTURE.convert("L")
EXIF = Image.Exif()
EXIF[274] = 6

TURNED = ("orientation 6 of EXIF is recorded, not applied",)
PROFILE = ("an ICC profile is not applied",)
ALPHA = ("alpha dropped",)
CLEAR = (f"{75 * 52 - 1} pixels are not opaque",)
EXPANDED = ("palette expanded",)
PLANAR = ("channel-first",)
TAKEN = ("three grey samples taken for red, green and blue",)


def by_pillow(data, kind, mode=None, notes=()):
    """Expect the pixels that Pillow reads."""
    return Case(data, pillow(data, mode), kind, notes)


def tiffs():
    """Give cases by their names."""
    alpha = {"photometric": "rgb", "extrasamples": ["unassalpha"]}
    planes_of_alpha = np.moveaxis(FADED, -1, 0), {"photometric": "rgb", "planarconfig": "separate"}
    separate = {"photometric": "rgb", "planarconfig": "separate"}
    tiled = {"tile": (16, 16), "compression": "zlib"}
    deflated = {"compression": "zlib", "predictor": True, "tile": (32, 16)}
    exactly = {
        "strips": (tiff(COLOUR, rowsperstrip=16), COLOUR),
        "one strip": (tiff(COLOUR, rowsperstrip=75), COLOUR),
        "a strip a row": (tiff(COLOUR, rowsperstrip=1, compression="zlib"), COLOUR),
        "tiles": (tiff(COLOUR, tile=(16, 32)), COLOUR),
        "grey": (tiff(GREY[..., 0], tile=(16, 32)), GREY),
        "grey of 16 bits": (tiff(DEEP_GREY[..., 0], rowsperstrip=9), DEEP_GREY),
        "big-endian BigTIFF": (tiff(DEEP, bigtiff=True, byteorder=">", **deflated), DEEP),
        "planes": (tiff(PLANES, **separate), COLOUR, PLANAR),
        "planes of tiles": (tiff(PLANES, **separate, **tiled), COLOUR, PLANAR),
        "planes with alpha": (
            tiff(planes_of_alpha[0], extrasamples=["assocalpha"], **separate),
            COLOUR,
            (*PLANAR, *ALPHA, "colours were multiplied with alpha", *CLEAR),
        ),
        "three pages": (tiff(PLANES, **tiled), COLOUR, PLANAR + TAKEN),
        "three planes, one directory": (tiff(PLANES, truncate=True, rowsperstrip=30), COLOUR, PLANAR + TAKEN),
        "grey of three samples": (tiff(COLOUR, photometric="minisblack", planarconfig="contig"), COLOUR, TAKEN),
        "alpha": (tiff(FADED, **alpha), COLOUR, ALPHA + CLEAR),
        "a fourth sample": (
            tiff(FADED, photometric="rgb", extrasamples=["unspecified"]),
            COLOUR,
            ("a last sample of no declared meaning dropped",),
        ),
        "white is 0": (tiff(GREY[..., 0], photometric="miniswhite"), 255 - GREY, ("white was 0",)),
        "palette": (
            tiff(GREY[..., 0], photometric="palette", colormap=COLOURS),
            (COLOURS >> 8).T.astype("u1")[GREY[..., 0]],
            EXPANDED,
        ),
        "OME": (tiff(COLOUR, ome=True), COLOUR),
        "pyramid": (
            pages(
                (COLOUR[::4, ::4], {}),
                (COLOUR, tiled),
                (COLOUR[::2, ::2], {"subfiletype": 1}),
                (np.zeros((99, 99, 3), "u1"), {"subfiletype": 1}),
            ),
            COLOUR,
        ),
        "with a mask": (pages((COLOUR, {}), (COLOUR[..., 0] > 9, {"photometric": "mask", "subfiletype": 4})), COLOUR),
        "JPEG tiles": jpeg_tiles(shared=False),
        "JPEG tiles, shared tables": jpeg_tiles(shared=True),
        "JPEG tiles of RGB": jpeg_tiles(shared=True, rgb=True),
        "JPEG 2000 strips": (
            packed(
                [saved(Image.fromarray(COLOUR[top : top + 25]), "JPEG2000", no_jp2=True) for top in (0, 25, 50)],
                34712,
                rowsperstrip=25,
            ),
            COLOUR,
        ),
        "WebP tile": (
            packed(
                [saved(PICTURE.crop((0, 0, 48, 48)), "WEBP", lossless=True)],
                50001,
                tile=(48, 48),
                shape=(48, 48, 3),
            ),
            COLOUR[:48, :48],
        ),
        "turned": (saved(PICTURE, "TIFF", exif=EXIF, icc_profile=b"profile"), COLOUR, TURNED + PROFILE),
    }
    for name in ("tiff_lzw", "packbits", "tiff_adobe_deflate", "tiff_deflate", "zstd"):
        exactly[f"{name} of Pillow"] = saved(PICTURE, "TIFF", compression=name), COLOUR
    cases = {name: Case(data, pixels, "tiff", *notes) for name, (data, pixels, *notes) in exactly.items()}
    return cases | {
        "JPEG strips": by_pillow(saved(PICTURE, "TIFF", compression="jpeg", quality=90), "tiff", "RGB"),
        "JPEG strips of grey": by_pillow(saved(PLAIN, "TIFF", compression="jpeg"), "tiff"),
        "one bit": by_pillow(saved(ONE_BIT, "TIFF"), "tiff", "L"),
        "palette of Pillow": by_pillow(saved(INDEXED, "TIFF"), "tiff", "RGB", EXPANDED),
    }


def others():
    """Give the same of PNG and JPEG."""
    clear = INDEXED.getpixel((0, 0))
    unseen = (f"{np.count_nonzero(np.asarray(INDEXED) == clear)} pixels are not opaque",)
    marked = {"exif": EXIF, "icc_profile": b"profile"}
    return {
        "PNG": Case(saved(PICTURE, "PNG"), COLOUR, "png"),
        "PNG of 16 bits": Case(saved(Image.fromarray(DEEP_GREY[..., 0]), "PNG"), DEEP_GREY, "png"),
        "PNG with alpha": Case(saved(Image.fromarray(FADED), "PNG"), COLOUR, "png", ALPHA + CLEAR),
        "PNG, opaque": Case(saved(PICTURE.convert("RGBA"), "PNG"), COLOUR, "png", ALPHA),
        "PNG, turned": Case(saved(PICTURE, "PNG", **marked), COLOUR, "png", TURNED + PROFILE),
        "PNG, grey": by_pillow(saved(PLAIN, "PNG"), "png"),
        "PNG, grey with alpha": by_pillow(saved(PICTURE.convert("LA"), "PNG"), "png", "L", ALPHA),
        "PNG of one bit": by_pillow(saved(ONE_BIT, "PNG"), "png", "L"),
        "PNG with a palette": by_pillow(saved(INDEXED, "PNG"), "png", "RGB", EXPANDED),
        "PNG with a clear colour": by_pillow(
            saved(INDEXED, "PNG", transparency=clear), "png", "RGB", EXPANDED + ALPHA + unseen
        ),
        "JPEG": by_pillow(saved(PICTURE, "JPEG", quality=90), "jpeg"),
        "JPEG, grey": by_pillow(saved(PLAIN, "JPEG"), "jpeg"),
        "JPEG, progressive": by_pillow(saved(PICTURE, "JPEG", progressive=True), "jpeg"),
        "JPEG of RGB": by_pillow(saved(PICTURE, "JPEG", keep_rgb=True), "jpeg"),
        "JPEG with restarts": by_pillow(saved(PICTURE, "JPEG", restart_marker_rows=1), "jpeg"),
        "JPEG, turned": by_pillow(saved(PICTURE, "JPEG", **marked), "jpeg", None, TURNED + PROFILE),
        "JPEG, padded": by_pillow(saved(PICTURE, "JPEG") + bytes(99), "jpeg"),
    }
