"""A claim on a store, so that two converters do not do the same work. A courtesy: correctness never needs it.

Tasks are fixed, shards deterministic and writes whole, so two converters at once still write the right bytes; the
second one just waits. A holder on this host is dead when its process is gone (pid and start time tell); one elsewhere
when its claim has not changed for a minute by our own clock, whatever its clock says.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from zarrscope.record import JOURNAL
from zarrscope.storage import Storage

KEY = f"{JOURNAL}/claim"
EXPIRES = 60.0  # seconds without a sign of life
BEAT = 15.0


class Claim(msgspec.Struct, frozen=True):
    """Who holds a store; ``beat`` counts up while the holder lives."""

    host: str
    pid: int
    started: str
    token: str
    beat: int = 0


def process_start(pid: int) -> str | None:
    """Give a text that tells this process from a later one of the same number; None where there is no such process."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return ""


def read_claim(storage: Storage) -> Claim | None:
    """Read who holds the store; None where nobody does, or the claim can't be read."""
    try:
        return msgspec.json.decode(storage.get(KEY), type=Claim)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


@contextmanager
def claimed(
    storage: Storage, tell: Callable[[str], None], sleep: Callable[[float], None] = time.sleep
) -> Iterator[None]:
    """Hold the store for the length of a block; wait while another converter lives."""
    _wait(storage, tell, sleep)
    mine = Claim(socket.gethostname(), os.getpid(), process_start(os.getpid()) or "", uuid.uuid4().hex)
    storage.put(KEY, msgspec.json.encode(mine))
    stop = threading.Event()

    def live() -> None:
        beat = 0
        while not stop.wait(BEAT):
            beat += 1
            with contextlib.suppress(OSError):
                storage.put(KEY, msgspec.json.encode(msgspec.structs.replace(mine, beat=beat)))

    alive = threading.Thread(target=live, name="zarrscope-claim", daemon=True)
    alive.start()
    try:
        yield
    finally:
        stop.set()
        alive.join()
        held = read_claim(storage)
        if held is not None and held.token == mine.token:
            storage.delete(KEY)


def _wait(storage: Storage, tell: Callable[[str], None], sleep: Callable[[float], None]) -> None:
    told, seen, unchanged = False, None, 0.0
    while (held := read_claim(storage)) is not None:
        here = held.host == socket.gethostname()
        if here and process_start(held.pid) != held.started:
            return
        unchanged = unchanged if held == seen else 0.0
        if not here and unchanged >= EXPIRES:
            return
        if not told:
            tell(f"{storage.url} is being written by process {held.pid} on {held.host}: waiting for it to end")
            told = True
        seen = held
        sleep(1.0)
        unchanged += 1.0
