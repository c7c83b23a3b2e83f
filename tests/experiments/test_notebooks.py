"""The notebooks in experiments/notebooks run from top to bottom."""

import subprocess
import sys
import types

import matplotlib.pyplot as plt
import nbformat
import pytest
from conftest import ROOT

NOTEBOOKS = sorted((ROOT / "experiments" / "notebooks").glob("*.ipynb"))
SHORTER = {"ablation": {"STEPS, EVERY = 2000, 200": "STEPS, EVERY = 40, 20"}}  # what is replaced, and by what


def test_there_are_notebooks():
    assert {path.stem for path in NOTEBOOKS} >= SHORTER.keys()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_cells_of_a_notebook(path, monkeypatch):
    """One after another in this process, some with fewer rounds."""
    shown, module = [], types.ModuleType("notebook")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(plt, "show", lambda: shown.extend(plt.get_fignums()) or plt.close("all"))
    shorter = dict(SHORTER.get(path.stem, {}))
    for i, cell in enumerate(nbformat.read(path, 4).cells):
        if cell.cell_type == "code":
            for old in [old for old in shorter if old in cell.source]:
                cell.source = cell.source.replace(old, shorter.pop(old))
            exec(compile(cell.source, f"cell {i}", "exec"), vars(module))
    assert len(shown) >= 2 and not shorter


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook(path, environment, tmp_path):
    done = tmp_path / path.name
    execute = [sys.executable, "-c", "from nbclient.cli import main; main()", str(path), f"--output={done}"]
    subprocess.run(execute, env=environment, cwd=tmp_path, check=True)
    cells = [cell for cell in nbformat.read(done, 4).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    assert sum("image/png" in out.get("data", {}) for cell in cells for out in cell.outputs) >= 2
