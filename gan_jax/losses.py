"""Adversarial losses: (logits of real x, logits of fakes) -> (loss of D, loss of G), each to be minimised.

D's loss is the sum of its error on real and its error on fake; ½ of it is the mean of the two, as in the
founding article (Goodfellow et al. 2014). Expectations run over every logit: [b], or [b, h, w] of patches.
"""

import jax.numpy as jnp
from jax.nn import relu, softplus
from jaxtyping import Array, Float

from gan_jax.errors import UserError

Logits = Float[Array, "..."]
Scalar = Float[Array, ""]


def minimax(real: Logits, fake: Logits) -> tuple[Scalar, Scalar]:
    """D: −E log σ(real) − E log(1 − σ(fake)), G: E log(1 − σ(fake)). Goodfellow et al. 2014, eq. 1."""
    return softplus(-real).mean() + softplus(fake).mean(), -softplus(fake).mean()


def non_saturating(real: Logits, fake: Logits) -> tuple[Scalar, Scalar]:
    """D as in minimax, G: −E log σ(fake). Goodfellow et al. 2014, section 3."""
    return softplus(-real).mean() + softplus(fake).mean(), softplus(-fake).mean()


def least_squares(real: Logits, fake: Logits) -> tuple[Scalar, Scalar]:
    """D: ½ E(real − 1)² + ½ E fake², G: ½ E(fake − 1)². Mao et al. 2017, eq. 9."""
    return (jnp.square(real - 1).mean() + jnp.square(fake).mean()) / 2, jnp.square(fake - 1).mean() / 2


def hinge(real: Logits, fake: Logits) -> tuple[Scalar, Scalar]:
    """D: E max(0, 1 − real) + E max(0, 1 + fake), G: −E fake. Miyato et al. 2018, eq. 16 and 17."""
    return relu(1 - real).mean() + relu(1 + fake).mean(), -fake.mean()


def wasserstein(real: Logits, fake: Logits) -> tuple[Scalar, Scalar]:
    """D: E fake − E real, G: −E fake, for a Lipschitz D. Arjovsky et al. 2017, eq. 2 and algorithm 1."""
    return fake.mean() - real.mean(), -fake.mean()


def relativistic(real: Logits, fake: Logits) -> tuple[Scalar, Scalar]:
    """D: −E log σ(real − fake), G: −E log σ(fake − real), in pairs: the loss of RpGAN and R3GAN.

    Jolicoeur-Martineau 2018; Huang et al. 2024, eq. 2. Raises UserError if the two batches do not pair up.
    """
    if real.shape != fake.shape:
        raise UserError(
            f"relativistic compares logits in pairs, but there are {list(real.shape)} of real x and "
            f"{list(fake.shape)} of fakes; let G make as many fakes as the batch has x."
        )
    return softplus(fake - real).mean(), softplus(real - fake).mean()
