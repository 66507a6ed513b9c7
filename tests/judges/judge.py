"""Ask programs that we did not write about our stores, each in an environment of its own because their pins clash.

Validators say whether an image is OME-Zarr 0.5 and look at no pixel; readers open it and give the SHA-256 of level 0,
so that pixels can be compared between three engines: tensorstore (C++), zarr-python, and zarrs (Rust) below ngff-zarr.
To the first two a lost shard is an error, to the third it is zeros, which its digest shows. From the shell::

    python tests/judges/judge.py IMAGE_GROUP... [--table TABLE_GROUP ...]

prints one verdict a judge and group as JSON, and exits with 1 if any refused. The environments are made on first use
below ``$ZARRSCOPE_JUDGES``, by default in the user's cache folder; about 0.8 GB and a minute.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ENVIRONMENTS: Mapping[str, tuple[str, ...]] = {
    "yaozarrs": ("yaozarrs[io]>=0.3.4",),
    "ome-zarr-models": ("ome-zarr-models>=1.8.1",),
    "readers": ("anndata>=0.13.4", "ngff-zarr[validate]>=0.50", "tensorstore>=0.1.86", "zarr>=3.4.2"),
}
VALIDATORS = ("yaozarrs", "ome-zarr-models")  # each the name of its environment and of its command
READERS = ("ngff-zarr", "tensorstore", "zarr")
JUDGES = (*VALIDATORS, *READERS)

_WITNESS = Path(__file__).with_name("witness.py")
_PATIENCE = 600  # seconds for one call, an installation included


class JudgesUnavailableError(RuntimeError):
    """An environment could not be made, most likely for want of a package index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one judge says of one group.

    ``message`` holds its reasons, or its warnings where it accepts; ``found`` what a reader saw: ``shape``, ``dtype``
    and ``sha256`` of level 0, or ``obs``, ``var``, ``X``, ``layers`` and ``obsm`` shapes of a table.
    """

    accepted: bool
    message: str
    seconds: float
    found: Mapping[str, Any] = field(default_factory=dict)


def judge_images(paths: Iterable[Path | str]) -> dict[str, dict[str, Verdict]]:
    """Ask every judge about every image group: verdicts by judge, then by path as given.

    Raises
    ------
    JudgesUnavailableError
        Where an environment is missing and can't be made.
    """
    groups = [str(path) for path in paths]
    verdicts = {judge: {group: _validate(judge, group) for group in groups} for judge in VALIDATORS}
    return verdicts | {reader: _witness(reader, groups) for reader in READERS}


def judge_tables(paths: Iterable[Path | str]) -> dict[str, Verdict]:
    """Let anndata read every table group whole: verdicts by path as given."""
    return _witness("anndata", [str(path) for path in paths])


def read_pixels(path: Path | str, reader: str) -> str:
    """Read level 0 of an image with a foreign reader, and give the SHA-256 of its values in C order, little endian.

    Raises
    ------
    ValueError
        Where the reader can't, with its message.
    """
    verdict = _witness(reader, [str(path)])[str(path)]
    if not verdict.accepted:
        raise ValueError(f"{path}: {reader} can't read it: {verdict.message}")
    return str(verdict.found["sha256"])


def ready() -> bool:
    """Tell whether all environments are there, so that judging needs no package index."""
    return all(_stamp(name).is_file() and _stamp(name).read_text() == _wanted(name) for name in ENVIRONMENTS)


def folder() -> Path:
    """Give the folder that holds the environments."""
    if chosen := os.environ.get("ZARRSCOPE_JUDGES"):
        return Path(chosen).absolute()
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        cache.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # no home, or one that can't be written
        cache = Path(tempfile.gettempdir())
    return cache / "zarrscope" / "judges"


def environment(name: str) -> Path:
    """Give the folder of commands of one environment, making it first if it is missing or asks for other packages."""
    home, stamp = folder() / name, _stamp(name)
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may come at once
        if not stamp.is_file() or stamp.read_text() != _wanted(name):
            venv.create(home, clear=True, with_pip=True)
            done = _call([home / "bin" / "pip", "install", "--quiet", *ENVIRONMENTS[name]])
            if done.returncode:
                raise JudgesUnavailableError(f"{home}: pip install {_wanted(name)} failed: {done.stderr[-500:]}")
            stamp.write_text(_wanted(name))
    return home / "bin"


def _stamp(name: str) -> Path:
    return folder() / name / "installed.txt"


def _wanted(name: str) -> str:
    return " ".join(ENVIRONMENTS[name])


def _call(command: Sequence[Path | str]) -> subprocess.CompletedProcess[str]:
    # A judge must see neither our packages nor our interpreter's settings.
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    clean["PYTHONUTF8"] = "1"
    return subprocess.run(
        [str(part) for part in command], capture_output=True, check=False, env=clean, text=True, timeout=_PATIENCE
    )


def _validate(judge: str, group: str) -> Verdict:
    command = environment(judge) / judge
    start = time.perf_counter()
    done = _call([command, "validate", group])
    seconds = round(time.perf_counter() - start, 3)
    return Verdict(accepted=done.returncode == 0, message=(done.stderr + done.stdout).strip(), seconds=seconds)


def _witness(reader: str, groups: Sequence[str]) -> dict[str, Verdict]:
    done = _call([environment("readers") / "python", _WITNESS, reader, *groups])
    if done.returncode:
        message = f"{reader} ended with {done.returncode}: {done.stderr[-500:]}"
        return {group: Verdict(accepted=False, message=message, seconds=0.0) for group in groups}
    last = done.stdout.splitlines()[-1]
    return {group: Verdict(**verdict) for group, verdict in json.loads(last).items()}


def main() -> int:
    """Judge what the command line names, and print the verdicts."""
    parser = argparse.ArgumentParser(description="Ask foreign validators and readers about OME-Zarr images.")
    parser.add_argument("images", nargs="*", metavar="IMAGE_GROUP")
    parser.add_argument("--table", action="append", default=[], dest="tables", metavar="TABLE_GROUP")
    asked = parser.parse_args()
    verdicts = judge_images(asked.images) if asked.images else {}
    if asked.tables:
        verdicts["anndata"] = judge_tables(asked.tables)
    print(json.dumps({judge: {path: asdict(one) for path, one in said.items()} for judge, said in verdicts.items()}))
    return int(any(not one.accepted for said in verdicts.values() for one in said.values()))


if __name__ == "__main__":
    sys.exit(main())
