"""Which images line up: siblings are joined by order and checked by the columns that must agree row by row.

A pair that does not line up is not declared, and the record says where the first difference is: a wrong partner is
worse than none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from zarrscope.loaders.table import Table
from zarrscope.query import Categories, Values
from zarrscope.record import Finding, Linked, Record, Samples
from zarrscope.storage import Storage


def pair(storage: Storage, record: Record) -> tuple[tuple[Samples, ...], tuple[Finding, ...]]:
    """Give the sample sets whose images line up with the first, and a finding for each that does not."""
    compared = {linked.path for group in record.samples for linked in group.images}
    findings = [one for one in record.findings if one.kind != "pairing" or one.where not in compared]
    sets: list[Samples] = []
    for group in record.samples:
        if not group.images:  # its samples have groups of their own
            sets.append(group)
            continue
        kept: list[Linked] = [group.images[0]]
        for other in group.images[1:]:
            reason = None if other.column is not None else _difference(storage, group, other)
            if reason is None:
                kept.append(other)
            else:
                message = f"not joined with {kept[0].path}: {reason}. The samples of each are served alone."
                findings.append(Finding(where=other.path, kind="pairing", message=message))
        sets.append(replace(group, images=tuple(kept)))
    return tuple(sets), tuple(findings)


def _difference(storage: Storage, group: Samples, other: Linked) -> str | None:
    """Tell how the rows of another image differ from those of the leading one; None where they agree."""
    one, two = Table(storage, group.rows), Table(storage, f"{other.path}/rows")
    if len(one) != len(two):
        return f"{len(two)} rows here, {len(one)} there"
    shared = [name for name in group.check if one.has(name) and two.has(name)]
    there, here = one.columns(["ok", *shared]), two.columns(["ok", *shared])
    both = np.asarray(there["ok"]) & np.asarray(here["ok"])
    for name in shared:
        values = _plain(there[name]), _plain(here[name])
        differ = np.flatnonzero((values[0] != values[1]) & both)
        if len(differ):
            row = int(differ[0])
            found = f"{values[1][row]!r} here, {values[0][row]!r} there"
            return f"{len(differ)} rows differ in {name}, first row {row} ({found})"
    return None


def _plain(values: Values) -> npt.NDArray[Any]:
    if not isinstance(values, Categories):
        return np.asarray(values)
    texts = np.array([*values.values, None], dtype=object)
    return np.asarray(texts[values.codes])
