"""Dirac-GAN: the smallest GAN, with one weight per player, for the local convergence of training methods.

Mescheder, Geiger, Nowozin. Which training methods for GANs do actually converge? ICML 2018. arXiv:1801.04406.
Real data are x = 0, G(z) = θ, D(x) = −ψx, and both weights start at 1. Presets::

    gan               minimax: moves away from, or around, the equilibrium (0, 0)
    nsgan             non-saturating: converges, but ever more slowly
    wgan              Wasserstein, ψ clipped to ± 1
    wgan_gp           Wasserstein with 0.7/2 (|ψ| − 1)²
    instance_noise    Gaussian noise with σ = 0.7 on D's inputs, 1,000 samples of it
    r1                0.3/2 ψ²: converges
    r1_critical       1/2 ψ²: converges fastest, as the eigenvalues −γ/2 ± √(γ²/4 − f'(0)²) coincide, f'(0) = ½
    consensus         + ½‖v‖²
    nsgan_r1          r1 with the non-saturating loss

Usage::

    python experiments/dirac_gan.py r1
    python experiments/dirac_gan.py wgan_gp --order alternating --critic-moves 5

benchmarks/dirac_gan.py runs and plots all of them.

Differences: the authors' code halves one term of ∇½‖v‖² in consensus optimisation, with which five moves of D per move
of G seem to converge from this start; with the full gradient they do not.
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
    strength: float = 0.0  # of the method: clip: bound of ψ, wgan_gp: 2λ, instance_noise: σ, r1 and consensus: γ
    order: Literal["simultaneous", "alternating"] = "simultaneous"  # alternating: G, then D
    critic_moves: int = 1  # moves of D per move of G, if alternating
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
    """z [b, 1] -> x [b, 1], constant θ."""

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
