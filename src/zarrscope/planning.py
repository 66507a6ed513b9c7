"""A layout becomes a plan: samples are selected, and every image is cut into tasks, each exactly one shard."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from zarrscope.errors import QueryError, UsageError
from zarrscope.model import (
    Choices,
    Counts,
    Image,
    Integers,
    Layout,
    Origin,
    Parts,
    Plan,
    Sample,
    SampleSet,
    Task,
    strings,
)
from zarrscope.query import Categories, Expression, Values, parse, unknown_column

type Mask = npt.NDArray[np.bool_]


def select(layout: Layout, *, where: str | None = None, limit: int | None = None) -> Layout:
    """Leave out samples: those that an expression over columns known from names refuses, and all beyond a limit.

    The leading image of each sample set decides; images paired with it follow, and row numbers are counted anew.
    ``limit`` counts samples of each set. An image that loses all its rows is left out whole.

    Raises
    ------
    QueryError
        Where no set has the columns, or nothing is left.
    """
    if where is None and limit is None:
        return layout
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit}: expected at least 1.")
    if layout.samples:
        return _select_samples(layout, where, limit)
    keep: dict[str, Integers] = {parts.image: np.arange(len(parts)) for parts in layout.parts}
    obs: dict[str, dict[str, npt.NDArray[Any]]] = {parts.image: dict(parts.obs) for parts in layout.parts}
    masks = _masks(layout, parse(where)) if where is not None else {}
    for group in layout.sets:
        lead = group.images[0][1]
        chosen = np.flatnonzero(masks[group.name]) if masks else np.arange(len(layout.rows(lead)))
        _follow(layout, group, chosen[:limit], keep, obs, where)
    parts = [replace(one, obs=obs[one.image]).take(keep[one.image]) for one in layout.parts if len(keep[one.image])]
    if not parts:
        raise QueryError(f"no sample is left by {where!r}.")
    left_out = sum(_present(one) for one in layout.parts) - sum(_present(one) for one in parts)
    held = {one.image: len(one) for one in parts}
    images = tuple(resized(image, held[image.path]) for image in layout.images if image.path in held)
    return replace(
        layout,
        images=images,
        tables=tuple(table for table in layout.tables if table.annotates is None or table.annotates in held),
        parts=tuple(parts),
        sets=tuple(_holding(group, held) for group in layout.sets if held.keys() & {path for _, path in group.images}),
        left_out=layout.left_out + left_out,
    )


def _select_samples(layout: Layout, where: str | None, limit: int | None) -> Layout:
    """Leave out samples that have groups of their own."""
    chosen = np.ones(len(layout.samples), bool)
    if where is not None:
        names = ["index", *dict.fromkeys(name for sample in layout.samples for name in sample.obs)]
        expression = parse(where)
        for name in expression.columns:
            if name not in names:
                raise unknown_column(name, sorted(names))
        chosen = expression.mask({name: _column(layout.samples, name) for name in expression.columns})
        if not chosen.any():
            raise QueryError(f"no sample is left by {where!r}.")
    kept = tuple(layout.samples[place] for place in np.flatnonzero(chosen)[:limit].tolist())
    dropped = sum(len(sample.pieces) for sample in layout.samples) - sum(len(sample.pieces) for sample in kept)
    return replace(layout, samples=kept, left_out=layout.left_out + dropped)


def _column(samples: Sequence[Sample], name: str) -> Values:
    """Give one column of what is known of samples, or of their names, as a table would: a gap is NaN, False, or -1."""
    values = [sample.name if name == "index" else sample.obs.get(name) for sample in samples]
    held = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in held):
        return np.array([bool(value) for value in values])
    if all(isinstance(value, (bool, int, float)) for value in held):
        return np.array([np.nan if value is None else float(value) for value in values])
    texts = sorted({str(value) for value in held})
    codes = [-1 if value is None else texts.index(str(value)) for value in values]
    return Categories(np.array(codes, np.int32), strings(texts))


def _holding(group: SampleSet, held: Collection[str]) -> SampleSet:
    """Drop the images of a set that lost all their rows."""
    images = tuple((role, path) for role, path in group.images if path in held)
    roles = {role for role, _ in images}
    return replace(group, images=images, through=tuple(one for one in group.through if one[0] in roles))


def _present(parts: Parts) -> int:
    return int((parts.sources >= 0).sum()) + len(parts.copies)


def _masks(layout: Layout, expression: Expression) -> dict[str, Mask]:
    """Evaluate over the leading rows of all sets as one table; a set without the columns has no sample."""
    leading = {group.name: layout.rows(group.images[0][1]) for group in layout.sets}
    having = {name: rows for name, rows in leading.items() if all(column in rows.obs for column in expression.columns)}
    if not having:
        known = sorted({name for rows in leading.values() for name in rows.obs})
        missing = [name for name in expression.columns if name not in known]
        raise unknown_column(missing[0], known) if missing else QueryError(f"no set has all of {expression.text!r}.")
    joined = {name: np.concatenate([rows.obs[name] for rows in having.values()]) for name in expression.columns}
    mask = expression.mask(joined)
    if not mask.any():
        raise QueryError(f"no sample is left by {expression.text!r}.")
    stops = np.cumsum([len(rows) for rows in having.values()])
    masks = {name: np.zeros(len(rows), bool) for name, rows in leading.items()}
    return masks | dict(zip(having, np.split(mask, stops[:-1]), strict=True))


def _follow(
    layout: Layout,
    group: SampleSet,
    chosen: Integers,
    keep: dict[str, Integers],
    obs: dict[str, dict[str, npt.NDArray[Any]]],
    where: str | None,
) -> None:
    """Let the images of a set follow the chosen rows of its first."""
    through = dict(group.through)
    lead = group.images[0][1]
    for role, path in group.images:
        rows = layout.rows(path)
        if role in through:
            needed = obs[lead][through[role]][chosen]
            keep[path] = np.unique(needed[needed >= 0])
            renumbered = np.full(len(rows) + 1, -1, np.int64)
            renumbered[keep[path]] = np.arange(len(keep[path]))
            obs[lead][through[role]] = renumbered[obs[lead][through[role]]]
        elif len(rows) == len(layout.rows(lead)):
            keep[path] = chosen
        else:  # siblings that do not line up choose for themselves
            keep[path] = np.flatnonzero(_own_mask(rows, where))[: len(chosen)]


def _own_mask(rows: Parts, where: str | None) -> Mask:
    try:
        return np.ones(len(rows), bool) if where is None else parse(where).mask(rows.obs)
    except QueryError:  # none of its rows has the value
        return np.zeros(len(rows), bool)


def resized(image: Image, n: int, *, chunk: int | None = None, shard: int | None = None) -> Image:
    """Give the image another number of rows, or other rows a chunk and a shard; shards stay whole chunks."""
    rows_chunk = max(1, min(chunk or image.chunks[0], n))
    wanted = max(rows_chunk, min(shard or image.shards[0], n))
    rows_shard = -(-wanted // rows_chunk) * rows_chunk
    return replace(
        image,
        axes=(replace(image.axes[0], size=n), *image.axes[1:]),
        chunks=(rows_chunk, *image.chunks[1:]),
        shards=(rows_shard, *image.shards[1:]),
    )


def chunked(layout: Layout, choices: Choices) -> Layout:
    """Apply the rows a chunk and a shard that the user chose."""
    images = tuple(resized(image, image.shape[0], chunk=choices.chunk, shard=choices.shard) for image in layout.images)
    return replace(layout, images=images)


def tasks_of(image: Image) -> Iterator[Task]:
    """Cut an image along its first axis into tasks: every row exactly once, no shard twice."""
    n, step = image.shape[0], image.shards[0]
    for shard, start in enumerate(range(0, n, step)):
        yield Task(image=image.path, shard=shard, start=start, stop=min(start + step, n))


def make_plan(
    layout: Layout,
    *,
    recipe: str,
    recipe_version: int,
    version: str,
    sources: tuple[Origin, ...],
    choices: Choices,
    codecs: Mapping[str, str],
) -> Plan:
    """Cut a layout into tasks. Needs no I/O; the rows stay with the layout."""
    return Plan(
        version=version,
        recipe=recipe,
        recipe_version=recipe_version,
        sources=sources,
        choices=choices,
        images=layout.images,
        tables=layout.tables,
        sets=layout.sets,
        samples=layout.samples,
        shared=layout.shared,
        tasks=(
            *(task for image in layout.images for task in tasks_of(image)),
            *(Task(image=sample.path, shard=0, start=0, stop=1) for sample in layout.samples),
        ),
        counts=Counts(
            members=sum(source.members for source in sources),
            ignored=layout.ignored,
            left_out=layout.left_out,
            quarantined=len(layout.quarantined),
        ),
        codecs=dict(codecs),
        quarantined=layout.quarantined,
        findings=layout.findings,
    )


def to_json(plan: Plan) -> bytes:
    """Write a plan as JSON."""
    return msgspec.json.format(msgspec.json.encode(plan), indent=1)


def from_json(document: bytes) -> Plan:
    """Read a plan back."""
    return msgspec.json.decode(document, type=Plan)


def schema() -> dict[str, Any]:
    """Export the JSON schema of a plan."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "zarrscope plan",
        **msgspec.json.schema(Plan),
    }
