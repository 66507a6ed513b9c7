"""A slide's picture as a pyramid, and small copies of it from the levels that were written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from zarrscope.loaders.shards import ShardedArray
from zarrscope.model import Content
from zarrscope.readers.raster import open_raster
from zarrscope.recipe import Desk, Put, Told
from zarrscope.statistics import mean, std
from zarrscope.storage import Storage
from zarrscope.writers.codec import Codec
from zarrscope.writers.image import image_objects
from zarrscope.writers.pyramid import pyramid_image, write_pyramid

SMALL = {"hires": 2000, "lowres": 600}  # pixels of the longer side, at most, as 10x makes them
_ROWS = 512  # of a band, at least

type Picture = npt.NDArray[np.uint8]


def write_picture(desk: Desk, content: Content, put: Put) -> Told:
    """Write the pyramid ``image``; raises DecodeError where the picture can't be read."""
    raster = open_raster(content, memory=desk.memory)
    image = pyramid_image(
        "image", height=raster.height, width=raster.width, channels=raster.channels, dtype=raster.dtype.name
    )
    codec = Codec.parse(desk.codec)
    rows = -(-_ROWS // raster.row_step) * raster.row_step
    bands = raster.bands(rows, workers=desk.workers)
    written = write_pyramid(
        image, bands, codec.encoder(), lambda key, data: put(f"image/{key}", data), workers=desk.workers
    )
    for key, data in image_objects(image, codec):
        put(f"image/{key}", data)
    finest = sorted((shard.place, shard.values) for shard in written.shards if shard.place[0] == 0)
    values = hashlib.sha256("".join(f"{digest}\n" for _, digest in finest).encode()).hexdigest()
    told: dict[str, str | int | float | None] = {
        "height": raster.height,
        "width": raster.width,
        "channels": raster.channels,
        "image_dtype": raster.dtype.name,
        "image_kind": raster.kind,
        "image_orientation": raster.orientation,
        "image_notes": "; ".join(bands.notes) or None,
        "levels": image.levels,
        "image_values": values,
    }
    for number, statistics in enumerate(written.statistics):
        told |= {f"mean_{number}": mean(statistics), f"std_{number}": std(statistics)}
    return told


def small_pictures(desk: Desk) -> Iterator[tuple[str, Picture, float]]:
    """Give name, picture ``(y, x, 3)`` and scale of each small copy: the finest level that is small enough."""
    storage = Storage(desk.url, desk.options)
    root = json.loads(storage.get(f"{desk.sample.path}/image/zarr.json"))
    held = root["consolidated_metadata"]["metadata"]
    levels = sorted((int(name), document) for name, document in held.items())
    for name, most in SMALL.items():
        fitting = [(number, document) for number, document in levels if max(document["shape"][1:]) <= most]
        if fitting:
            number, document = fitting[0]
            pixels = ShardedArray(storage, f"{desk.sample.path}/image/{number}", document).read(())
            yield name, _shown(pixels), 0.5**number


def _shown(pixels: npt.NDArray[np.generic]) -> Picture:
    """Turn ``(c, y, x)`` into what a viewer shows, ``(y, x, 3)`` of 8 bits."""
    plain = pixels if pixels.dtype == np.uint8 else (pixels.astype(np.uint32) >> 8)
    shown = np.moveaxis(plain.astype(np.uint8), 0, -1)
    return np.ascontiguousarray(shown if shown.shape[-1] == 3 else np.repeat(shown[..., :1], 3, axis=-1))
