"""Whoever fills the shards, the bytes are the same: threads, processes however they start, and a dask cluster."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Executor, Future, InvalidStateError, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cloudpickle
import pytest

import zarrscope
from faults.injector import digest_tree
from zarrscope.demo import make_stedfm
from zarrscope.engine import run
from zarrscope.engine.run import Site
from zarrscope.errors import DecodeError, StoreError
from zarrscope.model import Task

KINDS = ("subset/normalised", "subset/tiff")


@contextmanager
def dask() -> Iterator[Executor]:
    """Start a cluster of two processes on this host."""
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 2, "processes": True, "dashboard_address": "127.0.0.1:0"}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        yield client.get_executor()


EXECUTORS = {
    "threads": lambda: ThreadPoolExecutor(3),
    "spawned processes": lambda: ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")),
    "processes of a fork server": lambda: ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("forkserver")),
    "a dask cluster": dask,
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> list[Path]:
    made = make_stedfm(tmp_path_factory.mktemp("sources"), images=3, size=24, kinds=KINDS, stamp=True)
    return [made[kind] for kind in KINDS]


@pytest.fixture(scope="module")
def expected(sources, tmp_path_factory) -> dict[int, dict[str, str]]:
    """The trees that one thread writes, by rows a shard."""
    folder = tmp_path_factory.mktemp("expected")
    for shard in (4, 5):
        zarrscope.convert(sources, folder / str(shard), shard=shard, workers=1)
    return {shard: digest_tree(folder / str(shard)) for shard in (4, 5)}


@pytest.mark.parametrize("make", EXECUTORS.values(), ids=EXECUTORS.keys())
def test_every_executor_writes_the_same_bytes(make, sources, expected, tmp_path):
    """One executor converts, and converts anew with other options: nothing of the first time is remembered."""
    with make() as executor:
        for shard in (4, 5):
            zarrscope.convert(sources, tmp_path / "store", shard=shard, overwrite=True, executor=executor)
            assert digest_tree(tmp_path / "store") == expected[shard]


@pytest.mark.parametrize("make", EXECUTORS.values(), ids=EXECUTORS.keys())
def test_an_error_comes_back_and_what_was_done_is_kept(make, sources, tmp_path):
    """What a worker raises reaches the caller in its own class; the next call goes on."""
    broken = [tmp_path / source.name for source in sources]
    for copy, source in zip(broken, sources, strict=True):
        copy.write_bytes(source.read_bytes())
    with broken[1].open("r+b") as file:
        file.seek(512)
        file.write(b"XX")
    with make() as executor:
        with pytest.raises(DecodeError, match=rf"{broken[1].name}!/"):
            zarrscope.convert(broken, tmp_path / "store", shard=4, strict=True, executor=executor)
        record = zarrscope.convert(broken, tmp_path / "store", shard=4, executor=executor)
    assert record.counts.quarantined == 1


class Heedless(ThreadPoolExecutor):
    """Says yes to whoever cancels and works on, and wakes nobody who waits for that: a cluster of dask may do so."""

    def __init__(self) -> None:
        super().__init__(3)
        self.under_way = 0

    def submit(self, call, /, *args, **options):
        told = Future()
        self.under_way += 1

        def finish(done: Future) -> None:
            self.under_way -= 1
            with contextlib.suppress(InvalidStateError):
                told.set_exception(error) if (error := done.exception()) else told.set_result(done.result())

        super().submit(call, *args, **options).add_done_callback(finish)
        return told


def test_nothing_is_under_way_when_an_error_comes_back(sources, tmp_path):
    """Tasks that an executor goes on with are waited for, whatever it says when they are cancelled."""
    broken = tmp_path / sources[1].name
    broken.write_bytes(sources[1].read_bytes()[:512] + b"XX" + sources[1].read_bytes()[514:])
    with Heedless() as executor:
        for _ in range(20):
            with pytest.raises(DecodeError):
                zarrscope.convert(broken, tmp_path / "store", shard=1, strict=True, overwrite=True, executor=executor)
            assert executor.under_way == 0


class Spy(ThreadPoolExecutor):
    """Keeps a pickle of everything that is submitted, as an executor of processes would send it."""

    def __init__(self) -> None:
        super().__init__(1)
        self.sent: list[bytes] = []

    def submit(self, call, /, *args, **options):
        self.sent.append(cloudpickle.dumps((call, args, options)))
        return super().submit(call, *args, **options)


def test_a_worker_that_outlives_its_call_writes_no_more(sources, expected, tmp_path):
    """A task that is left over, of a killed call on a cluster say, touches neither a finished store nor a new one."""
    spy = Spy()
    with spy:
        zarrscope.convert(sources, tmp_path / "store", shard=4, executor=spy)
    zarrscope.convert(sources, tmp_path / "store", shard=5, overwrite=True)
    call, arguments, _ = cloudpickle.loads(spy.sent[-1])
    with pytest.raises(StoreError, match="under way no more"):
        call(*arguments)
    assert digest_tree(tmp_path / "store") == expected[5]


def test_what_is_sent_is_small_and_holds_nothing_open(sources, tmp_path):
    """A task with its site is under 10 kB after its sources were read here, and opens files only when it is done."""
    spy = Spy()
    with spy:
        zarrscope.convert(sources, tmp_path / "store", shard=4, executor=spy)
    assert len(spy.sent) == len(list((tmp_path / "store").rglob("0/c/*/0/0")))
    assert max(map(len, spy.sent)) < 10_000
    opened = Path("/proc/self/fd")  # where there is none, nothing is listed and nothing compared
    before = set(opened.glob("*"))
    (call, (site, task), options) = cloudpickle.loads(spy.sent[0])
    assert (call, type(site), type(task), options) == (run.work, Site, Task, {})
    assert set(opened.glob("*")) <= before
