"""Conversions killed at random moments, damaged, resumed in other ways and added to end as the model says.

The model is one line: the trees that uninterrupted runs wrote. Between any two steps a reader either is refused or is
served exactly the stacks that are finished.
"""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import zarrscope
from faults.conversions import make_sources
from faults.forkserver import ForkServer
from faults.injector import digest_tree, unusable
from zarrscope.errors import StoreError

LINES = (("normalised",), ("normalised", "raw"), ("normalised", "raw", "tiff"))  # each adds to the one before
EXECUTORS = ("ours", "threads", "processes")
pytestmark = [
    pytest.mark.skipif(unusable() is not None, reason=str(unusable())),
    pytest.mark.filterwarnings("ignore:.*a conversion under way adds or replaces:UserWarning"),
]


def work(directory: Path) -> None:
    """Do what ``order`` in a directory says; called in a child that may be killed at any moment, with its children."""
    count, executor, *names = (directory / "order").read_text().split("\n")
    workers = int(count)
    pools: dict[str, Any] = {
        "ours": contextlib.nullcontext,
        "threads": partial(ThreadPoolExecutor, workers),
        "processes": partial(ProcessPoolExecutor, workers, mp_context=multiprocessing.get_context("fork")),
    }
    with pools[executor]() as pool:
        if pool is not None:
            list(pool.map(abs, range(workers)))  # processes are forked here, before there are threads
        zarrscope.convert(list(map(Path, names)), directory / "store", shard=3, workers=workers, executor=pool)


@cache
def home() -> Path:
    """Give a folder that the fixture below deletes."""
    return Path(tempfile.mkdtemp())


@cache
def sources() -> dict[str, Path]:
    return make_sources(home() / "sources")


@cache
def expected(line: int) -> tuple[dict[str, str], dict[str, str]]:
    """Give the tree of the store after so many lines were run without interruption, and the digest of each stack."""
    store = home() / f"expected-{line}"
    if line:
        expected(line - 1)
        shutil.copytree(home() / f"expected-{line - 1}", store)
    zarrscope.convert([sources()[name] for name in LINES[line]], store, shard=3, workers=1)
    return digest_tree(store), stacks(store)


def stacks(path: Path) -> dict[str, str]:
    store = zarrscope.open(path)
    return {name: hashlib.sha256(store.image(name, chunks=None).values.tobytes()).hexdigest() for name in store.images}


@pytest.fixture(scope="module", autouse=True)
def server():
    """One fork server for all runs; the machine is made by Hypothesis, which hands nothing in."""
    Conversions.server = ForkServer(work)
    yield
    Conversions.server.close()
    shutil.rmtree(home())


class Conversions(RuleBasedStateMachine):
    """A store in the making, and what may happen to it."""

    server: ForkServer

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp(dir=home()))
        self.store = self.directory / "store"
        self.line = 0
        self.finished = -1  # the last line that ran to its end

    def order(self, workers: int, executor: str) -> None:
        names = [str(sources()[name]) for name in LINES[self.line]]
        (self.directory / "order").write_text("\n".join([str(workers), executor, *names]))

    # How far a killed run came is up to the machine, so that no later rule may depend on it.
    @rule(
        seconds=st.floats(0.01, 0.35),
        workers=st.sampled_from([1, 2, 4]),
        executor=st.sampled_from(EXECUTORS),
        harm=st.sampled_from([None, "shard deleted", "shard cut", "receipt cut"]),
        place=st.floats(0, 1, exclude_max=True),
    )
    def kill(self, seconds: float, workers: int, executor: str, harm: str | None, place: float) -> None:
        """Run the line, kill it and its children after some time, and harm something that it has written."""
        self.order(workers, executor)
        ended = self.server.run(self.directory, timeout=seconds)
        assert ended.timed_out or ended.returncode == 0, ended.stderr
        if not ended.timed_out:
            self.finished = self.line
        elif harm and not self.whole() and (found := self.written(harm.split()[0])):
            chosen = found[int(place * len(found))]
            if harm.endswith("deleted"):
                chosen.unlink()
            else:
                chosen.write_bytes(chosen.read_bytes()[:-7])

    @rule(workers=st.sampled_from([1, 4]), executor=st.sampled_from(EXECUTORS))
    def finish(self, workers: int, executor: str) -> None:
        """Run the line to its end: nothing tells this store from one that was never interrupted."""
        self.order(workers, executor)
        ended = self.server.run(self.directory)
        assert ended.returncode == 0, ended.stderr
        assert digest_tree(self.store) == expected(self.line)[0]
        self.finished = self.line

    @precondition(lambda self: self.line < len(LINES) - 1)
    @rule()
    def want_more(self) -> None:
        """Give one archive more from now on."""
        if self.finished < self.line:
            self.finish(2, "ours")
        self.line += 1

    def written(self, what: str) -> Sequence[Path]:
        """Give the shards, or the receipts, of the stack that is being added."""
        stack = f"subset/{LINES[self.line][-1]}"
        folder = self.store / stack / "0/c" if what == "shard" else self.store / ".zarrscope/receipts" / stack
        return sorted(path for path in folder.rglob("[0-9]*") if path.is_file())

    def whole(self) -> bool:
        """Tell whether the record of this line is written, so that harm would go unseen until it is verified."""
        try:
            store = zarrscope.open(self.store)
        except StoreError:
            return False
        return not store.record.pending and len(store.images) == len(LINES[self.line])

    @invariant()
    def readers_are_refused_or_served_right(self) -> None:
        """What can be opened is right, and what was finished once can be opened."""
        try:
            found = stacks(self.store)
        except StoreError:
            assert self.finished < 0, "a finished store can't be opened"
            return
        assert found in (expected(self.line)[1], expected(max(0, self.line - 1))[1])

    def teardown(self) -> None:
        self.finish(2, "ours")
        shutil.rmtree(self.directory)


Conversions.TestCase.settings = settings(
    max_examples=20,
    stateful_step_count=8,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # what depends on the moment of a kill can't be shrunk
    suppress_health_check=list(HealthCheck),
)
TestConversions = Conversions.TestCase
