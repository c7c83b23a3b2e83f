"""gan_jax/writers.py, with the services played by a few lines each."""

import os
import re
import sys
from types import SimpleNamespace

import pytest
from flax import linen as nn
from toy import POINTS

import gan_jax
from gan_jax.errors import UserError
from gan_jax.game import Game, Loss, Player, move
from gan_jax.optimizers import adam
from gan_jax.training import writers

pytestmark = pytest.mark.usefixtures("no_curves")

GAME = Game(
    {"G": Player(nn.Dense(1), adam(1e-3))},
    lambda nets, batch, key, step: {"G": Loss(nets["G"](batch["x"]).mean())},
    (move("G"),),
)
train = lambda **how: gan_jax.train(GAME, POINTS, batch=8, log_every=2, progress=False, **how)


class SummaryWriter:
    """What tensorboardX does that matters here: it makes its folder at once."""

    def __init__(self, folder):
        self.rows = []
        os.makedirs(folder)
        SummaryWriter.last = self

    def add_scalar(self, name, value, step):
        self.rows.append((name, value, step))

    def flush(self):
        self.rows.append("flushed")


def test_tensorboard_in_a_new_folder(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", SimpleNamespace(SummaryWriter=SummaryWriter))
    train(steps=4, run=tmp_path / "run", writers=[writers.tensorboard(tmp_path / "run")])
    rows = SummaryWriter.last.rows
    assert (tmp_path / "run" / "tensorboard").is_dir() and rows.count("flushed") == 2
    assert [row[2] for row in rows if row[0] == "loss/G"] == [2, 4]


def test_wandb_in_a_new_folder(tmp_path, monkeypatch):
    made, rows = [], []
    session = SimpleNamespace(log=lambda row, step: rows.append((row["loss/G"], step)))
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **how: made.append(how) or session))
    train(steps=4, run=tmp_path / "run", writers=[writers.wandb(tmp_path / "run", "mlp:small", {"lr": 1})])
    assert [step for _, step in rows] == [2, 4] and len(made) == 1
    assert (
        re.fullmatch("run-[0-9a-f]{12}", made[0]["id"])
        and made[0]["resume"] == "allow"
        and made[0]["config"] == {"lr": 1}
    )


@pytest.mark.parametrize("make, module", [(writers.tensorboard, "tensorboardX"), (writers.wandb, "wandb")])
def test_an_extra_that_is_not_there(tmp_path, monkeypatch, make, module):
    monkeypatch.setitem(sys.modules, module, None)
    more = () if make is writers.tensorboard else ("mlp:small", {})
    with pytest.raises(UserError, match=rf"needs {module}: pip install 'gan_jax\[\w+\]'"):
        make(tmp_path, *more)
