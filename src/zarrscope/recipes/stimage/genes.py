"""One index of all genes of a store: in which lists of symbols, and in which columns of these, each symbol stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from zarrscope.loaders.table import Table
from zarrscope.model import strings
from zarrscope.recipe import Collected
from zarrscope.storage import Storage
from zarrscope.writers.table import TableContent


def gene_index(collected: Collected) -> TableContent:
    """Build the table ``genes`` from the slides' symbols: slides with the same list share a panel, read once."""
    storage = Storage(collected.url, collected.options)
    slides: dict[str, list[str]] = {}
    for row in collected.rows.values():
        if row.get("panel") is not None:
            slides.setdefault(str(row["panel"]), []).append(str(row["path"]))
    keys = sorted(slides)
    symbols = {key: Table(storage, f"{slides[key][0]}/counts").array("var/symbol").read(()) for key in keys}
    return _content(keys, symbols, {key: len(held) for key, held in slides.items()})


def _content(keys: list[str], symbols: Mapping[str, Any], slides: Mapping[str, int]) -> TableContent:
    names: dict[str, int] = {}
    found = [np.array([names.setdefault(one, len(names)) for one in symbols[key].tolist()], np.int64) for key in keys]
    ordered = sorted(names)
    place = np.empty(len(names), np.int64)
    place[[names[name] for name in ordered]] = np.arange(len(names))
    gene = np.concatenate([place[one] for one in found] or [np.zeros(0, np.int64)])
    panel = np.repeat(np.arange(len(keys), dtype=np.int32), [len(one) for one in found])
    column = np.concatenate([np.arange(len(one), dtype=np.int32) for one in found] or [np.zeros(0, np.int32)])
    order = np.argsort(gene, kind="stable")  # within a gene the panels stay in order, and so do columns
    counts = np.bincount(gene, minlength=len(names))
    weights = np.array([slides[key] for key in keys], np.int64)
    pairs = np.unique(gene * max(1, len(keys)) + panel)
    in_slides = np.bincount(pairs // max(1, len(keys)), weights[pairs % max(1, len(keys))], minlength=len(names))
    return TableContent(
        index=strings(ordered),
        obs={
            "start": np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)[: len(names)],
            "n_columns": counts.astype(np.int32),
            "n_slides": in_slides.astype(np.int32),
        },
        uns={"panel": panel[order], "column": column[order], "panels": strings(keys)},
    )
