"""The Inception-v3 of the Fréchet Inception distance: the graph of 2015-12-05, as pytorch-fid converted it.

It differs from the network of Szegedy et al. 2016 in its pools: averages leave out the padding, and the last block has
a maximum. It has 1,008 classes, and batch normalisation with ε = 10⁻³, here folded into the convolutions.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gan_jax import limits
from gan_jax.errors import UserError

SIZE = 299  # pixels
TAPS = {"64": 64, "192": 192, "768": 768, "2048": 2048, "logits_unbiased": 1008, "logits": 1008}
FILE, SHA256 = "pt_inception-2015-12-05-6726825d.pth", "6726825d"  # its first digits
EPSILON = 1e-3


class InceptionV3(nn.Module):
    """Images [b, 299, 299, 3] in 0 … 255 -> {tap: [b, d]}: spatial means of four layers, and the logits.

    The layers have the names in the file.
    """

    @nn.compact
    def __call__(self, images: Float[Array, "b h w c"]) -> dict[str, Float[Array, "b _"]]:
        at = lambda block: lambda x, layer, *how: self.conv(x, f"{block}.{layer}", *how)
        x, taps = (images - 128) / 128, {}
        x = self.conv(x, "Conv2d_1a_3x3", 32, 3, 2, "VALID")
        x = self.conv(x, "Conv2d_2a_3x3", 32, 3, 1, "VALID")
        x = _halve(self.conv(x, "Conv2d_2b_3x3", 64, 3))
        taps["64"] = x.mean((1, 2))
        x = self.conv(x, "Conv2d_3b_1x1", 80, 1)
        x = _halve(self.conv(x, "Conv2d_4a_3x3", 192, 3, 1, "VALID"))
        taps["192"] = x.mean((1, 2))
        for name, features in {"Mixed_5b": 32, "Mixed_5c": 64, "Mixed_5d": 64}.items():
            x = _block_35(at(name), x, features)
        x = _block_35_to_17(at("Mixed_6a"), x)
        for name, features in {"Mixed_6b": 128, "Mixed_6c": 160, "Mixed_6d": 160, "Mixed_6e": 192}.items():
            x = _block_17(at(name), x, features)
        taps["768"] = x.mean((1, 2))
        x = _block_17_to_8(at("Mixed_7a"), x)
        x = _block_8(at("Mixed_7b"), x, _average(x))
        x = _block_8(at("Mixed_7c"), x, nn.max_pool(x, (3, 3), padding="SAME"))
        taps["2048"] = x.mean((1, 2))
        taps["logits_unbiased"] = nn.Dense(1008, use_bias=False, name="fc")(taps["2048"])
        taps["logits"] = taps["logits_unbiased"] + self.param("fc_bias", nn.initializers.zeros, (1008,))
        return taps

    def conv(self, x, name, features, kernel, stride=1, padding="SAME"):
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        return nn.relu(nn.Conv(features, kernel, stride, padding, name=name)(x))


def _block_35(conv, x, pooled):
    b = conv(conv(x, "branch5x5_1", 48, 1), "branch5x5_2", 64, 5)
    c = conv(conv(x, "branch3x3dbl_1", 64, 1), "branch3x3dbl_2", 96, 3)
    c = conv(c, "branch3x3dbl_3", 96, 3)
    return jnp.concatenate([conv(x, "branch1x1", 64, 1), b, c, conv(_average(x), "branch_pool", pooled, 1)], -1)


def _block_35_to_17(conv, x):
    b = conv(conv(x, "branch3x3dbl_1", 64, 1), "branch3x3dbl_2", 96, 3)
    b = conv(b, "branch3x3dbl_3", 96, 3, 2, "VALID")
    return jnp.concatenate([conv(x, "branch3x3", 384, 3, 2, "VALID"), b, _halve(x)], -1)


def _block_17(conv, x, width):
    b = conv(conv(x, "branch7x7_1", width, 1), "branch7x7_2", width, (1, 7))
    b = conv(b, "branch7x7_3", 192, (7, 1))
    c = conv(conv(x, "branch7x7dbl_1", width, 1), "branch7x7dbl_2", width, (7, 1))
    c = conv(conv(c, "branch7x7dbl_3", width, (1, 7)), "branch7x7dbl_4", width, (7, 1))
    c = conv(c, "branch7x7dbl_5", 192, (1, 7))
    return jnp.concatenate([conv(x, "branch1x1", 192, 1), b, c, conv(_average(x), "branch_pool", 192, 1)], -1)


def _block_17_to_8(conv, x):
    a = conv(conv(x, "branch3x3_1", 192, 1), "branch3x3_2", 320, 3, 2, "VALID")
    b = conv(conv(x, "branch7x7x3_1", 192, 1), "branch7x7x3_2", 192, (1, 7))
    b = conv(conv(b, "branch7x7x3_3", 192, (7, 1)), "branch7x7x3_4", 192, 3, 2, "VALID")
    return jnp.concatenate([a, b, _halve(x)], -1)


def _block_8(conv, x, pooled):
    split = lambda x, layer: [conv(x, f"{layer}a", 384, (1, 3)), conv(x, f"{layer}b", 384, (3, 1))]
    b = conv(x, "branch3x3_1", 384, 1)
    c = conv(conv(x, "branch3x3dbl_1", 448, 1), "branch3x3dbl_2", 384, 3)
    b, c = split(b, "branch3x3_2"), split(c, "branch3x3dbl_3")
    return jnp.concatenate([conv(x, "branch1x1", 320, 1), *b, *c, conv(pooled, "branch_pool", 192, 1)], -1)


def _halve(x):
    return nn.max_pool(x, (3, 3), (2, 2))


def _average(x):
    return nn.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False)


def load(file: str | Path) -> dict[str, Any]:
    """The weights in pytorch-fid's file. UserError for any other file, and without PyTorch, which reads it."""
    path = Path(file).expanduser()
    if not path.is_file():
        raise UserError(f"There is no file '{path}': give the weights of FID's Inception, {FILE}.")
    limits.check(limits.size(path), f"'{path}'", limits.small())
    found = hashlib.sha256(path.read_bytes()).hexdigest()[: len(SHA256)]
    if found != SHA256:
        raise UserError(
            f"'{path}' is not the published {FILE}: its sha256 begins with {found}, not {SHA256}; download it again."
        )
    try:
        import torch
    except ImportError as error:
        raise UserError(f"'{path}' is read with PyTorch, which is missing: pip install torch.") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return convert({name: tensor.numpy() for name, tensor in state.items()})
    except Exception as error:  # another file may have the same short checksum
        raise UserError(f"'{path}' holds other things than the weights of {FILE}: download it again.") from error


def convert(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """{PyTorch's name: array} -> the network's weights, with batch normalisation folded in: W γ/σ and β − μ γ/σ."""
    weights: dict[str, Any] = {"fc": {"kernel": state["fc.weight"].T}, "fc_bias": state["fc.bias"]}
    for name in (key.removesuffix(".conv.weight") for key in state if key.endswith(".conv.weight")):
        kernel = state[f"{name}.conv.weight"].transpose(2, 3, 1, 0).astype(np.float64)
        of = lambda part, name=name: state[f"{name}.bn.{part}"].astype(np.float64)
        scale = of("weight") / np.sqrt(of("running_var") + EPSILON)
        weights[name] = {"kernel": kernel * scale, "bias": of("bias") - of("running_mean") * scale}
    return jax.tree.map(lambda x: np.ascontiguousarray(x, np.float32), weights)
