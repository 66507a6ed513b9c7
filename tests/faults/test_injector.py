"""The injector sees every change below its directory, and strikes where and how it is told."""

from __future__ import annotations

import errno
import inspect
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.forkserver import ForkServer
from faults.injector import count, digest_tree, run, unusable

pytestmark = pytest.mark.skipif(unusable() is not None, reason=str(unusable()))

BARE = [sys.executable, "-I", "-S", "-c"]  # the quickest start of Python

# What a statement does in the folder "d" (holding the file "old" and the empty folder "box"), and what is counted.
STATEMENTS = {
    "create": ("open('d/a', 'xb')", ["open a"]),
    "create at a folder": ("os.open('a', W, dir_fd=D)", ["open a"]),
    "truncate at opening": ("os.open('d/old', os.O_TRUNC | os.O_WRONLY)", ["open old"]),
    "write": ("os.write(F, b'abcd')", ["write old"]),
    "pwrite": ("os.pwrite(F, b'abcd', 9)", ["write old"]),
    "writev": ("os.writev(F, [b'ab', b'cd'])", ["write old"]),
    "pwritev": ("os.pwritev(F, [b'ab', b'cd'], 1)", ["write old"]),
    "sendfile": ("os.sendfile(F, R, 0, 4)", ["write old"]),
    "copy_file_range": ("os.copy_file_range(R, F, 4)", ["write old"]),
    "buffered": ("with open('d/a', 'w') as file: file.write('x')", ["open a", "write a"]),
    "posix_fallocate": ("os.posix_fallocate(F, 0, 100)", ["fallocate old"]),
    "truncate": ("os.ftruncate(F, 1)", ["truncate old"]),
    "fsync": ("os.fsync(F)", ["fsync old"]),
    "fdatasync": ("os.fdatasync(F)", ["fsync old"]),
    "fsync of the folder": ("os.fsync(D)", ["fsync ."]),
    "rename": ("os.replace('d/old', 'd/new')", ["rename new"]),
    "rename at folders": ("os.rename('old', 'new', src_dir_fd=D, dst_dir_fd=D)", ["rename new"]),
    "rename in": ("os.rename('outside', 'd/new')", ["rename new"]),
    "rename out": ("os.rename('d/old', 'new')", ["rename old"]),
    "link": ("os.link('d/old', 'd/new')", ["link new"]),
    "symlink": ("os.symlink('old', 'd/new')", ["symlink new"]),
    "unlink": ("os.remove('d/old')", ["unlink old"]),
    "unlink at a folder": ("os.unlink('old', dir_fd=D)", ["unlink old"]),
    "mkdir": ("os.makedirs('d/a/b')", ["mkdir a", "mkdir a/b"]),
    "mkdir at a folder": ("os.mkdir('a', dir_fd=D)", ["mkdir a"]),
    "rmdir": ("os.rmdir('d/box/')", ["rmdir box"]),
    "rmdir at a folder": ("os.rmdir('box', dir_fd=D)", ["rmdir box"]),
    "the folder itself": ("os.rename('d', 'e')", ["rename ."]),
    "by a relative way": ("os.chdir('d/box'); os.mkdir('../a')", ["mkdir a"]),
    "by a link": ("os.mkdir('link/a')", ["mkdir a"]),
    "reads": ("os.read(os.open('d/old', os.O_RDONLY), 4); os.listdir('d'); os.stat('d/old')", []),
    "outside": ("os.mkdir('a'); open('outside', 'w').write('x'); os.mkdir('d/../b')", []),
    "a longer name": ("os.mkdir('dd'); os.mkdir('dd/a')", []),
    "in a folder that is missing": ("try: os.mkdir('d/no/a')\nexcept FileNotFoundError: pass", []),
}


def lay_out(folder: Path) -> None:
    """Make what the statements work on."""
    (folder / "d" / "box").mkdir(parents=True)
    (folder / "d" / "old").write_bytes(b"old!")
    (folder / "outside").write_bytes(b"data")
    (folder / "link").symlink_to("d")


SETUP = """import os
W = os.O_WRONLY | os.O_CREAT
D, F, R = os.open('d', os.O_RDONLY), os.open('d/old', os.O_RDWR), os.open('outside', os.O_RDONLY)
"""


@pytest.mark.parametrize(("statement", "expected"), STATEMENTS.values(), ids=STATEMENTS.keys())
def test_counts_what_a_statement_changes(tmp_path, monkeypatch, statement, expected):
    """Each change below the directory is counted and named, by whatever way it is reached, and nothing else is."""
    for number in range(len(expected) + 1):
        folder = tmp_path / str(number)
        lay_out(folder)
        monkeypatch.chdir(folder)
        command = [*BARE, SETUP + statement]
        if number == 0:
            assert count(command, Path("d")) == len(expected)
        else:
            struck = run(command, Path("d"), "eio", number)
            assert (struck.returncode, struck.struck) == (1, expected[number - 1])
            assert f"OSError: [Errno {errno.EIO}]" in struck.stderr


SCRIPT = """
import os, sys
file = os.open(sys.argv[1] + "/a", os.O_WRONLY | os.O_CREAT)
os.write(file, bytes(range(10)))
try:
    os.writev(file, [b"x" * 3, b"", b"y" * 5])
    os.fsync(file)
except OSError as error:
    print(error.errno)
os.rename(sys.argv[1] + "/a", sys.argv[1] + "/b")
os.mkdir(sys.argv[1] + "/c")
"""

DATA = bytes(range(10))
HITS = [  # mode, K, and then: the exit code, what is printed, the operation struck, the tree
    ("count", 3, 0, "", "", {"b": DATA + b"xxxyyyyy", "c": None}),
    ("kill", 0, 0, "", "", {"b": DATA + b"xxxyyyyy", "c": None}),
    ("kill", 2, -9, "", "write a", {"a": b""}),
    ("kill", 3, -9, "", "write a", {"a": DATA}),
    ("torn", 2, -9, "", "write a", {"a": DATA[:5]}),
    ("torn", 3, -9, "", "write a", {"a": DATA + b"xxxy"}),
    ("torn", 5, -9, "", "rename b", {"a": DATA + b"xxxyyyyy"}),
    ("eio", 4, 0, f"{errno.EIO}\n", "fsync a", {"b": DATA + b"xxxyyyyy", "c": None}),
    ("eio", 6, 1, "", "mkdir c", {"b": DATA + b"xxxyyyyy"}),
    ("enospc", 3, 1, f"{errno.ENOSPC}\n", "write a", {"b": DATA}),
    ("enospc", 7, 0, "", "", {"b": DATA + b"xxxyyyyy", "c": None}),
]


@pytest.mark.parametrize("hit", HITS, ids=lambda hit: f"{hit[0]}-{hit[1]}")
def test_strikes_as_told(tmp_path, hit):
    """The K-th operation meets its fate, those before happen; a full disk stays full but lets files be renamed."""
    mode, k, code, printed, struck, tree = hit
    result = run([*BARE, SCRIPT, str(tmp_path)], tmp_path, mode, k)
    assert (result.returncode, result.stdout, result.struck) == (code, printed, struck), result.stderr
    assert {path.name: None if path.is_dir() else path.read_bytes() for path in tmp_path.iterdir()} == tree


def in_threads_and_processes(directory: Path) -> None:
    """Make 4 folders in each of: 4 threads, 2 forked children, 2 programs."""

    def make(name: str) -> None:
        for number in range(4):
            (directory / f"{name}-{number}").mkdir()

    children = []
    for number in range(2):
        if (child := os.fork()) == 0:
            make(f"fork-{number}")
            os._exit(0)
        children.append(child)
    threads = [threading.Thread(target=make, args=(f"thread-{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    code = "import os, sys; [os.mkdir(f'{sys.argv[1]}-{number}') for number in range(4)]"
    for number in range(2):
        subprocess.run([sys.executable, "-I", "-S", "-c", code, str(directory / f"program-{number}")], check=False)
    for thread in threads:
        thread.join()
    for child in children:
        os.waitpid(child, 0)


def by_itself(function: Callable[[Path], None], directory: Path) -> list[str]:
    """Make a command line that runs one function of this file on a directory."""
    head = "from __future__ import annotations\nimport os, subprocess, sys, threading, time\nfrom pathlib import Path\n"
    code = f"{head}{inspect.getsource(function)}{function.__name__}(Path(sys.argv[1]))"
    return [*BARE, code, str(directory)]


def test_threads_and_processes_share_the_count(tmp_path):
    """Threads, forked children and started programs are counted together, under a command as under a fork server."""
    for name in ("command", "fork", "killed"):
        (tmp_path / name).mkdir()
    assert count(by_itself(in_threads_and_processes, tmp_path / "command"), tmp_path / "command") == 32
    server = ForkServer(in_threads_and_processes)
    try:
        result = server.run(tmp_path / "fork")
        killed = server.run(tmp_path / "killed", "kill", 3)
    finally:
        server.close()
    assert (result.returncode, result.operations) == (0, 32), result.stderr
    assert killed.struck.startswith(("mkdir fork", "mkdir thread", "mkdir program"))
    assert digest_tree(tmp_path / "command") == digest_tree(tmp_path / "fork")


def leave_an_orphan(directory: Path) -> None:
    """End at once, and leave a child that would write for a minute."""
    if os.fork() == 0:
        for number in range(6000):
            (directory / f"{number}").write_bytes(b"x")
            time.sleep(0.01)
        os._exit(0)
    while not (directory / "3").exists():
        time.sleep(0.001)


def test_no_orphan_writes_on(tmp_path):
    """When a run returns, nothing that it started is alive."""
    run(by_itself(leave_an_orphan, tmp_path), tmp_path)
    left = digest_tree(tmp_path)
    time.sleep(0.1)
    assert "3" in left
    assert digest_tree(tmp_path) == left


def wait_for_ever(directory: Path) -> None:
    (directory / "here").mkdir(exist_ok=True)
    time.sleep(600)


def test_a_hang_is_told(tmp_path):
    """A run that does not end is killed in time and says so, under both ways of running."""
    server = ForkServer(wait_for_ever)
    try:
        results = [
            run(by_itself(wait_for_ever, tmp_path), tmp_path, timeout=0.3),
            server.run(tmp_path, timeout=0.3),
        ]
    finally:
        server.close()
    assert [(result.returncode, result.timed_out) for result in results] == [(-9, True)] * 2


def test_a_tree_is_told_in_full(tmp_path):
    """Hidden files, empty folders and links are part of a tree."""
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / ".a").write_bytes(b"")
    (tmp_path / "link").symlink_to("nowhere")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest_tree(tmp_path) == {".hidden/": "", ".hidden/.a": empty, "link": "-> nowhere"}
