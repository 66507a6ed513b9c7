"""From the fields of members to plain values in columns."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from zarrscope.model import Scalar

type Fields = Mapping[str, Any]
type Obs = Mapping[str, npt.NDArray[Any]]
type Describe = Callable[[Fields], Mapping[str, Scalar]]

# Columns that the engine writes.
RESERVED = frozenset({"ok", "reason", "member_offset", "member_size", "source", "index", "_index", ""})
_LONGEST = 100  # characters of a column's name: it names objects of the store


def flatten(fields: Fields, prefix: str = "") -> dict[str, Scalar]:
    """Turn nested fields into one level of plain values, with names that a query can use.

    >>> flatten({"image-id": "a", "size": {"X": 3}, "tags": [1, "b"]})
    {'image_id': 'a', 'size_X': 3, 'tags': '[1, "b"]'}
    """
    flat: dict[str, Scalar] = {}
    for key, value in fields.items():
        name = re.sub(r"\W", "_", f"{prefix}{key}", flags=re.ASCII)[:_LONGEST]
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}_")
        elif value is None or isinstance(value, (str, int, float, bool)):
            flat[name] = value
        else:
            flat[name] = json.dumps(value, default=lambda held: dict(held) if isinstance(held, Mapping) else str(held))
    return flat


def column_name(name: str, obs: Collection[str]) -> str:
    """Give the column that a field goes to: what names and the engine tell of a row is never overwritten by a field.

    >>> column_name("chan_id", ["protein"]), column_name("ok", ["protein"])
    ('chan_id', 'field_ok')
    """
    return f"field_{name}" if name in RESERVED or name in obs else name


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Described:
    """Rows of an image with their fields as plain values.

    Parameters
    ----------
    distinct
        The descriptions that there are: many members share one.
    codes
        ``(n,)`` which description each row has; -1 for none.
    obs
        ``(n,)`` columns known from names.
    """

    distinct: tuple[Mapping[str, Scalar], ...]
    codes: npt.NDArray[np.int32]
    obs: Obs

    @classmethod
    def of(cls, fields: Sequence[Fields | None], obs: Obs, describe: Describe) -> Described:
        """Describe the fields of each row (None where it has none)."""
        place: dict[int, int] = {}
        distinct: list[Fields] = []
        codes = np.full(len(fields), -1, np.int32)
        for row, one in enumerate(fields):
            if one is not None:
                if id(one) not in place:
                    place[id(one)] = len(distinct)
                    distinct.append(one)
                codes[row] = place[id(one)]
        return cls(distinct=tuple(describe(one) for one in distinct), codes=codes, obs=obs)

    @property
    def names(self) -> list[str]:
        """The columns that any description has."""
        return list(dict.fromkeys(name for one in self.distinct for name in one))

    def column(self, name: str) -> list[Scalar]:
        """Give a described column, ``(n,)``; None where a row lacks it."""
        values = [*(one.get(name) for one in self.distinct), None]
        return [values[code] for code in self.codes.tolist()]
