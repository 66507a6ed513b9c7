"""Plans, records and stores in words: what the command line prints."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from zarrscope.loaders.listing import facts
from zarrscope.model import Plan
from zarrscope.record import Record

if TYPE_CHECKING:
    from zarrscope.loaders.store import Store


def size_text(size: int) -> str:
    """Write a number of bytes with a unit.

    >>> size_text(999), size_text(51_000_000_000)
    ('999 B', '51.0 GB')
    """
    value, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.95 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.1f} {units[0]}"


def time_text(seconds: float) -> str:
    """Write a duration.

    >>> time_text(4.2), time_text(5400)
    ('4 s', '1.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def table(rows: Iterable[Iterable[object]]) -> list[str]:
    """Align columns: text to the left, numbers to the right."""
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    numeric = [[isinstance(cell, (int, float)) for cell in row] for row in rows] if isinstance(rows, list) else []
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for place, row in enumerate(cells):
        right = numeric[place] if numeric else [False] * len(row)
        aligned = (
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        )
        lines.append("  " + "  ".join(aligned).rstrip())
    return lines


def plan_text(plan: Plan) -> str:
    """Tell what a conversion would do, and why its chunks and shards are what they are."""
    from zarrscope.engine.estimate import objects
    from zarrscope.engine.run import need

    counts = plan.counts
    lines = [f"{plan.recipe}: {', '.join(f'{one.name} ({one.kind}, {size_text(one.size)})' for one in plan.sources)}"]
    lines += _planned_samples(plan) if plan.samples else _planned_images(plan)
    lines.append(
        f"members  {counts.members:,}: {counts.members - counts.ignored - counts.quarantined - counts.left_out:,} to "
        f"convert, {counts.ignored:,} ignored, {counts.quarantined:,} quarantined, {counts.left_out:,} left out"
    )
    if plan.images:
        lines.append(f"objects  {objects(plan):,} of images, and some fifty a table")
        lines.append(f"memory   {size_text(max(need(image) for image in plan.images))} a task under way, at most")
    if plan.estimate is not None and plan.estimate.sampled:
        one = plan.estimate
        lines.append(
            f"expected {size_text(one.bytes_stored)} ± {size_text(one.bytes_stored_error)} "
            f"from {size_text(one.bytes_read)}, in {time_text(one.seconds)} ± {time_text(one.seconds_error)} "
            f"with {one.workers} workers ({one.sampled} members sampled)"
        )
    lines += [f"{problem.kind}: {problem}" for problem in (*plan.findings, *plan.quarantined)[:10]]
    more = len(plan.findings) + len(plan.quarantined) - 10
    return "\n".join(lines + ([f"... and {more} more"] if more > 0 else []))


def _planned_images(plan: Plan) -> list[str]:
    shards = Counter(task.image for task in plan.tasks)
    rows: list[tuple[object, ...]] = [("image", "samples", "pixels", "type", "chunk", "shard", "shards")]
    for image in plan.images:
        pixels = " x ".join(map(str, image.row_shape))
        of = (image.shape[0], pixels, image.dtype, image.chunks[0], image.shards[0], shards[image.path])
        rows.append((image.path, *of))
    told = "  a chunk is what one random read decodes; a shard is one task, one object, one write"
    return [*table(rows), told]


def _planned_samples(plan: Plan) -> list[str]:
    """Tell of samples that have groups of their own, by the first part of their paths."""
    kinds: dict[str, Counter[str]] = {}
    sizes: Counter[str] = Counter()
    for sample in plan.samples:
        kind = sample.path.partition("/")[0]
        kinds.setdefault(kind, Counter()).update([sample.role, *(piece.role for piece in sample.pieces)])
        sizes[kind] += sum(piece.member.size for piece in sample.pieces)
    role = plan.samples[0].role
    names = list(dict.fromkeys(piece.role for sample in plan.samples for piece in sample.pieces))
    rows: list[tuple[object, ...]] = [("group", f"{role}s", *(f"with {name}" for name in names), "bytes")]
    rows += [(kind, of[role], *(of[name] for name in names), size_text(sizes[kind])) for kind, of in kinds.items()]
    return [*table(rows), f"  each {role} is one task, with groups of its own"]


def record_text(record: Record) -> str:
    """Tell what became of every member, and the findings."""
    counts = record.counts
    lines = [
        f"{counts.members:,} members = {counts.converted:,} converted + {counts.ignored:,} ignored "
        f"+ {counts.quarantined:,} quarantined" + (f" + {counts.left_out:,} left out" if counts.left_out else "")
    ]
    if counts.quarantined * 100 > counts.members:
        lines.append(f"WARNING: {counts.quarantined / counts.members:.1%} of the members are quarantined.")
    last = record.conversions[-1]
    told = [*last.findings, *record.findings]
    lines += [f"  {finding.kind}: {finding.where}: {finding.message}" for finding in told[:10]]
    more = len(told) + last.findings_left_out - 10
    return "\n".join(lines + ([f"  ... and {more} more (see the column 'reason' of the rows)"] if more > 0 else []))


def info_text(info: Mapping[str, Any]) -> str:
    """Tell what a store holds."""
    lines = [f"{info['title']}  ({info['recipe']}, zarrscope {info['version']})"]
    lines.append(f"licence {info['license']}; {info['citation']}")
    lines.append("sources: " + ", ".join(f"{one['name']} ({size_text(one['size'])})" for one in info["sources"]))
    if info["pending"]:
        lines.append(f"UNFINISHED: {', '.join(info['pending'])} ({info['tasks_done']} of {info['tasks']} tasks)")
    for image in info["images"]:
        shape = " x ".join(f"{size:,}" for size in image["shape"])
        lines.append(f"{image['path']}  {shape} {image['dtype']}, {image['quarantined']} quarantined")
        if image["statistics"]:
            names = list(image["statistics"][0])
            rows = [names, *([_brief(row[name]) for name in names] for row in image["statistics"])]
            lines += ["  " + line for line in table(rows)]
    for one in info["samples"]:
        lines.append(f"samples {one['name']!r}: {one['length']:,} of {' + '.join(one['images'] or one['holds'])}")
        lines += _own_groups_lines(one) if "by" in one else []
    lines += [f"{one['kind']}: {one['where']}: {one['message']}" for one in info["findings"][:10]]
    return "\n".join(lines)


def _own_groups_lines(samples: Mapping[str, Any]) -> list[str]:
    """Tell of samples with groups of their own: how many of each kind, what they add up to, what went wrong."""
    lines = []
    for column, counts in samples["by"].items():
        some = [f"{value} {count:,}" for value, count in list(counts.items())[:12]]
        more = len(counts) - len(some)
        lines.append(f"  {column}: {', '.join(some)}" + (f" and {more} more" if more else ""))
    sums = [f"{samples[name]:,} {name}" for name in ("spots", "genes") if samples[name] is not None]
    return [*lines, f"  {', '.join([*sums, f'{samples["quarantined"]:,} quarantined, wholly or in part'])}"]


def _brief(value: object) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def info_json(info: Mapping[str, Any]) -> str:
    """Give the same as JSON; a number that is not finite becomes null."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): plain(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(one) for one in value]
        return None if isinstance(value, float) and value - value != 0 else value

    return json.dumps(plain(info), indent=1, allow_nan=False)


def describe(store: Store, record: Record) -> dict[str, Any]:
    """Tell what a store holds, as plain values."""
    images = [
        {
            "path": element.path,
            "role": element.role,
            "shape": list(element.shape),
            "dtype": element.dtype,
            "chunks": list(element.chunks),
            "shards": list(element.shards),
            "quarantined": element.quarantined,
            "statistics": [
                {"class": str(name), **row} for name, row in store.statistics(element.path).to_dict("index").items()
            ],
        }
        for element in record.elements
        if element.kind == "image"
    ]
    last = record.conversions[-1] if record.conversions else None
    told = [*record.findings, *(last.findings if last else ())]
    return {
        "title": record.title,
        "recipe": record.recipe,
        "version": record.version,
        "license": record.terms.license,
        "citation": record.terms.citation,
        "sources": [msgspec.to_builtins(source) for one in record.conversions for source in one.sources],
        "counts": msgspec.to_builtins(record.counts),
        "images": images,
        "samples": [
            {
                "name": one.name,
                "length": one.length,
                "images": [linked.role for linked in one.images],
                **({} if one.images else facts(record, one, store.catalogue)),
            }
            for one in record.samples
        ],
        "findings": [msgspec.to_builtins(finding) for finding in told],
        "pending": list(record.pending),
    }


def describe_unfinished(plan: Plan, url: str) -> dict[str, Any]:
    """Tell of a conversion that has not ended: what it will hold."""
    return {
        "title": f"{url}, an unfinished conversion",
        "recipe": plan.recipe,
        "version": plan.version,
        "license": "unknown",
        "citation": "unknown",
        "sources": [{"name": one.name, "size": one.size} for one in plan.sources],
        "counts": msgspec.to_builtins(plan.counts),
        "images": [
            {
                "path": image.path,
                "role": image.role,
                "shape": list(image.shape),
                "dtype": image.dtype,
                "chunks": list(image.chunks),
                "shards": list(image.shards),
                "quarantined": 0,
                "statistics": [],
            }
            for image in plan.images
        ],
        "samples": [],
        "findings": [],
        "pending": [image.path for image in plan.images],
    }
