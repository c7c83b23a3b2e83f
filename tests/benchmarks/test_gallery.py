"""benchmarks/gallery.py: a row of numbers is the loss it stands for; its pictures are of the samples."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import label

from benchmarks import gallery
from gan_jax import engine, losses, mixtures, penalties
from gan_jax.game import Player
from gan_jax.optimizers import adam
from gan_jax.two_player import gan

zero = lambda D, x, fake, key: 0.0
PLAIN = {
    "non-saturating": (losses.non_saturating, zero),
    "hinge": (losses.hinge, zero),
    "least squares": (losses.least_squares, zero),
    "Wasserstein, GP": (losses.wasserstein, lambda *given: 0.1 * penalties.wgan_gp(*given)),
    "non-saturating, R1": (losses.non_saturating, lambda D, x, fake, key: 0.1 * penalties.r1(D, x)),
    "relativistic, R1 + R2": (
        losses.relativistic,
        lambda D, x, fake, key: 0.1 * penalties.r1(D, x) + 0.1 * penalties.r2(D, fake),
    ),
}


def test_a_row_of_numbers_is_its_loss():
    assert PLAIN.keys() == gallery.ROWS.keys()
    batch, key = {"x": mixtures.draw(jax.random.key(1), gallery.RING, 32)}, jax.random.key(2)
    players = [Player(network, adam(1e-3, 0.5)) for network in (gallery.MLP(2), gallery.Critic())]
    plain = [gan(*players, loss, gallery.PRIOR, penalty=penalty) for loss, penalty in PLAIN.values()]
    traced = gallery.Row(*map(np.array, zip(*gallery.ROWS.values(), strict=True)))

    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def every(key):
        state = engine.init(plain[0], key, {"x": jnp.stack([batch["x"]] * 2)})
        of = lambda g: {n: loss.value for n, loss in engine.evaluate(g, state, state.params, batch, key)[0].items()}
        return jax.vmap(lambda row: of(gallery.game("simultaneous", row)))(traced), [of(g) for g in plain]

    ours, theirs = every(key)
    for player in "GD":
        np.testing.assert_allclose(ours[player], [one[player] for one in theirs], rtol=1e-5)


def test_scores_and_densities():
    exact = np.asarray(mixtures.draw(jax.random.key(0), gallery.RING, 2500))
    modes, share = gallery.score(exact)
    assert modes == 8 and share == pytest.approx(0.989, abs=0.01)
    assert gallery.score(np.where(exact > 2, np.nan, exact)) == (0, 0)
    right = gallery.density(exact[np.linalg.norm(exact - [0, 2], axis=1) < 0.3])  # the mode at the top
    full = np.argwhere(right > 0.5)
    middle = gallery.BINS / 2
    assert full[:, 0].max() < middle / 2 and abs(full[:, 1].mean() - middle) < 2


def test_the_picture_has_every_cell(tmp_path):
    spot = np.stack(np.meshgrid(np.linspace(-0.3, 0.3, 8), np.linspace(-0.3, 0.3, 8)), -1).reshape(-1, 2)
    cells = {(row, column): spot for row in gallery.ROWS for column in gallery.COLUMNS}
    gallery.draw(cells, "round 0", tmp_path / "all.png", dpi=50)
    with Image.open(tmp_path / "all.png") as found:
        pixels = np.asarray(found.convert("RGB")).astype(int)
    _, count = label((pixels[..., 0] > 200) & (pixels[..., 0] - pixels[..., 2] > 30))  # magma's bright end
    assert count == len(gallery.ROWS) * len(gallery.COLUMNS), count
