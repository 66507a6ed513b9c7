"""The xarray engine ``zarrscope``: images of a store as datasets, one at a time or a tree of them, levels and all.

xarray imports every engine's module when it first opens anything, so this one imports nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from xarray.backends import BackendEntrypoint

if TYPE_CHECKING:
    from xarray import Dataset, DataTree

    from zarrscope.loaders.store import Store

IMAGE = "image"
MOST = 64  # images that one tree opens


class ZarrscopeBackend(BackendEntrypoint):
    """Opens images of a zarrscope store: ``xr.open_dataset(url, engine="zarrscope", group="subset/normalised")``.

    With ``chunks={}`` each dask chunk is one shard.
    """

    description = "Images of zarrscope stores (sharded OME-Zarr)"
    open_dataset_parameters: ClassVar[tuple[str, ...]] = (
        "filename_or_obj",
        "drop_variables",
        "group",
        "level",
        "columns",
        "storage_options",
    )
    supports_groups = True

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Claim only what is called ``*.ome.zarr``; of local ones only those whose root holds our record."""
        if not isinstance(filename_or_obj, (str, os.PathLike)):
            return False
        path = os.fspath(filename_or_obj).rstrip("/")
        if not path.endswith(".ome.zarr"):
            return False
        if "://" in path:
            return True
        try:
            with open(os.path.join(path, "zarr.json"), "rb") as root:  # noqa: PTH118, PTH123  # no pathlib for one read
                return b'"zarrscope"' in root.read()
        except OSError:
            return False

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        group: str | None = None,
        level: int = 0,
        columns: Sequence[str] = (),
        storage_options: Mapping[str, Any] | None = None,
    ) -> Dataset:
        """Open one image as the variable ``image``.

        Parameters
        ----------
        group
            The image's path or true name; may be left out where the store has only one.
        level
            Of its pyramid.
        columns
            Columns of its rows, as coordinates along the first axis.
        storage_options
            What fsspec's file system takes.
        """
        store = _open(filename_or_obj, storage_options)
        if group is None:
            if len(store.images) != 1:
                raise ValueError(
                    f"{store.url} has {len(store.images)} images; pass group=, one of {_some(store.images)}."
                )
            group = store.images[0]
        return _dataset(store, group, level, columns, drop_variables)

    def open_groups_as_dict(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        group: str | None = None,
        level: int | None = None,
        columns: Sequence[str] = (),
        storage_options: Mapping[str, Any] | None = None,
    ) -> dict[str, Dataset]:
        """Open every image below a group as a dataset, by its path below that group.

        Parameters
        ----------
        group
            A path, or the true name of a sample such as a slide.
        level
            Of pyramids. By default all: a pyramid is a node with a child a level, ``/image/0`` the finest.
        drop_variables, columns, storage_options
            As for :meth:`open_dataset`.
        """
        from xarray import Dataset

        store = _open(filename_or_obj, storage_options)
        named = store.record.element((group or "").strip("/"))
        prefix = named.path if group and named else (group or "").strip("/")
        found = [path for path in store.images if not prefix or path == prefix or path.startswith(f"{prefix}/")]
        if not found:
            raise KeyError(f"{store.url} has no image at or below {prefix!r}; there are {_some(store.images)}.")
        if len(found) > MOST:
            under = f"{prefix}/" if prefix else ""
            samples = sum(one.kind == "sample" and one.path.startswith(under) for one in store.record.elements)
            raise ValueError(
                f"{store.url} has {len(found):,} images{f' of {samples:,} samples' if samples else ''} below "
                f"{prefix or 'its root'}, and opening each is a request; pass group= of at most {MOST}, such as "
                f"{found[0].rpartition('/')[0] or found[0]!r}."
            )
        opened: dict[str, Dataset] = {"/": Dataset()}
        for path in found:
            node = "/" + path.removeprefix(prefix).strip("/")
            count = len(store[path].levels)
            for number in range(count) if level is None else (level,):
                deeper = f"{node.rstrip('/')}/{number}" if level is None and count > 1 else node
                opened[deeper] = _dataset(store, path, number, columns, drop_variables)
        return opened

    def open_datatree(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        group: str | None = None,
        level: int | None = None,
        columns: Sequence[str] = (),
        storage_options: Mapping[str, Any] | None = None,
    ) -> DataTree:
        """Open every image below a group as a tree of datasets: see :meth:`open_groups_as_dict`."""
        from xarray import DataTree

        opened = self.open_groups_as_dict(
            filename_or_obj,
            drop_variables=drop_variables,
            group=group,
            level=level,
            columns=columns,
            storage_options=storage_options,
        )
        return DataTree.from_dict(opened)


def _open(filename_or_obj: Any, options: Mapping[str, Any] | None) -> Store:
    from zarrscope.loaders.store import open_store

    return open_store(os.fspath(filename_or_obj), options=options)


def _dataset(
    store: Store, path: str, level: int, columns: Sequence[str], drop_variables: str | Iterable[str] | None
) -> Dataset:
    dataset = store.image(path, level=level, chunks=None, columns=columns).to_dataset(name=IMAGE)
    dropped = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
    return dataset.drop_vars(dropped, errors="ignore")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20:,} more" if len(names) > 20 else "")
