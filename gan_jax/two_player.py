"""The standard two-player game, assembled from its parts. Papers that do not fit write their own `play`."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from gan_jax import losses, priors
from gan_jax.augment import Augment
from gan_jax.errors import UserError
from gan_jax.game import Game, Loss, Move, Player, Rule, move

fooled_less = lambda metrics: metrics["D(G(z)) after"] <= metrics["D(G(z)) before"]

ORDERS: dict[str, tuple[Move, ...]] = {
    # Simultaneous updates from one forward pass, as in the TensorFlow tutorial.
    "simultaneous": (move("D", "G"),),
    # D, then G against the updated D, each with new data and noise.
    "alternating": (move("D"), move("G")),
    # D, then G on the same fakes, as in the PyTorch tutorial.
    "same_fakes": (move("D"), move("G", again=("batch", "key"))),
    # D, then G with new noise; G is skipped in rounds where it fools D more after D's step than before.
    "waiting": (move("D"), move("G", again=("batch",), when=fooled_less)),
}


def gan(
    G: Player,
    D: Player,
    loss: Callable | str,
    prior: Callable | int,
    *,
    penalty: Callable | None = None,
    augment: Augment | Callable | None = None,
    moves: tuple[Move, ...] = ORDERS["alternating"],
    fakes: int | None = None,
    weight_D: float | Float[Array, ""] = 1.0,
    parts: int = 1,
    rule: Rule | None = None,
) -> Game:
    """The game of a generator and a discriminator: G maps latents to samples x, D maps x [b, …] to logits [b].

    Args:
        G: The generator.
        D: The discriminator, or critic.
        loss: (logits of real x, logits of fakes) -> (loss of D, loss of G), or the name of one in `gan_jax.losses`.
        prior: (key, n) -> z, or (z, y): then both networks also take labels, those of real x from batch["y"]. An
            integer d stands for priors.normal(d). z may be any pytree of latents except a tuple.
        penalty: (critic, real, fake, key) -> scalar, added to D's loss. real and fake are dicts {"x": …, "y": …} with
            their own labels; critic maps such a dict to logits, augmentation included.
        augment: (key, x, memory) -> x, applied to real and fake samples before D; an Augment can adapt its memory.
        moves: Order of the moves in a round; the usual ones are in ORDERS.
        fakes: Number of fakes in G's loss; None: the batch size.
        weight_D: Weight of D's loss: 1 for the sum of its two terms (the tutorials), 1/2 for their mean (Goodfellow et
            al. 2014).
        parts: Number of micro-batches over which gradients are accumulated.
        rule: How a round is played, such as rules.extragradient; None: the moves in order.

    Returns:
        A Game with the metrics "D(x)", "D(G(z)) before" (in D's move) and "D(G(z)) after" (in G's move): probabilities
        for losses on probabilities, otherwise logits.

    Raises:
        UserError: G's samples have another shape than the data, the data have no labels although the prior has, or a
            name is unknown.

    >>> import optax
    >>> from flax import linen as nn
    >>> game = gan(Player(nn.Dense(2), optax.adam(1e-3)), Player(nn.Dense(1), optax.adam(1e-3)), "hinge", prior=4)
    >>> [m.label for m in game.moves]
    ['D', 'G']
    """
    loss, prior = losses.get(loss), priors.get(prior)
    output = losses.output(loss)
    augment = augment if isinstance(augment, Augment) else Augment(augment or (lambda key, x, memory: x))

    def play(nets, batch, key, step):
        k_z, k_G, k_real, k_fake, k_penalty, k_more = jax.random.split(key, 6)
        n, memory = batch["x"].shape[0], nets.memory

        def judge(samples, k, memory_D=None):
            k_augment, k_D = jax.random.split(k)
            x = augment.apply(k_augment, samples["x"], memory)
            return nets["D"].mutate(x, *_labels(samples), key=k_D, memory=memory_D)

        fake, memory_G = _generate(nets["G"], prior(k_z, n), k_G)
        real = {name: _of_batch(batch, name) for name in fake}
        _check_shapes(fake["x"], real["x"])
        real_logits, memory_D = judge(real, k_real)
        fake_logits, memory_D = judge(fake, k_fake, memory_D)
        loss_D, loss_G = loss(real_logits, fake_logits)
        loss_D, own_logits = weight_D * loss_D, fake_logits
        if fakes is not None:
            own, memory_G = _generate(nets["G"], prior(k_more, fakes), k_G)
            own_logits, _ = judge(own, k_fake)
            loss_G = loss(real_logits, own_logits)[1]
        if penalty is not None:
            critic = lambda samples: judge(samples, k_real)[0]
            loss_D += penalty(critic, real, fake, k_penalty)
        before = {"D(x)": output(real_logits).mean(), "D(G(z)) before": output(fake_logits).mean()}
        after = {"D(G(z)) after": output(own_logits).mean()}
        remembered = {"D": memory_D} | ({"game": augment.update(memory, real_logits)} if augment.update else {})
        return {"D": Loss(loss_D, before, remembered), "G": Loss(loss_G, after, {"G": memory_G})}

    def sample(nets, key, n, **given):
        return _generate(nets["G"], prior(key, n, **given), jax.random.fold_in(key, 1))[0]

    def check(data):
        _check_labels(data, getattr(prior, "classes", None))

    players = {"G": G, "D": D}
    return Game(players, play, moves, memory=augment.init, parts=parts, rule=rule, sample=sample, check=check)


def _generate(G, latent, key):
    """(samples {"x": …, "y": …}, G's new memory) for a latent z or (z, y)."""
    z, *y = latent if isinstance(latent, tuple) else (latent,)
    x, memory = G.mutate(z, *y, key=key)
    return {"x": x} | ({"y": y[0]} if y else {}), memory


def _labels(samples):
    return (samples["y"],) if "y" in samples else ()


def _of_batch(batch, name):
    if name not in batch:
        raise UserError('The prior has labels but the data have none: give {"x": …, "y": …}, or another prior.')
    return batch[name]


def _check_shapes(fake, real):
    if fake.shape[1:] != real.shape[1:]:
        made, given = ("x".join(map(str, x.shape[1:])) or "numbers" for x in (fake, real))
        raise UserError(f"Samples of G are {made}, the data {given}: give G the data's shape, or load the data at G's.")


def _check_labels(data: Any, classes: int | None) -> None:
    """Raise a UserError for labels outside the prior's classes."""
    if classes is None:
        return
    y = np.asarray(_of_batch(data, "y"))
    if y.min() < 0 or y.max() >= classes:
        raise UserError(
            f"The labels y of the data range from {y.min()} to {y.max()}, the classes of the prior from 0 to "
            f"{classes - 1}: renumber the labels, or give the prior another number of classes."
        )
