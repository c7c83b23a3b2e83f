"""CycleGAN: the published order by hand, its cost, pools and decay across a stop, translations and their truth."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from test_round_flops import flops, lowered_forward
from toy import bits

from gan_jax import population, train
from gan_jax.data import read
from gan_jax.engine import init, step
from gan_jax.errors import UserError
from gan_jax.pixels import to_float
from gan_jax.runs import cost, translation
from gan_jax.runs import paper as papers
from gan_jax.runs.run import Run
from gan_jax.training.spec import batch_spec

paper = papers.paper("cyclegan").module
quick = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
TINY = dataclasses.replace(paper.TINY, pool=3, batch=2)
HOW = {"batch": TINY.batch, "log_every": 1, "progress": False}


def first_rounds(config, rounds, dtype):
    data = paper.data(config)
    places = [config.batch * t for t in range(rounds)]
    floats = lambda x: to_float(jnp.asarray(x)).astype(dtype)
    return [jax.tree.map(floats, read(data, config.seed, place, 1, config.batch)) for place in places]


class ByHand:
    """The authors' order: both generators by one Adam, then both discriminators by another, on the fakes from before,
    shown through two lists of past ones."""

    def __init__(self, config, game, state):
        self.c, self.t = config, 0
        self.nets = {name: player.net for name, player in game.players.items()}
        self.G = {name: state.params[name] for name in ("G_AB", "G_BA")}
        self.D = {name: state.params[name] for name in ("D_A", "D_B")}
        self.adam = optax.scale_by_adam(0.5, 0.999)
        self.opt_G, self.opt_D = self.adam.init(self.G), self.adam.init(self.D)
        self.pools = {"A": [], "B": []}
        self.grads = quick(jax.value_and_grad(self.loss_G, has_aux=True)), quick(jax.value_and_grad(self.loss_D))

    def net(self, params, name, x):
        return self.nets[name].apply({"params": params[name]}, x)

    def loss_G(self, G, D, a, b):
        to_B, to_A = partial(self.net, G, "G_AB"), partial(self.net, G, "G_BA")
        fake_B, fake_A = to_B(a), to_A(b)
        idt_A = abs(to_B(b) - b).mean() * self.c.lambda_B * self.c.identity
        idt_B = abs(to_A(a) - a).mean() * self.c.lambda_A * self.c.identity
        gan = ((self.net(D, "D_B", fake_B) - 1) ** 2).mean() + ((self.net(D, "D_A", fake_A) - 1) ** 2).mean()
        cycle = self.c.lambda_A * abs(to_A(fake_B) - a).mean() + self.c.lambda_B * abs(to_B(fake_A) - b).mean()
        return gan + cycle + idt_A + idt_B, {"A": fake_A, "B": fake_B}

    def loss_D(self, D, real, fake):
        halves = [
            0.5 * (((self.net(D, f"D_{s}", real[s]) - 1) ** 2).mean() + (self.net(D, f"D_{s}", fake[s]) ** 2).mean())
            for s in "AB"
        ]
        return halves[0] + halves[1]

    def shown(self, side, images, key):
        kept, found = self.pools[side], []
        for image, (k_coin, k_row) in zip(images, jax.random.split(key, (len(images), 2)), strict=True):
            if len(kept) < self.c.pool:
                kept.append(image)
                found.append(image)
            elif jax.random.bernoulli(k_coin):
                row = int(jax.random.randint(k_row, (), 0, self.c.pool))
                found.append(kept[row])
                kept[row] = image
            else:
                found.append(image)
        return jnp.stack(found)

    def round(self, batch, key):
        a, b = batch["A"]["x"][0], batch["B"]["x"][0]
        for i in (self.t, 0, 0):  # the round, its first move, the only part of its batch
            key = jax.random.fold_in(key, i)
        _, _, k_A, k_B = jax.random.split(key, 4)
        rate = self.c.lr * min(1, 2 - 2 * self.t / self.c.schedule_steps)
        (loss, fake), grads = self.grads[0](self.G, self.D, a, b)
        self.G, self.opt_G = self.stepped(self.G, grads, self.opt_G, rate)
        fake = {"A": self.shown("A", fake["A"], k_A), "B": self.shown("B", fake["B"], k_B)}
        loss_D, grads = self.grads[1](self.D, {"A": a, "B": b}, fake)
        self.D, self.opt_D = self.stepped(self.D, grads, self.opt_D, rate)
        self.t += 1
        return float(loss), float(loss_D)

    def stepped(self, params, grads, opt, rate):
        updates, opt = self.adam.update(grads, opt)
        return jax.tree.map(lambda w, u: w - rate * u, params, updates), opt


class Pixels(nn.Module):
    """x [b, h, w, c] -> tanh(w x + v), which compiles in a second."""

    channels: int = 1

    @nn.compact
    def __call__(self, x):
        return jnp.tanh(nn.Dense(self.channels)(x))


@pytest.mark.parametrize("networks", ["pixels", pytest.param("own", marks=pytest.mark.slow)])
def test_a_round_is_the_published_order(networks):
    """Weights, losses and pools to 1e-6 over three rounds, in which the pool is filled and used and the rate falls."""
    with jax.enable_x64():
        config = dataclasses.replace(TINY, schedule_steps=3)
        game = paper.game(config)
        wide = lambda x: jnp.asarray(x, jnp.float64) if x.dtype == np.float32 else jnp.asarray(x)
        net = lambda p: Pixels() if networks == "pixels" else p.net.clone(dtype=jnp.float64)
        players = {name: dataclasses.replace(p, net=net(p)) for name, p in game.players.items()}
        game = dataclasses.replace(game, players=players, memory=jax.tree.map(wide, game.memory))
        batches = first_rounds(config, 3, jnp.float64)
        state = jax.tree.map(wide, quick(partial(init, game))(jax.random.key(1), batches[0]))
        plain, play = ByHand(config, game, state), quick(partial(step, game))
        for batch in batches:
            state, metrics = play(state, batch)
            loss_G, loss_D = plain.round(batch, state.key)
            assert float(metrics["loss/G"]) == pytest.approx(loss_G, rel=1e-6)
            assert float(metrics["loss/D_A"] + metrics["loss/D_B"]) == pytest.approx(loss_D, rel=1e-6)
        assert float(metrics["lr/G_AB"]) == pytest.approx(config.lr * 2 / 3)
        near = partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6)
        jax.tree.map(near, state.params, plain.G | plain.D)
        for side in "AB":
            kept = state.memory["game"][side]
            assert int(kept["held"]) == 3 and len(plain.pools[side]) == 3
            near(kept["images"], np.stack(plain.pools[side]))


def test_the_rate_falls_in_the_second_half():
    game = paper.game(dataclasses.replace(TINY, lr=0.1, schedule_steps=10))
    optimizer, w = game.players["D_A"].optimizer, {"w": jnp.ones(())}
    opt, rates = optimizer.init(w), []
    for _ in range(12):
        _, opt = optimizer.update(w, opt, w)
        rates.append(float(optax.tree.get(opt, "learning_rate")))
    assert rates == pytest.approx([0.1] * 6 + [0.08, 0.06, 0.04, 0.02, 0, 0], abs=1e-7)


def test_what_a_round_costs():
    """18 F_G + 16 F_D: the generators share one pull-back of the loss that they share, and D's weights none of it."""
    config = dataclasses.replace(paper.PRESETS["small"], size=64, blocks=4)
    game, side = paper.game(config), round(64 * config.zoom)
    spec = {name: {"x": [[1, side, side, 3], "float32"]} for name in "AB"}
    F_G, F_D = (flops(lowered_forward(game.players[name].net, 1, 64, 64, 3)) for name in ("G_AB", "D_A"))
    assert cost.flops(game, spec) == pytest.approx(18 * F_G + 16 * F_D, rel=0.05)


def test_pools_optimisers_and_decay_go_on_where_they_were(tmp_path):
    """Stopped while the pool fills and while the rate falls; with the real networks it is killed in
    experiments/results/kill_and_resume_cyclegan.json."""
    game = paper.game(dataclasses.replace(TINY, schedule_steps=8))
    players = {name: dataclasses.replace(p, net=Pixels()) for name, p in game.players.items()}
    game = dataclasses.replace(game, players=players)
    straight = train(game, paper.data(TINY), steps=7, run=tmp_path / "straight", **HOW)
    for steps in (1, 5, 7):
        run = train(game, paper.data(TINY), steps=steps, run=tmp_path / "run", **HOW)
    assert bits(run.state) == bits(straight.state)
    held = straight.state.memory["game"]["A"]
    assert int(held["held"]) == 3 and float(jnp.abs(held["images"]).min((1, 2, 3)).max()) <= 1
    assert float(optax.tree.get(run.state.opt["D_B"], "learning_rate")) == pytest.approx(TINY.lr * 0.5)


def test_translations():
    """Each image alone, there and back; the members of a population as they would be alone."""
    game = paper.game(TINY)
    straight = Run(game, quick(partial(init, game))(jax.random.key(0), first_rounds(TINY, 1, jnp.float32)[0]))
    x = to_float(jnp.asarray(paper.held_out(TINY).images["A"][:5]))
    there = straight.translate(x, "B")
    assert there.shape == x.shape and np.abs(there).max() <= 1
    np.testing.assert_allclose(straight.translate(x[3:4], "B")[0], there[3], atol=1e-5)
    wider = straight.translate(np.zeros((1, 20, 28, 1)), "A")
    assert wider.shape == (1, 20, 28, 1)
    with pytest.raises(UserError, match="does not take images of 18x16"):
        straight.translate(np.zeros((1, 16, 18, 1)), "B")
    with pytest.raises(UserError, match="does not translate to 'C', only to B, A"):
        straight.translate(x, "C")
    with pytest.raises(UserError, match=r"has no sampler: it translates images"):
        straight.sample(jax.random.key(0), 2)
    many = population.members(paper.game, TINY, [0, 0], {"lr": [1e-4, 1e-3]})
    two = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), straight.state)
    both = Run(many(0), two).translate(x, "B")
    np.testing.assert_allclose(both, np.stack([there, there]), atol=1e-5)
    np.testing.assert_allclose(Run(many(0), two).translate(both, "A")[1], straight.translate(there, "A"), atol=1e-4)


def test_distances_and_pages():
    """Of translations that are known: one right, one shifted by a tenth of the range."""
    rng = np.random.default_rng(0)
    images = {"A": rng.uniform(-0.5, 0.5, (6, 4, 4, 1)), "B": rng.uniform(-0.5, 0.5, (6, 4, 4, 1))}
    found = {
        "B": translation.Translated("A", images["B"] + 0.2, images["A"] - 0.1),
        "A": translation.Translated("B", images["A"], None),
    }
    scores = translation.distances(images, found, paired=True)
    assert all(x.shape == (6,) for x in scores.values())
    scores = {name: x.mean() for name, x in scores.items()}
    assert scores["l1/B"] == pytest.approx(0.1) and scores["psnr/B"] == pytest.approx(20)
    assert scores["cycle/A"] == pytest.approx(0.05) and "cycle/B" not in scores
    assert scores["l1/A"] == 0 and scores["psnr/A"] == np.inf
    assert translation.distances(images, found, paired=False).keys() == {"cycle/A"}
    members = {"B": translation.Translated("A", np.stack([found["B"].there, images["B"] + 0.4]), None)}
    assert translation.distances(images, members, paired=True)["l1/B"].mean(-1) == pytest.approx([0.1, 0.2])
    page = translation.page(images, {"B": found["B"]}, paired=True)
    zoom = (page.shape[1] - 2) // 4 // 4  # a line is an image, its translation, the way back, the truth
    assert page.shape[0] // (4 * zoom) == 6
    cell = lambda i, j: page[2 + i * (4 * zoom + 2) :, 2 + j * (4 * zoom + 2) :][: 4 * zoom : zoom, : 4 * zoom : zoom]
    for j, x in enumerate([images["A"], found["B"].there, found["B"].back, images["B"]]):
        np.testing.assert_array_equal(cell(2, j), np.rint(127.5 * (x[2].astype(np.float32) + 1)).astype(np.uint8))


def test_the_known_maps():
    x = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3, 1)
    assert (paper.MAPS["inverted"](x) == 255 - x).all()
    assert paper.MAPS["rotated"](x)[0, :, :, 0].tolist() == np.rot90(x[0, :, :, 0]).tolist()
    assert paper.MAPS["coloured"](x.repeat(3, -1))[0, 1, 2].tolist() == [5, 2, 250]
    for preset in ("mnist-inverted", "mnist-rotated", "mnist-coloured"):
        config = dataclasses.replace(paper.PRESETS[preset], data="digits", edge=0)
        sets, held = paper.data(config), paper.held_out(config)
        assert held.paired and (paper.MAPS[config.map](held.images["A"]) == held.images["B"]).all()
        both = {image.tobytes() for image in paper.MAPS[config.map](sets["A"]["x"])}
        shared = [image.tobytes() in both for image in sets["B"]["x"]]
        assert len(sets["A"]["x"]) == 899 and len(sets["B"]["x"]) == 898 and np.mean(shared) < 0.02
        assert batch_spec(sets, 1)["A"]["x"][0][1:] == list(paper.example(config)["A"]["x"].shape)
