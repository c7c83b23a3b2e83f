"""Which values a field of a Config may have: one rule, used by the flags and by whatever loads a run.

A number's range is its field's own, `field(default=…, metadata={"least": -1, "most": 1})`, or else the one below of its
name (`width_G` has that of `width`), or else that of its type. The default is always allowed.
"""

import dataclasses
import math
from collections.abc import Mapping
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from gan_jax.errors import UserError, nearest

BIG = 2**53  # integers up to here are exact in JSON
FLOAT = float(2**128)  # float32's end
# Of fields that papers share, by the whole name or by what stands before its first _.
RANGES: dict[str, tuple[int | float, int | float]] = {
    "steps": (1, BIG),
    "schedule": (1, BIG),
    "batch": (1, 2**31),
    "seed": (0, 2**32 - 1),
    "samples": (1, 2**31),
    "size": (1, 2**16),
    "channels": (1, 2**10),
    "latent": (1, 2**20),
    "width": (1, 2**16),
    "lr": (0, FLOAT),
    "beta1": (0, 1),
    "beta2": (0, 1),
}
MOST, TIMES = 1000, 100  # other whole numbers go up to MOST, or to TIMES the default where that is more
PLAIN = (bool, int, float, str)


def kinds(config: Any) -> dict[str, Any]:
    """{field: type} of a dataclass."""
    hints = get_type_hints(type(config))
    return {field.name: hints[field.name] for field in dataclasses.fields(config)}


def limits(config: Any, name: str) -> tuple[int | float, int | float]:
    """The least and the most that a number of this field may be."""
    field = type(config).__dataclass_fields__[name]
    default = getattr(config, name) if field.default is dataclasses.MISSING else field.default
    size = abs(default) if type(default) is int else 0
    usual = (-FLOAT, FLOAT) if _holds(float, kinds(config)[name]) else (0, max(MOST, TIMES * size))
    least, most = RANGES.get(name) or RANGES.get(name.partition("_")[0]) or usual
    return field.metadata.get("least", least), field.metadata.get("most", most)


def check(config: Any, name: str, value: Any) -> Any:
    """The value as the field holds it: a list from JSON as a tuple, a whole number of a float field as a float.

    Raises:
        UserError: the value is not of the field's type, or out of its range. The sentence starts with "is".
    """
    kind, default = kinds(config)[name], getattr(config, name)
    if not fits(value, kind):
        raise UserError(f"is {value!r:.40}: it must be {describe(kind)}.")
    if value == default or get_origin(kind) is Literal:
        return default
    least, most = limits(config, name)
    for number in value if isinstance(value, tuple | list) else (value,):
        if type(number) in (int, float) and not least <= number <= most:
            end = f"{least:,} or more" if number < least else f"{most:,} or less"
            raise UserError(f"is {number!r:.40}: it must be {end}.")
    if isinstance(value, list):
        return tuple(value)
    return float(value) if type(value) is int and not _holds(int, kind) else value


def replaced(title: str, config: Any, values: Mapping[str, Any]) -> Any:
    """`config` with values as a run's config.json has them. UserError for a field or a value that it cannot have."""
    known, new = kinds(config), {}
    for name, value in values.items():
        if name not in known:
            raise UserError(f"{title} has no field {name!r}{nearest(name, known)}.")
        try:
            new[name] = check(config, name, value)
        except UserError as error:
            raise UserError(f"{title}: {name} {error}") from None
    return dataclasses.replace(config, **new)


def check_types(where: str, config: Any) -> None:
    """UserError for a field of a type that neither a flag nor JSON can carry."""
    for name, kind in kinds(config).items():
        if not _is_plain(kind):
            raise UserError(
                f"{where}: field {name!r} is of type {getattr(kind, '__name__', kind)}, which a flag cannot carry: use"
                " bool, int, float, str, a Literal of such, a tuple of them, or one of them | None."
            )


def _is_plain(kind):
    parts = get_args(kind)
    if get_origin(kind) is Literal:
        return all(type(one) in PLAIN for one in parts)
    if get_origin(kind) is tuple:
        return all(one is Ellipsis or _is_plain(one) for one in parts)
    return all(map(_is_plain, parts)) if parts else kind in (*PLAIN, NoneType)


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
