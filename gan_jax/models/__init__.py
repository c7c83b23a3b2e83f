"""Networks of the papers, a module for each family."""

from gan_jax.models import dcgan, pacdcgan, r3gan, toy, translation

__all__ = ["dcgan", "pacdcgan", "r3gan", "toy", "translation"]
