"""The command line: exit codes, data alone on stdout, no traceback, and Ctrl-C that loses nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

import zarrscope as zs
from hostile import HTML, bad_npz, members_of, tree, write_tar
from zarrscope import cli
from zarrscope.errors import TemporaryError
from zarrscope.planning import from_json

SIDE = 40


def run(*line):
    result = CliRunner().invoke(cli.main, list(map(str, line)))
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


@pytest.fixture
def crops(stedfm):
    return stedfm["full/raw"]


@pytest.fixture
def spoiled(crops, tmp_path):
    """Give the same with one member that can't be decoded."""
    members = list(members_of(crops).items())
    members[40] = (members[40][0], bad_npz(SIDE)["a key of another name"][0])
    return write_tar(tmp_path / "spoiled.tar", members)


# --- exit codes -----------------------------------------------------------------------------------------------------


def test_convert_and_look(crops, tmp_path):
    """0: nothing on stdout from convert, the story with the counts on stderr; verify and info answer on stdout."""
    store = tmp_path / "s.zarr"
    done = run("convert", crops, store, "--shard", 16, "--workers", 2, "--memory", "4GB")
    assert (done.exit_code, done.stdout) == (0, "")
    lines = done.stderr.splitlines()
    assert lines[-1] == "94 members = 94 converted + 0 ignored + 0 quarantined"
    assert any(line.startswith("convert: ") for line in lines)
    assert all(line.isprintable() for line in lines)  # no bar where there is no terminal
    right = run("verify", store, "--source", crops, "--read-data")
    assert right.exit_code == 0
    assert right.stdout.startswith(f"{store}: 4 elements, ")
    told = run("info", store)
    assert told.exit_code == 0
    assert "full/raw  94 x 40 x 40 uint16, 0 quarantined" in told.stdout
    again = run("convert", crops, store, "--shard", 16)
    assert (again.exit_code, again.stdout) == (0, "")


def test_json_is_json(crops, tmp_path):
    """``--json`` is what a program reads: a plan that reads back as a plan, and what a store holds, without NaN."""
    store = tmp_path / "s.zarr"
    planned = run("plan", crops, store, "--shard", 16, "--json")
    assert planned.exit_code == 0
    assert from_json(planned.stdout_bytes).images[0].shards[0] == 16
    assert not store.exists()
    run("convert", crops, store, "--where", "grid_row == 0", "--limit", 3)

    def refuse(text):
        raise AssertionError(text)

    told = json.loads(run("info", store, "--json").stdout, parse_constant=refuse)
    assert told["counts"] == {"members": 94, "converted": 3, "ignored": 0, "quarantined": 0, "left_out": 91}
    assert told["images"][0]["path"] == "full/raw"
    assert told["images"][0]["statistics"][-1]["class"] == "all"


def test_a_plan_in_words(crops, tmp_path):
    done = run("plan", crops, tmp_path / "s.zarr", "--limit", 20)
    assert done.exit_code == 0
    assert "full/raw" in done.stdout
    assert "20 to convert, 0 ignored, 0 quarantined, 74 left out" in done.stdout
    assert "expected" in done.stdout
    assert done.stderr == ""


def test_finished_with_quarantine(spoiled, tmp_path):
    """4, also when repeated; verify of such a store is 0; the reason is told."""
    store = tmp_path / "s.zarr"
    for _ in range(2):
        done = run("convert", spoiled, store)
        assert done.exit_code == 4
        assert "93 converted + 0 ignored + 1 quarantined" in done.stderr
        assert "expected a key 'image', found 'metadata', 'img'" in done.stderr
        assert "WARNING: 1.1% of the members are quarantined." in done.stderr
    assert run("verify", store, "--source", spoiled).exit_code == 0


def test_strict(spoiled, tmp_path):
    """3, with the member named as a user would type it."""
    done = run("convert", spoiled, tmp_path / "s.zarr", "--strict")
    assert done.exit_code == 3
    name = list(members_of(spoiled))[40]
    last = done.stderr.splitlines()[-1]
    assert last == f"DecodeError: {spoiled}!/{name}: expected a key 'image', found 'metadata', 'img'."


def test_interrupted(crops, tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(zs, "convert", interrupt, raising=False)
    done = run("convert", crops, tmp_path / "s.zarr")
    assert done.exit_code == 130
    assert done.stderr == "interrupted: nothing is lost. Run the same line again to go on.\n"


@pytest.mark.parametrize(
    "error", [TemporaryError("s3://b/a: can't be read. Try again."), TimeoutError("x"), ConnectionResetError()]
)
def test_storage_that_does_not_answer(error, crops, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(zs, "convert", fail, raising=False)
    done = run("convert", crops, tmp_path / "s.zarr")
    assert done.exit_code == 5
    assert "again" in done.stderr


USAGE = {
    "no verb of ours": ["konvert"],
    "no source": ["convert", "{store}"],
    "an unknown option": ["convert", "{crops}", "{store}", "--shards", "3"],
    "a limit of none": ["convert", "{crops}", "{store}", "--limit", "0"],
    "a codec that there is not": ["convert", "{crops}", "{store}", "--codec", "lzma"],
    "an expression that can't be read": ["convert", "{crops}", "{store}", "--where", "protein =="],
    "a value that nothing has": ["convert", "{crops}", "{store}", "--where", "protein == 'psd59'"],
    "a column that there is not": ["plan", "{crops}", "{store}", "--where", "protien == 'psd95'"],
    "memory that is too little": ["convert", "{crops}", "{store}", "--memory", "1kB"],
    "memory that is no size": ["convert", "{crops}", "{store}", "--memory", "many"],
    "memory without end": ["convert", "{crops}", "{store}", "--memory", "1e999GB"],
    "memory of no number": ["convert", "{crops}", "{store}", "--memory", "nan"],
    "a card that is not there": ["convert", "{crops}", "{store}", "--card", "{store}/none.toml"],
    "a card that is no TOML": ["convert", "{crops}", "{store}", "--card", "{crops}"],
    "a scheme that is not let in": ["convert", "gopher://a/b.tar", "{store}"],
    "a store of another scheme": ["convert", "{crops}", "ftp://a/b.zarr"],
    "an option without a value": ["info", "{store}", "--storage-option", "anon"],
}


@pytest.mark.parametrize("line", USAGE.values(), ids=USAGE.keys())
def test_usage(line, crops, tmp_path):
    """2, one message, nothing written."""
    store = tmp_path / "s.zarr"
    done = run(*(word.format(crops=crops, store=store) for word in line))
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.strip()
    assert not store.exists()


INVALID = {
    "no such source": ["convert", "{folder}/none.tar", "{store}"],
    "a web page": ["convert", "{page}", "{store}"],
    "planning from a web page": ["plan", "{page}", "{store}"],
    "a recipe that there is not": ["convert", "{crops}", "{store}", "--recipe", "sted"],
    "two archives for one stack": ["convert", "{crops}", "{twice}", "{store}"],
    "a folder of no dataset": ["convert", "{folder}", "{store}"],
    "information of no store": ["info", "{store}"],
    "a sheet of no store": ["sheet", "{store}", "{folder}/a.png"],
    "proof of no store": ["verify", "{store}"],
    "a manifest of no store": ["verify", "{store}", "--manifest"],
    "a store that is a file": ["convert", "{crops}", "{page}"],
}


@pytest.mark.parametrize("line", INVALID.values(), ids=INVALID.keys())
def test_invalid_data(line, crops, tmp_path):
    """3, one message with the kind of error first, nothing written."""
    folder, store = tmp_path / "in", tmp_path / "out" / "s.zarr"
    folder.mkdir()
    (folder / "page.tar").write_bytes(HTML)
    (folder / "twice.tar").write_bytes(crops.read_bytes() if "{twice}" in line else b"")
    places = {
        "crops": crops,
        "store": store,
        "folder": folder,
        "page": folder / "page.tar",
        "twice": folder / "twice.tar",
    }
    done = run(*(word.format(**places) for word in line))
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr.splitlines()[-1].partition(":")[0] in {
        "SourceError",
        "RecipeError",
        "StoreError",
        "MissingDataError",
    }
    assert not store.parent.exists()


def test_a_store_that_verify_faults(crops, tmp_path):
    """3, with every problem in a line of its own."""
    store = tmp_path / "s.zarr"
    run("convert", crops, store, "--shard", 16)
    for number in (1, 3):
        (store / f"full/raw/0/c/{number}/0/0").unlink()
    done = run("verify", store, "--quick")
    assert (done.exit_code, done.stdout) == (3, "")
    lines = done.stderr.splitlines()
    assert f"VerifyError: {store} is not what it should be:" in lines
    assert [line for line in lines if line.endswith("the object is missing")] == [
        f"  {store}/full/raw/0/c/{number}/0/0: the object is missing" for number in (1, 3)
    ]


def test_what_the_system_refuses_is_one_line(crops, tmp_path):
    """A store below a file can't be made: an error of one line, and no traceback."""
    (tmp_path / "file").write_text("x")
    done = run("convert", crops, tmp_path / "file" / "s.zarr")
    assert done.exit_code in (1, 3)
    assert "Not a directory" in done.stderr or "File exists" in done.stderr


def test_a_manifest_is_only_the_manifest(stedfm_store):
    done = run("verify", stedfm_store, "--manifest")
    assert done.exit_code == 0
    assert done.stderr == ""
    assert all(len(line.split("  ")[0]) == 64 for line in done.stdout.splitlines())


def test_a_card(crops, tmp_path):
    card = tmp_path / "card.toml"
    card.write_text('license = "CC-BY-4.0"\ncontact = "a@b.org"\n')
    assert run("convert", crops, tmp_path / "s.zarr", "--card", card).exit_code == 0
    assert "licence CC-BY-4.0" in run("info", tmp_path / "s.zarr").stdout
    card.write_text('licence = "CC-BY-4.0"\n')
    done = run("convert", crops, tmp_path / "t.zarr", "--card", card)
    assert done.exit_code == 2
    assert "the card has licence: expected license, citation, contact" in done.stderr


def test_information_of_an_unfinished_store(crops, tmp_path):
    """How far it is, and what it will hold."""

    def stop(state):
        if state.tasks_done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        zs.convert(crops, tmp_path / "s.zarr", shard=16, progress=stop)
    done = run("info", tmp_path / "s.zarr")
    assert done.exit_code == 0
    assert "UNFINISHED: full/raw (" in done.stdout
    assert " of 6 tasks)" in done.stdout
    assert json.loads(run("info", tmp_path / "s.zarr", "--json").stdout)["tasks"] == 6


def test_dask_without_the_extra_says_what_to_install(crops, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    done = run("convert", crops, tmp_path / "s.zarr", "--dask", "tcp://127.0.0.1:1")
    assert done.exit_code == 2
    assert "pip install 'zarrscope[distributed]'" in done.stderr


def test_help_and_version():
    assert run("--version").stdout == f"zarrscope, version {zs.__version__}\n"
    for verb in ("demo", "plan", "convert", "verify", "info", "sheet"):
        done = run(verb, "--help")
        assert (done.exit_code, done.stdout.startswith("Usage: ")) == (0, True)


SIZES = {"2GB": 2 * 10**9, "500M": 5 * 10**8, "1.5k": 1500, "7": 7, "3 tb": 3 * 10**12, "10b": 10}


@pytest.mark.parametrize(("text", "size"), SIZES.items())
def test_sizes(text, size):
    assert cli.Bytes().convert(text, None, None) == size


# --- as a program ---------------------------------------------------------------------------------------------------


def program(*line, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "zarrscope", *map(str, line)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def receipts(store):
    folder = store / ".zarrscope/receipts"
    return sum(name.isdecimal() for _, _, files in os.walk(folder) for name in files)


@pytest.mark.skipif(os.name == "nt", reason="a console of Windows has no SIGINT for one process")
def test_ctrl_c_and_the_same_line_again(stedfm, tmp_path):
    """130 on Ctrl-C, with plain lines and no traceback; the same line finishes to the bytes of an uninterrupted run."""
    store, line = (
        tmp_path / "s.zarr",
        [stedfm["full/raw"], stedfm["subset/raw"], "--shard", 1, "--codec", "zstd:15", "--workers", 1],
    )
    first = program("convert", *line[:2], store, *line[2:], start_new_session=True)
    deadline = time.monotonic() + 30
    while receipts(store) < 3 and time.monotonic() < deadline:
        assert first.poll() is None, first.communicate()
        time.sleep(0.005)
    first.send_signal(signal.SIGINT)
    out, err = first.communicate(timeout=30)
    assert (first.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "interrupted: nothing is lost. Run the same line again to go on."
    assert "Traceback" not in err
    assert not (store / ".zarrscope/claim").exists()
    done = receipts(store)
    assert 3 <= done < 166
    assert run("verify", store).exit_code == 3
    resumed = run("convert", *line[:2], store, *line[2:])
    assert resumed.exit_code == 0
    assert f"convert: {done} of 166 samples" in resumed.stderr
    zs.convert(line[:2], tmp_path / "whole.zarr", shard=1, codec="zstd:15")
    assert tree(store) == tree(tmp_path / "whole.zarr")


@pytest.mark.skipif(not Path("/bin/sh").exists(), reason="needs a pipe of a shell")
def test_a_reader_that_leaves_early_is_no_error(stedfm_store):
    """``zarrscope verify --manifest | head -1`` ends in silence."""
    line = f"'{sys.executable}' -m zarrscope verify --manifest '{stedfm_store}' | head -1"
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=False)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""
