"""Time series and audio: lines, and WAV files."""

import io
import wave

import numpy as np

from gan_jax.errors import UserError
from gan_jax.show.files import figure_png
from gan_jax.show.pages import MEMBERS, Show, finite

COLUMNS = 4  # panels in a row
PAUSE = 0.2  # seconds of silence after each sample of a WAV file


def audio_at(rate: int, n: int = 8) -> Show:
    """Audio [n, t, 1 or 2], floats in [-1, 1], at `rate` samples a second.

    One 16-bit WAV file with the samples one after another, and a picture of the waveforms; for a population the files
    of each member.

    >>> audio_at(16_000).n
    8
    """

    def draw(samples, real):
        x = _checked(samples["x"], "Audio needs floats [n, t, 1 or 2]")
        if x.shape[2] > 2:
            raise UserError(f"Audio needs floats [n, t, 1 or 2]; this has shape {list(x.shape)}.")
        return {"wav": wav(x, rate), "png": _panels(x, COLUMNS, low=-1, high=1)}

    return Show(draw, n=n, n_members=n)


def wav(x: np.ndarray, rate: int) -> bytes:
    """Floats [n, t, channels] in [-1, 1] as a 16-bit WAV file, one after another with PAUSE seconds between.

    Values beyond ±1 are clipped.

    >>> wav(np.zeros((2, 160, 1)), rate=16_000)[:4]
    b'RIFF'
    """
    x = np.pad(np.clip(x, -1, 1), ((0, 0), (0, round(PAUSE * rate)), (0, 0)))
    levels, file = np.rint(x * 32767).astype("<i2"), io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(x.shape[2])
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(levels.tobytes())
    return file.getvalue()


audio = audio_at(16_000)
"""`audio_at` 16 kHz."""


def _series(samples, real):
    return {"png": _drawn([samples], COLUMNS**2, real)}


def _members(samples, real):
    drawn = [one if finite(one) else {"x": np.zeros_like(one["x"])} for one in samples[:MEMBERS]]
    return {"png": _drawn(drawn, COLUMNS, real)}


series = Show(_series, n=COLUMNS**2, members=_members, n_members=COLUMNS)
"""Time series [n, t, d]: a panel each with d lines, on the scale of the real series, which are drawn faintly behind;
for a population a row per member, of the first MEMBERS."""


def _drawn(sets, n, real):
    said = "A picture of series needs [n, t, d]"
    x = np.concatenate([_checked(one["x"], said)[:n] for one in sets])
    if real is None:
        return _panels(x, COLUMNS)
    behind = _checked(real["x"], said)
    low, high = behind.min(), behind.max()
    room = (high - low or 1) / 16
    return _panels(x, COLUMNS, behind, low - room, high + room)


def _checked(x, said):
    x = np.asarray(x)
    if x.ndim != 3 or x.dtype.kind != "f" or not x.size:
        raise UserError(f"{said}; this is {x.dtype} {list(x.shape)}.")
    if not np.isfinite(x).all():
        raise UserError("Some of the samples to draw are not finite: the training has diverged.")
    return x


def _panels(x, columns, behind=None, low=None, high=None):
    """A panel per sample [t, d], in front of the same number of `behind`."""
    from matplotlib.figure import Figure

    columns = min(columns, len(x))
    rows = -(-len(x) // columns)
    figure = Figure(figsize=(2.4 * columns, 0.4 + 1.3 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for i, panel in enumerate(panels):
        panel.set_visible(i < len(x))
        if behind is not None:
            panel.plot(behind[i % len(behind)], color="0.8", linewidth=0.8)
        if i < len(x):
            panel.plot(x[i], linewidth=0.8)
    panels[0].set_ylim(low, high)
    return figure_png(figure)
