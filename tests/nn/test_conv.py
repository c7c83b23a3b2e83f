"""Convolutions: the numbers of NumPy, PyTorch and Flax, in every form, with every derivative, and quick to run."""

from functools import partial
from itertools import product

import flax.linen as nn
import hlo
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from gan_jax.errors import UserError
from gan_jax.nn.conv import Conv, ConvTranspose, conv, conv_transpose, forms, in_groups, pads
from gan_jax.nn.conv import primitives as triple
from gan_jax.nn.conv.forms import Geometry
from gan_jax.nn.conv.winograd import winograd

rng = np.random.default_rng(0)
# What is tested for its numbers alone need not be compiled to run fast.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def random(*shape):
    """float64 where the test asks for it, else float32."""
    return jnp.asarray(rng.normal(size=shape))


def far(a, b):
    """The largest distance of corresponding arrays, in the norm of the second."""
    distance = lambda a, b: np.linalg.norm(np.subtract(a, b, dtype=np.float64)) / (np.linalg.norm(b) or 1)
    return max(jax.tree.leaves(jax.tree.map(distance, a, b)))


def numpy_conv(x, w, strides, padding):
    """y[i] = Σ_j x[s·i + j − p] w[j], an output at a time."""
    x = np.pad(x, [(0, 0), *((max(lo, 0), max(hi, 0)) for lo, hi in padding), (0, 0)])
    x = x[:, *(slice(max(-lo, 0), n - max(-hi, 0)) for n, (lo, hi) in zip(x.shape[1:], padding, strict=False))]
    out = [(n - k) // s + 1 for n, k, s in zip(x.shape[1:], w.shape, strides, strict=False)]
    y = np.zeros((len(x), *out, w.shape[-1]))
    for i in product(*map(range, out)):
        patch = x[:, *(slice(s * o, s * o + k) for s, o, k in zip(strides, i, w.shape, strict=False))]
        y[:, *i] = np.tensordot(patch, w, w.ndim - 1)
    return y


def lax_conv(x, w, strides, padding):
    """XLA's own, whose derivatives are JAX's."""
    axes = "HW"[: x.ndim - 2]
    layout = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
    return lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=layout)


# space, kernel, strides, padding: those of the papers, then odd ones
SHAPES = {
    "k3 s1": ((6, 5), (3, 3), 1, 1),
    "k4 s2 p1": ((8, 12), (4, 4), 2, 1),
    "k4 s2 p1, 14 -> 7": ((14, 14), (4, 4), 2, 1),
    "k4 s1 p0, 4 -> 1": ((4, 4), (4, 4), 1, 0),
    "k4 s1 p1": ((6, 6), (4, 4), 1, 1),
    "k5 s1 SAME": ((7, 7), (5, 5), 1, "SAME"),
    "k5 s2 SAME, 14 -> 7": ((14, 14), (5, 5), 2, "SAME"),
    "k5 s2 SAME, 7 -> 4": ((7, 7), (5, 5), 2, "SAME"),
    "k1": ((3, 4), (1, 1), 1, 0),
    "k1 s2": ((6, 6), (1, 1), 2, 0),
    "k7 VALID": ((10, 9), (7, 7), 1, "VALID"),
    "k25 s4, 1-D": ((32,), (25,), 4, "SAME"),
    "k3 s1, 2x2": ((2, 2), (3, 3), 1, 1),
    "uneven": ((9, 8), (3, 2), (2, 3), ((0, 2), (1, 0))),
    "cropped": ((8, 8), (3, 3), 2, ((-1, 1), (0, -2))),
    "unread edge": ((9, 9), (2, 2), 3, 0),
}
shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def geometry(shape, c, f):
    space, kernel, strides, padding = shape
    strides = strides if isinstance(strides, tuple) else (strides,) * len(space)
    return Geometry(space, kernel, strides, pads(padding, space, kernel, strides), (c, f))


def every_form(g):
    """That may be chosen for such a shape."""
    yield from (forms.plain(g), forms.canonical(g), forms.im2col(g))
    if set(g.strides) == {1}:
        yield forms.mirrored(g)
    if m := triple.TILE.get((g.kernel[0], g.strides[0])):
        yield winograd(g, m)


@shapes
def test_every_form_of_every_shape(x64, shape):
    g = geometry(shape, 2, 3)
    numpy = partial(numpy_conv, strides=g.strides, padding=g.padding)
    x, w, y = random(2, *g.space, 2), random(*g.kernel, 2, 3), random(2, *g.out, 3)
    y_of_x, other_x, other_w = numpy(x, w), random(*x.shape), random(*w.shape)
    # ⟨y, C(x, w)⟩ = ⟨T(y, w), x⟩ = ⟨W(x, y), w⟩, on an x and a w that T and W have not seen
    by_x, by_w = np.vdot(y, numpy(other_x, w)), np.vdot(y, numpy(x, other_w))
    three = lambda form: (form.C(x, w), form.T(y, w), form.W(x, y))
    for out, back, weight in jit(lambda: [three(form) for form in every_form(g)])():
        assert far(out, y_of_x) < 1e-12
        np.testing.assert_allclose((np.vdot(back, other_x), np.vdot(weight, other_w)), (by_x, by_w), rtol=1e-10)


def against_lax(transposed, name, c, f):
    """Our operation of a shape, its arguments, and XLA's: for the transpose, the adjoint that JAX derives."""
    g = geometry(SHAPES[name], c, f)
    w = random(*g.kernel, c, f)
    if not transposed:
        x = random(2, *g.space, c)
        return (
            partial(conv, strides=g.strides, padding=g.padding),
            (x, w),
            partial(lax_conv, strides=g.strides, padding=g.padding),
        )
    adjoint = lambda y, w: jax.vjp(
        lambda x: lax_conv(x, w.swapaxes(-1, -2), g.strides, g.padding), jnp.zeros((2, *g.space, c))
    )[1](y)[0]
    ours = partial(conv_transpose, strides=g.strides, padding=g.padding)
    return ours, (random(2, *g.out, f), w.swapaxes(-1, -2)), adjoint


both = pytest.mark.parametrize("transposed", [False, True], ids=["conv", "conv_transpose"])
# Through the primitives once for each form: Winograd's, of patches, XLA's three, and with patches of y.
LAYERS = [("k4 s2 p1", 32, 32), ("k4 s1 p0, 4 -> 1", 3, 2), ("k25 s4, 1-D", 2, 3), ("k7 VALID", 5, 2)]


@both
@pytest.mark.parametrize("layer", LAYERS, ids=[name for name, *_ in LAYERS])
def test_every_derivative(x64, transposed, layer):
    ours, args, theirs = against_lax(transposed, *layer)
    tangents = tuple(random(*a.shape) for a in args)

    def derivatives(op):
        loss = lambda x, w: jnp.sin(op(x, w)).sum()
        gradient = jax.grad(loss, (0, 1))
        along = lambda f: lambda *args: jax.jvp(f, args, tangents)[1]
        return {
            "value": op(*args),
            "gradient": gradient(*args),
            "jvp": along(op)(*args),
            "gradient of R1": jax.grad(lambda w: jnp.square(gradient(args[0], w)[0]).sum() / 2)(args[1]),
            "forward over reverse": along(gradient)(*args),
            "reverse over forward": jax.grad(along(loss), (0, 1))(*args),
        }

    a, b = (jit(partial(derivatives, op))() for op in (ours, theirs))
    assert {kind: far(a[kind], b[kind]) for kind in b} == pytest.approx(dict.fromkeys(b, 0), abs=1e-9)


@both
@pytest.mark.parametrize("axes", [(1, None), (None, 2), (1, 2)], ids=["over x", "over w", "over both"])
def test_vmap(x64, transposed, axes):
    ours, args, theirs = against_lax(transposed, "k4 s2 p1", 2, 3)
    stacked = [
        a if axis is None else jnp.stack([a, random(*a.shape)], axis) for a, axis in zip(args, axes, strict=True)
    ]
    members = [[a if axis is None else a.take(i, axis) for a, axis in zip(stacked, axes, strict=True)] for i in (0, 1)]
    loss = lambda op: lambda x, w: jnp.sin(op(x, w)).sum()
    gradient = lambda op: jax.grad(loss(op), (0, 1))

    def mapped(x, w):
        total = lambda x, w: jnp.sin(jax.vmap(ours, axes)(x, w)).sum()
        return jax.vmap(ours, axes)(x, w), jax.vmap(gradient(ours), axes)(x, w), jax.grad(total, (0, 1))(x, w)

    def one_by_one(*members):
        total = lambda x, w: sum(
            loss(theirs)(
                *(jnp.take(a, i, axis) if axis is not None else a for a, axis in zip((x, w), axes, strict=True))
            )
            for i in (0, 1)
        )
        stack = lambda f: jax.tree.map(lambda *leaves: jnp.stack(leaves), *(f(*m) for m in members))
        return stack(theirs), stack(gradient(theirs)), jax.grad(total, (0, 1))(*stacked)

    assert far(jit(mapped)(*stacked), jit(one_by_one)(*members)) < 1e-9


def test_vmap_of_vmap(x64):
    """Members of members, and a batch of batches."""
    ours, (x, w), theirs = against_lax(False, "k3 s1", 2, 3)
    xs, ws = random(2, 3, *x.shape), random(3, *w.shape)
    f = lambda op: jax.vmap(jax.vmap(op), (0, None))
    g = lambda op: jax.vmap(jax.vmap(jax.grad(lambda x, w: jnp.sin(op(x, w)).sum(), (0, 1))), (0, None))
    a, b = (jit(lambda x, w, op=op: (f(op)(x, w), g(op)(x, w)))(xs, ws) for op in (ours, theirs))
    assert far(a, b) < 1e-9


@both
def test_the_transpose_is_the_adjoint(x64, transposed):
    x, w = random(2, 7, 9, 3), random(5, 5, 3, 4)
    there, back = (conv, conv_transpose) if not transposed else (conv_transpose, conv)
    padding = ((2, 2), (1, 1))
    y = random(*jax.eval_shape(lambda x, w: there(x, w, 2, padding), x, w).shape)
    np.testing.assert_allclose(
        np.vdot(y, there(x, w, 2, padding)), np.vdot(back(y, w.swapaxes(-1, -2), 2, padding), x), rtol=1e-12
    )


TORCH = [  # space, kernel, stride, padding, output padding of the transpose
    ((6, 5), 3, 1, 1, 0),
    ((8, 8), 4, 2, 1, 0),
    ((14, 14), 4, 2, 1, 0),
    ((4, 4), 4, 1, 0, 0),
    ((1, 1), 4, 1, 0, 0),
    ((7, 7), 5, 1, 2, 0),
    ((7, 7), 5, 2, 2, 1),
    ((5, 5), 3, 2, 1, 1),
    ((5, 5), 1, 1, 0, 0),
    ((9, 9), 7, 1, 0, 0),
    ((32,), 25, 4, 11, 1),
]


FITTING = [(t, case) for t in (False, True) for case in TORCH if t or case[1] <= case[0][0] + 2 * case[3]]


@pytest.mark.reference
@pytest.mark.parametrize("transposed, case", FITTING, ids=str)
def test_pytorch(x64, transposed, case):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    space, k, s, p, extra = case
    rank = len(space)
    x, w = rng.normal(size=(2, *space, 3)), rng.normal(size=(*(k,) * rank, 3, 4))
    name = f"conv_transpose{rank}d" if transposed else f"conv{rank}d"
    options = {"stride": s, "padding": p} | ({"output_padding": extra} if transposed else {})
    ours = conv_transpose if transposed else conv
    padding = ((p, p - extra),) * rank if transposed else p
    first = lambda a: np.moveaxis(a, -1, 1)
    kernel = (rank, rank + 1) if transposed else (rank + 1, rank)

    tx = torch.tensor(first(x), requires_grad=True)
    tw = torch.tensor(w.transpose(*kernel, *range(rank)), requires_grad=True)
    ty = getattr(torch.nn.functional, name)(tx, tw, **options)
    slope, weight = torch.autograd.grad(torch.sin(ty).sum(), (tx, tw), create_graph=True)
    (second,) = torch.autograd.grad(slope.square().sum() / 2, tw)

    def everything(x, w):
        gradient = jax.grad(lambda x, w: jnp.sin(ours(x, w, s, padding)).sum(), (0, 1))
        r1 = jax.grad(lambda w: jnp.square(gradient(x, w)[0]).sum() / 2)
        return ours(x, w, s, padding), *gradient(x, w), r1(w)

    last = lambda t: np.moveaxis(t.detach().numpy(), 1, -1)
    home = lambda t: t.detach().numpy().transpose(*range(2, rank + 2), *((0, 1) if transposed else (1, 0)))
    assert far(jit(everything)(*map(jnp.asarray, (x, w))), (last(ty), last(slope), home(weight), home(second))) < 1e-9


@pytest.mark.parametrize("k, s", [(5, 1), (5, 2), (4, 2), (3, 2), (2, 3)])
def test_same_transposed_multiplies_the_size_by_the_stride(x64, k, s):
    """TensorFlow's: the input gradient of the SAME convolution that takes s·n to n."""
    x, w = random(2, 7, 7, 2), random(k, k, 2, 3)
    from_larger = lambda larger: lax_conv(larger, w.swapaxes(-1, -2), (s, s), "SAME")
    (expected,) = jax.vjp(from_larger, jnp.zeros((2, 7 * s, 7 * s, 3)))[1](x)
    assert far(jit(partial(conv_transpose, strides=s))(x, w), expected) < 1e-12


@pytest.mark.parametrize("k, s", [(5, 1), (4, 2)])  # the largest tiles, and DCGAN's
def test_winograd_in_single_precision(k, s):
    """Its sums cancel; what is left is nearly as good as a plain convolution's."""
    g = geometry(((8, 8), (k, k), s, "SAME"), 32, 32)
    x, w, y = random(2, *g.space, 32), random(*g.kernel, 32, 32), random(2, *g.out, 32)
    all_three = lambda form: jit(lambda x, w, y: (form.C(x, w), form.T(y, w), form.W(x, y)))
    ours = all_three(winograd(g, triple.TILE[k, s]))(x, w, y)
    with jax.enable_x64(True):
        exact = all_three(forms.plain(g))(*(a.astype(float) for a in (x, w, y)))
    assert far(ours, exact) < 1e-5


def test_second_derivatives_in_single_precision():
    ours, (x, w), theirs = against_lax(False, "k3 s1", 32, 32)

    def r1(op, x, w):
        return jax.grad(lambda w: jnp.square(jax.grad(lambda x: jnp.sin(op(x, w)).sum())(x)).sum() / 2)(w)

    with jax.enable_x64(True):
        exact = jit(partial(r1, theirs))(x.astype(float), w.astype(float))
    assert far(jit(partial(r1, ours))(x, w), exact) < 1e-4


@pytest.mark.parametrize("c, f", [(3, 8), (32, 32)])
def test_bfloat16_sums_in_float32(c, f):
    x, w = (jnp.asarray(a, jnp.bfloat16) for a in (random(2, 8, 8, c), random(4, 4, c, f)))
    y = jit(lambda x, w: conv(x, w, 2, 1))(x, w)
    exact = numpy_conv(np.float64(x), np.float64(w), (2, 2), [(1, 1)] * 2)
    assert y.dtype == jnp.bfloat16
    assert far(y.astype(jnp.float32), exact) < 2**-8
    assert conv(x, w.astype(jnp.float32), 2, 1).dtype == jnp.float32


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
def test_flax_layers(dtype):
    x = jnp.asarray(random(2, 8, 8, 3), jnp.float32)
    ours, theirs = Conv(5, (4, 4), (2, 2), 1, dtype=dtype), nn.Conv(5, (4, 4), (2, 2), 1, dtype=dtype)
    variables = theirs.init(jax.random.key(0), x)
    assert far(ours.init(jax.random.key(0), x), variables) == 0
    assert ours.apply(variables, x).dtype == theirs.apply(variables, x).dtype
    tolerance = 1e-6 if dtype is None else 2**-7
    assert far(ours.apply(variables, x).astype(float), theirs.apply(variables, x).astype(float)) < tolerance


def test_flax_transposed_layers():
    x = jnp.asarray(random(2, 4, 4, 3), jnp.float32)
    ours, theirs = ConvTranspose(5, (5, 5), (2, 2)), nn.ConvTranspose(5, (5, 5), (2, 2), transpose_kernel=True)
    variables = ours.init(jax.random.key(0), x)
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"] + 1
    assert jax.tree.map(jnp.shape, variables) == {"params": {"kernel": (5, 5, 3, 5), "bias": (5,)}}
    assert far(variables, nn.ConvTranspose(5, (5, 5), (2, 2)).init(jax.random.key(0), x)) == 0
    swapped = {"params": {"kernel": kernel.swapaxes(2, 3), "bias": bias}}
    assert far(ours.apply({"params": {"kernel": kernel, "bias": bias}}, x), theirs.apply(swapped, x)) < 1e-6
    flipped = {"params": {"kernel": kernel[::-1, ::-1], "bias": bias}}
    theirs = nn.ConvTranspose(5, (4, 4), (2, 2), 2)  # kernel size − 1 − padding
    ours, variables = ConvTranspose(5, (4, 4), 2, 1), {"params": {"kernel": kernel[:4, :4], "bias": bias}}
    flipped = {"params": {"kernel": kernel[3::-1, 3::-1], "bias": bias}}
    assert far(ours.apply(variables, x), theirs.apply(flipped, x)) < 1e-6


@pytest.mark.parametrize("k, s", [(3, 1), (4, 2)])
def test_grouped_layers(x64, k, s):
    """In numbers, gradients and gradients of gradients Flax's, whose feature_group_count is XLA's own."""
    x, options = random(2, 6, 6, 6), {"dtype": float, "param_dtype": float, "bias_init": nn.initializers.normal()}
    ours = Conv(9, (k, k), s, groups=3, **options)
    theirs = nn.Conv(9, (k, k), s, feature_group_count=3, **options)
    variables = theirs.init(jax.random.key(0), x)
    assert variables["params"]["kernel"].shape == (k, k, 2, 9)
    assert far(ours.init(jax.random.key(0), x), variables) == 0

    def everything(layer, variables, x):
        slope = lambda v, x: jax.grad(lambda v, x: jnp.sin(layer.apply(v, x)).sum(), (0, 1))(v, x)
        r1 = jax.grad(lambda v, x: jnp.square(slope(v, x)[1]).sum() / 2, (0, 1))
        return layer.apply(variables, x), slope(variables, x), r1(variables, x)

    a, b = (jit(partial(everything, layer))(variables, x) for layer in (ours, theirs))
    assert far(a, b) < 1e-9


def test_grouped_transposes(x64):
    x, w = random(2, 3, 3, 4), random(4, 4, 2, 6)
    y = jit(lambda x, w: in_groups(conv_transpose, 2)(x, w, 2, 1))(x, w)
    halves = [conv_transpose(x[..., :2], w[..., :3], 2, 1), conv_transpose(x[..., 2:], w[..., 3:], 2, 1)]
    assert far(y, jnp.concatenate(halves, -1)) < 1e-12


@pytest.mark.parametrize("layer", [Conv, ConvTranspose])
def test_initialisers_see_the_fan_in(layer):
    """lecun_normal: variance 1 / (16 · 64), whichever way the layer goes."""
    kernel = layer(8, (4, 4), use_bias=False).init(jax.random.key(0), jnp.zeros((1, 4, 4, 64)))["params"]["kernel"]
    assert kernel.shape == (4, 4, 64, 8)
    assert float(kernel.var()) * 16 * 64 == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: conv(jnp.zeros((8, 8, 3)), jnp.zeros((3, 3, 3, 5))), r"\[8, 8, 3\].*\[3, 3, 3, 5\]"),
        (lambda: conv(jnp.zeros((1, 2, 2, 3)), jnp.zeros((5, 5, 3, 5)), 1, 0), "does not fit"),
        (lambda: conv(jnp.zeros((1, 8, 8, 3)), jnp.zeros((3, 3, 3, 5)), 1, "CIRCULAR"), "CIRCULAR"),
        (lambda: conv(jnp.zeros((1, 8, 8, 3)), jnp.zeros((3, 3, 3, 5)), (1, 1, 1)), "3 numbers for 2 axes"),
        (lambda: conv_transpose(jnp.zeros((1, 1, 1, 3)), jnp.zeros((2, 2, 3, 5)), 1, 1), "nothing"),
        (lambda: in_groups(conv, 2)(jnp.zeros((1, 8, 8, 3)), jnp.zeros((3, 3, 1, 4))), "2 groups do not divide 3"),
    ],
)
def test_what_cannot_be_convolved(call, words):
    with pytest.raises(UserError, match=words):
        call()


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
