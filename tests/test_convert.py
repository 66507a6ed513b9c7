"""Convert: the same bytes whatever the workers, resumable anywhere, additive, and exact about every member."""

import getpass
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest

import zarrscope as zs
from hostile import contains, copy, deflate, elements, members_of, npz, tree, write_tar
from zarrscope.demo import read_stamp
from zarrscope.engine.claim import KEY, Claim, claimed, process_start
from zarrscope.errors import DecodeError, RecipeError, SourceError, StoreError, UsageError
from zarrscope.planning import to_json
from zarrscope.recipe import Recipe, known
from zarrscope.sources.tar import TarSource
from zarrscope.storage import Storage


class Stop(KeyboardInterrupt):
    """What a progress callback raises in place of a user's Ctrl-C."""


def stop_after(tasks):
    """Interrupt a conversion after some tasks of this run."""
    seen = []

    def tell(state):
        seen.append(state.tasks_done)
        if state.stage == "convert" and state.tasks_done - seen[0] >= tasks:
            raise Stop

    return tell


def adds_up(counts):
    return counts.members == counts.converted + counts.ignored + counts.quarantined + counts.left_out


# --- the same bytes -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference(stedfm, tmp_path_factory):
    store = tmp_path_factory.mktemp("reference") / "s.zarr"
    zs.convert([stedfm["full/normalised"], stedfm["subset/raw"]], store, shard=8, workers=1)
    return store


WAYS = {
    "one worker": {"workers": 1},
    "four workers": {"workers": 4},
    "least memory": {"memory": 4_000_000_000, "workers": 2},
    "threads of ours": {"executor": lambda: ThreadPoolExecutor(3)},
    "processes": {"executor": lambda: ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))},
}


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS.keys())
def test_workers_and_executors_change_no_byte(options, stedfm, reference, tmp_path):
    """Threads, processes or one worker: every object of the store has the same bytes, the record too."""
    make, options = options.get("executor"), {key: value for key, value in options.items() if key != "executor"}
    executor = make() if make else None
    try:
        zs.convert(
            [stedfm["full/normalised"], stedfm["subset/raw"]],
            tmp_path / "s.zarr",
            shard=8,
            executor=executor,
            **options,
        )
    finally:
        if executor:
            executor.shutdown()
    assert tree(tmp_path / "s.zarr") == tree(reference)


def test_an_executor_that_lives_longer_knows_nothing_of_the_last_conversion(stedfm, tmp_path):
    """Workers that are used again take the plan of this conversion, not that of an earlier one at the same place."""
    with ThreadPoolExecutor(2) as executor:
        zs.convert(stedfm["subset/raw"], tmp_path / "s.zarr", shard=8, executor=executor)
        choices = {"shard": 8, "chunk": 4, "where": "grid_row > 0", "keep": ("user_id",), "overwrite": True}
        zs.convert(stedfm["subset/raw"], tmp_path / "s.zarr", executor=executor, **choices)
    zs.verify(tmp_path / "s.zarr", sources=stedfm["subset/raw"], read_data=True)
    assert "user_id" in zs.open(tmp_path / "s.zarr").catalogue


def test_a_source_that_can_only_be_read_in_order_gives_the_same(stedfm, reference, tmp_path):
    """A tar inside a deflated zip has no seek: images and rows are those of the plain tar."""
    packed = deflate(stedfm["full/normalised"], tmp_path / "crops.zip")
    record = zs.convert([packed, stedfm["subset/raw"]], tmp_path / "s.zarr", shard=8, workers=3)
    assert record.conversions[0].sources[0].kind == "tar in zip"
    assert elements(tmp_path / "s.zarr") == elements(reference)


@pytest.mark.parametrize("chunk", [1, 3])
def test_a_store_in_an_object_store_is_the_same(chunk, stedfm, tmp_path, request):
    """Sources and stores behind fsspec give what local ones give."""
    memory = fsspec.filesystem("memory")
    base = f"/convert-{chunk}"
    request.addfinalizer(lambda: memory.rm(base, recursive=True))
    memory.pipe_file(f"{base}/crops.tar", stedfm["full/raw"].read_bytes())
    zs.convert(f"memory:/{base}/crops.tar", f"memory:/{base}/s.zarr", shard=9, chunk=chunk)
    local = write_tar(tmp_path / "crops.tar", {})
    local.write_bytes(stedfm["full/raw"].read_bytes())
    zs.convert(local, tmp_path / "s.zarr", shard=9, chunk=chunk)
    remote = {path.removeprefix(f"{base}/s.zarr/"): memory.cat_file(path) for path in memory.find(f"{base}/s.zarr")}
    assert remote == {key: (tmp_path / "s.zarr" / key).read_bytes() for key in tree(tmp_path / "s.zarr")}
    assert zs.verify(f"memory:/{base}/s.zarr", sources=f"memory:/{base}/crops.tar").rows == 94


def test_nothing_of_this_machine_stands_in_a_store(stedfm_store, biosr_store, stedfm, biosr):
    """No folder, no host, no user and no time: what is recorded of a source is its file name."""
    names = [name for name in (socket.gethostname(), getpass.getuser()) if len(name) > 4]  # others stand in any bytes
    told = [
        str(stedfm_store.parent),
        str(stedfm["full/raw"].parent),
        str(biosr.parent),
        time.strftime("%Y-%m-%d"),
        *names,
    ]
    for store in (stedfm_store, biosr_store):
        assert contains(store, *told) == []
        assert not [path for path in store.rglob("*") if path.name.startswith(".")]


def test_every_object_is_reached_from_the_record(stedfm_store):
    """What is written and what is listed are the same: no stray file, none left unlisted."""
    listed = {line.partition("  ")[2] for line in zs.manifest(stedfm_store)}
    manifests = {key for key in tree(stedfm_store) if "/manifest/" in key}
    groups = {"zarr.json", "full/zarr.json", "subset/zarr.json"}
    assert set(tree(stedfm_store)) == listed | manifests | groups


# --- counts, where, limit -------------------------------------------------------------------------------------------


class Reads:
    """Notes source and name of all members that are read from tars."""

    def __init__(self, monkeypatch):
        self.names = []
        read = TarSource.read

        def counting(source, members):
            self.names += [(source.name, name) for name in members.names.tolist()]
            return read(source, members)

        monkeypatch.setattr(TarSource, "read", counting)


CHOICES = {
    "everything": ({}, 3 * 72),
    "a protein": ({"where": "protein == 'psd95'"}, None),
    "a limit": ({"limit": 5}, 15),
    "both": ({"where": "protein in ('psd95', 'FUS') and grid_row > 0", "limit": 4}, 12),
    "one row": ({"limit": 1}, 3),
}
SUBSET = ("subset/normalised", "subset/raw", "subset/tiff")


@pytest.mark.parametrize(("choices", "wanted"), CHOICES.values(), ids=CHOICES.keys())
def test_what_is_left_out_is_not_read_and_counted(choices, wanted, stedfm, tmp_path, monkeypatch):
    """Only chosen members are read, but for the few that tell what an archive is; the counts add up."""
    sources = [stedfm[kind] for kind in SUBSET]
    plan = zs.plan(sources, tmp_path / "s.zarr", **choices)
    reads = Reads(monkeypatch)
    record = zs.convert(sources, tmp_path / "s.zarr", shard=4, **choices)
    store = zs.open(tmp_path / "s.zarr")
    assert adds_up(record.counts)
    assert record.counts.members == 3 * 72
    assert record.counts.converted == (wanted or record.counts.converted)
    assert plan.counts.left_out == record.counts.left_out
    kept = {(stedfm[kind].name, name) for kind in SUBSET for name in store.table(kind, ["index"]).index}
    assert len(kept) == record.counts.converted
    peeked = set(reads.names) - kept
    assert len(peeked) <= 3 * (16 + 3)
    for sample in store.samples("subset", columns=["protein"]):
        assert len({read_stamp(sample[role]) for role in ("normalised", "raw", "tiff")}) == 1
        if "where" in choices:
            assert sample["protein"] in ("psd95", "FUS")
    zs.verify(tmp_path / "s.zarr", sources=sources)


def test_a_value_that_nothing_has_stops_before_anything_is_written(stedfm, tmp_path):
    with pytest.raises(UsageError, match=r"no row has protein == 'psd59'.*Did you mean 'psd95'"):
        zs.convert(stedfm["subset/raw"], tmp_path / "s.zarr", where="protein == 'psd59'")
    assert not (tmp_path / "s.zarr").exists()


def test_the_plan_is_what_is_done(stedfm, tmp_path):
    """The images of a plan are those of the store; planning writes nothing, and its estimate comes close."""
    sources = [stedfm["full/normalised"], stedfm["full/raw"]]
    planned = zs.plan(sources, tmp_path / "s.zarr", shard=16, codec="zstd:3")
    assert not (tmp_path / "s.zarr").exists()
    record = zs.convert(sources, tmp_path / "s.zarr", shard=16, codec="zstd:3")
    for image in planned.images:
        element = record.element(image.path)
        assert (element.shape, element.chunks, element.shards) == (image.shape, image.chunks, image.shards)
        assert element.dtype == image.dtype
    stored = sum(path.stat().st_size for path in (tmp_path / "s.zarr").glob("full/*/0/c/*/0/0"))
    assert planned.estimate.bytes_stored == pytest.approx(stored, rel=0.1)
    assert planned.estimate.sampled > 64
    json.loads(to_json(planned))


@pytest.mark.parametrize("codec", ["zstd:1", "zstd:19", "none"])
def test_codecs_change_the_bytes_and_not_the_pixels(codec, stedfm, stedfm_store, tmp_path):
    zs.convert(stedfm["full/raw"], tmp_path / "s.zarr", codec=codec, chunk=4, shard=10)
    image = zs.open(tmp_path / "s.zarr").image("full/raw")
    np.testing.assert_array_equal(image.to_numpy(), zs.open(stedfm_store).image("full/raw").to_numpy())
    zs.verify(tmp_path / "s.zarr", read_data=True)


# --- again, and more ------------------------------------------------------------------------------------------------


def test_a_finished_store_is_left_alone(reference, stedfm, tmp_path):
    """The same line again does nothing, and gives the same record."""
    store = copy(reference, tmp_path)
    before, told = {path: path.stat().st_mtime_ns for path in store.rglob("*")}, []
    record = zs.convert([stedfm["full/normalised"], stedfm["subset/raw"]], store, shard=8, say=told.append)
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before
    assert record == zs.open(store).record
    assert [line.split(" is in the store already")[0] for line in told] == [
        stedfm["full/normalised"].name,
        stedfm["subset/raw"].name,
    ]


def test_a_further_archive_adds_its_stack_and_joins_it(stedfm, tmp_path):
    """Archives given one after the other make the very objects that they make when given at once."""
    kinds = ["full/normalised", "full/raw", "subset/tiff"]
    zs.convert([stedfm[kind] for kind in kinds], tmp_path / "once.zarr", shard=16)
    for kind in kinds:
        record = zs.convert([stedfm[kind]], tmp_path / "steps.zarr", shard=16)
        zs.verify(tmp_path / "steps.zarr", sources=[stedfm[kind]])
    assert elements(tmp_path / "steps.zarr") == elements(tmp_path / "once.zarr")
    once = zs.open(tmp_path / "once.zarr").record
    assert record.samples == once.samples
    assert record.counts == once.counts
    assert [one.digest for one in record.elements] == [one.digest for one in once.elements]
    assert len(record.conversions) == 3
    assert len(zs.open(tmp_path / "steps.zarr").samples("full").images) == 2


def test_the_whole_line_with_one_more_archive(stedfm, reference, tmp_path):
    """Old and new archives in one line: only the new one is converted."""
    store = copy(reference, tmp_path)
    before = elements(store)
    zs.convert([stedfm[kind] for kind in ("full/normalised", "subset/raw", "full/tiff")], store, shard=8)
    after = elements(store)
    assert before.items() <= after.items()
    assert [linked.role for linked in zs.open(store).record.samples[0].images] == ["normalised", "tiff"]


def test_an_addition_that_was_interrupted_goes_on_with_the_same_line(stedfm, reference, tmp_path):
    """While an archive is being added the store serves the rest and says so; the same line again finishes it."""
    line = [stedfm[kind] for kind in ("full/normalised", "subset/raw", "full/raw")]
    zs.convert(line, copy(reference, tmp_path / "whole"), shard=8)
    store = copy(reference, tmp_path)
    with pytest.raises(Stop):
        zs.convert(line, store, shard=8, progress=stop_after(2))
    with pytest.warns(UserWarning, match="adds or replaces full/raw"):
        opened = zs.open(store)
    assert read_stamp(opened.image("full/normalised")[5].to_numpy()) == 5
    with pytest.raises(StoreError, match="full/raw is pending"):
        opened.image("full/raw")
    with pytest.raises(StoreError, match="full/raw is still being added"):
        zs.verify(store)
    zs.convert(line, store, shard=8)
    assert tree(store) == tree(tmp_path / "whole" / store.name)


def test_archives_in_another_order_are_joined_all_the_same(stedfm, tmp_path):
    for kind in ("full/tiff", "full/normalised"):
        zs.convert(stedfm[kind], tmp_path / "s.zarr")
    samples = zs.open(tmp_path / "s.zarr").samples("full")
    assert {read_stamp(samples[7][role]) for role in ("tiff", "normalised")} == {7}


OTHERWISE = {
    "codec": {"codec": "zstd:2"},
    "chunk": {"chunk": 2},
    "shard": {"shard": 9},
    "where": {"where": "grid_row == 0"},
    "limit": {"limit": 3},
    "keep": {"keep": ("user_id",)},
}


@pytest.mark.parametrize("options", OTHERWISE.values(), ids=OTHERWISE.keys())
def test_other_choices_for_a_store_that_is_there_are_refused(options, stedfm, reference, tmp_path):
    """A store is made with one set of choices, finished or not; anything else needs --overwrite."""
    sources = [stedfm["full/normalised"], stedfm["subset/raw"]]
    with pytest.raises(StoreError, match="with other options"):
        zs.convert(sources, reference, **{"shard": 8, **options})
    with pytest.raises(Stop):
        zs.convert(sources, tmp_path / "s.zarr", shard=8, progress=stop_after(1))
    with pytest.raises(StoreError, match=f"was begun with {next(iter(options))} "):
        zs.convert(sources, tmp_path / "s.zarr", **{"shard": 8, **options})
    zs.convert(sources, tmp_path / "s.zarr", overwrite=True, **{"shard": 8, **options})
    zs.verify(tmp_path / "s.zarr", sources=sources)


# --- interrupted ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tasks", [0, 1, 7, 20])
def test_an_interrupted_conversion_goes_on_to_the_same_bytes(tasks, stedfm, reference, tmp_path):
    store, sources = tmp_path / "s.zarr", [stedfm["full/normalised"], stedfm["subset/raw"]]
    with pytest.raises(Stop):
        zs.convert(sources, store, shard=8, progress=stop_after(tasks))
    with pytest.raises(StoreError, match=r"holds an unfinished conversion \(\d+ of 21 tasks\)"):
        zs.open(store)
    told, done = zs.info(store), []
    assert told["tasks"] == 21
    assert tasks <= told["tasks_done"] <= 21
    zs.convert(sources, store, shard=8, progress=lambda state: done.append(state.tasks_done))
    assert done[0] == told["tasks_done"]  # nothing is done twice
    assert tree(store) == tree(reference)


def damage_receipt(store):
    for path in (store / ".zarrscope/receipts/full/normalised").iterdir():
        path.write_bytes(path.read_bytes()[:-3])


def drop_shards(store):
    for path in store.glob("full/normalised/0/c/*/0/0"):
        path.unlink()


def tear_shards(store):
    for path in store.glob("full/normalised/0/c/*/0/0"):
        path.write_bytes(path.read_bytes()[:-1])


def litter(store):
    for folder in ("", "full/", "full/normalised/0/c/0/0/", ".zarrscope/receipts/"):
        (store / folder).mkdir(parents=True, exist_ok=True)
        (store / folder / f".zarr.json.{'a' * 32}.partial").write_bytes(b"half")


@pytest.mark.parametrize("harm", [damage_receipt, drop_shards, tear_shards, litter])
def test_what_a_crash_left_is_done_again_or_swept(harm, stedfm, reference, tmp_path):
    """Torn receipts, shards that are not there or not whole, partial files: the end is the same store."""
    store, sources = tmp_path / "s.zarr", [stedfm["full/normalised"], stedfm["subset/raw"]]
    with pytest.raises(Stop):
        zs.convert(sources, store, shard=8, progress=stop_after(15))
    harm(store)
    zs.convert(sources, store, shard=8)
    assert tree(store) == tree(reference)


def test_a_source_that_changed_since_is_refused(stedfm, tmp_path):
    tar = write_tar(tmp_path / "a.tar", members_of(stedfm["full/raw"]))
    with pytest.raises(Stop):
        zs.convert(tar, tmp_path / "s.zarr", shard=8, progress=stop_after(2))
    os.utime(tar, (1, 1))
    with pytest.raises(StoreError, match=r"a\.tar changed since .* was begun\. Pass --overwrite"):
        zs.convert(tar, tmp_path / "s.zarr", shard=8)


def test_a_record_without_the_journals_deletion_is_finished(stedfm, reference, tmp_path):
    """Killed between the record and the deletion of the journal: the next call finishes that, whatever it asks for."""
    store, sources = tmp_path / "s.zarr", [stedfm["full/normalised"], stedfm["subset/raw"]]
    with pytest.raises(Stop):
        zs.convert(sources, store, shard=8, progress=stop_after(15))
    journal = copy(store / ".zarrscope", tmp_path / "kept")
    zs.convert(sources, store, shard=8)
    copy(journal, store)
    zs.convert(sources, store, shard=8)
    assert tree(store) == tree(reference)
    copy(journal, store)
    record = zs.convert([*sources, stedfm["full/tiff"]], store, shard=8)
    assert record.element("full/tiff") is not None
    assert not (store / ".zarrscope").exists()


# --- what is there already ------------------------------------------------------------------------------------------


def test_overwrite_deletes_only_when_there_is_something_to_put_there(stedfm, reference, tmp_path):
    """A source that is refused costs nobody the store that was there."""
    store, before = copy(reference, tmp_path), tree(reference)
    broken = tmp_path / "broken.tar"
    broken.write_bytes(stedfm["full/raw"].read_bytes()[:9000])
    with pytest.raises(SourceError):
        zs.convert(broken, store, overwrite=True)
    assert tree(store) == before
    record = zs.convert(stedfm["full/tiff"], store, overwrite=True)
    assert [one.path for one in record.elements if one.kind == "image"] == ["full/tiff"]
    assert not (store / "subset").exists()


def test_a_damaged_store_of_ours_can_be_overwritten(stedfm, reference, tmp_path):
    store = copy(reference, tmp_path)
    (store / "zarr.json").write_text((store / "zarr.json").read_text().replace("STED", "DETS"))
    with pytest.raises(StoreError, match="its digest does not fit"):
        zs.convert(stedfm["full/tiff"], store)
    zs.convert(stedfm["full/tiff"], store, overwrite=True)
    zs.verify(store)


FOREIGN = {
    "a file in it": ("s.zarr/notes.txt", b"mine", r"is not empty \(notes\.txt\) and not a store of ours"),
    "another zarr group": ("s.zarr/zarr.json", b'{"zarr_format": 3, "node_type": "group"}', "not a store of ours"),
    "no JSON": ("s.zarr/zarr.json", b"{", "is not the JSON object of a zarr group"),
    "a file": ("s.zarr", b"mine", "is a file, not a store"),
}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(("path", "data", "message"), FOREIGN.values(), ids=FOREIGN.keys())
def test_what_is_not_ours_is_left_alone(path, data, message, overwrite, stedfm, tmp_path):
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_bytes(data)
    with pytest.raises(StoreError, match=message):
        zs.convert(stedfm["full/raw"], tmp_path / "s.zarr", overwrite=overwrite)
    assert {key: (tmp_path / key).read_bytes() for key in tree(tmp_path)} == {path: data}


def test_a_stack_that_is_there_is_not_replaced_in_silence(stedfm, reference, tmp_path):
    """Another archive for a stack that the store holds is refused, and so is another dataset."""
    members = list(members_of(stedfm["full/normalised"]).items())[:20]
    other = write_tar(tmp_path / "other.tar", members)
    with pytest.raises(StoreError, match="holds full/normalised already"):
        zs.convert(other, copy(reference, tmp_path), shard=8)
    assert tree(tmp_path / reference.name) == tree(reference)


def test_one_store_holds_one_dataset(biosr, reference, tmp_path):
    with pytest.raises(StoreError, match="holds stedfm data; biosr needs a store of its own"):
        zs.convert(biosr, copy(reference, tmp_path))
    assert tree(tmp_path / reference.name) == tree(reference)


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_store_inside_its_source_is_refused(form, biosr):
    for store in (biosr / "s.zarr", biosr, biosr.parent):
        with pytest.raises(UsageError, match="lie inside one another"):
            zs.convert(form.format(biosr), store)
    assert not (biosr / "s.zarr").exists()


# --- memory, claims, recipes, cards ---------------------------------------------------------------------------------


def test_memory_that_does_not_hold_one_task_is_refused_with_the_least_figure(stedfm, tmp_path, monkeypatch):
    monkeypatch.setattr("zarrscope.engine.run.resident", lambda: 200 << 20)
    with pytest.raises(UsageError, match=r"--memory 1MB does not hold one task: at least (\d+)MB are needed") as error:
        zs.convert(stedfm["full/raw"], tmp_path / "s.zarr", memory=10**6)
    assert not (tmp_path / "s.zarr").exists()
    least = int(str(error.value).partition("at least ")[2].partition("MB")[0])
    zs.convert(stedfm["full/raw"], tmp_path / "s.zarr", memory=least * 10**6)


def test_a_second_converter_waits_for_the_first(stedfm, tmp_path):
    """Two at once: the second says whom it waits for, and then finds everything done."""
    store, told, done, waiting = tmp_path / "s.zarr", [], [], threading.Event()

    def say(text):
        told.append(text)
        waiting.set()

    def hold(state):
        if state.tasks_done == 1 and not done:
            done.append(threading.Thread(target=second))
            done[0].start()
            assert waiting.wait(20)

    records = []

    def second():
        records.append(zs.convert(stedfm["full/raw"], store, shard=16, say=say))

    first = zs.convert(stedfm["full/raw"], store, shard=16, progress=hold)
    done[0].join(30)
    assert records == [first]
    assert f"is being written by process {os.getpid()} on {socket.gethostname()}: waiting" in told[0]
    assert not (store / ".zarrscope").exists()


def test_of_two_that_declared_at_once_the_second_finds_it_done(stedfm, tmp_path, monkeypatch):
    """A converter that comes to the claim after another has finished does not do the work again."""
    from zarrscope.engine import claim

    store, once = tmp_path / "s.zarr", claim.claimed

    def late(storage, tell, **options):
        monkeypatch.setattr(claim, "claimed", once)
        zs.convert(stedfm["full/raw"], store)
        return once(storage, tell, **options)

    monkeypatch.setattr(claim, "claimed", late)
    record = zs.convert(stedfm["full/raw"], store)
    assert record == zs.open(store).record
    assert len(record.conversions) == 1
    assert not (store / ".zarrscope").exists()


def put_claim(storage, **changes):
    held = {"host": socket.gethostname(), "pid": os.getpid(), "started": process_start(os.getpid()), "token": "t"}
    storage.put(KEY, json.dumps({**held, **changes}).encode())


DEAD = {
    "a process that is gone": {"pid": 2**22 - 1},
    "a later process of its number": {"started": "1"},
    "one elsewhere that shows no sign of life": {"host": "elsewhere"},
}


@pytest.mark.parametrize("changes", DEAD.values(), ids=DEAD.keys())
def test_the_claim_of_a_dead_converter_is_taken_over(changes, tmp_path):
    """On this host at once, from elsewhere after a minute without a beat; nobody waits for ever."""
    storage, slept = Storage(str(tmp_path)), []
    put_claim(storage, **changes)
    with claimed(storage, lambda _: None, sleep=slept.append):
        assert json.loads((tmp_path / KEY).read_bytes())["token"] != "t"
    assert sum(slept) == (60 if "host" in changes else 0)
    assert not (tmp_path / KEY).exists()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only /proc tells a zombie")
def test_a_dead_converter_that_nobody_reaped_holds_nothing(tmp_path):
    """In a container without an init the dead stay listed for ever."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    put_claim(storage := Storage(str(tmp_path)), pid=child.pid, started=process_start(child.pid))
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    with claimed(storage, lambda _: None, sleep=lambda _: pytest.fail("it waits for a zombie")):
        pass
    child.wait()


def test_one_elsewhere_that_beats_is_waited_for(tmp_path):
    storage, beats = Storage(str(tmp_path)), []

    def sleep(_):
        beats.append(1)
        if len(beats) == 200:
            storage.delete(KEY)
        else:
            put_claim(storage, host="elsewhere", beat=len(beats) // 30)

    put_claim(storage, host="elsewhere")
    with claimed(storage, lambda _: None, sleep=sleep):
        pass
    assert len(beats) == 200


def test_a_claim_that_cannot_be_read_is_none(tmp_path):
    storage = Storage(str(tmp_path))
    storage.put(KEY, b"{")
    with claimed(storage, lambda _: None, sleep=lambda _: pytest.fail("waited")):
        assert isinstance(json.loads((tmp_path / KEY).read_bytes()), dict)
    assert Claim("h", 1, "s", "t").beat == 0


def test_no_recipe_takes_what_fits_none(tmp_path):
    """The message tells how many were looked at, the nearest recipe, and the recipes that there are."""
    tar = write_tar(tmp_path / "CCPs.tar", {f"cell{number}/WF{number}.tif": b"x" for number in range(14)})
    with pytest.raises(RecipeError) as error:
        zs.convert(tar, tmp_path / "s.zarr")
    assert str(error.value) == (
        "no recipe takes CCPs.tar (14 members looked at; nearest: biosr, 0 of 14). "
        f"Name one with --recipe; known: {', '.join(sorted(known()))}."
    )
    with pytest.raises(RecipeError, match="no recipe is called 'sted'; known: biosr"):
        zs.convert(tar, tmp_path / "s.zarr", recipe="sted")
    assert not (tmp_path / "s.zarr").exists()


def test_a_recipe_of_a_stranger(tmp_path, stedfm):
    """A recipe need not be installed to convert, resume and read; to verify against sources it has to be."""
    ours = known()["stedfm"]
    mine = Recipe(
        name="mine",
        version=3,
        title="Mine",
        pattern=ours.pattern,
        layout=ours.layout,
        decode=ours.decode,
        license="CC0-1.0",
    )
    with pytest.raises(Stop):
        zs.convert(stedfm["full/raw"], tmp_path / "s.zarr", recipe=mine, shard=9, progress=stop_after(2))
    with pytest.raises(RecipeError, match="no recipe is called 'mine'"):
        zs.convert(stedfm["full/raw"], tmp_path / "s.zarr", shard=9)
    record = zs.convert(stedfm["full/raw"], tmp_path / "s.zarr", recipe=mine, shard=9)
    assert (record.recipe, record.recipe_version, record.terms.license) == ("mine", 3, "CC0-1.0")
    zs.verify(tmp_path / "s.zarr", read_data=True)
    with pytest.raises(RecipeError, match="no recipe is called 'mine'"):
        zs.verify(tmp_path / "s.zarr", sources=stedfm["full/raw"])


def test_a_card_says_what_the_recipe_does_not_know(stedfm, tmp_path):
    card = {"license": "CC-BY-4.0", "citation": "nobody", "contact": "a@b.org"}
    terms = zs.convert(stedfm["full/raw"], tmp_path / "s.zarr", card=card).terms
    assert (terms.license, terms.license_from, terms.contact) == ("CC-BY-4.0", "card", "a@b.org")
    assert (terms.citation_from, "FLClab" in terms.citation) == ("recipe", True)
    with pytest.raises(UsageError, match="the card has licence: expected license, citation, contact"):
        zs.convert(stedfm["full/raw"], tmp_path / "t.zarr", card={"licence": "x"})


def test_no_source_and_no_rows_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no source is given"):
        zs.convert([], tmp_path / "s.zarr")
    with pytest.raises(UsageError, match="at least 1 row"):
        zs.convert("a.tar", tmp_path / "s.zarr", chunk=0)
    with pytest.raises(UsageError, match="unknown codec 'lzma'"):
        zs.convert("a.tar", tmp_path / "s.zarr", codec="lzma")


# --- secrets --------------------------------------------------------------------------------------------------------


def test_credentials_stand_nowhere(stedfm, tmp_path, request):
    """What stands in the user info or the query of a URL reaches no record, no journal, no message."""
    memory = fsspec.filesystem("memory")
    request.addfinalizer(lambda: memory.rm("/me:PASSWORD@bucket", recursive=True))
    url = "memory://me:PASSWORD@bucket/crops.tar?X-Signature=SECRET#FRAGMENT"
    names = list(members_of(stedfm["full/raw"]).items())
    names[30] = (names[30][0], npz(None, img=np.zeros(3)))
    memory.pipe_file(
        "/me:PASSWORD@bucket/crops.tar?X-Signature=SECRET#FRAGMENT", write_tar(tmp_path / "t", names).read_bytes()
    )
    (tmp_path / "t").unlink()
    secrets, told = ("PASSWORD", "SECRET", "FRAGMENT"), []
    with pytest.raises(DecodeError) as error:
        zs.convert(url, tmp_path / "s.zarr", shard=8, strict=True, say=told.append, storage_options={"token": "SECRET"})
    assert str(error.value).startswith("memory://bucket/crops.tar!/")
    assert (tmp_path / "s.zarr" / ".zarrscope" / "plan.json").exists()
    assert contains(tmp_path / "s.zarr", *secrets) == []
    record = zs.convert(url, tmp_path / "s.zarr", shard=8, say=told.append, storage_options={"token": "SECRET"})
    assert record.conversions[0].sources[0].name == "crops.tar"
    assert contains(tmp_path / "s.zarr", *secrets) == []
    report = zs.verify(tmp_path / "s.zarr", sources=url, say=told.append)
    missing = url.replace("crops", "none")
    for refused in (lambda: zs.convert(missing, tmp_path / "n.zarr"), lambda: zs.plan(missing, "n.zarr")):
        with pytest.raises(SourceError) as gone:
            refused()
        told.append(str(gone.value))
    told += [str(report), repr(record), str(error.value), repr(zs.open(tmp_path / "s.zarr"))]
    assert not [text for text in told for secret in secrets if secret in text]


def test_a_store_with_credentials_in_its_url_does_not_tell_them(stedfm, request):
    memory = fsspec.filesystem("memory")
    request.addfinalizer(lambda: memory.rm("/me:PASSWORD@shelf", recursive=True))
    url = "memory://me:PASSWORD@shelf/s.zarr"
    with pytest.raises(Stop):
        zs.convert(stedfm["full/raw"], url, shard=16, progress=stop_after(1))
    with pytest.raises(StoreError) as error:
        zs.open(url)
    told = [str(error.value), str(zs.info(url))]
    zs.convert(stedfm["full/raw"], url, shard=16, say=told.append)
    told += [str(zs.verify(url)), repr(zs.open(url)), str(zs.info(url))]
    found = [path for path in memory.find("/me:PASSWORD@shelf") if b"PASSWORD" in memory.cat_file(path)]
    assert not found
    assert not [text for text in told if "PASSWORD" in text]
