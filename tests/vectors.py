"""Games of players who are vectors, whose rounds can be computed by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from gan_jax import engine
from gan_jax.engine import in_order
from gan_jax.game import Game, Loss, Player, move

KEY = jax.random.key(3)
BOTH, IN_TURN = (move("G", "D"),), (move("G"), move("D"))


class Weight(nn.Module):
    """A player that is a vector, 1 at first."""

    size: tuple[int, ...] = ()

    @nn.compact
    def __call__(self):
        return self.param("w", lambda key: jnp.ones(self.size))


def of_vectors(losses, optimizers, moves, rule=in_order, size=(), **fields):
    """The game of players {name: loss({name: vector}, x)} on the batch's x."""

    def play(nets, batch, key, step):
        at = {n: net() for n, net in nets.items()}
        return {n: Loss(loss(at, batch["x"].mean(0))) for n, loss in losses.items()}

    return Game({n: Player(Weight(size), optimizers[n]) for n in losses}, play, moves, rule=rule, **fields)


def played(g, batches, start=None):
    """The State after each round of batches [rounds, slices, B, …], stacked."""
    state = engine.init(g, KEY, jax.tree.map(lambda x: x[0], batches))
    if start is not None:
        state = state.replace(params=start)

    def one(state, batch):
        state, metrics = engine.step(g, state, batch)
        return state, (state.params, metrics)

    return jax.jit(partial(jax.lax.scan, one))(state, batches)[1]


# Two players of two weights, neither bilinear nor convex, on data x [2]; their gradients by hand.
A = np.array([[1.0, 0.4], [-0.3, 0.8]])
CURVED = {
    "G": lambda at, x: at["G"] @ A @ at["D"] + (at["G"] ** 4).sum() / 4 + x @ at["G"],
    "D": lambda at, x: -(at["G"] @ A @ at["D"]) + (at["D"] ** 2).sum() / 2 - (x @ at["D"]) ** 2 / 2,
}


def slope(w, x):
    return {"G": A @ w["D"] + w["G"] ** 3 + x, "D": -A.T @ w["G"] + w["D"] - x * (x @ w["D"])}


def draws(rounds, slices):
    return np.random.default_rng(5).normal(0, 0.5, (rounds, slices, 1, 2))
