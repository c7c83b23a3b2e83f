"""Reparametrisations: (weights, memory) -> (used weights, memory), where the first memory is None.

The optimiser moves the weights, the network computes with the used ones. `where` tells by its path
("Conv_0/kernel") whether a leaf of rank 2 or more is meant; as a matrix a kernel [..., out] is [in, out].
A tree in which `where` finds nothing raises UserError.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gan_jax.errors import UserError

Tree = Any  # a pytree of arrays
Memory = dict[str, Array]  # by path
Where = Callable[[str], bool]
Reparam = Callable[[Tree, Memory | None], tuple[Tree, Memory]]
Kernel = Float[Array, "*in out"]


def kernels(path: str) -> bool:
    """Whether the leaf is named "kernel"."""
    return path.split("/")[-1] == "kernel"


def leafwise(where: Where, one: Callable[[Kernel, Array | None], tuple[Kernel, Array | None]]) -> Reparam:
    """`one`, (w, memory) -> (used w, memory), on every leaf meant by `where`; what it remembers may be None."""

    def reparam(params: Tree, memory: Memory | None) -> tuple[Tree, Memory]:
        leaves = {jax.tree_util.keystr(k, simple=True, separator="/"): w for k, w in jax.tree.leaves_with_path(params)}
        meant = [path for path, w in leaves.items() if w.ndim >= 2 and where(path)]
        if not meant:
            raise UserError(
                f"None of the weights is to be reparametrised; name some of {', '.join(leaves)} by `where`."
            )
        done = {path: one(leaves[path], (memory or {}).get(path)) for path in meant}
        used = leaves | {path: w for path, (w, _) in done.items()}
        memory = {path: m for path, (_, m) in done.items() if m is not None}
        return jax.tree.unflatten(jax.tree.structure(params), used.values()), memory

    return reparam


def spectral_norm(where: Where = kernels, steps: int = 1, vectors: int = 4, eps: float = 1e-12) -> Reparam:
    """W / σ(W), σ = vᵀWu by so many power steps a use; U is remembered. Miyato et al. 2018, eq. 8 and algorithm 1.

    u and v are constants of the derivative, which is eq. 12. vectors=1 is the paper's: its σ lags by several percent
    where weights move fast or singular values crowd. A few vectors, kept orthogonal (subspace iteration), follow σ to
    a fraction of a percent for little more. The first are the SVD's.
    """

    def orthogonal(x):
        q, r = jnp.linalg.qr(x)
        return q * jnp.where(jnp.diagonal(r) < 0, -1, 1)

    def one(w: Kernel, U: Float[Array, "out k"] | None) -> tuple[Kernel, Float[Array, "out k"]]:
        matrix = w.astype(jnp.promote_types(w.dtype, jnp.float32)).reshape(-1, w.shape[-1])
        fixed = jax.lax.stop_gradient(matrix)
        U = jnp.linalg.svd(fixed, full_matrices=False)[2][:vectors].T if U is None else U

        def power(_, UV):
            V = orthogonal(fixed @ UV[0])
            return orthogonal(fixed.T @ V + eps * UV[0]), V  # eps keeps U alive while W is 0, and is nothing otherwise

        U, V = jax.lax.fori_loop(0, steps, power, (U, jnp.zeros((len(matrix), U.shape[1]), U.dtype)))
        left, _, right = jnp.linalg.svd(V.T @ fixed @ U)
        σ = jnp.maximum((V @ left[:, 0]) @ matrix @ (U @ right[0]), eps)
        return w / σ.astype(w.dtype), U

    return leafwise(where, one)


def weight_norm(where: Where = kernels, eps: float = 1e-12) -> Reparam:
    """W with every output's weights at length 1. Salimans & Kingma 2016, eq. 2, without the gain g.

    The gain, if any, is the network's own: the strict form of Xiang & Li 2017.
    """
    length = lambda w: jnp.sqrt(jnp.square(w).sum(axis=range(w.ndim - 1)) + eps)
    return leafwise(where, lambda w, _: (w / length(w), None))


def equalised(where: Where = kernels, gain: float = math.sqrt(2)) -> Reparam:
    """W · gain / √in: He et al.'s constant at run time, for W born as N(0, 1). Karras et al. 2018, section 4.1."""
    return leafwise(where, lambda w, _: (w * (gain / math.sqrt(math.prod(w.shape[:-1]))), None))
