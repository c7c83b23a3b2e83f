"""The ordinary game of two, G and D, from its parts. A paper that does not fit writes its own `play`."""

from collections.abc import Callable

import jax
from jaxtyping import Array, Float

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
    loss: Callable,
    prior: Callable,
    *,
    penalty: Callable | None = None,
    augment: Callable = lambda key, x, memory: x,
    moves: tuple[Move, ...] = ORDERS["alternating"],
    fakes: int | None = None,
    weight_D: float | Float[Array, ""] = 1.0,
    parts: int = 1,
    rule: Rule | None = None,
) -> Game:
    """G maps prior(key, n) to samples like batch["x"]; D maps samples [b, …] to logits [b].

    loss: (real logits, fake logits) -> (loss of D, loss of G).
    prior: (key, n) -> z, or (z, y): then both networks also take the labels, D's of real data from batch["y"].
    penalty: (critic, real, fake, key) -> scalar, added to D's loss; critic: samples -> logits, augmentation included.
    augment: (key, x, memory) -> x, before D sees a sample, real or fake.
    fakes: how many fakes G's loss is taken on, if not as many as D's.
    weight_D: 1 for the sum of D's two errors (the tutorials), 1/2 for their mean (the founding article).
    rule: how the moves are played: extragradient and others are in optimizers.
    """

    def play(nets, batch, key, step):
        k_z, k_G, k_real, k_fake, k_penalty, k_more = jax.random.split(key, 6)
        real, n = batch["x"], len(batch["x"])

        def judge(x, y, k, memory=None):
            k_augment, k_D = jax.random.split(k)
            return nets["D"].mutate(augment(k_augment, x, nets.memory), *y, key=k_D, memory=memory)

        fake, y_fake, memory_G = _generate(nets["G"], prior(k_z, n), k_G)
        y_real = (batch["y"],) if y_fake else ()
        real_logits, memory_D = judge(real, y_real, k_real)
        fake_logits, memory_D = judge(fake, y_fake, k_fake, memory_D)
        loss_D, loss_G = loss(real_logits, fake_logits)
        loss_D, own_logits = weight_D * loss_D, fake_logits
        if fakes is not None:
            own, y_own, memory_G = _generate(nets["G"], prior(k_more, fakes), k_G)
            own_logits, _ = judge(own, y_own, k_fake)
            loss_G = loss(real_logits, own_logits)[1]
        if penalty is not None:
            critic = lambda x: judge(x, y_real, k_real)[0]
            loss_D += penalty(critic, real, fake, k_penalty)
        before = {"D(x)": jax.nn.sigmoid(real_logits).mean(), "D(G(z)) before": jax.nn.sigmoid(fake_logits).mean()}
        after = {"D(G(z)) after": jax.nn.sigmoid(own_logits).mean()}
        return {"D": Loss(loss_D, before, {"D": memory_D}), "G": Loss(loss_G, after, {"G": memory_G})}

    def sample(nets, key, n, **options):
        return _generate(nets["G"], prior(key, n, **options))[0]

    return Game({"G": G, "D": D}, play, moves, parts=parts, rule=rule, sample=sample)


def _generate(G, latent, key=None):
    """Samples, their labels () or (y,), and G's new memory; latent is z or (z, y)."""
    z, *y = latent if isinstance(latent, tuple) else (latent,)
    x, memory = G.mutate(z, *y, key=key)
    return x, tuple(y), memory
