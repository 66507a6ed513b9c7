"""Samples as a sequence of numpy dicts: what a data loader takes, map-style and picklable.

A batch is read run by run: the rows it asks for are grouped by shard, neighbours are fetched together, and each image
is read once for the whole batch. Pairs come together: the row of a partner is the sample's own, or stands in a column
of the leading rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from zarrscope.errors import UsageError
from zarrscope.loaders.shards import ShardedArray
from zarrscope.model import Integers
from zarrscope.query import Categories, Values

type Sample = dict[str, Any]

BLOCK = 32  # samples that iterating reads at once


class Samples(Sequence[Sample]):
    """Samples of one set, read when they are asked for.

    ``samples[3]`` is a dict with the pixels of each image, by role, and the value of each column; ``samples[10:20]``
    and ``samples[[4, 1]]`` are samples again. ``__getitems__`` makes torch's DataLoader read a batch at once.

    Parameters
    ----------
    name
        The sample set.
    images
        By role, the array to read from.
    rows
        By role, ``(n,)`` the row of each sample in that array.
    columns
        Values to hand out with the pixels, ``(n,)`` each.
    """

    def __init__(
        self,
        name: str,
        images: Mapping[str, ShardedArray],
        rows: Mapping[str, Integers],
        columns: Mapping[str, Values] | None = None,
    ) -> None:
        self.name, self.images, self.rows, self.columns = name, dict(images), dict(rows), dict(columns or {})
        if clash := set(self.images) & set(self.columns):
            raise UsageError(f"{name}: {min(clash)!r} names both an image and a column; ask for one of them.")
        self._length = len(next(iter(self.rows.values())))

    def __len__(self) -> int:
        return self._length

    def __repr__(self) -> str:
        images = ", ".join(f"{role} {array.shape[1:]} {array.dtype}" for role, array in self.images.items())
        columns = f"; {', '.join(self.columns)}" if self.columns else ""
        return f"<Samples {self.name}: {len(self):,} of {images}{columns}>"

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | npt.NDArray[np.integer[Any]]) -> Samples: ...
    def __getitem__(self, index: int | slice | Sequence[int] | npt.NDArray[np.integer[Any]]) -> Sample | Samples:
        """Read one sample, or select some without reading."""
        if isinstance(index, slice):
            return self._take(np.arange(len(self))[index])
        if np.ndim(index) > 0:
            return self._take(self._places(index))
        return self.__getitems__([int(index)])[0]  # type: ignore[arg-type]  # one dimension was ruled out above

    def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
        """Read many samples in the order given: one dict each."""
        batch = self.batch(indices)
        scalars = {name: batch[name].tolist() for name in self.columns}
        return [
            {role: batch[role][at] for role in self.images} | {name: values[at] for name, values in scalars.items()}
            for at in range(len(indices))
        ]

    def __iter__(self) -> Iterator[Sample]:
        for start in range(0, len(self), BLOCK):
            yield from self.__getitems__(range(start, min(start + BLOCK, len(self))))

    def batch(self, indices: Sequence[int] | npt.NDArray[np.integer[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Read many samples as one array a role, ``(k, y, x)``, and one a column, ``(k,)``, in the order given."""
        places = self._places(indices)
        read = {role: array.read_rows(self.rows[role][places]) for role, array in self.images.items()}
        return read | {name: _values(column, places) for name, column in self.columns.items()}

    def _places(self, indices: Any) -> Integers:
        places = np.asarray(indices)
        if places.dtype.kind == "b" and places.shape == (len(self),):
            return np.flatnonzero(places)
        if places.size and (places.dtype.kind not in "iu" or places.ndim != 1):
            raise TypeError(f"expected row numbers or a mask of {len(self):,}, found {places.dtype} {places.shape}")
        places = places.astype(np.int64)
        whole = np.where(places < 0, places + len(self), places)
        if whole.size and (whole.min() < 0 or whole.max() >= len(self)):
            bad = places[(whole < 0) | (whole >= len(self))][0]
            raise IndexError(f"sample {int(bad)} is out of bounds: {self.name} has {len(self):,}")
        return whole

    def _take(self, places: Integers) -> Samples:
        rows: dict[int, Integers] = {id(held): held[places] for held in self.rows.values()}  # roles may share theirs
        columns: dict[str, Values] = {
            name: Categories(held.codes[places], held.values) if isinstance(held, Categories) else held[places]
            for name, held in self.columns.items()
        }
        return Samples(self.name, self.images, {role: rows[id(held)] for role, held in self.rows.items()}, columns)


def _values(column: Values, places: Integers) -> npt.NDArray[Any]:
    """Give one column's values; a missing text is empty, a missing number NaN."""
    if not isinstance(column, Categories):
        return column[places]
    codes = column.codes[places]
    missing = codes < 0
    if not len(column.values):
        return np.full(len(codes), "", np.dtypes.StringDType())
    values = column.values[np.where(missing, 0, codes)]
    if not missing.any():
        return np.asarray(values)
    return np.asarray(np.where(missing, "", values) if values.dtype.kind == "T" else np.where(missing, np.nan, values))
