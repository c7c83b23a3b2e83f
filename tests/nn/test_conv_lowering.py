"""What XLA makes of convolutions: none that its CPU backend compiles badly, and what cuDNN matches on GPUs."""

from itertools import product

import hlo
import jax
import jax.numpy as jnp
from convolutions import against_lax, both, lax_conv, random
from jax import jit, lax

from gan_jax.nn.conv import conv, in_groups


def pathological(ops, args, scanned):
    """Such convolutions in the gradients of all ops in both their arguments, alone or as the body of a scan."""
    gradient = lambda op, args: jax.grad(lambda x, w: jnp.square(op(x, w)).sum(), (0, 1))(*args)
    gradients = lambda args: [gradient(op, a) for op, a in zip(ops, args, strict=True)]
    step = lambda args, _: (jax.tree.map(jnp.add, args, gradients(args)), None)
    program = (lambda args: lax.scan(step, args, length=3)) if scanned else gradients
    return hlo.pathological_convolutions(jit(program).lower(args).compile().as_text())


def test_the_detector_finds_what_flax_layers_do():
    stock = lambda x, w: lax.conv_transpose(x, w, (2, 2), "SAME")
    found = pathological([stock], [(random(4, 8, 8, 16), random(4, 4, 16, 8))], scanned=False)
    assert any("rhs_reversal" in line for line in found)
    stock, args = lambda x, w: lax_conv(x, w, (1, 1), "SAME"), [(random(4, 8, 8, 16), random(3, 3, 16, 16))]
    assert pathological([stock], args, scanned=False) == []
    assert any("rhs_reversal" not in line for line in pathological([stock], args, scanned=True))


@both
def test_no_convolution_of_ours_is_pathological(transposed):
    shapes = ["k3 s1", "k4 s2 p1", "k5 s2 SAME, 7 -> 4", "k25 s4, 1-D", "k3 s1, 2x2", "k7 VALID", "k4 s1 p1"]
    cases = [against_lax(transposed, name, c, f) for name, (c, f) in product(shapes, [(3, 8), (8, 3)])]
    ops, args, _ = map(list, zip(*cases, strict=True))
    assert pathological(ops, args, scanned=True) == []


def test_no_convolution_in_groups_is_pathological():
    """On CPUs the groups are a loop."""
    x, w = random(4, 8, 8, 32), random(3, 3, 16, 32)
    assert pathological([in_groups(conv, 2)], [(x, w)], scanned=False) == []


def test_accelerators_get_the_convolutions_that_cudnn_matches():
    """One convolution for each of C, T and W; T's kernel is reversed and not transposed after."""
    gradient = jax.grad(lambda x, w: jnp.square(conv(x, w, 2, 1)).sum(), (0, 1))
    shapes = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((2, 8, 8, 32), (4, 4, 32, 32)))
    text = jax.jit(gradient).trace(*shapes).lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("stablehlo.convolution") == 3
    assert text.count("stablehlo.reverse") == 1
    assert "dot_general" not in text
