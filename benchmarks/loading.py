"""Images per second from a folder of PNGs: `data.batches` against PyTorch's DataLoader with the same number of workers.

    python benchmarks/loading.py --out experiments/results/loading.json

Two folders are written first: noise on smooth colours, about 9 kB per picture of 64 x 64. Pictures of 64 x 64 are read
as they are; pictures of 96 x 96 are resized to 64 x 64 by the same antialiased bilinear filter on both sides. PyTorch's
side does what torchvision's ImageFolder, Resize, CenterCrop and PILToTensor do. Both return bytes in random order,
epoch after epoch, and prefetch two batches per worker. They are timed alternately in pairs, each after a pause in which
its prefetch buffer fills. A ratio is the median over the pairs, with its quartiles, since the load from other programs
changes from minute to minute. CPU time is of all threads and workers.
"""

import contextlib
import multiprocessing
import os
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image
from torch.utils.data import DataLoader, Dataset, RandomSampler

from benchmarks.record import record
from gan_jax.data import batches, load

REST = 0.5  # seconds
SIDES = {"64x64": 64, "96x96 to 64x64": 96}


def make(folder: Path, n: int, side: int) -> Path:
    """A folder of n colour PNGs, side x side."""
    rng = np.random.default_rng(side)
    folder.mkdir()
    for i in range(n):
        smooth = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize((side, side))
        x = np.asarray(smooth) + rng.normal(0, 6, (side, side, 1)) + rng.normal(0, 2, (side, side, 3))
        Image.fromarray(np.clip(x, 0, 255).astype(np.uint8)).save(folder / f"{i:05}.png")
    return folder


class Pictures(Dataset):
    """A folder as torchvision reads it."""

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


def theirs(folder: Path, batch: int, workers: int) -> Iterator:
    """PyTorch's batches; the iterator does not end."""
    data = Pictures(folder, 64)
    order = RandomSampler(data, num_samples=10**4 * len(data))
    return iter(DataLoader(data, batch, sampler=order, num_workers=workers))


def ours(folder: Path, batch: int, workers: int) -> Generator:
    """Our batches, read from disk."""
    return batches(load(folder, size=64, resident=0), 0, 0, batch, threads=workers, ahead=2 * workers)


def cpu_seconds() -> float:
    """CPU seconds of this process and its children."""
    seconds = time.process_time()
    for child in multiprocessing.active_children():
        user, system = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        seconds += (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return seconds


def timed(reader: Iterator, count: int) -> tuple[float, float]:
    """(seconds, CPU seconds) for `count` batches."""
    time.sleep(REST)
    began, spent = time.perf_counter(), cpu_seconds()
    for _ in range(count):
        next(reader)
    return time.perf_counter() - began, cpu_seconds() - spent


def main(
    out: str,
    n: int = 8000,
    batch: int = 64,
    workers: int = 2,
    count: int = 50,
    repeats: int = 20,
) -> None:
    """Write the folders, read --count batches at a time, and record images per second and their ratios in --out."""
    ratios, quartiles, rates, cpu = {}, {}, {}, {}
    with tempfile.TemporaryDirectory() as top:
        for name, side in SIDES.items():
            folder = make(Path(top) / str(side), n, side)
            found: dict[str, list] = {"PyTorch": [], "ours": []}
            with contextlib.closing(ours(folder, batch, workers)) as own:
                readers = {"PyTorch": theirs(folder, batch, workers), "ours": own}
                for reader in readers.values():  # PyTorch forks its workers before ours start threads
                    timed(reader, count)
                for i in range(repeats):
                    for who in list(readers)[:: 1 - 2 * (i % 2)]:
                        found[who].append(timed(readers[who], count))
            del readers, reader  # stops PyTorch's workers
            (theirs_s, theirs_cpu), (ours_s, ours_cpu) = (np.array(found[who]).T for who in ("PyTorch", "ours"))
            for what, pairs in {name: theirs_s / ours_s, f"{name}, CPU time": theirs_cpu / ours_cpu}.items():
                first, ratios[what], last = np.quantile(pairs, [0.25, 0.5, 0.75]).tolist()
                quartiles[what] = [first, last]
            for who, (wall, used) in {"PyTorch": (theirs_s, theirs_cpu), "ours": (ours_s, ours_cpu)}.items():
                rates[f"{name}, {who}"] = (count * batch / wall).tolist()
                cpu[f"{name}, {who}"] = 1e6 * float(np.median(used)) / (count * batch)
    record(
        out,
        what=f"images per second of {n:,} PNGs, {workers} threads or workers; medians of {repeats} x {count} x {batch}",
        ratios=ratios,
        quartiles=quartiles,
        images_per_second={name: float(np.median(values)) for name, values in rates.items()},
        cpu_microseconds_per_image=cpu,
        repeats=rates,
        protocol=" ".join(__doc__.split("\n\n")[2].split()),
    )
    for name, ratio in ratios.items():
        print(f"{name:<28}{ratio:.2f}   {quartiles[name][0]:.2f} to {quartiles[name][1]:.2f}")


if __name__ == "__main__":
    tyro.cli(main)
