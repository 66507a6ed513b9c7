"""Proves that interrupted work, started again, leaves the very tree that uninterrupted work leaves.

For each mode and each K: a fresh directory, a run struck at its K-th change, the same run again without a fault, and
a comparison of the tree, file by file, with that of a clean run. A struck run that reports success must have left the
whole tree too. With commands (`sweep`) a point costs two starts of Python; with a callable (`sweep_fork`) two forks.

>>> evenly(9, None), evenly(9, 3), evenly(2, 5)
([1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 5, 9], [1, 2])
"""

from __future__ import annotations

import itertools
import queue
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict, Unpack

from faults.forkserver import ForkServer
from faults.injector import STRIKES, FaultRun, digest_tree, environment, run

type Runner = Callable[[Path, str, int], FaultRun]
type Hook = Callable[[Path], None]
type Tree = Mapping[str, str]
JOBS = 2


class Choices(TypedDict, total=False):
    """What both sweeps take.

    Attributes
    ----------
    prepare
        Fills a fresh directory, outside the faults: a source, or a store of an earlier version.
    between
        Called on the directory after the fault and before the resume; what it raises is reported. It may run in
        several threads. A fault can come so late that the work is all but done: "refused, or complete" is what to ask.
    modes
        Which faults, of `STRIKES`.
    points
        How many K a mode, evenly spread; None is every one.
    jobs
        How many points at a time.
    done
        The exit code of a run that did all it could.
    """

    prepare: Hook | None
    between: Hook | None
    modes: Sequence[str]
    points: int | None
    jobs: int
    done: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """A point from which the work did not recover."""

    mode: str
    k: int
    struck: str
    fault_code: int
    resume_code: int
    differing: tuple[str, ...]
    problem: str
    log: str = field(repr=False)


def evenly(operations: int, points: int | None) -> list[int]:
    """Choose ``points`` numbers of 1..``operations``, first and last included; None is all of them."""
    if points is None or points >= operations:
        return list(range(1, operations + 1))
    return sorted({1 + round(step * (operations - 1) / max(1, points - 1)) for step in range(points)})


def sweep(
    make_command: Callable[[Path], Sequence[str]],
    scratch: Path,
    *,
    env: Mapping[str, str] | None = None,
    timeout: float = 120,
    **choices: Unpack[Choices],
) -> list[Bad]:
    """Sweep over ``make_command(directory)``, a command line that works below a directory.

    The directories are made under ``scratch`` and deleted again. ``env`` and ``timeout`` are those of `run`.
    """
    environment()  # compiles, before the threads start

    def runner(directory: Path, mode: str, k: int) -> FaultRun:
        return run(make_command(directory), directory, mode, k, env=env, timeout=timeout)

    return Sweep(runner=runner, scratch=scratch, **choices).bad()


def sweep_fork(
    work: Hook,
    scratch: Path,
    *,
    warm: Callable[[], None] | None = None,
    timeout: float = 120,
    **choices: Unpack[Choices],
) -> list[Bad]:
    """Sweep over ``work(directory)``, a callable run in children of fork servers, one server a job.

    See `ForkServer` for what ``work`` and ``warm`` may do.
    """
    servers = [ForkServer(work, warm) for _ in range(choices.get("jobs", JOBS))]
    # First in, first out: the clean runs go to different servers, and each learns what to import.
    free: queue.Queue[ForkServer] = queue.Queue()
    for server in servers:
        free.put(server)

    def runner(directory: Path, mode: str, k: int) -> FaultRun:
        server = free.get()
        try:
            return server.run(directory, mode, k, timeout=timeout)
        finally:
            free.put(server)

    try:
        return Sweep(runner=runner, scratch=scratch, **choices).bad()
    finally:
        for server in servers:
            server.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """The choices of a sweep and how one run is made."""

    runner: Runner
    scratch: Path
    prepare: Hook | None = None
    between: Hook | None = None
    modes: Sequence[str] = STRIKES
    points: int | None = None
    jobs: int = JOBS
    done: int = 0

    def bad(self) -> list[Bad]:
        """Make all runs, and give the points that did not recover, in order.

        Raises
        ------
        AssertionError
            Where two clean runs fail or differ, or change nothing: faults would then prove nothing.
        """
        with ThreadPoolExecutor(self.jobs) as pool:
            (first, clean), (second, again) = pool.map(self._clean, ("clean-1", "clean-2"))
            for result in (first, second):
                assert result.returncode == self.done, f"clean run: exit {result.returncode}\n{result.stderr}"
            assert not (differing := _differing(clean, again)), f"two clean runs differ: {differing}"
            assert first.operations, "the clean run changed nothing below its directory"
            faults = list(itertools.product(self.modes, evenly(first.operations, self.points)))
            start = time.monotonic()
            found = [bad for bad in pool.map(self._try, faults, itertools.repeat(clean)) if bad]
        each = (time.monotonic() - start) / len(faults)
        print(f"{first.operations} operations, {len(faults)} faults, {each:.3f} s each, {len(found)} bad")
        return found

    @contextmanager
    def _fresh(self, name: str) -> Iterator[Path]:
        directory = self.scratch / name
        directory.mkdir(parents=True)
        try:
            if self.prepare is not None:
                self.prepare(directory)
            yield directory
        finally:
            shutil.rmtree(directory)

    def _clean(self, name: str) -> tuple[FaultRun, Tree]:
        with self._fresh(name) as directory:
            return self.runner(directory, "count", 0), digest_tree(directory)

    def _try(self, point: tuple[str, int], clean: Tree) -> Bad | None:
        mode, k = point
        problems = []
        with self._fresh(f"{mode}-{k}") as directory:
            fault = self.runner(directory, mode, k)
            if fault.timed_out:
                problems.append("the struck run hung")
            if fault.returncode == self.done and (lost := _differing(clean, digest_tree(directory))):
                problems.append(f"the struck run reported success without {', '.join(lost)}")
            try:
                if self.between is not None:
                    self.between(directory)
            except Exception as error:  # noqa: BLE001  # whatever a check raises is its verdict
                problems.append(f"between: {type(error).__name__}: {error}")
            resume = self.runner(directory, "count", 0)
            differing = _differing(clean, digest_tree(directory))
        if resume.returncode != self.done:
            problems.append("the resumed run hung" if resume.timed_out else "the resumed run failed")
        if differing:
            problems.append("the resumed tree differs")
        if not problems:
            return None
        return Bad(
            mode=mode,
            k=k,
            struck=fault.struck,
            fault_code=fault.returncode,
            resume_code=resume.returncode,
            differing=differing,
            problem="; ".join(problems),
            log=f"struck run:\n{fault.stderr}\nresumed run:\n{resume.stderr}",
        )


def _differing(one: Tree, other: Tree) -> tuple[str, ...]:
    return tuple(sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key)))
