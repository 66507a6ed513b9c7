"""The walk over a tar's headers: every checksum, every bound and the end blocks are checked, and no byte is skipped.

Python's ``tarfile`` ends in silence at a corrupt header, at a cut between members and at a hole of zeros. Here the
walk either arrives at two blocks of zeros with only zeros behind them, or says at which byte it broke.
It reads forwards only, so that it serves a file and an inflating stream alike, and keeps columns, no objects.
"""

from __future__ import annotations

from array import array

import numpy as np

from zarrscope.errors import Problem, SourceError
from zarrscope.model import STRING, Index, Members, Strings, strings
from zarrscope.sources import headers
from zarrscope.sources.access import Ahead, BrokenError, Data, Section
from zarrscope.sources.headers import BLOCK, ZEROS

_BATCH = 8192  # names kept as objects until they become a piece of the column


def walk(data: Data, url: str, *, salvage: bool) -> Index:
    """Find the members of a tar in one pass.

    Raises
    ------
    SourceError
        Where the structure is broken, naming the byte; with ``salvage`` what stands before it is taken.
    """
    walker = _Walk(data)
    try:
        walker.run()
        data.finish()
    except BrokenError as broken:
        kept = walker.members(broken.offset)
        if not salvage:
            raise SourceError(
                f"{url}: broken at byte {broken.offset:,}: {broken.found}. "
                f"Fetch it again, or salvage the {len(kept):,} members before that."
            ) from None
        message = f"broken at byte {broken.offset:,}: {broken.found}; the {len(kept):,} members before that are taken"
        if not isinstance(data, Section):
            message += "; its CRC-32 covers the tar as a whole, so that any of them may be damaged too"
        return Index(members=kept, findings=(Problem(where=url, kind="archive", message=message),), salvaged=True)
    return Index(members=walker.members(data.size))


class _Walk:
    """One pass: where it stands, what extended headers said, and the columns so far."""

    def __init__(self, data: Data) -> None:
        self._data = data
        self._ahead = Ahead(data) if isinstance(data, Section) else None
        self._next: dict[str, bytes] = {}  # extends the next header only
        self._shared: dict[str, bytes] = {}  # extends all that follow
        self._names: list[str] = []
        self._pieces: list[Strings] = []
        self._sizes = array("q")
        self._offsets = array("q")
        self._refused: dict[int, str] = {}
        self._alike = headers.Alike()

    def run(self) -> None:
        """Walk from the first header to the end of the data."""
        offset = 0
        while True:
            header = self._read(offset, BLOCK)
            known = self._alike.parse(header)
            if known is not None and not self._next and not self._shared:
                offset = self._append(*known, offset)
                continue
            self._check(header, offset)
            if header == ZEROS:
                break
            step = self._extend if header[156] in headers.EXTENSIONS else self._take
            offset = step(header, offset)
        if self._next:
            raise BrokenError(offset, "an extended header that no member follows")
        self._check_end(offset)

    def members(self, limit: int) -> Members:
        """Give the columns of all members whose content ends at ``limit`` or before."""
        self._flush()
        sizes, offsets = (np.frombuffer(column, np.int64) for column in (self._sizes, self._offsets))
        members = Members(
            names=np.concatenate([np.zeros(0, STRING), *self._pieces]),
            sizes=sizes,
            offsets=offsets,
            refused=self._refused,
        )
        whole = offsets + sizes <= limit
        return members if whole.all() else members.take(np.flatnonzero(whole))

    def _read(self, offset: int, length: int) -> bytes:
        if self._ahead is not None:
            return self._ahead.read(offset, length)
        return bytes(self._data.read(offset, length))

    def _check(self, header: bytes, offset: int) -> None:
        if len(header) < BLOCK:
            if header:
                raise BrokenError(offset, f"the data end inside a header, after {len(header)} of 512 bytes")
            raise BrokenError(self._data.size, "the data end where a header or two blocks of zeros have to follow")
        if not headers.checksum_holds(header) and header != ZEROS:
            raise BrokenError(offset, f"expected a tar header, found {header[:24]!r}, whose checksum does not hold")

    def _size(self, header: bytes, offset: int) -> int:
        try:
            size = headers.number(header[124:136])
        except ValueError as error:
            raise BrokenError(offset, f"a header without a size: {error}") from None
        if size < 0:
            raise BrokenError(offset, f"a header that declares a negative size, {size:,}")
        return size

    def _extend(self, header: bytes, offset: int) -> int:
        """Take an extended header, which names or sizes what follows; give the offset behind it."""
        size, content = self._size(header, offset), offset + BLOCK
        if size > headers.LONGEST:
            raise BrokenError(offset, f"an extended header of {size:,} bytes; the most is {headers.LONGEST:,}")
        body = self._read(content, size)
        if len(body) < size:
            raise BrokenError(offset, f"the data end inside an extended header, after {len(body):,} of {size:,} bytes")
        match header[156]:
            case headers.LONG_NAME:
                self._next.setdefault("path", body.rstrip(b"\0"))
            case headers.LONG_LINK:
                self._next.setdefault("linkpath", body.rstrip(b"\0"))
            case kind:
                try:
                    records = headers.pax_records(body)
                except ValueError as error:
                    raise BrokenError(offset, str(error)) from None
                (self._shared if kind == headers.SHARED else self._next).update(records)
        return content + _padded(size)

    def _take(self, header: bytes, offset: int) -> int:
        """Take a member; give the offset behind its content."""
        kind, raw, size, reason = header[156], headers.raw_name(header), self._size(header, offset), ""
        if self._next or self._shared:
            raw, size, reason = self._extended(raw, size, offset)
        content = offset + BLOCK
        if kind == headers.FOLDER or (kind == 0 and raw.endswith(b"/")):  # v7 had no type for folders
            raw, size = raw.rstrip(b"/") + b"/", 0
        elif kind in headers.EMPTY:
            size, reason = 0, headers.EMPTY[kind]
        elif kind == headers.SPARSE:
            content, reason = self._behind_map(header, content), "a sparse file"
        elif kind not in headers.REGULAR:
            reason = f"of a type that is not known, {chr(kind)!r}"
        elif not self._shared:
            self._alike.remember(header)
        behind = self._append(raw, size, offset, content)
        if reason or not raw:
            self._refused[len(self._sizes) - 1] = reason or "it has no name"
        return behind

    def _append(self, raw: bytes, size: int, offset: int, content: int = 0) -> int:
        """Put a member at the end of the columns; give the offset behind its content."""
        content = content or offset + BLOCK
        if content + size > self._data.size:
            raise BrokenError(
                offset,
                f"{headers.text(raw)!r} declares {size:,} bytes from byte {content:,}, but the data end at byte "
                f"{self._data.size:,}: it is cut inside this member, or the header is wrong",
            )
        self._names.append(headers.text(raw))
        self._sizes.append(size)
        self._offsets.append(content)
        if len(self._names) == _BATCH:
            self._flush()
        return content + _padded(size)

    def _extended(self, raw: bytes, size: int, offset: int) -> tuple[bytes, int, str]:
        """Apply what extended headers say to a name and a size; give a reason where that can't be taken."""
        records = {**self._shared, **self._next}
        self._next = {}
        reason = ""
        if any(key.startswith("GNU.sparse.") for key in records):
            reason = "a sparse file"
        raw = records.get("GNU.sparse.name") or records.get("path") or raw
        if b"\0" in raw:
            raw, reason = raw.replace(b"\0", b"\\x00"), "its name holds a NUL"
        declared = records.get("size", b"")
        if declared:
            if not declared.isdigit() or len(declared) > 20:
                raise BrokenError(offset, f"an extended header declares the size {declared[:24]!r}")
            size = int(declared)
        return raw, size, reason

    def _behind_map(self, header: bytes, content: int) -> int:
        """Step over the further blocks of the map that an old GNU sparse header has."""
        more = header[482]
        while more:
            block = self._read(content, BLOCK)
            if len(block) < BLOCK:
                raise BrokenError(content, "the data end inside the map of a sparse file")
            more, content = block[504], content + BLOCK
        return content

    def _check_end(self, offset: int) -> None:
        """See that two blocks of zeros stand at ``offset``, and only zeros from there to the end."""
        at = offset + BLOCK
        while chunk := bytes(self._data.read(at, min(self._data.run, 4 << 20))):
            rest = chunk.lstrip(b"\0")
            if rest:
                self._explain_end(offset, at + len(chunk) - len(rest))
            at += len(chunk)
        if at < offset + 2 * BLOCK:
            raise BrokenError(offset, f"one block of zeros and {at - offset - BLOCK} bytes, where two blocks end a tar")

    def _explain_end(self, offset: int, byte: int) -> None:
        """Say what stands behind zeros that should have been the end."""
        begin = byte - (byte - offset) % BLOCK
        block = bytes(self._data.read(begin, BLOCK))
        if begin < offset + 2 * BLOCK:
            raise BrokenError(offset, f"a hole: one block of zeros, and data again at byte {byte:,}")
        if len(block) == BLOCK and headers.checksum_holds(block):
            raise BrokenError(
                offset,
                f"zeros end the archive here, and a second archive begins at byte {begin:,}: "
                "two were joined, or the members between were lost to a hole",
            )
        raise BrokenError(offset, f"zeros end the archive here, but other bytes follow at byte {byte:,}")

    def _flush(self) -> None:
        if self._names:
            self._pieces.append(strings(self._names))
            self._names = []


def _padded(size: int) -> int:
    return (size + BLOCK - 1) // BLOCK * BLOCK
