"""What an image's group says of it: its axes in physical units and the array of each level, with one request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zarrscope.errors import StoreError
from zarrscope.loaders.objects import StoredObject
from zarrscope.loaders.shards import ShardedArray
from zarrscope.model import Axis
from zarrscope.record import Element
from zarrscope.storage import Storage


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Level:
    """One level of an image: its axes as they apply to it, and its pixels."""

    axes: tuple[Axis, ...]
    array: ShardedArray


def read_document(storage: Storage, path: str) -> Mapping[str, Any]:
    """Read the ``zarr.json`` of a node: one request.

    Raises
    ------
    StoreError
        Where it is missing or is no JSON object.
    """
    stored = StoredObject(storage, f"{path}/zarr.json" if path else "zarr.json")
    try:
        document = json.loads(bytes(stored.whole()))
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise StoreError(f"{stored.where} is not a JSON object: the node's metadata are damaged.")
    return document


def consolidated(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give the documents of all nodes below a group, by path; empty where they are not consolidated."""
    found = (document.get("consolidated_metadata") or {}).get("metadata", {})
    return found if isinstance(found, dict) else {}


class ImageGroup:
    """One OME-Zarr image of a store: what its group's document tells.

    Parameters
    ----------
    storage, element
        The store, and what its record says of the image.
    """

    def __init__(self, storage: Storage, element: Element) -> None:
        self._storage, self._element = storage, element
        self._document = read_document(storage, element.path)
        self._where = storage.at(element.path)
        try:
            self._multiscale = self._document["attributes"]["ome"]["multiscales"][0]
            self.levels = tuple(str(dataset["path"]) for dataset in self._multiscale["datasets"])
        except (KeyError, IndexError, TypeError):
            raise StoreError(f"{self._where}: its group has no OME-NGFF multiscales.") from None
        self._arrays: dict[str, ShardedArray] = {}

    def level(self, number: int = 0) -> Level:
        """Give one level, 0 being the finest.

        Raises
        ------
        StoreError
            Where there is no such level, or its array is not what the record says.
        """
        if not 0 <= number < len(self.levels):
            raise StoreError(f"{self._where} has no level {number}: it has {len(self.levels)}, counted from 0.")
        array = self._array(self.levels[number])
        found = (array.shape, array.dtype.name)
        expected = (self._element.shape, self._element.dtype)
        if number == 0 and self._element.shape and found != expected:  # a sample's images have none in the record
            raise StoreError(f"{self._where}: expected {expected} as the record says, found {found}.")
        return Level(axes=self._axes(number, array.shape), array=array)

    def _array(self, path: str) -> ShardedArray:
        array = self._arrays.get(path)
        if array is None:
            key = f"{self._element.path}/{path}"
            document = consolidated(self._document).get(path) or read_document(self._storage, key)
            array = self._arrays.setdefault(path, ShardedArray(self._storage, key, document))
        return array

    def _axes(self, number: int, shape: tuple[int, ...]) -> tuple[Axis, ...]:
        scales, translations = [1.0] * len(shape), [0.0] * len(shape)
        try:
            axes = self._multiscale["axes"]
            steps = self._multiscale["datasets"][number]["coordinateTransformations"]
            for step in (*steps, *self._multiscale.get("coordinateTransformations", [])):
                if step["type"] == "scale":
                    scales = [old * new for old, new in zip(scales, step["scale"], strict=True)]
                    translations = [old * new for old, new in zip(translations, step["scale"], strict=True)]
                elif step["type"] == "translation":
                    translations = [old + new for old, new in zip(translations, step["translation"], strict=True)]
            return tuple(
                Axis(
                    name=axis["name"],
                    size=size,
                    type=axis.get("type", ""),
                    unit=axis.get("unit"),
                    scale=float(scale),
                    translation=float(translation),
                )
                for axis, size, scale, translation in zip(axes, shape, scales, translations, strict=True)
            )
        except (KeyError, TypeError, ValueError):
            raise StoreError(f"{self._where}: its axes do not fit an array of {len(shape)} dimensions.") from None
