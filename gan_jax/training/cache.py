"""JAX's persistent compilation cache: compiled programs are reused by later processes."""

import contextlib
import hashlib
import os
import platform
from pathlib import Path
from typing import Any

import jax

LEAST = 0.1  # seconds: programs that compile faster are not cached


def keep_programs(folder: str | Path | None = None) -> Path | None:
    """Turn on JAX's persistent compilation cache.

    A cache folder that is configured already, for instance by the environment variable JAX_COMPILATION_CACHE_DIR, takes
    precedence over the default. Each kind of CPU has a subfolder of its own.

    Args:
        folder: Where to store programs; None: programs/ in $GAN_JAX_CACHE or in ~/.cache/gan_jax.

    Returns:
        The folder in use; None if it cannot be written, in which case nothing is cached.
    """
    config: Any = jax.config
    configured = config.jax_compilation_cache_dir
    if configured and folder is None:
        return Path(configured)
    with contextlib.suppress(OSError, RuntimeError):  # read-only, or no home directory
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
    """A name for the CPU's architecture and features: programs for another CPU might not run here."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:8]}"
