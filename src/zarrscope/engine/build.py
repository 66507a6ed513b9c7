"""One sample that has groups of its own: its recipe builds it part by part, and every object goes into a receipt."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Buffer, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
import xxhash

from zarrscope.engine.journal import Journal, Made
from zarrscope.errors import DecodeError, Problem
from zarrscope.model import Content, Digest, Piece, Sample, SampleReceipt, Scalar, Source, Task
from zarrscope.recipe import Desk, Put, Recipe, Told

_STEP = 4 << 20  # bytes hashed at a time


@dataclass(eq=False)
class Bench:
    """Builds one sample for one task.

    Parameters
    ----------
    sample, recipe, sources
        What is built, by what, from what.
    journal
        Of the store that it is built into.
    codec, workers, memory, strict
        As for :class:`zarrscope.recipe.Desk`; with ``strict`` the first member that can't be taken raises.
    """

    sample: Sample
    recipe: Recipe
    sources: Sequence[Source]
    journal: Journal
    codec: str
    workers: int = 1
    memory: int | None = None
    strict: bool = False
    _objects: dict[str, Digest] = field(default_factory=dict)
    _problems: list[Problem] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def built(self, task: Task) -> SampleReceipt:
        """Build the sample; what can't be taken is in the receipt with its reason.

        Raises
        ------
        DecodeError
            With ``strict``.
        """
        contents = dict(self._open())
        columns: Mapping[str, Scalar] = {}
        if self.recipe.build is not None and contents:
            columns = _plain(self.recipe.build(self._desk(contents)).columns)
        holds = tuple(sorted({key.partition("/")[0] for key in self._objects}))
        digests = [self._digest(piece, contents) for piece in self.sample.pieces]
        return SampleReceipt(
            task=task,
            objects=tuple(self._objects[key] for key in sorted(self._objects)),
            holds=holds,
            columns={
                **columns,
                "ok": bool(holds),
                "reason": "; ".join(problem.message for problem in self._problems) or None,
            },
            member_digests=b"".join(digests),
            quarantined=tuple(self._problems),
            bytes_read=sum(content.size for content in contents.values()),
        )

    def _desk(self, contents: Mapping[str, Content]) -> Desk:
        store = self.journal.storage
        return Desk(
            sample=self.sample,
            contents=contents,
            codec=self.codec,
            workers=self.workers,
            memory=self.memory,
            make=self._make,
            url=store.address,
            options=store.options,
            note=self._note,
        )

    def _open(self) -> Iterator[tuple[str, Content]]:
        for piece in self.sample.pieces:
            try:
                yield piece.role, self.sources[piece.source].open(piece.member)
            except DecodeError as error:
                self._note(piece.role, str(error))

    def _make(self, part: str, role: str, build: Callable[[Put], Told]) -> Told | None:
        made = self.journal.part(self.sample.path, part) or self._anew(part, build)
        if made.problem is not None:
            self._note(role, made.problem)
            return None
        self._objects |= {one.key: one for one in made.objects}
        return made.told

    def _anew(self, part: str, build: Callable[[Put], Told]) -> Made:
        store, path = self.journal.storage, self.sample.path
        objects: dict[str, Digest] = {}

        def put(key: str, data: Buffer) -> None:
            view = memoryview(data).cast("B")
            store.put(f"{path}/{key}", view)
            digest = Digest(key=key, size=len(view), sha256=hashlib.sha256(view).hexdigest())
            with self._lock:
                objects[key] = digest

        try:
            told = _plain(build(put))
        except DecodeError as error:
            for group in {key.partition("/")[0] for key in objects}:
                store.delete(f"{path}/{group}")
            made = Made(problem=str(error))
        else:
            made = Made(objects=tuple(objects.values()), told=told)
        self.journal.add_part(path, part, made)
        return made

    def _note(self, role: str, message: str) -> None:
        piece = next(one for one in self.sample.pieces if one.role == role)
        where = f"{self.sources[piece.source].url}!/{piece.member.name}"
        reason = message.removeprefix(f"{where}: ")
        if self.strict:
            raise DecodeError(f"{where}: {reason}")
        self._problems.append(Problem(where=where, kind="decode", message=reason))

    def _digest(self, piece: Piece, contents: Mapping[str, Content]) -> bytes:
        """Hash a member: what was read of it out of order is read once more, in order."""
        content, state = contents.get(piece.role), xxhash.xxh3_128()
        if content is None:
            return bytes(16)
        for start in range(0, content.size, _STEP):
            state.update(content.read(start, min(_STEP, content.size - start)))
        return state.digest()


def _plain(told: Told) -> dict[str, Scalar]:
    """Turn numpy's scalars into plain ones, and what is no number into a gap."""
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in told.items()}
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in plain.items()}
