"""Understand what the image description of a TIFF file says: ImageJ's lines, or the JSON that tifffile writes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal

from zarrscope.errors import DecodeError

_KEPT = 1 << 14  # characters of the longest description that is kept parsed


@dataclass(frozen=True, slots=True)
class Description:
    """What is known from the text: ``planes`` is how many pages of pixels it claims, None if it makes no claim."""

    kind: Literal["", "imagej", "shaped"] = ""
    metadata: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def unit(self) -> str | None:
        """ImageJ's unit, as it is written."""
        unit = self.metadata.get("unit") if self.kind == "imagej" else None
        return None if unit is None else str(unit)

    def is_plane(self, length: int, width: int) -> bool:
        """Tell whether the text claims no more than one plane (y, x) of that size, with no axes of its own."""
        if self.kind == "shaped":
            longer = [size for size in _shape(self.metadata) if size != 1]
            return "axes" not in self.metadata and longer == [length, width]
        return self.planes(1, 1) in {None, 1}

    def planes(self, pixels: int, samples: int) -> int | None:
        """Give how many pages of ``pixels`` values and ``samples`` a pixel the text claims, None if it claims nothing.

        Raises
        ------
        DecodeError
            If it contradicts itself.
        """
        if self.kind == "shaped":
            planes, rest = divmod(math.prod(_shape(self.metadata)), pixels)
            if rest or not planes:
                raise DecodeError(f"expected whole pages of {pixels} values, found the shape {self.metadata['shape']}.")
            return planes
        if self.kind == "imagej":
            return _imagej_planes(self.metadata, samples)
        return None


def describe(texts: tuple[str, ...]) -> Description:
    """Understand the image descriptions of a page: tifffile's first, as it would itself.

    Raises
    ------
    DecodeError
        If a text starts like tifffile's and is not.
    """
    for text in texts[:2]:
        if text.startswith("shape=") or (text.startswith("{") and '"shape":' in text):
            return _kept_shaped(text) if len(text) <= _KEPT else _shaped(text)
    for text in texts[:2]:
        if text.startswith(("ImageJ=", "SCIFIO=")):
            return _kept_imagej(text) if len(text) <= _KEPT else _imagej(text)
    return Description()


def _shaped(text: str) -> Description:
    try:
        fields = {"shape": [int(size) for size in text[7:-1].split(",")]} if text[0] == "s" else json.loads(text)
        metadata = MappingProxyType(dict(fields))
        _shape(metadata)
    except (KeyError, RecursionError, TypeError, ValueError):
        raise DecodeError(f"expected the JSON of an array's shape, found {text!r:.120}.") from None
    return Description("shaped", metadata)


def _imagej(text: str) -> Description:
    fields: dict[str, Any] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            fields[key.strip()] = _value(value.strip())
    return Description("imagej", MappingProxyType(fields))


_kept_shaped, _kept_imagej = lru_cache(256)(_shaped), lru_cache(256)(_imagej)


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return {"true": True, "false": False}.get(text.lower(), text)


def _shape(metadata: Mapping[str, Any]) -> list[int]:
    shape = metadata["shape"]
    if type(shape) is not list or not shape or not all(type(size) is int and size > 0 for size in shape):
        raise ValueError
    return shape


def _imagej_planes(metadata: Mapping[str, Any], samples: int) -> int | None:
    claims = [metadata[key] for key in ("images", "channels", "slices", "frames") if key in metadata]
    if not all(type(claim) is int and claim > 0 for claim in claims):
        raise DecodeError(f"expected ImageJ to count images, channels, slices and frames, found {claims}.")
    channels = metadata.get("channels", 1)
    product = metadata.get("slices", 1) * metadata.get("frames", 1)
    product *= 1 if channels == samples > 1 else channels  # the colours of a pixel may be said to be channels
    images = metadata.get("images")
    if images is not None and product not in {1, images}:
        raise DecodeError(f"expected ImageJ's channels x slices x frames to make {images} images, found {product}.")
    return images if images is not None else product if claims else None
