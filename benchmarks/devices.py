"""How a trajectory on 1, 2, 4 and 8 devices, and from each number resumed on each, differs from that on one device.

Four games run for 10 rounds in float32 and for 100 in float64. The losses of all rounds and G's outputs for fixed input
are compared by their largest difference relative to their largest value; the inputs of the networks (noise, data order,
augmented data) bit by bit. Processes stand for hosts, and communicate through gloo.

    XLA_FLAGS=--xla_force_host_platform_device_count=8 python benchmarks/devices.py measure --out OUT.json
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from benchmarks.games import BATCH, CYCLEGAN, GAMES, cast, digits, float_dtype, recorded
from benchmarks.record import record
from gan_jax import train
from gan_jax.game import Game
from gan_jax.runs import paper as papers
from gan_jax.training import checkpoint, parallel
from gan_jax.training.spec import batch_spec, initial_state

COUNTS = (1, 2, 4, 8)
PRECISIONS = {"float32": (10, 1e-5), "float64": (100, 1e-9)}  # rounds, and the difference allowed after them


def follow(game: Game, state, steps: int, devices: int, data, **more) -> tuple[Any, dict[str, Any]]:
    """(State, {"losses": [rounds, …], "outputs": [8, …], "fed/…"}) after training to round `steps` on some devices."""
    rows: list[dict] = []
    how = {"batch": BATCH, "log_every": 1, "devices": devices, "progress": False, "writers": [rows.append]}
    run = train(game, data, state=state, steps=steps, **how, **more)
    values = [[value for name, value in sorted(row.items()) if name.startswith("loss/")] for row in rows]
    fed = {f"fed/{name}": np.asarray(x) for name, x in run.state.memory["game"]["fed"].items()}
    fixed = np.linspace(-1, 1, 8 * CYCLEGAN.size**2).reshape(8, CYCLEGAN.size, -1, 1)
    outputs = run.translate(fixed, "B") if game.translations else run.sample(0, 8)["x"]
    return run.state, {"losses": np.array(values), "outputs": outputs} | fed


def distance(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> dict[str, float | bool]:
    """The largest relative differences of losses and of outputs over the rounds that both have, and whether the
    networks were fed the same bits."""
    apart = {}
    for name in ("losses", "outputs"):
        n = min(len(one[name]), len(other[name]))
        a, b = one[name][-n:], other[name][-n:]
        apart[name] = float(np.abs(a - b).max() / np.abs(a).max())
    same = all(one[name].tobytes() == other[name].tobytes() for name in one if name.startswith("fed/"))
    return apart | {"fed the same": same}


def initial(game: Game, data):
    """The State at round 0, in the precision of this process."""
    return cast(jax.jit(lambda: initial_state(game, 0, batch_spec(data, BATCH)))())


def resume(game: Game, folder: Path, steps: int, devices: int, data):
    """`follow` from the checkpoint in `folder`, written on any number of devices."""
    layout, like = parallel.layout(BATCH, devices=devices), jax.eval_shape(lambda: initial(game, data))
    found = checkpoint.restore(folder, lambda t: layout.abstract(like))
    assert found, folder
    return follow(game, found[1], steps, devices, data)


def save(folder: Path, step: int, state) -> None:
    """Write a checkpoint."""
    saves = checkpoint.open(folder)
    checkpoint.save(saves, step, state, {})
    checkpoint.close(saves)


def matrix(name: str, rounds: int, counts: Sequence[int], folder: Path) -> dict[str, dict]:
    """The differences from one device: {"n": on n devices, "n -> m": the first half on n, resumed on m}."""
    data, game = digits(name), recorded(GAMES[name](float_dtype()))
    start = initial(game, data)
    _, alone = follow(game, start, rounds, 1, data)
    np.savez(folder / f"{name}.npz", **alone)
    found = {}
    for n in counts:
        _, straight = follow(game, start, rounds, n, data)
        found[f"{n}"] = distance(alone, straight)
        half, _ = follow(game, start, rounds // 2, n, data)
        save(folder / f"{name}-{n}", rounds // 2, half)
        for m in counts:
            _, ended = resume(game, folder / f"{name}-{n}", rounds, m, data)
            found[f"{n} -> {m}"] = distance(alone, ended)
            if n == m:
                found[f"{n} -> {m}"] |= {"bit-equal to a run that never stopped": bits(ended) == bits(straight)}
    return found


def bits(found: dict[str, np.ndarray]) -> bytes:
    return b"".join(x.tobytes() for name, x in sorted(found.items()) if name != "losses")


def process(names: tyro.conf.Positional[tuple[str, ...]], /, how: str, rounds: int, folder: Path, count: int) -> None:
    """One of several processes: each game uninterrupted, with the data on the devices and with each process reading its
    own rows, and resumed from a checkpoint of two devices of one process."""
    parallel.start(how)
    everywhere = jax.device_count()
    for name in names:
        data = digits(name)
        game = recorded(GAMES[name](float_dtype()))
        start = initial(game, data)
        ends = {"straight": follow(game, start, rounds, everywhere, data)}
        ends["each its own rows"] = follow(game, start, rounds, everywhere, data, resident=0)
        ends["from 2 devices"] = resume(game, folder / f"{name}-2", rounds, everywhere, data)
        half, _ = follow(game, start, rounds // 2, everywhere, data)
        save(folder / f"{name}-{count}-processes", rounds // 2, half)
        for way, (_, found) in ends.items():
            if parallel.first():
                np.savez(folder / f"{name}-{count}-{way}.npz", **found)


def processes(names: Sequence[str], rounds: int, counts: Sequence[int], folder: Path) -> dict[str, dict]:
    """The same on n processes, from 2 devices to n processes, and from those to m devices. Needs `matrix` before it, in
    the same folder."""
    found: dict[str, dict] = {name: {} for name in names}
    for n in counts:
        together([("process", *names, "--rounds", str(rounds), "--folder", str(folder), "--count", str(n))] * n)
        for name in names:
            alone = dict(np.load(folder / f"{name}.npz"))
            read = lambda way, name=name, n=n: dict(np.load(folder / f"{name}-{n}-{way}.npz"))
            found[name][f"{n} processes"] = distance(alone, read("straight"))
            found[name][f"{n} processes, each reads its rows"] = distance(alone, read("each its own rows"))
            found[name][f"2 devices -> {n} processes"] = distance(alone, read("from 2 devices"))
            game = recorded(GAMES[name](float_dtype()))
            for m in (1, 8):
                _, ended = resume(game, folder / f"{name}-{n}-processes", rounds, m, digits(name))
                found[name][f"{n} processes -> {m}"] = distance(alone, ended)
    return found


def together(words: Sequence[Sequence[str]]) -> None:
    """Run this file in several connected processes, one device each. RuntimeError if one fails, with its stderr."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=1"}
    how = lambda i: f"127.0.0.1:{port}/{len(words)}/{i}"
    command = lambda i: [sys.executable, __file__, *words[i], "--how", how(i)]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command(i), env=env, **pipes) for i in range(len(words))]
    errors = [child.communicate()[1] for child in running]
    if failed := [text for child, text in zip(running, errors, strict=True) if child.returncode]:
        raise RuntimeError(failed[0])


def overhead(counts: Sequence[int], rounds: int = 200) -> dict[str, dict]:
    """Milliseconds per round of dcgan:digits on n virtual devices, which share the same cores."""
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
            "ms per round": float(np.median(t[1:])),
            "to one": float(np.median(t[1:]) / np.median(ms[counts[0]][1:])),
        }
        for n, t in ms.items()
    }


def measure(out: Path, precision: str = "", games: tuple[str, ...] = tuple(GAMES)) -> None:
    """Measure all games or some, each precision in a process of its own, and write the differences to --out."""
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
    """{precision: the largest differences, and whether all networks were fed the same bits}."""
    cells = lambda part: [cell for game in part["games"].values() for cell in game.values()]
    worst = lambda part, name: max(cell[name] for cell in cells(part))
    return {
        precision: {name: worst(part, name) for name in ("losses", "outputs")}
        | {"fed the same": all(cell["fed the same"] for cell in cells(part)), "cells": len(cells(part))}
        for precision, part in found.items()
    }


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"measure": measure, "process": process})
