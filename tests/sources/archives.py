"""Small sources for tests: members whose bytes tell their own number, as a folder, a tar, a zip or a tar in a zip."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from pathlib import Path

import fsspec

from zarrscope.model import Index, Source
from zarrscope.sources import open_source
from zarrscope.storage import Blob


def content(number: int, size: int) -> bytes:
    """Bytes that differ from those of any other member at once."""
    return (f"{number:04d}|".encode() * (size // 5 + 1))[:size]


# In the order of the names, as a folder gives them; one is larger than a block, one empty, one in a folder.
SIZES = {"a-0-0": 1000, "b": 0, "c.tif": 513, "deep/down/d β": 70_000, "e": 1, "f-large": 3_000_000, "g": 512}
MEMBERS = {name: content(number, size) for number, (name, size) in enumerate(SIZES.items())}


def tar(members=MEMBERS, flavour=tarfile.PAX_FORMAT, folders=()) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=flavour) as archive:
        for name in folders:
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE
            archive.addfile(info)
        for name, data in dict(members).items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def header(name: bytes = b"x", size: bytes = b"%011o\0" % 0, kind: bytes = b"0", **fields: bytes) -> bytes:
    """One ustar header with fields as raw as a test wants them, and a checksum that holds."""
    block = bytearray(512)
    places = {"mode": 100, "link": 157, "magic": 257, "prefix": 345, "extended": 482}
    block[:100] = name.ljust(100, b"\0")[:100]
    block[124:136] = size.ljust(12, b"\0")
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    for field, value in fields.items():
        block[places[field] : places[field] + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def entry(name: bytes = b"x", data: bytes = b"", kind: bytes = b"0", **fields: bytes) -> bytes:
    """Give a header with its content, padded to whole blocks."""
    return header(name, b"%011o\0" % len(data), kind, **fields) + data + bytes(-len(data) % 512)


def pax(**records: str | bytes) -> bytes:
    """Give the body of an extended header; an underscore stands for a dot in a key."""
    body = b""
    for key, value in records.items():
        raw = (
            b" " + key.replace("_", ".").encode() + b"=" + (value.encode() if isinstance(value, str) else value) + b"\n"
        )
        length = len(raw) + 1
        while len(str(length)) + len(raw) != length:
            length += 1
        body += str(length).encode() + raw
    return body


END = bytes(1024)


def zipped(members=MEMBERS, method=zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in dict(members).items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            archive.writestr(info, data)
    return file.getvalue()


def patched(data: bytes, name: str, *, central: dict[int, bytes] | None = None, local: dict[int, bytes] | None = None):
    """Change fields of one entry: of its central header, and of its local header, by their place there."""
    changed = bytearray(data)
    at = changed.rindex(name.encode()) - 46
    assert changed[at : at + 4] == b"PK\1\2"
    (begin,) = struct.unpack_from("<I", changed, at + 42)
    for start, fields in ((at, central or {}), (begin, local or {})):
        for place, value in fields.items():
            changed[start + place : start + place + len(value)] = value
    return bytes(changed)


BUILD = {
    "tar": tar,
    "tar gnu": lambda: tar(flavour=tarfile.GNU_FORMAT),
    "zip stored": lambda: zipped(method=zipfile.ZIP_STORED),
    "zip deflated": zipped,
    "tar in stored zip": lambda: zipped({"all.tar": tar()}, zipfile.ZIP_STORED),
    "tar in deflated zip": lambda: zipped({"inner/": b"", "inner/all.tar": tar()}),
}
KINDS = ("folder", *BUILD)


def place(kind: str, root: str) -> str:
    """Put a source of a kind below a path or URL and give its address."""
    filesystem, path = fsspec.core.url_to_fs(root)
    filesystem.makedirs(path, exist_ok=True)
    if kind == "folder":
        for name, data in MEMBERS.items():
            filesystem.makedirs(str(Path(f"{path}/crops/{name}").parent), exist_ok=True)
            filesystem.pipe_file(f"{path}/crops/{name}", data)
        return f"{root}/crops"
    filesystem.pipe_file(f"{path}/crops", BUILD[kind]())
    return f"{root}/crops"


def opened(folder: Path, data: bytes, way: str = "file") -> Source:
    """Open bytes as a file, or the tar that they are through a deflated zip."""
    path = folder / "crops"
    path.write_bytes(data if way == "file" else zipped({"all.tar": data}))
    return open_source(str(path))


def contents(source: Source, index: Index | None = None) -> dict[str, object]:
    """Read everything: by name the bytes, or the text of the error."""
    members = (index or source.index()).members
    read = [bytes(got) if isinstance(got, memoryview) else str(got) for got in source.read(members)]
    return dict(zip(members.names.tolist(), read, strict=True))


class Counted:
    """Counts the reads of files while a test runs."""

    def __init__(self, monkeypatch) -> None:
        self.calls: list[tuple[int, int]] = []
        read = Blob.read

        def counting(blob, offset, length):
            self.calls.append((offset, length))
            return read(blob, offset, length)

        monkeypatch.setattr(Blob, "read", counting)
