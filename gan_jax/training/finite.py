"""Whether a training is still finite."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from gan_jax.game import State

GATING = ("loss/", "grad/")  # metrics that stop a run; others, such as a PSNR, may be infinite


def finite(state: State, metrics: dict[str, Array]) -> Bool[Array, ""]:
    """Whether losses, gradient norms and the State are finite. What the game itself remembers may be ±∞, as the first
    value of a running minimum is, but never NaN."""
    kept = {name: tree for name, tree in state.memory.items() if name != "game"}
    gating = {name: value for name, value in metrics.items() if name.startswith(GATING)}
    inexact = lambda tree: [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    bad = [~jnp.isfinite(x).all() for x in inexact((gating, state.params, state.opt, state.ema, kept))]
    bad += [jnp.isnan(x).any() for x in inexact(state.memory["game"])]
    return ~jnp.stack(bad).any()
