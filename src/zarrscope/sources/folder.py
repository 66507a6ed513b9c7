"""A folder as a source: every file below it is a member, in the order of the names; links are never followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
import xxhash

from zarrscope.errors import DecodeError, Problem, SourceError
from zarrscope.model import Index, Member, Members, strings
from zarrscope.sources.access import Section, attempt, member_error, refusals
from zarrscope.storage import Storage, file_name


@dataclass(slots=True)
class _Listing:
    """What lies below a folder: name, size, time of change (ns) and a reason to refuse, of each file."""

    entries: list[tuple[str, int, int, str]] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class FolderSource:
    """A folder, or everything below a prefix of an object store.

    Entries whose name begins with a dot are left aside and counted. Members have no offset.
    """

    storage: Storage

    @property
    def name(self) -> str:
        """The name of the folder."""
        return file_name(self.storage.address)

    @property
    def url(self) -> str:
        """The address for messages, without credentials."""
        return self.storage.url

    @property
    def kind(self) -> str:
        """Always ``folder``."""
        return "folder"

    @property
    def sequential(self) -> bool:
        """Never: files are read in any order."""
        return False

    def __getstate__(self) -> Storage:
        return self.storage

    def __setstate__(self, storage: Storage) -> None:
        object.__setattr__(self, "storage", storage)

    @cached_property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(size for _, size, _, _ in self._list().entries)

    def token(self) -> str:
        """Tell in a short text whether a file changed since: a hash over name, size and time of change of each.

        An object store lists no times with the sizes, so that there the hash is over names and sizes.
        """
        digest = xxhash.xxh3_64()
        entries = self._list().entries
        for entry in entries:
            digest.update(repr(entry).encode())
        return f"{sum(entry[1] for entry in entries)}:{digest.hexdigest()}"

    def index(self, *, salvage: bool = False) -> Index:
        """List the files.

        Raises
        ------
        SourceError
            Where a folder may not be read; with ``salvage`` it is left out.
        """
        listing = self._list()
        if listing.closed and not salvage:
            raise SourceError(f"{self.url}: the folder {listing.closed[0]!r} may not be read. Check its permissions.")
        findings = [
            Problem(where=self.url, kind="archive", message=f"the folder {name!r} may not be read and is left out")
            for name in listing.closed
        ]
        if listing.hidden:
            message = f"{len(listing.hidden):,} hidden entries are left aside: {', '.join(listing.hidden[:4])}"
            findings.append(Problem(where=self.url, kind="provenance", message=message))
        members = Members(
            names=strings([entry[0] for entry in listing.entries]),
            sizes=np.array([entry[1] for entry in listing.entries], np.int64),
            offsets=np.full(len(listing.entries), -1, np.int64),
            refused={row: entry[3] for row, entry in enumerate(listing.entries) if entry[3]},
        )
        return Index(members=members, findings=tuple(findings), salvaged=bool(listing.closed))

    def read(self, members: Members) -> Iterator[memoryview | DecodeError]:
        """Give the content of each member in the order asked for; each is one read."""
        reasons = refusals(members)
        for row in range(len(members)):
            try:
                content = self._content(str(members.names[row]), int(members.sizes[row]), reasons.get(row, ""))
            except ValueError as error:
                yield member_error(self.url, members, row, error.args[0])
            else:
                yield memoryview(content)

    def open(self, member: Member) -> Section:
        """Give the content of one file, to be read piece by piece.

        Raises
        ------
        DecodeError
            Where it is no file below this folder, or changed since it was listed.
        """
        if not _below(member.name):
            raise DecodeError(f"{self.url}!/{member.name}: no name of a file below this folder.")
        blob = self.storage.blob(member.name)
        try:
            size = attempt(blob.url, lambda: blob.size)
        except SourceError as error:
            raise DecodeError(f"{self.url}!/{member.name}: {str(error).removeprefix(f'{blob.url}: ')}") from None
        if size != member.size:
            raise DecodeError(
                f"{self.url}!/{member.name}: it had {member.size:,} bytes when it was listed, and has {size:,} now."
            )
        return Section(blob, 0, size)

    def _content(self, name: str, size: int, reason: str) -> bytes:
        """Read a file, or raise ValueError with the reason why not."""
        if reason or not _below(name):
            raise ValueError(reason or "no name of a file below this folder")
        # One byte more than the size, so that a file which grew is noticed.
        content = self._remote(name) if self.storage.root is None else _local(self.storage.root / name, size + 1)
        if len(content) != size:
            raise ValueError(f"it had {size:,} bytes when it was listed, and has fewer or more now")
        return content

    def _remote(self, name: str) -> bytes:
        try:
            return attempt(self.storage.at(name), lambda: self.storage.get(name))
        except SourceError as error:  # gone, or not ours to read: this member's matter, not that of the source
            raise ValueError(str(error).removeprefix(f"{self.storage.at(name)}: ").rstrip(".")) from None

    def _list(self) -> _Listing:
        listing = _Listing()
        if self.storage.root is not None:
            _list_folder(self.storage.root, "", listing)
        else:
            for name, size in attempt(self.url, lambda: list(self.storage.keys())):
                hidden = next((part for part in PurePosixPath(name).parts if part.startswith(".")), None)
                if hidden is None:
                    listing.entries.append((name, size, 0, ""))
                elif hidden not in listing.hidden:
                    listing.hidden.append(hidden)
        listing.entries.sort()
        return listing


def _list_folder(root: Path, prefix: str, listing: _Listing) -> None:
    """Walk a local folder, without following links."""
    folders = [prefix]
    while folders:
        prefix = folders.pop()
        try:
            with os.scandir(root / prefix) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except FileNotFoundError:
            if not prefix:
                raise SourceError(f"{root}: no such folder.") from None
            continue
        except PermissionError:
            listing.closed.append(prefix.rstrip("/") or ".")
            continue
        for entry in found:
            name = prefix + entry.name
            if entry.name.startswith("."):
                listing.hidden.append(name)
            elif entry.is_dir(follow_symlinks=False):
                folders.append(f"{name}/")
            else:
                status = entry.stat(follow_symlinks=False)
                listing.entries.append((_shown(name), *_taken(status), _refusal(name, status)))


def _shown(name: str) -> str:
    """Give a name as text: bytes that are not UTF-8 become backslash escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _taken(status: os.stat_result) -> tuple[int, int]:
    """Give size and time of change; what is no file has the size 0."""
    return (status.st_size if stat.S_ISREG(status.st_mode) else 0), status.st_mtime_ns


def _refusal(name: str, status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return "a link, and links are not followed"
    if not stat.S_ISREG(status.st_mode):
        return "neither a file nor a folder"
    return "" if _shown(name) == name else "its name is not UTF-8: rename it"


def _below(name: str) -> bool:
    """Whether a name stays below the folder: the members asked for may come from a file that somebody edited."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _local(path: Path, length: int) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            content = file.read(length) or b""
            while 0 < len(content) < length and (more := file.read(length - len(content))):
                content += more
            return content
    except FileNotFoundError:
        raise ValueError("it is gone since it was listed") from None
    except OSError as error:
        raise ValueError(f"it can't be read ({error.strerror})") from None
