"""The gene-major twin of a slide's counts: one gene is one short read of each of its arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from zarrscope.errors import StoreError
from zarrscope.loaders.groups import consolidated, read_document
from zarrscope.loaders.shards import ShardedArray
from zarrscope.loaders.threads import each
from zarrscope.storage import Storage

type Entries = tuple[npt.NDArray[np.integer[Any]], npt.NDArray[Any]]  # rows and values, (k,) each


class GeneMajor:
    """A matrix in CSC form, read by column: one request tells where its arrays are.

    Parameters
    ----------
    storage, path
        The store, and the group in it.
    """

    def __init__(self, storage: Storage, path: str) -> None:
        self._remote, self._where = storage.root is None, storage.at(path)
        document = read_document(storage, path)
        nodes = consolidated(document)
        try:
            rows, columns = document["attributes"]["shape"]
            self.shape = int(rows), int(columns)
            self._arrays = {
                part: ShardedArray(storage, f"{path}/{part}", nodes[part]) for part in ("indptr", "indices", "data")
            }
        except (KeyError, TypeError, ValueError):
            raise StoreError(f"{self._where}: expected a csc_matrix with consolidated metadata.") from None

    def columns(self, numbers: Sequence[int]) -> list[Entries]:
        """Read some columns: the rows that are not zero, and their values.

        Raises
        ------
        StoreError
            Where a column is not there, or its rows are not those of the matrix.
        """
        if not len(numbers):
            return []
        if max(numbers) >= self.shape[1]:
            raise StoreError(f"{self._where}: expected a column {max(numbers):,}, found {self.shape[1]:,} columns.")
        wanted = np.asarray(numbers, np.int64)
        bounds = self._arrays["indptr"].read((np.concatenate([wanted, wanted + 1]),)).astype(np.int64)
        starts, stops = bounds[: len(wanted)], bounds[len(wanted) :]
        spans = list(zip(starts.tolist(), stops.tolist(), strict=True))
        places = slice(*spans[0]) if len(spans) == 1 else np.concatenate([np.arange(*span) for span in spans])
        read: dict[str, npt.NDArray[Any]] = {}

        def fetch(part: str) -> None:
            read[part] = self._arrays[part].read((places,))

        each(fetch, ["indices", "data"], remote=self._remote)
        if len(read["indices"]) and not 0 <= read["indices"].min() <= read["indices"].max() < self.shape[0]:
            raise StoreError(f"{self._where}: its rows are not those of a matrix of {self.shape[0]:,}.")
        cuts = np.cumsum(stops - starts)[:-1]
        return list(zip(np.split(read["indices"], cuts), np.split(read["data"], cuts), strict=True))
