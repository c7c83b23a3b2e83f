"""Reparametrisations: (weights, memory) -> (used weights, memory), where the first memory is None.

The optimizer moves the weights, the network computes with the used ones: `Player(net, optimizer,
reparam=spectral_norm())`. `where` chooses leaves of rank 2 or more by their path, such as "Conv_0/kernel"; as a
matrix a kernel [..., out] is [in, out]. Every reparametrisation raises UserError on weights of which `where` chooses
none.
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
Reparam = Callable[[Tree, Any], tuple[Tree, Any]]
Kernel = Float[Array, "*in out"]


def kernels(path: str) -> bool:
    """Whether a leaf is the kernel of a layer or the table of an `Embed`, a dense layer on one-hot labels.

    >>> kernels("Conv_0/kernel"), kernels("Embed_0/embedding"), kernels("Conv_0/bias")
    (True, True, False)
    """
    return path.split("/")[-1] in ("kernel", "embedding")


def biases(path: str) -> bool:
    """Whether a leaf is the bias of a layer.

    >>> biases("Conv_0/bias")
    True
    """
    return path.split("/")[-1] == "bias"


def leafwise(
    where: Where, one: Callable[[Array, Array | None], tuple[Array, Array | None]], *, rank: int = 2
) -> Reparam:
    """One function for each leaf that `where` chooses.

    Args:
        where: path -> whether the leaf is reparametrised.
        one: (w, its memory) -> (used w, its new memory); the memory is None at first, and stays so if not needed.
        rank: leaves of fewer axes are left out.

    >>> halved = leafwise(kernels, lambda w, memory: (w / 2, None))
    >>> halved({"kernel": jnp.ones((1, 2)), "bias": jnp.ones(2)}, None)[0]["kernel"].tolist()
    [[0.5, 0.5]]
    """

    def reparam(params: Tree, memory: Memory | None) -> tuple[Tree, Memory]:
        leaves = {jax.tree_util.keystr(k, simple=True, separator="/"): w for k, w in jax.tree.leaves_with_path(params)}
        chosen = [path for path, w in leaves.items() if w.ndim >= rank and where(path)]
        if not chosen:
            raise UserError(
                f"None of the weights is to be reparametrised; name some of {', '.join(leaves)} by `where`."
            )
        done = {path: one(leaves[path], (memory or {}).get(path)) for path in chosen}
        used = leaves | {path: w for path, (w, _) in done.items()}
        memory = {path: m for path, (_, m) in done.items() if m is not None}
        return jax.tree.unflatten(jax.tree.structure(params), used.values()), memory

    return reparam


def chain(*reparams: Reparam) -> Reparam:
    """One reparametrisation after another, the first applied to the weights; its memory is the tuple of theirs.

    >>> both = chain(scaled(2.0, kernels), scaled(3.0, biases))
    >>> jax.tree.map(jnp.max, both({"kernel": jnp.ones((1, 1)), "bias": jnp.ones(1)}, None)[0])
    {'bias': Array(3., dtype=float32), 'kernel': Array(2., dtype=float32)}
    """

    def reparam(params: Tree, memory: tuple | None) -> tuple[Tree, tuple]:
        memories = len(reparams) * (None,) if memory is None else memory
        new = []
        for one, own in zip(reparams, memories, strict=True):
            params, own = one(params, own)
            new.append(own)
        return params, tuple(new)

    return reparam


def spectral_norm(where: Where = kernels, steps: int = 1, vectors: int = 4, eps: float = 1e-12) -> Reparam:
    """W / σ(W), σ = vᵀWu by power iteration, whose vectors U are the memory. Miyato et al. 2018, eq. 8, algorithm 1.

    u and v are constants of the derivative, which is eq. 12. At the start U holds the singular vectors of the SVD.

    Args:
        where: path -> whether the leaf is normalised.
        steps: power steps at each use.
        vectors: how many singular vectors are followed, kept orthogonal (subspace iteration). 1 is the paper's
            algorithm, whose σ lags by several percent where weights move fast or singular values are close; 4 follow
            it to a fraction of a percent for little more work.
        eps: the smallest σ.

    >>> used, memory = spectral_norm()({"kernel": jnp.diag(jnp.array([4.0, 2.0]))}, None)
    >>> used["kernel"].round(3).tolist(), memory["kernel"].shape
    ([[1.0, 0.0], [0.0, 0.5]], (2, 2))
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
            return orthogonal(fixed.T @ V + eps * UV[0]), V  # eps keeps U while W is 0, and is negligible otherwise

        U, V = jax.lax.fori_loop(0, steps, power, (U, jnp.zeros((matrix.shape[0], U.shape[1]), U.dtype)))
        left, _, right = jnp.linalg.svd(V.T @ fixed @ U)
        σ = jnp.maximum((V @ left[:, 0]) @ matrix @ (U @ right[0]), eps)
        return w / σ.astype(w.dtype), U

    return leafwise(where, one)


def weight_norm(where: Where = kernels, eps: float = 1e-12) -> Reparam:
    """W with the weights of each output scaled to length 1. Salimans & Kingma 2016, eq. 2, without the gain g.

    The gain, if any, is the network's own: the strict form of Xiang & Li 2017.

    >>> print(weight_norm()({"kernel": jnp.array([[3.0], [4.0]])}, None)[0]["kernel"])
    [[0.6]
     [0.8]]
    """
    length = lambda w: jnp.sqrt(jnp.square(w).sum(axis=range(w.ndim - 1)) + eps)
    return leafwise(where, lambda w, _: (w / length(w), None))


def equalised(where: Where = kernels, gain: float = math.sqrt(2), multiplier: float = 1.0) -> Reparam:
    """W · gain · m / √in: He et al.'s constant at run time, for W initialised as N(0, 1/m²). Karras et al. 2018, 4.1.

    With `multiplier` m, used weights learn m times as fast under Adam (Karras et al. 2019, appendix C: .01 for the
    mapping network). Their biases take it too: `chain(equalised(multiplier=m), scaled(m, biases))`.

    >>> print(equalised()({"kernel": jnp.ones((8, 1))}, None)[0]["kernel"][0])
    [0.5]
    """
    factor = lambda w: gain * multiplier / math.sqrt(math.prod(w.shape[:-1]))
    return leafwise(where, lambda w, _: (w * factor(w), None))


def scaled(multiplier: float, where: Where = biases) -> Reparam:
    """w · m, which under Adam learns m times as fast as w.

    >>> print(scaled(0.01)({"bias": jnp.ones(1)}, None)[0]["bias"])
    [0.01]
    """
    return leafwise(where, lambda w, _: (w * multiplier, None), rank=1)
