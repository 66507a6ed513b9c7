"""Runs the tasks of a plan on any executor: read, decode, one shard in memory, one write, one receipt.

Threads are the default: reading, compressing, hashing and counting all release the interpreter lock. Whatever is
handed to another process is a :class:`Site` and a task, a few kilobytes without open handles.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from mmap import mmap
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock

from zarrscope.engine.build import Bench
from zarrscope.engine.fill import Blob, Decoder, blobs, fill
from zarrscope.engine.journal import Journal
from zarrscope.errors import StoreError, UsageError
from zarrscope.model import Image, Parts, Plan, Progress, Receipt, Sample, Source, Task
from zarrscope.recipe import Recipe
from zarrscope.storage import REMOTE_RUN, Storage
from zarrscope.writers.codec import Codec, Encode
from zarrscope.writers.image import room_for

TOGETHER = 2  # samples that are built at once, each by all threads: while one waits, the other works
LEAST = 300 << 20  # bytes that the building of a sample is given at least
_READING = Lock()


@dataclass(frozen=True, slots=True)
class Site:
    """Where a conversion takes place, for a worker anywhere: the store, the sources, the recipe."""

    store: Storage
    sources: tuple[Source, ...]
    recipe: Recipe
    began: str  # the journal's token: a place can see another conversion
    strict: bool = False
    threads: int = 1  # for a sample that is built, by each of those that build
    memory: int | None = None  # likewise, in bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a worker tells of a finished task."""

    task: Task
    bytes_read: int
    bytes_written: int
    quarantined: int


@dataclass(eq=False)
class Workplace:
    """What a process needs to fill shards, opened once: plan, rows, encoder."""

    site: Site
    plan: Plan = field(repr=False)

    @cached_property
    def journal(self) -> Journal:
        """The journal of the store."""
        return Journal(self.site.store)

    @cached_property
    def _encode(self) -> Encode:
        return Codec.parse(self.plan.choices.codec).encoder()

    @cached_property
    def _rows(self) -> dict[str, Parts]:
        return {}

    def rows(self, image: str) -> Parts:
        """Read the rows of an image, once: they are the largest thing that a conversion holds."""
        with _READING:
            if image not in self._rows:
                self._rows[image] = self.journal.parts(image)
            return self._rows[image]

    @cached_property
    def _rooms(self) -> SimpleQueue[memoryview]:
        return SimpleQueue()

    def _room(self) -> memoryview:
        """Give memory for the largest shard, used before if there is any."""
        try:
            return self._rooms.get_nowait()
        except Empty:
            return memoryview(mmap(-1, max(room_for(image) for image in self.plan.images)))

    def fill(self, task: Task, content: Iterable[Blob] | None = None) -> tuple[memoryview, Receipt]:
        """Build the shard and the receipt of a task; ``content`` is handed in where the source can't seek."""
        image, parts, site = self.plan.image(task.image), self.rows(task.image), self.site
        return fill(
            task,
            image,
            parts,
            blobs(task, parts, site.sources) if content is None else content,
            Decoder(image, parts, site.recipe, site.sources),
            site.recipe,
            self._encode,
            room=self._room(),
            keep=self.plan.choices.keep,
            strict=site.strict,
        )

    @cached_property
    def _samples(self) -> dict[str, Sample]:
        return {sample.path: sample for sample in self.plan.samples}

    def builds(self, task: Task) -> bool:
        """Tell whether a task is a sample with groups of its own."""
        return task.image in self._samples

    def build(self, task: Task) -> Done:
        """Build a sample: its objects are written as they come, its receipt last."""
        site = self.site
        bench = Bench(
            self._samples[task.image],
            site.recipe,
            site.sources,
            self.journal,
            codec=self.plan.choices.codec,
            workers=site.threads,
            memory=site.memory,
            strict=site.strict,
        )
        with self._spaced():
            receipt = bench.built(task)
            if self.journal.token() != site.began:
                raise _gone(site)
            self.journal.add_sample(receipt)
        return Done(
            task=task,
            bytes_read=receipt.bytes_read,
            bytes_written=sum(one.size for one in receipt.objects),
            quarantined=len(receipt.quarantined),
        )

    @contextmanager
    def _spaced(self) -> Iterator[None]:
        """Say that a disk is full where that is what went wrong."""
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreError(
                    f"{self.site.store.url}: no space is left. What is written is safe: "
                    "make room and run the same line again."
                ) from error
            raise

    def commit(self, data: memoryview, receipt: Receipt) -> Done:
        """Write the shard, then its receipt; the memory it lies in is free for another then."""
        with self._spaced():
            self.site.store.put(f"{receipt.task.image}/{receipt.digest.key}", data)
            self.journal.add(receipt)
        self._rooms.put(memoryview(data.obj))
        return Done(
            task=receipt.task,
            bytes_read=receipt.bytes_read,
            bytes_written=receipt.digest.size,
            quarantined=len(receipt.quarantined),
        )


@lru_cache(maxsize=2)
def _opened(site: Site) -> Workplace:
    journal = Journal(site.store)
    plan = journal.plan()
    if plan is None or journal.token() != site.began:
        raise _gone(site)
    return Workplace(site, plan)


def _gone(site: Site) -> StoreError:
    return StoreError(
        f"{site.store.url}: this conversion is under way no more: was it finished or begun anew elsewhere?"
    )


def work(site: Site, task: Task) -> Done:
    """Do one task, in any process; doing it twice writes the same bytes."""
    place = _opened(site)
    if place.builds(task):
        return place.build(task)
    data, receipt = place.fill(task)
    if place.journal.token() != site.began:  # a worker can outlive the call that it works for
        raise _gone(site)
    return place.commit(data, receipt)


def need(image: Image) -> int:
    """Give the bytes that one task of this image holds at most: its shard, encoded, and a read."""
    return room_for(image) + REMOTE_RUN


def resident() -> int:
    """Give the bytes of memory that this process holds now."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 400 << 20


def in_flight(plan: Plan, workers: int, memory: int | None) -> int:
    """Tell how many tasks may be under way at once.

    Raises
    ------
    UsageError
        Where the memory allowed does not hold one task; the message gives the least figure.
    """
    most = min(workers, TOGETHER) if plan.samples else workers + 2
    if memory is None:
        return most
    one, base = max([need(image) for image in plan.images] or [LEAST]), resident()
    if memory < base + one:
        least = -(-(base + one) // 10**6)
        raise UsageError(f"--memory {memory // 10**6}MB does not hold one task: at least {least}MB are needed.")
    return min(most, (memory - base) // one)


def run(
    place: Workplace,
    tasks: Sequence[Task],
    *,
    workers: int,
    at_once: int,
    executor: Executor | None = None,
    tell: Callable[[Progress], None] = lambda _: None,
    progress: Progress,
) -> None:
    """Do the tasks. On an interrupt those under way are finished or dropped, never left half written."""
    sequential = any(source.sequential for source in place.site.sources)
    with ExitStack() as stack:
        theirs = None if sequential else executor
        if theirs is None:
            pool = stack.enter_context(ThreadPoolExecutor(min(workers, at_once), "zarrscope-fill"))
            # Waiting for the disk takes no processor: shards are committed beside the filling.
            disk = stack.enter_context(ThreadPoolExecutor(2, "zarrscope-commit"))
            futures = _in_threads(place, tasks, pool, disk, feed=sequential)
        else:
            futures = (theirs.submit(work, place.site, task) for task in tasks)
        for done in _bounded(futures, at_once, ours=theirs is None):
            progress = replace(
                progress,
                tasks_done=progress.tasks_done + 1,
                rows_done=progress.rows_done + done.task.stop - done.task.start,
                bytes_read=progress.bytes_read + done.bytes_read,
                bytes_written=progress.bytes_written + done.bytes_written,
                quarantined=progress.quarantined + done.quarantined,
            )
            tell(progress)


def _in_threads(
    place: Workplace, tasks: Sequence[Task], pool: Executor, disk: Executor, *, feed: bool
) -> Iterator[Future[Done]]:
    """Submit a task each time the next future is asked for; a sequential source is read here, by one reader."""
    for task in _in_order(place, tasks) if feed and not place.plan.samples else tasks:
        feeds = feed and not place.builds(task)
        content = list(blobs(task, place.rows(task.image), place.site.sources)) if feeds else None
        result: Future[Done] = Future()
        pool.submit(_fill_then_commit, place, task, content, disk, result)
        yield result


def _in_order(place: Workplace, tasks: Sequence[Task]) -> list[Task]:
    """Order tasks by source and by offset, as a reader that can't go back wants them."""

    def position(task: Task) -> tuple[int, int]:
        parts = place.rows(task.image)
        return int(parts.sources[task.start]), int(parts.members.offsets[task.start])

    return sorted(tasks, key=position)


def _fill_then_commit(
    place: Workplace, task: Task, content: list[Blob] | None, disk: Executor, result: Future[Done]
) -> None:
    if not result.set_running_or_notify_cancel():
        return
    try:
        if place.builds(task):
            result.set_result(place.build(task))
            return
        data, receipt = place.fill(task, content)
        disk.submit(_commit, place, data, receipt, result)
    except BaseException as error:  # noqa: BLE001  (whatever it is, the future carries it to the main thread)
        result.set_exception(error)


def _commit(place: Workplace, data: memoryview, receipt: Receipt, result: Future[Done]) -> None:
    try:
        result.set_result(place.commit(data, receipt))
    except BaseException as error:  # noqa: BLE001  (as above)
        result.set_exception(error)


def _bounded(futures: Iterator[Future[Done]], at_once: int, *, ours: bool) -> Iterator[Done]:
    """Ask for futures while fewer than ``at_once`` are under way; give results as they come."""
    pending: set[Future[Done]] = set()
    try:
        while True:
            while len(pending) < at_once and (future := next(futures, None)) is not None:
                pending.add(future)
            if not pending:
                return
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
    finally:
        # What an executor of others was given is waited for: cancelled, it may run on all the same, and write.
        wait([future for future in pending if not (ours and future.cancel())])
