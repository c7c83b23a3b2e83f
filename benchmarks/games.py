"""Four games that cover what could depend on the devices: batch statistics, dropout, augmentation, memory, data order.

`recorded` makes a game remember what its networks are fed, so that two trainings can be compared bit by bit.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from gan_jax import losses, priors, reparam
from gan_jax.data import load
from gan_jax.game import Game, Loss, Player, move
from gan_jax.models import dcgan
from gan_jax.net import Nets
from gan_jax.optimizers import adam, ema
from gan_jax.runs import paper as papers
from gan_jax.two_player import gan

BATCH, LATENT = 16, 4


class Dense(nn.Module):
    """x [b, …] -> [b, *out], with one hidden layer and dropout."""

    out: tuple[int, ...] = ()
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x, train=True):
        h = nn.leaky_relu(nn.Dense(32)(x.reshape(len(x), -1)))
        h = nn.Dropout(self.dropout, deterministic=not train)(h)
        return nn.Dense(int(np.prod(self.out)))(h).reshape(len(x), *self.out)


def shifted(key, x, memory):
    """Images rolled by up to two pixels along both axes, and mirrored with probability ½."""
    k_shift, k_flip = jax.random.split(key)
    x = jax.vmap(lambda x, by: jnp.roll(x, by, (0, 1)))(x, jax.random.randint(k_shift, (len(x), 2), -2, 3))
    return jnp.where(jax.random.bernoulli(k_flip, shape=(len(x), 1, 1, 1)), x[:, :, ::-1], x)


def normalised(dtype) -> Game:
    """DCGAN with batch normalisation in both networks and an averaged generator."""
    G, D = dcgan.Generator(16, 1, 2, dtype), dcgan.Discriminator(2, dtype)
    return gan(Player(G, adam(2e-4, 0.5), ema(0.9)), Player(D, adam(2e-4, 0.5)), losses.non_saturating, PRIOR)


def spectral(dtype) -> Game:
    """A spectrally normalised discriminator with dropout, and augmentation."""
    D = Player(Dense(dropout=0.3), adam(2e-4, 0.5), reparam=reparam.spectral_norm())
    return gan(Player(Dense(SHAPE), adam(2e-4, 0.5)), D, losses.hinge, PRIOR, augment=shifted)


def adaptive(dtype) -> Game:
    """Augmentation with a probability p that adapts to the sign of D(x). Karras et al. 2020 (ADA)."""

    def play(nets, batch, key, step):
        k_z, k_real, k_fake = jax.random.split(key, 3)
        p = nets.memory

        def augment(key, x):
            k_if, k_how = jax.random.split(key)
            return jnp.where(jax.random.uniform(k_if, (len(x), 1, 1, 1)) < p, shifted(k_how, x, None), x)

        fake = nets["G"](PRIOR(k_z, BATCH))
        real_logits, fake_logits = nets["D"](augment(k_real, batch["x"])), nets["D"](augment(k_fake, fake))
        loss_D, loss_G = losses.non_saturating(real_logits, fake_logits)
        adapted = jnp.clip(p + 0.02 * jnp.sign(jnp.sign(real_logits).mean() - 0.6), 0, 1)
        return {"D": Loss(loss_D, {"p": p}, {"game": adapted}), "G": Loss(loss_G)}

    players = {"G": Player(Dense(SHAPE), adam(2e-4, 0.5)), "D": Player(Dense(), adam(2e-4, 0.5))}
    sample = lambda nets, key, n: nets["G"](PRIOR(key, n))
    return Game(players, play, (move("D"), move("G")), memory=jnp.full((), 0.5, dtype), sample=sample)


def cyclic(dtype) -> Game:
    """CycleGAN: four players, two data orders, crops and flips, two image pools, a learning rate schedule.

    In float32 its networks are dense: among half a million ReLUs per round of the convolutional ones, some lie so close
    to their kink that rounding decides, and outputs differ by 0.1 after ten rounds. In float64 that is rarer by 1e-9.
    """
    game, side = papers.paper("cyclegan").game(CYCLEGAN), CYCLEGAN.size
    dense = {"G": Dense((side, side, 1)), "D": Dense()}
    nets = {
        name: dense[name[0]] if dtype == jnp.float32 else p.net.clone(dtype=dtype) for name, p in game.players.items()
    }
    players = {name: dataclasses.replace(p, net=nets[name]) for name, p in game.players.items()}
    return dataclasses.replace(game, players=players, memory=cast(jax.tree.map(jnp.asarray, game.memory)))


SHAPE, PRIOR = (16, 16, 1), priors.normal(LATENT)
GAMES: dict[str, Callable[[Any], Game]] = {f.__name__: f for f in (normalised, spectral, adaptive, cyclic)}
CYCLEGAN = dataclasses.replace(papers.paper("cyclegan").tiny, batch=BATCH, size=12, zoom=16 / 12, flip=True, pool=40)


def digits(name: str) -> Any:
    """The data of a game: embedded digits at 16x16; for CycleGAN half of them, and negatives of the others."""
    x = np.kron(load("digits")["x"], np.ones((1, 2, 2, 1), np.uint8))
    return {"A": {"x": x[:1000]}, "B": {"x": 255 - x[1000:]}} if name == "cyclic" else {"x": x}


class Recording:
    """A network that records its first input."""

    def __init__(self, net, inputs):
        self.net, self.inputs = net, inputs

    def __call__(self, x, **more):
        return self.mutate(x, **more)[0]

    def mutate(self, x, **more):
        self.inputs.setdefault(self.net.name, x)
        return self.net.mutate(x, **more)


def recorded(game: Game) -> Game:
    """The same game with the memory {"own": the game's, "fed": {network: its input in D's last move}}."""
    cycle = (CYCLEGAN.size, CYCLEGAN.size, 1)
    shapes = {"G_AB": cycle, "D_B": cycle} if game.translations else {"G": (LATENT,), "D": SHAPE}
    last = list(shapes)[-1]

    def play(nets, batch, key, step):
        own, inputs = nets.memory["own"], {}
        recording = Nets({name: Recording(net, inputs) for name, net in nets.items()})
        recording.memory = own
        losses = game.play(recording, batch, key, step)
        own = next((loss.memory["game"] for loss in losses.values() if "game" in loss.memory), own)
        memory = {"own": own, "fed": {name: inputs[name].astype(float_dtype()) for name in shapes}}
        others = lambda loss: {name: memory for name, memory in loss.memory.items() if name != "game"}
        losses = {name: loss.replace(memory=others(loss)) for name, loss in losses.items()}
        return losses | {last: losses[last].replace(memory=losses[last].memory | {"game": memory})}

    fed = {name: jnp.zeros((BATCH, *shape), float_dtype()) for name, shape in shapes.items()}
    return dataclasses.replace(game, play=play, memory={"own": game.memory, "fed": fed})


def float_dtype():
    """The float dtype of this process: float64 with JAX_ENABLE_X64."""
    return jnp.zeros(()).dtype


def cast(tree):
    """float32 leaves in the precision of this process."""
    return jax.tree.map(lambda x: x.astype(float_dtype()) if x.dtype == jnp.float32 else x, tree)
