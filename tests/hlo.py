"""Reading what XLA made of a program."""

import re

CANONICAL = {"b01f_01io->b01f", "b0f_0io->b0f"}


def pathological_convolutions(text: str) -> list[str]:
    """The convolutions in `compiled.as_text()` that XLA's CPU backend runs as a naive loop nest, 20 times slower.

    They reverse their kernel, or their layout escaped the pass that mends it, which sees the entry computation alone.
    """
    found, in_entry = [], False
    for line in text.splitlines():
        if line.endswith("{") and not line.startswith(" "):
            in_entry = line.startswith("ENTRY")
        if not re.search(r"[\])}] convolution\(", line):
            continue
        labels = re.search(r"dim_labels=([\w>-]+)", line).group(1)
        if "rhs_reversal" in line or (not in_entry and labels not in CANONICAL):
            found.append(line.strip())
    return found
