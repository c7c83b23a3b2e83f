"""Mistakes in a game are named before anything trains."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import optax
import pytest
from by_hand import KEY, data, jitted, play, start, the_game
from flax import linen as nn

from gan_jax import engine
from gan_jax.errors import UserError
from gan_jax.game import Game, Loss, Move, Player, move
from gan_jax.optimizers import sgd


class Line(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(x)


class Noisy(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(x + jax.random.normal(self.make_rng("noise"), x.shape))


def one_player(loss, net=None, moves=None):
    play = lambda nets, batch, key, step: {"D": Loss(loss(nets, batch["x"]))}
    return Game({"D": Player(net or Line(), optax.sgd(0.1))}, play, moves or (move("D"),))


mean = lambda nets, x: nets["D"](x).mean()


@pytest.mark.parametrize(
    "loss",
    [
        lambda nets, x: jax.lax.scan(lambda c, row: (c, nets["D"](row).mean()), 0, x)[1].mean(),
        lambda nets, x: jax.vmap(nets["D"])(x).mean(),
        lambda nets, x: jax.lax.cond(x.sum() > 0, lambda: mean(nets, x), lambda: 0.0),
        lambda nets, x: jax.grad(lambda x: mean(nets, x))(x).mean(),
    ],
    ids=["scan", "vmap", "cond", "grad"],
)
def test_a_network_cannot_be_born_inside(loss):
    for init in (engine.init, jax.jit(engine.init, static_argnums=0)):
        with pytest.raises(UserError, match=r"The first call of network 'D' is inside .* call it once outside first"):
            init(one_player(loss), KEY, data(1))
    cured = one_player(lambda nets, x: loss(nets, x) + 0 * mean(nets, x))
    before = one_player(lambda nets, x: 0 * mean(nets, x) + loss(nets, x))
    with pytest.raises(UserError):
        engine.init(cured, KEY, data(1))
    state = engine.init(before, KEY, data(1))
    assert jnp.isfinite(jitted(before)(state, data(1))[1]["loss/D"])


LINE = Player(Line(), optax.sgd(0.1))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: one_player(mean, Noisy()), r"'D' draws random numbers but was called without a key"),
        (lambda: one_player(lambda nets, x: x.mean()), r"`play` never called network 'D'"),
        (lambda: one_player(mean, moves=(move("Q"),)), r"names player 'Q'; the players are D"),
        (lambda: one_player(mean, moves=(Move({"D": "path"}),)), r"descends loss 'path'; `play` returned D"),
        (lambda: one_player(lambda nets, x: nets["D"](x)), r"Loss 'D' has shape \[8, 1\]: take its mean"),
        (lambda: one_player(mean, moves=(move("D", again=("batch",)), move("D"))), r"first move .* no previous move"),
        (lambda: one_player(mean, moves=(move("D"), move("D"))), r"has 2 slices, the batch \{1\}"),
        (lambda: one_player(mean, moves=(move("D"), move("D", again=("bach",)))), r"again names 'bach'"),
        (lambda: Game({"D": LINE}, lambda *_: {}, ()), r"The game has no moves"),
        (lambda: Game({"D": LINE, "E": LINE}, lambda *_: {}, (move("D"),)), r"Player 'E' never moves"),
        (lambda: Game({"rule": LINE}, lambda *_: {}, (move("rule"),)), r"A player is named 'rule'"),
        (lambda: replace(one_player(mean), parts=0), r"parts of the game is 0"),
        (lambda: move(), r"A move needs a player"),
        (lambda: Player(Line, optax.sgd(0.1)), r"the class Line: give Line\(\)"),
        (lambda: Player(Line(), 0.1), r"optimizer is 0.1: give an optax optimizer"),
        (lambda: Player(lambda x: x, optax.sgd(0.1)), r"network is a function: give an instance"),
        (
            lambda: replace(one_player(mean), players={"D": Player(Line(), optax.lbfgs())}),
            r"needs the value of the loss",
        ),
    ],
)
def test_mistakes_are_named(make, words):
    with pytest.raises(UserError, match=words):
        g = make()
        engine.step(g, engine.init(g, KEY, data(1)), data(1))


def test_a_metric_is_a_scalar():
    loss = lambda nets, batch, key, step: {"D": Loss(mean(nets, batch["x"]), {"logits": nets["D"](batch["x"])})}
    with pytest.raises(UserError, match=r"Metric 'logits' has shape \[8, 1\]: report a scalar"):
        engine.init(Game({"D": LINE}, loss, (move("D"),)), KEY, data(1))


BOTH = (move("D", "E"),)


def remembering(entries, moves=BOTH):
    """Two players of a line each, whose losses update entries of the game's memory."""

    def play(nets, batch, key, step):
        new = {n: {"game": {entry: nets.memory[entry] + 1 for entry in entries[n]}} for n in "DE"}
        return {n: Loss(nets[n](batch["x"]).mean(), memory=new[n]) for n in "DE"}

    return Game({"D": LINE, "E": LINE}, play, moves, {"p": 0, "length": 0})


def test_losses_of_one_move_update_their_own_memory():
    """As ADA's p, which D's loss updates, and the mean path length, which G's does."""
    g = remembering({"D": ["p"], "E": ["length"]})
    state, _ = jitted(g)(engine.init(g, KEY, data(1)), data(1))
    assert state.memory["game"] == {"p": 1, "length": 1}


def test_a_clash_of_memory_is_named():
    with pytest.raises(UserError, match="Losses 'D' and 'E' of one move both update 'p' of 'game'"):
        engine.init(remembering({"D": ["p"], "E": ["p"]}), KEY, data(1))
    apart = remembering({"D": ["p"], "E": ["p"]}, (move("D"), move("E")))
    state, _ = jitted(apart)(engine.init(apart, KEY, data(2)), data(2))
    assert state.memory["game"]["p"] == 2
    with pytest.raises(UserError, match="has memory 'q' of 'game', which has length, p"):
        unknown = lambda nets, batch, key, step: {
            n: Loss(nets[n](batch["x"]).mean(), {}, {"game": {"q": 1}}) for n in "DE"
        }
        engine.init(replace(apart, play=unknown), KEY, data(2))


def test_first_weights_depend_on_the_name_alone():
    def game(names):
        play = lambda nets, batch, key, step: {n: Loss(nets[n](batch["x"]).mean()) for n in names}
        return Game({n: LINE for n in names}, play, (move(*names),))

    weights = {names: engine.init(game(names), KEY, data(1)).params for names in ("D", "DE", "ED")}
    kernel = lambda names, n: weights[names][n]["Dense_0"]["kernel"]
    assert (kernel("D", "D") == kernel("DE", "D")).all() and (kernel("DE", "D") == kernel("ED", "D")).all()
    assert not (kernel("DE", "D") == kernel("DE", "E")).all()


MODES = {"train": (1, 0), "training": (1, 0), "is_training": (1, 0), "deterministic": (0, 1)}


@pytest.mark.parametrize("word", MODES)
def test_the_usual_names_of_the_mode_are_understood(word):
    in_training, in_use = MODES[word]
    namespace = {"nn": nn}
    exec(
        f"class Net(nn.Module):\n    @nn.compact\n    def __call__(self, x, {word}=None):\n"
        f"        return 0 * nn.Dense(1)(x) + int({word})",
        namespace,
    )
    g = one_player(mean, namespace["Net"]())
    state = engine.init(g, KEY, data(1))
    assert engine.step(g, state, data(1))[1]["loss/D"] == in_training
    assert (engine.net(g, state, "D")(data(1)["x"][0]) == in_use).all()


def test_a_step_wants_its_slices_and_draws_its_keys():
    g = the_game("fresh noise")
    state = start(g)
    with pytest.raises(UserError, match=r"has 2 slices, the batch \{3\}"):
        jitted(g)(state, data(3))

    def forgets(nets, batch, key, step):
        return play(nets, batch, key, step) | {"D": Loss(nets["D"](batch["x"]).mean())}

    with pytest.raises(UserError, match="Network 'D' draws random numbers but was called without a key"):
        jitted(Game(g.players, forgets, g.moves, g.memory))(state, data(2))


@pytest.mark.parametrize("parts", [3, 9])
def test_parts_divide_the_batch(parts):
    g = replace(one_player(mean), parts=parts)
    with pytest.raises(UserError, match="parts"):
        engine.step(g, engine.init(g, KEY, data(1)), data(1))


RATES_OF_OPTAX = {
    "schedule": optax.inject_hyperparams(optax.sgd)(learning_rate=lambda count: 0.1),
    "two": optax.multi_transform({"a": sgd(0.1), "b": sgd(0.2)}, {"Dense_0": {"kernel": "a", "bias": "b"}}),
}


@pytest.mark.parametrize("optimizer", RATES_OF_OPTAX.values(), ids=RATES_OF_OPTAX)
def test_any_optimizer_of_optax_will_do(optimizer):
    g = replace(one_player(mean), players={"D": Player(Line(), optimizer)})
    engine.step(g, engine.init(g, KEY, data(1)), data(1))


def test_a_share_of_skipped_rounds_is_at_most_one():
    never = lambda metrics: metrics["loss/D"] != metrics["loss/D"]
    g = one_player(mean, moves=(move("D", when=never), move("D", when=never)))
    _, metrics = engine.step(g, engine.init(g, KEY, data(2)), data(2))
    assert max(metrics[name] for name in metrics if name.startswith("skipped")) <= 1
