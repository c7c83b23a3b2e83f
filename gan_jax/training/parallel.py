"""The devices and processes that one training runs on: the only file that knows of them.

A training is one program on arrays that span all devices of all processes. The rows of a batch are spread over the
mesh axis "data", the members of a population over "members"; everything else is replicated, or, where asked for, split
by size. XLA adds the sums over devices, so means and batch statistics are those of the whole batch, and random numbers
are drawn for the whole batch: a trajectory does not depend on where it runs.
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
    """A mesh with the axis "data", and "members" before it for a population.

    split_from: leaves of the State of so many numbers or more, of each member, are split over "data"; 0: none is.
    """

    mesh: Mesh
    split_from: int = 0

    @property
    def whole(self) -> NamedSharding:
        """Replicated on every device."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def members(self) -> tuple[str, ...]:
        """The mesh axis of a population's members, () of one training."""
        return self.mesh.axis_names[:-1]

    def by_member(self) -> NamedSharding:
        """Each device has its share of the members; replicated for one training."""
        return NamedSharding(self.mesh, PartitionSpec(*self.members))

    def batches(self) -> NamedSharding:
        """Of [rounds, slices, B, …], or [members, rounds, slices, B, …]: members and rows are spread."""
        return NamedSharding(self.mesh, PartitionSpec(*self.members, None, None, "data"))

    def state(self, x: jax.ShapeDtypeStruct | jax.Array) -> NamedSharding:
        """The sharding of a leaf of the State: split along its longest axis that the devices divide, if it is large."""
        first, data = len(self.members), self.mesh.shape["data"]
        own = x.shape[first:]
        axes = [axis for axis, length in enumerate(own) if length % data == 0]
        if not self.split_from or np.prod(own) < self.split_from or not axes:
            return self.by_member()
        longest = max(axes, key=lambda axis: own[axis])
        return NamedSharding(self.mesh, PartitionSpec(*self.members, *[None] * longest, "data"))

    def abstract(self, state: Tree) -> Tree:
        """Shapes of a State, with the sharding of each leaf."""
        place = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self.state(x))
        return jax.tree.map(place, state)

    def constrain(self, state: Tree) -> Tree:
        """Inside a program: the State keeps its sharding."""
        return jax.tree.map(lambda x: lax.with_sharding_constraint(x, self.state(x)), state)


def layout(batch: int, members: int = 0, devices: int | None = None, split_from: int = 0) -> Layout:
    """The layout of one training (members = 0) or of a population, over all devices or the first so many.

    One training's batch must be divided by the devices. Of a population, as many devices as divide its members share
    those, and of the rest as many as divide the batch share each member's.

    Raises:
        UserError: there are not so many devices, or they do not divide the batch.
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
    """The arrays of `tree`, which every process holds whole, on the devices of one sharding, or of where(leaf)."""

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
    """The rows of each batch that this process reads."""
    p, count = jax.process_index(), jax.process_count()
    return slice(p * batch // count, (p + 1) * batch // count)


def join(tree: Tree, sharding: NamedSharding) -> Tree:
    """Global arrays of what each process has read of them."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)


def whole(tree: Tree) -> Tree:
    """Inside a program: replicated on every device of its mesh, so that every process can read it."""
    if get_abstract_mesh().empty:
        return tree
    return jax.tree.map(lambda x: lax.with_sharding_constraint(x, PartitionSpec()), tree)


def flag(layout: Layout, value: bool) -> jax.Array:
    """bool [devices]: this process's own value on its devices. It never waits for the others."""
    every = NamedSharding(layout.mesh, PartitionSpec(layout.mesh.axis_names))
    return jax.make_array_from_callback((layout.mesh.size,), every, lambda index: np.full(1, value))


def start(how: str) -> None:
    """Join the other processes of a training, before anything else is done with JAX.

    how: "auto" under SLURM, Open MPI, Kubernetes and on TPU pods; on plain hosts "HOST:PORT/PROCESSES/PROCESS", the
    host being process 0's. UserError for another form.
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
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


def first_alone(f: Callable[[], Any]) -> None:
    """f() in the first process, while the others wait. A UserError there is one in all of them."""
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
    """The first process's text, in all."""
    own = np.frombuffer(text.encode()[:1000].ljust(1000, b"\0"), np.uint8)
    return bytes(multihost_utils.broadcast_one_to_all(own)).rstrip(b"\0").decode(errors="ignore")
