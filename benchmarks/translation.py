"""Translations with known ground truth: CycleGAN's ablation on digits, and pix2pix against plain regression on nuclei.

    python benchmarks/translation.py cyclegan mnist-inverted --data DIR --classifier FILE --out OUT.json
    python benchmarks/translation.py pix2pix --data nuclei-pairs-128.tar --out OUT.json

All seeds of a variant are one program, and so are variants that differ in loss weights only. Scores are of held-out
images; distances are fractions of the range from black to white, PSNR is in dB. A picture is written next to OUT: a row
for each image, with the input, the truth, and the translation by the first seed of each variant. --variants runs some
of them and adds them to those that OUT has.
"""

import dataclasses
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.record import commit, mean_se, record
from gan_jax import population, show, train
from gan_jax.data.held_out import spread
from gan_jax.metrics import extractors
from gan_jax.metrics.kernel import kernel_distance
from gan_jax.pixels import to_bytes
from gan_jax.runs import paper as papers
from gan_jax.runs import translation

WEIGHTS = {  # of CycleGAN's losses
    "full": {},
    "without identity": {"identity": 0.0},
    "forward cycle only": {"lambda_B": 0.0},
    "GAN only": {"lambda_A": 0.0, "lambda_B": 0.0},
    "cycle only": {"gan": 0.0, "identity": 0.0},
    "without GAN": {"gan": 0.0},  # cycles and identity
}
BACK = {"mnist-inverted": lambda x: -x, "mnist-rotated": lambda x: np.rot90(x, -1, (-3, -2)), "mnist-coloured": None}


def cyclegan(
    preset: tyro.conf.Positional[str],
    /,
    data: str,
    classifier: str,
    out: Path,
    seeds: int = 3,
    steps: int = 0,
    n: int = 1000,
    variants: tuple[str, ...] = (*WEIGHTS, "without pool"),
) -> None:
    """The ablation of section 5.1.3 on a MNIST preset, scored on --n test digits; --steps 0 is the preset's number."""
    module, config = papers.preset(f"cyclegan:{preset}")
    config = dataclasses.replace(config, data=data, steps=steps or config.steps, schedule_steps=steps or config.steps)
    held, reader = module.held_out(config), extractors.classifier(classifier)
    images, back = held.first(n), BACK[preset] or (lambda x: x)
    inside = slice(config.edge, config.size - config.edge)

    def digits(x):
        """The classifier's labels of images [n, h, w, c], from their first channel without the edge."""
        probabilities: Any = extractors.extract(reader, to_bytes(np.ascontiguousarray(x[:, inside, inside, :1])))[1]
        return probabilities.argmax(1)

    labels = {"A": digits(images["A"]), "B": digits(back(images["B"]))}

    def measured(found):
        """{score: [members]}: the distances, and the share of digits whose label is kept."""
        scores = {name: x.mean(-1) for name, x in translation.distances(images, found, paired=True).items()}
        for to, way in found.items():
            there = [digits(back(x) if to == "B" else x) for x in way.there]
            scores[f"agreement/{to}"] = np.array([(d == labels[way.home]).mean() for d in there])
        return scores

    weights = {name: w for name, w in WEIGHTS.items() if name in variants}
    changed = sorted({field for w in weights.values() for field in w})
    fields = {field: [w.get(field, getattr(config, field)) for w in weights.values()] for field in changed}
    programs = [(list(weights), config, fields), (["without pool"], dataclasses.replace(config, pool=0), {})]
    programs = [program for program in programs if set(program[0]) & set(variants)]
    _ablation(f"cyclegan:{preset}", programs, seeds, measured, images, ["l1/B"], out, "agreement/B", "digits kept")


def pix2pix(data: str, out: Path, seeds: int = 3, steps: int = 0, n: int = 100) -> None:
    """pix2pix:small against the same network trained with the L1 loss alone, scored on --n validation pairs."""
    module, config = papers.preset("pix2pix:small")
    config = dataclasses.replace(config, data=data, steps=steps or config.steps)
    held, network = module.held_out(config), extractors.random_network()
    images, to = held.first(n), config.direction[-1]
    features = lambda x: extractors.extract(network, to_bytes(x))[0]
    real = features(images[to])
    sharpness = lambda x: np.abs(np.diff(x, axis=-2)).mean() + np.abs(np.diff(x, axis=-3)).mean()

    def measured(found):
        """{score: [members]}: the distances, how much smaller the differences between neighbouring pixels are than in
        the photographs (blur), and the kernel distance to the photographs."""
        scores = {name: x.mean(-1) for name, x in translation.distances(images, found, paired=True).items()}
        there = found[to].there
        scores["blur"] = np.array([1 - sharpness(x) / sharpness(images[to]) for x in there])
        scores["kernel_distance"] = np.array([kernel_distance(features(x), real).value for x in there])
        return scores

    programs = [(["pix2pix", "L1 only"], config, {"gan": [config.gan, 0.0]})]
    judged = ["blur", "kernel_distance", "l1/B"]
    _ablation("pix2pix:small", programs, seeds, measured, images, judged, out, "psnr/B", "PSNR, dB")


def _ablation(title, programs, seeds, measured, images, judged, out, headline, label):
    """Train each program, all its variants and seeds at once; record the scores of each variant, and compare them by
    the scores in `judged`. headline, label: the score of the README's table, and its name there."""
    module, preset = papers.preset(title)
    ablation, shown, found, began = {}, {}, {}, time.perf_counter()
    rows = spread(len(next(iter(images.values()))))
    for names, config, fields in programs:
        own, repeat = list(range(seeds)) * len(names), lambda values: np.repeat(values, seeds).tolist()
        games = population.members(module.game, config, own, {f: repeat(v) for f, v in fields.items()})
        run = train(games, module.data(config), steps=config.steps, batch=config.batch, log_every=100)
        found = translation.translate(run, images)
        scores = measured(found)
        for i, name in enumerate(names):
            ablation[name] = {s: mean_se(v[i * seeds : (i + 1) * seeds]) for s, v in scores.items()}
            shown[name] = {to: way.there[i * seeds, rows] for to, way in found.items()}
            print(name, {s: round(v["mean"], 4) for s, v in ablation[name].items()})
    before = json.loads(out.read_text()) if out.exists() else {"ablation": {}, "runs": []}
    mine = {"variants": list(ablation), "command": shlex.join(["python", *sys.argv]), "commit": commit()}
    mine |= {"seconds": time.perf_counter() - began}
    ablation = before["ablation"] | ablation
    first = next(iter(ablation))
    share = config.steps / preset.steps
    values = lambda name, score: np.array(ablation[name][score]["values"])
    wins = lambda name, score: f"{name} in {(values(first, score) < values(name, score)).sum()} of {seeds} seeds"
    lower = [
        f"{score} lower than {', '.join(wins(name, score) for name in ablation if name != first)}" for score in judged
    ]
    record(
        out,
        paper=title,
        ran=f"{config.steps:,} of the recipe's {preset.steps:,} rounds" if share < 1 else f"{config.steps:,} rounds",
        share=share,
        published=None,
        scores={name: value for name, value in ablation[first].items() if name.split("/")[0] != "cycle"},
        ablation=ablation,
        runs=[*before["runs"], mine],
        seeds=list(range(seeds)),
        images={name: len(x) for name, x in images.items()},
        headline=headline,
        label=label,
        finding="; ".join(lower),
        notes=before.get("notes", ""),
    )
    if before["runs"]:
        return
    columns = len(shown) + 2
    lines = [
        [images[way.home][row], images[to][row], *(of[to][i] for of in shown.values())]
        for to, way in found.items()
        for i, row in enumerate(rows)
    ]
    show.save_png(out.with_suffix(".png"), show.grid(np.array(lines).reshape(-1, *lines[0][0].shape), columns))


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"cyclegan": cyclegan, "pix2pix": pix2pix})
