"""`list`, and what it reads: verdicts of results, and the counts kept in experiments/costs.json."""

import json
import resource
import subprocess
import sys

import pytest
from conftest import ROOT

from gan_jax.runs import cost, costs, results
from gan_jax.runs import paper as papers
from gan_jax.training.spec import as_schedule

WORDS = {"reproduced", "close", "differs", "not run", "-"}


def test_list(shell):
    code, out, err = shell("gan_jax", "list", real=True)
    head, *rows = out.splitlines()
    titles = [f"{name}:{preset}" for name in papers.names() for preset in papers.paper(name).presets]
    assert code == 0 and [row.split()[0] for row in rows] == titles, err
    assert head.split() == ["paper:preset", "data", "year", "example", "parameters", "GFLOP/round", "verdict"]
    assert max(map(len, out.splitlines())) <= 100
    cells = {row.split()[0]: row.split()[1:] for row in rows}
    assert cells["dcgan:faces"] == [
        "images",
        "2016",
        "64x64x3",
        "6,342,272",
        cells["dcgan:faces"][4],
        "partial",
        "13",
        "%",
    ]
    assert cells["pacgan:ring-pack2"][:4] == ["points", "2018", "2", "892,003"]
    assert cells["dirac_gan:gan"][2:] == ["1", "2", "<0.01", "reproduced"]
    for title, (*_, weights, _) in ((title, row[:5]) for title, row in cells.items()):
        assert weights.replace(",", "").isdigit(), title
    at = head.index("verdict")
    assert {row[at:] for row in rows if not row[at:].startswith("partial")} <= WORDS
    assert all(row[at - 1] == " " and row[at] != " " for row in rows)


def test_a_paper_that_was_not_counted_is(shell):
    code, out, _ = shell("gan_jax", "list")
    _, *rows = out.splitlines()
    weights = (14 * 16 + 16 + 16 * 64 + 64) + (74 * 16 + 16 + 16 + 1)
    assert code == 0 and rows[1].split() == [
        "mlp:wide",
        "images",
        "2014",
        "8x8x1",
        f"{weights:,}",
        "<0.01",
        "not",
        "run",
    ]
    assert [row.split()[0] for row in rows] == ["mlp:small", "mlp:wide", "swap:negatives"]


def test_the_counts_that_are_kept_are_those_of_the_code():
    """If this fails: python -m gan_jax list --recount."""
    kept = json.loads((ROOT / "experiments" / "costs.json").read_text())
    assert {name: entry["code"] for name, entry in kept.items()} == {
        name: costs.code(papers.paper(name)) for name in papers.names()
    }
    for title in ("dirac_gan:r1", "pacgan:ring", "dcgan:mnist"):
        paper, preset = papers.split(title)
        game, spec = as_schedule(paper.game(paper.config(preset)))(0), paper.spec(paper.config(preset))
        expected = [sum(cost.parameters(game, spec).values()), cost.flops(game, spec)]
        assert kept[paper.name]["presets"][preset] == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", papers.names())
def test_all_counts_that_are_kept(name):
    kept = json.loads((ROOT / "experiments" / "costs.json").read_text())
    assert kept[name]["presets"] == costs.count(papers.paper(name))


def test_comments_are_no_code(tmp_path):
    text = (ROOT / "tests" / "papers" / "mlp.py").read_text()
    versions = [
        text,
        text + "# more\n",
        text.replace("A conditional GAN", "Another"),
        text.replace("width: int = 8", "width: int = 9"),
    ]
    found = []
    for i, version in enumerate(versions):
        (tmp_path / f"v{i}.py").write_text(version)
        found.append(costs.code(papers.paper(tmp_path / f"v{i}.py")))
    assert found[0] == found[1] == found[2] != found[3]


@pytest.mark.slow
def test_list_answers_in_three_seconds(tmp_path):
    """Seconds of computing in a fresh process: those on the clock, if nothing else runs."""
    used = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    before = used()
    subprocess.run([sys.executable, "-m", "gan_jax", "list"], check=True, capture_output=True, cwd=tmp_path)
    assert used() - before < 3


def entry(value=None, ours=(), share=1.0):
    scores = {f"s{i}": {"mean": mean, "se": se} for i, (mean, se) in enumerate(ours)}
    return {"share": share, "published": value and {"value": value, "protocol": ""}, "scores": scores}


VERDICTS = [
    ("not run", entry("modes 1.5", [(1.5, None)], share=0.049)),
    ("partial 5 %", entry("modes 1.5", [(9.0, None)], share=0.05)),
    ("partial 13 %", entry(share=0.1275)),
    ("-", entry(None, [(1.0, None)])),
    ("reproduced", entry("3.10, 1.42", [(3.0951, None), (1.4249, None)])),  # to the last digit
    ("close", entry("3.10, 1.42", [(3.0949, None), (1.42, None)])),
    ("reproduced", entry("2.6e-6, 9e-34, .917", [(2.64e-6, None), (9.4e-34, None), (0.9169, None)])),
    ("differs", entry("2.6e-6", [(3e-6, None)])),
    ("reproduced", entry("modes 6.3 ± 0.5; kl_to 0.45 ± 0.09", [(7.4, 0.3), (0.321, 0.05)])),  # 2 √(SE² + SE²)
    ("differs", entry("modes 6.3 ± 0.5; kl_to 0.45 ± 0.09", [(7.6, 0.3), (0.321, 0.05)])),
    ("differs", entry("kl 0.5", [(None, None)])),
]


@pytest.mark.parametrize("expected, given", VERDICTS)
def test_verdicts(expected, given):
    assert results.verdict(given) == expected


def test_of_several_entries_the_largest_share_counts(tmp_path):
    rows = [{"paper": "a:b", **entry("1.0", [(1.0, None)], share)} for share in (1.0, 0.5)]
    (tmp_path / "a.json").write_text(json.dumps({"rows": rows, "date": "today"}))
    assert results.verdicts(tmp_path) == {"a:b": "reproduced"}
    assert WORDS | {"partial 5 %", "partial 13 %"} >= set(results.verdicts().values())
