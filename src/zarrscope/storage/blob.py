"""One file or object, read at any place."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from zarrscope.storage.urls import LOCAL_RUN, REMOTE_RUN, check_scheme, filesystem_of, local_path, redact

_OPENING = threading.Lock()


@dataclass(frozen=True)
class Blob:
    """One file or object that can be read at any place, from any thread; pickles to its URL.

    ``run`` is the most bytes that one read should ask for.
    """

    address: str = field(repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False, compare=False)

    def __post_init__(self) -> None:
        check_scheme(self.address)

    def __getstate__(self) -> tuple[str, Mapping[str, Any]]:
        return self.address, self.options

    def __setstate__(self, state: tuple[str, Mapping[str, Any]]) -> None:
        object.__setattr__(self, "address", state[0])
        object.__setattr__(self, "options", state[1])

    @property
    def url(self) -> str:
        """The address without credentials."""
        return redact(self.address)

    @property
    def run(self) -> int:
        """The most bytes that one read should ask for."""
        return LOCAL_RUN if local_path(self.address) else REMOTE_RUN

    @property
    def _descriptor(self) -> int | None:
        held: int | None = self.__dict__.get("descriptor")
        if held is None and (path := local_path(self.address)) is not None:
            with _OPENING:  # two threads that come first must not open it twice
                held = self.__dict__.get("descriptor")
                if held is None:
                    held = self.__dict__["descriptor"] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return held

    @cached_property
    def _remote(self) -> tuple[Any, str]:
        return filesystem_of(self.address, self.options)

    @cached_property
    def _info(self) -> Mapping[str, Any]:
        if self._descriptor is not None:
            status = os.fstat(self._descriptor)
            return {"size": status.st_size, "mtime": status.st_mtime_ns}
        filesystem, path = self._remote
        info: Mapping[str, Any] = filesystem.info(path)
        return info

    @property
    def size(self) -> int:
        """Bytes in all."""
        return int(self._info["size"])

    def token(self) -> str:
        """Tell in a short text whether the file changed since: its size with ETag or time of change."""
        marks = (self._info.get(key) for key in ("ETag", "etag", "mtime", "LastModified", "last_modified", "created"))
        return f"{self.size}:{next((str(mark) for mark in marks if mark is not None), '')}"

    def read(self, offset: int, length: int) -> memoryview:
        """Read ``length`` bytes from ``offset``; fewer only at the end of the file."""
        descriptor = self._descriptor
        if descriptor is None:
            filesystem, path = self._remote
            return memoryview(filesystem.cat_file(path, start=offset, end=min(offset + length, self.size)))
        data = os.pread(descriptor, length, offset)
        if len(data) == length or not data:
            return memoryview(data)
        pieces = [data]  # one pread gives at most 2 GiB, and less when a signal comes
        while (got := sum(map(len, pieces))) < length and (more := os.pread(descriptor, length - got, offset + got)):
            pieces.append(more)
        return memoryview(b"".join(pieces))

    def __del__(self) -> None:
        descriptor = self.__dict__.get("descriptor")
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(descriptor)
