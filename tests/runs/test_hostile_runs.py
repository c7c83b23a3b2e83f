"""Hostile run folders: refused in one line whatever config.json and metrics.jsonl hold; nothing in them runs."""

import ast
import json
import os
import re
import sys
from pathlib import Path

import pytest

import gan_jax
from gan_jax.errors import UserError
from gan_jax.runs import paper as papers
from gan_jax.runs.folder import read_rows, write_text

pytestmark = pytest.mark.usefixtures("alarm")

DEEP = "[" * 100_000


SOUND = {
    "format": 1,
    "paper": "dirac_gan:gan",
    "config": {"steps": 3, "batch": 1, "lr": 0.1},
    "data": "",
    "batch": {"x": [[1, 1], "float32"]},
}
CONFIGS = {  # JSON
    "config": """
        [] | "x" | null | 3 | {"lr": "0.1"} | {"lr": null} | {"lr": {}} | {"lr": [0.1]} | {"lr": true} | {"lr": NaN}
        | {"lr": 1e400} | {"lr": -1} | {"lr": HUGE} | {"steps": 3.0} | {"steps": "3"} | {"steps": -1} | {"steps": HUGE}
        | {"loss": "os.system"} | {"loss": ["minimax"]} | {"__class__": "x"} | {"critic_moves": 1000000000}
        | {"data": "/etc"} | {"batch": null} | {"seed": 1e9}
    """,
    "paper": """
        null | 3 | [] | {} | "../../evil:x" | "os:system" | "__init__" | "/etc/passwd" | "dirac_gan.py" | "a.b:c"
        | "experiments.dcgan" | "dirac_gan:__class__" | ".:x" | "benchmarks/record" | "dirac_gan\\u0000" | "*" | ""
    """,
    "batch": """
        null | [] | {} | {"x": 3} | {"x": [[1, 1]]} | {"x": [[-1, 1], "float32"]} | {"x": [[1.5, 1], "float32"]}
        | {"x": [[true, 1], "float32"]} | {"x": [[1000000000, 1000000000], "float32"]} | {"x": [[HUGE], "float32"]}
        | {"x": [[1, 1, 1, 1, 1, 1, 1, 1, 1], "float32"]} | {"y": [[1, 1], "float32"]}
        | {"x": [[1, 1], "object"]} | {"x": [[1, 1], "O"]} | {"x": [[1, 1], "U9"]} | {"x": [[1, 1], "f4,f4"]}
        | {"x": [[1, 1], "complex64"]} | {"x": [[1, 1], "os"]} | {"x": [[1, 1], 3]} | {"x": [[1, 1], null]}
    """,
    "data": 'null | 3 | ["x"]',
    "members": """
        3 | [] | {} | {"seeds": [0]} | {"seeds": [], "numbers": {}} | {"seeds": 3, "numbers": {}}
        | {"seeds": [-1], "numbers": {}} | {"seeds": [4294967296], "numbers": {}} | {"seeds": [0.5], "numbers": {}}
        | {"seeds": ["0"], "numbers": {}} | {"seeds": [null], "numbers": {}} | {"seeds": [true], "numbers": {}}
        | {"seeds": [0, 1], "numbers": []} | {"seeds": [0, 1], "numbers": {"lr": [0.1]}}
        | {"seeds": [0, 1], "numbers": {"lr": 0.1}} | {"seeds": [0, 1], "numbers": {"lr": ["a", "b"]}}
        | {"seeds": [0], "numbers": {"lr": [NaN]}} | {"seeds": [0], "numbers": {"lr": [HUGE]}}
        | {"seeds": [0], "numbers": {"batch": [1.0]}} | {"seeds": [0], "numbers": {"zz": [1.0]}}
        | {"seeds": [0], "numbers": {}, "make": "os:system"}
    """,
    "format": 'null | "1" | 2 | [1]',
}


@pytest.mark.parametrize("entry", CONFIGS)
def test_config_json_of_any_kind(tmp_path, entry, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for value in CONFIGS[entry].replace("HUGE", str(10**400)).split("|"):
        (tmp_path / "config.json").write_text(json.dumps(SOUND | {entry: "HERE"}).replace('"HERE"', value))
        with pytest.raises(UserError) as caught:
            gan_jax.load(tmp_path)
        line = str(caught.value)
        assert "has no checkpoint" not in line and "\n" not in line and len(line) < 600, value
    assert {"experiments.os", "experiments.__init__"}.isdisjoint(sys.modules)
    assert os.listdir() == ["config.json"]


def test_config_json_that_is_none(tmp_path, little):
    path = tmp_path / "config.json"
    for text in (DEEP, '{"format":' + DEEP, '{"a":' * 50_000, "9" * 5000, '{"format": 1e999', "\x00", "NaN", "null"):
        path.write_text(text)
        with pytest.raises(UserError, match=r"config.json (cannot be read|is not of format)"):
            gan_jax.load(tmp_path)
    path.write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(UserError, match=r"config.json cannot be read"):
        gan_jax.load(tmp_path)
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UserError, match=r"config.json' would fill 1.02e\+03 GiB"):
        gan_jax.load(tmp_path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(UserError, match=r"config.json cannot be read .*no regular file"):
        gan_jax.load(tmp_path)
    path.unlink()
    path.write_text(json.dumps(SOUND))
    with pytest.raises(UserError, match="has no checkpoint yet"):
        gan_jax.load(tmp_path)


def test_a_state_too_large_is_refused_before_it_is_allocated(tmp_path, little):
    about = SOUND | {"paper": "wgan_gp:8gaussians", "batch": {"x": [[8, 2], "float32"]}, "config": {"width": 4096}}
    (tmp_path / "config.json").write_text(json.dumps(about))
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    with pytest.raises(UserError, match=rf"The State of {tmp_path} would fill .* GiB, and 0.0625 are allowed"):
        gan_jax.load(tmp_path)


def test_rows_that_are_none(tmp_path, little):
    path = tmp_path / "metrics.jsonl"
    for line in ("3", "[]", "{}", '{"step": "1"}', '{"step": 1, "a": "x"}', '{"step": 1, "a": {}}', '{"step": null}'):
        path.write_text('{"step": 1}\n' + line + "\n")
        with pytest.raises(UserError, match=r"metrics.jsonl: line 2 is .*, not a row of numbers with a step"):
            read_rows(tmp_path)
    path.write_text('{"step": 1, "a": NaN, "b": Infinity}\n' + DEEP)
    assert len(read_rows(tmp_path)) == 1
    path.write_text(json.dumps({"step": 1, "a": 10**400}))
    with pytest.raises(UserError, match="line 1"):
        read_rows(tmp_path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_rows(tmp_path)


def test_nothing_is_written_through_a_link(tmp_path):
    (tmp_path / "outside").write_text("kept")
    (tmp_path / "run").mkdir()
    for name in ("metrics.jsonl", "metrics.jsonl.tmp"):
        (tmp_path / "run" / name).symlink_to(tmp_path / "outside")
    write_text(tmp_path / "run" / "metrics.jsonl", "rows")
    assert (tmp_path / "outside").read_text() == "kept" and (tmp_path / "run" / "metrics.jsonl").read_text() == "rows"


PACKAGE = Path(gan_jax.__file__).parent
FORBIDDEN = {"pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "yaml", "runpy", "subprocess"}
CALLS = {"eval", "exec", "__import__", "import_module", "exec_module", "system", "popen", "torch.load", "np.load"}
EXCEPTIONS = {
    ("runs/paper.py", "exec_module"),
    ("cli/__init__.py", "import_module"),
    ("metrics/inception_v3.py", "torch.load"),
}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_can_run_what_it_loads(path):
    tree, name = ast.parse(path.read_text()), path.relative_to(PACKAGE).as_posix()
    modules, calls = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            last = called.rpartition(".")[2]
            calls |= {called, last} & CALLS
            for word in node.keywords:
                value = getattr(word.value, "value", None)
                assert word.arg != "allow_pickle" or value is False
                assert word.arg != "weights_only" or value is True
            if called == "torch.load":
                assert "weights_only" in {word.arg for word in node.keywords}
            if last == "read_array":
                assert "allow_pickle" in {word.arg for word in node.keywords}
    assert not modules & FORBIDDEN
    assert {(name, call) for call in calls} <= EXCEPTIONS


def test_papers_are_found_by_the_names_of_their_files_alone():
    known = papers.names()
    assert known and all(re.fullmatch(r"[a-z]\w*", name) for name in known)
    for name in ("../experiments/dcgan", "dcgan/../dcgan", "./dcgan", "dcgan.py", "", "__init__", "results/table"):
        with pytest.raises(UserError, match=r"There is no (paper|file)"):
            papers.paper(name)
