"""A player's network bound to its weights, a pure function. The only file that touches Flax."""

import inspect
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from flax.errors import InvalidRngError, ScopeParamShapeError
from jax import lax
from jax.extend.core import get_opaque_trace_state
from jax.sharding import PartitionSpec, get_abstract_mesh

from gan_jax.errors import UserError

Tree = Any  # a pytree of arrays
Module = nn.Module

# What networks call the argument that tells training from evaluation, and its value in training.
MODES = {"train": True, "training": True, "is_training": True, "deterministic": False}


class Net:
    """A network and its weights.

    `net(x, key=k)` returns the output. `net.mutate(x, key=k)` returns the output and the new memory, such as batch
    statistics; pass `memory=` to go on from that of an earlier call, for of two calls from one memory only one result
    can be kept. `key` feeds dropout and noise.

    A network that behaves differently in training takes an argument `train` (or `training`, `is_training`,
    `deterministic`); one that does not need not take any.

    Raises:
        UserError: the network draws random numbers and gets no key; its first call is inside a transformation.
    """

    def __init__(self, name: str, module: Module, params: Tree = None, memory: Tree = None, *, key=None, train=True):
        self.name, self.module, self.key = name, module, key
        self.params, self.memory = params, memory or {}
        self.mode = _mode(module, train)
        self.trace = _trace()

    def __call__(self, *args, key=None, **kwargs):
        return self.mutate(*args, key=key, **kwargs)[0]

    def mutate(self, *args, key=None, memory: Tree = None, **kwargs):
        args = jax.tree.map(shard_rows, list(args))
        kwargs |= self.mode
        rngs = {} if key is None else {"dropout": key, "noise": jax.random.fold_in(key, 1)}
        if self.params is None:
            self._initialise(args, kwargs, rngs)
        memory = self.memory if memory is None else memory
        try:
            variables: Tree = {"params": self.params} | memory
            with jax.named_scope(self.name):  # in front of Flax's own: replay names a layer by its player
                return self.module.apply(variables, *args, mutable=list(memory), rngs=rngs, **kwargs)
        except InvalidRngError:
            if key is not None:
                raise
            raise UserError(
                f"Network {self.name!r} draws random numbers but was called without a key: "
                f"call nets[{self.name!r}](…, key=k) with a key that `play` split off its own."
            ) from None
        except ScopeParamShapeError as error:
            shapes = ", ".join(str(list(np.shape(x))) for x in jax.tree.leaves(args))
            raise UserError(
                f"Network {self.name!r} cannot take inputs of shape {shapes}: its weights were made for another shape "
                f"({str(error).splitlines()[0].split(' (')[0]}). Give all inputs the same shape."
            ) from None

    def _initialise(self, args, kwargs, rngs):
        if _trace() != self.trace:
            raise UserError(
                f"The first call of network {self.name!r} is inside scan, vmap, cond or grad, where its weights "
                "cannot be made: call it once before, outside (the result may go unused)."
            )
        memory = dict(self.module.init({"params": self.key} | rngs, *args, **kwargs))
        self.params, self.memory = memory.pop("params", {}), memory


class Nets(dict):
    """{"G": Net, …}, and what the game remembers as `memory`."""

    memory: Tree = ()


def _mode(module, train):
    """The argument by which a network is told whether it is trained, {} where it takes none."""
    takes = inspect.signature(module.__call__).parameters
    return {name: train == value for name, value in MODES.items() if name in takes}


def _trace():
    return get_opaque_trace_state(convention="flax")


def shard_rows(x: Tree) -> Tree:
    """Inside a program: x with its rows spread over the mesh axis "data", if that divides them.

    Noise drawn inside a program has no sharding yet; without this, all devices would do the same work on it.
    """
    mesh = get_abstract_mesh()
    if "data" not in mesh.axis_names or not np.ndim(x) or x.shape[0] % mesh.shape["data"]:
        return x
    return lax.with_sharding_constraint(x, PartitionSpec("data"))
