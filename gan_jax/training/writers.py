"""Where rows of metrics go beside metrics.jsonl; each writer is row -> None."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from gan_jax.errors import UserError


def tensorboard(folder: Path) -> Callable[[dict], None]:
    """Scalars for TensorBoard in the run's folder, which the first row finds made; needs the extra [tb]."""
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
    """Weights & Biases, one run a folder, which the first row finds made; continued when the run is. Extra [wandb]."""
    try:
        import wandb as service
    except ImportError:
        raise UserError("--wandb needs wandb: pip install 'gan_jax[wandb]'.") from None
    about = {"project": "gan_jax", "name": title, "config": config, "dir": str(folder), "id": folder.name}
    session = cache(lambda: service.init(**about, resume="allow"))
    return lambda row: session().log(row, step=row["step"])
