"""`gan()`: labels, latents of several parts, noise, augmentation with a memory, and what is refused."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import gan_jax
from gan_jax import augment, gan, losses, penalties, priors
from gan_jax.engine import gradient, init, net, step
from gan_jax.errors import UserError
from gan_jax.game import Game, Loss, Move, Player, move
from gan_jax.runs import run as runs

quick = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
SGD = optax.sgd(0.1)


class Conditional(nn.Module):
    """z, y -> x [b, 2], and x, y -> logits [b]."""

    out: int

    @nn.compact
    def __call__(self, x, y):
        h = jnp.concatenate([x, jax.nn.one_hot(y, 3)], 1)
        y = nn.Dense(self.out)(nn.tanh(nn.Dense(4)(h)))
        return y if self.out > 1 else y[:, 0]


class Plain(nn.Module):
    out: int

    @nn.compact
    def __call__(self, x):
        y = nn.Dense(self.out)(nn.tanh(nn.Dense(4)(x)))
        return y if self.out > 1 else y[:, 0]


LABELLED = priors.labelled(priors.normal(3), 3)
conditional = partial(gan, Player(Conditional(2), SGD), Player(Conditional(1), SGD), prior=LABELLED)
BATCH = {"x": np.random.default_rng(0).normal(size=(1, 8, 2)).astype(np.float32), "y": np.arange(8)[None] % 3}


def test_a_conditional_r2_judges_fakes_under_their_own_labels():
    """½ E‖∇ₓ D(x, y)‖² on G(z, y), written out."""
    r2 = lambda critic, real, fake, key: penalties.r2(critic, fake)
    games = [conditional(loss="hinge", penalty=p, moves=(move("D", "G"),)) for p in (r2, None)]
    state = init(games[0], jax.random.key(0), BATCH)
    own = jax.tree.map(lambda x: x[0], BATCH)
    values = [quick(partial(gradient, g, losses={"D": "D"}))(state, batch=own, key=jax.random.key(5)) for g in games]
    penalty = values[0][1][1]["loss/D"] - values[1][1][1]["loss/D"]
    k_z = jax.random.split(jax.random.key(5), 6)[0]
    z, y = LABELLED(k_z, 8)
    G, D = (lambda *x, n=n: Conditional({"G": 2, "D": 1}[n]).apply({"params": state.params[n]}, *x) for n in "GD")
    slopes = [jax.grad(lambda x, y=label: D(x[None], y[None])[0])(x) for x, label in zip(G(z, y), y, strict=True)]
    np.testing.assert_allclose(penalty, np.square(slopes).sum(1).mean() / 2, rtol=1e-5)


class Noisy(nn.Module):
    """Two latents and noise -> x [b, 2]."""

    @nn.compact
    def __call__(self, z):
        h = nn.Dense(2)(jnp.concatenate([z["content"], z["style"]], 1))
        return h + jax.random.normal(self.make_rng("noise"), h.shape)


def test_noise_and_two_latents_sample():
    def prior(key, n):
        a, b = jax.random.split(key)
        return {"content": jax.random.normal(a, (n, 2)), "style": jax.random.uniform(b, (n, 3))}

    game = gan(Player(Noisy(), SGD), Player(Plain(1), SGD), losses.hinge, prior)
    run = gan_jax.train(game, BATCH["x"][0], steps=1, batch=4, progress=False)
    x = run.sample(0, 300)["x"]
    assert x.shape == (300, 2) and np.isfinite(x).all()
    assert (run.sample(0, 3)["x"] == x[:3]).all() and (run.sample(1, 3)["x"] != x[:3]).all()


def test_adaptive_augmentation_moves_its_probability():
    """p rises by batch / images while E sign(D(x)) is above the target, and falls below it (Karras et al. 2020)."""
    seen = []

    def apply(key, x, p):
        seen.append(p)
        return x * (1 - p)

    ada = augment.adaptive(apply, target=0.6, images=80.0)
    game = gan(Player(Plain(2), SGD), Player(Plain(1), SGD), "non_saturating", 3, augment=ada, moves=(move("D", "G"),))
    batch = {"x": BATCH["x"]}
    state = init(game, jax.random.key(0), batch)
    assert state.memory["game"] == {"p": 0}
    state, _ = quick(partial(step, game))(state, batch)
    judged = net(game, init(game, jax.random.key(0), batch), "D")(batch["x"][0])
    expected = 0.1 if np.sign(judged).mean() > 0.6 else 0.0
    assert float(state.memory["game"]["p"]) == pytest.approx(expected)
    memory = {"p": jnp.float32(0.5)}
    up, down = (ada.update(memory, jnp.full(8, sign))["p"] for sign in (1.0, -1.0))
    np.testing.assert_allclose([up, down], [0.6, 0.4], rtol=1e-6)


def test_p_and_the_mean_path_length_live_in_one_move():
    """D's loss moves p, and an extra loss of G the mean length of ∂G, as StyleGAN2's (Karras et al. 2020b, eq. 4)."""
    ada = augment.adaptive(lambda key, x, p: x, images=8.0, target=-2.0)
    base = gan(Player(Plain(2), SGD), Player(Plain(1), SGD), "non_saturating", 3, augment=ada)

    def play(nets, batch, key, step):
        found = base.play(nets, batch, key, step)
        z = jax.random.normal(key, (4, 3))
        length = jnp.sqrt(jnp.square(jax.grad(lambda z: nets["G"](z).sum())(z)).sum(1))
        mean = nets.memory["length"] + 0.01 * (length.mean() - nets.memory["length"])
        penalty = jnp.square(length - mean).mean()
        return found | {"path_length": Loss(penalty, {}, {"game": {"length": mean}})}

    moves = (Move({"D": "D", "G": "path_length"}), move("G", again=("batch",)))
    game = Game(base.players, play, moves, base.memory | {"length": np.float32(0)})
    state = init(game, jax.random.key(0), {"x": BATCH["x"]})
    state, _ = quick(partial(step, game))(state, {"x": BATCH["x"]})
    assert state.memory["game"]["p"] == 1 and state.memory["game"]["length"] > 0


def test_a_grid_with_a_row_a_class_is_one_program():
    data = jax.tree.map(lambda x: x[0], BATCH)
    run = gan_jax.train(conditional(loss="hinge"), data, steps=1, batch=4, progress=False)
    for labels in (np.repeat(np.arange(3), 8), np.zeros(24, int), np.arange(24) % 3):
        made = run.sample(0, 24, y=labels)
        assert (made["y"] == labels).all()
    (program,) = runs.samples.programs[run.game].values()
    assert program.jitted._cache_size() == 1
    for label in range(3):
        run.sample(0, 4, y=label)
    assert program.jitted._cache_size() == 2  # y with a row for each sample, and a scalar


def test_d_reports_its_output():
    """A probability where the loss has one, the logit elsewhere."""
    batch = {"x": 50 * BATCH["x"]}
    for loss, bounded in (("non_saturating", True), ("wasserstein", False)):
        game = gan(Player(Plain(2), SGD), Player(Plain(1), SGD), loss, 3, moves=(move("D", "G"),))
        state = init(game, jax.random.key(0), batch)
        logits = net(game, state, "D")(batch["x"][0])
        reported = quick(partial(step, game))(state, batch)[1]["D(x)"]
        np.testing.assert_allclose(reported, (jax.nn.sigmoid(logits) if bounded else logits).mean(), rtol=1e-5)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"x": np.zeros((9, 2), np.float32)}, "The prior has labels but the data have none"),
        (
            {"x": np.zeros((9, 2), np.float32), "y": np.arange(1, 10)},
            "range from 1 to 9, the classes of the prior from 0",
        ),
        ({"x": np.zeros((9, 5), np.float32), "y": np.arange(9) % 3}, "Samples of G are 2, the data 5"),
    ],
)
def test_data_that_do_not_fit_are_refused(data, said):
    with pytest.raises(UserError, match=said):
        gan_jax.train(conditional(loss="hinge"), data, steps=1, batch=4, progress=False)


def test_names_and_numbers_stand_for_losses_and_priors():
    with pytest.raises(UserError, match="hing"):
        gan(Player(Plain(2), SGD), Player(Plain(1), SGD), "hing", 3)
    with pytest.raises(UserError, match=r"class Plain: give Plain\(\)"):
        gan(Player(Plain, SGD), Player(Plain(1), SGD), "hinge", 3)
