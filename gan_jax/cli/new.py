"""`new`: a paper to start from."""

from pathlib import Path

from gan_jax import limits
from gan_jax.errors import UserError
from gan_jax.show import write

TEMPLATE = Path(__file__).with_name("template.py")


def new(
    file: str,  # the file to write, such as mine.py
    /,
) -> None:
    """Write a paper to start from: two small networks on digits, which train as they are in some seconds."""
    path = limits.path(file)
    if path.suffix != ".py":
        raise UserError(f"{file} must end in .py, as in mine.py.")
    if path.exists() or path.is_symlink():
        raise UserError(f"{file} is there already: give another name.")
    write(path, TEMPLATE.read_text().replace("template", path.stem).encode())
    print(f"Wrote {file}. Train it:  python {file}")
