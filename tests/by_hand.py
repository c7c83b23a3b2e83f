"""A small game with BatchNorm, dropout, an average, spectral norm, a pool and a running mean, and its plain update.

`play` is written for the engine. `Hand` is the same training without it: flax's apply, jax.grad, optax, one move after
another on concrete arrays.
"""

from dataclasses import dataclass, replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from gan_jax import engine
from gan_jax.game import Game, Loss, Move, Player, move
from gan_jax.optimizers import adam
from gan_jax.reparam import spectral_norm

B, DECAY, RATES = 8, 0.9, {"G": 3e-3, "D": 2e-3}
average = lambda step: DECAY - 0.1 / (step + 1)  # depends on the round


def batch_norm(dtype, train):
    """Flax keeps the statistics in float32, whatever the dtype, unless told so."""
    return nn.BatchNorm(not train, momentum=0.8, param_dtype=dtype, force_float32_reductions=False)


class G(nn.Module):
    dtype: type
    norm: bool = True

    @nn.compact
    def __call__(self, z, train=True):
        h = nn.Dense(8, use_bias=False, param_dtype=self.dtype)(z)
        h = batch_norm(self.dtype, train)(h) if self.norm else h
        return nn.Dense(2, param_dtype=self.dtype)(jax.nn.tanh(h))


class D(nn.Module):
    dtype: type
    norm: bool = True

    @nn.compact
    def __call__(self, x, train=True):
        h = nn.Dense(8, use_bias=False, param_dtype=self.dtype)(x)
        # After the activation: before it, BatchNorm would leave G's last bias without a gradient.
        h = jax.nn.softplus(h)
        h = batch_norm(self.dtype, train)(h) if self.norm else h
        h = nn.Dropout(0.3, deterministic=not train)(h)
        return nn.Dense(1, param_dtype=self.dtype)(h)[:, 0]


def players(dtype, norm=True):
    return {
        "G": Player(G(dtype, norm), adam(RATES["G"], 0.5), average),
        "D": Player(D(dtype, norm), adam(RATES["D"], 0.0, 0.9), average, spectral_norm(vectors=1)),
    }


def memory(dtype):
    """What the game remembers: a pool of fakes and a running mean of sign(D(x))."""
    return {"pool": jnp.zeros((4, 2), dtype), "sign": jnp.zeros((), dtype)}


def play(nets, batch, key, step):
    kz, kr, kf, kp = jax.random.split(key, 4)
    x, old = batch["x"], nets.memory
    fake, G_memory = nets["G"].mutate(jax.random.normal(kz, (len(x), 3), x.dtype))
    real, D_memory = nets["D"].mutate(x, key=kr)
    fooled, D_memory = nets["D"].mutate(fake, key=kf, memory=D_memory)
    past, D_memory = nets["D"].mutate(old["pool"], key=kp, memory=D_memory)
    remembered = {
        "pool": jnp.concatenate([old["pool"][2:], fake[:2]]),
        "sign": 0.9 * old["sign"] + 0.1 * jnp.sign(real).mean(),
    }
    error = jax.nn.softplus(-real).mean() + jax.nn.softplus(fooled).mean() + jax.nn.softplus(past).mean()
    return {
        "D": Loss(error, {"before": jax.nn.sigmoid(fooled).mean()}, {"D": D_memory, "game": remembered}),
        "G": Loss(jax.nn.softplus(-fooled).mean(), {"after": jax.nn.sigmoid(fooled).mean()}, {"G": G_memory}),
        "size": Loss(jnp.square(fake).mean() + 0.1 * fooled.mean()),  # another loss of G, which remembers nothing
    }


ORDERS = {
    "simultaneous": (move("D", "G"),),
    "fresh noise": (move("D"), move("G")),
    "same batch and key": (move("D"), move("G", again=("batch", "key"))),
    "three to one": 3 * (move("D"),) + (move("G", again=("batch",)),),
    "one to one": (move("D"), move("G", again=("batch",))),
    "another loss": (move("D"), move("G"), Move({"G": "size"}, again=("batch",))),
    "when": (move("D"), move("G", again=("batch",), when=lambda m: m["after"] <= m["before"])),
}


def normalised(params, u):
    """D's weights by Miyato et al. 2018, algorithm 1 and eq. 12, and the new vectors; written for Dense layers."""
    params, u = dict(params), dict(u)
    for name in ("Dense_0", "Dense_1"):
        W, path = params[name]["kernel"], f"{name}/kernel"
        fixed = jax.lax.stop_gradient(W)
        v = fixed @ u[path][:, 0]
        v /= jnp.sqrt((v**2).sum())
        new = v @ fixed
        new /= jnp.sqrt((new**2).sum())
        u[path] = new[:, None]
        params[name] = params[name] | {"kernel": W / (v @ W @ new)}
    return params, u


@dataclass(frozen=True)
class Hand:
    """The state of the plain training; stats are BatchNorm's, u spectral norm's, ema (weights, stats) and D's u."""

    nets: tuple  # G and D
    params: dict
    stats: dict
    u: dict
    opt: dict
    ema: dict
    pool: jax.Array
    sign: jax.Array

    def forward(self, params, x, key):
        """{name: loss}, all that a play may have to remember or report."""
        kz, kr, kf, kp = jax.random.split(key, 4)
        net_G, net_D = (
            lambda p, s, a, net=net, **k: net.apply({"params": p} | s, a, train=True, mutable=list(s), **k)
            for net in self.nets
        )
        weights, u = normalised(params["D"], self.u)
        fake, stats_G = net_G(params["G"], self.stats["G"], jax.random.normal(kz, (len(x), 3), x.dtype))
        real, s = net_D(weights, self.stats["D"], x, rngs={"dropout": kr})
        fooled, s = net_D(weights, s, fake, rngs={"dropout": kf})
        past, s = net_D(weights, s, self.pool, rngs={"dropout": kp})
        losses = {
            "D": jnp.logaddexp(0, -real).mean() + jnp.logaddexp(0, fooled).mean() + jnp.logaddexp(0, past).mean(),
            "G": jnp.logaddexp(0, -fooled).mean(),
            "size": (fake**2).mean() + 0.1 * fooled.mean(),
        }
        probability = (1 / (1 + jnp.exp(-fooled))).mean()
        return losses, (u, {"G": stats_G, "D": s}, fake, jnp.sign(real).mean(), probability)

    def move(self, losses, x, key, step, parts=1):
        """Players ((name, loss), …) step at once; returns the new state and what D thought of the fakes, on average."""
        losses, grads, thoughts, new = dict(losses), [], [], self
        for i in range(parts):
            one, k = x[i::parts], jax.random.fold_in(key, i)
            alone = lambda p, n, loss, new=new, one=one, k=k: new.forward(new.params | {n: p}, one, k)[0][loss]
            grads.append({n: jax.grad(alone)(self.params[n], n, loss) for n, loss in losses.items()})
            u, stats, fake, sign, probability = new.forward(new.params, one, k)[1]
            thoughts.append(probability)
            new = replace(new, u=u)
            if "D" in losses.values():
                pool, sign = jnp.concatenate([new.pool[2:], fake[:2]]), 0.9 * new.sign + 0.1 * sign
                new = replace(new, pool=pool, sign=sign, stats=new.stats | {"D": stats["D"]})
            if "G" in losses.values():
                new = replace(new, stats=new.stats | {"G": stats["G"]})
        params, opt, ema, decay = dict(self.params), dict(self.opt), dict(self.ema), average(step)
        optimizers = {"G": optax.adam(RATES["G"], 0.5), "D": optax.adam(RATES["D"], 0.0, 0.9)}
        for n in losses:
            grad = jax.tree.map(lambda *g: sum(g) / parts, *(g[n] for g in grads))
            updates, opt[n] = optimizers[n].update(grad, opt[n])
            params[n] = jax.tree.map(jnp.add, params[n], updates)
            now = (params[n], new.stats[n], new.u if n == "D" else {})
            ema[n] = jax.tree.map(lambda old, now: decay * old + (1 - decay) * now, ema[n], now)
        return replace(new, params=params, opt=opt, ema=ema), sum(thoughts) / parts


def born(nets, state):
    """Hand as it stands in an engine's State, before the first round."""
    stats = {n: {k: v for k, v in state.memory[n].items() if k != "reparam"} for n in ("G", "D")}
    u = state.memory["D"]["reparam"]
    opt = {n: optax.adam(RATES[n]).init(state.params[n]) for n in ("G", "D")}
    ema = {n: (state.params[n], stats[n], u if n == "D" else {}) for n in ("G", "D")}
    return Hand(nets, dict(state.params), stats, u, opt, ema, **state.memory["game"])


jax.tree_util.register_dataclass(Hand, ["params", "stats", "u", "opt", "ema", "pool", "sign"], ["nets"])


KEY = jax.random.key(12)
PRECISION = {"float64": (jnp.float64, 1e-9), "float32": (jnp.float32, 1e-5)}


@cache
def the_game(order="fresh noise", dtype=jnp.float32, norm=True, **fields):
    return Game(players(dtype, norm), play, ORDERS[order], memory(dtype), **fields)


def data(slices, dtype=jnp.float32, round=0):
    """[slices, B, 2], another batch each round."""
    return {"x": jnp.asarray(np.random.default_rng(round).normal(0.5, 1, (slices, B, 2)), dtype)}


# Compiles in half the time of the default, for sizes at which it is all the time there is.
quick = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@cache
def jitted(g):
    return quick(partial(engine.step, g))


@cache
def start(g, dtype=jnp.float32):
    """The State from KEY."""
    return quick(partial(engine.init, g))(KEY, data(g.slices, dtype))


def near(a, b, tolerance):
    """Every leaf of a within `tolerance` of b's, in norm."""

    def leaf(a, b):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert a.shape == b.shape
        assert np.linalg.norm(a - b) <= tolerance * np.linalg.norm(b), (a, b)

    jax.tree.map(leaf, a, b)


def same(a, b):
    leaves = lambda tree: [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    return all((x == y).all() for x, y in zip(leaves(a), leaves(b), strict=True))
