"""What a person looks at: grids of images, clouds of points, curves, spectra, films."""

from gan_jax.show.curves import compare, curves
from gan_jax.show.files import gif, save_png
from gan_jax.show.images import grid, picture, tiles
from gan_jax.show.points import scatter
from gan_jax.show.spectra import singular_values, spectrum

__all__ = [
    "compare",
    "curves",
    "gif",
    "grid",
    "picture",
    "save_png",
    "scatter",
    "singular_values",
    "spectrum",
    "tiles",
]
