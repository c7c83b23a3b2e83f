"""A round that went wrong, taken apart: the first equation that was not finite, by layer, phase and source line."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.extend.core import ClosedJaxpr, Literal

from gan_jax import nn
from gan_jax.engine import step
from gan_jax.game import Game, State
from gan_jax.pixels import to_float

Tree = Any  # a pytree of arrays

FINITE, INF, NAN = 0, 1, 2  # how bad a value is
VALUES = {INF: "inf", NAN: "nan"}
FORWARD, BACKWARD, UPDATE = "forward pass", "gradient", "update"
CALLS = {"jit", "closed_call", "core_call", "checkpoint", "custom_jvp_call", "custom_vjp_call"}  # looked into
BODIES = ("jaxpr", "call_jaxpr")  # what these call their body
OTHERS = tuple(str(Path(str(module.__file__)).parent) for module in (jax, flax, optax, nn))  # whose lines say little


@dataclass(frozen=True)
class Fault:
    """The first value of a training that was not finite."""

    round: int
    where: str  # player/layer, or what it is in if it is in no network
    value: str  # inf or nan
    phase: str = ""  # forward pass, gradient or update; "" if no equation of the round brought it about
    primitive: str = ""  # JAX's name of the equation
    line: str = ""  # file:line that wrote it
    losses: Mapping[str, float] = field(default_factory=dict)  # of that round

    def __str__(self):
        found = f", in the {self.phase} ({', '.join(filter(None, (self.primitive, self.line)))})" if self.phase else ""
        return f"Round {self.round}: {self.where} is {self.value} for the first time{found}"


def explain(game: Game, state: State, batch: Tree, after: State, metrics: dict, before=None) -> Fault:
    """What first went wrong in the round that took `state` on `batch` [slices, B, …] to `after` and `metrics`.

    Blamed is the first equation whose value is not finite though what it is made of is, and by which the end of the
    round is not finite: an infinity that a mask takes out again is not. before: State and batch of a round that was
    good; then it is the first whose value is worse than it was there.
    """
    program = jax.make_jaxpr(lambda state, batch: step(game, state, jax.tree.map(to_float, batch)))(state, batch)
    usual = _Interpreter(None, {})
    if before:
        usual.outputs(program, before)
    ends = _Interpreter(usual.seen if before else None, {}).outputs(program, (state, batch))
    losses = {name.removeprefix("loss/"): float(m) for name, m in metrics.items() if name.startswith("loss/")}
    about = {"round": int(after.step), "losses": losses}
    culprits = [end.cause for end in ends if end.cause]
    if not culprits:
        named = jax.tree_util.tree_leaves_with_path((metrics, after))
        worst = {jax.tree_util.keystr(path[1:], simple=True, separator="/"): _badness(x) for path, x in named}
        name = next(name for name, bad in worst.items() if bad)
        return Fault(where=name, value=VALUES[worst[name]], **about)
    cause = _first(culprits)
    phase = cause.birth.phase or "rule"
    if phase == FORWARD and not cause.forward:
        phase = BACKWARD  # no loss is made of it, only a derivative
    return Fault(
        where=_layer(cause.birth.scopes, game.players),
        value=VALUES[cause.birth.badness],
        phase=phase,
        primitive=cause.birth.primitive,
        line=cause.birth.line,
        **about,
    )


class _Birth(NamedTuple):
    """An equation that made something not finite out of what is."""

    badness: int
    scopes: tuple[str, ...]
    phase: str
    primitive: str
    line: str


class _Cause(NamedTuple):
    """Why a value is not finite."""

    place: tuple[int, ...]  # of an equation in the program: its number, in the one that calls it, …
    birth: _Birth
    forward: bool  # whether it came here without passing through a gradient or an update


class _Value(NamedTuple):
    """What an equation yields: an array, how bad it is, and of what that is the fault (None: of nothing here)."""

    array: Any
    badness: int
    cause: _Cause | None = None


class _Interpreter(NamedTuple):
    """Evaluates a program one equation after another, and loops and branches whole."""

    usual: dict[tuple[int, ...], int] | None  # how bad values were in a good round, by place, where not finite
    seen: dict[tuple[int, ...], int]  # the same of this round

    def outputs(self, program: ClosedJaxpr, arguments: Tree) -> list[_Value]:
        """The values of a program's outputs."""
        return self.body(program, [_Value(x, _badness(x)) for x in jax.tree.leaves(arguments)], (), (), "")

    def body(self, program, arguments, place, scopes, line):
        jaxpr, consts = program.jaxpr, [_Value(x, _badness(x)) for x in program.consts]
        values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *arguments], strict=True))
        read = lambda v: _Value(v.val, FINITE) if isinstance(v, Literal) else values[v]  # it is meant, whatever it is
        for i, eqn, needed, spent in _in_use(jaxpr):
            own = (*place, i), (*scopes, *str(eqn.source_info.name_stack).split("/")), _line(eqn) or line
            found = self.equation(eqn, [read(v) for v in eqn.invars], *own)
            values |= {v: value for v, value in zip(eqn.outvars, found, strict=True) if v in needed}
            for v in spent:  # a network's activations are many
                del values[v]
        return [read(v) for v in jaxpr.outvars]

    def equation(self, eqn, inputs, place, scopes, line):
        called = next((eqn.params[name] for name in BODIES if name in eqn.params), None)
        if eqn.primitive.name in CALLS and called is not None:
            closed = called if isinstance(called, ClosedJaxpr) else ClosedJaxpr(called, ())
            return self.body(closed, inputs, place, scopes, line)
        with eqn.ctx.manager:
            params = eqn.primitive.get_bind_params(eqn.params)
            found = eqn.primitive.bind(*(value.array for value in inputs), **params)
        arrays = found if eqn.primitive.multiple_results else [found]
        badness = max(map(_badness, arrays), default=FINITE)
        if badness == FINITE:
            return [_Value(x, FINITE) for x in arrays]
        self.seen[place] = badness
        cause = self.cause(inputs, place, _Birth(badness, scopes, _phase(scopes), eqn.primitive.name, line))
        return [_Value(x, bad, cause if bad else None) for x, bad in zip(arrays, map(_badness, arrays), strict=True)]

    def cause(self, inputs, place, birth):
        """The first of the inputs' causes; without any, the equation itself if its value is worse than it should be."""
        causes, forward = [value.cause for value in inputs if value.cause], birth.phase not in (BACKWARD, UPDATE)
        if causes:
            first = _first(causes)
            return first._replace(forward=forward and first.forward)
        made_of = max((value.badness for value in inputs), default=FINITE)
        if birth.badness <= (made_of if self.usual is None else self.usual.get(place, FINITE)):
            return None
        return _Cause(place, birth, forward)


def _first(causes):
    """The one that was earliest in the program; of its ways here, one that is forward all along, if any is."""
    return min(causes, key=lambda cause: (cause.place, not cause.forward))


def _in_use(jaxpr):
    """(number, equation, which of its values are needed, what is not needed after it) where an output depends on it."""
    seen, found = {v for v in jaxpr.outvars if not isinstance(v, Literal)}, []
    for i, eqn in reversed(list(enumerate(jaxpr.eqns))):
        if needed := seen.intersection(eqn.outvars):
            spent = {v for v in eqn.invars if not isinstance(v, Literal)} - seen
            seen |= spent
            found.append((i, eqn, needed, spent))
    return reversed(found)


def _badness(x):
    if not jnp.issubdtype(jnp.result_type(x), jnp.inexact):
        return FINITE
    x = np.asarray(x)
    return FINITE if np.isfinite(x).all() else NAN if np.isnan(x).any() else INF


def _phase(scopes):
    """By the engine's own scopes, which stand in front; "" outside of them."""
    marked = next((scope for scope in scopes if scope), "")
    if "losses" in marked:
        return BACKWARD if "transpose" in marked else FORWARD
    return UPDATE if marked == "update" else ""


def _layer(scopes, players):
    """player/layer, by the scopes without the marks of JAX's transformations."""
    names = [name for name in (re.sub(r"^(\w+\()+|\)+$", "", scope) for scope in scopes) if name]
    first = next((i for i, name in enumerate(names) if name in players), None)
    if first is None:
        return "play" if "losses" in names else "the rule"
    return "/".join(name for name in names[first:] if name != "losses")


def _line(eqn):
    """file:line of the innermost call that is of no library and no layer."""
    frames = eqn.source_info.traceback.frames if eqn.source_info.traceback else []
    own = [frame for frame in frames if not frame.file_name.startswith(OTHERS)]
    return f"{Path(own[0].file_name).name}:{own[0].line_num}" if own else ""
