"""What the first bytes of a file say it is: a tar, a zip, or which of the usual things that people hand in instead."""

from __future__ import annotations

from zarrscope.sources.headers import BLOCK, ZEROS, checksum_holds

_ZIP = b"PK"
# The first bytes of other things, what they are, and what to do.
_OTHERS = (
    (b"\x1f\x8b", "a gzip file: unpack it with gunzip"),
    (b"BZh", "a bzip2 file: unpack it with bunzip2"),
    (b"\xfd7zXZ", "an xz file: unpack it with unxz"),
    (b"\x28\xb5\x2f\xfd", "a zstd file: unpack it with unzstd"),
    (b"7z\xbc\xaf", "a 7-Zip archive: unpack it and name the folder"),
    (b"Rar!", "a RAR archive: unpack it and name the folder"),
    (b"\x89HDF", "an HDF5 file"),
    (b"II*\0", "one TIFF image: name the folder or the archive that holds it"),
    (b"MM\0*", "one TIFF image: name the folder or the archive that holds it"),
    (b"version https://git-lfs", "a Git LFS pointer, not the data: run git lfs pull"),
)


def is_tar(head: bytes) -> bool:
    """Whether the first 512 bytes are a tar header, be it a damaged one."""
    return len(head) >= BLOCK and (
        head[257:262] == b"ustar" or (head[:BLOCK] != ZEROS and checksum_holds(head[:BLOCK]))
    )


def begins_zip(head: bytes) -> bool:
    """Whether the first bytes are those of a zip, which may still be cut off."""
    return head.startswith((_ZIP + b"\3\4", _ZIP + b"\5\6", _ZIP + b"\7\b"))


def describe(head: bytes) -> str:
    """Say what a file looks like that is neither tar nor zip.

    >>> describe(b"<!DOCTYPE html><html>")
    "it looks like an HTML page, so the download failed: fetch it again (first bytes b'<!DOCTYPE html><')"
    """
    if not head:
        return "it is empty: fetch it again"
    shown = f"(first bytes {head[:16]!r})"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return f"it looks like an HTML page, so the download failed: fetch it again {shown}"
    if text.startswith((b"<?xml", b"<error")):
        return f"it looks like an XML answer of a server, so the download failed: fetch it again {shown}"
    if not head.strip(b"\0"):
        return f"it begins with zeros: a download that was not finished, or an archive without members {shown}"
    for first, what in _OTHERS:
        if head.startswith(first):
            return f"it looks like {what} {shown}"
    return f"found neither {shown}"
