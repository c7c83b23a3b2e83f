import contextlib
import functools
import gc
import importlib.util
import io
import os
import signal
import sys
from pathlib import Path
from unittest import mock

import pytest

ROOT = Path(__file__).resolve().parents[1]
OFTEN = ["--log-every", "2", "--sample-every", "2", "--checkpoint-every", "2"]

# The tests run small programs for milliseconds: without LLVM's optimisations these compile in a quarter of the time.
# Every process, workers and subprocesses too, finds what another one has compiled, today or before.
FLAGS = (
    "xla_backend_optimization_level=0",
    "xla_cpu_use_fusion_emitters=false",
    "xla_cpu_parallel_codegen_split_count=1",
)
os.environ["XLA_FLAGS"] = " ".join([*(f"--{flag}" for flag in FLAGS), os.environ.get("XLA_FLAGS", "")])
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path.home() / ".cache" / "gan_jax" / "tests"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


@contextlib.contextmanager
def optimised():
    """Within it `jax.jit` compiles as it does for users: for programs that run for seconds."""
    import jax

    options = {"xla_backend_optimization_level": 3, "xla_cpu_use_fusion_emitters": True}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "jit", functools.partial(jax.jit, compiler_options=options))
        yield


@pytest.fixture(scope="module", autouse=True)
def freed():
    """What the tests of a file have compiled is freed after them, or a worker would come to fill 6 GiB."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
    gc.collect()


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """For subprocesses: the repository and these tests can be imported."""
    return os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}


def on_devices(environment: dict[str, str], count: int) -> dict[str, str]:
    """The same with so many virtual devices."""
    return environment | {"XLA_FLAGS": f"{environment['XLA_FLAGS']} --xla_force_host_platform_device_count={count}"}


@pytest.fixture(scope="session")
def torch_fidelity():
    """Imports one of torch-fidelity's modules by name; its data sets need torchvision, its formulas do not."""
    for needed in ("torch", "torch_fidelity"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    absent = {}
    if importlib.util.find_spec("torchvision") is None:
        names = ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional")
        absent = {name: mock.MagicMock(name=name) for name in names}
        for name in ("CIFAR10", "CIFAR100", "STL10"):
            setattr(absent["torchvision.datasets"], name, type(name, (), {}))
        absent["torchvision"].transforms = absent["torchvision.transforms"]
        absent["torchvision.transforms"].functional = absent["torchvision.transforms.functional"]
    sys.modules.update(absent)
    importlib.import_module("torch_fidelity")
    for name in absent:
        del sys.modules[name]
    return lambda name: importlib.import_module(f"torch_fidelity.{name}")


@pytest.fixture
def alarm():
    """Fail after a minute, where a pipe would be waited for for ever."""

    def wake(number, frame):
        pytest.fail("it hangs")

    before = signal.signal(signal.SIGALRM, wake)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def little(monkeypatch):
    """A limit of 64 MiB, and of 1 MiB for a picture or a text."""
    from PIL import Image

    monkeypatch.setenv("GAN_JAX_MEMORY_LIMIT", str(1 / 16))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # `load` sets it


@pytest.fixture
def x64():
    """Arrays and weights in double precision."""
    import jax

    with jax.enable_x64(True):
        yield


@pytest.fixture
def swept():
    """Orbax leaves unfinished coroutines behind a read or write that fails: collected here, not in the next test."""
    yield
    gc.collect()


def printed(folder: Path, paper: str, *words) -> str:
    """What `python PAPER words` prints in a folder, for fixtures that several tests share."""
    from gan_jax import cli  # not above: pytest reads this file before types are checked
    from gan_jax.runs import paper as papers

    file = ROOT / "tests" / "papers" / paper
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said := io.StringIO()):
        patch.chdir(folder)
        patch.setattr(papers, "FOLDER", file.parent)
        patch.setattr(sys, "argv", [paper, *map(str, words)])
        cli.experiment(str(file))
    return said.getvalue()


@pytest.fixture(scope="session")
def mlp_run(tmp_path_factory):
    """(folder, what was printed) of `python mlp.py small`, four rounds."""
    folder = tmp_path_factory.mktemp("mlp")
    said = printed(folder, "mlp.py", "small", *OFTEN)
    return folder / "runs" / "mlp-small", said


@pytest.fixture
def no_curves(monkeypatch):
    """Runs end without a picture of their rows, whose drawing would take half of their time."""
    monkeypatch.setattr("gan_jax.show.curves", lambda rows, path: None)


@pytest.fixture
def shell(monkeypatch, capsys, tmp_path):
    """(words) -> exit code, stdout and stderr, in an empty folder; the first word is a paper's file or gan_jax."""
    from gan_jax import cli  # not above: pytest reads this file before types are checked
    from gan_jax.runs import paper as papers

    monkeypatch.chdir(tmp_path)

    def run(program, *words, real=False):
        monkeypatch.setattr(sys, "argv", [program, *map(str, words)])
        real = real or (ROOT / "experiments" / program).exists()
        folder = ROOT / ("experiments" if real else "tests/papers")
        monkeypatch.setattr(papers, "FOLDER", folder)
        try:
            cli.main() if program == "gan_jax" else cli.experiment(str(folder / program))
        except SystemExit as stop:
            return stop.code or 0, *capsys.readouterr()
        return 0, *capsys.readouterr()

    return run
