"""The notebooks in experiments/notebooks run from top to bottom."""

import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT

NOTEBOOKS = sorted((ROOT / "experiments" / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook(path, environment, tmp_path):
    done = tmp_path / path.name
    execute = [sys.executable, "-c", "from nbclient.cli import main; main()", str(path), f"--output={done}"]
    subprocess.run(execute, env=environment, cwd=tmp_path, check=True)
    cells = [cell for cell in nbformat.read(done, 4).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    assert sum("image/png" in out.get("data", {}) for cell in cells for out in cell.outputs) >= 2
