"""What can go wrong, said once: where, what was expected, what was found, what to do.

Every class also subclasses the builtin that it stands for, so that ``except ValueError`` keeps working, and carries
the exit code that the command line answers with. Problems are collected and raised together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

Kind = Literal[
    "archive",  # the structure of a source is broken
    "conformance",  # a group breaks the OME-NGFF or AnnData rules
    "content",  # bytes, pixels or rows differ from what they should be
    "declaration",  # a layout, plan or record contradicts itself
    "decode",  # a member is not what its name promises
    "duplicate",  # two members share one name
    "misnamed",  # a member that no pattern of the recipe takes
    "missing",  # something that should be there is not
    "pairing",  # two stacks that should line up do not
    "provenance",  # something worth knowing about where the data come from
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong: ``where`` as a user would type it, a kind of a closed set, and a sentence."""

    where: str
    kind: Kind
    message: str

    def __str__(self) -> str:
        """Give the line that a report prints."""
        return f"{self.where}: {self.message}"


class ZarrscopeError(Exception):
    """The root of every error that zarrscope raises on purpose."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str = "", *, problems: Sequence[Problem] = ()) -> None:
        self.problems = tuple(problems)
        lines = [message] if message else []
        lines += [f"  {problem}" if message else str(problem) for problem in self.problems]
        super().__init__("\n".join(lines))


class UsageError(ZarrscopeError, ValueError):
    """The call itself makes no sense: an unknown option, a scheme that is not allowed, too little memory."""

    exit_code = 2


class QueryError(UsageError):
    """An expression cannot be read, names an unknown column, or asks for a value that nothing has."""


class SourceError(ZarrscopeError, ValueError):
    """A source as a whole is not what it says: a broken archive, an HTML page in place of data."""

    exit_code = 3


class DecodeError(ZarrscopeError, ValueError):
    """One member cannot be decoded."""

    exit_code = 3


class RecipeError(ZarrscopeError, LookupError):
    """No recipe, or more than one, takes a source."""

    exit_code = 3


class LayoutError(ZarrscopeError, ValueError):
    """A layout contradicts itself; all its problems are listed."""

    exit_code = 3


class StoreError(ZarrscopeError, OSError):
    """A store is unfinished, damaged, or not one of ours."""

    exit_code = 3


class MissingDataError(StoreError, KeyError):
    """A shard or a chunk that should be in a store is not there, or is torn."""

    def __str__(self) -> str:
        """Give the message as it is: ``KeyError`` would show its representation."""
        return str(self.args[0]) if self.args else ""


class VerifyError(ZarrscopeError, ValueError):
    """A store is not what its record, its digests or its sources say."""

    exit_code = 3


class TemporaryError(ZarrscopeError, ConnectionError):
    """Storage did not answer in time: the same line may succeed later."""

    exit_code = 5
