"""Sources: a folder, a tar, a zip, or a tar inside a zip, found out by content; archives are never extracted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from zarrscope.errors import Problem, SourceError, UsageError
from zarrscope.model import Source
from zarrscope.sources.access import BrokenError, Section, attempt
from zarrscope.sources.below import Below
from zarrscope.sources.directory import end_of_zip
from zarrscope.sources.folder import FolderSource
from zarrscope.sources.inflate import Inflated
from zarrscope.sources.sniff import begins_zip, describe, is_tar
from zarrscope.sources.tar import TarSource
from zarrscope.sources.zip import ZipSource
from zarrscope.storage import Blob, Storage, file_name, local_path, redact

__all__ = ["open_source"]

_EXPECTED = "expected a folder, a tar, a zip or a zip that holds one tar"


def open_source(url: str, *, options: Mapping[str, Any] | None = None) -> Source:
    """Open a source; what it is shows in its content, not in its name.

    Parameters
    ----------
    url
        A path or URL of a folder, a tar, a zip, or a zip that holds one tar. Also ``zip://INNER::OUTER`` and
        ``tar://INNER::OUTER``: the archive INNER that lies inside the archive OUTER, or, where INNER is a folder
        there, only what lies below it. Without INNER it says what OUTER has to be.
    options
        For the storage: credentials, endpoints.

    Raises
    ------
    SourceError
        Where there is no such file, or it is none of these.
    UsageError
        Where the scheme or the chain is not one that is opened.
    """
    options = dict(options or {})
    if "::" not in url:
        return _open(url, options)
    head, _, outer = url.partition("::")
    scheme, _, inner = head.partition("://")
    if scheme not in ("zip", "tar") or "::" in outer:
        chain = "::".join(redact(link) for link in url.split("::"))
        raise UsageError(f"{chain}: expected zip://INNER::OUTER or tar://INNER::OUTER, one archive inside another.")
    source = _open(outer, options)
    if scheme not in source.kind.split():
        raise SourceError(f"{source.url}: expected a {scheme}, found a {source.kind}. Name {redact(outer)} alone.")
    return _inside(source, inner.lstrip("/")) if inner.strip("/") else source


def _open(url: str, options: Mapping[str, Any]) -> Source:
    path = local_path(url)
    if path is not None:
        if not attempt(url, path.exists):
            raise SourceError(f"{url}: no such file or folder.")
        if path.is_dir():
            return FolderSource(Storage(url, options))
        if not path.is_file():
            raise SourceError(f"{url}: {_EXPECTED}, found a device, a pipe or a socket.")
    blob = Blob(url, options)
    size = attempt(blob.url, lambda: _size(blob))
    web = url.lower().startswith("http")
    if not size and path is None and not web:
        # Object stores have no folders: a prefix is told by what lies below it.
        storage = Storage(url, options)
        if any(key for key, _ in attempt(storage.url, lambda: list(storage.keys()))):
            return FolderSource(storage)
    if size is None:
        raise SourceError(
            f"{blob.url}: no such file{', or its server does not tell its size' if web else ' or folder'}."
        )
    return _archive(Section(blob, 0, size), file_name(url), blob.url)


def _size(blob: Blob) -> int | None:
    """Ask for the bytes of an object; None where there is no object, or storage does not tell."""
    try:
        return blob.size
    except (FileNotFoundError, IsADirectoryError, TypeError):  # fsspec gives None where it does not know
        return None


def _archive(data: Section | Inflated, name: str, url: str) -> Source:
    """Find out which archive these bytes are."""
    try:
        head = bytes(data.read(0, 512))
    except BrokenError as broken:
        raise SourceError(f"{url}: {_EXPECTED}, found data that break at {broken}.") from None
    if is_tar(head):
        return TarSource(data=data, name=name, url=url, kind="tar in zip" if isinstance(data, Inflated) else "tar")
    if isinstance(data, Inflated):
        raise SourceError(
            f"{url}: expected a tar, for nothing else is read from inside a deflated member; {describe(head)}."
        )
    if not begins_zip(head) and (not data.size or end_of_zip(data) is None):
        raise SourceError(f"{url}: {_EXPECTED}, but {describe(head)}.")
    source = ZipSource(data=data, name=name, url=url)
    return _tar_within(source) or source


def _tar_within(source: ZipSource) -> Source | None:
    """Look whether a zip holds one tar and nothing else of interest."""
    names: list[str] = source.directory.names.tolist()
    files = [row for row, name in enumerate(names) if _of_interest(name)]
    if len(files) != 1:
        return None
    try:
        data = source.content(files[0])
        head = bytes(data.read(0, 512))
    except (ValueError, BrokenError):
        return None  # whatever is wrong with it is said where the zip is read
    if not is_tar(head):
        return None
    url = f"{source.url}!/{names[files[0]]}"
    findings = source.directory.findings
    if len(names) > 1:
        message = f"{len(names) - 1:,} folders and hidden files beside the tar are left aside"
        findings = (*findings, Problem(where=source.url, kind="provenance", message=message))
    return TarSource(data=data, name=source.name, url=url, kind="tar in zip", findings=findings)


def _of_interest(name: str) -> bool:
    """Whether an entry is a file that somebody put there: neither a folder nor what a desktop leaves behind."""
    parts = PurePosixPath(name).parts
    return not name.endswith("/") and "__MACOSX" not in parts and not any(part.startswith(".") for part in parts)


def _inside(source: Source, inner: str) -> Source:
    """Open the archive or the folder ``inner`` of an archive."""
    members = source.index().members
    rows = (members.names == inner).nonzero()[0].tolist()
    if rows and not inner.endswith("/"):
        return _archive(_content(source, rows[0], inner), f"{source.name}!/{inner}", f"{source.url}!/{inner}")
    prefix = inner.rstrip("/") + "/"
    if any(name.startswith(prefix) for name in members.names.tolist()):
        return Below(source, prefix)
    raise SourceError(f"{source.url}: expected a member or a folder {inner!r} inside it, found none of that name.")


def _content(source: Source, row: int, inner: str) -> Section | Inflated:
    reason = "an archive can't be read out of a deflated tar: unpack it"
    try:
        if isinstance(source, ZipSource):
            return source.content(row)
        if isinstance(source, TarSource) and isinstance(source.data, Section):
            members = source.index().members
            if row not in members.refused:
                return source.data.part(int(members.offsets[row]), int(members.sizes[row]))
            reason = members.refused[row]
    except ValueError as error:
        reason = str(error)
    raise SourceError(f"{source.url}!/{inner}: {reason}.")
