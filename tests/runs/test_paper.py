"""gan_jax/runs/paper.py: a paper's file as one record."""

import sys
from types import ModuleType

import jax
import numpy as np
import pytest
from conftest import ROOT

from gan_jax import show
from gan_jax.errors import UserError
from gan_jax.runs import paper as papers

MINE = """
import dataclasses
import jax, numpy as np

@dataclasses.dataclass(frozen=True)
class Config:
    data: str = "mine"
    steps: int = 3
    batch: int = 2
    seed: int = 0
    size: int = 4

PRESETS = {"small": Config(), "large": Config(size=9)}
data = lambda c: {"x": np.zeros((8, c.size), np.float32), "y": np.zeros(8, np.int32)}
example = lambda c: {"x": jax.ShapeDtypeStruct((c.size,), "float32")}
game = lambda c: None
"""


@pytest.fixture
def mine(tmp_path):
    """(what is replaced, by what) … -> the paper of that file."""

    def make(*changes, name="mine.py"):
        text = MINE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / name).write_text(text)
        return papers.paper(tmp_path / name)

    return make


def test_a_shipped_paper():
    paper, config = papers.preset("pacgan:grid")
    assert (paper.name, paper.shipped, paper.title("grid")) == ("pacgan", True, "pacgan:grid")
    assert paper.file == ROOT / "experiments" / "pacgan.py" and paper.doc.startswith("PacGAN: a discriminator of packs")
    assert config.data == "grid" and paper.config() is paper.presets["ring"] and type(paper.tiny) is type(config)
    assert paper.spec(config) == {"x": [[100, 2], "float32"]} and paper.shown(config) is show.points
    assert paper.published["grid"]["modes"] == (17.3, 0.8) and "10 trials" in paper.protocol
    assert paper.scores and paper.perfect and paper.held_out is None and paper.claims == {}
    assert papers.paper(paper.file).module is paper.module  # by its path as by its name
    assert papers.split("pacgan")[1] == papers.split("pacgan:ring")[1] == "ring"


def test_a_paper_of_one_s_own(mine, tmp_path):
    paper = mine()
    assert (paper.name, paper.shipped, paper.title("small")) == ("mine", False, "mine.py:small")
    assert paper.tiny is None and paper.scores is None and paper.published == {} and paper.protocol == ""
    found, config = papers.preset(f"{tmp_path}/mine.py:large")
    assert config.size == 9 and found.config("small").size == 4
    assert papers.split(f"{tmp_path}/mine.py")[1] == "small"
    assert found.data(config)["x"].shape == (8, 9)
    again = papers.configured("mine.py:large", {"size": 5}, tmp_path / "mine.py")[1]
    assert (again.size, again.steps) == (5, 3)
    with pytest.raises(UserError, match=r"^mine has no preset 'smal' \(did you mean 'small'\?\)"):
        papers.preset(f"{tmp_path}/mine.py:smal")


def test_the_file_that_was_started_is_not_executed_again(mine, tmp_path, monkeypatch):
    paper, started = mine(), ModuleType("__main__")
    vars(started).update({name: getattr(paper.module, name) for name in papers.REQUIRED}, __file__=str(paper.file))
    monkeypatch.setitem(sys.modules, "__main__", started)
    assert papers.paper(tmp_path / "mine.py").module is started
    assert papers.paper(ROOT / "tests" / "papers" / "mlp.py").module is not started


def test_a_file_that_changes_is_read_again(mine):
    assert mine().config().size == 4
    assert mine(("size: int = 4", "size: int = 17")).config().size == 17


MISTAKES = [
    (("game = ", "gam = "), "mine.py does not define game: a paper's file defines PRESETS, data, example and game"),
    (("PRESETS = {", "PRESETS_ = {"), "mine.py does not define PRESETS"),
    (('{"small": Config(), "large": Config(size=9)}', "[Config()]"), "mine.py: PRESETS must be {name: Config}"),
    (('"small": Config()', '"small": {}'), "mine.py: preset 'small' must be an instance of a frozen dataclass."),
    (("(frozen=True)", "()"), "mine.py: preset 'small' must be an instance of a frozen dataclass."),
    (("    seed: int = 0\n", ""), "mine.py: preset 'small' needs the fields data, steps, batch, seed; it lacks seed."),
    (("size: int = 4", "size: int = 4\n    f: list = None"), "mine.py: field 'f' is of type list, which a flag cannot"),
]


@pytest.mark.parametrize("change, said", MISTAKES, ids=[said for _, said in MISTAKES])
def test_what_a_file_lacks_is_one_sentence(mine, change, said):
    with pytest.raises(UserError) as caught:
        mine(change)
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


DIFFER = [
    (("(8, c.size)", "(8, c.size, 1)"), "its data has x of 4x1, float32; its example says 4, float32"),
    (("np.float32", "np.int32"), "its data has x of 4, int32; its example says 4, float32"),
    (('{"x": np.zeros', '{"z": np.zeros'), "its example has x, its data has not"),
    (('{"x": jax', '{"A": {"x": jax.ShapeDtypeStruct((3,), "float32")}, "x": jax'), "its example has A/x, its data"),
]


@pytest.mark.parametrize("change, said", DIFFER, ids=[said for _, said in DIFFER])
def test_data_that_are_not_like_the_example(mine, change, said):
    paper = mine(change)
    with pytest.raises(UserError, match=rf"^mine\.py: {said}.*: make them agree\.$"):
        paper.data(paper.config())


def test_bytes_are_floats_in_the_example():
    paper, config = papers.preset("dcgan:digits")
    data = paper.data(config)  # its labels are in no example
    assert data["x"].dtype == np.uint8 and data.keys() == {"x", "y"} and paper.example(config)["x"].dtype == np.float32


@pytest.mark.parametrize("name", ["../experiments/dcgan", "dcgan/../dcgan", "./dcgan", "", "__init__", "results/table"])
def test_a_name_is_no_path(name):
    with pytest.raises(UserError, match="There is no paper"):
        papers.paper(name)


def test_nothing_that_a_run_says_is_executed(mine, tmp_path, monkeypatch):
    """config.json names a file that lies where it says: it is not run."""
    mine(("game = ", "open('hit', 'w').close()\ngame = "))
    (tmp_path / "hit").unlink(missing_ok=True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hit").unlink(missing_ok=True)
    for title in ("mine.py:small", "./mine.py:small", f"{tmp_path}/mine.py:small", "mine:small"):
        with pytest.raises(
            UserError, match=r"is a run of .*, a paper of your own: give its file|There is no paper 'mine'"
        ):
            papers.configured(title, {})
    assert not (tmp_path / "hit").exists()
    with pytest.raises(UserError, match=r"This is a run of 'dcgan:digits', not of 'mine\.py:digits'"):
        papers.configured("dcgan:digits", {}, tmp_path / "mine.py")


def test_how_samples_are_shown(mine):
    paper = mine(("game = ", "show = lambda samples, real: {'txt': b'mine'}\ngame = "))
    assert paper.shown(paper.config()).page([{"x": 1}]) == {"txt": b"mine"}
    assert mine().shown(mine().config()) is show.points
    images = mine(("(c.size,)", "(c.size, c.size, 3)"))
    assert images.shown(images.config()) is show.images
    sets = mine(('{"x": jax', '{"A": {"x": jax'), ('"float32")}', '"float32")}}'))
    assert sets.shown(sets.config()) is show.points
    assert jax.tree.structure(sets.spec(sets.config()), is_leaf=lambda x: isinstance(x, list)).num_leaves == 1
