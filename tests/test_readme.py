"""Whatever the README shows is run: its Python in one namespace, its shell lines on the demo's data, in order.

Blocks in ``console`` are typed into a shell. Lines in ``sh`` need the network or an installation: there the commands
of zarrscope are only parsed, by its own parser, and what is installed must be declared.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
import yaml

import zarrscope as zs
from zarrscope.cli import main

HOME = Path(__file__).parent.parent
README = HOME / "README.md"
TEXT = README.read_text(encoding="utf-8")
DECLARED = tomllib.loads((HOME / "pyproject.toml").read_text())
ENTRY_POINTS = '[project.entry-points."'


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block of the README: its language, its text, and the line before its first."""

    language: str
    text: str
    line: int


def read_blocks() -> list[Block]:
    return [
        Block(language=found[1], text=found[2], line=TEXT.count("\n", 0, found.start(2)))
        for found in re.finditer(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    ]


BLOCKS = read_blocks()


def calls(language: str) -> list[list[str]]:
    """Give the words of every command of zarrscope in the blocks of one language."""
    lines = [line.removeprefix("$ ") for one in BLOCKS if one.language == language for line in one.text.splitlines()]
    found: list[list[str]] = [[]]
    for line in lines:
        words = shlex.shlex(line, punctuation_chars=True)
        words.whitespace_split = words.commenters = True, ""
        for word in words:
            if set(word) <= set("&|;()"):
                found.append([])
            else:
                found[-1].append(word)
        found.append([])
    return [words[1:] for words in found if words and Path(words[0]).name == "zarrscope"]


def run_python(block: Block, namespace: dict[str, object]) -> None:
    """Run a block; a traceback shows the lines of the README. One that begins with a file's name becomes that file."""
    if name := re.match(r"# (\w+\.py)\n", block.text):
        Path(name[1]).write_text(block.text)
    code = compile("\n" * block.line + block.text, str(README), "exec")
    if "torch" not in block.text or importlib.util.find_spec("torch"):
        exec(code, namespace)


def run_shell(block: Block) -> None:
    """Type every line that begins with a prompt into a shell, and expect it to do what it says."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join([".", os.environ.get("PYTHONPATH", "")])}
    for line in block.text.splitlines():
        assert line.startswith("$ "), f"a line of a console block without a prompt: {line}"
        command = ["bash", "-o", "pipefail", "-c", line.removeprefix("$ ")]
        done = subprocess.run(command, capture_output=True, check=False, env=environment, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def install(block: Block) -> None:
    """Announce what a package with these entry points would, as an installer writes it down."""
    (groups,) = tomllib.loads(block.text)["project"]["entry-points"].items()
    announced = Path("shown-1.dist-info")
    announced.mkdir()
    (announced / "METADATA").write_text("Metadata-Version: 2.1\nName: shown\nVersion: 1\n")
    entries = "".join(f"{name} = {place}\n" for name, place in groups[1].items())
    (announced / "entry_points.txt").write_text(f"[{groups[0]}]\n{entries}")


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """Stand where a reader stands who has typed the first command."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    zs.demonstrate("zarrscope-demo")
    yield
    sys.modules.pop("wells", None)


@pytest.mark.usefixtures("reader")
def test_everything_shown_runs(capsys):
    """From the first block to the last, as one reader would: what a block leaves behind, a later one may use."""
    namespace: dict[str, object] = {"__name__": "readme"}
    for block in BLOCKS:
        if block.language == "python":
            run_python(block, namespace)
        elif block.language == "console":
            run_shell(block)
        elif block.text.startswith(ENTRY_POINTS):
            install(block)
    assert "Did you mean 'psd95'?" in capsys.readouterr().out
    assert Path("sheet.png").stat().st_size > 10_000


@pytest.mark.parametrize("words", calls("sh") + calls("console"), ids=" ".join)
def test_a_command_shown_is_one_that_there_is(words, tmp_path, monkeypatch):
    """Verbs, arguments and options are known to the command line."""
    monkeypatch.chdir(tmp_path)
    for block in BLOCKS:
        if name := re.match(r"# (\w+\.toml)\n", block.text):
            Path(name[1]).write_text(block.text)
    verb = main.commands[words[0]]
    arguments = [word.strip("\"'") for word in words[1:]]
    with verb.make_context(words[0], arguments, parent=click.Context(main)) as context:
        assert context.params


def test_every_verb_is_shown():
    assert {words[0] for words in calls("sh") + calls("console")} == set(main.commands)


def test_what_is_installed_is_declared():
    """Extras and groups in the lines that install are those of the project, and every extra is named."""
    shown = "\n".join(block.text for block in BLOCKS if block.language == "sh")
    assert set(re.findall(r"--group (\w+)", shown)) <= set(DECLARED["dependency-groups"])
    extras = set(re.findall(r"-e '\.\[([\w,]+)\]'", TEXT))
    assert {one for listed in extras for one in listed.split(",")} <= set(DECLARED["project"]["optional-dependencies"])
    assert [one for one in DECLARED["project"]["optional-dependencies"] if f"`{one}`" not in TEXT] == []


def test_what_is_pointed_to_is_there():
    """Links into the repository lead somewhere, programs to be run exist, and the picture is small."""
    pointed = [link for link in re.findall(r"\]\(([^)]+)\)", TEXT) if "://" not in link]
    pointed += re.findall(r"python (tests/\S+\.py)", TEXT)
    assert [one for one in pointed if not (HOME / one).exists()] == []
    assert (HOME / "notebooks" / "sheet.png").stat().st_size < 300_000


def test_exit_codes_are_those_of_the_code():
    """The table of exit codes has a row for each code that an error or the command line answers with."""

    def below(error: type[zs.ZarrscopeError]) -> set[int]:
        return {error.exit_code}.union(*(below(one) for one in error.__subclasses__()))

    shown = {int(code) for code in re.findall(r"^\| (\d+) \| ", TEXT, re.MULTILINE)}
    assert shown == below(zs.ZarrscopeError) | {0, 4, 130}


def test_no_figure_is_left_open():
    """Every figure in the README has been measured and filled in."""
    assert re.findall(r"\{\{\w+\}\}", TEXT) == []


def test_the_citation_is_of_this_version():
    """CITATION.cff has what its format requires, and the version, licence and name of the package."""
    citation = yaml.safe_load((HOME / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == zs.__version__
    assert citation["license"] == DECLARED["project"]["license"]
    assert citation["authors"] == DECLARED["project"]["authors"]
    assert f"**{zs.__version__}**" in TEXT
