"""Analysis of the game's vector field on one batch and one noise, with all players moving at once::

    v(θ) = (∂L_D/∂θ_D, ∂L_G/∂θ_G, …)    players in the order of their names; a player's loss is the first it descends
    J = ∂v/∂θ = S + A                    symmetric (a potential's Hessian) and antisymmetric (rotation) parts

Training follows θ̇ = −v. Near a point where v = 0 it converges if every eigenvalue of J has a positive real part;
imaginary parts rotate it, and the larger they are beside the real ones, the smaller the steps must be: Mescheder et
al. 2017 (arXiv:1705.10461), who state the same of −J.

Every measure is a function (game, state, batch, key, …) of a State, a `batch` [B, …] and the `key` of the play, as
`inputs` returns them, and is compiled once for a Game::

    state, batch, key = run.state, *analysis.inputs(run.game, run.state, batch)
    analysis.eigenvalues(run.game, state, batch, key)

`players` names those who move, by default everyone. J is the derivative of v as `engine.gradient` computes it, so the
singular vectors of spectral normalisation are constants of J too. Derivatives are pull-backs of pull-backs, in the
weights' dtype: float32 gave the entries of small networks' J, and its eigenvalues, to 1e-7 ‖J‖, and to between 1e-6
and 3e-4 ‖J‖ through batch normalisation, where variances are small.

>>> from flax import linen as nn
>>> from gan_jax import Player, engine, gan, optimizers
>>> G, D = (Player(nn.Dense(1, use_bias=False), optimizers.sgd(0.1)) for _ in range(2))
>>> game, data = gan(G, D, "wasserstein", prior=1), {"x": jnp.zeros((2, 8, 1))}
>>> state = engine.init(game, jax.random.key(0), data)
>>> print(eigenvalues(game, state, *inputs(game, state, data)).real)  # a bilinear game: they are imaginary
[0. 0.]
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Complex, Float

from gan_jax.engine import gradient, move_inputs, net
from gan_jax.errors import UserError
from gan_jax.game import Game, State
from gan_jax.programs import per_game

Tree = Any  # a pytree of arrays
Players = tuple[str, ...] | None  # who moves; None: everyone
Measure = Callable[[Game, State, Tree, Tree], Any]  # -> an array, or {name: array}

WHICH = {"magnitude": "LM", "real": "LR", "-real": "SR", "imaginary": "LI"}


def inputs(game: Game, state: State, batch: Tree) -> tuple[Tree, Tree]:
    """The batch [B, …] and the key of the next round's first move, from the round's batch [slices, B, …]."""
    (_, own, key), *_ = move_inputs(game, state.key, state.step, batch)
    return own, jax.random.fold_in(key, 0)  # the key of a move's first part


def _losses(game, players):
    """{player: its loss}."""
    first = {n: loss for m in reversed(game.moves) for n, loss in m.losses.items()}
    for n in players or ():
        if n not in first:
            raise UserError(f"Player {n!r} makes no move in this game; those who move are {', '.join(first)}.")
    return {n: first[n] for n in players or first}


def _on_weights(game, state, batch, key, players):
    """θ as a vector, and the field as a function of it."""
    losses = _losses(game, players)
    θ, tree = ravel_pytree({n: state.params[n] for n in losses})

    def v(θ):
        moved = state.replace(params=state.params | tree(θ))
        return ravel_pytree(gradient(game, moved, losses, batch, key)[0])[0]

    return θ, v


def _products(game, state, batch, key, players):
    """v, u -> J u and u -> Jᵀ u. The pull-back is linear in u, and its own pull-back is J."""
    θ, field = _on_weights(game, state, batch, key, players)
    v, pull = jax.vjp(field, θ)
    transposed = lambda u: pull(u)[0]
    _, push = jax.vjp(transposed, v)
    return v, lambda u: push(u)[0], transposed


@per_game
def field(game: Game, state: State, batch: Tree, key: Tree, *, players: Players = None) -> Float[Array, " n"]:
    """v(θ), as one vector."""
    θ, v = _on_weights(game, state, batch, key, players)
    return v(θ)


@per_game
def times(
    game: Game, state: State, batch: Tree, key: Tree, u: Float[Array, " n"], *, players: Players = None
) -> Float[Array, " n"]:
    """J u."""
    return _products(game, state, batch, key, players)[1](u)


@per_game
def transposed_times(
    game: Game, state: State, batch: Tree, key: Tree, u: Float[Array, " n"], *, players: Players = None
) -> Float[Array, " n"]:
    """Jᵀ u; for u = v it is the gradient of ½‖v‖²."""
    return _products(game, state, batch, key, players)[2](u)


@per_game
def jacobian(game: Game, state: State, batch: Tree, key: Tree, *, players: Players = None) -> Float[Array, "n n"]:
    """The whole of J, J[i, j] = ∂v_i/∂θ_j, computed row by row; for one player it is the Hessian of its loss."""
    v, _, row = _products(game, state, batch, key, players)
    return lax.map(row, jnp.eye(len(v), dtype=v.dtype))


def eigenvalues(
    game: Game, state: State, batch: Tree, key: Tree, *, players: Players = None
) -> Complex[np.ndarray, " n"]:
    """Every eigenvalue of J, largest first; J is stored whole, so for a few thousand weights at most."""
    J = np.asarray(jacobian(game, state, batch, key, players=players), np.float64)
    found = np.linalg.eigvals(J).astype(complex)
    return found[np.argsort(-abs(found), kind="stable")]


def leading_eigenvalues(
    game: Game,
    state: State,
    batch: Tree,
    key: Tree,
    *,
    players: Players = None,
    k: int = 6,
    which: str = "magnitude",
) -> Complex[np.ndarray, " k"]:
    """k leading eigenvalues of J from products J u alone, as Berard et al. 2020 (arXiv:1906.04848) study GANs.

    Implicitly restarted Arnoldi (ARPACK), always from the same start vector.

    Args:
        k: how many; a complex pair counts as two.
        which: those of largest "magnitude", largest "real" part, smallest real part ("-real"), or largest
            "imaginary" part in absolute value.

    Raises:
        UserError: k is too large, or the iteration does not converge.
    """
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs

    if which not in WHICH:
        raise UserError(f"which is {which!r}: it must be one of {', '.join(map(repr, WHICH))}.")
    θ, _ = ravel_pytree({n: state.params[n] for n in _losses(game, players)})
    n = len(θ)
    if not 0 < k < n - 1:
        raise UserError(
            f"Arnoldi's method cannot find {k} eigenvalues of {n}, but 1 to {n - 2}: `eigenvalues` finds all of them."
        )

    def product(u):
        return np.asarray(times(game, state, batch, key, u.ravel().astype(θ.dtype), players=players), np.float64)

    operator = LinearOperator((n, n), matvec=product, dtype=np.float64)
    start, tol = np.random.default_rng(0).normal(size=n), 100 * float(jnp.finfo(θ.dtype).eps)
    try:
        found = eigs(operator, k, which=WHICH[which], v0=start, tol=tol, return_eigenvectors=False)
    except ArpackNoConvergence as error:
        raise UserError(
            f"Arnoldi's method found {len(error.eigenvalues)} of {k} eigenvalues within its iterations: ask for fewer "
            "or more, for another `which`, or for all of them with `eigenvalues`."
        ) from None
    return found[np.argsort(-abs(found), kind="stable")]


@per_game
def flow(game: Game, state: State, batch: Tree, key: Tree, *, players: Players = None) -> dict[str, Float[Array, ""]]:
    """How v changes along θ̇ = −v, where v̇ = −Jv, as a dict of scalars::

        contraction   ⟨v, Sv⟩ / ⟨v, v⟩     the rate at which ‖v‖ falls: d/dt ½‖v‖² = −⟨v, Jv⟩; negative where it grows
        rotation      ‖Av‖ / ‖v‖           the rate at which A turns v, across v: ⟨v, Av⟩ = 0
        angle         their angle, atan2(rotation, contraction): 0 contracts, π/2 rotates, π expands
        norm          ‖v‖

    S and A as in Balduzzi et al. 2018 (arXiv:1802.05642): A = 0 in a potential game, S = 0 in a Hamiltonian one.
    """
    v, product, transposed = _products(game, state, batch, key, players)
    forward, back = product(v), transposed(v)
    norm = jnp.linalg.norm(v)
    contraction = v @ forward / norm**2
    rotation = jnp.linalg.norm(forward - back) / (2 * norm)
    return {
        "contraction": contraction,
        "rotation": rotation,
        "angle": jnp.arctan2(rotation, contraction),
        "norm": norm,
    }


@per_game
def path(
    game: Game,
    a: State,
    b: State,
    batch: Tree,
    key: Tree,
    α: Float[Array, " m"],
    *,
    players: Players = None,
) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
    """Path-angle and path-norm from State a (α = 0) to State b (α = 1), with everything but the weights taken from a.

    cos(α) = ⟨θ_a − θ_b, v_α⟩ / (‖θ_a − θ_b‖ ‖v_α‖) and ‖v_α‖, v_α = v((1 − α) θ_a + α θ_b): cos > 0 where θ̇ = −v leads
    from a towards b. Near a stationary point b that attracts equally from all sides it jumps from 1 to −1 at α = 1;
    near one that only rotates it is 0. Berard et al. 2020 (arXiv:1906.04848), with the sign of their code.

    Args:
        α: positions on the path, [m].

    Returns:
        The cosines and the norms, [m] each.
    """
    start, v = _on_weights(game, a, batch, key, players)
    end, _ = _on_weights(game, b, batch, key, players)
    way = start - end

    def at(α):
        here = v((1 - α) * start + α * end)
        norm = jnp.linalg.norm(here)
        return way @ here / (jnp.linalg.norm(way) * norm), norm

    return lax.map(at, α)


def _over_examples(game, state, batch, key, players, each):
    """({player: (mean gradient, sum of squared distances from it, norms [m])}, m), over m parts of the batch.

    Welford's recurrence: the memory of one gradient, and no difference of large numbers.
    """
    sizes = {len(x) for x in jax.tree.leaves(batch)}
    if each < 1 or any(size % each or size == each for size in sizes):
        raise UserError(
            f"A batch of {', '.join(map(str, sorted(sizes)))} is not two or more times {each}: choose another `each`."
        )
    parts = jax.tree.map(lambda x: x.reshape(-1, each, *x.shape[1:]), batch)
    losses, m = _losses(game, players), len(jax.tree.leaves(parts)[0])
    zero = {n: jnp.zeros_like(ravel_pytree(state.params[n])[0]) for n in losses}

    def add(so_far, given):
        i, part, k = given
        new, norms = {}, {}
        for n, gradients in gradient(game, state, losses, part, k)[0].items():
            (mean, spread), g = so_far[n], ravel_pytree(gradients)[0]
            moved = mean + (g - mean) / (i + 1)
            new[n], norms[n] = (moved, spread + (g - mean) @ (g - moved)), jnp.linalg.norm(g)
        return new, norms

    begin = {n: (z, jnp.zeros((), z.dtype)) for n, z in zero.items()}
    found, norms = lax.scan(add, begin, (jnp.arange(m), parts, jax.random.split(key, m)))
    return {n: (*found[n], norms[n]) for n in losses}, m


@per_game
def gradient_norms(
    game: Game, state: State, batch: Tree, key: Tree, *, players: Players = None, each: int = 1
) -> dict[str, Float[Array, " m"]]:
    """{player: ‖∂L/∂θ‖ of each example, with noise of its own}; `each` as in `noise_scale`."""
    return {n: norms for n, (*_, norms) in _over_examples(game, state, batch, key, players, each)[0].items()}


@per_game
def noise_scale(
    game: Game, state: State, batch: Tree, key: Tree, *, players: Players = None, each: int = 1
) -> dict[str, Float[Array, ""]]:
    """The simple noise scale tr Σ / ‖G‖² of each player. McCandlish et al. 2018 (arXiv:1812.06162).

    Σ is the covariance of one example's gradient, its noise included, and G the mean gradient: batches much larger
    than the noise scale hardly help. In a game whose play makes a fixed number of fakes, examples are draws of that
    many.

    Args:
        each: examples in one gradient; tr Σ is `each` times the variance of such gradients. A network with batch
            statistics needs more than one: `each` is then the batch size whose statistics are meant.

    Returns:
        {"G": the ratio, "G trace": an unbiased estimate of tr Σ, "G signal": one of ‖G‖²}. The ratio is biased: average
        trace and signal over rounds before dividing. It is NaN where the signal is not positive.

    Raises:
        UserError: the batch is not two or more times `each`.
    """
    found, m = _over_examples(game, state, batch, key, players, each)
    numbers = {}
    for n, (mean, spread, _) in found.items():
        variance = spread / (m - 1)
        trace, signal = each * variance, mean @ mean - variance / m
        ratio = jnp.where(signal > 0, trace / jnp.where(signal > 0, signal, 1), jnp.nan)
        numbers |= {n: ratio, f"{n} trace": trace, f"{n} signal": signal}
    return numbers


@per_game
def singular_values(game: Game, state: State, *_: Tree) -> dict[str, Float[Array, " k"]]:
    """{"D/Dense_0/kernel": its singular values, largest first} for all weights of rank 2 or more, reparametrised.

    A kernel [..., out] is the matrix [in, out]: for a convolution the reshaped kernel, as in Miyato et al. 2018
    (arXiv:1802.05957), not the operator.
    """
    used = {n: net(game, state, n, average=False).params for n in game.players}
    leaves = {jax.tree_util.keystr(k, simple=True, separator="/"): w for k, w in jax.tree.leaves_with_path(used)}
    svd = lambda w: jnp.linalg.svd(w.reshape(-1, w.shape[-1]), compute_uv=False)
    return {path: svd(w) for path, w in leaves.items() if w.ndim >= 2}


MEASURES: dict[str, Measure] = {
    "flow": flow,
    "spectrum": leading_eigenvalues,
    "noise_scale": noise_scale,
    "singular": singular_values,
}
