"""The devices and processes that one training runs on: the only file that knows of them.

A training is one program on arrays that span all devices of all processes. The rows of a batch are spread over them,
or the members of a population; everything else is whole on each, or, where asked for, split by size. XLA adds the
sums over devices, so means and batch statistics are those of the whole batch, and what is random is drawn for the
whole batch: a trajectory does not depend on where it runs.
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
    """A mesh of one axis, "data" or "members", and from how many numbers on a leaf of the State is split over it."""

    mesh: Mesh
    split_from: int = 0  # 0: none is

    @property
    def whole(self) -> NamedSharding:
        """All of it on every device."""
        return NamedSharding(self.mesh, PartitionSpec())

    def spread(self, axis: int = 0) -> NamedSharding:
        """Each device has its share along that axis."""
        return NamedSharding(self.mesh, PartitionSpec(*[None] * axis, *self.mesh.axis_names))

    def state(self, x: jax.ShapeDtypeStruct | jax.Array) -> NamedSharding:
        """Where a leaf of the State lies: a population's is spread by its members; one of at least `split_from`
        numbers along its longest axis that the devices divide; any other is whole."""
        if self.mesh.axis_names == ("members",):
            return self.spread()
        axes = [axis for axis, length in enumerate(x.shape) if length % self.mesh.size == 0]
        if not self.split_from or x.size < self.split_from or not axes:
            return self.whole
        return self.spread(max(axes, key=lambda axis: x.shape[axis]))

    def abstract(self, state: Tree) -> Tree:
        """Shapes of a State, with where each leaf is to lie."""
        place = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self.state(x))
        return jax.tree.map(place, state)

    def hold(self, state: Tree) -> Tree:
        """Inside a program: the State stays where it lies."""
        return jax.tree.map(lambda x: lax.with_sharding_constraint(x, self.state(x)), state)


def for_batch(batch: int, devices: int | None = None, split_from: int = 0) -> Layout:
    """The layout of one training, over all devices or the first so many. UserError if they do not divide the batch."""
    count = devices or jax.device_count()
    if not 1 <= count <= jax.device_count():
        raise UserError(f"There are {jax.device_count()} devices, not {count}: give --devices {jax.device_count()}.")
    if count % jax.process_count():
        raise UserError(f"{jax.process_count()} processes cannot share {count} devices: leave --devices out.")
    if batch % count:
        below, above = batch - batch % count, batch + count - batch % count
        near = f"--batch {below} or {above}" if below else f"--batch {above}"
        fewer = max(k for k in range(1, count + 1) if batch % k == 0)
        also = f", or --devices {fewer}" if jax.process_count() == 1 else ""
        raise UserError(f"A batch of {batch} does not divide over {count} devices: give {near}{also}.")
    return Layout(_mesh(count, "data"), split_from)


def for_members(members: int) -> Layout:
    """The layout of a population: over the most devices that divide its members."""
    count = max(k for k in range(1, members + 1) if members % k == 0 and k <= jax.device_count())
    return Layout(_mesh(count, "members"))


def _mesh(count, axis):
    return Mesh(np.array(jax.devices()[:count]), (axis,), axis_types=(AxisType.Auto,))


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


def rows(x: Tree) -> Tree:
    """Inside a program: x with its rows spread over the devices that it runs on, if they divide them.

    What is drawn inside a program lies nowhere yet; without this, all devices would do the same work on it.
    """
    mesh = get_abstract_mesh()
    if "data" not in mesh.axis_names or not np.ndim(x) or len(x) % mesh.shape["data"]:
        return x
    return lax.with_sharding_constraint(x, PartitionSpec("data"))


def whole(tree: Tree) -> Tree:
    """Inside a program: all of it on every device that it runs on, so that every process can read it."""
    if get_abstract_mesh().empty:
        return tree
    return jax.tree.map(lambda x: lax.with_sharding_constraint(x, PartitionSpec()), tree)


def flag(layout: Layout, value: bool) -> jax.Array:
    """bool [devices]: this process's own value on its devices. It never waits for the others."""
    return jax.make_array_from_callback((layout.mesh.size,), layout.spread(), lambda index: np.full(1, value))


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
    """f() in the first process, and the others wait. A UserError there is one in all of them."""
    said = ""
    if first():
        try:
            f()
        except UserError as error:
            if jax.process_count() == 1:
                raise
            said = str(error)
    if jax.process_count() > 1 and (said := _told(said)):
        raise UserError(said)


def _told(text):
    """The first process's text, in all."""
    own = np.frombuffer(text.encode()[:1000].ljust(1000, b"\0"), np.uint8)
    return bytes(multihost_utils.broadcast_one_to_all(own)).rstrip(b"\0").decode(errors="ignore")
