"""A sweep clears a good converter and finds the bugs planted in a bad one, over commands and in a fork server."""

from __future__ import annotations

import sys
import threading
import time
import uuid
from functools import partial
from pathlib import Path

import pytest

from faults.converter import convert, prepare
from faults.forkserver import ForkServer
from faults.injector import STRIKES, unusable
from faults.sweep import sweep, sweep_fork

pytestmark = pytest.mark.skipif(unusable() is not None, reason=str(unusable()))


def refuses_or_is_whole(directory: Path) -> None:
    """Read as a reader would: a store with a record has all its members."""
    if (directory / "store" / "record").exists():
        missing = [path.name for path in directory.glob("source-*") if not (directory / "store" / path.name).exists()]
        assert not missing, f"a finished store without {missing}"


def test_a_good_converter_resumes_from_every_point(tmp_path):
    """Struck at any of its operations in any way, and run again, the reference converter leaves the clean tree."""
    assert sweep_fork(convert, tmp_path, prepare=prepare, between=refuses_or_is_whole) == []
    assert list(tmp_path.iterdir()) == []


FLAWS = {
    "receipt first": "the resumed tree differs",
    "files trusted": "the resumed tree differs",
    "leftovers": "the resumed tree differs",
    "errors swallowed": "the struck run reported success without store/source-",
    "record first": "between: AssertionError: a finished store without ['source-",
}


@pytest.mark.parametrize(("flaw", "problem"), FLAWS.items(), ids=FLAWS.keys())
def test_a_planted_bug_is_found(tmp_path, flaw, problem):
    """Each mistake that a converter could make is reported as what it is."""
    work = partial(convert, flaw=flaw)
    found = sweep_fork(work, tmp_path, prepare=prepare, between=refuses_or_is_whole, points=12)
    assert any(problem in bad.problem for bad in found), found
    assert {bad.mode for bad in found} <= set(STRIKES)


def command(directory: Path, flaw: str = "") -> list[str]:
    return [sys.executable, "-I", "-S", str(Path(__file__).with_name("converter.py")), str(directory), flaw]


def test_commands_are_swept_alike(tmp_path):
    """A sweep over a command line clears the good converter and finds a bug, from a sample of the points."""
    good = sweep(command, tmp_path, prepare=prepare, between=refuses_or_is_whole, points=4)
    assert good == []

    bad = sweep(partial(command, flaw="receipt first"), tmp_path, prepare=prepare, modes=["kill"], points=12)
    assert bad
    assert all(one.resume_code == 0 and one.differing for one in bad)


def fail(directory: Path) -> None:
    (directory / "a").mkdir()
    raise ValueError("no such luck")


def differ(directory: Path) -> None:
    (directory / "a").write_text(uuid.uuid4().hex)


def stop_with_four(directory: Path) -> None:
    (directory / "a").mkdir(exist_ok=True)
    raise SystemExit(4)


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (fail, "no such luck"),
        (differ, "two clean runs differ: .'a'"),
        (refuses_or_is_whole, "changed nothing"),
        (stop_with_four, "exit 4"),
    ],
)
def test_a_sweep_that_would_prove_nothing_is_refused(tmp_path, work, message):
    """Clean runs must succeed, agree and change something."""
    with pytest.raises(AssertionError, match=message):
        sweep_fork(work, tmp_path)


def test_another_exit_code_can_mean_done(tmp_path):
    """A converter that ends with 4 whenever it set members aside is swept by that code."""
    assert sweep_fork(stop_with_four, tmp_path, done=4) == []


def tell_whether_imported(directory: Path) -> None:
    (directory / "found").write_text(str("colorsys" in sys.modules))
    import colorsys  # noqa: F401


def start_thread() -> None:
    threading.Thread(target=time.sleep, args=(5,), daemon=True).start()


def break_down() -> None:
    raise ValueError("broken")


def test_a_fork_server_learns_what_to_import(tmp_path):
    """What the first run imported is there at the start of the second."""
    server = ForkServer(tell_whether_imported)
    found = []
    try:
        for _ in range(2):
            assert server.run(tmp_path).returncode == 0
            found.append((tmp_path / "found").read_text())
    finally:
        server.close()
    assert found == ["False", "True"]


@pytest.mark.parametrize(("warm", "message"), [(start_thread, "has threads"), (break_down, "ended with code 1")])
def test_a_fork_server_that_cannot_fork_says_why(tmp_path, warm, message):
    """A server with a second thread refuses to fork, and one that broke down is not waited for."""
    server = ForkServer(prepare, warm)
    try:
        with pytest.raises(RuntimeError, match=message):
            server.run(tmp_path)
    finally:
        server.close()
