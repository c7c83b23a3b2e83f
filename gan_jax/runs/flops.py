"""FLOPs of a program, counted from its jaxpr by the rules of XLA's HLO cost analysis; nothing is lowered or compiled.

An elementwise operation is one FLOP for each element, a transcendental one none (XLA counts those apart), a reduction
one for each element that it folds in, a product or convolution two for each multiplication, taps on padding and in
the holes of a dilated operand left out. A loop counts as often as it turns, where XLA counts its body once.
"""

import itertools
import operator
from collections.abc import Callable, Sequence
from functools import cache, partial
from math import prod
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jax.interpreters import partial_eval

from gan_jax.nn.conv import primitives

FREE = {  # what moves elements, and what is transcendental
    *("broadcast_in_dim", "concatenate", "copy", "copy_p", "dynamic_slice", "dynamic_update_slice", "gather", "iota"),
    *("pad", "reshape", "rev", "slice", "split", "squeeze", "transpose", "random_wrap", "random_unwrap"),
    *("stop_gradient", "sharding_constraint", "optimization_barrier", "device_put"),
    *("exp", "expm1", "log", "log1p", "tanh", "sqrt", "rsqrt", "cbrt", "pow", "sin", "cos", "tan"),
}
ELEMENTWISE = {
    *("add", "add_any", "sub", "mul", "div", "rem", "max", "min", "neg", "abs", "sign", "square", "floor", "ceil"),
    *("round", "clamp", "is_finite", "eq", "ne", "lt", "le", "gt", "ge", "and", "or", "xor", "not", "reduce_precision"),
    *("shift_left", "shift_right_logical", "shift_right_arithmetic", "bitcast_convert_type"),
}
REDUCTIONS = ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or", "reduce_xor")
FORMS = {"conv_C": "C", "conv_T": "T", "conv_W": "W"}

# Constants are folded before XLA counts, and so is adding 0 or multiplying by 1.
NEUTRAL = {"add": 0, "add_any": 0, "sub": 0, "mul": 1}
CONSTANT = object()  # a value that is known, but not as one number
same = lambda x, *_: x
FOLDED: dict[str, Callable] = {
    **dict.fromkeys(("broadcast_in_dim", "reshape", "squeeze", "convert_element_type"), same),
    **{"neg": operator.neg, "square": np.square, "add": operator.add, "add_any": operator.add},
    **{"sub": operator.sub, "mul": operator.mul, "div": operator.truediv},
}


def product(p: Any, out: Any, a: Any, b: Any) -> int:
    """2 x elements of the result x elements that each sums up."""
    (axes, _), _ = p["dimension_numbers"]
    return 2 * out.size * prod(a.shape[i] for i in axes)


def convolution(p: Any, out: Any, x: Any, w: Any) -> int:
    """2 x (taps that meet an element, over all outputs and axes) x batch x channels in x channels out."""
    (n, _, *at_x), (f, c, *at_w), (_, _, *at_out) = p["dimension_numbers"]
    taps = 1
    for i, stride in enumerate(p["window_strides"]):
        size, kernel, positions = x.shape[at_x[i]], w.shape[at_w[i]], out.shape[at_out[i]]
        low, spread, holes = p["padding"][i][0], p["lhs_dilation"][i], p["rhs_dilation"][i]
        at = np.arange(positions)[:, None] * stride + np.arange(kernel) * holes - low
        taps *= int(((at >= 0) & (at <= (size - 1) * spread) & (at % spread == 0)).sum())
    return 2 * taps * x.shape[n] // p["batch_group_count"] * w.shape[c] * w.shape[f]


OPERATIONS: dict[str, Callable[..., int]] = {  # (parameters, result, operands) -> FLOPs
    **dict.fromkeys(FREE, lambda p, out, *operands: 0),
    **dict.fromkeys(ELEMENTWISE, lambda p, out, *operands: out.size),
    **dict.fromkeys(REDUCTIONS, lambda p, out, x: x.size - out.size),
    "convert_element_type": lambda p, out, x: 0 if x.dtype == out.dtype else out.size,
    "logistic": lambda p, out, x: 3 * out.size,  # 1 / (1 + exp(−x))
    "select_n": lambda p, out, which, *cases: out.size * (len(cases) - 1),
    "dot_general": product,
    "conv_general_dilated": convolution,
}


def count(f: Callable, *args: Any, platform: str = "cpu") -> float:
    """FLOPs of ``f(*args)``, without what its results do not need.

    Args:
        f: A function that JAX can trace.
        args: Its arguments, or their shapes.
        platform: Whose forms of our convolutions are counted: "cpu", or any other for accelerators.

    >>> count(lambda x: (x @ x).sum(), jax.ShapeDtypeStruct((8, 8), "float32"))
    1087.0
    """
    return in_jaxpr(jax.make_jaxpr(f)(*args).jaxpr, platform)


def in_jaxpr(jaxpr: Any, platform: str = "cpu", known: Sequence[Any] = ()) -> float:
    """FLOPs of a jaxpr, without dead code and without what XLA folds before it counts.

    Args:
        jaxpr: A Jaxpr, not a ClosedJaxpr.
        platform: As for `count`.
        known: What is known of each argument: its value, where all its elements are one, CONSTANT or None.
    """
    used, kept = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    values = dict(zip(used.invars, itertools.compress(known, kept), strict=False))
    return float(sum(_equation(equation, platform, values) for equation in used.eqns))


def _equation(equation, platform, values):
    """FLOPs of one equation; adds to `values` what is known of its result."""
    name, p, known = equation.primitive.name, equation.params, [_value(v, values) for v in equation.invars]
    if known and all(x is not None for x in known):
        values |= dict.fromkeys(equation.outvars, _folded(name, known))
        return 0
    if name in NEUTRAL and NEUTRAL[name] in (known[1:] if name == "sub" else known):
        return 0
    inputs, out = [v.aval for v in equation.invars], equation.outvars[0].aval
    if name in OPERATIONS:
        return OPERATIONS[name](p, out, *inputs)
    if name in FORMS:
        return _form(FORMS[name], *((x.shape, str(x.dtype)) for x in inputs), p["geometry"], platform)
    if name == "scan":
        return p["length"] * in_jaxpr(p["jaxpr"].jaxpr, platform)
    if name == "while":  # nobody knows how often
        return in_jaxpr(p["body_jaxpr"].jaxpr, platform) + in_jaxpr(p["cond_jaxpr"].jaxpr, platform)
    if name == "cond":
        return max(in_jaxpr(branch.jaxpr, platform) for branch in p["branches"])
    if inner := [x for x in p.values() if isinstance(x, ClosedJaxpr | Jaxpr)]:
        return in_jaxpr(getattr(inner[0], "jaxpr", inner[0]), platform, () if name == "jit" else known)
    key = name, repr(p), tuple((x.shape, str(x.dtype)) for x in inputs)
    if key not in by_xla:
        by_xla[key] = _by_xla(equation.primitive, p, inputs)
    return by_xla[key]


def _value(v, values):
    """What is known of a variable: None if nothing."""
    if not isinstance(v, Literal):
        return values.get(v)
    return np.float64(v.val) if np.ndim(v.val) == 0 else CONSTANT


def _folded(name, known):
    """The result of an operation on what is known."""
    if name not in FOLDED or any(x is CONSTANT for x in known):
        return CONSTANT
    with np.errstate(all="ignore"):
        return FOLDED[name](*known)


@cache
def _form(part, a, b, geometry, platform):
    """Of a convolution primitive as it is computed on the platform."""
    form = primitives.on_cpu if platform == "cpu" else primitives.on_accelerator
    return count(partial(form, part, geometry=geometry), *(jax.ShapeDtypeStruct(*x) for x in (a, b)), platform=platform)


by_xla: dict[Any, float] = {}


def _by_xla(primitive, params, operands):
    """FLOPs of any other operation, by XLA itself: this one alone is lowered."""
    program = jax.jit(lambda *args: primitive.bind(*args, **params))
    found: Any = program.lower(*(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in operands)).cost_analysis()
    return max(found.get("flops", 0.0), 0.0)
