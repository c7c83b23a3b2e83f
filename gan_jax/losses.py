"""Adversarial losses: (logits of real x, logits of fakes) -> (loss of D, loss of G), each to be minimised.

D's loss is the sum of its error on real and its error on fake; ½ of it is the mean of the two, as in the
founding article (Goodfellow et al. 2014). Expectations run over every logit: [b], or [b, h, w] of patches.
"""

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

import jax.numpy as jnp
from jax.nn import relu, sigmoid, softplus
from jaxtyping import Array, Float

from gan_jax.errors import UserError

Logits = Float[Array, "..."]
Scalar = Float[Array, ""]


def minimax(real: Logits, fake: Logits) -> tuple[Scalar, Scalar]:
    """D: −E log σ(real) − E log(1 − σ(fake)), G: E log(1 − σ(fake)). Goodfellow et al. 2014, eq. 1.

    >>> [round(float(loss), 3) for loss in minimax(jnp.zeros(4), jnp.zeros(4))]
    [1.386, -0.693]
    """
    return softplus(-real).mean() + softplus(fake).mean(), -softplus(fake).mean()


def non_saturating(real: Logits, fake: Logits) -> tuple[Scalar, Scalar]:
    """D as in minimax, G: −E log σ(fake). Goodfellow et al. 2014, section 3.

    >>> [round(float(loss), 3) for loss in non_saturating(jnp.zeros(4), jnp.zeros(4))]
    [1.386, 0.693]
    """
    return softplus(-real).mean() + softplus(fake).mean(), softplus(-fake).mean()


def least_squares(real: Logits, fake: Logits) -> tuple[Scalar, Scalar]:
    """D: ½ E(real − 1)² + ½ E fake², G: ½ E(fake − 1)². Mao et al. 2017, eq. 9.

    >>> [float(loss) for loss in least_squares(jnp.zeros(4), jnp.zeros(4))]
    [0.5, 0.5]
    """
    return (jnp.square(real - 1).mean() + jnp.square(fake).mean()) / 2, jnp.square(fake - 1).mean() / 2


def hinge(real: Logits, fake: Logits) -> tuple[Scalar, Scalar]:
    """D: E max(0, 1 − real) + E max(0, 1 + fake), G: −E fake. Miyato et al. 2018, eq. 16 and 17.

    >>> [float(loss) for loss in hinge(jnp.full(4, 0.5), jnp.full(4, -0.5))]
    [1.0, 0.5]
    """
    return relu(1 - real).mean() + relu(1 + fake).mean(), -fake.mean()


def wasserstein(real: Logits, fake: Logits) -> tuple[Scalar, Scalar]:
    """D: E fake − E real, G: −E fake, for a Lipschitz D. Arjovsky et al. 2017, eq. 2 and algorithm 1.

    >>> [float(loss) for loss in wasserstein(jnp.full(4, 3.0), jnp.full(4, 1.0))]
    [-2.0, -1.0]
    """
    return fake.mean() - real.mean(), -fake.mean()


def relativistic(real: Logits, fake: Logits) -> tuple[Scalar, Scalar]:
    """D: −E log σ(real − fake), G: −E log σ(fake − real), in pairs: the loss of RpGAN and R3GAN.

    Jolicoeur-Martineau 2018; Huang et al. 2024, eq. 2.

    Raises:
        UserError: the two batches do not pair up.

    >>> [round(float(loss), 3) for loss in relativistic(jnp.zeros(4), jnp.zeros(4))]
    [0.693, 0.693]
    """
    if real.shape != fake.shape:
        raise UserError(
            f"relativistic compares logits in pairs, but there are {list(real.shape)} of real x and "
            f"{list(fake.shape)} of fakes; let G make as many fakes as the batch has x."
        )
    return softplus(fake - real).mean(), softplus(real - fake).mean()


LOSSES = {loss.__name__: loss for loss in (minimax, non_saturating, least_squares, hinge, wasserstein, relativistic)}


def get(loss: Any) -> Callable:
    """The loss of that name; a function is returned as it is.

    Raises:
        UserError: there is no loss of that name, or `loss` is neither a name nor a function.

    >>> get("hinge") is hinge
    True
    """
    if isinstance(loss, str):
        if loss not in LOSSES:
            nearest = get_close_matches(loss, LOSSES, 1, cutoff=0)
            raise UserError(
                f"There is no loss {loss!r}, the nearest is {nearest[0]!r}; the losses are {', '.join(LOSSES)}."
            )
        return LOSSES[loss]
    if not callable(loss):
        raise UserError(f"loss is {loss!r}: give a function such as losses.hinge, or its name.")
    return loss


def output(loss: Callable) -> Callable[[Logits], Logits]:
    """What D(x) is under a loss, as a function of the logits: the probability σ(logits) that x is real under minimax
    and non_saturating, the logits themselves under any other.

    >>> float(output(minimax)(jnp.zeros(()))), float(output(hinge)(jnp.zeros(())))
    (0.5, 0.0)
    """
    return sigmoid if loss in (minimax, non_saturating) else lambda logits: logits
