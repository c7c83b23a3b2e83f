"""Sets that stay on disk: read where they are indexed, and batch after batch by threads, in the order of the plan."""

import itertools
import os
import shutil
import tarfile
import threading
from contextlib import closing
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from toy import bits

import gan_jax
from benchmarks.games import Dense
from gan_jax import losses, population, priors
from gan_jax.data import OnDisk, batch_indices, batches, content_hash, load, mirror, stream
from gan_jax.errors import UserError
from gan_jax.game import Player
from gan_jax.optimizers import adam
from gan_jax.two_player import gan

real = pytest.mark.skipif("GAN_JAX_DATA" not in os.environ, reason="set GAN_JAX_DATA to the folder of real data sets")
REAL = Path(os.environ.get("GAN_JAX_DATA", "."))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """26 pictures of 9 x 7 in two classes."""
    top, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for i, image in enumerate(rng.integers(0, 256, (26, 9, 7, 3), np.uint8)):
        path = top / "ab"[i % 2] / f"{i:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
    return top


def test_what_lies_on_disk_is_what_would_lie_in_memory(folder):
    for how in ({}, {"size": 8}, {"size": 8, "channels": 1}):
        here, there = load(folder, **how), load(folder, **how, resident=100)
        x, y = here["x"], there["x"]
        assert isinstance(x, np.ndarray) and isinstance(y, OnDisk)
        assert (x.shape, x.dtype, x.ndim, x.nbytes, len(x)) == (y.shape, y.dtype, y.ndim, y.nbytes, len(y))
        for rows in (slice(3, 9, 2), slice(-2, None), np.array([5, 5, -1]), 7):
            np.testing.assert_array_equal(y[rows], x[rows])
        np.testing.assert_array_equal(np.asarray(y), x)
        np.testing.assert_array_equal(np.asarray(mirror(there)["x"]), mirror(here)["x"])
        np.testing.assert_array_equal(there["y"], here["y"])
        with pytest.raises(IndexError):
            y[26]
    assert load(folder, resident=26 * 9 * 7 * 3)["x"].base is None  # no more than that stays in memory


@real
def test_tfds_on_disk():
    name = f"tfds:mnist@{REAL / 'tfds'}"
    here, there = (load(name, split="test[:600]", resident=resident) for resident in (2**31, 100))
    assert isinstance(there["x"], OnDisk) and there["x"].shape == (600, 28, 28, 1)
    np.testing.assert_array_equal(there["x"][[599, 0, 300]], here["x"][[599, 0, 300]])
    np.testing.assert_array_equal(there["y"], here["y"])
    assert content_hash(there) != content_hash(load(name, split="test[1:601]", resident=100))
    with closing(batches(there, 1, 590, 20)) as reader:
        for place in (590, 610):
            rows, found = stream(1, place, 20, 600), next(reader)
            np.testing.assert_array_equal(found["x"], here["x"][rows])
            np.testing.assert_array_equal(found["y"], here["y"][rows])


@real
def test_tfds_that_is_cut_short_while_it_runs_is_named(tmp_path):
    name = f"tfds:mnist@{shutil.copytree(REAL / 'tfds', tmp_path / 'tfds')}"
    data = load(name, split="test[:600]", resident=100)
    os.truncate(next((tmp_path / "tfds").rglob("mnist-test*")), 1000)
    words = f"'{name}' is (a )?truncated or corrupt"  # a record that is cut short may still be returned
    with closing(batches(data, 0, 0, 20)) as reader, pytest.raises(UserError, match=words):
        next(reader)


@pytest.mark.parametrize("threads", [1, 5])
@pytest.mark.parametrize("where", [100, 2**31])
def test_batches_are_those_of_the_plan(folder, where, threads):
    """From any round, across an epoch's edge, and by any number of processes, each of which reads its own rows."""
    data, memory = load(folder, size=8, resident=where), load(folder, size=8)
    for seed, start, slices, count in [(0, 0, 1, 1), (3, 4, 2, 2), (3, 11, 3, 4)]:
        parts = []
        for p in range(count):
            rows = slice(p * 8 // count, (p + 1) * 8 // count)
            with closing(batches(data, seed, start * slices * 8, 8, rows, threads=threads)) as reader:
                parts.append(list(itertools.islice(reader, 5 * slices)))
        found = [{name: np.concatenate([part[i][name] for part in parts]) for name in data} for i in range(5 * slices)]
        for t in range(5):
            for i, rows in enumerate(batch_indices(seed, start + t, 26, 8, slices)):
                np.testing.assert_array_equal(found[t * slices + i]["x"], memory["x"][rows])
                np.testing.assert_array_equal(found[t * slices + i]["y"], memory["y"][rows])


def test_closing_ends_the_threads(folder):
    before = set(threading.enumerate())
    with closing(batches(load(folder, resident=100), 0, 0, 8)) as reader:
        next(reader)
        assert set(threading.enumerate()) - before
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive()


GAME = gan(Player(Dense((8, 8, 3)), adam(1e-3)), Player(Dense(), adam(1e-3)), losses.hinge, priors.normal(4))
HOW = {"steps": 5, "batch": 8, "progress": False, "dispatch": 2}


def test_a_training_is_the_same_from_disk_from_memory_and_from_the_device(folder):
    here, there = ({"x": load(folder, size=8, resident=where)["x"]} for where in (2**31, 100))
    device, memory, disk = (
        gan_jax.train(GAME, data, **HOW, **how) for data, how in [(here, {}), (here, {"resident": 100}), (there, {})]
    )
    for (name, *_, a), (_, *_, b), (_, *_, c) in zip(
        bits(device.state), bits(memory.state), bits(disk.state), strict=True
    ):
        assert b == c, name  # gathered outside the program, and inside: XLA may round them differently
        if "key" in name or "step" in name:
            assert a == b
    leaves = zip(jax.tree.leaves(device.state.params), jax.tree.leaves(memory.state.params), strict=True)
    for a, b in leaves:
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_population_from_disk_has_each_member_s_order(folder):
    there = {"x": load(folder, size=8, resident=100)["x"]}
    many = population.Population(lambda own: GAME, (0, 3), {})
    both = gan_jax.train(many, there, **HOW)
    alone = gan_jax.train(GAME, there, seed=3, **HOW)
    for a, b in zip(jax.tree.leaves(both.member(1).state.params), jax.tree.leaves(alone.state.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.fixture
def moved(folder, tmp_path):
    """A copy of the pictures that may be spoilt."""
    return Path(shutil.copytree(folder, tmp_path / "pictures"))


SPOILT = {
    "has disappeared: put it back and start again.": Path.unlink,
    "is a truncated or corrupt picture: replace or remove it.": lambda path: os.truncate(path, 99),
    "is 5x4 in .*: give --size N to make them all N x N.": lambda path: Image.new("RGB", (5, 4)).save(path),
}


@pytest.mark.parametrize("words", SPOILT)
def test_a_picture_that_is_lost_or_spoilt_while_it_runs_is_named(moved, words):
    data = load(moved, resident=100)
    with closing(batches(data, 0, 0, 2, threads=2, ahead=2)) as reader:
        next(reader)
        last = batch_indices(0, 12, 26, 2)[0, 1]
        path = sorted(moved.rglob("*.png"))[last]
        SPOILT[words](path)
        with pytest.raises(UserError, match=f"'{path.relative_to(moved)}' (in '{moved}' )?{words}") as caught:
            for _ in range(12):
                next(reader)
    assert "\n" not in str(caught.value)


def test_its_identity_is_its_files(moved):
    was = content_hash(load(moved, size=8, resident=100))
    assert content_hash(load(moved, size=8, resident=100)) == was
    assert content_hash(load(moved, size=4, resident=100)) != was
    (moved / "a" / "00.png").rename(moved / "a" / "001.png")
    assert content_hash(load(moved, size=8, resident=100)) != was


def test_a_tar_that_is_too_large_is_to_be_unpacked(folder, tmp_path):
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        archive.add(folder, "pictures")
    with pytest.raises(UserError, match="unpack it into a folder"):
        load(tmp_path / "all.tar", resident=100)
