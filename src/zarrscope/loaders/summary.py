"""Statistics of an image's pixels from the table beside it: exact sums and histograms, read without any pixel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from zarrscope.errors import StoreError, UsageError
from zarrscope.loaders.contents import Contents, unknown
from zarrscope.loaders.table import INDEX, Table
from zarrscope.model import Statistics
from zarrscope.query import Categories
from zarrscope.record import STATISTICS, Element
from zarrscope.statistics import mean, merge, percentile, std

if TYPE_CHECKING:
    import pandas as pd

ALL = "all"  # the row over all classes
PERCENTILES = (1, 50, 99)
_SUMS = ("count", "min", "max", "sum", "sum_of_squares")


def summary(contents: Contents, image: Element) -> pd.DataFrame:
    """Give count, mean, std, min, max and percentiles: one row a class, sorted, and ``all`` last.

    Raises
    ------
    StoreError
        Where the image has no statistics.
    UsageError
        Where it is an image of a sample, for which none are kept.
    """
    import pandas as pd

    if not image.shape:
        raise UsageError(
            f"{contents.storage.at(image.path)}: histograms are kept of stacks, not of an image of a sample. See the "
            f"columns of store.catalogue, or compute from a coarse level: store[{image.name!r}].image(level=1)."
        )
    beside = contents.beside(image, STATISTICS)
    if beside is None:
        where = f"{image.path}/{STATISTICS}"
        raise unknown("statistics table", where, contents.paths("table"), contents.storage.url)
    by_class = dict(_classes(contents.table(beside.path), contents.storage.at(beside.path)))
    everything = merge(by_class.values())
    by_class.pop(ALL, None) if len(by_class) == 1 else None
    rows = {name: _row(one, image.dtype) for name, one in [*sorted(by_class.items()), (ALL, everything)]}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(image.classes or "class")


def _classes(table: Table, where: str) -> Iterator[tuple[str, Statistics]]:
    columns = table.columns([INDEX, *_SUMS])
    sums = [column for column in columns.values() if not isinstance(column, Categories)]
    data, indices, indptr = (table.array(f"X/{part}").read(()) for part in ("data", "indices", "indptr"))
    bins = table.array("var/bin").read(())
    if (
        len(sums) != len(columns)
        or len(indptr) != len(table) + 1
        or indptr[-1] != len(data)
        or len(indices) != len(data)
    ):
        raise StoreError(f"{where}: expected a histogram of {len(table)} rows, found one that does not fit.")
    for row, (name, count, low, high, total, squares) in enumerate(zip(*(one.tolist() for one in sums), strict=True)):
        here = slice(int(indptr[row]), int(indptr[row + 1]))
        yield (
            str(name),
            Statistics(
                count=int(count),
                minimum=low if count else np.inf,
                maximum=high if count else -np.inf,
                sum=total,
                sum_of_squares=squares,
                bins=tuple(bins[indices[here]].tolist()),
                counts=tuple(data[here].tolist()),
            ),
        )


def _row(statistics: Statistics, dtype: str) -> dict[str, float]:
    shares = percentile(statistics, dtype, PERCENTILES)
    return {
        "count": statistics.count,
        "mean": mean(statistics),
        "std": std(statistics),
        "min": statistics.minimum if statistics.count else np.nan,
        "max": statistics.maximum if statistics.count else np.nan,
        **{f"p{share}": value for share, value in zip(PERCENTILES, shares, strict=True)},
    }
