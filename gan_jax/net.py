"""A player's network bound to its weights, as a pure function. The only file that depends on Flax."""

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

# Names of the argument that distinguishes training from evaluation, with its value in training.
MODES = {"train": True, "training": True, "is_training": True, "deterministic": False}


class Net:
    """A network with its weights.

    `net(x, key=k)` returns the output, `net.mutate(x, key=k)` the output and the new memory, such as batch statistics.
    To chain several calls, pass the memory of one to the next as `memory=`. The key feeds dropout and noise layers.

    A network that behaves differently in training has an argument `train`, `training`, `is_training` or
    `deterministic` in its __call__.

    Args:
        name: Name of the player, for error messages and profiles.
        module: A Flax module.
        params: Weights; None: they are initialised by the first call, from `key`.
        memory: Variables other than weights, by collection.
        key: Key of the initialisation.
        train: Whether the network is called in training mode.

    Raises:
        UserError: The network draws random numbers but is called without a key, an input has another shape than at
            initialisation, or the initialising call is inside a transformation.

    >>> net = Net("D", nn.Dense(3), key=jax.random.key(0))
    >>> net(np.zeros((2, 4))).shape
    (2, 3)
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
            with jax.named_scope(self.name):  # outermost scope: `replay` reads the player's name from it
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
                f"Network {self.name!r} cannot take inputs of shape {shapes}: it was initialised with another shape "
                f"({str(error).splitlines()[0].split(' (')[0]}). Give all inputs the same shape."
            ) from None

    def _initialise(self, args, kwargs, rngs):
        if _trace() != self.trace:
            raise UserError(
                f"The first call of network {self.name!r} is inside scan, vmap, cond or grad, where it cannot be "
                "initialised: call it once outside first (the result may go unused)."
            )
        memory = dict(self.module.init({"params": self.key} | rngs, *args, **kwargs))
        self.params, self.memory = memory.pop("params", {}), memory


class Nets(dict):
    """A dict {"G": Net, …} with the game's own memory as the attribute `memory`.

    >>> Nets().memory
    ()
    """

    memory: Tree = ()


def _mode(module, train):
    """The network's argument for training or evaluation mode, as keyword arguments; {} if it has none."""
    takes = inspect.signature(module.__call__).parameters
    return {name: train == value for name, value in MODES.items() if name in takes}


def _trace():
    return get_opaque_trace_state(convention="flax")


def shard_rows(x: Tree) -> Tree:
    """Shard the leading axis of x over the mesh axis "data" where its size allows. For use inside a jitted function.

    Noise that is drawn inside a program has no sharding yet; without this, every device would compute on all of it.

    >>> shard_rows(np.zeros((2, 3))).shape
    (2, 3)
    """
    mesh = get_abstract_mesh()
    if "data" not in mesh.axis_names or not np.ndim(x) or x.shape[0] % mesh.shape["data"]:
        return x
    return lax.with_sharding_constraint(x, PartitionSpec("data"))
