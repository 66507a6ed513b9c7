"""What is wrong with a row, said with its number and its name."""

from __future__ import annotations

from zarrscope.errors import DecodeError


class RowError(DecodeError):
    """A row that can't be read.

    Parameters
    ----------
    row
        Its number among the rows that were read, from 0.
    name
        What it is called, where that is known.
    reason
        What follows in the message: a colon or the column, what was expected, and what was found.
    """

    def __init__(self, row: int, name: str | None, reason: str) -> None:
        self.row = row
        self.name = name
        self.reason = reason
        spot = "" if name is None else f" (spot {name!r:.120})"
        # Counted as an editor does: the header is row 1.
        super().__init__(f"row {row + 2:,}{spot}{reason}")

    def __reduce__(self) -> tuple[type[RowError], tuple[int, str | None, str]]:
        return RowError, (self.row, self.name, self.reason)

    def below(self, rows: int) -> RowError:
        """Give the same error where so many rows stand above those that were read."""
        return RowError(self.row + rows, self.name, self.reason)
