"""What is there already: whether a store can be written, resumed, added to or overwritten, decided before any write."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from zarrscope.engine.journal import Journal
from zarrscope.errors import StoreError, UsageError
from zarrscope.model import Choices, Plan, Source
from zarrscope.record import JOURNAL, ROOT, Record, parse_root, root_document
from zarrscope.storage import Storage, local_path

_AGAIN = "Run the same line again to resume it, or pass --overwrite to begin anew."
_COMPARED = ("codec", "chunk", "shard", "where", "limit", "keep")


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
    stray = next((key for key, _ in target.keys()), None)
    if stray is not None:
        raise StoreError(f"{target.url} is not empty ({stray}) and not a store of ours. Give another place.")


def under_way(journal: Journal, before: Record | None) -> bool:
    """Tell whether a conversion has begun and its record is not written yet."""
    return (before is None or bool(before.pending)) and journal.plan() is not None


def refuse_to_delete(target: Storage) -> None:
    """Refuse to overwrite what is not ours, finished or not."""
    try:
        refuse_foreign(target, record_of(target))
    except StoreError:
        if b'"zarrscope"' not in (target.get(ROOT) if target.size(ROOT) else b""):
            raise  # a damaged record is still one of ours


def delete_store(target: Storage) -> None:
    """Delete a store, the record first."""
    target.delete(ROOT)
    target.delete("")


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
    begun: Plan, opened: Sequence[Source], choices: Choices, codecs: Mapping[str, str], target: Storage
) -> None:
    """Refuse to resume what was begun otherwise: the result would be neither one nor the other."""
    if begun.codecs != codecs:
        raise StoreError(f"{target.url} was begun with {dict(begun.codecs)}, this is {dict(codecs)}. {_AGAIN}")
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


def announce(target: Storage, planned: Plan, before: Record | None) -> None:
    """Say in the record of a finished store what is to come, before anything of it is written."""
    if before is None:
        return
    if before.recipe != planned.recipe:
        raise StoreError(f"{target.url} holds {before.recipe} data; {planned.recipe} needs a store of its own.")
    there = {element.path for element in before.elements}
    clash = [image.path for image in planned.images if image.path in there]
    if clash:
        raise StoreError(f"{target.url} holds {', '.join(clash)} already. Give another place, or pass --overwrite.")
    target.put(ROOT, root_document(replace(before, pending=tuple(image.path for image in planned.images))))
