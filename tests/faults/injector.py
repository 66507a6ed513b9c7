"""Strikes a program at every change it makes to a directory, runs it again, and compares what it leaves behind.

``injector.c`` is preloaded into the program and counts its operations below one directory (create, write, allocate,
rename, link, unlink, mkdir, rmdir, truncate, fsync), over all its threads and processes. At the K-th it strikes:

========== ==============================================================================
``kill``   SIGKILL to the process that asked, before the operation happens
``torn``   half of a write happens, then SIGKILL; as ``kill`` where the K-th is no write
``enospc`` from then on whatever needs space fails with ENOSPC
``eio``    that one operation fails with EIO
``count``  never
========== ==============================================================================

One run: ``run`` and ``count``. Whole proofs: ``faults.sweep``.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

MODES = ("count", "kill", "torn", "enospc", "eio")
STRIKES = MODES[1:]
STATE = "ZARRSCOPE_FAULTS"  # the environment variable by which a process finds the state file
_LAYOUT = struct.Struct("=QQII4096s4160s")  # struct state of injector.c


def unusable() -> str | None:
    """Say why this machine cannot run the injector, None where it can."""
    if sys.platform != "linux":
        return f"the fault injector preloads a library and reads /proc: it needs Linux, not {sys.platform}"
    if _compiler() is None:
        return "the fault injector needs a C compiler: none of cc, gcc and clang was found"
    return None


def _compiler() -> str | None:
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)


@functools.cache
def build(folder: Path) -> Path:
    """Compile the library into a folder, once a session."""
    target = folder / "injector.so"
    flags = ["-std=c11", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra"]
    source = Path(__file__).with_name("injector.c")
    subprocess.run([str(_compiler()), *flags, str(source), "-o", str(target), "-ldl"], check=True)
    return target


@functools.cache
def workshop() -> Path:
    """Give the folder of this session that holds the library, the state files and the logs; it goes at exit."""
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def environment() -> dict[str, str]:
    """Give this process's environment with the library preloaded."""
    preloads = [str(build(workshop())), os.environ.get("LD_PRELOAD", "")]
    return os.environ | {"LD_PRELOAD": ":".join(filter(None, preloads))}


class FaultRun(subprocess.CompletedProcess[str]):
    """How a run ended.

    Attributes
    ----------
    operations
        How many changes below the directory the run asked for.
    struck
        The operation that was struck, as ``write a.zarr/zarr.json``; empty where the run ended before its K-th.
    timed_out
        Whether the run had to be killed because it did not end; its ``returncode`` is -9 then.
    """

    operations: int = 0
    struck: str = ""
    timed_out: bool = False


class Trap:
    """The state file and the log of one run: set before it, read after it."""

    def __init__(self, directory: Path, mode: str, k: int) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=workshop()))
        self.state, self.log, self.out = (self.folder / name for name in ("state", "log", "out"))
        watched = os.fsencode(directory.resolve())
        self.state.write_bytes(_LAYOUT.pack(0, k, MODES.index(mode), len(watched), watched, b""))

    def close(self, args: Sequence[str], leader: int, returncode: int | None) -> FaultRun:
        """End what is left of the run's process group and say how it ended; a ``returncode`` of None is a time-out."""
        end_group(leader)
        stdout, stderr = (path.read_text(errors="replace") if path.exists() else "" for path in (self.out, self.log))
        result = FaultRun(args, -signal.SIGKILL if returncode is None else returncode, stdout, stderr)
        result.operations, *_, struck = _LAYOUT.unpack(self.state.read_bytes())
        result.struck = os.fsdecode(struck.split(b"\0", 1)[0])
        result.timed_out = returncode is None
        shutil.rmtree(self.folder)
        return result


def run(
    command: Sequence[str],
    directory: Path,
    mode: str = "count",
    k: int = 0,
    *,
    env: Mapping[str, str] | None = None,
    timeout: float = 120,
) -> FaultRun:
    """Run a command that is struck at its ``k``-th change below a directory; nothing of it is alive on return.

    Parameters
    ----------
    env
        Variables beside those of this process.
    timeout
        Seconds after which the run counts as hanging and is killed.
    """
    trap = Trap(directory, mode, k)
    variables = environment() | {STATE: str(trap.state)} | dict(env or {})
    with trap.out.open("wb") as out, trap.log.open("wb") as log:
        process = subprocess.Popen(
            command, env=variables, stdin=subprocess.DEVNULL, stdout=out, stderr=log, start_new_session=True
        )
    returncode = None
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            returncode = process.wait(timeout)
    finally:
        if returncode is None:
            end_group(process.pid)
            process.wait()
    return trap.close(command, process.pid, returncode)


def count(command: Sequence[str], directory: Path, *, env: Mapping[str, str] | None = None) -> int:
    """Count the changes that a run makes below a directory; the run must exit 0."""
    result = run(command, directory, env=env)
    result.check_returncode()
    return result.operations


def end_group(leader: int) -> None:
    """Kill a process group and wait until the last of it is dead: an orphan must not write into the next run."""
    with contextlib.suppress(ProcessLookupError):  # it may have ended, or have had no time to lead a group yet
        os.kill(leader, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while _alive(leader):
        if time.monotonic() > deadline:
            raise TimeoutError(f"process group {leader} is still alive 30 s after SIGKILL")
        time.sleep(0.002)


def _alive(group: int) -> bool:
    """Look for a process of a group that is no zombie: those may wait long for a reaper, and write no more."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = path.read_text(errors="replace").rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                return True
    return False


def digest_tree(path: Path) -> dict[str, str]:
    """Give the SHA-256 of every file below a folder by its relative name, hidden ones included.

    A folder is listed as ``name/`` and a link with its target: an empty folder left behind is a difference too.
    """
    digests = {}
    for folder, folders, files in os.walk(path):
        for name in folders + files:
            entry = Path(folder, name)
            key = entry.relative_to(path).as_posix()
            if entry.is_symlink():
                digests[key] = f"-> {entry.readlink()}"
            elif name in folders:
                digests[f"{key}/"] = ""
            else:
                digests[key] = hashlib.sha256(entry.read_bytes()).hexdigest()
    return digests
