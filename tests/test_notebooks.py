"""The notebooks run from top to bottom on generated data, in this interpreter, and are kept without outputs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
import traitlets
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

import zarrscope as zs

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
STRICT = "import warnings\n\nwarnings.simplefilter('error')"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make what ``zarrscope demo`` makes."""
    folder = tmp_path_factory.mktemp("notebooks") / "data"
    zs.demonstrate(folder)
    return folder


class Kernel(AsyncKernelManager):
    """A kernel of the interpreter that runs the tests, whatever kernels the user has installed."""

    @traitlets.default("kernel_spec_manager")
    def _native(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, data, tmp_path, monkeypatch):
    """Every cell runs, a warning being an error, and draws at least two pictures."""
    monkeypatch.setenv("ZARRSCOPE_NOTEBOOK_DATA", str(data))
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(STRICT))
    here = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, kernel_manager_class=Kernel, timeout=120, resources=here).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
    assert not [output for output in outputs if output.get("name") == "stderr"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_clean(path):
    """In the repository a notebook is valid and has no outputs, no execution counts, and no metadata but the kernel."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.metadata
        assert cell.cell_type == "markdown" or (cell.outputs == [] and cell.execution_count is None)
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
