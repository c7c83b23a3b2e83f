"""The notebooks in experiments/notebooks run from top to bottom."""

import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT

NOTEBOOKS = sorted((ROOT / "experiments" / "notebooks").glob("*.ipynb"))
SHORTER = {"ablation": {"STEPS, EVERY = 2000, 200": "STEPS, EVERY = 40, 20"}}  # what is replaced, and by what


def test_there_are_notebooks():
    assert {path.stem for path in NOTEBOOKS} >= SHORTER.keys()


def execute(path, shorter, environment, folder):
    """Every cell runs, and they draw."""
    notebook = nbformat.read(path, 4)
    for old, new in shorter.items():
        (cell,) = [cell for cell in notebook.cells if old in cell.source]
        cell.source = cell.source.replace(old, new)
    given, done = folder / path.name, folder / f"{path.stem}-done.ipynb"
    nbformat.write(notebook, given)
    words = [sys.executable, "-c", "from nbclient.cli import main; main()", str(given), f"--output={done}"]
    subprocess.run(words, env=environment, cwd=folder, check=True)
    cells = [cell for cell in nbformat.read(done, 4).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    assert sum("image/png" in out.get("data", {}) for cell in cells for out in cell.outputs) >= 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook(path, environment, tmp_path):
    execute(path, SHORTER.get(path.stem, {}), environment, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORTER)
def test_a_notebook_in_full(name, environment, tmp_path):
    execute(ROOT / "experiments" / "notebooks" / f"{name}.ipynb", {}, environment, tmp_path)
