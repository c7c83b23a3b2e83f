"""Comparisons of squared distances ‖x − y‖² with the results of float64 at nearly the speed of float32.

x and y are centred and rounded to float32, and ‖x‖² + ‖y‖² − 2 x·y is computed in tiles by matrix products. In whatever
order a product sums, its error is at most γ_d ‖x‖ ‖y‖ with γ_d = d u / (1 − d u), u = 2⁻²⁴ (Higham 2002, eq. 3.5);
rounding x, y and the sum adds less than 16 u (‖x‖² + ‖y‖²). So the squared distance lies between the bounds `low` and
`high`, which are γ_(d + 32) (‖x‖² + ‖y‖²) away on either side. Where they do not decide a comparison, the distance is
computed in float64.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Float32, Float64, Int

TILE = 2048  # rows and columns of a tile, which may have up to twice as many
PAIRS = 2**17  # numbers at a time, where distances of pairs are computed in float64
Tile = Float32[np.ndarray, "rows columns"]


@dataclass(frozen=True)
class Rounded:
    """A set x [n, d], its centred float32 copy, and the terms of the bounds: `low` adds near, `high` near + width."""

    x: Float[np.ndarray, "n d"]
    single: Float32[np.ndarray, "n d"]  # (x − centre) scale, within ± 1
    near: Float32[np.ndarray, " n"]  # (1 − γ) |x|² scale²
    width: Float32[np.ndarray, " n"]  # 2 γ |x|² scale²
    scale: float  # a power of 2


def rounded(*sets: Float[np.ndarray, "_ d"]) -> list[Rounded]:
    """Each set as Rounded, about the mean of the first."""
    centre = sets[0].mean(0, dtype=np.float64)
    reach = max(np.abs(edge(x, axis=0) - centre).max() for x in sets for edge in (np.min, np.max))
    scale = float(2.0 ** -np.ceil(np.log2(reach))) if reach > 0 else 1.0
    return [_rounded(x, centre, scale) for x in sets]


def _rounded(x, centre, scale):
    n, d = x.shape
    single, square = np.empty((n, d), np.float32), np.empty(n)
    for rows in tiles(n):
        single[rows] = (x[rows] - centre) * scale
        square[rows] = np.einsum("nd,nd->n", single[rows], single[rows], dtype=np.float64)
    m, tiny = (d + 32) * 2.0**-24, d * 2.0**-120  # tiny: what underflow of products may lose
    gamma = m / (1 - m) if m < 1 else np.inf
    near, width = (1 - gamma) * square - tiny, 2 * gamma * square + 2 * tiny
    return Rounded(x, single, near.astype(np.float32), width.astype(np.float32), scale)


def lower(x: Rounded, y: Rounded, rows: slice, columns: slice) -> Tile:
    """Lower bounds of the squared distances between rows of x and rows `columns` of y."""
    low = x.single[rows] @ y.single[columns].T  # for a set with itself, NumPy computes one half of the product
    low *= -2
    low += x.near[rows, None]
    low += y.near[columns]
    return low


def upper(low: Tile, x: Rounded, y: Rounded, rows: slice, columns: slice) -> Tile:
    """Upper bounds of the same, from the lower ones."""
    high = low + x.width[rows, None]
    high += y.width[columns]
    return high


def below(bound: Float64[np.ndarray, "*_"], low: Tile, high: Tile, x: Rounded, y: Rounded, rows, columns) -> np.ndarray:
    """Whether ‖x − y‖² < bound, [rows, columns]; the bound is [rows, 1] or [1, columns]."""
    limit = _single(bound, x.scale)
    inside = high < limit
    i, j = _where((low < limit) & ~inside)
    inside[i, j] = exact(x, y, rows.start + i, columns.start + j) < np.broadcast_to(bound, low.shape)[i, j]
    return inside


def exact(x: Rounded, y: Rounded, i: Int[np.ndarray, " k"], j: Int[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
    """‖x_i − y_j‖² by its definition, in float64."""
    found, many = np.empty(len(i)), max(1, PAIRS // x.x.shape[1])
    for start in range(0, len(i), many):
        part = slice(start, start + many)
        gap = x.x[i[part]].astype(np.float64)
        gap -= y.x[j[part]]
        found[part] = np.einsum("nd,nd->n", gap, gap)
    return found


def nearest(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"] | None, k: int
) -> tuple[Float64[np.ndarray, "n k"], Int[np.ndarray, "n k"]]:
    """Squared distances from each x to its k nearest y, and the indices of those; ties are broken arbitrarily.

    With y = None, the neighbours of each x among the other x.
    """
    own = y is None
    a, b = 2 * rounded(x) if y is None else rounded(x, y)
    found, which = np.full((len(x), k), np.inf), np.full((len(x), k), -1)
    down, right = tiles(len(x), k + 1), tiles(len(b.x), k + 1)
    for shift in range(len(right)):  # of a symmetric matrix only the tiles on the diagonal and right of it
        for rows, columns in zip(down, right[shift:], strict=False) if own else ((i, right[shift]) for i in down):
            low = lower(a, b, rows, columns)
            if own and not shift:
                np.fill_diagonal(low, np.inf)
            elif own:
                _improve(found, which, low.T, a, b, columns, rows)
            _improve(found, which, low, a, b, rows, columns)
    return found, which


def _improve(found, which, low, a, b, rows, columns):
    """Update found and which [n, k] in place with what is nearer among these columns."""
    (n, _), k = low.shape, found.shape[1]
    best, names = found[rows], which[rows]
    if np.isinf(best).all():
        for nth in range(k):
            names[:, nth] = low.argmin(1)
            low[np.arange(n), names[:, nth]] = np.inf
        names += columns.start
        best[:] = exact(a, b, np.arange(rows.start, rows.stop).repeat(k), names.ravel()).reshape(n, k)
    i, j = _where(low < _single(best.max(1), a.scale)[:, None])
    value = np.concatenate([best.ravel(), exact(a, b, rows.start + i, columns.start + j)])
    name, i = np.concatenate([names.ravel(), columns.start + j]), np.concatenate([np.arange(n).repeat(k), i])
    order = np.lexsort((value, i))
    kept = order[np.searchsorted(i[order], np.arange(n))[:, None] + np.arange(k)]
    best[:], names[:] = value[kept], name[kept]


def tiles(n: int, least: int = 1) -> list[slice]:
    """Slices of TILE to twice as many rows, and of `least` or more."""
    cuts = np.linspace(0, n, max(1, n // max(TILE, least)) + 1).astype(int).tolist()
    return [slice(*cut) for cut in pairwise(cuts)]


def _single(bound, scale):
    """A bound in the units of the tiles. Nothing is below a bound of 0, even where `low` is negative."""
    return np.where(bound > 0, bound * scale**2, -np.inf).astype(np.float32)


def _where(mask):
    return np.divmod(np.flatnonzero(mask), mask.shape[1])
