"""Runs a Python callable again and again in forked children of a process that has done the imports once.

The server is a program of its own, since a library can only be preloaded at the start; the callable travels to it
pickled by value. After its first run the server imports all that the run imported, so later children start at once.
It refuses to fork once it has a second thread: a lock that another thread held would stay held in the child.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faults.injector import FaultRun


class ForkServer:
    """The near end of a server; one run at a time.

    Parameters
    ----------
    work
        Called as ``work(directory)`` in a child. What it does must be done when it returns; an exception is exit
        code 1, SystemExit its own code.
    warm
        Called once in the server, to import or compile ahead; must start no threads.
    """

    def __init__(self, work: Callable[[Path], None], warm: Callable[[], None] | None = None) -> None:
        from faults.injector import environment  # the far end runs this file alone, without our import path

        self._link, far = Pipe()
        # These pools start at import, in the server; a fork would leave them without their threads.
        quiet = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__, str(far.fileno())],
            env=environment() | quiet,
            stdin=subprocess.DEVNULL,
            pass_fds=[far.fileno()],
        )
        far.close()
        self._name = getattr(work, "__name__", repr(work))
        self._link.send(sys.path)
        self._link.send_bytes(_by_value(work, warm))

    def run(self, directory: Path, mode: str = "count", k: int = 0, *, timeout: float = 120) -> FaultRun:
        """Do the work on a directory in a child that is struck at its ``k``-th change."""
        from faults.injector import Trap, end_group

        trap = Trap(directory, mode, k)
        with contextlib.suppress(BrokenPipeError):  # the answer, or its lack, tells more
            self._link.send((str(directory), str(trap.state), str(trap.log), str(trap.folder / "modules")))
        child, returncode = self._receive(), None
        try:
            if self._link.poll(timeout):
                returncode = self._receive()
        finally:
            if returncode is None:
                end_group(child)
                self._receive()
        return trap.close(["fork", self._name, str(directory)], child, returncode)

    def _receive(self) -> int:
        try:
            answer = self._link.recv()
        except (EOFError, ConnectionResetError):
            raise RuntimeError(f"the fork server ended with code {self._process.wait()}; see stderr") from None
        if isinstance(answer, str):
            raise RuntimeError(answer)  # noqa: TRY004  # the type tells an answer from a complaint
        return int(answer)

    def close(self) -> None:
        """End the server."""
        self._link.close()
        self._process.wait()


def _by_value(*functions: Callable[..., None] | None) -> bytes:
    """Pickle functions so that those of a test module need no import: its name is pytest's affair."""
    import cloudpickle  # type: ignore[import-untyped]  # it ships no types

    names = {getattr(getattr(function, "func", function), "__module__", "") for function in functions}
    modules = [sys.modules[name] for name in names if name.rpartition(".")[2].startswith("test_")]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        pickled: bytes = cloudpickle.dumps(functions)
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)
    return pickled


def serve(link: Connection) -> None:
    """Answer each request with the number of a child, and with its exit code when it has ended."""
    import cloudpickle

    sys.path[:] = link.recv()
    work, warm = cloudpickle.loads(link.recv_bytes())
    if warm is not None:
        warm()
    learned = False
    while True:
        try:
            directory, state, log, modules = link.recv()
        except EOFError:
            return
        if threading.active_count() > 1:
            link.send(f"the fork server has threads, and cannot fork: {threading.enumerate()}")
            return
        child = os.fork()
        if child == 0:
            link.close()
            os._exit(_run_child(work, directory, state, log, None if learned else Path(modules)))
        link.send(child)
        status = os.waitpid(child, 0)[1]
        if not learned and Path(modules).exists():
            _import_all(Path(modules).read_text().split("\n"))
            learned = True
        link.send(os.waitstatus_to_exitcode(status))


def _run_child(work: Callable[[Path], None], directory: str, state: str, log: str, modules: Path | None) -> int:
    os.setsid()
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
    os.dup2(1, 2)
    os.environ["ZARRSCOPE_FAULTS"] = state  # for the programs that the work starts
    if ctypes.CDLL(None).inject_arm(os.fsencode(state)):
        return 125
    code = 0
    try:
        work(Path(directory))
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:  # noqa: BLE001  # as the interpreter does at its end
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    if modules is not None:
        modules.write_text("\n".join(sys.modules))
    return code


def _import_all(names: list[str]) -> None:
    for name in names:
        with contextlib.suppress(Exception):  # a name in sys.modules need not be importable
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # children then share the pages of what is there already


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
