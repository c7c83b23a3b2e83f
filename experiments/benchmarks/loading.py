"""Images a second from a folder of PNGs: `batches` against PyTorch's DataLoader with as many workers.

    python experiments/benchmarks/loading.py

The folder is made first: noise on smooth colours, some 9 kB a picture of 64 x 64. One is read as it is; another, of
96 x 96, is cut to 64 x 64 by the same bilinear filter with antialiasing. PyTorch's side is what torchvision's
ImageFolder, Resize, CenterCrop and PILToTensor do, both hand over bytes in a random order, and both read two batches a
worker ahead. An epoch of each is read in turn, forwards and backwards, from a start with nothing read, after one that
is not counted; what ours has read ahead at an epoch's end counts against it. Each ratio is of medians. CPU time is that
of all threads and workers: what other programs take away from a measurement counts in its seconds alone.
"""

import contextlib
import itertools
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from experiments.benchmarks.record import record
from gan_jax.data import batches, load

SIDES = {"64x64": 64, "96x96 to 64x64": 96}


def make(folder: Path, n: int, side: int) -> Path:
    """n PNGs, side x side, in colour."""
    rng = np.random.default_rng(side)
    folder.mkdir()
    for i in range(n):
        smooth = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize((side, side))
        x = np.asarray(smooth) + rng.normal(0, 6, (side, side, 1)) + rng.normal(0, 2, (side, side, 3))
        Image.fromarray(np.clip(x, 0, 255).astype(np.uint8)).save(folder / f"{i:05}.png")
    return folder


class Pictures(Dataset):
    """As torchvision reads a folder."""

    def __init__(self, folder: Path, size: int):
        self.paths, self.size = sorted(str(path) for path in folder.iterdir()), size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> torch.Tensor:
        with open(self.paths[i], "rb") as file:
            image = Image.open(file).convert("RGB")
        if image.size != (self.size, self.size):
            image = image.resize((self.size, self.size), Image.Resampling.BILINEAR)
            image = image.crop((0, 0, self.size, self.size))
        return torch.as_tensor(np.array(image)).permute(2, 0, 1)


def theirs(folder: Path, batch: int, workers: int) -> Callable[[], Iterator]:
    """An epoch of PyTorch's."""
    loader = DataLoader(
        Pictures(folder, 64), batch, shuffle=True, num_workers=workers, persistent_workers=True, drop_last=True
    )
    return lambda: iter(loader)


def ours(folder: Path, batch: int, workers: int) -> Callable[[], Iterator]:
    """An epoch of ours, the pictures on disk."""
    data = load(folder, size=64, resident=0)

    def epoch():
        with contextlib.closing(batches(data, 0, 0, batch, threads=workers, ahead=2 * workers)) as prepared:
            yield from itertools.islice(prepared, len(data["x"]) // batch)

    return epoch


def cpu_seconds() -> float:
    """Of this process and those that it started."""
    seconds = time.process_time()
    for child in multiprocessing.active_children():
        user, system = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        seconds += (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return seconds


def main(
    out: str = "experiments/results/loading.json", n: int = 8000, batch: int = 64, workers: int = 2, repeats: int = 7
) -> None:
    """Make the folders, read them, and write images a second and their ratios to --out."""
    rates: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as top:
        folders = {name: make(Path(top) / str(side), n, side) for name, side in SIDES.items()}
        epochs = {f"{name}, PyTorch": theirs(folder, batch, workers) for name, folder in folders.items()}
        for epoch in epochs.values():  # PyTorch forks its workers here, before ours has threads
            list(epoch())
        epochs |= {f"{name}, ours": ours(folder, batch, workers) for name, folder in folders.items()}
        for i in range(repeats + 1):
            for name in list(epochs)[:: 1 - 2 * (i % 2)]:
                began, spent = time.perf_counter(), cpu_seconds()
                read = sum(len(x["x"] if isinstance(x, dict) else x) for x in epochs[name]())
                if i:
                    rates.setdefault(name, []).append(read / (time.perf_counter() - began))
                    cpu.setdefault(name, []).append((cpu_seconds() - spent) / read)
    faster = lambda name: float(np.median(rates[f"{name}, ours"]) / np.median(rates[f"{name}, PyTorch"]))
    cheaper = lambda name: float(np.median(cpu[f"{name}, PyTorch"]) / np.median(cpu[f"{name}, ours"]))
    ratios = {name: faster(name) for name in SIDES} | {f"{name}, CPU time": cheaper(name) for name in SIDES}
    record(
        out,
        what=f"images a second of {n:,} PNGs, batches of {batch}, {workers} threads or workers; medians of {repeats}",
        ratios=ratios,
        images_per_second={name: float(np.median(values)) for name, values in rates.items()},
        cpu_microseconds_per_image={name: 1e6 * float(np.median(values)) for name, values in cpu.items()},
        repeats=rates,
        protocol=" ".join(__doc__.split("\n\n")[2].split()),
    )
    for name, ratio in ratios.items():
        print(f"{name:<28}{ratio:.2f}")


if __name__ == "__main__":
    tyro.cli(main)
