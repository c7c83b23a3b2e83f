"""Where rows of metrics go beside metrics.jsonl; each writer is row -> None."""

import getpass
import hashlib
import platform
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from gan_jax.errors import UserError


def tensorboard(folder: Path) -> Callable[[dict], None]:
    """Scalars for TensorBoard in the run's folder, opened at the first row; needs the extra [tb]."""
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
    """Weights & Biases, one run for each folder, continued when the run is; needs the extra [wandb]."""
    try:
        import wandb as service
    except ImportError:
        raise UserError("--wandb needs wandb: pip install 'gan_jax[wandb]'.") from None
    about = {"project": "gan_jax", "name": title, "config": config, "dir": str(folder)}
    session = cache(lambda: service.init(**about, id=_identity(folder), resume="allow"))
    return lambda row: session().log(row, step=row["step"])


def _identity(folder):
    """The run's id: its folder's name, and digits that differ for other users, machines and folders of that name."""
    whole = f"{getpass.getuser()} {platform.node()} {folder.resolve()}"
    return f"{folder.name}-{hashlib.sha256(whole.encode()).hexdigest()[:12]}"
