"""Loggers in addition to metrics.jsonl: functions row -> None."""

import getpass
import hashlib
import platform
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from gan_jax.errors import UserError


def tensorboard(folder: Path) -> Callable[[dict], None]:
    """A writer of TensorBoard scalars to tensorboard/ in the run's folder, created with the first row.

    Raises:
        UserError: tensorboardX is not installed (the extra [tb]).
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise UserError("--tensorboard needs tensorboardX: pip install 'gan_jax[tb]'.") from None
    writer = cache(lambda: SummaryWriter(str(folder / "tensorboard")))

    def write(row):
        for name, value in row.items():
            writer().add_scalar(name, value, row["step"])
        writer().flush()

    return write


def wandb(folder: Path, title: str, config: dict[str, Any]) -> Callable[[dict], None]:
    """A writer to Weights & Biases. Each run folder is one run there, which is resumed with the training.

    Args:
        folder: The run's folder.
        title: Name of the run, such as "dcgan:digits".
        config: Its hyper-parameters.

    Raises:
        UserError: wandb is not installed (the extra [wandb]).
    """
    try:
        import wandb as service
    except ImportError:
        raise UserError("--wandb needs wandb: pip install 'gan_jax[wandb]'.") from None
    about = {"project": "gan_jax", "name": title, "config": config, "dir": str(folder)}
    session = cache(lambda: service.init(**about, id=_identity(folder), resume="allow"))
    return lambda row: session().log(row, step=row["step"])


def _identity(folder):
    """The run's id: the folder's name and a hash of user, machine and path."""
    whole = f"{getpass.getuser()} {platform.node()} {folder.resolve()}"
    return f"{folder.name}-{hashlib.sha256(whole.encode()).hexdigest()[:12]}"
