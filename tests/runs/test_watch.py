"""Measures along a training: in its rows, in its folder, and equal to those of the State afterwards."""

from functools import partial
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import toy
from flax import linen as nn

from gan_jax import analysis, engine, losses, population, priors, train
from gan_jax.errors import UserError
from gan_jax.game import Player, State, move
from gan_jax.reparam import spectral_norm
from gan_jax.runs import watch
from gan_jax.runs.folder import read_rows
from gan_jax.two_player import gan


class Convolution(nn.Module):
    """x [b, 2] -> logits [b]."""

    @nn.compact
    def __call__(self, x):
        h = nn.leaky_relu(nn.Conv(5, (3, 3))(x.reshape(-1, 1, 2, 1)))
        return nn.Dense(1)(h.reshape(x.shape[0], -1))[:, 0]


GAME = gan(
    Player(nn.Dense(2), toy.adam(1e-2)),
    Player(Convolution(), toy.adam(1e-2), lambda step: 0.5, spectral_norm()),
    losses.hinge,
    priors.normal(3),
)
TWO = {"x": toy.POINTS[:32].reshape(2, 16, 2)}
trained = partial(train, GAME, toy.POINTS, steps=4, batch=16, log_every=2)


def test_a_training_that_is_watched(tmp_path):
    seen = []
    run = trained(run=tmp_path / "run", callbacks=[watch.callback(2, TWO)], writers=[seen.append])
    assert toy.bits(run.state) == toy.bits(trained().state)  # watching changes nothing
    rows = [row for row in read_rows(run.folder) if "flow/rotation" in row]
    assert [row["step"] for row in rows] == [2, 4] and rows == [row for row in seen if "flow/rotation" in row]
    names = {"spectrum/real min", "spectrum/real max", "spectrum/imag max", "noise_scale/D trace"}
    names |= {f"flow/{name}" for name in ("contraction", "rotation", "angle", "norm")}
    names |= {f"singular/{path} max" for path in ("D/Conv_0/kernel", "D/Dense_0/kernel", "G/kernel")}
    assert names <= rows[0].keys() and all(np.isfinite(list(row.values())).all() for row in rows)
    # The row of round 4 is what the State of round 4 gives, by the program that the training has compiled.
    with jax.set_mesh(run.state.step.sharding.mesh):
        given = run.state, *analysis.inputs(GAME, run.state, TWO)
        flow, leading = analysis.flow(GAME, *given), analysis.leading_eigenvalues(GAME, *given)
    assert {name: rows[1][f"flow/{name}"] for name in flow} == pytest.approx({n: float(x) for n, x in flow.items()})
    (program,) = analysis.flow.programs[GAME.owner].values()
    assert program.jitted._cache_size() == 1
    # The arrays are saved whole.
    saved = watch.read(run.folder)
    assert list(saved) == [2, 4] and saved[4]["spectrum"].shape == (6,)
    np.testing.assert_allclose(saved[4]["spectrum"], leading, rtol=1e-5)
    assert rows[1]["spectrum/imag max"] == pytest.approx(saved[4]["spectrum"].imag.max())
    # Singular values are of the weights as used: spectral norm's D at 1, and not of the averaged weights.
    used = engine.net(GAME, run.state, "D", average=False).params
    for layer in ("Conv_0", "Dense_0"):
        found, w = saved[4][f"singular/D/{layer}/kernel"], np.asarray(used[layer]["kernel"], np.float64)
        expected = np.linalg.svd(w.reshape(-1, w.shape[-1]), compute_uv=False)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        assert 0.99 < found[0] <= 1.01
    raw = np.linalg.svd(run.state.params["G"]["kernel"], compute_uv=False)
    np.testing.assert_allclose(saved[4]["singular/G/kernel"], raw, rtol=1e-5)
    watch.draw(run.folder)
    assert {"spectrum.png", "singular_values.png"} <= {path.name for path in run.folder.iterdir()}


def test_a_population_is_not_watched():
    pair = population.members(lambda config: GAME, move("D"), (0, 1), {})
    _, start = watch.callback(1, TWO)
    with pytest.raises(UserError, match=r"Measures are of a single training.*run\.member"):
        start(SimpleNamespace(game=pair(0)), 1)


def test_without_a_folder_nothing_is_saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, start = watch.callback(4, TWO, {"norm": lambda game, state, batch, key: np.float32(3)})
    state = State(np.int32(4), jax.random.key(0), {}, {}, {}, {})
    finish = start(SimpleNamespace(game=GAME, state=state, folder=None), 4)
    assert finish() == {"norm": 3.0} and not list(tmp_path.iterdir())
    assert watch.read(tmp_path) == {}
    watch.draw(tmp_path)
    assert not list(tmp_path.iterdir())
