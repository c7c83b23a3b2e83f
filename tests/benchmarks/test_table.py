"""experiments/results/table.py: pages say what the result files say, and the committed ones are up to date."""

import json

import pytest

from benchmarks import scores
from benchmarks.record import mean_se, record
from experiments.results import table
from gan_jax.errors import UserError
from gan_jax.metrics import Score
from gan_jax.runs import paper as papers


def section(folder, name="DCGAN") -> str:
    """A paper's section of docs/results.md."""
    (found,) = (part for part in table.results(folder).split("\n## ") if part.startswith(f"[{name}]"))
    return found


def cells(text) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def test_presets_without_a_result_are_not_run(tmp_path):
    for name in papers.names():
        paper = papers.paper(name)
        presets = section(tmp_path, paper.doc.partition(":")[0].partition(" on ")[0]).partition("Not run: ")[2]
        assert presets.strip().rstrip(".").split(", ") == list(paper.presets)
    assert cells(table.short(tmp_path))[2:] == [] and "DCGAN (4), " in table.short(tmp_path)


ABOUT = {"seeds": [0, 1, 2], "hardware": "1 x H200", "commit": "c0ffee", "command": "python a.py --notes 'x | y' --n 3"}


def test_a_section_says_what_its_files_say(tmp_path):
    found = {"top_probability": mean_se([0.95, 0.96, 0.97]), "fid": mean_se([8.25])}
    published = {"value": "top_probability 0.955 ± 0.004", "protocol": "10,000 samples"}
    about = ABOUT | {"paper": "dcgan:mnist", "ran": "11,719 of the recipe's 11,719 rounds (100%)"}
    record(tmp_path / "a.json", **about, scores=found, published=published, finding="it works", notes="Seen.")
    record(tmp_path / "conv.json", speedup=3.0)  # a measurement of another kind
    text = section(tmp_path)
    origin = ["mnist", "11,719 of 11,719 rounds", "3", "1 x H200", "c0ffee", "`python a.py --n 3`"]
    assert cells(text) == [
        ["preset", "score", "published", "ours ± SE", "verdict"],
        ["---"] * 5,
        ["mnist", "top probability", "0.955 ± 0.004", "0.96 ± 0.006", "reproduced"],
        ["", "fid", "–", "8.25", ""],
        ["presets", "ran", "seeds", "hardware", "commit", "command"],
        ["---"] * 6,
        origin,
    ]
    assert "Published: 10,000 samples.\n" in text and "- mnist: it works. Seen.\n" in text
    assert text.endswith("Not run: digits, mnist-small, faces.\n")


def test_results_of_one_command_share_a_row_of_origin(tmp_path):
    rows = [
        {"paper": "dcgan:faces", "scores": {"norm": {"mean": 2e-10, "se": None}}},
        {"paper": "dcgan:digits", "scores": {"kl": {"mean": 0.5, "se": None, "infinite": 2}}},
        {"paper": "dcgan:mnist", "scores": {"kl": {"mean": None, "se": None}}},
    ]
    record(tmp_path / "b.json", **ABOUT, ran="5 rounds", share=0.3, published=None, rows=rows)
    found = cells(section(tmp_path))
    numbers = [["digits", "kl", "0.5 (2 more are ∞)"], ["mnist", "kl", "∞"], ["faces", "norm", "2e-10"]]
    assert found[2:5] == [[*own[:2], "–", own[2], "partial 30 %"] for own in numbers]
    assert found[7][:2] == ["digits, mnist, faces", "5 rounds"] and len(found) == 8


def test_the_short_table(tmp_path):
    """Complete runs only: a row for each preset, of those with published numbers one for each verdict."""
    entry = lambda paper, scores, **more: {"paper": paper, "ran": "", "scores": scores, "published": None} | more
    norm = {"a": {"mean": 3.1, "se": None}, "b": {"mean": 1.42, "se": None}}
    published = lambda value: {"value": value, "protocol": ""}
    rows = [
        entry("dcgan:digits", norm, share=1.0, headline="b", label="the second"),
        entry("dcgan:mnist", norm, share=0.99),
        entry("dirac_gan:gan", norm, published=published("3.10, 1.42")),
        entry("dirac_gan:nsgan", norm, published=published("3.10, .284"), label="norm"),
        entry("dirac_gan:wgan", norm, published=published("3.1, 1.4")),
    ]
    record(tmp_path / "c.json", **ABOUT, rows=rows)
    text = table.short(tmp_path)
    assert cells(text)[2:] == [
        ["[DCGAN] 2016", "digits", "the second", "–", "1.42 (3)", "–"],
        ["[Dirac-GAN] 2018", "2 of 9", "a", "4 numbers", "4 agree", "reproduced"],
        ["[Dirac-GAN] 2018", "nsgan", "norm", "2 numbers", "1 agree", "differs"],
    ]
    assert "DCGAN (3), Dirac-GAN (6), " in text
    assert text.endswith("\n\n[DCGAN]: experiments/dcgan.py\n[Dirac-GAN]: experiments/dirac_gan.py")


def test_papers_are_listed_by_kind_of_data_and_year():
    _, *parts = table.index().split("\n## ")
    assert [part.splitlines()[0] for part in parts] == sorted(part.splitlines()[0] for part in parts)
    lines = [[line for line in part.splitlines() if line.startswith("- ")] for part in parts]
    assert all(own == sorted(own) for own in lines)
    assert {line.partition("](")[2].partition(".py)")[0] for own in lines for line in own} == set(papers.names())


def test_scores_have_a_column_for_each_run(tmp_path):
    score = lambda name, value, error: vars(Score(name, value, {"reference": "digits train 0a1b2c3d"}, error))
    floor = {"a": score("recall (pixels)", 0.96612, 0.00521), "b": score("MS-SSIM", 0.25, None)}
    runs = [{"run": "runs/digits-0", "paper": "dcgan:digits", "scores": {"a": score("recall (pixels)", 0.5, 0.02)}}]
    record(
        tmp_path / "scores_digits.json", floor=floor, runs=runs, protocol="How.", commit="c0ffee", hardware="2 cores"
    )
    *_, how, title, origin, found = table.scores(tmp_path).strip().split("\n\n")
    assert (how, title) == ("How.", "## digits")
    assert origin == "Reference: digits train 0a1b2c3d. Commit c0ffee, 2 cores."
    assert found.splitlines() == [
        "| score | real test images | dcgan:digits (digits-0) |",
        "| --- | --- | --- |",
        "| recall (pixels) | 0.9661 ± 0.005 | 0.5 ± 0.02 |",
        "| MS-SSIM | 0.25 |  |",
    ]


def test_the_floor_of_digits(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(scores, "MOST", 150)
    scores.main("digits", data="digits", out=tmp_path / "scores_digits.json")
    floor = json.loads((tmp_path / "scores_digits.json").read_text())["floor"]
    fields = floor["nearest_neighbour_accuracy: 1-NN test accuracy (pixels)"]
    assert 0.4 < fields["value"] < 0.6 and fields["protocol"]["fake"] == 150
    assert floor["precision: precision (pixels)"]["value"] > 0.8
    assert "frechet_distance: Fréchet distance (random network 0)" in floor and len(floor) == 17
    assert "| precision (pixels) | 0." in table.scores(tmp_path)


def test_the_readme_is_changed_between_the_marks_alone(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{table.START}\nold\n{table.END}\nafter \\1\n")
    for _ in range(2):
        readme.write_text(table.update(readme, tmp_path))
        assert readme.read_text() == f"before\n{table.START}\n{table.short(tmp_path)}\n{table.END}\nafter \\1\n"
    readme.write_text("no marks")
    with pytest.raises(UserError, match="has no place for the table"):
        table.update(readme, tmp_path)


def test_the_pages_in_the_repository_are_what_the_script_makes():
    for path, text in table.pages().items():
        assert path.read_text() == text, f"{path}: run python experiments/results/table.py"
    rows = [line for line in table.short().splitlines() if line.startswith("|")]
    assert len(rows) <= 2 + 12 and max(map(len, rows)) <= 100


def test_the_results_in_the_repository_say_where_they_come_from():
    for path in table.HERE.glob("*.json"):
        assert {"command", "commit", "versions", "hardware", "date"} <= set(json.loads(path.read_text())), path
