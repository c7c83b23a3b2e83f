"""A convolution and its two adjoints as JAX primitives: each derivative of one is another, to any order, in any mode.

``C: x [b, *space, c], w [*kernel, c, f] -> y [b, *out, f]``, ``T: y, w -> x``, ``W: x, y -> w``.

Each primitive is closed under `vmap`: if the kernel is shared, the mapped axis joins the batch; if not, both operands
get a leading axis of members. The lowering is chosen by the platform for which a program is compiled.
"""

from functools import partial
from math import prod

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from gan_jax.nn.conv.forms import Form, Geometry, canonical, im2col, mirrored, plain
from gan_jax.nn.conv.winograd import winograd

C, T, W = Primitive("conv_C"), Primitive("conv_T"), Primitive("conv_W")

TILE = {(3, 1): 4, (4, 1): 4, (5, 1): 4, (4, 2): 2, (5, 2): 2}  # (kernel, stride): Winograd's m where it is fastest


def cpu_form(g: Geometry) -> Form:
    """The form that was measured as the fastest on XLA's CPU backend."""
    c, f = g.channels
    wide = min(c, f) >= 32
    # XLA would swap the operands if the kernel were larger, and reverse it, for which it has no fast path.
    tiny = prod(g.kernel) > prod(g.out) or prod(g.out) > prod(g.space)
    if tiny or prod(g.kernel) == 1:
        return im2col(g)
    if wide and g.rank == 2 and g.kernel == g.kernel[::-1] and g.strides == g.strides[::-1]:
        m = TILE.get((g.kernel[0], g.strides[0]))
        return winograd(g, m) if m else canonical(g)
    few = f <= 4 < c and prod(g.strides) == 1  # W's convolution would have f output channels
    return canonical(g)._replace(W=mirrored(g).W) if few else canonical(g)


def on_cpu(part, a, b, *, geometry):
    """Members one after another: XLA:CPU is slow at batched products and at grouped convolutions."""
    if a.ndim > geometry.rank + 2:
        return lax.map(lambda ab: on_cpu(part, *ab, geometry=geometry), (a, b))
    wide = jnp.promote_types(a.dtype, jnp.float32)  # bfloat16 is summed in float32
    return getattr(cpu_form(geometry), part)(a.astype(wide), b.astype(wide)).astype(a.dtype)


def on_accelerator(part, a, b, *, geometry):
    form = getattr(plain(geometry), part)
    return (jax.vmap(form) if a.ndim > geometry.rank + 2 else form)(a, b)


def shape(part, a, b, *, geometry):
    *members, n = a.shape[: -geometry.rank - 1]
    c, f = geometry.channels
    single = {"C": (n, *geometry.out, f), "T": (n, *geometry.space, c), "W": (*geometry.kernel, c, f)}
    return ShapedArray((*members, *single[part]), a.dtype)


def batch(primitive, operands, dims, *, geometry):
    """vmap: the new axis joins the batch if the kernel does not have it, else the members."""
    (a, b), (at_a, at_b), ndim = operands, dims, geometry.rank + 2
    if at_b is None and primitive is not W:
        *members, n, size = jnp.moveaxis(a, at_a, -ndim - 1).shape[: 1 - ndim]
        a = jnp.moveaxis(a, at_a, -ndim - 1).reshape(*members, n * size, *a.shape[1 - ndim :])
        out = primitive.bind(a, b, geometry=geometry)
        return out.reshape(*members, n, size, *out.shape[1 - ndim :]), len(members)
    n = b.shape[at_b] if at_a is None else a.shape[at_a]
    a, b = (
        jnp.broadcast_to(v, (n, *v.shape)) if at is None else jnp.moveaxis(v, at, 0)
        for v, at in zip(operands, dims, strict=True)
    )
    members = a.shape[:-ndim]
    out = primitive.bind(a.reshape(-1, *a.shape[-ndim:]), b.reshape(-1, *b.shape[-ndim:]), geometry=geometry)
    return out.reshape(*members, *out.shape[1:]), 0


def run_compiled(jitted, *operands, geometry):
    """Outside any program: compiled, under JAX_DISABLE_JIT too, for there is no other implementation."""
    with jax.disable_jit(False):
        return jitted(*operands, geometry=geometry)


for part, primitive in (("C", C), ("T", T), ("W", W)):
    primitive.def_impl(partial(run_compiled, jax.jit(primitive.bind, static_argnames="geometry")))
    primitive.def_abstract_eval(partial(shape, part))
    batching.primitive_batchers[primitive] = partial(batch, primitive)
    for platform, compute in (("cpu", on_cpu), (None, on_accelerator)):
        rule = mlir.lower_fun(partial(compute, part), multiple_results=False)
        mlir.register_lowering(primitive, rule, platform=platform)

ad.defbilinear(C, lambda y, x, w, **g: T.bind(y, w, **g), lambda y, x, w, **g: W.bind(x, y, **g))
ad.defbilinear(T, lambda x, y, w, **g: C.bind(x, w, **g), lambda x, y, w, **g: W.bind(x, y, **g))
ad.defbilinear(W, lambda w, x, y, **g: T.bind(y, w, **g), lambda w, x, y, **g: C.bind(x, w, **g))
