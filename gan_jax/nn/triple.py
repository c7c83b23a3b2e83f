"""A convolution and its two adjoints as primitives: each derivative of one is another, forward, reverse, to any order.

C: x [b, *space, c], w [*kernel, c, f] -> y [b, *out, f];   T: y, w -> x;   W: x, y -> w.
Under `vmap` they stay themselves: shared weights make one larger batch, a weight per member a leading axis on both operands.
"""

from functools import partial
from math import prod

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from gan_jax.nn.forms import Form, Geometry, canonical, im2col, plain

C, T, W = Primitive("conv"), Primitive("conv_input"), Primitive("conv_kernel")


def cpu_form(g: Geometry, c: int, f: int) -> Form:
    """The form that was fastest on XLA's CPU backend."""
    tiny = prod(g.kernel) > min(prod(g.space), prod(g.out))  # XLA would swap operands and reverse, off its fast path
    if tiny or min(c, f) <= 4 or g.kernel == (1,) * len(g.kernel):
        return im2col(g)
    return canonical(g)


def on_cpu(name, a, b, *, geometry):
    """Members one after another: XLA:CPU is slow at batched products and at grouped convolutions."""
    if a.ndim > len(geometry.space) + 2:
        return lax.map(lambda ab: on_cpu(name, *ab, geometry=geometry), (a, b))
    c, f = channels(name, a, b)
    wide = jnp.promote_types(a.dtype, jnp.float32)  # sums of bfloat16 are taken in float32
    form = cpu_form(geometry, c, f)
    return getattr(form, name)(a.astype(wide), b.astype(wide)).astype(a.dtype)


def on_accelerator(name, a, b, *, geometry):
    form = getattr(plain(geometry), name)
    return (jax.vmap(form) if a.ndim > len(geometry.space) + 2 else form)(a, b)


def channels(name, a, b):
    """(c, f) from the two operands."""
    return {
        "C": lambda: b.shape[-2:],
        "T": lambda: b.shape[-2:],
        "W": lambda: (a.shape[-1], b.shape[-1]),
    }[name]()


def shape(name, a, b, *, geometry):
    rank = len(geometry.space)
    members = a.shape[: a.ndim - rank - 2]
    b0 = a.shape[len(members)]
    c, f = channels(name, a, b)
    shapes = {
        "C": (b0, *geometry.out, f),
        "T": (b0, *geometry.space, c),
        "W": (*geometry.kernel, c, f),
    }
    return ShapedArray((*members, *shapes[name]), a.dtype)


def batch(name, primitive, operands, dims, *, geometry):
    a, b = operands
    da, db = dims
    single = len(geometry.space) + 2
    if db is None and name != "W":
        a = jnp.moveaxis(a, da, -single - 1)
        *members, n, b0 = a.shape[: 1 - single]
        out = primitive.bind(a.reshape(*members, n * b0, *a.shape[1 - single :]), b, geometry=geometry)
        return out.reshape(*members, n, b0, *out.shape[1 - single :]), len(members)
    n = a.shape[da] if da is not None else b.shape[db]
    full = [
        jnp.broadcast_to(v, (n, *v.shape)) if d is None else jnp.moveaxis(v, d, 0)
        for v, d in zip(operands, dims, strict=True)
    ]
    flat = [v.reshape(-1, *v.shape[-single:]) for v in full]
    out = primitive.bind(*flat, geometry=geometry)
    return out.reshape(*full[0].shape[:-single], *out.shape[1:]), 0


for name, primitive in (("C", C), ("T", T), ("W", W)):
    primitive.def_impl(jax.jit(primitive.bind, static_argnames="geometry"))
    primitive.def_abstract_eval(partial(shape, name))
    batching.primitive_batchers[primitive] = partial(batch, name, primitive)
    for platform, form in (("cpu", on_cpu), (None, on_accelerator)):
        rule = mlir.lower_fun(partial(form, name), multiple_results=False)
        mlir.register_lowering(primitive, rule, platform=platform)

ad.defbilinear(C, lambda y, x, w, **g: T.bind(y, w, **g), lambda y, x, w, **g: W.bind(x, y, **g))
ad.defbilinear(T, lambda x, y, w, **g: C.bind(x, w, **g), lambda x, y, w, **g: W.bind(x, y, **g))
ad.defbilinear(W, lambda w, x, y, **g: T.bind(y, w, **g), lambda w, x, y, **g: C.bind(x, w, **g))
