"""Imports point one way, so that a module can be read, tested or copied with what lies below it alone."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gan_jax

PACKAGE = Path(gan_jax.__file__).parent
ROOT = PACKAGE.parent

GROUND = {"errors", "limits", "pixels"}  # every module may import these
PIECES = {"losses", "penalties", "priors", "reparam", "pool", "mixtures", "augment", "optimizers", "nn", "models"}
GAME = {"net", "game", "engine", "carry", "programs", "rules", "two_player", "population", "analysis"}
SEEN = {"data", "metrics", "show"}
MAY_IMPORT = {
    **{name: set() for name in PIECES | GROUND},
    "limits": {"errors"},
    "nn": {"nn"},
    "models": {"nn", "models"},
    "net": set(),
    "game": {"net"},
    "engine": {"net", "game"},
    "carry": {"game"},
    "programs": set(),
    "rules": {"game", "engine"},
    "population": {"game", "engine"},
    "analysis": {"game", "engine", "programs"},
    "two_player": {"game", "losses", "priors", "augment"},
    "data": {"data", "mixtures"},
    "metrics": {"metrics", "data", "mixtures"},
    "show": {"show"},
    "training": {"training", "data", "net", "game", "engine", "carry", "programs", "population"},
    "runs": {"runs", "training", "nn"} | GAME | SEEN,
    "cli": {"cli", "runs", "training"} | GAME | SEEN,
    "__main__": {"cli"},
    "__init__": {"runs", "game", "two_player", "population", "analysis", "rules", "data", "metrics"} | PIECES,
}
PAPERS = PIECES | GROUND | GAME | SEEN | {"cli"}  # cli only in the last lines, to start it


def imported(path: Path) -> set[str]:
    """Our own modules that a file imports, by their first name below gan_jax."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "gan_jax":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gan_jax."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[2].split(".")[0] for alias in node.names if alias.name == "gan_jax"}
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("gan_jax.")}
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_lies_below_it(path):
    name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    paper = path.name == "template.py"  # what `new` writes, by the facade as a user would
    assert imported(path) <= (PAPERS | set(gan_jax.__all__) if paper else MAY_IMPORT[name] | GROUND)


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.py")), ids=lambda path: path.name)
def test_a_paper_imports_nothing_of_the_training(path):
    assert imported(path) <= PAPERS


def test_nothing_imports_experiments_or_benchmarks():
    for path in PACKAGE.rglob("*.py"):
        assert not any(
            f"{verb} {name}" in path.read_text()
            for verb in ("from", "import")
            for name in ("experiments", "benchmarks")
        )


@pytest.mark.parametrize(
    "path", sorted(p for p in ROOT.rglob("*.py") if ".venv" not in p.parts), ids=lambda p: str(p.relative_to(ROOT))
)
def test_a_file_is_one_room(path):
    assert len(path.read_text().splitlines()) <= 320


def test_the_facade():
    code = (
        "import gan_jax\n"
        "assert dir(gan_jax) == sorted(gan_jax.__all__), dir(gan_jax)\n"
        "import gan_jax.training, gan_jax.runs, gan_jax.runs.replay\n"
        "assert callable(gan_jax.train) and callable(gan_jax.gan) and dir(gan_jax) == sorted(gan_jax.__all__)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not any((PACKAGE / f"{name}.py").exists() for name in ("gan", "train", "load", "move", "replay"))


def test_importing_gan_jax_touches_no_device_and_nothing_optional():
    code = (
        "import sys, gan_jax\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge.backends_are_initialized()\n"
        "late = {'tyro', 'tensorflow_datasets', 'grain', 'matplotlib', 'sklearn', 'torch'} & set(sys.modules)\n"
        "assert not late, late\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
