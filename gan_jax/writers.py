"""Where rows of metrics go beside metrics.jsonl; each writer is row -> None."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gan_jax.errors import UserError


def tensorboard(folder: Path) -> Callable[[dict], None]:
    """Scalars for TensorBoard in the run's folder; needs the extra [tb]."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise UserError("--tensorboard needs tensorboardX: pip install 'gan_jax[tb]'.") from None
    writer = SummaryWriter(str(folder / "tensorboard"))

    def write(row):
        for name, value in row.items():
            writer.add_scalar(name, value, row["step"])
        writer.flush()

    return write


def wandb(folder: Path, title: str, config: dict[str, Any]) -> Callable[[dict], None]:
    """Weights & Biases, one run a folder, continued when the run is; needs the extra [wandb]."""
    try:
        import wandb as service
    except ImportError:
        raise UserError("--wandb needs wandb: pip install 'gan_jax[wandb]'.") from None
    session = service.init(
        project="gan_jax", name=title, config=config, dir=str(folder), id=folder.name, resume="allow"
    )
    return lambda row: session.log(row, step=row["step"])
