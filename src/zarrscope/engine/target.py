"""What is there already: whether a store can be written, resumed, added to or overwritten, decided before any write."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from zarrscope.engine.journal import Journal
from zarrscope.errors import StoreError, UsageError, ZarrscopeError
from zarrscope.model import Choices, Plan, Source
from zarrscope.recipe import Recipe
from zarrscope.record import JOURNAL, ROOT, Record, parse_root, root_document
from zarrscope.storage import Storage, local_path

_AGAIN = "Run the same line again to resume it, or pass --overwrite to begin anew."
_DOOMED = f"{JOURNAL}/doomed"  # there while a store is being deleted: whoever comes goes on with it
_COMPARED = ("codec", "chunk", "shard", "where", "limit", "keep")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What there is: a record, the plan of a conversion under way, or a store that is to be deleted first.

    ``leftover`` tells of anything temporary, be it only the claim of another converter.
    """

    record: Record | None = None
    plan: Plan | None = None
    doomed: bool = False
    leftover: bool = field(default=False, compare=False)


def look(target: Storage, *, overwrite: bool) -> State:
    """Look what there is; equal states mean that nobody wrote in between."""
    if overwrite or _is_doomed(target):
        refuse_to_delete(target)
        return State(doomed=True)
    record = record_of(target)
    under_way = record is None or record.pending
    return State(
        record=record,
        plan=Journal(target).plan() if under_way else None,
        leftover=Journal(target).exists(),
    )


def _is_doomed(target: Storage) -> bool:
    try:
        return target.size(_DOOMED) is not None
    except NotADirectoryError:
        return False


@contextmanager
def explained(target: Storage) -> Iterator[None]:
    """Turn what the operating system says of the store into an error of ours."""
    try:
        yield
    except (ZarrscopeError, ConnectionError, TimeoutError):
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = "no space is left. What is written is safe: make room and run the same line again."
        else:
            told = f"{error.strerror}: {error.filename}" if error.strerror and error.filename else str(error)
            reason = f"it can't be read or written ({told}). What is written is safe: run the same line again."
        raise StoreError(f"{target.url}: {reason}") from error


def record_of(target: Storage) -> Record | None:
    """Read the record of a store; None where there is no root."""
    try:
        return parse_root(target.get(ROOT), target.url)
    except (FileNotFoundError, NotADirectoryError):
        return None


def refuse_overlap(sources: Sequence[str | os.PathLike[str]], target: Storage) -> None:
    """Refuse a store inside a source folder, or a source inside the store: each would read what it writes."""
    if target.root is None:
        return
    place = target.root.resolve()
    for source in (os.fspath(one) for one in sources):
        if "::" not in source and (local := local_path(source)) is not None:
            path = local.resolve()
            if place.is_relative_to(path) or path.is_relative_to(place):
                raise UsageError(f"the store {target.url} and the source {source} lie inside one another.")


def refuse_foreign(target: Storage, before: Record | None) -> None:
    """Refuse to write into what is neither empty nor ours."""
    if target.root is not None and target.root.is_file():
        raise StoreError(f"{target.url} is a file, not a store. Give another place.")
    if before is not None or next(iter(target.keys(JOURNAL)), None) is not None:
        return
    stray = next(iter(target.keys()), None)
    if stray is not None:
        raise StoreError(f"{target.url} is not empty ({stray[0]}) and not a store of ours. Give another place.")


def refuse_to_delete(target: Storage) -> None:
    """Refuse to overwrite what is not ours, finished or not."""
    try:
        refuse_foreign(target, record_of(target))
    except StoreError:
        try:
            ours = b'"zarrscope"' in target.get(ROOT)  # a damaged record is still one of ours
        except (FileNotFoundError, NotADirectoryError):
            ours = False
        if not ours:
            raise


def delete_store(target: Storage) -> None:
    """Delete everything but the claim; killed in between, the store is known as one that is to be deleted."""
    journal = Journal(target)
    target.put(_DOOMED, b"")
    target.delete(ROOT)
    names = {key.partition("/")[0] for key, _ in target.keys()}  # noqa: SIM118  (a tree is no dict)
    if target.root is not None:  # there may be empty folders
        names |= {path.name for path in target.root.iterdir()}
    for name in sorted(names - {JOURNAL}):
        target.delete(name)
    journal.clear()
    target.delete(_DOOMED)


def not_yet_converted(
    opened: tuple[Source, ...], before: Record | None, choices: Choices, say: Callable[[str], None]
) -> tuple[Source, ...]:
    """Leave out sources that the store holds already, by name and size and with the same choices."""
    held = {
        (source.name, source.size): conversion
        for conversion in (before.conversions if before else ())
        for source in conversion.sources
    }
    left = []
    for source in opened:
        conversion = held.get((source.name, source.size))
        if conversion is None:
            left.append(source)
        elif any(getattr(conversion, name) != getattr(choices, name) for name in _COMPARED):
            raise StoreError(f"{source.name} was converted into this store with other options. Pass --overwrite.")
        else:
            say(f"{source.name} is in the store already, by name and size (verify --source compares contents)")
    return tuple(left)


def refuse_other_conversion(
    begun: Plan,
    opened: Sequence[Source],
    choices: Choices,
    codecs: Mapping[str, str],
    recipe: Recipe,
    target: Storage,
) -> None:
    """Refuse to resume what was begun otherwise: the result would be neither one nor the other."""
    if begun.codecs != codecs:
        raise StoreError(f"{target.url} was begun with {dict(begun.codecs)}, this is {dict(codecs)}. {_AGAIN}")
    if (begun.recipe, begun.recipe_version) != (recipe.name, recipe.version):
        was, now = f"{begun.recipe} {begun.recipe_version}", f"{recipe.name} {recipe.version}"
        raise StoreError(f"{target.url} was begun with the recipe {was}, not {now}. {_AGAIN}")
    if begun.choices != choices:
        names = [
            name for name in Choices.__dataclass_fields__ if getattr(begun.choices, name) != getattr(choices, name)
        ]
        told = ", ".join(f"{name} {getattr(begun.choices, name)!r}, not {getattr(choices, name)!r}" for name in names)
        raise StoreError(f"{target.url} was begun with {told}. {_AGAIN}")
    names = [origin.name for origin in begun.sources]
    if names != [source.name for source in opened]:
        raise StoreError(f"{target.url} was begun from {', '.join(names)}. {_AGAIN}")
    for origin, source in zip(begun.sources, opened, strict=True):
        if origin.token != source.token():
            raise StoreError(f"{source.url} changed since {target.url} was begun. Pass --overwrite to begin anew.")


def refuse_clash(target: Storage, planned: Plan, before: Record | None) -> None:
    """Refuse to add what a finished store holds already, or what does not belong there."""
    if before is None:
        return
    if before.recipe != planned.recipe:
        raise StoreError(f"{target.url} holds {before.recipe} data; {planned.recipe} needs a store of its own.")
    # A path is the same in any case on some file systems, and a sample's name is that of its row in one table for all.
    paths = {one.path.casefold(): one for one in before.elements}
    names = {one.name.casefold(): one for one in before.elements if one.kind == "sample"}
    clash = [image.path for image in planned.images if image.path.casefold() in paths]
    for sample in planned.samples:  # what has both is that sample itself, to be made anew
        found = {paths.get(sample.path.casefold()), names.get(sample.name.casefold())} - {None}
        if any(one is not None and (one.path, one.name) != (sample.path, sample.name) for one in found):
            clash.append(sample.name)
    if clash:
        raise StoreError(f"{target.url} holds {', '.join(clash)} already. Give another place, or pass --overwrite.")


def refuse_other_making(
    target: Storage, before: Record, recipe: Recipe, choices: Choices, codecs: Mapping[str, str]
) -> None:
    """Refuse to put samples beside others that were made otherwise: one store is made in one way."""
    last = before.conversions[-1]
    if (before.recipe, before.recipe_version, dict(before.codecs), last.codec) != (
        recipe.name,
        recipe.version,
        dict(codecs),
        choices.codec,
    ):
        raise StoreError(
            f"{target.url} was made by {before.recipe} {before.recipe_version} with {dict(before.codecs)}, "
            f"{last.codec}; this is {recipe.name} {recipe.version} with {dict(codecs)}, {choices.codec}. "
            "Give another place, or pass --overwrite."
        )


def announce(target: Storage, planned: Plan, before: Record | None) -> None:
    """Say in the record of a finished store what is to come, before anything of it is written."""
    if before is not None:
        pending = (*(image.path for image in planned.images), *(sample.path for sample in planned.samples))
        rest = tuple(one for one in before.elements if one.path not in pending)
        target.put(ROOT, root_document(replace(before, elements=rest, pending=pending)))


def withdraw(target: Storage, before: Record) -> Record:
    """Take back what was announced and never begun."""
    if not before.pending:
        return before
    record = replace(before, pending=()).sealed()
    target.put(ROOT, root_document(record))
    return record
