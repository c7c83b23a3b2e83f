"""Dirac-GAN: the smallest GAN, one weight a player, on which it is seen which methods converge.

Mescheder, Geiger, Nowozin. Which training methods for GANs do actually converge? ICML 2018. arXiv:1801.04406.
Real x is 0, G makes θ, D(x) = −ψx, and both start at 1

    gan               minimax: it circles outwards, or around
    nsgan             non-saturating: it nears (0, 0), ever more slowly
    wgan              Wasserstein, ψ clipped to ± 1
    wgan_gp           Wasserstein with .7/2 (|ψ| − 1)²
    instance_noise    normal noise of .7 on all that D sees, 1,000 draws of it
    r1                .3/2 ψ²: it converges
    r1_critical       1/2 ψ²: fastest, for the two eigenvalues −γ/2 ± √(γ²/4 − f'(0)²) meet, f'(0) = ½
    consensus         + ½‖v‖²
    nsgan_r1          r1 with the non-saturating loss

    python experiments/dirac_gan.py r1
    python experiments/dirac_gan.py wgan_gp --order alternating --critic-moves 5

benchmarks/dirac_gan.py plays and draws them all.

Differs: the authors' code halves one term of consensus optimisation's ∇½‖v‖², by which five moves of D to one of G
seem to converge from here; with the whole gradient they do not.
"""

from dataclasses import dataclass, replace
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from gan_jax import data as sources
from gan_jax import losses, penalties, priors, rules
from gan_jax.game import Game, Player, move
from gan_jax.optimizers import clip_weights, sgd
from gan_jax.two_player import gan


@dataclass(frozen=True)
class Config:
    """The numbers of the authors' code."""

    data: Literal["zeros"] = "zeros"
    steps: int = 500
    batch: int = 1
    seed: int = 0
    loss: Literal["minimax", "non_saturating", "wasserstein"] = "minimax"
    method: Literal["none", "clip", "wgan_gp", "instance_noise", "r1", "consensus"] = "none"
    strength: float = 0.0  # of the method: bound of ψ, 2λ, σ of the noise, γ, γ
    order: Literal["simultaneous", "alternating"] = "simultaneous"  # alternating: G, then D
    critic_moves: int = 1  # to one of G, if they alternate
    lr: float = 0.2


PRESETS = {
    "gan": Config(),
    "nsgan": Config(loss="non_saturating"),
    "wgan": Config(loss="wasserstein", method="clip", strength=1.0),
    "wgan_gp": Config(loss="wasserstein", method="wgan_gp", strength=0.7),
    "instance_noise": Config(method="instance_noise", strength=0.7, batch=1000),
    "r1": Config(method="r1", strength=0.3),
    "r1_critical": Config(method="r1", strength=1.0),
    "consensus": Config(method="consensus", strength=1.0),
    "nsgan_r1": Config(loss="non_saturating", method="r1", strength=0.3),
}
TINY = replace(PRESETS["r1"], steps=2)


class Generator(nn.Module):
    """z [b, 1] -> x [b, 1], all at θ."""

    @nn.compact
    def __call__(self, z):
        return jnp.broadcast_to(self.param("θ", lambda key: jnp.ones(())), z.shape)


class Critic(nn.Module):
    """x [b, 1] -> logits −ψx [b]."""

    @nn.compact
    def __call__(self, x):
        return -self.param("ψ", lambda key: jnp.ones(())) * x[:, 0]


def data(c: Config) -> sources.Set:
    return {"x": np.zeros((max(c.batch, 1000), 1), np.float32)}


def example(c: Config) -> dict[str, jax.ShapeDtypeStruct]:
    return {"x": jax.ShapeDtypeStruct((1,), "float32")}


def game(c: Config) -> Game:
    noise = lambda key, x, memory: x + c.strength * jax.random.normal(key, x.shape, x.dtype)
    penalty = {
        "r1": lambda critic, real, fake, key: c.strength * penalties.r1(critic, real),
        "wgan_gp": lambda *given: c.strength / 2 * penalties.wgan_gp(*given),
    }
    clip = [clip_weights(c.strength)] if c.method == "clip" else []
    orders = {
        "simultaneous": (move("G", "D"),),
        "alternating": (move("G"), *c.critic_moves * (move("D", again=("batch",)),)),
    }
    return gan(
        Player(Generator(), sgd(c.lr)),
        Player(Critic(), optax.chain(sgd(c.lr), *clip)),
        getattr(losses, c.loss),
        priors.normal(1),
        penalty=penalty.get(c.method),
        augment=noise if c.method == "instance_noise" else lambda key, x, memory: x,
        moves=orders[c.order],
        rule=rules.consensus(c.strength) if c.method == "consensus" else None,
    )


if __name__ == "__main__":
    from gan_jax import cli

    cli.experiment(__file__)
