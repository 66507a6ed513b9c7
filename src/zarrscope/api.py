"""The story in one file: plan, convert, open, verify, and what a store tells of itself.

``convert`` opens the sources and finds their members; the recipe declares images and rows; the plan cuts them into
tasks, one a shard; the engine does each task that has no receipt; tables are built from receipts and, last, the
record. Reading goes the other way and starts at the record.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zarrscope.errors import StoreError, UsageError
from zarrscope.model import Choices, Plan, Progress, Source
from zarrscope.recipe import Recipe, known
from zarrscope.record import Record
from zarrscope.storage import Storage
from zarrscope.writers.codec import Codec

if TYPE_CHECKING:
    from zarrscope.loaders.store import Store
    from zarrscope.proof import Report

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
    from zarrscope.engine.conversion import declare
    from zarrscope.engine.estimate import estimate

    Storage(os.fspath(store))
    choices = _choices(codec, chunk, shard, where, limit, keep, salvage)
    opened = _open_sources(sources, storage_options)
    planned, layout, chosen = declare(opened, choices, recipe)
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
    from zarrscope.engine.conversion import Pace, converted, named
    from zarrscope.engine.target import refuse_overlap

    if unknown := set(card or {}) - {"license", "citation", "contact"}:
        raise UsageError(f"the card has {', '.join(sorted(unknown))}: expected license, citation, contact.")
    choices = _choices(codec, chunk, shard, where, limit, keep, salvage, card)
    target = Storage(os.fspath(store), dict(storage_options or {}))
    refuse_overlap(_listed(sources), target)
    return converted(
        target,
        _open_sources(sources, storage_options),
        choices,
        named(recipe),
        Pace(workers or os.cpu_count() or 1, executor, memory, strict),
        overwrite=overwrite,
        progress=progress,
        say=say,
    )


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
    if any(rows is not None and rows < 1 for rows in (chunk, shard)):
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
    from zarrscope.proof import verify_store

    opened = _open_sources(sources, storage_options) if sources else ()
    target = Storage(os.fspath(store), dict(storage_options or {}))
    return verify_store(target, sources=opened, recipes=known(), quick=quick, read_data=read_data, say=say)


def manifest(store: str | os.PathLike[str], *, storage_options: Mapping[str, Any] | None = None) -> list[str]:
    """Give one line ``sha256  key`` an object, as ``sha256sum -c`` takes it inside a local store."""
    from zarrscope.proof import manifest_lines

    return manifest_lines(Storage(os.fspath(store), dict(storage_options or {})))


def info(store: str | os.PathLike[str], *, storage_options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Tell what a store holds, as plain values: sources, images with statistics, samples, terms, findings.

    An unfinished store tells how far it is.
    """
    from zarrscope.describe import describe, describe_unfinished
    from zarrscope.engine.journal import Journal
    from zarrscope.engine.target import record_of

    target = Storage(os.fspath(store), dict(storage_options or {}))
    journal, record = Journal(target), record_of(target)
    begun = journal.plan() if record is None or record.pending else None
    under_way = {} if begun is None else {"tasks": len(begun.tasks), "tasks_done": len(journal.done(begun))}
    if record is None:
        if begun is None:
            raise StoreError(f"{target.url} is no store of ours.")
        return {**describe_unfinished(begun, target.url), **under_way}
    return {**describe(open(store, storage_options=storage_options), record), **under_way}


def sheet(
    store: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    by: str | None = None,
    samples: str | None = None,
    columns: int = 8,
    storage_options: Mapping[str, Any] | None = None,
) -> None:
    """Draw a contact sheet: some samples of each value of a column, pairs side by side, as PNG.

    Parameters
    ----------
    store
        A finished store.
    out
        The PNG to write.
    by
        A column of the catalogue; one row of pictures for each of its values.
    samples
        Which sample set or image; by default the first whose catalogue has the column.
    columns
        Samples a row.
    storage_options
        Handed to fsspec.
    """
    from zarrscope.contact import draw_sheet

    draw_sheet(open(store, storage_options=storage_options), os.fspath(out), by=by, samples=samples, columns=columns)


def demonstrate(folder: str | os.PathLike[str], *, say: Say = lambda _: None) -> str:
    """Make small archives true to form, convert, verify and open them; give what to type next.

    Raises
    ------
    UsageError
        Where the folder is there and not empty, and not left by an earlier demo.
    """
    from zarrscope.demo import make_biosr, make_stedfm, make_stimage

    home = Path(folder)
    marker = home / ".zarrscope-demo"
    if home.exists() and any(home.iterdir()) and not marker.exists():
        raise UsageError(f"{home} is there already and not empty: give another folder.")
    home.mkdir(parents=True, exist_ok=True)
    marker.touch()
    say("making STED-FM's six archives, and the folder trees of BioSR and STimage-1K4M, small but true to form")
    parts = {
        "stedfm.zarr": (list(make_stedfm(home).values()), "protein", "subset/normalised"),
        "biosr.zarr": ([make_biosr(home)], None, "test"),
        "stimage.zarr": ([make_stimage(home)], "tissue", None),
    }
    told = []
    for name, (sources, by, samples) in parts.items():
        store, picture = home / name, home / f"{Path(name).stem}.png"
        record = convert(sources, store, overwrite=store.exists(), say=say)
        say(str(verify(store, sources=sources)))
        sheet(store, picture, by=by, samples=samples)
        told.append(f"{store}: {record.counts.converted} members, a picture in {picture}")
    first = home / "stedfm.zarr"
    look = f"print(zs.open('{first}').query('protein == \\'psd95\\'').image('normalised'))"
    return "\n".join(
        [
            *told,
            "Type next:",
            f"  zarrscope info {first}",
            f"  zarrscope verify {first} --read-data",
            f"  zarrscope sheet {home / 'biosr.zarr'} --samples train pairs.png",
            f'  python -c "import zarrscope as zs; {look}"',
            f"  python -c \"import zarrscope as zs; print(zs.open('{home / 'stimage.zarr'}').slides)\"",
        ]
    )
