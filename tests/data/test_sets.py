"""Sets that are not paired, each in an order of its own; pairs, two pictures side by side."""

import json
import os
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import linen as nn
from pictures import png, tar, write
from toy import bits

from gan_jax import losses, train
from gan_jax.data import OnDisk, batches, content_hash, epoch, lengths, load, read, stream, streams
from gan_jax.errors import UserError
from gan_jax.game import Game, Loss, Player, move
from gan_jax.optimizers import adam
from gan_jax.runs.folder import describe
from gan_jax.runs.load import load as load_run
from gan_jax.runs.replay import replay

rng = np.random.default_rng(0)
A, B = (rng.integers(0, 256, (n, 2, 2, 1), np.uint8) for n in (7, 12))
SETS = {"A": {"x": A}, "B": {"x": B, "y": np.arange(12, dtype=np.int32)}}


def rows_of(images, found):
    """Which of `images` each of `found` is."""
    names = {image.tobytes(): i for i, image in enumerate(images)}
    return [names[image.tobytes()] for image in found]


def test_each_set_has_an_order_of_its_own():
    assert lengths(SETS) == {"A": 7, "B": 12} and epoch(SETS) == 12 and lengths(SETS["B"]) == epoch(SETS["B"]) == 12
    orders = streams(3, 5, 30, {"A": 12, "B": 12})
    np.testing.assert_array_equal(orders["A"], stream(3, 5, 30, 12))  # as alone
    assert (orders["A"] != orders["B"]).mean() > 0.7
    other = streams(4, 5, 30, {"A": 12, "B": 12})
    assert all((orders[a] != other[b]).any() for a in "AB" for b in "AB")


def test_a_set_is_read_evenly_and_its_rows_stay_together():
    found = [read(SETS, 0, 4 * place, 1, 4) for place in range(21)]  # 12 epochs of A, 7 of B
    assert found[0]["A"]["x"].shape == (1, 4, 2, 2, 1)
    for name, times in {"A": 12, "B": 7}.items():
        rows = [row for one in found for row in rows_of(SETS[name]["x"], one[name]["x"][0])]
        assert set(Counter(rows).values()) == {times}
        first = len(SETS[name]["x"])
        assert sorted(rows[:first]) == list(range(first))
    for one in found:
        assert rows_of(B, one["B"]["x"][0]) == one["B"]["y"][0].tolist()


def test_threads_read_the_same():
    reader = batches(SETS, 2, 8, 4, slice(1, 3))
    for place in (8, 12, 16):
        whole, mine = read(SETS, 2, place, 1, 4), next(reader)
        jax.tree.map(np.testing.assert_array_equal, mine, jax.tree.map(lambda x: x[0, 1:3], whole))
    reader.close()


class Critic(nn.Module):
    """x -> logits [b]."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(x.reshape(len(x), -1))[:, 0]


def play(nets, batch, key, step):
    """The critic tells the two sets apart."""
    loss, _ = losses.non_saturating(nets["D"](batch["B"]["x"]), nets["D"](batch["A"]["x"]))
    return {"D": Loss(loss, {"label": batch["B"]["y"].mean()})}


GAME = Game({"D": Player(Critic(), adam(1e-2))}, play, (move("D"),))
HOW = {"batch": 4, "log_every": 1, "progress": False}


def test_a_training_is_the_same_from_anywhere_and_goes_on(tmp_path):
    """On the device, from the host, many rounds to a dispatch, stopped and gone on with."""
    rows = []
    straight = train(GAME, SETS, steps=9, run=tmp_path / "a", writers=[rows.append], **HOW)
    expected = [read(SETS, 0, 4 * t, 1, 4)["B"]["y"].mean() for t in range(9)]
    assert [row["label"] for row in rows] == pytest.approx(expected)
    assert [row["epoch"] for row in rows[2::3]] == [1.0, 2.0, 3.0]  # of the larger set
    host = train(GAME, SETS, steps=9, resident=0, **HOW)
    assert bits(host.state) == bits(straight.state)
    for steps in (4, 9):
        stopped = train(GAME, SETS, steps=steps, run=tmp_path / "b", **HOW)
    assert bits(stopped.state) == bits(straight.state)
    spec = describe(tmp_path / "b")["batch"]
    assert spec == {"A": {"x": [[4, 2, 2, 1], "float32"]}, "B": {"x": [[4, 2, 2, 1], "float32"], "y": [[4], "int32"]}}
    assert bits(load_run(tmp_path / "b", GAME).state) == bits(straight.state)
    assert replay(tmp_path / "b", SETS, GAME, step=4, steps=9, progress=False) is None


def test_what_is_wrong_is_said(tmp_path):
    with pytest.raises(UserError, match="a batch of 8 is more than the 7 images"):
        train(GAME, SETS, steps=1, batch=8, progress=False)
    train(GAME, SETS, steps=1, run=tmp_path, **HOW)
    other = SETS | {"A": {"x": A[::-1]}}
    with pytest.raises(UserError, match="holds another run"):
        train(GAME, other, steps=2, run=tmp_path, **HOW)
    swapped = {"A": SETS["B"], "B": SETS["A"] | {"y": np.zeros(7, np.int32)}}
    assert len({content_hash(x) for x in (SETS, other, swapped, SETS["B"])}) == 4
    path = tmp_path / "config.json"
    about = json.loads(path.read_text())
    about["batch"]["A"]["x"] = {"deeper": 1}
    path.write_text(json.dumps(about))
    with pytest.raises(UserError, match=r"batch is .* which must be \{name: \[shape, dtype\]\}, or that for each"):
        describe(tmp_path)


COLOUR = rng.integers(0, 256, (8, 6, 5, 3), np.uint8)
NAMES = ["trainA", "trainA", "trainB", "trainB", "trainB", "testA", "testB"]
SIDES = {f"{name}/{i}.png": png(COLOUR[i]) for i, name in enumerate(NAMES)}


@pytest.mark.parametrize("top", ["", "horse2zebra/"])
def test_a_folder_and_a_tar_of_two_sets(tmp_path, top):
    files = {top + name: content for name, content in SIDES.items()}
    for where in (write(tmp_path / "folder", files), tar(tmp_path / "a.tar", files)):
        for split, rows in {"trainA": [0, 1], "trainB": [2, 3, 4], "testA": [5], "testB": [6]}.items():
            found = load(where, split=split)
            assert set(found) == {"x"}
            np.testing.assert_array_equal(found["x"], COLOUR[rows])
        with pytest.raises(UserError, match="no split 'train', only testA, testB, trainA, trainB"):
            load(where)
    folder = tmp_path / "folder"
    memory, disk = ({n: load(folder, split=f"train{n}", resident=r) for n in "AB"} for r in (2**20, 1))
    assert isinstance(disk["A"]["x"], OnDisk)
    jax.tree.map(np.testing.assert_array_equal, read(disk, 1, 4, 2, 2), read(memory, 1, 4, 2, 2))
    assert content_hash(disk) != content_hash({"A": disk["B"], "B": disk["A"]})


def test_both_halves_of_a_pair_are_fitted_alike(tmp_path):
    """Each as if it were a picture of its own: on disk, in memory, in an array."""
    pairs = rng.integers(0, 256, (4, 9, 20, 3), np.uint8)
    where = write(tmp_path / "pairs", {f"train/{i}.png": png(x) for i, x in enumerate(pairs)})
    halves = [load(np.ascontiguousarray(half), size=8, channels=1)["x"] for half in np.split(pairs, 2, 2)]
    expected = np.concatenate(halves, 2)
    assert expected.shape == (4, 8, 16, 1)
    for source, more in [(where, {}), (where, {"resident": 10}), (pairs, {})]:
        np.testing.assert_array_equal(load(source, size=8, channels=1, pairs=True, **more)["x"], expected)
    np.testing.assert_array_equal(load(where, pairs=True)["x"], pairs)
    write(where, {"train/odd.png": png(pairs[0, :, :19])})
    with pytest.raises(UserError, match=r"'train/odd.png' in '.*' is 19x9, no pair .*: its width must be even"):
        load(where, size=8, pairs=True)
    with pytest.raises(UserError, match="no pairs side by side: the width must be even"):
        load(pairs[:, :, :19], pairs=True)


@pytest.mark.skipif("GAN_JAX_DATA" not in os.environ, reason="GAN_JAX_DATA names no folder of data")
def test_the_real_sets():
    folder = Path(os.environ["GAN_JAX_DATA"]) / "translation"
    garments = folder / "tshirt2longsleeve-128.tar"
    sizes = {split: load(garments, split=split)["x"].shape for split in ("trainA", "trainB", "testA", "testB")}
    assert sizes == {"trainA": (300, 128, 128, 3), "trainB": (300, 128, 128, 3)} | {
        name: (60, 128, 128, 3) for name in ("testA", "testB")
    }
    nuclei = folder / "nuclei-pairs-128.tar"
    train_pairs, val = (load(nuclei, size=128, split=split, pairs=True)["x"] for split in ("train", "val"))
    assert train_pairs.shape == (564, 128, 256, 3) and val.shape == (100, 128, 256, 3)
    labels = val[:, :, :128]
    assert set(np.unique(labels)) == {0, 255} and (labels.sum(-1, dtype=int) == 255).all()  # one-hot colours: A is left
    assert len(np.unique(val[:, :, 128:])) > 200
