"""Which values a field of a Config may have: one rule, used by the flags and by whatever loads a run.

The range of a number is its field's own, `field(default=…, metadata={"least": -1, "most": 1})`, or else the one of its
name below (`width_G` has that of `width`), or else that of its type. The default is always allowed.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from gan_jax.errors import UserError, nearest

BIG = 2**53  # whole numbers up to here are exact in JSON
FLOAT = float(2**128)  # float32 ends here
WHOLE = {  # ranges of whole numbers, by a field's name or what stands before its first _
    **dict.fromkeys(("steps", "schedule", "log_every", "sample_every", "checkpoint_every"), (1, BIG)),
    **{"seed": (0, 2**32 - 1), "batch": (1, 2**31), "samples": (1, 2**31)},
    **{"size": (1, 2**16), "channels": (1, 2**10), "latent": (1, 2**20), "width": (1, 2**16)},
}
REAL = {"lr": (0, FLOAT), "beta1": (0, 1), "beta2": (0, 1)}
MOST, TIMES = 1000, 100  # other whole numbers go from 0 up to MOST, or to TIMES the default where that is more
PLAIN = (bool, int, float, str)


@dataclass(frozen=True)
class Field:
    """A name, its type, its default, and the range of its numbers."""

    name: str
    kind: Any
    default: Any
    least: int | float
    most: int | float


def of(config: Any, most: int = MOST) -> dict[str, Field]:
    """The fields of a dataclass, by name.

    Args:
        config: An instance; its values are the defaults.
        most: What a whole number without a range of its own may be at most.
    """
    hints = get_type_hints(type(config))
    stated = lambda field: {key: field.metadata[key] for key in ("least", "most") if key in field.metadata}
    return {
        field.name: dataclasses.replace(
            named(field.name, hints[field.name], getattr(config, field.name), most), **stated(field)
        )
        for field in dataclasses.fields(config)
    }


def named(name: str, kind: Any, default: Any, most: int = MOST) -> Field:
    """A field with the range of its name or type."""
    if _holds(float, kind):
        ranges, usual = REAL, (-FLOAT, FLOAT)
    else:
        ranges, usual = WHOLE, (0, max(most, TIMES * abs(default)) if type(default) is int else most)
    return Field(name, kind, default, *(ranges.get(name) or ranges.get(name.partition("_")[0]) or usual))


def check(field: Field, value: Any) -> Any:
    """The value as the field holds it: a list from JSON as a tuple, a whole number of a float field as a float.

    Raises:
        UserError: The value is not of the field's type, or out of its range. The sentence starts with "is".
    """
    if not fits(value, field.kind):
        raise UserError(f"is {value!r:.40}: it must be {describe(field.kind)}.")
    if value == field.default or get_origin(field.kind) is Literal:
        return value
    for number in value if isinstance(value, tuple | list) else (value,):
        if type(number) in (int, float) and not field.least <= number <= field.most:
            end = f"{field.least:,} or more" if number < field.least else f"{field.most:,} or less"
            raise UserError(f"is {number!r:.40}: it must be {end}.")
    if isinstance(value, list):
        return tuple(value)
    return float(value) if type(value) is int and not _holds(int, field.kind) else value


def replaced(title: str, config: Any, values: Mapping[str, Any]) -> Any:
    """`config` with values as a run's config.json has them. UserError for a field or a value that it cannot have."""
    known, new = of(config), {}
    for name, value in values.items():
        if name not in known:
            raise UserError(f"{title} has no field {name!r:.60}{nearest(name, known)}.")
        try:
            new[name] = check(known[name], value)
        except UserError as error:
            raise UserError(f"{title}: {name} {error}") from None
    return dataclasses.replace(config, **new)


def check_types(where: str, config: Any) -> None:
    """UserError for a field of a type that neither a flag nor JSON can carry."""
    for name, field in of(config).items():
        if not _is_plain(field.kind):
            kind = getattr(field.kind, "__name__", field.kind)
            raise UserError(
                f"{where}: field {name!r} is of type {kind}, which a flag cannot carry: use"
                " bool, int, float, str, a Literal of such, a tuple of them, or one of them | None."
            )


def _is_plain(kind):
    parts = get_args(kind)
    if get_origin(kind) is Literal:
        return all(type(one) in PLAIN for one in parts)
    if get_origin(kind) is tuple:
        return all(one is Ellipsis or _is_plain(one) for one in parts)
    return all(map(_is_plain, parts)) if get_origin(kind) in (Union, UnionType) else kind in (*PLAIN, NoneType)


def _holds(one, kind):
    """Whether a type is `one`, or a union or tuple with it."""
    return kind is one or any(_holds(one, part) for part in get_args(kind))


def fits(value: Any, kind: Any) -> bool:
    """Whether a value, from JSON or from Python, is of a field's type.

    >>> fits(1, float), fits(1.0, int), fits([1, 2], tuple[int, ...]), fits(None, int | None)
    (True, False, True, True)
    """
    parts = get_args(kind)
    if get_origin(kind) is Literal:
        return any(value == one and type(value) is type(one) for one in parts)
    if get_origin(kind) is tuple:
        parts = parts[:1] * len(value) if isinstance(value, tuple | list) and parts[1:] == (...,) else parts
        return isinstance(value, tuple | list) and len(value) == len(parts) and all(map(fits, value, parts))
    if parts:
        return any(fits(value, one) for one in parts)
    if type(value) in (int, float) and kind is float:
        return math.isfinite(value) if isinstance(value, float) else True
    return value is None if kind is NoneType else type(value) is kind


def describe(kind: Any) -> str:
    """A field's type in words.

    >>> describe(int | None), describe(Literal["a", "b"])
    ('a whole number or None', 'a or b')
    """
    parts = get_args(kind)
    if get_origin(kind) is Literal:
        return ", ".join(map(str, parts[:-1])) + f" or {parts[-1]}" if len(parts) > 1 else str(parts[0])
    if get_origin(kind) is tuple:
        return f"a list of values, each {describe(parts[0])}"
    if parts:
        return " or ".join(map(describe, parts))
    return {bool: "true or false", int: "a whole number", float: "a finite number", str: "text"}.get(kind, "None")
