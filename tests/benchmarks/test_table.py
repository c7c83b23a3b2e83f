"""experiments/results/table.py: every preset has its row, and a row says what its file says."""

import json

import pytest

from benchmarks import scores
from benchmarks.record import mean_se, record
from experiments.results import table
from gan_jax.errors import UserError
from gan_jax.metrics import Score
from gan_jax.runs import paper as papers


def rows(folder) -> dict[str, list[str]]:
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.table(folder).splitlines()]
    assert {len(line) for line in lines} == {len(table.HEAD)}
    return {line[0]: line[1:] for line in lines[2:]}


def test_what_has_no_result_is_not_run(tmp_path):
    found = rows(tmp_path)
    presets = {f"{name}:{', '.join(papers.paper(name).presets)}" for name in papers.names()}
    assert set(found) == presets and {(cells[0], cells[-1]) for cells in found.values()} == {("not run", "not run")}


def test_a_row_says_what_its_file_says(tmp_path):
    about = {"paper": "dcgan:mnist", "ran": "11,719 rounds, all", "seeds": [0, 1, 2], "hardware": "1 x H200"}
    found = {"top_probability": mean_se([0.95, 0.96, 0.97]), "fid": mean_se([8.25])}
    published = {"value": "9.1", "protocol": "FID, 10,000 samples"}
    record(tmp_path / "a.json", **about, scores=found, published=published, verdict="reproduced")
    record(tmp_path / "conv.json", speedup=3.0)  # a measurement of another kind
    found = rows(tmp_path)
    ours = "top probability 0.96 ± 0.006; fid 8.25"
    expected = [
        about["ran"],
        "9.1 (FID, 10,000 samples)",
        ours,
        "3",
        "1 x H200",
        "differs",
    ]  # top probability is no 9.1
    others = ", ".join(preset for preset in papers.paper("dcgan").presets if preset != "mnist")
    assert found["dcgan:mnist"] == expected and found[f"dcgan:{others}"][0] == "not run"
    two = [about | {"paper": f"dcgan:{preset}", "scores": found_, "published": None} for preset, found_ in TWO]
    record(tmp_path / "b.json", rows=two)
    assert rows(tmp_path)["dcgan:faces"][2:4] == ["norm 2e-10", "3"]
    assert rows(tmp_path)["dcgan:digits"][2] == "kl 0.5 (2 more are ∞)"
    record(tmp_path / "a.json", **about, scores={}, published=None)
    assert rows(tmp_path)["dcgan:mnist"][1] == "–"


TWO = [
    ("faces", {"norm": {"mean": 2e-10, "se": None}}),
    ("digits", {"kl": {"mean": 0.5, "se": None, "infinite": 2}}),
]


def test_scores_have_a_column_a_run(tmp_path):
    score = lambda name, value, error: vars(Score(name, value, {"reference": "digits train 0a1b2c3d"}, error))
    floor = {"a": score("recall (pixels)", 0.96612, 0.00521), "b": score("MS-SSIM", 0.25, None)}
    runs = [{"run": "runs/digits-0", "paper": "dcgan:digits", "scores": {"a": score("recall (pixels)", 0.5, 0.02)}}]
    record(
        tmp_path / "scores_digits.json", floor=floor, runs=runs, protocol="How.", commit="c0ffee", hardware="2 cores"
    )
    _, section, how, *found = table.scores(tmp_path).strip().split("\n\n")
    assert section == "## digits" and how == "How. Reference: digits train 0a1b2c3d. Commit c0ffee, 2 cores."
    assert "\n\n".join(found).splitlines() == [
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
        table.update(readme, tmp_path)
        assert readme.read_text() == f"before\n{table.START}\n{table.short(tmp_path)}\n{table.END}\nafter \\1\n"
    readme.write_text("no marks")
    with pytest.raises(UserError, match="has no place for the table"):
        table.update(readme, tmp_path)
    assert readme.read_text() == "no marks"


def test_the_pages_in_the_repository_are_what_the_script_makes():
    for path, text in table.pages().items():
        assert path.read_text() == text, f"{path}: run python experiments/results/table.py"
    readme = (table.ROOT / "README.md").read_text()
    assert f"{table.START}\n{table.short()}\n{table.END}" in readme and len(readme.splitlines()) <= 90
    rows = [line for line in table.short().splitlines() if line.startswith("|")]
    assert len(rows) <= 2 + table.MOST and max(map(len, rows)) <= 110


def test_the_results_in_the_repository_can_be_read():
    for path in table.HERE.glob("*.json"):
        assert {"command", "commit", "versions", "hardware", "date"} <= set(json.loads(path.read_text())), path
    table.table()
