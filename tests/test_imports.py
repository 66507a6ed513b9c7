"""What is imported, and when: the face of the package, its help and its xarray engine stay light."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    *("anndata", "dask", "fsspec", "isal", "jsonschema", "msgspec", "numba", "numpy", "pandas", "PIL", "rich", "scipy"),
    *("tifffile", "xarray", "xxhash", "zarr", "zstandard", "asyncio", "concurrent", "multiprocessing"),
}
SHOW = "import json, sys; print(json.dumps(sorted(sys.modules)))"


def modules(program: str) -> set[str]:
    """Run a program in a fresh interpreter, and give the names of the modules that it left imported."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{program}\n{SHOW}"], capture_output=True, check=True, text=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def packages(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


ASKED = "from zarrscope.cli import main; main({}, standalone_mode=False)"
PROGRAMS = {
    "the package": ("import zarrscope", set()),
    "its directory": ("import zarrscope; dir(zarrscope)", set()),
    "the errors": ("from zarrscope import ZarrscopeError", set()),
    "the help": (ASKED.format(["--help"]), {"click"}),
    "the help of a verb": (ASKED.format(["convert", "--help"]), {"click"}),
    "the version": (ASKED.format(["--version"]), {"click"}),
}


@pytest.mark.parametrize(("program", "needed"), PROGRAMS.values(), ids=PROGRAMS.keys())
def test_nothing_heavy_is_imported(program, needed):
    """Neither importing zarrscope nor asking the command line for help imports a library that takes time."""
    found = packages(modules(program))
    assert not found & HEAVY
    assert "zarrscope" in found
    assert needed == found & {"click"}


def test_the_xarray_engine_imports_only_itself():
    """At its first opening xarray imports the module of every engine: ours adds nothing but itself."""
    before = modules("import xarray.backends")
    after = modules("import xarray.backends, zarrscope.loaders.xarray")
    assert after - before == {"zarrscope", "zarrscope.loaders", "zarrscope.loaders.xarray", "zarrscope.version"}


def test_reading_imports_no_writer():
    """What opens a store imports neither what writes one nor the libraries of tables and pictures."""
    found = modules("import zarrscope.loaders.store")
    assert not packages(found) & {"anndata", "dask", "numba", "pandas", "PIL", "tifffile", "xarray"}
    upstairs = ("zarrscope.writers", "zarrscope.engine", "zarrscope.sources")
    assert not [name for name in found if name.startswith(upstairs)]
