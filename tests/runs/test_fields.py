"""gan_jax/runs/fields.py: what a flag takes, a run's file may hold, and nothing else."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Literal, get_args, get_origin

import pytest

from gan_jax.cli import flags
from gan_jax.errors import UserError
from gan_jax.runs import fields
from gan_jax.runs import paper as papers


@dataclass(frozen=True)
class Config:
    momentum: float = -0.5
    offset: float = 0.25
    layer: int = -1
    points: int = 100_000
    blocks: int = 9
    rate: float = field(default=0.5, metadata={"least": 0, "most": 1})
    depth: int = field(default=2, metadata={"most": 4})
    lr_G: float = 1e-4
    width_D: int = 8
    size: float = 0.5
    seed: int = 0
    flip: bool = True
    kind: Literal["a", "b"] = "a"
    order: Literal[1, 2] = 1
    widths: tuple[int, ...] = (4, 8)
    limit: int | None = None
    name: str = ""


LEGAL = {
    "momentum": ["-0.9", "-1e-3", "0", "3e38"],
    "offset": ["-0.25"],
    "layer": ["-1", "0", "1000"],
    "points": ["20_000", "10000000"],
    "blocks": ["0", "900"],
    "rate": ["0", "1"],
    "depth": ["0", "4"],
    "lr_G": ["0", "10"],
    "width_D": ["1", "65536"],
    "size": ["0.25", "-2"],
    "seed": ["4294967295"],
    "kind": ["b"],
    "order": ["2"],
    "widths": ["3", "1000"],
    "limit": ["none", "3"],
    "name": ["-x", "3", ""],
}
ILLEGAL = {
    "momentum": ["x", "nan", "inf", "4e38"],
    "layer": ["-2", "1001", "1.5"],
    "points": ["10000001"],
    "blocks": ["-1", "1001"],
    "rate": ["-0.1", "1.1"],
    "depth": ["5"],
    "lr_G": ["-1e-4"],
    "width_D": ["0", "65537"],
    "seed": ["-1", "4294967296"],
    "kind": ["c", "1"],
    "order": ["3"],
    "widths": ["-1", "x"],
    "limit": ["-1", "x"],
}


def by_flag(config, name, word):
    """The Config that `--name=word` makes."""
    given = flags.parse([f"--{name.replace('_', '-')}={word}"], flags.of_dataclass(config))
    return dataclasses.replace(config, **given)


def by_file(config, new):
    """The Config that a run's file makes of what was written of `new`."""
    return fields.replaced("mine:a", config, json.loads(json.dumps(dataclasses.asdict(new))))


@pytest.mark.parametrize("name, word", [(name, word) for name, words in LEGAL.items() for word in words])
def test_what_a_flag_takes_a_file_may_hold(name, word):
    new = by_flag(Config(), name, word)
    again = by_file(Config(), new)
    assert again == new and type(getattr(again, name)) is type(getattr(new, name))


@pytest.mark.parametrize("name, word", [(name, word) for name, words in ILLEGAL.items() for word in words])
def test_what_a_flag_refuses_a_file_may_not_hold(name, word):
    with pytest.raises(UserError, match=rf"^--{name.replace('_', '-')} is .*: it must be "):
        by_flag(Config(), name, word)
    value = flags.read(word, fields.of(Config())[name].kind if name != "widths" else int)
    with pytest.raises(UserError, match=rf"^mine:a: {name} is .*: it must be "):
        fields.replaced("mine:a", Config(), {name: [value] if name == "widths" else value})


@pytest.mark.parametrize("value", ["0.1", None, {}, [0.1], True, 10**400])
def test_a_file_s_value_of_another_type(value):
    with pytest.raises(UserError, match=r"^mine:a: momentum is .*: it must be "):
        fields.replaced("mine:a", Config(), {"momentum": value})
    with pytest.raises(UserError, match=r"^mine:a has no field 'momentun' \(did you mean 'momentum'\?\)\.$"):
        fields.replaced("mine:a", Config(), {"momentun": value})


def test_a_whole_number_in_a_field_of_floats_is_one():
    new = fields.replaced("mine:a", Config(), {"momentum": 1})
    assert new.momentum == 1 and type(new.momentum) is float


TITLES = [f"{name}:{preset}" for name in papers.names() for preset in papers.paper(name).presets]


@pytest.mark.parametrize("title", TITLES)
def test_every_preset_and_its_extremes(title):
    """The defaults, and the ends of every range, as flags and from a file."""
    _, config = papers.preset(title)
    assert by_file(config, config) == config
    for name, one in fields.of(config).items():
        ends = {one.least, one.most} if fields.fits(1, one.kind) and one.kind is not bool else set()
        ends |= set(get_args(one.kind)) if get_origin(one.kind) is Literal else set()
        for end in ends:
            new = by_flag(config, name, end if isinstance(end, str) else repr(end))
            assert by_file(config, new) == new


@pytest.mark.parametrize(
    "title, values", [("cyclegan:mnist-inverted", {"schedule_steps": 100_000}), ("dcgan", {"parts": 128})]
)
def test_runs_that_were_refused(title, values):
    paper, preset = papers.split(title)
    assert vars(papers.configured(paper.title(preset), values)[1]).items() >= values.items()


def test_a_sweep_asks_for_the_type():
    config = papers.preset("dcgan:digits")[1]
    assert flags.values(config, "dtype=float32,bfloat16") == ("dtype", ["float32", "bfloat16"])
    assert flags.values(config, "lr=1e-4,2") == ("lr", [1e-4, 2.0])
    assert flags.values(config, "flip=true,False") == ("flip", [True, False])
    for word, said in {
        "lr": "lr is not FIELD=VALUE,…: a field is data.",
        "lrr=1": r"lrr=1 is not FIELD=VALUE,… \(did you mean 'lr'\?\): a field is data.",
        "lr=1,x": "--lr is 'x': it must be a finite number.",
        "flip=yes": "--flip is 'yes': it must be true or false.",
    }.items():
        with pytest.raises(UserError, match=f"^{said}$"):
            flags.values(config, word)


def test_types_that_no_flag_can_carry():
    @dataclass(frozen=True)
    class Odd:
        layers: dict[str, int] = field(default_factory=dict)

    with pytest.raises(UserError, match=r"^mine\.py: field 'layers' is of type dict, which a flag cannot carry"):
        fields.check_types("mine.py", Odd())
    fields.check_types("mine.py", Config())
