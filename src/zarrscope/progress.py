"""How a conversion is shown: a bar with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from zarrscope.describe import size_text

if TYPE_CHECKING:
    from zarrscope.model import Progress

EVERY = 10.0  # seconds between plain lines


@contextmanager
def bar() -> Iterator[Callable[[Progress], None]]:
    """Show a bar on stderr: samples, share, rate, bytes read and written, time left."""
    from rich import progress as rich
    from rich.console import Console

    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.TaskProgressColumn(),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.fields[told]}"),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task("convert", total=None, told="")
        rate = _Rate()

        def tell(state: Progress) -> None:
            told = rate.text(state)
            shown.update(task, description=state.stage, total=state.rows, completed=state.rows_done, told=told)

        yield tell


@contextmanager
def lines(say: Callable[[str], None]) -> Iterator[Callable[[Progress], None]]:
    """Say a line now and then, at each change of stage, and at the end."""
    rate, last, stage = _Rate(), 0.0, ""

    def tell(state: Progress) -> None:
        nonlocal last, stage
        now = time.monotonic()
        if state.stage == stage and now - last < EVERY and state.rows_done < state.rows:
            return
        last, stage = now, state.stage
        say(f"{state.stage}: {state.rows_done} of {state.rows} samples  {rate.text(state)}")

    yield tell


class _Rate:
    """Counts from the first state it sees, so that what a resumed run found done is no merit of its own."""

    def __init__(self) -> None:
        self._first: Progress | None = None
        self._start = 0.0

    def text(self, state: Progress) -> str:
        if self._first is None:
            self._first, self._start = state, time.monotonic()
            return ""
        seconds = time.monotonic() - self._start
        done = state.rows_done - self._first.rows_done
        if seconds <= 0 or not done or not state.bytes_read:
            return ""
        bad = f"  {state.quarantined} quarantined" if state.quarantined else ""
        return (
            f"{done / seconds:,.0f}/s  {size_text(round(state.bytes_read / seconds))}/s read  "
            f"{size_text(state.bytes_written)} written{bad}"
        )
