"""Winograd's minimal filtering F(m×m, r×r) for 2-D convolutions of any stride, by matrix products.

Stride s is stride 1 on a grid of s×s phases, with a kernel of r = ⌈k/s⌉. A tile of m×m outputs then takes
(m + r − 1)² products per pair of channels instead of (m·r)²: y = Aᵀ[(G w Gᵀ) ⊙ (Bᵀ x B)]A. Lavin & Gray 2016, eq. 8.
The adjoints are written out, because differentiated slices are chains of pads, a third slower.
"""

from math import isqrt

import jax.numpy as jnp
import numpy as np

from gan_jax.nn.conv.forms import Form, Geometry, Pair, add, fit, pad_axis, products

POINTS = 0, 1, -1, 2, -2, 1 / 2, -1 / 2


def toom_cook(m, r):
    """Aᵀ [m, n], G [n, r], Bᵀ [n, n], n = m + r − 1: polynomial products by values at n − 1 points and ∞."""
    points = np.array(POINTS[: m + r - 2])
    values = lambda degree: np.vstack([np.vander(points, degree, increasing=True), np.eye(degree)[-1]])
    others = [np.delete(points, i) for i in range(len(points))]
    scale = np.array([*(np.prod(p - rest) for p, rest in zip(points, others, strict=True)), 1])
    Bt = np.array([*(np.append(np.poly(rest)[::-1], 0) for rest in others), np.poly(points)[::-1]])
    return values(m).T, values(r) / scale[:, None], Bt


def combine(matrix, parts):
    """Σ_j matrix[i, j] parts[j] for each i, without multiplying by 0 and ±1."""

    def row(coefficients):
        kept = [(c, p) for c, p in zip(coefficients.tolist(), parts, strict=True) if c]
        return add(p if c == 1 else -p if c == -1 else c * p for c, p in kept)

    return [row(coefficients) for coefficients in matrix]


def winograd(g: Geometry, m: int) -> Form:
    """The form for square kernels and strides, and maps of any size: the last tiles may extend past the edge."""
    At, G, Bt = toom_cook(m, r=-(-g.kernel[0] // g.strides[0]))
    tiles = tuple(-(-o // m) for o in g.out)
    return products(of_input(g, m, tiles, Bt), of_kernel(g, G), of_output(g, m, tiles, At))


def of_input(g: Geometry, m, tiles, Bt) -> Pair:
    """x -> the n² matrices [b · tiles, s·s·c] of Bᵀ x B."""
    n, s = len(Bt), g.strides[0]
    depth = s * s * g.channels[0]
    extra = -(-n // m) - 1  # blocks of m that a window of n covers beyond the first
    height, width = blocks = tuple(t + extra for t in tiles)
    low = [lo for lo, _ in g.padding]

    def windows(x, axis):
        """Element i of every window of n with hop m: [.., blocks, m, ..] -> n × [.., tiles, ..]."""
        before = (slice(None),) * axis
        return [x[*before, i // m : i // m + tiles[axis - 1], i % m] for i in range(n)]

    def overlap(parts, axis):
        """The adjoint of `windows`."""
        moved = [pad_axis(part, axis, i // m, extra - i // m) for i, part in enumerate(parts)]
        return jnp.stack([add(moved[i::m]) for i in range(m)], axis + 1)

    def to_tiles(x):
        x = space_to_depth(fit(x, low, [b * m * s for b in blocks]), s).reshape(-1, height, m, width, m, depth)
        rows = combine(Bt, windows(x, 1))
        return [v.reshape(-1, depth) for row in rows for v in combine(Bt, windows(row, 2))]

    def from_tiles(v):
        rows = square([tile.reshape(-1, *tiles, depth) for tile in v])
        x = overlap(combine(Bt.T, [overlap(combine(Bt.T, row), 2) for row in rows]), 1)
        x = depth_to_space(x.reshape(-1, height * m, width * m, depth), s)
        return fit(x, [-lo for lo in low], g.space)

    return Pair(to_tiles, from_tiles)


def of_kernel(g: Geometry, G) -> Pair:
    """w -> the n² matrices [s·s·c, f] of G w Gᵀ."""
    (k, _), (s, _), (c, f) = g.kernel, g.strides, g.channels
    r = G.shape[1]

    def to_tiles(w):
        w = jnp.pad(w, [(0, r * s - k)] * 2 + [(0, 0)] * 2).reshape(r, s, r, s, c, f)
        rows = combine(G, list(w.swapaxes(1, 2).reshape(r, r, s * s * c, f)))
        return [u for row in rows for u in combine(G, list(row))]

    def from_tiles(u):
        w = jnp.stack(combine(G.T, [jnp.stack(combine(G.T, row)) for row in square(u)]))
        return w.reshape(r, r, s, s, c, f).swapaxes(1, 2).reshape(r * s, r * s, c, f)[:k, :k]

    return Pair(to_tiles, from_tiles)


def of_output(g: Geometry, m, tiles, At) -> Pair:
    """y -> the n² matrices [b · tiles, f] of A y Aᵀ; the adjoint assembles the outputs."""
    (height, width), f = tiles, g.channels[1]

    def to_tiles(y):
        y = fit(y, (0, 0), [t * m for t in tiles]).reshape(-1, height, m, width, m, f)
        rows = combine(At.T, [y[:, :, i] for i in range(m)])
        return [v.reshape(-1, f) for row in rows for v in combine(At.T, [row[:, :, :, i] for i in range(m)])]

    def from_tiles(v):
        rows = square([tile.reshape(-1, *tiles, f) for tile in v])
        y = jnp.stack(combine(At, [jnp.stack(combine(At, row), 3) for row in rows]), 2)
        return fit(y.reshape(-1, height * m, width * m, f), (0, 0), g.out)

    return Pair(to_tiles, from_tiles)


def square(parts):
    """A list of n² parts as n rows of n."""
    n = isqrt(len(parts))
    return [parts[i : i + n] for i in range(0, n * n, n)]


def space_to_depth(x, s):
    """Blocks of s×s pixels to channels: [b, s·h, s·w, c] -> [b, h, w, s·s·c]."""
    b, h, w, c = x.shape
    return x.reshape(b, h // s, s, w // s, s, c).swapaxes(2, 3).reshape(b, h // s, w // s, s * s * c)


def depth_to_space(x, s):
    """The inverse, and adjoint, of `space_to_depth`."""
    b, h, w, c = x.shape
    return x.reshape(b, h, w, s, s, c // s**2).swapaxes(2, 3).reshape(b, s * h, s * w, c // s**2)
