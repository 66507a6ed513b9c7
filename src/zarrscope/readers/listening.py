"""Hear what tifffile warns of in one thread, instead of printing it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


class _Ear(logging.Filter):
    """Takes the warnings of tifffile away from the thread that is decoding, and keeps them; other threads' pass."""

    def __init__(self) -> None:
        super().__init__()
        self.local = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        messages: list[str] | None = getattr(self.local, "messages", None)
        if messages is None:
            return True
        if record.levelno >= logging.WARNING:
            messages.append(record.getMessage())
        return False


@cache
def _ear() -> _Ear:
    # One filter for good: adding and removing one for each file would race with the threads that log.
    ear = _Ear()
    logging.getLogger("tifffile").addFilter(ear)
    return ear


@contextmanager
def listening() -> Iterator[list[str]]:
    """Collect what tifffile warns of in this thread; nothing of it is printed."""
    local = _ear().local
    messages: list[str] = []
    local.messages = messages
    try:
        yield messages
    finally:
        del local.messages
