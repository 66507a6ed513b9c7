"""Images of many samples: how members become rows, and stacks a layout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from zarrscope.errors import Problem
from zarrscope.model import Axis, Image, Integers, Layout, Members, Parts, SampleSet, Table, strings
from zarrscope.recipe.catalog import Catalog
from zarrscope.recipe.described import Obs

_LEAST, _MOST = 32 << 20, 128 << 20  # bytes of pixels in one shard


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stack:
    """An image of many samples, its tables and its rows: what :func:`stack` declares.

    ``places`` are those of the catalog that it took, copies included.
    """

    image: Image
    tables: tuple[Table, ...]
    parts: Parts
    places: Integers


def stack(
    catalog: Catalog,
    path: str,
    places: Integers,
    *,
    role: str,
    obs: Obs | None = None,
    missing: Sequence[str] = (),
    classes: str | None = None,
) -> Stack:
    """Declare samples of one size as one image ``(n, y, x)``, one row a member, in the order of ``places``.

    Of members with one name the first keeps the row; later ones become its copies.

    Parameters
    ----------
    catalog
        What :func:`scan` found.
    path, role
        The group, and what methods ask for.
    places
        ``(n,)`` places in the catalog; -1 is a row whose member is missing.
    obs
        ``(n,)`` columns known from names.
    missing
        Names that the missing members should have, in the order of their rows.
    classes
        The column by which statistics are kept.
    """
    dtype, shape = catalog.kind_of(places[places >= 0])
    first, copies, copy_rows = _first_of_each_name(catalog.members(places), places)
    kept = places[first]
    members = catalog.members(kept)
    names = members.names
    names[kept < 0] = (
        strings(list(missing)) if missing else strings([f"missing-{row}" for row in np.flatnonzero(kept < 0)])
    )
    parts = Parts(
        image=path,
        members=Members(names=names, sizes=members.sizes, offsets=members.offsets, refused=members.refused),
        sources=np.where(kept >= 0, catalog.source[kept], -1).astype(np.int16),
        obs={name: values[first] for name, values in (obs or {}).items()},
        copies=catalog.members(copies),
        copy_rows=copy_rows,
        copy_sources=catalog.source[copies],
    )
    n, rows = len(parts), shard_rows(shape, dtype)
    image = Image(
        path=path,
        role=role,
        axes=(
            Axis(name="n", size=n, type="sample"),
            *(Axis(name=name, size=size, type="space") for name, size in zip("zyx"[-len(shape) :], shape, strict=True)),
        ),
        dtype=dtype,
        chunks=(1, *shape),
        shards=(min(rows, n), *shape),
        classes=classes,
    )
    tables = tuple(
        Table(path=f"{path}/{name}", role=name, annotates=path) for name in ("rows", "statistics", "manifest")
    )
    return Stack(image=image, tables=tables, parts=parts, places=places)


def _first_of_each_name(members: Members, places: Integers) -> tuple[Integers, Integers, Integers]:
    """Tell which places keep a row, which are copies, and the row that each copy repeats."""
    row_of: dict[str, int] = {}
    first, copies, copy_rows = list[int](), list[int](), list[int]()
    for place, name in enumerate(members.names):
        row = row_of.setdefault(name, len(first)) if places[place] >= 0 else len(first)
        if row == len(first):
            first.append(place)
        else:
            copies.append(places[place])
            copy_rows.append(row)
    return np.array(first, np.int64), np.array(copies, np.int64), np.array(copy_rows, np.int64)


def shard_rows(shape: tuple[int, ...], dtype: str) -> int:
    """Choose how many rows a shard has: 1,024, or the power of two that brings it to 32 to 128 MB of pixels.

    >>> shard_rows((224, 224), "uint8"), shard_rows((128, 128), "float32"), shard_rows((32, 32), "uint8")
    (1024, 1024, 32768)
    """
    row, rows = max(1, prod(shape) * np.dtype(dtype).itemsize), 1024
    while rows * row > _MOST and rows > 1:
        rows //= 2
    while rows * row < _LEAST and rows < 1 << 20:
        rows *= 2
    return rows


def arrange(
    catalog: Catalog,
    stacks: Iterable[Stack],
    *,
    sets: Sequence[SampleSet],
    findings: Sequence[Problem] = (),
    unplaced: Mapping[int, str] | None = None,
) -> Layout:
    """Put stacks together into a layout, with what the catalog counted.

    Members that no stack took are quarantined; ``unplaced`` gives the reason by their place in the catalog.
    """
    stacks, reasons = list(stacks), unplaced or {}
    told = [finding for index in catalog.indexes for finding in index.findings]
    left = np.setdiff1d(np.arange(len(catalog)), np.concatenate([one.places for one in stacks]))
    quarantined = [
        Problem(
            where=f"{catalog.sources[int(catalog.source[place])].url}!/{name}",
            kind="misnamed",
            message=reasons.get(place, "another member has its place already"),
        )
        for place, name in zip(left.tolist(), catalog.members(left).names, strict=True)
    ]
    return Layout(
        images=tuple(one.image for one in stacks),
        tables=tuple(table for one in stacks for table in one.tables),
        parts=tuple(one.parts for one in stacks),
        sets=tuple(sets),
        ignored=catalog.ignored,
        quarantined=(*catalog.quarantined, *quarantined),
        findings=(*told, *findings),
    )
