"""gan_jax/runs/flops.py: XLA's count of FLOPs, from the jaxpr alone."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from gan_jax.engine import step
from gan_jax.nn.conv import conv, in_groups
from gan_jax.runs import cost, flops
from gan_jax.runs import paper as papers
from gan_jax.training.spec import abstract_state, as_schedule, zeros

QUICK = ("dcgan", "dirac_gan", "pacgan", "pix2pix")
TITLES = [f"{name}:{preset}" for name in papers.names() for preset in papers.paper(name).presets]


def by_xla(f, *shapes):
    """XLA's count of the program before it is compiled; it takes one off for each call that it does not know."""
    lowered = jax.jit(f).lower(*shapes)
    return lowered.cost_analysis().get("flops", 0) + lowered.as_text("hlo").count("custom-call(")


def round_by_xla(paper, config):
    game = as_schedule(paper.game(config))(0)
    state, batch = abstract_state(game, paper.spec(config)), jax.eval_shape(lambda: zeros(game, paper.spec(config)))
    return by_xla(lambda state, batch: step(game, state, batch), state, batch)


def round_by_us(paper, config):
    return cost.flops(as_schedule(paper.game(config))(0), paper.spec(config))


@pytest.fixture
def no_loops(monkeypatch):
    """Groups of a convolution one after another, but not in a loop, whose body XLA would count once."""

    def unrolled(f, trees):
        rows = [f(jax.tree.map(lambda x, i=i: x[i], trees)) for i in range(len(jax.tree.leaves(trees)[0]))]
        return jax.tree.map(lambda *x: jnp.stack(x), *rows)

    monkeypatch.setattr(lax, "map", unrolled)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in papers.names()]
)
def test_a_round_of_tiny(name, no_loops):
    paper = papers.paper(name)
    assert round_by_us(paper, paper.tiny) == pytest.approx(round_by_xla(paper, paper.tiny), rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("title", TITLES)
def test_a_round_of_every_preset(title, no_loops):
    paper, config = papers.preset(title)
    assert round_by_us(paper, config) == pytest.approx(round_by_xla(paper, config), rel=0.03)


X, W, S = (jax.ShapeDtypeStruct(shape, "float32") for shape in ((2, 9, 8, 6), (3, 4, 6, 8), (5, 7)))
LAYOUT = ("NHWC", "HWIO", "NHWC")
CASES = {
    "valid": ((1, 1), ((0, 0), (0, 0)), {}),
    "padding that is not counted": ((2, 1), ((1, 2), (3, 0)), {}),
    "holes in x": ((1, 2), ((2, 1), (1, 1)), {"lhs_dilation": (2, 3)}),
    "holes in w": ((1, 1), ((1, 1), (2, 2)), {"rhs_dilation": (2, 2)}),
    "a crop": ((1, 1), ((-1, 0), (2, 2)), {}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_convolution(case):
    strides, padding, more = CASES[case]
    f = lambda x, w: lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=LAYOUT, **more)
    assert flops.count(f, X, W) == by_xla(f, X, W) > 0


@pytest.mark.parametrize("argument", ["feature_group_count", "batch_group_count"])
def test_a_convolution_in_groups(argument):
    w = jax.ShapeDtypeStruct((3, 4, 3 if argument == "feature_group_count" else 6, 8), "float32")
    f = lambda x, w: lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=LAYOUT, **{argument: 2})
    assert flops.count(f, X, w) == by_xla(f, X, w) > 0


def test_our_convolution_in_groups_is_counted_whole():
    grouped = lambda groups: flops.count(lambda x, w: in_groups(conv, groups)(x, w), X, w(groups))
    w = lambda groups: jax.ShapeDtypeStruct((3, 3, 6 // groups, 12), "float32")
    assert grouped(2) == pytest.approx(grouped(1) / 2, rel=0.01)
    direct = 2 * (2 * (9 * 3 - 2) * (8 * 3 - 2)) * 6 * 12  # taps of a 3x3 kernel that lie inside of 9x8
    assert flops.count(conv, X, w(1), platform="gpu") == direct


OPERATIONS = {
    "mean": lambda x: x.mean(0),
    "softplus": jax.nn.softplus,
    "its gradient": jax.grad(lambda x: jax.nn.softplus(x).sum()),
    "a sigmoid": jax.nn.sigmoid,
    "powers": lambda x: x**3 + x**-2,
    "casts": lambda x: x.astype("bfloat16") * 2,
    "a choice": lambda x: jnp.where(x > 0, x, jnp.clip(x, -1, 1)),
    "constants": lambda x: x * (jnp.float32(2) / 2) + (jnp.zeros(7) - 0),
    "others": lambda x: jnp.cumsum(lax.erf_inv(jnp.sort(x)), 1),
    "a call": lambda x: jax.jit(lambda x, y: (x @ y.T).max())(x, x),
    "products": lambda x: jnp.einsum("ij,kj->ik", x, x),
    "dead code": lambda x: (x, x @ x.T)[0],
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name):
    assert flops.count(OPERATIONS[name], S) == by_xla(OPERATIONS[name], S)


def test_a_loop_counts_as_often_as_it_turns():
    body = lambda x, _: (jnp.tanh(x @ x), None)
    x = jax.ShapeDtypeStruct((4, 4), "float32")
    assert flops.count(lambda x: lax.scan(body, x, None, length=9)[0], x) == 9 * 2 * 4**3
    branches = lambda x: lax.cond(x.sum() > 0, lambda x: x @ x, lambda x: x, x)
    assert flops.count(branches, x) == 2 * 4**3 + 16 + 1  # the dearest branch, the sum, the comparison and the cast
