"""One sample that has groups of its own: its recipe builds it part by part, and every object goes into a receipt."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Buffer, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock

import numpy as np

from zarrscope.engine.journal import Journal, Made
from zarrscope.engine.tables import digest_member
from zarrscope.errors import DecodeError, Problem
from zarrscope.model import Content, Digest, Piece, Sample, SampleReceipt, Scalar, Source, Task
from zarrscope.recipe import Desk, Put, Recipe, Told


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
    _parts: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=dict)
    _problems: dict[str, Problem] = field(default_factory=dict)  # by role
    _before: dict[str, Made] = field(default_factory=dict)  # parts that were made before, by name
    _lock: Lock = field(default_factory=Lock)

    def built(self, task: Task) -> SampleReceipt:
        """Build the sample; what can't be taken is in the receipt with its reason.

        Raises
        ------
        DecodeError
            With ``strict``.
        """
        self._before = self.journal.parts_of(self.sample.path)
        self._clear()
        opened = [(piece.role, *self._open(piece)) for piece in self.sample.pieces]
        contents = {role: content for role, content, _ in opened if content is not None}
        told = {} if self.recipe.build is None else _plain(self.recipe.build(self._desk(contents)).columns)
        holds = tuple(sorted(self._groups()))
        reasons = [told.get("reason"), *(f"{role}: {problem.message}" for role, problem in self._problems.items())]
        return SampleReceipt(
            task=task,
            objects=tuple(self._objects[key] for key in sorted(self._objects)),
            holds=holds,
            columns={
                **told,
                "ok": bool(holds),
                "reason": "; ".join(str(reason) for reason in reasons if reason) or None,
            },
            parts=self._parts,
            member_digests=b"".join(digest for _, _, digest in opened),
            quarantined=tuple(self._problems.values()),
            bytes_read=sum(content.size for content in contents.values()),
        )

    def _groups(self) -> set[str]:
        return {key.partition("/")[0] for key in self._objects}

    def _kept(self) -> set[str]:
        made = {key.key.partition("/")[0] for one in self._before.values() for key in one.objects}
        return made | self._groups()

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

    def _open(self, piece: Piece) -> tuple[Content | None, bytes]:
        """Open a member and hash it, from its first byte to its last: that is when a source can tell it is whole."""
        if piece.refused is not None:
            self._note(piece.role, f"{piece.refused}.")
            return None, bytes(16)
        try:
            content = self.sources[piece.source].open(piece.member)
            return content, digest_member(content)
        except DecodeError as error:
            self._note(piece.role, str(error))
            return None, bytes(16)

    def _make(self, part: str, role: str, build: Callable[[Put], Told]) -> Told | None:
        made = self._before.get(part) or self._anew(part, build)
        if made.problem is not None:
            self._note(role, made.problem)
            return None
        self._objects |= {one.key: one for one in made.objects}
        self._parts[part] = tuple(sorted({one.key.partition("/")[0] for one in made.objects})), tuple(sorted(made.told))
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
            self._clear()
            made = Made(problem=str(error))
        else:
            made = Made(objects=tuple(objects.values()), told=told)
        self.journal.add_part(path, part, made)
        return made

    def _clear(self) -> None:
        """Delete all of the sample that is of no finished part: what was killed or converted here before has more."""
        store, path, finished = self.journal.storage, self.sample.path, self._kept()
        for group in {key.removeprefix(f"{path}/").partition("/")[0] for key, _ in store.keys(path)} - finished:
            store.delete(f"{path}/{group}")
        if not finished:
            store.delete(path)

    def _note(self, role: str, message: str) -> None:
        piece = next(one for one in self.sample.pieces if one.role == role)
        where = f"{self.sources[piece.source].url}!/{piece.member.name}"
        reason = message.removeprefix(f"{where}: ")
        if self.strict:
            raise DecodeError(f"{where}: {reason}")
        self._problems.setdefault(role, Problem(where=where, kind="decode", message=reason))


def _plain(told: Told) -> dict[str, Scalar]:
    """Turn numpy's scalars into plain ones, and what is no number into a gap."""
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in told.items()}
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in plain.items()}
