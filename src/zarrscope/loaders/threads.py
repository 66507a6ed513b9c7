"""Reading in parallel: one bounded pool a process for local decoding, one for remote requests.

Decoding and reading let go of the interpreter lock, so threads gain. A process that was started by another one (a
worker of a data loader, of a cluster) is one of many: there, local reads stay on their own thread.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

REMOTE = 16  # requests under way at once
LOCAL = 8  # decoding threads at most
_pools: dict[tuple[int, bool], Executor] = {}
_lock = threading.Lock()
_here = threading.local()


def workers(*, remote: bool) -> int:
    """Tell how many threads a read may use."""
    if getattr(_here, "inside", False):
        return 1  # a thread of the pool that waited for the pool could wait for ever
    if remote:
        return REMOTE
    if multiprocessing.parent_process() is not None:
        return 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(LOCAL, usable)


def each[Unit](function: Callable[[Unit], None], units: Sequence[Unit], *, remote: bool) -> None:
    """Call a function with every unit, in parallel where that pays; the first error is raised."""
    count = 1 if len(units) < 2 else min(workers(remote=remote), len(units))
    if count <= 1:
        for unit in units:
            function(unit)
        return

    def run(some: Sequence[Unit]) -> None:
        _here.inside = True
        try:
            for unit in some:
                function(unit)
        finally:
            _here.inside = False

    # A request is worth a turn of its own; a local decode is short, so each thread takes several at a time.
    parts = len(units) if remote else min(len(units), 4 * count)
    for _ in _pool(remote=remote).map(run, [units[part::parts] for part in range(parts)]):
        pass


def _pool(*, remote: bool) -> Executor:
    key = (os.getpid(), remote)  # a forked child inherits the pool but none of its threads
    pool = _pools.get(key)
    if pool is None:
        with _lock:
            pool = _pools.get(key)
            if pool is None:
                pool = ThreadPoolExecutor(workers(remote=remote), thread_name_prefix="zarrscope-load")
                _pools[key] = pool
    return pool
