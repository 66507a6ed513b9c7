"""Members and archives that are not what they say, and stores seen byte by byte: what the end-to-end tests share."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import tifffile

HTML = b"<!DOCTYPE html><html><body>503 Service Unavailable</body></html>"


class Command:
    """Pickles to a call of ``os.system``."""

    def __reduce__(self):
        return os.system, ("touch this-was-run",)


def npz(image, metadata=None, **further) -> bytes:
    """Save an npz as the STED-FM writer does; an image of None is left out."""
    held = {} if image is None else {"image": image}
    file = io.BytesIO()
    np.savez(file, **held, metadata=np.array(metadata or {}, dtype=object), **further)
    return file.getvalue()


def tiff(image, **options) -> bytes:
    """Write a TIFF as tifffile does by default."""
    file = io.BytesIO()
    tifffile.imwrite(file, image, **options)
    return file.getvalue()


def flipped(data: bytes, place: int | None = None) -> bytes:
    """Flip one bit, by default in the middle."""
    changed = bytearray(data)
    changed[len(data) // 2 if place is None else place] ^= 1
    return bytes(changed)


def bad_npz(side: int) -> dict[str, tuple[bytes, str]]:
    """Give members that are no crop of ``side`` pixels of type uint16, each with a part of the reason to expect."""
    good = np.arange(side * side, dtype=np.uint16).reshape(side, side)
    return {
        "a key of another name": (npz(None, img=good), "expected a key 'image', found 'metadata', 'img'"),
        "a pickle that runs a command": (npz(good, {"a": Command()}), "refused to unpickle posix.system"),
        "another shape": (npz(good[:, :-1]), f"shape ({side}, {side}), found uint16 ({side}, {side - 1})"),
        "another type": (npz(good.astype(np.float32)), "expected uint16 pixels"),
        "objects for pixels": (npz(np.array([[None]], object)), "expected an array under 'image', found objects"),
        "no dict": (npz(good, [1, 2]), "expected a dict under 'metadata', found list"),
        "cut": (npz(good)[:-30], "it is cut"),
        "cut in the pixels": (npz(good)[:700], "it is cut"),
        "one bit flipped": (flipped(npz(good), 900), "CRC-32"),
        "a web page": (HTML, "<!DOCTYPE html>"),
        "empty": (b"", "found bytes that start with b''"),
        "zeros": (bytes(3000), "expected an npz file"),
        "a TIFF cut in two": (tiff(good)[:600], "expected"),
    }


def bad_tiff(shape: tuple[int, ...], dtype: type) -> dict[str, tuple[bytes, str]]:
    """Give members that are no TIFF of that shape and type, each with a part of the reason to expect."""
    good = np.zeros(shape, dtype)
    return {
        "cut": (tiff(good)[:-9], "expected"),
        "only a header": (tiff(good)[:8], "expected"),
        "another shape": (tiff(good[:-1]), f"of shape {shape}"),
        "two pages": (tiff(np.zeros((2, *shape), dtype)), f"of shape {shape}"),
        "another type": (tiff(good.astype(np.uint8)), "found uint8"),
        "not a TIFF": (b"PK\3\4" + bytes(900), "expected"),
        "a web page": (HTML, "expected"),
        "empty": (b"", "expected"),
    }


def members_of(archive: Path) -> dict[str, bytes]:
    """Read all members of a tar, by name."""
    with tarfile.open(archive) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}


def write_tar(path: Path, members: Mapping[str, bytes] | Iterable[tuple[str | tarfile.TarInfo, bytes]]) -> Path:
    """Write a tar of members, in order; a TarInfo in place of a name is a link, a device, or whatever it says."""
    with tarfile.open(path, "w") as tar:
        for name, data in members.items() if isinstance(members, Mapping) else members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """Describe a link or a device."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def deflate(archive: Path, path: Path) -> Path:
    """Put a tar into a deflated zip: it can only be read in order."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(archive, archive.name)
    return path


def tree(store: Path, below: str = "") -> dict[str, str]:
    """Give the SHA-256 of every file of a store, by key."""
    return {
        path.relative_to(store).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((store / below).rglob("*"))
        if path.is_file()
    }


def elements(store: Path) -> dict[str, str]:
    """Give the same without the record."""
    return {key: digest for key, digest in tree(store).items() if key != "zarr.json"}


def contains(folder: Path, *needles: str | bytes) -> list[str]:
    """Find files, or names of files, below a folder that hold one of some texts."""
    wanted = [needle.encode() if isinstance(needle, str) else needle for needle in needles]
    found = []
    for path in folder.rglob("*"):
        held = os.fsencode(path.relative_to(folder)) + (b"\0" + path.read_bytes() if path.is_file() else b"")
        found += [f"{path}: {needle!r}" for needle in wanted if needle in held]
    return found


def copy(store: Path, folder: Path) -> Path:
    """Copy a store, for a test that changes it."""
    return shutil.copytree(store, folder / store.name)
