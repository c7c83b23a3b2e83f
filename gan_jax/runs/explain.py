"""The cause of a NaN: the first equation of a round that is not finite, with its layer, phase and source line."""

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

FINITE, INF, NAN = 0, 1, 2  # badness of a value
VALUES = {INF: "inf", NAN: "nan"}
FORWARD, BACKWARD, UPDATE = "forward pass", "gradient", "update"
CALLS = {"jit", "closed_call", "core_call", "checkpoint", "custom_jvp_call", "custom_vjp_call"}  # interpreted inside
BODIES = ("jaxpr", "call_jaxpr")  # parameters with the bodies of these
OTHERS = tuple(str(Path(str(module.__file__)).parent) for module in (jax, flax, optax, nn))  # skipped in tracebacks


@dataclass(frozen=True)
class Fault:
    """The first value of a training that is not finite.

    Attributes:
        round: The round.
        where: player/layer; outside of networks "play", "the rule", or the name of a leaf of State or metrics.
        value: "inf" or "nan".
        phase: "forward pass", "gradient", "update" or "rule"; "" if no equation of the round is the cause.
        primitive: JAX's name of the operation.
        line: Its source as file:line.
        losses: The losses of that round.

    >>> print(Fault(57, "G/Dense_0", "inf", "gradient", "dot_general", "dcgan.py:41"))
    Round 57: G/Dense_0 is inf for the first time, in the gradient (dot_general, dcgan.py:41)
    """

    round: int
    where: str
    value: str
    phase: str = ""
    primitive: str = ""
    line: str = ""
    losses: Mapping[str, float] = field(default_factory=dict)

    def __str__(self):
        found = f", in the {self.phase} ({', '.join(filter(None, (self.primitive, self.line)))})" if self.phase else ""
        return f"Round {self.round}: {self.where} is {self.value} for the first time{found}"


def explain(game: Game, state: State, batch: Tree, after: State, metrics: dict, before=None) -> Fault:
    """The cause of a round whose result is not finite.

    It is the first equation with a non-finite value from finite inputs that reaches the result of the round: an
    infinity that is masked out later does not count.

    Args:
        game: The Game.
        state: The State before the round.
        batch: Its batch [slices, B, …].
        after: The State after it.
        metrics: Its metrics.
        before: State and batch of an earlier, finite round. If given, values that were not finite there either do not
            count.
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
    phase = cause.origin.phase or "rule"
    if phase == FORWARD and not cause.forward:
        phase = BACKWARD  # the losses do not depend on it, only derivatives
    return Fault(
        where=_layer(cause.origin.scopes, game.players),
        value=VALUES[cause.origin.badness],
        phase=phase,
        primitive=cause.origin.primitive,
        line=cause.origin.line,
        **about,
    )


class _Origin(NamedTuple):
    """An equation with a non-finite value from finite inputs."""

    badness: int
    scopes: tuple[str, ...]
    phase: str
    primitive: str
    line: str


class _Cause(NamedTuple):
    """Why a value is not finite."""

    place: tuple[int, ...]  # of the equation: its index, preceded by the indices of the equations that call it
    origin: _Origin
    forward: bool  # whether no gradient or update is between the origin and the value


class _Value(NamedTuple):
    """A value of the program: an array, its badness, and the cause of that, if any."""

    array: Any
    badness: int
    cause: _Cause | None = None


class _Interpreter(NamedTuple):
    """Evaluates a program equation by equation; loops and branches are evaluated as a whole."""

    usual: dict[tuple[int, ...], int] | None  # badness by place in a finite round, where there is any
    seen: dict[tuple[int, ...], int]  # the same for this round

    def outputs(self, program: ClosedJaxpr, arguments: Tree) -> list[_Value]:
        """The values of a program's outputs."""
        return self.body(program, [_Value(x, _badness(x)) for x in jax.tree.leaves(arguments)], (), (), "")

    def body(self, program, arguments, place, scopes, line):
        jaxpr, consts = program.jaxpr, [_Value(x, _badness(x)) for x in program.consts]
        values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *arguments], strict=True))
        read = lambda v: (
            _Value(v.val, FINITE) if isinstance(v, Literal) else values[v]
        )  # a constant of the program is never a cause
        for i, eqn, needed, spent in _in_use(jaxpr):
            own = (*place, i), (*scopes, *str(eqn.source_info.name_stack).split("/")), _line(eqn) or line
            found = self.equation(eqn, [read(v) for v in eqn.invars], *own)
            values |= {v: value for v, value in zip(eqn.outvars, found, strict=True) if v in needed}
            for v in spent:  # free memory
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
        cause = self.cause(inputs, place, _Origin(badness, scopes, _phase(scopes), eqn.primitive.name, line))
        return [_Value(x, bad, cause if bad else None) for x, bad in zip(arrays, map(_badness, arrays), strict=True)]

    def cause(self, inputs, place, origin):
        """The first cause among the inputs, or else the equation itself, if its value is worse than its inputs."""
        causes, forward = [value.cause for value in inputs if value.cause], origin.phase not in (BACKWARD, UPDATE)
        if causes:
            first = _first(causes)
            return first._replace(forward=forward and first.forward)
        worst = max((value.badness for value in inputs), default=FINITE)
        if origin.badness <= (worst if self.usual is None else self.usual.get(place, FINITE)):
            return None
        return _Cause(place, origin, forward)


def _first(causes):
    """The cause that is earliest in the program; among equal ones, one that is in the forward pass."""
    return min(causes, key=lambda cause: (cause.place, not cause.forward))


def _in_use(jaxpr):
    """(index, equation, its values that are needed, inputs that are not needed later), without dead code."""
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
    """The phase by the engine's own scopes, which are outermost; "" outside of them."""
    marked = next((scope for scope in scopes if scope), "")
    if "losses" in marked:
        return BACKWARD if "transpose" in marked else FORWARD
    return UPDATE if marked == "update" else ""


def _layer(scopes, players):
    """player/layer from the scopes, without the markers of JAX's transformations."""
    names = [name for name in (re.sub(r"^(\w+\()+|\)+$", "", scope) for scope in scopes) if name]
    first = next((i for i, name in enumerate(names) if name in players), None)
    if first is None:
        return "play" if "losses" in names else "the rule"
    return "/".join(name for name in names[first:] if name != "losses")


def _line(eqn):
    """file:line of the innermost frame outside of libraries and our layers."""
    frames = eqn.source_info.traceback.frames if eqn.source_info.traceback else []
    own = [frame for frame in frames if not frame.file_name.startswith(OTHERS)]
    return f"{Path(own[0].file_name).name}:{own[0].line_num}" if own else ""
