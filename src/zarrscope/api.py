"""The story in one file: plan, convert, open, verify, and what a store tells of itself.

``convert`` opens the sources and finds their members; the recipe declares images and rows; the plan cuts them into
tasks, one a shard; the engine does each task that has no receipt; tables are built from receipts and, last, the
record. Reading goes the other way and starts at the record.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from zarrscope import __version__
from zarrscope.errors import RecipeError, StoreError, UsageError
from zarrscope.model import Choices, Layout, Origin, Plan, Progress, Source, Task
from zarrscope.plan import chunked, make_plan, select
from zarrscope.recipe import Recipe, choose, known, scan
from zarrscope.record import Record
from zarrscope.storage import Storage
from zarrscope.writers.codec import Codec

if TYPE_CHECKING:
    from zarrscope.loaders.store import Store
    from zarrscope.verify import Report

type Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
type Tell = Callable[[Progress], None]
type Say = Callable[[str], None]


def plan(
    sources: Paths,
    store: str | os.PathLike[str],
    *,
    where: str | None = None,
    limit: int | None = None,
    recipe: str | Recipe | None = None,
    codec: str = "zstd:1",
    chunk: int | None = None,
    shard: int | None = None,
    keep: Sequence[str] = (),
    salvage: bool = False,
    workers: int | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Plan:
    """Declare a conversion without writing anything, with an estimate from encoding a sample of members.

    Parameters
    ----------
    sources
        One or more archives or folders, as paths or URLs.
    store
        Where the store would be written; only its name is looked at.
    where
        Expression over columns known from member names; what it leaves out is neither read nor written.
    limit
        At most this many samples of each sample set.
    recipe
        Name of a recipe, or a recipe; by default the one whose pattern and decoder fit the content.
    codec
        ``zstd:1`` to ``zstd:22``, or ``none``.
    chunk, shard
        Rows (samples) a chunk and a shard.
    keep
        Columns that the recipe would drop for privacy.
    salvage
        Take what stands before the break of a broken archive.
    workers
        For how many workers to estimate; by default one a processor.
    storage_options
        Handed to fsspec.

    Raises
    ------
    SourceError
        Where a source is not what it says.
    RecipeError
        Where no recipe takes the sources.
    """
    from zarrscope.engine.estimate import estimate

    Storage(os.fspath(store))
    choices = _choices(codec, chunk, shard, where, limit, keep, salvage)
    opened = _open_sources(sources, storage_options)
    planned, layout, chosen = _declare(opened, choices, recipe)
    return estimate(planned, layout.parts, opened, chosen, workers or os.cpu_count() or 1)


def convert(
    sources: Paths,
    store: str | os.PathLike[str],
    *,
    where: str | None = None,
    limit: int | None = None,
    recipe: str | Recipe | None = None,
    codec: str = "zstd:1",
    chunk: int | None = None,
    shard: int | None = None,
    keep: Sequence[str] = (),
    card: Mapping[str, str] | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
    memory: int | None = None,
    strict: bool = False,
    salvage: bool = False,
    overwrite: bool = False,
    progress: Tell = lambda _: None,
    say: Say = lambda _: None,
    storage_options: Mapping[str, Any] | None = None,
) -> Record:
    """Convert sources into a store, or go on where an earlier call was stopped; gives the store's record.

    The same call on an unfinished store resumes it, on a finished one does nothing, and with further sources adds
    their stacks. The bytes written depend on sources, recipe and choices only, not on workers, memory or executor.

    Parameters
    ----------
    sources, store, where, limit, recipe, codec, chunk, shard, keep, salvage, storage_options
        As for :func:`plan`.
    card
        ``license``, ``citation`` and ``contact``, used where the recipe says unknown.
    workers
        Threads that fill shards; by default one a processor.
    executor
        Any ``concurrent.futures`` executor in place of threads.
    memory
        Bytes that this process may hold: fewer tasks are under way at once. Refused where one does not fit.
    strict
        Stop at the first member that can't be decoded, in place of quarantining it.
    overwrite
        Delete a store of ours that is there, finished or not.
    progress, say
        Hear how far it is, and sentences worth showing.

    Raises
    ------
    SourceError, RecipeError, DecodeError, UsageError
        As for :func:`plan`; DecodeError with ``strict``.
    StoreError
        Where the store is not ours, was begun with other sources or choices, or by another version.
    """
    from zarrscope.engine import target as there
    from zarrscope.engine.claim import claimed
    from zarrscope.engine.journal import Journal

    if unknown := set(card or {}) - {"license", "citation", "contact"}:
        raise UsageError(f"the card has {', '.join(sorted(unknown))}: expected license, citation, contact.")
    choices = _choices(codec, chunk, shard, where, limit, keep, salvage, card)
    pace = _Pace(workers or os.cpu_count() or 1, executor, memory, strict)
    target = Storage(os.fspath(store), dict(storage_options or {}))
    there.refuse_overlap(_listed(sources), target)
    opened = _open_sources(sources, storage_options)
    if overwrite:
        there.delete_store(target)
    before, declared = there.record_of(target), None
    if Journal(target).plan() is None:
        there.refuse_foreign(target, before)
        opened = there.not_yet_converted(opened, before, choices, say)
        if before is not None and not opened:
            Journal(target).delete()
            return before
        declared = _declare(opened, choices, recipe)  # what is refused here leaves nothing behind
        _fits(declared[0], pace)
    with claimed(target, say):
        return _converted(target, opened, choices, declared, _named(recipe), pace, progress, say)


@dataclass(frozen=True, slots=True)
class _Pace:
    """What makes a conversion fast or slow and changes no byte."""

    workers: int
    executor: Executor | None
    memory: int | None
    strict: bool


type _Declared = tuple[Plan, Layout, Recipe]


def _converted(
    target: Storage,
    opened: tuple[Source, ...],
    choices: Choices,
    declared: _Declared | None,
    recipe: Recipe | None,
    pace: _Pace,
    progress: Tell,
    say: Say,
) -> Record:
    """Begin or resume, fill what has no receipt, and finish; the store is claimed by now."""
    from zarrscope.engine import target as there
    from zarrscope.engine.finish import finish, prepare
    from zarrscope.engine.journal import Journal
    from zarrscope.engine.pairing import pair
    from zarrscope.engine.run import Site, Workplace, run

    journal, before = Journal(target), there.record_of(target)
    begun = journal.plan()
    if before is not None and not before.pending and (begun is not None or declared is None):
        journal.delete()  # the record was written: only this was left to do
        return before
    if begun is not None:
        planned, chosen = begun, recipe or known()[begun.recipe]
        there.refuse_other_conversion(planned, opened, choices, _codecs(choices), target)
        at_once = _fits(planned, pace)
        journal.sweep(planned)
        say(f"{target.url}: going on where an earlier conversion stopped")
    elif declared is not None:
        planned, layout, chosen = declared
        at_once = _fits(planned, pace)
        there.announce(target, planned, before)
        journal.begin(planned, layout.parts)
    else:
        raise StoreError(f"{target.url}: the conversion that was under way is gone. Run convert again.")
    prepare(planned, target)
    done = journal.done(planned)
    left = [task for task in planned.tasks if task not in done]
    state = _progress(planned, done)
    progress(state)
    place = Workplace(Site(target, opened, chosen, pace.strict), planned)
    run(place, left, workers=pace.workers, at_once=at_once, executor=pace.executor, tell=progress, progress=state)
    progress(replace(state, stage="tables", tasks_done=state.tasks, rows_done=state.rows))
    earlier = None if before is None else replace(before, pending=())
    return finish(planned, chosen, opened, journal, earlier, lambda record: pair(target, record))


def _progress(planned: Plan, done: Collection[Task]) -> Progress:
    return Progress(
        stage="convert",
        tasks=len(planned.tasks),
        tasks_done=len(done),
        rows=sum(task.stop - task.start for task in planned.tasks),
        rows_done=sum(task.stop - task.start for task in done),
    )


def _fits(planned: Plan, pace: _Pace) -> int:
    from zarrscope.engine.run import in_flight

    return in_flight(planned, pace.workers, pace.memory)


def _listed(sources: Paths) -> list[str | os.PathLike[str]]:
    listed = [sources] if isinstance(sources, (str, os.PathLike)) else list(sources)
    if not listed:
        raise UsageError("no source is given.")
    return listed


def _open_sources(sources: Paths, options: Mapping[str, Any] | None) -> tuple[Source, ...]:
    from zarrscope.sources import open_source

    return tuple(open_source(os.fspath(one), options=options) for one in _listed(sources))


def _choices(
    codec: str,
    chunk: int | None,
    shard: int | None,
    where: str | None,
    limit: int | None,
    keep: Sequence[str],
    salvage: bool,  # noqa: FBT001  (handed on from keywords)
    card: Mapping[str, str] | None = None,
) -> Choices:
    if min(chunk or 1, shard or 1) < 1:
        raise UsageError("expected at least 1 row a chunk and a shard.")
    return Choices(
        codec=str(Codec.parse(codec)),
        chunk=chunk,
        shard=shard,
        where=where,
        limit=limit,
        keep=tuple(sorted(keep)),
        salvage=salvage,
        card=dict(card or {}),
    )


def _codecs(choices: Choices) -> dict[str, str]:
    return {**Codec.parse(choices.codec).versions(), "zarrscope": __version__}


def _declare(opened: Sequence[Source], choices: Choices, recipe: str | Recipe | None) -> _Declared:
    """Walk the headers, choose the recipe, lay the members out, cut the layout into tasks: nothing is written."""
    indexes = [source.index(salvage=choices.salvage) for source in opened]
    chosen = _named(recipe) or choose(known(), opened, indexes)
    layout = chosen.layout(scan(chosen, opened, indexes))
    layout = chunked(select(layout, where=choices.where, limit=choices.limit), choices)
    origins = tuple(
        Origin(
            name=source.name,
            kind=source.kind,
            size=source.size,
            members=len(index.members),
            token=source.token(),
            salvaged=index.salvaged,
        )
        for source, index in zip(opened, indexes, strict=True)
    )
    planned = make_plan(
        layout,
        recipe=chosen.name,
        recipe_version=chosen.version,
        version=__version__,
        sources=origins,
        choices=choices,
        codecs=_codecs(choices),
    )
    return planned, layout, chosen


def _named(recipe: str | Recipe | None) -> Recipe | None:
    if recipe is None or isinstance(recipe, Recipe):
        return recipe
    there = known()
    if recipe not in there:
        raise RecipeError(f"no recipe is called {recipe!r}; known: {', '.join(there)}.")
    return there[recipe]


def open(store: str | os.PathLike[str], *, storage_options: Mapping[str, Any] | None = None) -> Store:  # noqa: A001
    """Open a store lazily: one request, no pixel is read.

    Raises
    ------
    StoreError
        Where there is no store, or an unfinished one.
    """
    from zarrscope.loaders.store import open_store

    return open_store(os.fspath(store), options=storage_options)


def verify(
    store: str | os.PathLike[str],
    *,
    sources: Paths = (),
    quick: bool = False,
    read_data: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    say: Say = lambda _: None,
) -> Report:
    """Prove that a store is what its record, its digests and, if they are given, its sources say.

    Parameters
    ----------
    store
        A finished store.
    sources
        The sources that it was converted from, any of them: every member is read and compared.
    quick
        Only check that each object is there with its size.
    read_data
        Decode every chunk as well, and compare digests of pixels.
    storage_options
        Handed to fsspec.
    say
        Hear what is being compared.

    Raises
    ------
    VerifyError
        With every problem found.
    """
    from zarrscope.verify import verify_store

    opened = _open_sources(sources, storage_options) if sources else ()
    target = Storage(os.fspath(store), dict(storage_options or {}))
    return verify_store(target, sources=opened, recipes=known(), quick=quick, read_data=read_data, say=say)
