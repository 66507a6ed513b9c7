"""Read an npz file: its arrays as views of the bytes given, its objects as plain values.

An npz file is a zip of npy files. It is read here by its own few rules, strictly: the members must cover the bytes from
the first to the central directory without a gap, each header must say the same in both places, and every checksum is
compared. A stored member is never copied. A conversion does this a million times over, so what repeats is kept: the
headers of npy files, and the pickled values, which in STED-FM are the same bytes for every crop of one image.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Buffer, Iterator
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from isal import isal_zlib

from zarrscope.errors import DecodeError
from zarrscope.readers.forms import Build, Place, known_values, remember
from zarrscope.readers.pickled import MAX_BYTES, unpickle
from zarrscope.readers.standins import Array, Writer

MAX_UNPACKED = 1 << 28  # bytes that the deflated members of one file may fill
MAX_HEADER = 4096  # bytes of an npy header; numpy writes 128 for most arrays
MAX_AXES = 8
KEPT = 1 << 14  # bytes of the longest pickle whose value is kept

# The three records of a zip file, APPNOTE 4.3.16, 4.3.12 and 4.3.7.
_END = struct.Struct("<4s4H2LH")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_SIZES = struct.Struct("<2Q")
_ZIP64 = 0xFFFFFFFF
_STORED, _DEFLATED = 0, 8
_FLAGS = 0x0806  # allowed: the name is UTF-8, and how hard deflate tried

_SHAPE = r"\((?:\d+(?:, *\d+)*,?)? *\)"
_FIELD = re.compile(rf" *'(descr|fortran_order|shape)' *: *('[^']*'|True|False|{_SHAPE}) *(?:, *|(?=}}))")
_NUMBER = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f[248]|c8|c16)")
_TEXT = re.compile(r"[<>|=]?U[1-9]\d{0,4}")


def decode_npz(data: Buffer, *, max_unpacked: int = MAX_UNPACKED) -> dict[str, Any]:
    """Read an npz file.

    Parameters
    ----------
    data
        The whole file.
    max_unpacked
        The most bytes that deflated members may fill together; stored members are only views.

    Returns
    -------
    The values by their keys, in the order of the file. An array of numbers is a read-only view of ``data`` with the
    shape, memory order and byte order that the file gives; a deflated one is a view of its own bytes. Objects and text
    are plain values as :func:`zarrscope.readers.pickled.unpickle` gives them: an array without axes is its one value,
    any other is lists in lists. Such values are shared between calls: dicts are read-only, and lists must not be
    changed.

    Raises
    ------
    DecodeError
        If the file is not exactly what ``numpy.savez`` or ``numpy.savez_compressed`` writes, or holds an object that
        is more than plain values.

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO()
    >>> np.savez(file, image=np.zeros((2, 3), np.uint8), metadata={"protein-id": "psd95"})
    >>> values = decode_npz(file.getvalue())
    >>> values["image"].shape, values["metadata"]["protein-id"]
    ((2, 3), 'psd95')
    """
    view = memoryview(data).cast("B").toreadonly()
    known = known_values(view)
    if known is not None:
        return known
    values: dict[str, Any] = {}
    places: list[Place] = []
    try:
        for name, start, content in _members(view, max_unpacked):
            key = _key(name)
            if key in values:
                raise DecodeError(f"expected each key once, found {key!r} twice.")
            body, build = _npy(content)
            values[key] = build(content[body:])
            places.append(Place(key, start, start + body, start + len(content), build))
    except struct.error:
        raise DecodeError(f"expected an npz file, found {len(view)} bytes that end inside a zip header.") from None
    if all(place.start >= 0 for place in places):  # nothing is deflated
        remember(view, places, _directory(view)[0])
    return values


def _members(view: memoryview, budget: int) -> Iterator[tuple[bytes, int, memoryview]]:
    """Give name, first byte (-1 if deflated) and checked content of each member, in the order of the file."""
    at, end, count = _directory(view)
    directory, stop = at, 0
    for _ in range(count):
        signature, _, _, flags, method, _, _, crc, packed, size, *lengths, _, _, _, start = _CENTRAL.unpack_from(
            view, at
        )
        name = bytes(view[at + 46 : at + 46 + lengths[0]])
        if signature != b"PK\x01\x02" or start != stop:
            raise DecodeError(f"expected the zip member {name!r:.80} to start at byte {stop}, found {start}.")
        if flags & ~_FLAGS:
            found = "is encrypted" if flags & 1 else f"has the zip flags {flags:#06x}"
            raise DecodeError(f"expected members as numpy writes them, found that {name!r:.80} {found}.")
        content, local = _local(view, start)
        if local != (flags, method, crc, packed, size, name):
            raise DecodeError(f"expected the two zip headers of {name!r:.80} to agree, found that they differ.")
        at += 46 + sum(lengths)
        stop = content + packed
        if stop > directory:
            raise DecodeError(f"expected {packed} bytes of {name!r:.80}, found {directory - content}.")
        piece = view[content:stop]
        if method == _DEFLATED:
            budget -= size
            piece = _inflate(piece, name, size, budget)
        elif method != _STORED or packed != size:
            raise DecodeError(f"expected {name!r:.80} stored or deflated, found zip method {method}, {size} bytes.")
        if isal_zlib.crc32(piece) != crc:
            raise DecodeError(f"expected {name!r:.80} with the CRC-32 {crc:08x}, found {isal_zlib.crc32(piece):08x}.")
        yield name, content if method == _STORED else -1, piece
    if at != end or stop != directory:
        raise DecodeError(f"expected zip members up to byte {directory}, found {directory - stop} bytes that are none.")


def _directory(view: memoryview) -> tuple[int, int, int]:
    """Find the central directory: its first byte, its end, and how many members it lists."""
    end = len(view) - _END.size
    if end < 0 or bytes(view[end : end + 4]) != b"PK\x05\x06":
        found = bytes(view[:16])
        if found[:4] != b"PK\x03\x04":
            raise DecodeError(f"expected an npz file, found bytes that start with {found!r}.")
        raise DecodeError(
            "expected the last 22 bytes to end a zip file, found others: it is cut, or has bytes after it."
        )
    _, disk, first_disk, here, count, size, start, comment = _END.unpack_from(view, end)
    if count == 0xFFFF or _ZIP64 in {size, start}:
        raise DecodeError("expected a plain zip file, found a zip64 one.")
    if disk or first_disk or here != count or comment or start + size != end:
        raise DecodeError(f"expected a zip directory of {size} bytes at byte {start}, found that it ends at {end}.")
    return start, end, count


def _local(view: memoryview, start: int) -> tuple[int, tuple[int, int, int, int, int, bytes]]:
    """Read the header in front of a member: where its content starts, and what it says of it."""
    signature, _, flags, method, _, _, crc, packed, size, name_length, extra = _LOCAL.unpack_from(view, start)
    content = start + 30 + name_length + extra
    # numpy writes the sizes as zip64 (APPNOTE 4.5.3), in case they should not fit: they are in the extra field.
    if packed == size == _ZIP64 and extra == 20 and bytes(view[content - 20 : content - 16]) == b"\x01\x00\x10\x00":
        size, packed = _SIZES.unpack_from(view, content - 16)
    if signature != b"PK\x03\x04":
        raise DecodeError(f"expected a zip header at byte {start}, found {signature!r}.")
    return content, (flags, method, crc, packed, size, bytes(view[start + 30 : start + 30 + name_length]))


def _inflate(piece: memoryview, name: bytes, size: int, budget: int) -> memoryview:
    if budget < 0:
        raise DecodeError(f"refused to unpack {name!r:.80}: the file would fill {-budget} bytes more than allowed.")
    stream = isal_zlib.decompressobj(-15)
    try:
        unpacked = stream.decompress(piece, size + 1)
    except isal_zlib.error as error:  # type: ignore[misc]  # its stub declares a variable
        raise DecodeError(f"expected {name!r:.80} deflated, found: {error}.") from None
    if len(unpacked) != size or not stream.eof or stream.unused_data:
        raise DecodeError(f"expected {size} bytes of {name!r:.80} unpacked, found another number.")
    return memoryview(unpacked)


@lru_cache(256)
def _key(name: bytes) -> str:
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    if not text.endswith(".npy"):
        raise DecodeError(f"expected members named KEY.npy, found {name!r:.80}.")
    return text.removesuffix(".npy")


class _Header(NamedTuple):
    """What an npy header says: ``dtype`` is None for objects."""

    dtype: np.dtype[Any] | None
    shape: tuple[int, ...]
    order: Any  # "C" or "F"
    size: int  # bytes that follow; of objects unknown


def _npy(content: memoryview) -> tuple[int, Build]:
    """Read the header of an npy file: where its body starts, and what makes the value of a body of this length."""
    wide = len(content) > 6 and content[6] > 1  # versions 2 and 3 count the header with four bytes
    start = 12 + int.from_bytes(content[8:12], "little") if wide else 10 + int.from_bytes(content[8:10], "little")
    if start > MAX_HEADER:
        raise DecodeError(f"expected an npy header of at most {MAX_HEADER} bytes, found {start}.")
    dtype, shape, order, size = _header(bytes(content[:start]))
    if dtype is None:
        return start, lambda body: _objects(body, shape)
    if len(content) - start != size:
        raise DecodeError(f"expected {size} bytes for {dtype} of shape {shape}, found {len(content) - start}.")
    if not shape or dtype.kind == "U":
        return start, lambda body: Writer().nested(Array(shape, dtype.str, bytes(body), order))

    def build(body: memoryview) -> Any:
        try:
            return np.ndarray(shape, dtype, body, 0, None, order)
        except ValueError as error:  # an axis too long for numpy, beside one of length 0
            raise DecodeError(f"expected {dtype} of shape {shape}, found: {error}.") from None

    return start, build


@lru_cache(256)
def _header(head: bytes) -> _Header:
    """Parse the head of an npy file, from its magic bytes to the end of its header."""
    if head[:6] != b"\x93NUMPY" or head[6:8] not in {b"\1\0", b"\2\0", b"\3\0"} or not head.endswith(b"\n"):
        raise DecodeError(f"expected an npy file of version 1 to 3, found {head[:8]!r}.")
    text = head[10 if head[6] == 1 else 12 :].decode("latin1").strip()
    found = _FIELD.findall(text)
    fields = dict(found)
    if len(found) != 3 or len(fields) != 3 or _FIELD.sub("", text) != "{}":
        raise DecodeError(f"expected the npy header of an array of one plain type, found {text:.120}.")
    descr = fields["descr"][1:-1]
    shape = tuple(int(length) for length in re.findall(r"\d+", fields["shape"]))
    if len(shape) > MAX_AXES:
        raise DecodeError(f"expected at most {MAX_AXES} axes, found {len(shape)}.")
    order = "F" if fields["fortran_order"] == "True" else "C"
    if descr in {"O", "|O"}:
        return _Header(None, shape, order, 0)
    if not (_NUMBER.fullmatch(descr) or _TEXT.fullmatch(descr)):
        raise DecodeError(f"expected numbers, text or objects, found {descr!r:.40} of shape {shape}.")
    dtype = np.dtype(descr)
    return _Header(dtype, shape, order, math.prod(shape) * dtype.itemsize)


def _objects(content: memoryview, shape: tuple[int, ...]) -> Any:
    if len(content) > KEPT:
        return _frozen(unpickle(bytes(content[: MAX_BYTES + 1]), shape))
    return _kept_objects(bytes(content), shape)


@lru_cache(256)
def _kept_objects(data: bytes, shape: tuple[int, ...]) -> Any:
    return _frozen(unpickle(data, shape))


def _frozen(value: Any) -> Any:
    """Make dicts read-only at every depth: the value is handed out more than once."""
    if isinstance(value, dict):
        return MappingProxyType({key: _frozen(item) for key, item in value.items()})
    return [_frozen(item) for item in value] if isinstance(value, list) else value
