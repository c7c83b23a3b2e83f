"""Show: how samples of a modality are drawn."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Set = Mapping[str, Any]  # {"x": [n, …]}, and "y" where there are labels or conditions
Files = dict[str, bytes]  # {suffix: content}, e.g. {"png": b"…", "wav": b"…"}

ROW, MEMBERS = 8, 16  # samples in a row of a population's page, and rows at most


@dataclass(frozen=True)
class Show:
    """How samples of a modality are drawn, as files in memory.

    Attributes:
        draw: (samples, real) -> {suffix: content}; `real` is a Set of real examples to compare with, or None.
        n: samples on the page of one training.
        members: ([samples of each member], real) -> {suffix: content}, the page of a population. None stands for
            the files of each member: "0.wav", "1.wav", …. Members may have diverged (see `finite`).
        n_members: samples to draw from each member of a population.
    """

    draw: Callable[[Set, Set | None], Files]
    n: int = 64
    members: Callable[[Sequence[Set], Set | None], Files] | None = None
    n_members: int = ROW

    def page(self, samples: Sequence[Set], real: Set | None = None) -> Files:
        """The files that show one training or a population.

        Args:
            samples: One Set for a single training, one per member for a population.
            real: Real examples to compare with.

        Returns:
            {suffix: content}.

        >>> text = Show(lambda samples, real: {"txt": samples["x"].encode()})
        >>> text.page([{"x": "one training"}])
        {'txt': b'one training'}
        >>> text.page([{"x": "first"}, {"x": "second"}])
        {'0.txt': b'first', '1.txt': b'second'}
        """
        if len(samples) == 1:
            return self.draw(samples[0], real)
        if self.members:
            return self.members(samples, real)
        each = {i: self.draw(one, real) for i, one in enumerate(samples) if finite(one)}
        return {f"{i}.{suffix}": content for i, files in each.items() for suffix, content in files.items()}


def finite(samples: Set) -> bool:
    """Whether all samples are finite. A member of a population that has diverged is left blank on a page.

    >>> finite({"x": np.array([0.0, np.nan])})
    False
    """
    leaves = [np.asarray(leaf) for leaf in samples.values()]
    return all(np.isfinite(leaf).all() for leaf in leaves if leaf.dtype.kind == "f")
