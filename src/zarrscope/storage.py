"""One door to every URL: whole-object reads, range reads, and writes that are whole or absent.

Local paths go through ``os`` (positional reads, a temporary file, ``fsync``, ``os.replace``, ``fsync`` of the folder);
everything else through fsspec. Only schemes that a user types are let in, and no URL that leaves this module, in a
message or a record, carries user info, a query or a fragment.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import uuid
from collections.abc import Buffer, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from zarrscope.errors import UsageError

if TYPE_CHECKING:
    from zarr.abc.store import Store

SCHEMES = frozenset({"file", "s3", "gs", "gcs", "az", "abfs", "http", "https", "hf", "memory"})
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
LOCAL_RUN = 1 << 20  # bytes of one local read: enough to amortise the call, little enough to stay in cache
REMOTE_RUN = 64 << 20
_OPENING = threading.Lock()


def redact(url: str) -> str:
    """Strip user info, query and fragment: what may be logged, recorded and shown.

    >>> redact("https://me:secret@host.org/a.tar?X-Sig=1#f")
    'https://host.org/a.tar'
    >>> redact("data/a.tar"), redact("zip://a.tar::s3://key:secret@bucket/a.zip")
    ('data/a.tar', 'zip://a.tar::s3://bucket/a.zip')
    """
    if "::" in url:
        return "::".join(map(redact, url.split("::")))
    if not _SCHEME.match(url):
        return url
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def file_name(url: str) -> str:
    """Give the last part of a path or URL.

    >>> file_name("s3://bucket/crops.tar"), file_name("biosr_dataset/")
    ('crops.tar', 'biosr_dataset')
    """
    local = local_path(url)
    if local is not None:
        return local.resolve().name
    return PurePosixPath(redact(url).rstrip("/")).name


def local_path(url: str) -> Path | None:
    """Give the path of a local URL, and None for any other."""
    scheme = _SCHEME.match(url)
    if scheme is None:
        return Path(url).expanduser()
    if scheme[1].lower() == "file":
        return Path(urlsplit(url).path)
    return None


def _check_scheme(url: str) -> None:
    scheme = _SCHEME.match(url)
    if "::" in url or (scheme and scheme[1].lower() not in SCHEMES):
        raise UsageError(f"{redact(url)}: expected a path or a URL of {', '.join(sorted(SCHEMES))}.")


def _filesystem(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    import fsspec

    try:
        filesystem, path = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        raise UsageError(f"{redact(url)}: {error}") from None
    return filesystem, str(path)


@dataclass(frozen=True)
class Blob:
    """One file or object that can be read at any place, from any thread; pickles to its URL.

    ``run`` is the most bytes that one read should ask for.
    """

    address: str = field(repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False, compare=False)

    def __post_init__(self) -> None:
        _check_scheme(self.address)

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
        return _filesystem(self.address, self.options)

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
        if self._descriptor is None:
            filesystem, path = self._remote
            return memoryview(filesystem.cat_file(path, start=offset, end=min(offset + length, self.size)))
        data = os.pread(self._descriptor, length, offset)
        if len(data) == length or not data:
            return memoryview(data)
        pieces = [data]  # one pread gives at most 2 GiB, and less when a signal comes
        while (got := sum(map(len, pieces))) < length and (more := os.pread(self._descriptor, length - got, offset + got)):
            pieces.append(more)
        return memoryview(b"".join(pieces))

    def __del__(self) -> None:
        descriptor = self.__dict__.get("descriptor")
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(descriptor)


@dataclass(frozen=True)
class Storage:
    """A tree of objects under one URL: a store, or a folder that is a source. Pickles to its URL."""

    address: str = field(repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False, compare=False)

    def __post_init__(self) -> None:
        _check_scheme(self.address)

    def __getstate__(self) -> tuple[str, Mapping[str, Any]]:
        return self.address, self.options

    def __setstate__(self, state: tuple[str, Mapping[str, Any]]) -> None:
        object.__setattr__(self, "address", state[0])
        object.__setattr__(self, "options", state[1])

    @property
    def url(self) -> str:
        """The address without credentials."""
        return redact(self.address)

    @cached_property
    def root(self) -> Path | None:
        """The folder, if it is local."""
        return local_path(self.address)

    @cached_property
    def _remote(self) -> tuple[Any, str]:
        filesystem, path = _filesystem(self.address, self.options)
        return filesystem, path.rstrip("/")

    def at(self, key: str) -> str:
        """Give the address of an object for messages."""
        return f"{self.url.rstrip('/')}/{key}" if key else self.url

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Read an object, or its bytes from ``start`` to ``stop``; a negative ``start`` counts from the end.

        Raises
        ------
        FileNotFoundError
            Where there is no such object.
        """
        if self.root is None:
            filesystem, root = self._remote
            whole = start == 0 and stop is None
            data: bytes = filesystem.cat_file(f"{root}/{key}", **({} if whole else {"start": start, "end": stop}))
            return data
        with (self.root / key).open("rb", buffering=0) as file:
            if start < 0:
                start = max(0, os.fstat(file.fileno()).st_size + start)
            file.seek(start)
            return file.read(-1 if stop is None else stop - start)

    def put(self, key: str, data: Buffer) -> None:
        """Write an object whole or not at all; on return it survives a crash of the machine."""
        if self.root is None:
            filesystem, root = self._remote
            filesystem.pipe_file(f"{root}/{key}", bytes(data))
            return
        target = self.root / key
        partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
        self._make_folder(target.parent)
        try:
            _write_file(partial, data)
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)

    def _make_folder(self, folder: Path) -> None:
        missing = []
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for new in reversed(missing):
            new.mkdir(exist_ok=True)
            _sync_folder(new.parent)

    def size(self, key: str) -> int | None:
        """Give the bytes of an object, None where there is none."""
        try:
            if self.root is not None:
                status = (self.root / key).stat()
                return status.st_size
            filesystem, root = self._remote
            return int(filesystem.info(f"{root}/{key}")["size"])
        except FileNotFoundError:
            return None

    def keys(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """List the objects below a prefix with their sizes, in the order of their names; links are not followed."""
        if self.root is None:
            filesystem, root = self._remote
            try:
                found = filesystem.find(f"{root}/{prefix}".rstrip("/"), detail=True)
            except FileNotFoundError:
                return
            for path in sorted(found):
                yield path[len(root) + 1 :], int(found[path]["size"])
            return
        folders = [self.root / prefix]
        while folders:
            folder = folders.pop()
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except (FileNotFoundError, NotADirectoryError):
                continue
            folders.extend(Path(entry.path) for entry in reversed(entries) if entry.is_dir(follow_symlinks=False))
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    yield Path(entry.path).relative_to(self.root).as_posix(), entry.stat().st_size

    def delete(self, key: str) -> None:
        """Delete an object, or everything below a prefix; nothing there is fine."""
        if self.root is None:
            filesystem, root = self._remote
            with contextlib.suppress(FileNotFoundError):
                filesystem.rm(f"{root}/{key}".rstrip("/"), recursive=True)
            return
        import shutil

        path = self.root / key if key else self.root
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def zarr(self, path: str = "", *, read_only: bool = True) -> Store:
        """Give a zarr store over the group at ``path``."""
        if self.root is not None:
            from zarr.storage import LocalStore

            return LocalStore(self.root / path, read_only=read_only)
        from zarr.storage import FsspecStore

        address = f"{self.address.rstrip('/')}/{path}".rstrip("/")
        return FsspecStore.from_url(address, storage_options=dict(self.options), read_only=read_only)


def _write_file(path: Path, data: Buffer) -> None:
    view = memoryview(data).cast("B")
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        # Reserving first made a synced write of 18 MB five times as fast on ext4, and a full disk is noticed here.
        if len(view) and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, len(view))
        written = 0
        while written < len(view):
            written += os.write(descriptor, view[written:])
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
