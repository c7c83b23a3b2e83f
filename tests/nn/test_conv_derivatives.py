"""Derivatives of convolutions, to any order and under vmap, against those of XLA's own and of PyTorch."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convolutions import against_lax, both, far, random, rng
from jax import jit

from gan_jax.nn.conv import conv, conv_transpose

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
