"""A trajectory does not depend on where it runs: devices, processes, and from some to others."""

import json
import signal
import socket
import subprocess
import sys
import time

import pytest
from conftest import on_devices
from toy import GAME, POINTS, bits

import gan_jax
from benchmarks.devices import COUNTS, GAMES, PRECISIONS
from gan_jax.errors import UserError
from gan_jax.runs.folder import read_rows
from gan_jax.training import parallel

pytestmark = pytest.mark.usefixtures("no_curves")

TRAJECTORY = """
import json, sys
from pathlib import Path
from benchmarks import devices
games, rounds, folder = json.loads(sys.argv[1])
found = {}
for name, (counts, hosts) in games.items():
    found[name] = devices.matrix(name, rounds, counts, Path(folder))
    found[name] |= devices.processes([name], rounds, hosts, Path(folder))[name]
print(json.dumps(found))
"""


def trajectory(environment, folder, precision, games):
    """[(game, where it ran, how that differs from one device), …] of {game: (numbers of devices, of processes)}, found
    by a process that has eight devices."""
    rounds, allowed = PRECISIONS[precision]
    many = on_devices(environment, 8) | {"JAX_ENABLE_X64": str(int(precision == "float64"))}
    words = json.dumps([games, rounds, str(folder)])
    done = subprocess.run([sys.executable, "-c", TRAJECTORY, words], env=many, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    cells = [(name, way, cell) for name, ways in found.items() for way, cell in ways.items()]
    wrong = [
        (name, way, cell)
        for name, way, cell in cells
        if not cell["fed the same"] or max(cell["losses"], cell["outputs"]) > allowed
    ]
    assert not wrong
    assert all(cell.get("bit-equal to a run that never stopped", True) for *_, cell in cells)
    return cells


def test_ten_rounds_in_float32(tmp_path, environment):
    cells = trajectory(environment, tmp_path, "float32", {"normalised": ([8], []), "cyclic": ([2], [2])})
    apart = [(game, way) for game, way, cell in cells if cell["outputs"] > 0]
    # One that is the same to the bit did not leave its device.
    assert len(cells) == 2 + 2 + 5 and {game for game, _ in apart} == {"normalised", "cyclic"}


def test_a_hundred_rounds_in_float64(tmp_path, environment):
    assert len(trajectory(environment, tmp_path, "float64", {"spectral": ([4], [])})) == 2


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", GAMES)
def test_all_games_from_anywhere_to_anywhere(tmp_path, environment, name, precision):
    assert len(trajectory(environment, tmp_path, precision, {name: (COUNTS, [2, 4])})) == 4 + 16 + 10


SHARES = """
import jax, toy
from jax.sharding import NamedSharding, PartitionSpec as P
from gan_jax.training import parallel
from gan_jax.engine import init, step

def flops(devices):
    layout = parallel.layout(64, devices=devices)
    rows = NamedSharding(layout.mesh, P(None, "data"))
    batch = {"x": jax.ShapeDtypeStruct((2, 64, 2), "float32", sharding=rows)}
    state = jax.eval_shape(lambda: init(toy.GAME, jax.random.key(0), {"x": jax.numpy.zeros((2, 64, 2))}))
    with jax.set_mesh(layout.mesh):
        program = jax.jit(lambda state, batch: step(toy.GAME, state, batch)).lower(layout.abstract(state), batch)
    return program.compile().cost_analysis()["flops"]

print(flops(8) / flops(1))

layout = parallel.layout(64, devices=8, split_from=16)
lies = lambda *shape: layout.state(jax.ShapeDtypeStruct(shape, "float32")).spec
assert lies(8) == P() and lies(3, 5) == P() and lies(2, 8) == P(None, "data") and lies(16, 8) == P("data")
for devices, batch, words in [(None, 20, "20 does not divide over 8 devices: give --batch 16 or 24, or --devices 5"),
                              (9, 18, "There are 8 devices, not 9"), (None, 4, "give --batch 8, or --devices 4")]:
    try:
        parallel.layout(batch, devices=devices)
        raise AssertionError(words)
    except ValueError as error:
        assert words in str(error), error

import numpy as np
import gan_jax
how = {"steps": 4, "batch": 16, "progress": False}
split, whole = (gan_jax.train(toy.GAME, toy.POINTS, split_from=n, **how).state for n in (16, 0))
kernel = split.params["G"]["Dense_0"]["kernel"]
assert {shard.data.size for shard in kernel.addressable_shards} == {kernel.size // 8}, kernel.sharding
for a, b in zip(jax.tree.leaves(split.params), jax.tree.leaves(whole.params)):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
"""


def test_the_work_is_shared_and_weights_may_be_split(environment):
    """An eighth of the rows is an eighth of the work, generator included, but for the optimiser."""
    many = on_devices(environment, 8)
    done = subprocess.run([sys.executable, "-c", SHARES], env=many, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    assert 1 / 8 < float(done.stdout) < 0.3


PROCESS = """
import sys, toy, gan_jax
from gan_jax.training import parallel
parallel.start(sys.argv[1])
folder, steps = sys.argv[2], int(sys.argv[3])
where = dict(run=folder, log_every=10, checkpoint_every=50, config={"recipe": sys.argv[4]})
print("begins", flush=True)
gan_jax.train(toy.GAME, toy.POINTS, steps=steps, batch=8, **where)
"""


def start(environment, folder, steps, count=2, recipe="toy"):
    """The processes of one training, which meet on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = lambda i: [sys.executable, "-c", PROCESS, f"127.0.0.1:{port}/{count}/{i}", str(folder), str(steps), recipe]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return [subprocess.Popen(words(i), env=environment, **pipes) for i in range(count)]


def test_two_processes_and_a_sigterm_to_one(tmp_path, environment):
    """Both save the same round and exit with 143; one process goes on from there; logs have each round once."""
    folder = tmp_path / "run"
    children = start(environment, folder, 10**6)
    while not any(row["step"] >= 100 for row in read_rows(folder)):
        assert all(child.poll() is None for child in children), [child.communicate() for child in children]
        time.sleep(0.01)
    children[1].send_signal(signal.SIGTERM)
    began = time.monotonic()
    said = [child.communicate(timeout=60)[1] for child in children]
    assert [child.returncode for child in children] == [143, 143], said
    assert time.monotonic() - began < 30
    stopped = gan_jax.load(folder, game=GAME)
    t, rows = int(stopped.state.step), read_rows(folder)
    assert [row["step"] for row in rows] == list(range(10, t + 1, 10)) and t >= 100
    alone = gan_jax.train(GAME, POINTS, steps=t, batch=8, progress=False)
    for (name, *_, a), (_, *_, b) in zip(bits(stopped.state), bits(alone.state), strict=True):
        if "key" in name or "step" in name:
            assert a == b
    where = {"run": folder, "log_every": 10, "checkpoint_every": 50, "config": {"recipe": "toy"}, "progress": False}
    assert int(gan_jax.train(GAME, POINTS, steps=t + 20, batch=8, **where).state.step) == t + 20


def test_an_error_of_the_first_process_is_one_of_all(tmp_path, environment):
    folder = tmp_path / "run"
    where = {"run": folder, "config": {"recipe": "other"}, "progress": False}
    gan_jax.train(GAME, POINTS, steps=1, batch=8, **where)
    children = start(environment, folder, 10)
    said = [child.communicate(timeout=120)[1] for child in children]
    assert all(child.returncode for child in children)
    assert all("holds another run (recipe other → toy)" in text for text in said), said


def test_how_processes_meet():
    for words in ("slurm", "host:1/2", "host/2/0", "host:1/2/2"):
        with pytest.raises(UserError, match="is neither auto nor HOST:PORT/PROCESSES/PROCESS"):
            parallel.start(words)
