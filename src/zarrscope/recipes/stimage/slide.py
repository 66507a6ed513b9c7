"""One slide: its picture becomes a pyramid, its counts a table with the spots' places, and the two are compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import xxhash

from zarrscope.errors import DecodeError
from zarrscope.model import Scalar, Strings
from zarrscope.readers.counts import read_header
from zarrscope.readers.slides import Coords, alignment, read_annotation, read_coords, tissue_mask
from zarrscope.recipe import Built, Desk, Put, Told
from zarrscope.recipes.stimage.bands import count_bands
from zarrscope.recipes.stimage.layout import ROLES
from zarrscope.recipes.stimage.pictures import Picture, small_pictures, write_picture
from zarrscope.recipes.stimage.spots import Spots
from zarrscope.storage import Storage
from zarrscope.writers.codec import Codec
from zarrscope.writers.counts import write_counts
from zarrscope.writers.table import TableColumn

_LARGEST = 1 << 30  # bytes of a coordinate or annotation file
_TURN_LEAST, _TURN_MOST = 32 << 20, 150 << 20  # bytes for the gene-major twin
_THUMBNAIL = 1024  # pixels of the side on which tissue is looked for

type Labels = tuple[Strings, Sequence[str | None]]


def build_slide(desk: Desk) -> Built:
    """Build a slide from its files; each that can't be taken is said, and the others are kept."""
    lacking = [role for role in ROLES[:3] if role not in {piece.role for piece in desk.sample.pieces}]
    columns: dict[str, Scalar] = {"image_ok": False, "counts_ok": False}
    columns["reason"] = "; ".join(f"there is no {role} file" for role in lacking) or None
    coords = _small(desk, "coord", read_coords)
    labels: Labels | None = _small(desk, "annotation", read_annotation)
    small: list[tuple[str, Picture, float]] = []
    if "image" in desk.contents:
        told = desk.make("image", "image", partial(write_picture, desk, desk.contents["image"]))
        if told is not None:
            columns |= {"image_ok": True, **told}
            small = list(small_pictures(desk))
    if "counts" in desk.contents:
        told = desk.make("counts", "counts", partial(_write_counts, desk, coords, labels, small))
        columns |= {} if told is None else {"counts_ok": True, **told}
    for role in ("coord", "annotation") if not columns["counts_ok"] else ():
        if role in desk.contents:
            desk.note(role, "there are no counts whose spots it could tell of.")
    if coords is not None and small:
        columns |= _aligned(coords, small, (int(str(columns["height"])), int(str(columns["width"]))))
    return Built(columns=columns)


def _small[T](desk: Desk, role: str, read: Callable[[memoryview], T]) -> T | None:
    content = desk.contents.get(role)
    if content is None:
        return None
    if content.size > _LARGEST:
        desk.note(role, f"expected at most {_LARGEST:,} bytes, found {content.size:,}.")
        return None
    try:
        return read(content.read(0, content.size))
    except DecodeError as error:
        desk.note(role, str(error))
        return None


def _write_counts(
    desk: Desk, coords: Coords | None, labels: Labels | None, small: Sequence[tuple[str, Picture, float]], put: Put
) -> Told:
    """Write ``counts`` and its gene-major twin; raises DecodeError where a number can't be read."""
    content = desk.contents["counts"]
    header = read_header(content)
    sample, storage = desk.sample, Storage(desk.url, desk.options)
    placed = () if coords is None else coords.names.tolist()
    held: list[Spots] = []
    uns: dict[str, Any] = {}

    def obs(names: Strings) -> dict[str, TableColumn]:
        spots = Spots(sample.name, str(sample.obs.get("technology")), names, coords, labels)
        held[:] = [spots]
        uns.update(spots.uns({name: one for name, one, _ in small}, {name: scale for name, _, scale in small}))
        return spots.obs()

    written = write_counts(
        put,
        lambda key: storage.get(f"{sample.path}/{key}"),
        lambda: count_bands(content, header, placed, workers=desk.workers),
        header.symbols,
        obs=obs,
        obsm=lambda _: {"spatial": held[0].spatial},
        uns=uns,
        codec=Codec.parse(desk.codec),
        workers=desk.workers,
        budget=_budget(content.size, desk.memory),
    )
    return {
        "n_spots": written.shape[0],
        "n_genes": written.shape[1],
        "nnz": written.nnz,
        "counts_dtype": written.dtype,
        "counts_values": written.values["counts"],
        "by_gene_values": written.values["by_gene"],
        "counts_terminated": written.terminated,
        "panel": xxhash.xxh3_128_hexdigest("\0".join(header.symbols.tolist()).encode()),
        "total_counts": written.totals.sum().item(),
        "median_total_counts": float(np.median(written.totals)) if len(written.totals) else None,
        "median_n_genes": float(np.median(written.found)) if len(written.found) else None,
        **held[0].told(),
    }


def _budget(size: int, memory: int | None) -> int:
    """Choose the memory in which counts are turned round: little for most, more where it saves reading them again."""
    usual = min(_TURN_MOST, max(_TURN_LEAST, size // 64))
    return usual if memory is None else max(usual, memory // 4)


def _aligned(coords: Coords, small: Sequence[tuple[str, Picture, float]], shape: tuple[int, int]) -> Told:
    """Say how well spots lie on tissue, and whether the coordinates read in another way would lie better."""
    thumbnail = min((one for _, one, _ in small), key=lambda one: abs(max(one.shape) - _THUMBNAIL))
    found = alignment(coords.x, coords.y, tissue_mask(thumbnail), shape)
    return {
        "on_tissue": found.score,
        "orientation": found.best,
        "orientation_share": found.shares[found.best],
        "n_spots_outside": found.outside,
        "tissue_share": found.tissue,
        "suspicious": found.suspicious,
    }
