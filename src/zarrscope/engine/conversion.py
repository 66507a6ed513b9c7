"""One conversion from its first look to its record: decide, then begin or resume, fill, finish.

Everything that can be refused is refused before anything is written or deleted; then the store is claimed, looked at
again, and worked on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace

from zarrscope.engine import target as there
from zarrscope.engine.catalogue import Earlier, earlier_rows
from zarrscope.engine.claim import claimed
from zarrscope.engine.finish import finish, prepare
from zarrscope.engine.journal import Journal
from zarrscope.engine.pairing import pair
from zarrscope.engine.renewal import Kept, holds_samples, pack, renew, seed
from zarrscope.engine.run import LEAST, TOGETHER, Site, Workplace, in_flight, run
from zarrscope.engine.target import State
from zarrscope.errors import RecipeError, StoreError
from zarrscope.model import Choices, Layout, Origin, Parts, Plan, Progress, Source, Task
from zarrscope.planning import chunked, make_plan, select
from zarrscope.recipe import Recipe, choose, known, scan
from zarrscope.record import Record
from zarrscope.storage import Storage
from zarrscope.version import __version__
from zarrscope.writers.codec import Codec

type Tell = Callable[[Progress], None]
type Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Pace:
    """What makes a conversion fast or slow and changes no byte."""

    workers: int
    executor: Executor | None
    memory: int | None
    strict: bool


def converted(
    target: Storage,
    given: tuple[Source, ...],
    choices: Choices,
    recipe: Recipe | None,
    pace: Pace,
    *,
    overwrite: bool,
    progress: Tell,
    say: Say,
) -> Record:
    """Convert sources into a store, or go on with it; give the record."""
    with there.explained(target):
        while True:
            state = there.look(target, overwrite=overwrite)
            line = _decide(target, state, given, choices, recipe, pace, say)
            if isinstance(line, Record) and not line.pending and not state.leftover:
                return line
            with claimed(target, say) as rest:
                if there.look(target, overwrite=overwrite) == state:
                    return _converted(target, state, line, rest, pace, progress, say)
            # Another converter changed the store while this one waited for it: look again.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """What a call comes to, given what is there; ``parts`` is None where the journal has the rows already."""

    opened: tuple[Source, ...]
    planned: Plan
    recipe: Recipe
    parts: list[Parts] | None
    at_once: int
    earlier: Earlier = field(default_factory=Earlier)
    kept: tuple[Kept, ...] = ()


def _decide(
    target: Storage,
    state: State,
    given: tuple[Source, ...],
    choices: Choices,
    recipe: Recipe | None,
    pace: Pace,
    say: Say,
) -> _Line | Record:
    """Refuse, or say what to do, with the record where all is done: a refusal leaves and deletes nothing."""
    whole = holds_samples(state.record)  # there each sample is compared by itself
    opened = given if whole else there.not_yet_converted(given, state.record, choices, say)
    if state.plan is not None:
        begun, chosen = state.plan, recipe or _recipe(state.plan.recipe)
        there.refuse_other_conversion(begun, opened, choices, _codecs(choices), chosen, target)
        return _Line(opened=opened, planned=begun, recipe=chosen, parts=None, at_once=_fits(begun, pace))
    if state.record is not None and not opened:
        return state.record
    if not state.doomed:
        there.refuse_foreign(target, state.record)
    earlier, kept = Earlier(), list[Kept]()

    def fresh(layout: Layout, chosen: Recipe) -> Layout:
        nonlocal earlier, kept
        if state.record is None or not layout.samples:
            return layout
        there.refuse_other_making(target, state.record, chosen, choices, _codecs(choices))
        earlier = earlier_rows(target, state.record, layout.sets[0].name)
        layout, kept = renew(layout, earlier, opened, chosen)
        return layout

    planned, layout, chosen = declare(opened, choices, recipe, fresh)
    there.refuse_clash(target, planned, state.record)
    if state.record is not None and not planned.tasks:
        say(f"{target.url} holds all of it already, by the names, sizes and small contents of members")
        return state.record
    return _Line(
        opened=opened,
        planned=planned,
        recipe=chosen,
        parts=list(layout.parts),
        at_once=_fits(planned, pace),
        earlier=earlier,
        kept=tuple(kept),
    )


def _converted(
    target: Storage,
    state: State,
    line: _Line | Record,
    rest: Callable[[], None],
    pace: Pace,
    progress: Tell,
    say: Say,
) -> Record:
    """Begin or resume, and clean up; the store is claimed by now."""
    journal = Journal(target)
    if state.doomed:
        there.delete_store(target)
    elif state.plan is None:
        journal.clear()  # of a conversion whose record was written: what it noted says nothing of another
    if isinstance(line, Record):
        record = there.withdraw(target, line)
    else:
        journal.sweep()
        if line.parts is None:
            say(f"{target.url}: going on where an earlier conversion stopped")
        else:
            if line.planned.samples:
                journal.keep_earlier(pack(line.earlier))
                seed(journal, line.kept)
            else:
                there.announce(target, line.planned, state.record)
            journal.begin(line.planned, line.parts)
            line.parts.clear()  # the journal has them: a million rows are not held twice
        if line.planned.samples:  # what is made anew leaves the record once the journal knows of it
            there.announce(target, line.planned, state.record)
        record = _filled(target, journal, state.record, line, pace, progress)
    rest()
    journal.delete()
    return record


def _filled(
    target: Storage, journal: Journal, before: Record | None, line: _Line, pace: Pace, progress: Tell
) -> Record:
    """Fill what has no receipt, and write tables and record."""
    planned, began = line.planned, journal.token()
    prepare(planned, target)
    done = journal.done(planned)
    left = [task for task in planned.tasks if task not in done]
    state = _progress(planned, done)
    progress(state)
    # By the memory allowed alone: what is too large for it is so whatever the workers, and whatever is held just now.
    room = None if pace.memory is None else max(LEAST, (pace.memory - LEAST) // TOGETHER)
    threads = 1 if pace.executor is not None else pace.workers
    place = Workplace(Site(target, line.opened, line.recipe, began, pace.strict, threads, room), planned)
    run(place, left, workers=pace.workers, at_once=line.at_once, executor=pace.executor, tell=progress, progress=state)
    progress(replace(state, stage="tables", tasks_done=state.tasks, rows_done=state.rows))
    if journal.token() != began:  # a claim is only a courtesy
        raise StoreError(f"{target.url}: another conversion began or ended here meanwhile. Run convert again.")
    earlier = None if before is None else replace(before, pending=())
    return finish(planned, line.recipe, line.opened, journal, earlier, place.rows, lambda record: pair(target, record))


def _progress(planned: Plan, done: Collection[Task]) -> Progress:
    return Progress(
        stage="convert",
        tasks=len(planned.tasks),
        tasks_done=len(done),
        rows=sum(task.stop - task.start for task in planned.tasks),
        rows_done=sum(task.stop - task.start for task in done),
    )


def _fits(planned: Plan, pace: Pace) -> int:
    return in_flight(planned, pace.workers, pace.memory)


def _codecs(choices: Choices) -> dict[str, str]:
    return {**Codec.parse(choices.codec).versions(), "zarrscope": __version__}


def declare(
    opened: Sequence[Source],
    choices: Choices,
    recipe: str | Recipe | None,
    fresh: Callable[[Layout, Recipe], Layout] = lambda layout, _: layout,
) -> tuple[Plan, Layout, Recipe]:
    """Walk the headers, choose the recipe, lay the members out, cut the layout into tasks: nothing is written.

    ``fresh`` leaves out what a store has already.
    """
    indexes = [source.index(salvage=choices.salvage) for source in opened]
    chosen = named(recipe) or choose(known(), opened, indexes)
    layout = chosen.layout(scan(chosen, opened, indexes))
    layout = fresh(chunked(select(layout, where=choices.where, limit=choices.limit), choices), chosen)
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


def named(recipe: str | Recipe | None) -> Recipe | None:
    """Give the recipe that a name means; a recipe, or none, is given as it is."""
    return recipe if recipe is None or isinstance(recipe, Recipe) else _recipe(recipe)


def _recipe(name: str) -> Recipe:
    there = known()
    if name not in there:
        raise RecipeError(f"no recipe is called {name!r}; known: {', '.join(there)}.")
    return there[name]
