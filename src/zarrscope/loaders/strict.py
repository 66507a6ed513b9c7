"""AnnData's lazy reader over a store in which a missing object is an error.

zarr reads a missing object as fill value, and AnnData opens arrays late, out of reach of zarr's configuration: so the
store itself refuses, and names the object.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import WrapperStore

from zarrscope.errors import MissingDataError
from zarrscope.storage import Storage

if TYPE_CHECKING:
    from anndata import AnnData


class StrictStore(WrapperStore[Store]):
    """A zarr store, to be read only, that raises where an object other than metadata is missing.

    Parameters
    ----------
    store
        The store to read from.
    where
        Its URL without credentials, for messages.
    """

    def __init__(self, store: Store, where: str = "") -> None:
        super().__init__(store)
        self.where = where

    def _with_store(self, store: Store) -> StrictStore:
        return type(self)(store, self.where)

    def _strict(self, key: str, found: Buffer | None) -> Buffer | None:
        if found is None and not key.endswith("zarr.json") and "/" in key:
            raise MissingDataError(f"{self.where}/{key} is missing.")
        return found

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Read an object or some bytes of it; a missing one is an error."""
        return self._strict(key, await super().get(key, prototype, byte_range))

    def get_sync(
        self, key: str, *, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read as :meth:`get` does, without an event loop."""
        return self._strict(key, super().get_sync(key, prototype=prototype, byte_range=byte_range))

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Read several ranges; a missing object is an error."""
        wanted = list(key_ranges)
        found = await super().get_partial_values(prototype, wanted)
        return [self._strict(key, one) for (key, _), one in zip(wanted, found, strict=True)]

    async def get_ranges(
        self, key: str, byte_ranges: Sequence[ByteRequest | None], **options: Any
    ) -> AsyncIterator[Sequence[tuple[int, Buffer | None]]]:
        """Read several ranges of one object; a missing one is an error."""
        async for group in super().get_ranges(key, byte_ranges, **options):
            yield [(place, self._strict(key, one)) for place, one in group]


def open_lazily(storage: Storage, path: str) -> AnnData:
    """Open an AnnData group lazily: the one place that knows AnnData's experimental reader."""
    import zarr
    from anndata.experimental import read_lazy

    group = zarr.open_group(
        StrictStore(storage.zarr(path), storage.at(path)), mode="r", zarr_format=3, use_consolidated=True
    )
    return read_lazy(group)
