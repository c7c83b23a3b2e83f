"""The check that a training is finite."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from gan_jax.game import State

GATING = ("loss/", "grad/")  # metrics that must be finite; others, such as a PSNR, may be infinite


def finite(state: State, metrics: dict[str, Array]) -> Bool[Array, ""]:
    """Whether the losses, the gradients' norms and the State are finite.

    The game's own memory may contain ±∞, such as the initial value of a running minimum, but not NaN.

    >>> state = State(jnp.int32(0), None, {"G": jnp.ones(2)}, {}, {}, {"game": jnp.array(jnp.inf)})
    >>> bool(finite(state, {"loss/G": jnp.float32(0.5)})), bool(finite(state, {"loss/G": jnp.array(jnp.nan)}))
    (True, False)
    """
    kept = {name: tree for name, tree in state.memory.items() if name != "game"}
    gating = {name: value for name, value in metrics.items() if name.startswith(GATING)}
    inexact = lambda tree: [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    bad = [~jnp.isfinite(x).all() for x in inexact((gating, state.params, state.opt, state.ema, kept))]
    bad += [jnp.isnan(x).any() for x in inexact(state.memory["game"])]
    return ~jnp.stack(bad).any()
