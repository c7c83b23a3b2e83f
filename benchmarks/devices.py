"""One trajectory on 1, 2, 4 and 8 devices, and from each on to each: how far it goes from that of one device.

Four games, each in float32 for 10 rounds and in float64 for 100: the losses of every round and G's outputs on a fixed
input are compared by their largest difference, relative to their largest value, and what the networks are fed (noise,
data in their order, augmented data) bit by bit. Processes stand for hosts and meet through gloo.

    XLA_FLAGS=--xla_force_host_platform_device_count=8 python benchmarks/devices.py measure --out OUT.json
"""

import dataclasses
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from flax import linen as nn

from benchmarks.record import record
from gan_jax import losses, population, priors, reparam, train
from gan_jax.data import load
from gan_jax.game import Game, Loss, Player, move
from gan_jax.models import dcgan
from gan_jax.net import Nets
from gan_jax.optimizers import adam, ema
from gan_jax.runs import paper as papers
from gan_jax.training import checkpoint, parallel
from gan_jax.training.spec import batch_spec, zeros
from gan_jax.two_player import gan

BATCH, LATENT = 16, 4
COUNTS = (1, 2, 4, 8)
PRECISIONS = {"float32": (10, 1e-5), "float64": (100, 1e-9)}  # rounds, and what they may differ by


class Dense(nn.Module):
    """x [b, …] -> [b, *out] through one hidden layer, with noise of its own (dropout) where asked for."""

    out: tuple[int, ...] = ()
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x, train=True):
        h = nn.leaky_relu(nn.Dense(32)(x.reshape(len(x), -1)))
        h = nn.Dropout(self.dropout, deterministic=not train)(h)
        return nn.Dense(int(np.prod(self.out)))(h).reshape(len(x), *self.out)


def shifted(key, x, memory):
    """Each image rolled by up to two pixels along both sides, and mirrored half of the time."""
    k_shift, k_flip = jax.random.split(key)
    x = jax.vmap(lambda x, by: jnp.roll(x, by, (0, 1)))(x, jax.random.randint(k_shift, (len(x), 2), -2, 3))
    return jnp.where(jax.random.bernoulli(k_flip, shape=(len(x), 1, 1, 1)), x[:, :, ::-1], x)


def normalised(dtype) -> Game:
    """DCGAN with batch normalisation in both networks, and an averaged generator."""
    G, D = dcgan.Generator(16, 1, 2, dtype), dcgan.Discriminator(2, dtype)
    return gan(Player(G, adam(2e-4, 0.5), ema(0.9)), Player(D, adam(2e-4, 0.5)), losses.non_saturating, PRIOR)


def spectral(dtype) -> Game:
    """A spectrally normalised discriminator with dropout, on augmented images."""
    D = Player(Dense(dropout=0.3), adam(2e-4, 0.5), reparam=reparam.spectral_norm())
    return gan(Player(Dense(SHAPE), adam(2e-4, 0.5)), D, losses.hinge, PRIOR, augment=shifted)


def adaptive(dtype) -> Game:
    """Augmentation whose strength p the game remembers and adapts to the sign of D(x). Karras et al. 2020 (ADA)."""

    def play(nets, batch, key, step):
        k_z, k_real, k_fake = jax.random.split(key, 3)
        p = nets.memory

        def augment(key, x):
            k_if, k_how = jax.random.split(key)
            return jnp.where(jax.random.uniform(k_if, (len(x), 1, 1, 1)) < p, shifted(k_how, x, None), x)

        fake = nets["G"](PRIOR(k_z, BATCH))
        real_logits, fake_logits = nets["D"](augment(k_real, batch["x"])), nets["D"](augment(k_fake, fake))
        loss_D, loss_G = losses.non_saturating(real_logits, fake_logits)
        adapted = jnp.clip(p + 0.02 * jnp.sign(jnp.sign(real_logits).mean() - 0.6), 0, 1)
        return {"D": Loss(loss_D, {"p": p}, {"game": adapted}), "G": Loss(loss_G)}

    players = {"G": Player(Dense(SHAPE), adam(2e-4, 0.5)), "D": Player(Dense(), adam(2e-4, 0.5))}
    sample = lambda nets, key, n: nets["G"](PRIOR(key, n))
    return Game(players, play, (move("D"), move("G")), memory=jnp.full((), 0.5, dtype), sample=sample)


def cyclic(dtype) -> Game:
    """CycleGAN: four players, two sets in orders of their own, crops and flips, two pools, a rate that falls.

    In float32 its networks are dense. Of the half a million ReLUs in a round of the convolutional ones some lie so near
    their kink that rounding decides, and after ten rounds outputs are 0.1 apart; in float64 that is as rare as 1e-9.
    """
    game, side = papers.paper("cyclegan").game(CYCLEGAN), CYCLEGAN.size
    dense = {"G": Dense((side, side, 1)), "D": Dense()}
    nets = {
        name: dense[name[0]] if dtype == jnp.float32 else p.net.clone(dtype=dtype) for name, p in game.players.items()
    }
    players = {name: dataclasses.replace(p, net=nets[name]) for name, p in game.players.items()}
    return dataclasses.replace(game, players=players, memory=wide(jax.tree.map(jnp.asarray, game.memory)))


SHAPE, PRIOR = (16, 16, 1), priors.normal(LATENT)
GAMES: dict[str, Callable[[Any], Game]] = {f.__name__: f for f in (normalised, spectral, adaptive, cyclic)}
CYCLEGAN = dataclasses.replace(papers.paper("cyclegan").tiny, batch=BATCH, size=12, zoom=16 / 12, flip=True, pool=40)


def digits(name: str) -> Any:
    """What a game is played on: the embedded digits, twice as large; CycleGAN between half of them and negatives."""
    x = np.kron(load("digits")["x"], np.ones((1, 2, 2, 1), np.uint8))
    return {"A": {"x": x[:1000]}, "B": {"x": 255 - x[1000:]}} if name == "cyclic" else {"x": x}


class Heard:
    """A network that notes what it is fed first."""

    def __init__(self, net, notes):
        self.net, self.notes = net, notes

    def __call__(self, x, **more):
        return self.mutate(x, **more)[0]

    def mutate(self, x, **more):
        self.notes.setdefault(self.net.name, x)
        return self.net.mutate(x, **more)


def noting(game: Game) -> Game:
    """The same game, which remembers what its networks were fed in the last move of D: {"own", "fed"}."""
    cycle = (CYCLEGAN.size, CYCLEGAN.size, 1)
    shapes = {"G_AB": cycle, "D_B": cycle} if game.translations else {"G": (LATENT,), "D": SHAPE}
    last = list(shapes)[-1]

    def play(nets, batch, key, step):
        own, notes = nets.memory["own"], {}
        heard = Nets({name: Heard(net, notes) for name, net in nets.items()})
        heard.memory = own
        turns = game.play(heard, batch, key, step)
        own = next((turn.memory["game"] for turn in turns.values() if "game" in turn.memory), own)
        memory = {"own": own, "fed": {name: notes[name].astype(FLOAT()) for name in shapes}}
        others = lambda turn: {name: memory for name, memory in turn.memory.items() if name != "game"}
        turns = {name: turn.replace(memory=others(turn)) for name, turn in turns.items()}
        return turns | {last: turns[last].replace(memory=turns[last].memory | {"game": memory})}

    fed = {name: jnp.zeros((BATCH, *shape), FLOAT()) for name, shape in shapes.items()}
    return dataclasses.replace(game, play=play, memory={"own": game.memory, "fed": fed})


def FLOAT():
    return jnp.zeros(()).dtype


def wide(tree):
    """Every float32 leaf in the precision of this process."""
    return jax.tree.map(lambda x: x.astype(FLOAT()) if x.dtype == jnp.float32 else x, tree)


def follow(game: Game, state, steps: int, devices: int, data, **more) -> tuple[Any, dict[str, Any]]:
    """(State, {"losses" [rounds, …], "outputs" [8, …], "fed/…"}) after training to round `steps` on so many devices."""
    rows: list[dict] = []
    how = {"batch": BATCH, "log_every": 1, "devices": devices, "progress": False, "writers": [rows.append]}
    run = train(game, data, state=state, steps=steps, **how, **more)
    told = [[value for name, value in sorted(row.items()) if name.startswith("loss/")] for row in rows]
    fed = {f"fed/{name}": np.asarray(x) for name, x in run.state.memory["game"]["fed"].items()}
    fixed = np.linspace(-1, 1, 8 * CYCLEGAN.size**2).reshape(8, CYCLEGAN.size, -1, 1)
    outputs = run.translate(fixed, "B") if game.translations else run.sample(jax.random.key(0), 8)
    return run.state, {"losses": np.array(told), "outputs": outputs} | fed


def distance(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> dict[str, float | bool]:
    """The largest relative difference of losses and outputs over the rounds that both have, and if they were fed the
    same bits."""
    apart = {}
    for name in ("losses", "outputs"):
        n = min(len(one[name]), len(other[name]))
        a, b = one[name][-n:], other[name][-n:]
        apart[name] = float(np.abs(a - b).max() / np.abs(a).max())
    same = all(one[name].tobytes() == other[name].tobytes() for name in one if name.startswith("fed/"))
    return apart | {"fed the same": same}


def born(game: Game, data):
    """The State at round 0."""
    return wide(jax.jit(population.born, static_argnums=(0, 1))(game, 0, zeros(game, batch_spec(data, BATCH))))


def go_on(game: Game, folder: Path, steps: int, devices: int, data):
    """`follow` from the checkpoint in `folder`, wherever it was written."""
    layout, like = parallel.for_batch(BATCH, devices), jax.eval_shape(lambda: born(game, data))
    found = checkpoint.restore(folder, lambda t: layout.abstract(like))
    assert found, folder
    return follow(game, found[1], steps, devices, data)


def keep(folder: Path, step: int, state) -> None:
    saves = checkpoint.open(folder)
    checkpoint.save(saves, step, state, {})
    checkpoint.close(saves)


def matrix(name: str, rounds: int, counts: Sequence[int], folder: Path) -> dict[str, dict]:
    """{"n": all on n devices, "n -> m": half on n and half, from a checkpoint, on m} beside one device, the first."""
    data, game = digits(name), noting(GAMES[name](FLOAT()))
    start = born(game, data)
    _, alone = follow(game, start, rounds, 1, data)
    np.savez(folder / f"{name}.npz", **alone)
    found = {}
    for n in counts:
        _, straight = follow(game, start, rounds, n, data)
        found[f"{n}"] = distance(alone, straight)
        half, _ = follow(game, start, rounds // 2, n, data)
        keep(folder / f"{name}-{n}", rounds // 2, half)
        for m in counts:
            _, ended = go_on(game, folder / f"{name}-{n}", rounds, m, data)
            found[f"{n} -> {m}"] = distance(alone, ended)
            if n == m:
                found[f"{n} -> {m}"] |= {"bit-equal to a run that never stopped": bits(ended) == bits(straight)}
    return found


def bits(found: dict[str, np.ndarray]) -> bytes:
    return b"".join(x.tobytes() for name, x in sorted(found.items()) if name != "losses")


def process(names: tyro.conf.Positional[tuple[str, ...]], /, how: str, rounds: int, folder: Path, count: int) -> None:
    """One of several processes: each game straight, on data that lie on the devices and on data of which each process
    reads its own rows, and from the checkpoint that two devices of one process wrote."""
    parallel.start(how)
    everywhere = jax.device_count()
    for name in names:
        data = digits(name)
        game = noting(GAMES[name](FLOAT()))
        start = born(game, data)
        ends = {"straight": follow(game, start, rounds, everywhere, data)}
        ends["each its own rows"] = follow(game, start, rounds, everywhere, data, resident=0)
        ends["from 2 devices"] = go_on(game, folder / f"{name}-2", rounds, everywhere, data)
        half, _ = follow(game, start, rounds // 2, everywhere, data)
        keep(folder / f"{name}-{count}-processes", rounds // 2, half)
        for way, (_, found) in ends.items():
            if parallel.first():
                np.savez(folder / f"{name}-{count}-{way}.npz", **found)


def processes(names: Sequence[str], rounds: int, counts: Sequence[int], folder: Path) -> dict[str, dict]:
    """The same on n processes, from 2 devices to n processes, from n to m devices; after `matrix`, in its folder."""
    found: dict[str, dict] = {name: {} for name in names}
    for n in counts:
        together([("process", *names, "--rounds", str(rounds), "--folder", str(folder), "--count", str(n))] * n)
        for name in names:
            alone = dict(np.load(folder / f"{name}.npz"))
            read = lambda way, name=name, n=n: dict(np.load(folder / f"{name}-{n}-{way}.npz"))
            found[name][f"{n} processes"] = distance(alone, read("straight"))
            found[name][f"{n} processes, each reads its rows"] = distance(alone, read("each its own rows"))
            found[name][f"2 devices -> {n} processes"] = distance(alone, read("from 2 devices"))
            game = noting(GAMES[name](FLOAT()))
            for m in (1, 8):
                _, ended = go_on(game, folder / f"{name}-{n}-processes", rounds, m, digits(name))
                found[name][f"{n} processes -> {m}"] = distance(alone, ended)
    return found


def together(words: Sequence[Sequence[str]]) -> None:
    """Run this file in several processes, one device each, that know each other; the error of the first that fails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
    how = lambda i: f"127.0.0.1:{port}/{len(words)}/{i}"
    command = lambda i: [sys.executable, __file__, *words[i], "--how", how(i)]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command(i), env=env, **pipes) for i in range(len(words))]
    said = [child.communicate()[1] for child in running]
    if failed := [text for child, text in zip(running, said, strict=True) if child.returncode]:
        raise RuntimeError(failed[0])


def overhead(counts: Sequence[int], rounds: int = 200) -> dict[str, dict]:
    """Milliseconds of a round of DCGAN's recipe for digits on n virtual devices, which share the same cores."""
    module, config = papers.preset("dcgan:digits")
    data, game = module.data(config), module.game(config)
    state, ms = None, {n: [] for n in counts}
    for _ in range(4):  # the first compiles
        for n in counts:
            state = train(game, data, steps=1, batch=config.batch, devices=n, progress=False).state
            began = time.perf_counter()
            run = train(game, data, steps=1 + rounds, state=state, batch=config.batch, devices=n, progress=False)
            jax.block_until_ready(run.state)
            ms[n].append(1e3 * (time.perf_counter() - began) / rounds)
    return {
        f"{n}": {
            "ms a round": float(np.median(t[1:])),
            "to one": float(np.median(t[1:]) / np.median(ms[counts[0]][1:])),
        }
        for n, t in ms.items()
    }


def measure(out: Path, precision: str = "", games: tuple[str, ...] = tuple(GAMES)) -> None:
    """All of it, or some games; each precision in a process of its own."""
    if not precision:
        found = {}
        for name in PRECISIONS:
            with tempfile.TemporaryDirectory() as folder:
                part, env = Path(folder) / "found.json", os.environ | {"JAX_ENABLE_X64": str(int(name == "float64"))}
                words = ["measure", "--out", str(part), "--precision", name, "--games", *games]
                subprocess.run([sys.executable, __file__, *words], env=env, check=True)
                found[name] = json.loads(part.read_text())
        record(out, games={name: GAMES[name].__doc__ for name in games}, largest=largest(found), results=found)
        return
    rounds, allowed = PRECISIONS[precision]
    with tempfile.TemporaryDirectory() as folder:
        found = {name: matrix(name, rounds, COUNTS, Path(folder)) for name in games}
        hosts = processes(list(games), rounds, (2, 4), Path(folder))
    found = {"rounds": rounds, "allowed": allowed, "games": {name: found[name] | hosts[name] for name in games}}
    if precision == "float32" and games == tuple(GAMES):
        found["overhead of virtual devices on dcgan:digits"] = overhead((1, 2, 4))
    out.write_text(json.dumps(found))


def largest(found: dict) -> dict[str, dict]:
    """Of each precision, the largest differences anywhere, and whether all were fed the same bits."""
    cells = lambda part: [cell for game in part["games"].values() for cell in game.values()]
    worst = lambda part, name: max(cell[name] for cell in cells(part))
    return {
        precision: {name: worst(part, name) for name in ("losses", "outputs")}
        | {"fed the same": all(cell["fed the same"] for cell in cells(part)), "cells": len(cells(part))}
        for precision, part in found.items()
    }


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"measure": measure, "process": process})
