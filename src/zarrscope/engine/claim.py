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
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from zarrscope.record import JOURNAL
from zarrscope.storage import Storage

KEY = f"{JOURNAL}/claim"
LOCK = f"{JOURNAL}/lock"
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
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        # A container without an init keeps its dead as zombies for ever.
        return None if state in "ZX" else fields[18]
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
) -> Iterator[Callable[[], None]]:
    """Hold the store for the length of a block; wait while another converter lives.

    Gives a function that ends the signs of life: after it, nothing of ours writes beside the claim any more.
    """
    mine = Claim(socket.gethostname(), os.getpid(), process_start(os.getpid()) or "", uuid.uuid4().hex)
    _take(storage, mine, tell, sleep)
    stop = threading.Event()

    def live() -> None:
        beat = 0
        while not stop.wait(BEAT):
            beat += 1
            with contextlib.suppress(OSError):
                storage.put(KEY, msgspec.json.encode(msgspec.structs.replace(mine, beat=beat)))

    alive = threading.Thread(target=live, name="zarrscope-claim", daemon=True)

    def rest() -> None:
        stop.set()
        alive.join()

    alive.start()
    try:
        yield rest
    finally:
        rest()
        held = read_claim(storage)
        if held is not None and held.token == mine.token:
            storage.delete(KEY)


def _take(storage: Storage, mine: Claim, tell: Callable[[str], None], sleep: Callable[[float], None]) -> None:
    told, seen, unchanged = False, None, 0.0
    while True:
        held = read_claim(storage)
        unchanged = unchanged if held == seen else 0.0
        if held is None or _dead(held, unchanged):
            with _alone(storage):
                if read_claim(storage) == held:
                    storage.put(KEY, msgspec.json.encode(mine))
                    return
            continue
        if not told:
            tell(f"{storage.url} is being written by process {held.pid} on {held.host}: waiting for it to end")
            told = True
        seen = held
        sleep(1.0)
        unchanged += 1.0


def _dead(held: Claim, unchanged: float) -> bool:
    here = held.host == socket.gethostname()
    if here and process_start(held.pid) != held.started:
        return True
    # Of this very process it may be one that could not be deleted when its conversion failed.
    return unchanged >= EXPIRES and (not here or held.pid == os.getpid())


@contextmanager
def _alone(storage: Storage) -> Iterator[None]:
    """Keep others of this file system out while the claim is looked at and written; elsewhere nothing can."""
    path = None if storage.root is None else storage.root / LOCK
    with ExitStack() as stack:
        while path is not None:
            storage.make_folder(path.parent)
            try:
                import fcntl

                file = stack.enter_context(path.open("ab"))
                fcntl.flock(file, fcntl.LOCK_EX)
                if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                    break
            except FileNotFoundError:  # the journal was deleted meanwhile, and so it was if it is another file now
                continue
            except (ImportError, OSError):  # not every system has locks
                break
        yield
