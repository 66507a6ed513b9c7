"""Which bytes of a shard are read together: neighbours, and small gaps between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zarrscope.loaders.chunking import Piece
from zarrscope.loaders.objects import StoredObject

type Located = tuple[int, int, Sequence[Piece]]  # first byte and size of a chunk, and what is taken from it


@dataclass(frozen=True, slots=True)
class Run:
    """Bytes of one object that are read together, and the pieces decoded from them."""

    stored: StoredObject
    start: int
    stop: int
    chunks: Sequence[Located]


def join(stored: StoredObject, chunks: Sequence[Located], gap: int, most: int) -> list[Run]:
    """Join neighbours, sorted by first byte, over gaps of up to ``gap`` bytes into reads of up to ``most``."""
    found: list[Run] = []
    first = 0
    stop = chunks[0][0] + chunks[0][1]
    for at in range(1, len(chunks) + 1):
        start, size = chunks[at][:2] if at < len(chunks) else (1 << 62, 0)
        if start - stop > gap or start + size - chunks[first][0] > most:
            found.append(Run(stored, chunks[first][0], stop, chunks[first:at]))
            first = at
            stop = start + size
        else:
            stop = max(stop, start + size)
    return found
