"""Imports point one way: most modules import none of ours and can be read, tested or copied alone."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gan_jax

PACKAGE = Path(gan_jax.__file__).parent
ALONE = {"errors", "limits"}
MAY_IMPORT = {
    **{
        name: set()
        for name in [
            "errors",
            "limits",
            "losses",
            "mixtures",
            "penalties",
            "reparam",
            "priors",
            "papers",
            "parallel",
            "pool",
            "viz",
            "writers",
        ]
    },
    "nn": {"nn"},
    **{folder: {folder, "mixtures"} for folder in ("data", "metrics")},
    "models": {"models", "nn"},
    "game": {"parallel"},
    **{name: {"game"} for name in ("gan", "optimizers", "analysis", "checkpoint")},
    "population": {"game", "parallel"},
    "run": {"game", "checkpoint", "papers", "parallel", "population"},
    "replay": {"game", "checkpoint", "run", "data", "population", "nn"},
    "feeds": {"game", "data", "parallel", "population"},
    "log": {"game", "parallel", "population"},
    "train": {"game", "checkpoint", "feeds", "log", "replay", "run", "data", "parallel", "population"},
    "cost": {"game", "run", "population"},
    "flags": {"papers"},
    "fork": {"checkpoint", "game", "run", "data", "papers", "population"},
    "translation": {"data", "metrics", "run", "viz"},
    "evaluate": {"data", "metrics", "papers", "run"},
    "experiment": {path.stem for path in PACKAGE.iterdir()} - {"cli"},
    "cli": {path.stem for path in PACKAGE.iterdir()},
    "__init__": {"replay", "run", "train"},
    "__main__": {"cli"},
}


def imported(path: Path) -> set[str]:
    """Our own modules that a file imports, by their first name below gan_jax."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "gan_jax":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gan_jax."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("gan_jax.")}
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_lies_below_it(path):
    name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert imported(path) <= MAY_IMPORT[name] | ALONE


def test_importing_gan_jax_touches_no_device_and_nothing_optional():
    code = (
        "import sys, gan_jax, gan_jax.gan, gan_jax.penalties, gan_jax.reparam, gan_jax.models.dcgan\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge.backends_are_initialized()\n"
        "late = {'tyro', 'tensorflow_datasets', 'grain', 'matplotlib', 'sklearn', 'torch'} & set(sys.modules)\n"
        "assert not late, late\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
