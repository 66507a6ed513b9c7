"""Codecs that stores are written with: each chunk is covered by a checksum of its own.

``zstd:1`` is the default. Measured on 224 x 224 crops of fluorescence (``tests/benchmarks/codecs.py``): level 3 is no
smaller and slower, shuffling makes counts larger, and ``none`` reads fastest where space does not matter.
"""

from __future__ import annotations

import threading
from collections.abc import Buffer, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
import zstandard

from zarrscope.errors import UsageError

ABSENT = (1 << 64) - 1  # offset and size, in the index of a shard, of a chunk that is not there

type Encode = Callable[[Sequence[memoryview]], Sequence[Buffer]]


@dataclass(frozen=True, slots=True)
class Codec:
    """How chunks are compressed: ``zstd`` at a level, or ``none``; both with a checksum a chunk."""

    name: str
    level: int = 0

    @classmethod
    def parse(cls, text: str) -> Codec:
        """Read ``zstd``, ``zstd:LEVEL`` or ``none``.

        >>> Codec.parse("zstd:3")
        Codec(name='zstd', level=3)
        """
        name, _, level = text.partition(":")
        if name == "none" and not level:
            return cls("none")
        if name == "zstd" and (level == "" or (level.isdecimal() and 1 <= int(level) <= 22)):
            return cls("zstd", int(level or 1))
        raise UsageError(f"unknown codec {text!r}: expected zstd, zstd:1 to zstd:22, or none.")

    def __str__(self) -> str:
        """Give the text that ``parse`` reads."""
        return f"zstd:{self.level}" if self.name == "zstd" else self.name

    def zarr(self) -> tuple[Any, ...]:
        """Give the codecs that zarr's metadata names after ``bytes``."""
        from zarr.codecs import Crc32cCodec, ZstdCodec

        return (ZstdCodec(level=self.level, checksum=True),) if self.name == "zstd" else (Crc32cCodec(),)

    def encoder(self) -> Encode:
        """Give a function that encodes some chunks; safe in several threads, each with a compressor of its own.

        Several at once give up the interpreter lock once: with two threads, one crop a call cost 10 % more.
        """
        if self.name == "none":
            return lambda chunks: [bytes(chunk) + crc32c(chunk) for chunk in chunks]
        held, level = threading.local(), self.level

        def encode(chunks: Sequence[memoryview]) -> Sequence[Buffer]:
            compressor: zstandard.ZstdCompressor | None = getattr(held, "compressor", None)
            if compressor is None:
                compressor = held.compressor = zstandard.ZstdCompressor(level=level, write_checksum=True)
            if len(chunks) == 1:
                return [compressor.compress(chunks[0])]
            encoded = compressor.multi_compress_to_buffer(list(chunks))
            return [encoded[place] for place in range(len(encoded))]  # type: ignore[misc]  # segments are buffers

        return encode

    def versions(self) -> Mapping[str, str]:
        """Name the libraries whose version decides the bytes."""
        return {"zstd": ".".join(map(str, zstandard.ZSTD_VERSION))} if self.name == "zstd" else {}


def crc32c(data: Buffer) -> bytes:
    """Give the CRC-32C of some bytes as zarr stores it: 4 bytes, little-endian."""
    return int(google_crc32c.value(bytes(data))).to_bytes(4, "little")


def shard_of(chunks: Sequence[Buffer], places: int) -> bytes:
    """Put encoded chunks together as one shard of ``places`` chunks, those behind the last absent."""
    sizes = [memoryview(chunk).nbytes for chunk in chunks]
    starts = np.cumsum([0, *sizes[:-1]], dtype="<u8")
    index = np.full((places, 2), ABSENT, "<u8")
    index[: len(sizes), 0], index[: len(sizes), 1] = starts, sizes
    return b"".join((*chunks, index.tobytes(), crc32c(index.tobytes())))
