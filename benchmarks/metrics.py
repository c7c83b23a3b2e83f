"""Time and memory of scores of features: ours against the usual implementations.

    python benchmarks/metrics.py --out experiments/results/metrics_cpu.json

Precision, recall, density and coverage of two sets of normal float32 features are compared with the prdc package, which
computes in the dtype of the features: in float32 its densities have errors of about 1e-5, while ours equal its results
in float64, which is timed too. Moments are compared with NumPy in float64 (center the whole array, then xᵀx). Each
measurement runs in a process of its own, which first draws its features; they are taken alternately, in one order and
in the other, and each ratio is of medians. CPU time is of all cores and, unlike seconds, not affected by other
programs.
"""

import json
import resource
import subprocess
import sys
import time

import numpy as np
import tyro

from benchmarks.record import record
from gan_jax import metrics


def ours(x, y):
    return {name: score.value for name, score in metrics.prdc(x, y, k=5).items()}


def package(x, y):
    from prdc import compute_prdc

    return {name: float(value) for name, value in compute_prdc(x, y, nearest_k=5).items()}


def package_in_float64(x, y):
    return package(x.astype(np.float64), y.astype(np.float64))


def streaming(x):
    return {"trace": float(np.trace(metrics.moments(x).covariance))}


def whole(x):
    z = x.astype(np.float64)
    z -= z.mean(0)
    return {"trace": float(np.trace(z.T @ z / (len(z) - 1)))}


JOBS = {
    "prdc, ours": ours,
    "prdc, package": package,
    "prdc, package in float64": package_in_float64,
    "moments, ours": streaming,
    "moments, NumPy": whole,
}
PAIRS = {
    "prdc": ("prdc, ours", "prdc, package"),
    "prdc, theirs in float64": ("prdc, ours", "prdc, package in float64"),
    "moments": ("moments, ours", "moments, NumPy"),
}


def job(name, n, d):
    """Run one job in this process: its seconds, CPU seconds, peak memory in GiB and results."""
    rng = np.random.default_rng(0)
    sets = [rng.standard_normal((n, d), np.float32) for _ in range(2 if name.startswith("prdc") else 1)]
    JOBS[name](*(x[:64] for x in sets))  # so that imports are not timed
    began, cpu = time.perf_counter(), time.process_time()
    found = JOBS[name](*sets)
    cost = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}
    return cost | {"GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, "found": found}


def in_process(name, n, d):
    """`job` in a process of its own."""
    code = f"import json\nfrom benchmarks.metrics import job\nprint(json.dumps(job({name!r}, {n}, {d})))"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main(
    out: str,
    n: int = 10_000,
    n_moments: int = 50_000,
    d: int = 2048,
    repeats: int = 3,
    notes: str = "",
) -> None:
    """Measure, compare the results, and write seconds, memory and ratios to --out."""
    size = lambda name: n if name.startswith("prdc") else n_moments
    runs = {name: [] for name in JOBS}
    for i in range(repeats):
        for name in list(JOBS)[:: 1 - 2 * (i % 2)]:
            runs[name].append(in_process(name, size(name), d))
            print(f"{name:<26}{runs[name][-1]['seconds']:8.1f} s  {runs[name][-1]['GiB']:.2f} GiB", flush=True)
    median = lambda name, clock: float(np.median([run[clock] for run in runs[name]]))
    found = {name: rows[0]["found"] for name, rows in runs.items()}
    differ = lambda a, b: max(abs(found[a][key] - found[b][key]) / abs(found[b][key]) for key in found[b])
    ratios = {
        f"{what}{mark}": median(other, clock) / median(mine, clock)
        for what, (mine, other) in PAIRS.items()
        for clock, mark in {"seconds": "", "cpu": ", CPU time"}.items()
    }
    record(
        out,
        what=f"seconds, medians of {repeats}: prdc of {n:,} x {n:,}, moments of {n_moments:,}, d = {d:,}",
        ratios=ratios,
        seconds={name: [run["seconds"] for run in rows] for name, rows in runs.items()},
        cpu_seconds={name: [run["cpu"] for run in rows] for name, rows in runs.items()},
        peak_gib={name: max(run["GiB"] for run in rows) for name, rows in runs.items()},
        found=found,
        relative_difference={what: differ(*pair) for what, pair in PAIRS.items()},
        protocol=" ".join(__doc__.split("\n\n")[2].split()),
        notes=notes,
    )
    for what, ratio in ratios.items():
        print(f"{what:<34}{ratio:.2f}")


if __name__ == "__main__":
    tyro.cli(main)
