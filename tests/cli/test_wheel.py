"""The wheel: installed beside a folder that is called as ours is, the papers train and load."""

import importlib.util
import os
import subprocess
import sys
import sysconfig
import zipfile

import pytest
from conftest import ROOT

TRAIN = ["train", "dcgan:digits", "--steps", "20", "--sample-every", "20", "--run", "r"]
LOAD = (
    "import gan_jax; print(gan_jax.__file__, gan_jax.load('r').state.step, gan_jax.load('r').sample(0, 4)['x'].shape)"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    alone = [] if importlib.util.find_spec("hatchling") is None else ["--no-build-isolation"]
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *alone, "--wheel-dir", folder, ROOT]
    subprocess.run(command, check=True)
    (file,) = folder.glob("gan_jax-*.whl")
    return file


@pytest.mark.slow
def test_what_the_wheel_holds(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"gan_jax", f"{wheel.name.rpartition('-py3')[0]}.dist-info"}
    papers = {path.name for path in (ROOT / "experiments").glob("*.py")} | {"costs.json"}
    assert {name.split("/")[-1] for name in names if "_experiments/" in name} == papers
    package = {path.relative_to(ROOT).as_posix() for path in (ROOT / "gan_jax").rglob("*.py")}
    assert package <= set(names) and wheel.stat().st_size < 1e6


@pytest.mark.slow
def test_a_fresh_environment(wheel, tmp_path):
    """Dependencies are those of this environment; the package is the wheel's."""
    venv, work = tmp_path / "venv", tmp_path / "work"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    python = venv / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel], check=True
    )
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    (work / "experiments").mkdir(parents=True)
    for name in ("__init__", "dcgan"):
        (work / "experiments" / f"{name}.py").write_text("raise SystemExit('a user has such a folder too')")
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}

    def run(*words):
        done = subprocess.run([python, *words], cwd=work, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    listed = run("-m", "gan_jax", "list").splitlines()
    assert listed[0].split()[-1] == "GFLOP/round" and any(line.startswith("dcgan:digits ") for line in listed)
    assert "Look:   r/samples" in run("-m", "gan_jax", *TRAIN)
    assert run("-c", LOAD).split()[1:] == ["20", "(4,", "8,", "8,", "1)"] and str(packages) in run("-c", LOAD)
    run("-m", "gan_jax", "sample", "r", "--n", "4", "--out", "x.png")
    run("-m", "gan_jax", "new", "mine.py")
    run("mine.py", "--steps", "2")
    assert (work / "x.png").exists() and (work / "runs" / "mine-small" / "checkpoints").is_dir()
