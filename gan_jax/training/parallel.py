"""Devices and processes: the sharding of a training's arrays.

A training is one program on global arrays over all devices of all processes. Batches are sharded along the mesh axis
"data", members of a population along "members"; everything else is replicated, or optionally sharded by size. XLA
inserts the collectives, so means and batch statistics are those of the global batch, and random numbers are drawn for
the global batch: up to rounding, a trajectory does not depend on the number of devices.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, get_abstract_mesh

from gan_jax.errors import UserError

Tree = Any  # a pytree of arrays


@dataclass(frozen=True)
class Layout:
    """The sharding of a training's arrays.

    Attributes:
        mesh: A mesh with the axis "data", for a population preceded by "members".
        split_from: Leaves of the State with at least so many elements (per member) are sharded over "data"; 0: none.

    >>> Layout(_mesh({"data": 1})).batches().spec[2]
    'data'
    """

    mesh: Mesh
    split_from: int = 0

    @property
    def whole(self) -> NamedSharding:
        """The replicated sharding."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def members(self) -> tuple[str, ...]:
        """The mesh axis of a population's members; () for a single training."""
        return self.mesh.axis_names[:-1]

    def by_member(self) -> NamedSharding:
        """Sharded over the members; replicated for a single training."""
        return NamedSharding(self.mesh, PartitionSpec(*self.members))

    def batches(self) -> NamedSharding:
        """The sharding of [rounds, slices, B, …] or [members, rounds, slices, B, …] over members and B."""
        return NamedSharding(self.mesh, PartitionSpec(*self.members, None, None, "data"))

    def state(self, x: jax.ShapeDtypeStruct | jax.Array) -> NamedSharding:
        """The sharding of a leaf of the State; a large one is sharded along its longest axis of divisible size."""
        first, data = len(self.members), self.mesh.shape["data"]
        own = x.shape[first:]
        axes = [axis for axis, length in enumerate(own) if length % data == 0]
        if not self.split_from or np.prod(own) < self.split_from or not axes:
            return self.by_member()
        longest = max(axes, key=lambda axis: own[axis])
        return NamedSharding(self.mesh, PartitionSpec(*self.members, *[None] * longest, "data"))

    def abstract(self, state: Tree) -> Tree:
        """Shapes of a State with the sharding of each leaf."""
        place = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self.state(x))
        return jax.tree.map(place, state)

    def constrain(self, state: Tree) -> Tree:
        """The State constrained to its sharding. For use inside a jitted function."""
        return jax.tree.map(lambda x: lax.with_sharding_constraint(x, self.state(x)), state)


def layout(batch: int, members: int = 0, devices: int | None = None, split_from: int = 0) -> Layout:
    """The layout of a training over several devices.

    For a population, the mesh axis "members" is the largest possible divisor of the number of members; the remaining
    devices form the axis "data", as far as they divide the batch.

    Args:
        batch: Batch size; for a single training a multiple of the number of devices.
        members: Size of the population; 0: a single training.
        devices: Number of devices; None: all.
        split_from: See `Layout`.

    Raises:
        UserError: There are fewer devices, or they do not divide the batch.

    >>> layout(batch=64, devices=1).mesh.shape["data"]
    1
    """
    count = devices or jax.device_count()
    if not 1 <= count <= jax.device_count():
        raise UserError(f"There are {jax.device_count()} devices, not {count}: give --devices {jax.device_count()}.")
    if count % jax.process_count():
        raise UserError(f"{jax.process_count()} processes cannot share {count} devices: leave --devices out.")
    if members:
        most = lambda n, limit: max(k for k in range(1, limit + 1) if n % k == 0)
        along = most(members, count)
        return Layout(_mesh({"members": along, "data": most(batch, count // along)}), split_from)
    if batch % count:
        below, above = batch - batch % count, batch + count - batch % count
        near = f"--batch {below} or {above}" if below else f"--batch {above}"
        fewer = max(k for k in range(1, count + 1) if batch % k == 0)
        also = f", or --devices {fewer}" if jax.process_count() == 1 else ""
        raise UserError(f"A batch of {batch} does not divide over {count} devices: give {near}{also}.")
    return Layout(_mesh({"data": count}), split_from)


def _mesh(shape):
    devices = np.array(jax.devices()[: np.prod(list(shape.values()))]).reshape(*shape.values())
    return Mesh(devices, tuple(shape), axis_types=(AxisType.Auto,) * len(shape))


def place(tree: Tree, where: NamedSharding | Callable[[Any], NamedSharding]) -> Tree:
    """Put a tree of arrays, which every process has in full, on the devices.

    Args:
        tree: A pytree of NumPy or JAX arrays.
        where: A sharding for all leaves, or leaf -> sharding.

    >>> place({"x": np.zeros(3)}, layout(batch=1, devices=1).whole)["x"].sharding.is_fully_replicated
    True
    """

    def put(x):
        sharding = where(x) if callable(where) else where
        if sharding.is_fully_addressable or (isinstance(x, jax.Array) and not x.is_fully_addressable):
            return jax.device_put(x, sharding)
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(put(jax.random.key_data(x)), impl=jax.random.key_impl(x))
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jax.tree.map(put, tree)


def share(batch: int) -> slice:
    """The rows of a global batch that this process reads.

    >>> share(64)
    slice(0, 64, None)
    """
    p, count = jax.process_index(), jax.process_count()
    return slice(p * batch // count, (p + 1) * batch // count)


def join(tree: Tree, sharding: NamedSharding) -> Tree:
    """Global arrays from the rows that each process has read."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)


def whole(tree: Tree) -> Tree:
    """A tree replicated over the mesh, so that every process can read it. For use inside a jitted function.

    >>> whole({"x": 1})  # without a mesh there is nothing to do
    {'x': 1}
    """
    if get_abstract_mesh().empty:
        return tree
    return jax.tree.map(lambda x: lax.with_sharding_constraint(x, PartitionSpec()), tree)


def flag(layout: Layout, value: bool) -> jax.Array:
    """bool [devices], with this process's value on its own devices. Does not wait for other processes."""
    every = NamedSharding(layout.mesh, PartitionSpec(layout.mesh.axis_names))
    return jax.make_array_from_callback((layout.mesh.size,), every, lambda index: np.full(1, value))


def start(how: str) -> None:
    """Initialise distributed JAX. Must be called before any other use of JAX.

    Args:
        how: "auto" under SLURM, Open MPI, Kubernetes and on TPU pods; otherwise "HOST:PORT/PROCESSES/PROCESS", with the
            address of process 0, the number of processes, and the index of this one.

    Raises:
        UserError: `how` has another form.
    """
    if how == "auto":
        jax.distributed.initialize()
        return
    try:
        address, count, number = how.split("/")
        count, number = int(count), int(number)
        if not (":" in address and 0 <= number < count):
            raise ValueError
    except ValueError:
        form = "auto nor HOST:PORT/PROCESSES/PROCESS, as host0:1234/2/0"
        raise UserError(f"--distributed {how} is neither {form}.") from None
    jax.distributed.initialize(address, count, number)


def first() -> bool:
    """Whether this is process 0, the one that writes files.

    >>> first()
    True
    """
    return jax.process_index() == 0


def first_alone(f: Callable[[], Any]) -> None:
    """Call f in process 0 while the others wait; a UserError there is raised in all of them.

    >>> first_alone(lambda: print("once"))
    once
    """
    message = ""
    if first():
        try:
            f()
        except UserError as error:
            if jax.process_count() == 1:
                raise
            message = str(error)
    if jax.process_count() > 1 and (message := _broadcast(message)):
        raise UserError(message)


def _broadcast(text):
    """The text of process 0, in every process."""
    own = np.frombuffer(text.encode()[:1000].ljust(1000, b"\0"), np.uint8)
    return bytes(multihost_utils.broadcast_one_to_all(own)).rstrip(b"\0").decode(errors="ignore")
