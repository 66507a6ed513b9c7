"""A store in a few lines: what it shows of itself at a prompt and in a notebook."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from zarrscope.record import Record, Samples

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 20
_KINDS = ("technology", "species", "tissue", "structure")  # columns that tell the samples of a catalogue apart


def lines(record: Record) -> Iterator[str]:
    """Give a line an image and a line a sample set."""
    images = [one for one in record.elements if one.kind == "image"]
    for one in images[:_SHOWN]:
        yield f"{one.path}  {one.dtype} {one.shape}"
    if len(images) > _SHOWN:
        yield f"and {len(images) - _SHOWN} more images"
    for samples in record.samples[:_SHOWN]:
        roles = [linked.role for linked in samples.images] or own_groups(record)
        yield f"samples {samples.name!r}: {samples.length:,} of {', '.join(roles) or 'nothing'}"
    if record.pending:
        yield f"pending: {', '.join(record.pending[:10])}"


def own_groups(record: Record) -> list[str]:
    """List what samples with groups of their own hold, any of them."""
    return list(dict.fromkeys(name for one in record.elements if one.kind == "sample" for name in one.holds))


def as_html(record: Record, url: str) -> str:
    """Give the same lines for a notebook."""
    rows = "".join(f"<li><code>{html.escape(line)}</code></li>" for line in lines(record))
    return f"<b>{html.escape(record.title)}</b> <code>{html.escape(url)}</code><ul>{rows}</ul>"


def facts(record: Record, samples: Samples, catalogue: pd.DataFrame) -> dict[str, Any]:
    """Tell of samples with groups of their own, as plain values: what they hold, how many of each kind, and sums."""
    frame = catalogue[catalogue["set"] == samples.name] if "set" in catalogue else catalogue  # stacks beside them
    kinds = {name: frame[name].value_counts() for name in _KINDS if name in frame}
    elements = [one for one in record.elements if one.kind == "sample"]
    return {
        "holds": own_groups(record),
        "by": {
            column: {str(value): int(count) for value, count in counts.items() if count}
            for column, counts in kinds.items()
        },
        "spots": int(frame["n_spots"].sum()) if "n_spots" in frame else None,
        "genes": next((one.shape[0] for one in record.elements if one.role == "genes"), None),
        "quarantined": sum(one.quarantined > 0 for one in elements) + samples.length - len(elements),
    }
