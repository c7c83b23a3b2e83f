"""Compiled programs, kept between processes by JAX's persistent cache."""

import contextlib
import hashlib
import os
import platform
from pathlib import Path
from typing import Any

import jax

LEAST = 0.1  # seconds of compilation that are worth a file


def keep_programs(folder: str | Path | None = None) -> Path | None:
    """Have JAX keep compiled programs in `folder`, by default programs/ in $GAN_JAX_CACHE or ~/.cache/gan_jax.

    A folder that is configured already, as by the environment variable JAX_COMPILATION_CACHE_DIR, is left as it is, and
    so is JAX where the folder cannot be written. Files of another kind of CPU lie in a folder of their own.

    Returns:
        The folder in use, None where there is none.
    """
    config: Any = jax.config
    configured = config.jax_compilation_cache_dir
    if configured and folder is None:
        return Path(configured)
    with contextlib.suppress(OSError, RuntimeError):  # a read-only place, no home
        base = os.environ.get("GAN_JAX_CACHE") or "~/.cache/gan_jax"
        place = (Path(folder) if folder else Path(base) / "programs").expanduser() / _machine()
        place.mkdir(parents=True, exist_ok=True)
        if os.access(place, os.W_OK):
            jax.config.update("jax_compilation_cache_dir", str(place))
            if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
                jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST)
            return place
    return None


def _machine():
    """A name that differs for CPUs of other features, whose programs would not run here."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:8]}"
