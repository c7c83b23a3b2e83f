"""gan_jax/checkpoint.py: what is saved comes back bit for bit, or is not believed."""

import contextlib
import os
import pickle
import resource
import signal
import subprocess
import sys
import textwrap
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from gan_jax.errors import UserError
from gan_jax.training import checkpoint


class State(struct.PyTreeNode):
    step: jax.Array
    key: jax.Array
    params: Any
    opt: Any
    memory: Any


def make(step: int = 0) -> State:
    """One leaf of each sort that a training may hold."""
    key = jax.random.fold_in(jax.random.key(7), step)
    w = jax.random.normal(key, (3, 4))
    odd = jnp.array([jnp.nan, -0.0, jnp.inf, 1e-45, -jnp.inf], jnp.float32)
    params = {"G": {"Dense_0": {"kernel": w.astype(jnp.bfloat16)}, "a/b.c": odd}, "D": {"kernel": w}}
    opt = {n: optax.chain(optax.clip(1.0), optax.adam(1e-3)).init(p) for n, p in params.items()}
    memory = {
        "pool": jnp.arange(12, dtype=jnp.uint8).reshape(2, 6),
        "keys": jax.random.split(key, 4),
        "mixed": [None, jnp.array([True, False]), (), {}, jnp.zeros((0, 3))],
        "game": (),
    }
    return State(jnp.int32(step), key, params, opt, memory)


def bits(state) -> list:
    raw = lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
    return [(x.dtype, x.shape, np.asarray(raw(x)).tobytes()) for x in jax.tree.leaves(state)]


def write(directory, steps, **options) -> None:
    saves = checkpoint.open(directory, **options)
    for step in steps:
        checkpoint.save(saves, step, make(step), {"seconds": step / 2})
    checkpoint.close(saves)


def read(directory, like=None, **options):
    said = []
    like = jax.eval_shape(make) if like is None else like
    found = checkpoint.restore(directory, lambda step: like, say=said.append, **options)
    return found, said


def files(folder) -> list:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def test_the_round_trip_is_exact(tmp_path):
    write(tmp_path, [3])
    (step, state, meta), said = read(tmp_path)
    assert (step, meta, said) == (3, {"seconds": 1.5}, [])
    assert jax.tree.structure(state) == jax.tree.structure(make()) and bits(state) == bits(make(3))
    draw = lambda s: np.asarray(jax.random.normal(s.key, 3))
    np.testing.assert_array_equal(draw(state), draw(make(3)))


def test_each_leaf_lands_where_it_is_told(tmp_path):
    write(tmp_path, [3])
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
    everywhere = NamedSharding(mesh, PartitionSpec())
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), jax.eval_shape(make))
    (_, state, _), _ = read(tmp_path, like)
    assert bits(state) == bits(make(3))
    assert all(x.sharding.is_equivalent_to(everywhere, x.ndim) for x in jax.tree.leaves(state) if x.size)


def test_buffers_may_be_donated_at_once(tmp_path):
    state = {f"w{i}": jnp.full((512, 512), i, jnp.float32) for i in range(8)}
    update = jax.jit(lambda s: jax.tree.map(lambda x: 2 * x + 1, s), donate_argnums=0)
    like = jax.eval_shape(lambda: state)
    saves = checkpoint.open(tmp_path)
    checkpoint.save(saves, 1, state, {})
    for _ in range(10):
        state = update(state)
    checkpoint.close(saves)
    (_, found, _), _ = read(tmp_path, like)
    for i in range(8):
        np.testing.assert_array_equal(found[f"w{i}"], np.full((512, 512), i, np.float32))


def test_nothing_there(tmp_path):
    for folder in (tmp_path / "no", tmp_path):
        assert checkpoint.restore(folder, lambda step: {}) is None and checkpoint.latest_step(folder) is None


@pytest.mark.parametrize(
    ("best", "kept"), [(None, [4, 8, 9, 10]), ("fid", [4, 6, 8, 9, 10]), ("-fid", [3, 4, 8, 9, 10])]
)
def test_what_is_kept(tmp_path, best, kept):
    fid = {1: np.nan, 2: 5.0, 3: 7.0, 4: 6.0, 5: 4.0, 6: 1.0, 7: np.inf, 8: 3.0, 9: 2.0}
    state = {"w": jnp.zeros(2)}
    for steps in (range(1, 7), range(7, 11)):  # the second process learns the scores of the first from disk
        saves = checkpoint.open(tmp_path, keep_every=4, best=best)
        for step in steps:
            checkpoint.save(saves, step, state, {"metrics": {"fid": fid[step]} if step in fid else {}})
        checkpoint.close(saves)
    assert sorted(int(p.name) for p in tmp_path.iterdir() if p.is_dir()) == kept
    assert checkpoint.latest_step(tmp_path) == 10
    assert all((tmp_path / str(step) / checkpoint.SEAL).exists() for step in kept)
    assert read(tmp_path, state, step=4)[0][0] == 4
    with pytest.raises(UserError, match=r"no checkpoint 5 in .*; there are \[(3, )?4"):
        read(tmp_path, state, step=5)


def test_no_flipped_bit_passes(tmp_path):
    write(tmp_path, [1, 2])
    rng = np.random.default_rng(0)
    flipped = files(tmp_path / "2")
    assert len(flipped) > 10
    for path in flipped:
        sound = path.read_bytes()
        at, bit = rng.integers(len(sound)), rng.integers(8)
        path.write_bytes(sound[:at] + bytes([sound[at] ^ (1 << bit)]) + sound[at + 1 :])
        (step, state, _), said = read(tmp_path)
        assert step == 1 and bits(state) == bits(make(1)), path
        assert len(said) == 1 and f"{tmp_path / '2'} is damaged" in said[0] and "using step 1" in said[0]
        path.write_bytes(sound)
    assert read(tmp_path)[0][0] == 2


@pytest.mark.parametrize("harm", ["truncated", "missing", "extra"])
def test_a_damaged_checkpoint_is_named_and_passed_over(tmp_path, harm):
    write(tmp_path, [1, 2])
    victim = max(files(tmp_path / "2" / "state"), key=lambda p: p.stat().st_size)
    if harm == "truncated":
        victim.write_bytes(victim.read_bytes()[:-1])
    elif harm == "missing":
        victim.unlink()
    else:
        victim = tmp_path / "2" / "state" / "more"
        victim.touch()
    (step, _, _), said = read(tmp_path)
    assert step == 1 and victim.name in said[0] and ("missing" in said[0]) == (harm == "missing")
    with pytest.raises(UserError, match="is damaged"):
        read(tmp_path, step=2)

    write(tmp_path, [2])  # the run goes on from 1 and comes to 2 again
    (step, state, _), said = read(tmp_path)
    assert (step, said) == (2, []) and bits(state) == bits(make(2))


def test_when_all_are_damaged_nothing_starts_afresh_in_silence(tmp_path):
    write(tmp_path, [1, 2])
    for step in "12":
        (tmp_path / step / "meta" / "metadata").write_text("{}")
    with pytest.raises(UserError, match=r"/2 is damaged .*/1 is damaged .*No intact checkpoint is left"):
        read(tmp_path)


def test_a_step_that_is_there_is_not_written_again_and_a_left_future_is_dropped(tmp_path):
    write(tmp_path, [1, 2])
    seen = (tmp_path / "2" / checkpoint.SEAL).stat().st_mtime_ns
    write(tmp_path, [2])
    assert (tmp_path / "2" / checkpoint.SEAL).stat().st_mtime_ns == seen
    write(tmp_path, [1])
    assert read(tmp_path)[0][0] == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_unsealed_checkpoint_is_used_if_it_can_be_read(tmp_path, swept):
    write(tmp_path, [1, 2])
    (tmp_path / "2" / checkpoint.SEAL).unlink()
    assert read(tmp_path)[0][0] == 2
    checkpoint.close(checkpoint.open(tmp_path))
    assert (tmp_path / "2" / checkpoint.SEAL).exists() and read(tmp_path)[0][0] == 2

    (tmp_path / "2" / checkpoint.SEAL).unlink()
    (tmp_path / "2" / "state" / "manifest.ocdbt").unlink()
    (step, _, _), said = read(tmp_path)
    assert step == 1 and "/2 is damaged (cannot be read: " in said[0]


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_nothing_that_is_loaded_executes(tmp_path, swept):
    write(tmp_path / "run", [1, 2])
    (tmp_path / "run" / "2" / checkpoint.SEAL).unlink()
    bomb, sound = pickle.dumps(Bomb(str(tmp_path / "hit"))), 0
    for path in files(tmp_path / "run" / "2"):
        was = path.read_bytes()
        path.write_bytes(bomb)
        sound += read(tmp_path / "run")[0][0] == 2
        path.write_bytes(was)
    assert not (tmp_path / "hit").exists() and 0 < sound < len(files(tmp_path / "run" / "2"))
    pickle.loads(bomb)
    assert (tmp_path / "hit").exists()


def test_another_game_is_named_by_its_first_leaf(tmp_path):
    write(tmp_path, [1])
    like = jax.eval_shape(make)
    other = {"G": like.params["G"], "D": {"kernel": jax.ShapeDtypeStruct((3, 5), jnp.float32)}}
    with pytest.raises(UserError, match=r"has float32\[3, 4\] for params/D/kernel .* has float32\[3, 5\]"):
        read(tmp_path, like.replace(params=other))
    other["D"] = {"kernel": jax.ShapeDtypeStruct((3, 4), jnp.float16)}
    with pytest.raises(UserError, match=r"has float32\[3, 4\] for params/D/kernel .* has float16\[3, 4\]"):
        read(tmp_path, like.replace(params=other))
    with pytest.raises(UserError, match=r"has key<fry>\[4\] for memory/keys where this game has nothing"):
        read(tmp_path, like.replace(memory={k: v for k, v in like.memory.items() if k != "keys"}))
    with pytest.raises(UserError, match=r"has nothing for memory/new where this game has int32\[\]"):
        read(tmp_path, like.replace(memory=like.memory | {"new": jax.ShapeDtypeStruct((), jnp.int32)}))


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"Cannot write checkpoints to .*/file/run \(Not a directory\)"):
        checkpoint.open(tmp_path / "file" / "run")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_disk_that_fills_up_is_told(tmp_path, swept):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    write(tmp_path, [1])
    saves = checkpoint.open(tmp_path)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        with pytest.raises(UserError, match=r"could not be written to .*too large"):
            checkpoint.save(saves, 2, make(2), {})
            checkpoint.close(saves)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert read(tmp_path)[0][0] == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_save_that_fails_in_the_background_is_noticed_at_the_next_look(tmp_path, swept, caplog):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    write(tmp_path, [1])
    saves = checkpoint.open(tmp_path)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        checkpoint.save(saves, 2, make(2), {})
        while saves.is_saving_in_progress():
            time.sleep(0.01)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    with pytest.raises(UserError, match=r"could not be written to .* \(File too large\): fix that and start again"):
        checkpoint.seal(saves)
    with contextlib.suppress(UserError):  # Orbax may tell of it again
        checkpoint.close(saves)
    (step, state, _), _ = read(tmp_path)  # the second, if all of it was written before the limit told
    assert step in (1, 2) and bits(state) == bits(make(step)) and not caplog.records


KILLED = """
    import os, signal, sys, time
    from pathlib import Path
    import jax.numpy as jnp
    from gan_jax.training import checkpoint

    directory, wait = Path(sys.argv[1]), float(sys.argv[2])
    saves = checkpoint.open(directory)
    state = {f"w{i}": jnp.full((256, 256), i, jnp.float32) for i in range(30)}
    checkpoint.save(saves, 1, state, {})
    saves.wait_until_finished()
    checkpoint.seal(saves)
    checkpoint.save(saves, 2, state, {})
    while not any("tmp" in p.name for p in directory.iterdir()) and not (directory / "2").exists():
        pass
    time.sleep(wait)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("wait", [0.0, 0.03])
def test_a_kill_in_the_middle_of_a_save_leaves_the_one_before(tmp_path, wait):
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), str(wait)]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    unfinished = [p.name for p in tmp_path.iterdir() if "tmp" in p.name]
    like = {f"w{i}": jax.ShapeDtypeStruct((256, 256), jnp.float32) for i in range(30)}
    (step, state, _), said = read(tmp_path, like)
    assert (step, said) == (1 if unfinished else 2, [])
    assert all(np.array_equal(x, np.full((256, 256), int(name[1:]))) for name, x in state.items())

    saves = checkpoint.open(tmp_path)
    checkpoint.save(saves, 2, state, {})
    checkpoint.close(saves)
    assert read(tmp_path, like)[0][0] == 2 and not any("tmp" in p.name for p in tmp_path.iterdir())
