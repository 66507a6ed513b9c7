"""What the STED-FM writer knows of each picture: its file, its channel, its size, and the dictionary it stores.

The full collection has microscope metadata, no labels, and a key that is the same in every archive; the subset has
labels and nothing else. Keys, their order and their types follow the published writer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from zarrscope.demo.scenes import SCENES

type Info = dict[str, Any]

# Protein, image type and channel of the pictures of the subset, in rounds; equal file numbers are channels of a file.
_ROUND: tuple[tuple[str, str, int | str, int], ...] = (
    ("psd95", "msr", "STED_635P {2}", 0),
    ("bassoon", "msr", "STED_594 {6}", 0),
    ("f-actin", "msr", "STED640 {10}", 1),
    ("tubulin", "tif", 0, 2),
    ("beta2-spectrin", "msr", "STED_594 {4}", 1),
    ("FUS", "npz", "arr_0", 3),
    ("tom20", "tiff", 1, 4),
    ("sir-actin", "npz", "arr_0", 5),
    ("beta-camkii", "msr", "STED_640 {12}", 6),
    ("vimentin", "tif", 1, 2),
    ("vglut2", "msr", "STED_635P {6}", 7),
    ("f-actin", "tif", 2, 8),
    ("homer", "msr", "STED_594 {6}", 9),
    ("nkcc2", "tif", 0, 10),
    ("sir-tubulin", "npz", "arr_0", 11),
    ("camkii", "msr", "STED_640 {12}", 9),
    ("gephyrin", "msr", "STED_635P {2}", 12),
    ("lifeact", "tif", 0, 13),
    ("map2", "msr", "STED_594 {6}", 12),
    ("live-tubulin", "npz", "arr_0", 14),
    ("adducin", "msr", "STED_594 {4}", 15),
    ("glur1", "msr", "STED_635P {2}", 16),
    ("rim", "msr", "STED_594 {6}", 16),
    ("vgat", "msr", "STED_640 {12}", 17),
    ("vglut1", "msr", "STED_635P {6}", 17),
)
_CHANNELS = ("STED_640 {12}", "STED640 {10}", "STED_594 {6}")
_METRES = {"m": 1.0, "µm": 1e-6, "nm": 1e-9}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """One picture before it is cut: ``source`` is the path its id is made from, ``prefix`` what names start with.

    ``listed`` says that its crops stand in a list of places, and are not chosen by their foreground.
    """

    source: str
    channel: int
    scene: str
    shape: tuple[int, int]
    prefix: str
    info: Info
    listed: bool = False


def full_planes(images: int, seed: int, size: int) -> Iterator[Plane]:
    """Give the pictures of the full collection: one to three channels a file, without labels."""
    scenes = list(SCENES)
    order = np.random.default_rng([seed, 1]).permutation(len(scenes))
    channel, file, held = 0, 0, 2
    for number in range(images):
        if channel == held:
            file, channel, held = file + 1, 0, (1, 3, 1, 2)[file % 4]
        source = f"microscope/session-{file // 4:03d}/cell_{file:04d}.msr"
        rng = np.random.default_rng([seed, 1, file])  # the channels of a file have one size
        shape = _shape(rng, file, size)
        yield Plane(
            source=source,
            channel=channel,
            scene=scenes[order[number % len(scenes)]],
            shape=shape,
            prefix="",
            info=full_info(rng, source, file, channel, shape),
        )
        channel += 1


def full_info(rng: np.random.Generator, source: str, file: int, channel: int, shape: tuple[int, int]) -> Info:
    """Make the dictionary of a picture of the full collection; its ``image-id`` is still the path."""
    name = _CHANNELS[channel]
    return {
        "image-id": source,
        "image-type": "tif",
        "key": hashlib.sha256(f"{source}-{name}".encode()).hexdigest(),
        "msr-key": name,
        "msr-metadata": measured(rng, file, channel, shape),
        "chan-id": name,
        "protein-id": "unknown",
    }


def subset_planes(images: int, seed: int, size: int) -> Iterator[Plane]:
    """Give the pictures of the labelled subset, protein after protein."""
    chosen = [(number // len(_ROUND), *_ROUND[number % len(_ROUND)]) for number in range(images)]
    labels = list(dict.fromkeys(entry[1] for entry in chosen))
    # A stable sort: pictures of one protein stay in the order of the list.
    for number, (turn, protein, kind, channel, file) in enumerate(sorted(chosen, key=lambda e: labels.index(e[1]))):
        user = f"user-{file % 4 + 1}"
        source = f"{user}/series-{turn:03d}/image_{file:03d}.{kind}"
        yield Plane(
            source=source,
            channel=number,
            scene=protein,
            shape=_shape(np.random.default_rng([seed, 2, turn, file]), file, size),
            prefix=f"{protein}-",
            info={
                "chan-id": channel,
                "image-id": source,
                "image-type": kind,
                "user-id": user,
                "protein-id": protein,
            },
            listed=number % 5 == 3,
        )


def _shape(rng: np.random.Generator, file: int, size: int) -> tuple[int, int]:
    """Choose the size of a picture: mostly no multiple of the crop, now and then just one pixel more, or exact."""
    height, width = (int(side) for side in rng.integers(int(2.6 * size), int(5.2 * size), 2))
    if file % 8 == 1:
        return size + 1, width
    if file % 8 == 4:
        return 2 * size, 3 * size
    return height, width


def measured(rng: np.random.Generator, file: int, channel: int, shape: tuple[int, int]) -> Info:
    """Invent what Bio-Formats says of a picture; the unit of the pixel size is not the same for all."""
    unit = ("µm", "m", "nm", "µm", "pixel")[file % 5]
    pixel = float(rng.choice([15, 20, 25, 30])) * 1e-9
    if unit == "pixel":
        size_y, size_x = 1.0, 1.0
    else:
        stretch = 1.25 if file % 4 == 2 else 1.0
        size_y, size_x = (float(f"{value / _METRES[unit]:.9g}") for value in (pixel * stretch, pixel))
    return {
        "AcquisitionDate": f"20{15 + file % 8}-0{1 + file % 9}-14T10:{file % 60:02d}:00" if file % 3 else None,
        "DimensionOrder": "XYZCT",
        "ID": f"Pixels:{channel}",
        "Name": f"image {file}",
        "PhysicalSizeX": size_x,
        "PhysicalSizeXUnit": unit,
        "PhysicalSizeY": size_y,
        "PhysicalSizeYUnit": unit,
        "PhysicalSizeZ": None if file % 2 else 1.0,
        "PhysicalSizeZUnit": None if file % 2 else unit,
        "PixelType": "uint16",
        "SizeC": 1,
        "SizeT": 1,
        "SizeX": shape[1],
        "SizeY": shape[0],
        "SizeZ": 1,
        "channel_count": 1,
        "plane_count": 0,
        "roiref_count": 0,
        "tiffdata_count": 1,
    }
