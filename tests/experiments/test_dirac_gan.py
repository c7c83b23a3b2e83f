"""Dirac-GAN against its vector fields written out in NumPy, and against the theory of its equilibrium."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.dirac_gan import FORMULAS, ORDERS, paper, point, start, trajectory
from gan_jax.engine import gradient


def slope(t):
    """f'(t) = σ(−t), f(t) = −log(1 + e^−t)."""
    return 1 / (1 + np.exp(t))


def curvature(t):
    return -slope(t) * slope(-t)


# (θ, ψ, the two noises) -> what θ and ψ move along, from the paper's losses.
def plain(θ, ψ, *noise):
    return -ψ * slope(ψ * θ), θ * slope(ψ * θ)


def non_saturating(θ, ψ, *noise):
    return -ψ * slope(-ψ * θ), θ * slope(ψ * θ)


def wasserstein(θ, ψ, *noise):
    return -ψ, θ


def noisy(θ, ψ, real, fake):
    seen = θ + 0.7 * fake
    first = (-ψ * slope(ψ * seen)).mean()
    return first, (seen * slope(ψ * seen)).mean() - (0.7 * real * slope(-0.7 * ψ * real)).mean()


def penalised(field, penalty):
    def total(θ, ψ, *noise):
        first, second = field(θ, ψ)
        return first, second - penalty(ψ)

    return total


def agreeing(half):
    """plain − ∇½‖v‖², ½‖v‖² = ½ (θ² + ψ²) f'(ψθ)²; `half` is 1, or the authors' ½ where f'' comes in."""

    def total(θ, ψ, *noise):
        (first, second), f, c = plain(θ, ψ), slope(ψ * θ), half * (θ**2 + ψ**2) * slope(ψ * θ) * curvature(ψ * θ)
        return first - θ * f**2 - c * ψ, second - ψ * f**2 - c * θ

    return total


FIELDS = {
    "gan": plain,
    "nsgan": non_saturating,
    "wgan": wasserstein,
    "wgan_gp": penalised(wasserstein, lambda ψ: 0.7 * (abs(ψ) - 1) * np.sign(ψ)),
    "instance_noise": noisy,
    "r1": penalised(plain, lambda ψ: 0.3 * ψ),
    "r1_critical": penalised(plain, lambda ψ: ψ),
    "consensus": agreeing(1.0),
    "nsgan_r1": penalised(non_saturating, lambda ψ: 0.3 * ψ),
}


def draws(order, steps=500):
    """[steps, moves, 2, 1000]: what the engine's key gives D for real and fake in each move."""
    moves = {"simultaneous": 1, "alternating, D once": 2, "alternating, D five times": 6}[order]

    def two(t, j):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(born, t), j), 0)
        both = jnp.stack(list(jax.random.split(key, 6)[2:4]))
        return jax.vmap(lambda k: jax.random.normal(jax.random.split(k)[0], (1000,)))(both)

    with jax.enable_x64(True):
        born = start(paper.PRESETS["instance_noise"])[1].key
        over = jax.vmap(lambda t: jax.vmap(lambda j: two(t, j))(jnp.arange(moves)))
        return np.asarray(jax.jit(over)(jnp.arange(steps)))


def by_hand(field, order, bound=np.inf, noise=None, h=0.2, steps=500):
    θ, ψ, path = 1.0, 1.0, [(1.0, 1.0)]
    for t in range(steps):
        of = lambda j, t=t: () if noise is None else noise[t, j]
        if order == "simultaneous":
            first, second = field(θ, ψ, *of(0))
            θ, ψ = θ + h * first, np.clip(ψ + h * second, -bound, bound)
        else:
            θ += h * field(θ, ψ, *of(0))[0]
            for j in range(5 if "five" in order else 1):
                ψ = np.clip(ψ + h * field(θ, ψ, *of(j + 1))[1], -bound, bound)
        path.append((θ, ψ))
    return np.array(path)


SLOW = {("instance_noise", "simultaneous"), ("instance_noise", "alternating, D five times")}


@pytest.mark.parametrize(
    "preset, order",
    [
        pytest.param(preset, order, marks=pytest.mark.slow if (preset, order) in SLOW else ())
        for preset in paper.PRESETS
        for order in ORDERS
    ],
)
def test_a_trajectory_is_the_paper_s(preset, order):
    c = replace(paper.PRESETS[preset], **ORDERS[order])
    ours, noise = trajectory(c), draws(order) if preset == "instance_noise" else None
    theirs = by_hand(FIELDS[preset], order, c.strength if preset == "wgan" else np.inf, noise)
    assert ours.shape == (501, 2)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)
    norm, expected = np.hypot(*ours[-1]), FORMULAS[preset][list(ORDERS).index(order)]
    if preset == "consensus":  # the formulas' digits are those of the halved term
        assert norm == pytest.approx(np.hypot(*theirs[-1]), rel=1e-3)
        norm = np.hypot(*by_hand(agreeing(0.5), order)[-1])
    if preset == "instance_noise":
        assert 0.1 < norm / float(expected) < 10
    else:
        places = len(expected.split("e")[0].replace(".", "").lstrip("0")) - 1
        assert f"{norm:.{places}e}" == f"{float(expected):.{places}e}"


@pytest.mark.parametrize("preset, γ", [("gan", 0), ("nsgan", 0), ("r1", 0.3), ("r1_critical", 1), ("nsgan_r1", 0.3)])
def test_the_eigenvalues_at_the_equilibrium(preset, γ):
    """−γ/2 ± √(γ²/4 − f'(0)²) are those of the Jacobian of the engine's own gradients."""
    with jax.enable_x64(True):
        g, state, batch = start(paper.PRESETS[preset])

        def way(place):
            here = state.replace(params={"G": {"θ": place[0]}, "D": {"ψ": place[1]}})
            grads, _ = gradient(g, here, {"G": "G", "D": "D"}, {"x": batch["x"][0]}, state.key)
            return -point(here.replace(params=grads))

        J = np.asarray(jax.jacrev(way)(jnp.zeros(2)))
    root = np.sqrt(complex(γ**2 / 4 - 0.5**2))
    order = lambda values: sorted(values, key=lambda value: (value.real, value.imag))
    found = order(np.linalg.eigvals(J).astype(complex))
    np.testing.assert_allclose(found, order([-γ / 2 - root, -γ / 2 + root]), atol=1e-7)
