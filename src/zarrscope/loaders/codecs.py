"""Decoding of one chunk: the codecs that an array's document names, undone in reverse, sizes checked first.

zstd and crc32c, which our stores are written with, are decoded here; gzip by the standard library; blosc, lz4 and
whatever else numcodecs knows, by numcodecs. Nothing is allocated for a size that the document does not allow.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Buffer, Callable, Mapping, Sequence
from importlib import import_module
from math import prod
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import zstandard

from zarrscope.errors import StoreError
from zarrscope.model import STRING

type Step = Callable[[Buffer, int | None], Buffer]  # encoded bytes and the size expected of them, decoded

LIMIT = 1 << 30  # bytes of one chunk whose size no document tells: text
_held = threading.local()


def crc32c(data: Buffer) -> int:
    """Give the CRC-32C of some bytes."""
    return int(google_crc32c.value(bytes(data)))


def names(codecs: Sequence[Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Give name and configuration of each codec of a document; a name alone is allowed there."""
    return [(one, {}) if isinstance(one, str) else (str(one["name"]), one.get("configuration") or {}) for one in codecs]


def data_type(document: Mapping[str, Any], where: str) -> np.dtype[Any]:
    """Give numpy's type for an array document's ``data_type``; text is a StringDType."""
    name = document["data_type"]
    if name == "string":
        return STRING
    try:
        dtype: np.dtype[Any] = np.dtype(str(name))
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "biufc":
        raise StoreError(f"{where}: data type {name!r} can't be read; expected a number, bool or string.")
    return dtype


class ChunkDecoder:
    """Decodes chunks of one array; safe in several threads.

    Parameters
    ----------
    codecs
        The codecs of a chunk, as the document lists them.
    dtype, shape
        Of one decoded chunk.
    where
        The array, for messages.
    """

    def __init__(self, codecs: Sequence[Any], dtype: np.dtype[Any], shape: tuple[int, ...], where: str) -> None:
        self._dtype = dtype
        self._textual = dtype.kind == "T"
        self._order = tuple(range(len(shape)))
        self._stored = dtype
        self._steps: list[tuple[Step, int | None]] = []
        size: int | None = None if self._textual else prod(shape) * dtype.itemsize
        serialised = False
        for name, configuration in names(codecs):
            if name == "transpose" and not serialised:
                self._order = tuple(self._order[axis] for axis in configuration["order"])
            elif name == ("vlen-utf8" if self._textual else "bytes") and not serialised:
                serialised = True
                if not self._textual:
                    self._stored = dtype.newbyteorder(">" if configuration.get("endian") == "big" else "<")
            elif serialised:
                self._steps.append((_step(name, configuration, where), size))
                size = size + 4 if name == "crc32c" and size is not None else None
            else:
                raise StoreError(f"{where}: the codec {name!r} can't be read here.")
        if not serialised:
            raise StoreError(f"{where}: no codec turns the array into bytes.")
        self._steps.reverse()
        self._transposed = tuple(shape[axis] for axis in self._order)  # as it lies in bytes
        self._back = tuple(int(axis) for axis in np.argsort(self._order))
        # Incompressible data grow a little; more than this is not an encoded chunk of this shape.
        self.most = LIMIT if self._textual else 2 * prod(shape) * dtype.itemsize + (1 << 16)

    def __call__(self, data: Buffer) -> npt.NDArray[Any]:
        """Decode one chunk to an array of the chunk's shape.

        Raises
        ------
        ValueError
            Where the bytes are not what the codecs wrote: a checksum or a size does not fit.
        """
        for step, expected in self._steps:
            data = step(data, expected)
            if expected is not None and memoryview(data).nbytes != expected:
                raise ValueError(f"expected {expected:,} bytes, found {memoryview(data).nbytes:,}")
        count = prod(self._transposed)
        if self._textual:
            values = _text(data, count)
        else:
            found = memoryview(data).nbytes
            if found != count * self._dtype.itemsize:
                raise ValueError(f"expected {count * self._dtype.itemsize:,} bytes, found {found:,}")
            values = np.frombuffer(data, self._stored)
        return values.reshape(self._transposed).transpose(self._back)


def _step(name: str, configuration: Mapping[str, Any], where: str) -> Step:
    known: dict[str, Step] = {"zstd": _unzstd, "crc32c": _uncrc, "gzip": _ungzip, "blosc": _unblosc}
    if name in known:
        return known[name]
    try:
        codec = import_module("numcodecs").get_codec({"id": name.removeprefix("numcodecs."), **configuration})
    except (ValueError, TypeError):
        raise StoreError(f"{where}: the codec {name!r} is not known here.") from None
    return lambda data, _: bytes(codec.decode(data))


def _unzstd(data: Buffer, expected: int | None) -> bytes:
    decompressor: zstandard.ZstdDecompressor | None = getattr(_held, "zstd", None)
    if decompressor is None:
        decompressor = _held.zstd = zstandard.ZstdDecompressor()
    try:
        view = memoryview(data)
        size = zstandard.frame_content_size(view)
        if size > (LIMIT if expected is None else expected):
            raise ValueError(
                f"expected {'at most ' + str(LIMIT) if expected is None else expected} bytes, found {size}"
            )
        # Extra data would be left over if a flipped bit turned the frame's checksum off.
        return decompressor.decompress(view, max_output_size=expected or LIMIT, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None


def _uncrc(data: Buffer, _: int | None) -> memoryview:
    view = memoryview(data)
    if view.nbytes < 4 or crc32c(view[:-4]) != int.from_bytes(view[-4:], "little"):
        raise ValueError("its CRC-32C does not fit")
    return view[:-4]


def _ungzip(data: Buffer, expected: int | None) -> bytes:
    inflate = zlib.decompressobj(wbits=31)
    try:
        decoded = inflate.decompress(data, (expected or LIMIT) + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if not inflate.eof:
        raise ValueError("the gzip stream is cut or too long")
    return decoded


def _unblosc(data: Buffer, expected: int | None) -> bytes:
    view = memoryview(data)
    size, stored = (int.from_bytes(view[at : at + 4], "little") for at in (4, 12))
    if view.nbytes < 16 or stored != view.nbytes or size > (expected or LIMIT):
        raise ValueError("the blosc header does not fit the chunk")
    try:
        return bytes(import_module("numcodecs.blosc").Blosc().decode(view))
    except RuntimeError as error:
        raise ValueError(str(error)) from None


def _text(data: Buffer, count: int) -> npt.NDArray[Any]:
    """Decode ``vlen-utf8``: a count, then for each text its size and its bytes."""
    found = int.from_bytes(memoryview(data)[:4], "little")
    if found != count:
        raise ValueError(f"expected {count:,} texts, found {found:,}")
    return np.asarray(import_module("numcodecs.vlen").VLenUTF8().decode(data), dtype=STRING)
