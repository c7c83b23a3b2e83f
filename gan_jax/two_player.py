"""The ordinary game of two, G and D, from its parts. A paper that does not fit writes its own `play`."""

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
    # Both at once, from one forward pass: the TensorFlow tutorial.
    "simultaneous": (move("D", "G"),),
    # G answers the D that has just moved, on new data and new noise.
    "alternating": (move("D"), move("G")),
    # The same, on the fakes that D has just seen: the PyTorch tutorial.
    "same_fakes": (move("D"), move("G", again=("batch", "key"))),
    # Fresh noise for G, who waits in the rounds where it fools D more after D's step than before.
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
    """G maps prior(key, n) to samples like batch["x"]; D maps samples [b, …] to logits [b].

    Args:
        loss: (real logits, fake logits) -> (loss of D, loss of G), or the name of one in `losses`.
        prior: (key, n) -> z, or a tuple (z, y): then both networks also take the labels, D's of real data from
            batch["y"]. A number n stands for priors.normal(n). z may be any pytree of latents but a tuple.
        penalty: (critic, real, fake, key) -> scalar, added to D's loss. real and fake are Sets {"x": …, "y": …} with
            their own labels; critic maps such a Set to logits, augmentation included.
        augment: (key, x, memory) -> x, before D sees a sample, real or fake; an Augment also updates its memory.
        moves: the order of moves; ORDERS has the usual ones.
        fakes: how many fakes G's loss is taken on, if not as many as D's.
        weight_D: 1 for the sum of D's two errors (the tutorials), 1/2 for their mean (the founding article).
        rule: how the moves are played: extragradient and others are in `rules`.

    Returns:
        A Game that reports D's output on real and fake samples: a probability for the losses that have one, else the
        logit.

    Raises:
        UserError: G makes samples of another shape than the data, or the data have no labels that the prior makes.
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
    """Samples {"x": …, "y": …} and G's new memory; latent is z or (z, y)."""
    z, *y = latent if isinstance(latent, tuple) else (latent,)
    x, memory = G.mutate(z, *y, key=key)
    return {"x": x} | ({"y": y[0]} if y else {}), memory


def _labels(samples):
    return (samples["y"],) if "y" in samples else ()


def _of_batch(batch, name):
    if name not in batch:
        raise UserError('The prior makes labels and the data have none: give {"x": …, "y": …}, or another prior.')
    return batch[name]


def _check_shapes(fake, real):
    if fake.shape[1:] != real.shape[1:]:
        made, given = ("x".join(map(str, x.shape[1:])) or "numbers" for x in (fake, real))
        raise UserError(f"G makes {made}, the data are {given}: give G the data's shape, or load the data at G's.")


def _check_labels(data: Any, classes: int | None) -> None:
    """UserError where the data's labels are not those of a prior with so many classes."""
    if classes is None:
        return
    y = np.asarray(_of_batch(data, "y"))
    if y.min() < 0 or y.max() >= classes:
        raise UserError(
            f"The labels y of the data are {y.min()} to {y.max()}, and the prior has the classes 0 to {classes - 1}: "
            "number the data's classes so, or give the prior another number of them."
        )
