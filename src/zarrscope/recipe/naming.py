"""Names of groups: letters, digits, '.', '_' and '-' only, and no two alike on any file system."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_OTHER = re.compile(r"[^A-Za-z0-9._-]")


def group_name(name: str) -> str:
    """Give the name of a group for a true name: Greek letters are spelled, any other character becomes ``_``.

    >>> group_name("ER-sec61β"), group_name("Mouse_Brain+Kidney"), group_name("..")
    ('ER-sec61beta', 'Mouse_Brain_Kidney', '__')
    """
    spelled = _OTHER.sub("_", "".join(map(_spelled, unicodedata.normalize("NFC", name))))
    return "_" * len(spelled) if not spelled.strip(".") else spelled


def group_names(names: Iterable[str]) -> dict[str, str]:
    """Give a name of a group for each true name; of names that collide, on some file system, later ones get a suffix.

    >>> group_names(["a+b", "a b", "A_B"])
    {'a+b': 'a_b', 'a b': 'a_b-2', 'A_B': 'A_B-3'}
    """
    given: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        plain, number = group_name(name), 1
        chosen = plain
        while chosen.casefold() in taken:
            number += 1
            chosen = f"{plain}-{number}"
        taken.add(chosen.casefold())
        given[name] = chosen
    return given


def _spelled(character: str) -> str:
    greek = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (\w+)", unicodedata.name(character, ""))
    if greek is None:
        return character
    return greek[2].lower() if greek[1] == "SMALL" else greek[2].capitalize()
