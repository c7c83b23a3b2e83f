"""Games whose vector fields are analysed: of plain weights, and of three networks with batch statistics and noise."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from gan_jax import analysis, engine
from gan_jax.game import Game, Loss, Player, move
from gan_jax.optimizers import sgd

KEY = jax.random.key(3)


def start(g, batch):
    """A State, and the inputs of its first round, from a batch [slices, B, …]."""
    state = jax.jit(engine.init, static_argnums=0)(g, KEY, batch)
    return state, *analysis.inputs(g, state, batch)


class Weights(nn.Module):
    """A player that is its weights, [n]."""

    n: int

    @nn.compact
    def __call__(self):
        return self.param("w", nn.initializers.normal(1.0), (self.n,))


def weights(n):
    return Player(Weights(n), sgd(0.1))


def on_weights(sizes, losses, moves=None):
    """The game in which losses(w, batch) -> {name: loss} of everyone's weights, on a batch that need not be used."""

    def play(nets, batch, key, step):
        return {name: Loss(loss) for name, loss in losses({n: nets[n]() for n in sizes}, batch).items()}

    return Game({n: weights(size) for n, size in sizes.items()}, play, moves or (move(*sizes),))


class MLP(nn.Module):
    """[b, …] -> [b, out]; batch statistics where `norm`."""

    out: int
    norm: bool = False

    @nn.compact
    def __call__(self, *x, train=True):
        wide = {"param_dtype": jnp.float64}
        h = jax.nn.softplus(nn.Dense(4, **wide)(jnp.concatenate(x, axis=1)))
        h = nn.BatchNorm(not train, force_float32_reductions=False, **wide)(h) if self.norm else h
        return nn.Dense(self.out, **wide)(h)


def inference(nets, batch, key, step):
    """Three players: D tells (x, E(x)) from (G(z), z), G and E fool it."""
    x = batch["x"]
    z = jax.random.normal(key, (len(x), 2), "float64").astype(x.dtype)
    code, fake = nets["E"](x), nets["G"](z)
    real, false = nets["D"](x, code)[:, 0], nets["D"](fake, z)[:, 0]
    fool = jax.nn.softplus(-false).mean() + jax.nn.softplus(real).mean()
    error = jax.nn.softplus(-real).mean() + jax.nn.softplus(false).mean()
    return {"D": Loss(error), "G": Loss(fool), "E": Loss(fool + 0.1 * jnp.square(code).mean())}


INFERENCE = Game(
    {n: Player(net, sgd(0.1)) for n, net in {"G": MLP(2, True), "E": MLP(2), "D": MLP(1)}.items()},
    inference,
    (move("D"), move("G", "E")),
)
PAIRS = {"x": np.random.default_rng(1).normal(size=(2, 6, 2))}
