"""Which recipe takes a source: told by its content."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points

import numpy as np

from zarrscope.errors import DecodeError, RecipeError
from zarrscope.model import Content, Index, Members, Source
from zarrscope.recipe.catalog import Recipe

GROUP = "zarrscope.recipes"


def known() -> dict[str, Recipe]:
    """Load every installed recipe, by name."""
    return {entry.name: entry.load() for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}


def choose(recipes: Mapping[str, Recipe], sources: Sequence[Source], indexes: Sequence[Index]) -> Recipe:
    """Find the recipe that takes the sources by their content: most names match, and members decode.

    Raises
    ------
    RecipeError
        Where no recipe takes every source, or two take them equally well.
    """
    scores = {name: [_share(recipe, index.members) for index in indexes] for name, recipe in recipes.items()}
    fit = {name: shares for name, shares in scores.items() if all(hits for hits, _ in shares)}
    ranked = sorted(fit, key=lambda name: sum(hits / looked for hits, looked in fit[name]), reverse=True)
    decoding = [
        name for name in ranked if all(_decodes(recipes[name], *pair) for pair in zip(sources, indexes, strict=True))
    ]
    if decoding:
        return recipes[decoding[0]]
    known_names = ", ".join(sorted(recipes)) or "none"
    if ranked:
        raise RecipeError(
            f"no recipe takes {_listed(sources)}: names fit {ranked[0]}, but none of the members tried can be decoded. "
            f"Name one with --recipe to go on; known: {known_names}."
        )
    nearest = max(scores, key=lambda name: sum(hits for hits, _ in scores[name]), default="none")
    hits, looked = (sum(column) for column in zip(*scores.get(nearest, [(0, 0)]), strict=True))
    raise RecipeError(
        f"no recipe takes {_listed(sources)} ({looked} members looked at; nearest: {nearest}, {hits} of {looked}). "
        f"Name one with --recipe; known: {known_names}."
    )


def _listed(sources: Sequence[Source]) -> str:
    return ", ".join(source.name for source in sources)


def _share(recipe: Recipe, members: Members, most: int = 1000) -> tuple[int, int]:
    names = members.names[np.unique(np.linspace(0, len(members) - 1, min(most, len(members))).astype(int))]
    looked = [str(name) for name in names if not recipe.ignores(str(name))]
    pattern = re.compile(recipe.pattern)
    return sum(pattern.fullmatch(name) is not None for name in looked), max(1, len(looked))


def _decodes(recipe: Recipe, source: Source, index: Index) -> bool:
    pattern = re.compile(recipe.pattern)
    rows = [row for row in range(min(len(index.members), 4096)) if pattern.fullmatch(str(index.members.names[row]))]
    if recipe.look is not None:
        return _looks_right(recipe.look, source, index, rows)
    spread = sorted({rows[int(place)] for place in np.linspace(0, len(rows) - 1, 16)}) if rows else []
    for blob in source.read(index.members.take(np.array(spread, np.int64))):
        try:
            if not isinstance(blob, DecodeError):
                recipe.decode(blob)
                return True
        except DecodeError:
            continue
    return False


def _looks_right(look: Callable[[str, Content], None], source: Source, index: Index, rows: Sequence[int]) -> bool:
    for row in sorted({rows[int(place)] for place in np.linspace(0, len(rows) - 1, 16)}) if rows else []:
        try:
            look(str(index.members.names[row]), source.open(index.members[row]))
        except DecodeError:
            continue
        return True
    return False
