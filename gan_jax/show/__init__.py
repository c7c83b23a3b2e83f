"""What a person looks at. A modality is a `Show`: images, points, text, series, audio, video.

The rest are pictures of a training: curves, spectra, films.
"""

from gan_jax.show.clouds import points, scatter
from gan_jax.show.curves import compare, curves
from gan_jax.show.default import arrays, infer
from gan_jax.show.files import png, save_png, write
from gan_jax.show.films import film, gif, video, video_at
from gan_jax.show.grids import blocks, grid, images, tiles
from gan_jax.show.lines import audio, audio_at, series, wav
from gan_jax.show.pages import Show
from gan_jax.show.spectra import singular_values, spectrum
from gan_jax.show.words import text, text_of

__all__ = [
    "Show",
    "arrays",
    "audio",
    "audio_at",
    "blocks",
    "compare",
    "curves",
    "film",
    "gif",
    "grid",
    "images",
    "infer",
    "png",
    "points",
    "save_png",
    "scatter",
    "series",
    "singular_values",
    "spectrum",
    "text",
    "text_of",
    "tiles",
    "video",
    "video_at",
    "wav",
    "write",
]
