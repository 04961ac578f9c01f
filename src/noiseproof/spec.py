"""The grammar of perturbations and augmentations: ``name``, ``name:value``, ``name:key=value,key=value``, ``a:1+b:2``.

Parts joined by ``+`` are applied from left to right. A value is a number, a fraction such as ``8/255``, or
``yes``/``no``; the first value may stand without its key. The parts are frozen dataclasses, whose fields are the keys.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import types
import typing
from typing import Any, TypeVar

from noiseproof.errors import InvalidArgumentError, UnknownNameError
from noiseproof.registry import Registry

__all__ = ["format_part", "parse"]

T = TypeVar("T")
_BOOLEANS = {"yes": True, "true": True, "no": False, "false": False}


def parse(spec: str, registry: Registry[type[T]]) -> list[T]:
    """Return the parts that ``spec`` names, in order.

    Raises:
        UnknownNameError: no part of that name, or no such key.
        InvalidArgumentError: a value that is no number or not allowed, a key given twice or left out.
    """
    if not spec.strip():
        raise InvalidArgumentError(f"a {registry.kind} must not be empty; known: {', '.join(registry)}")
    return [_parse_part(part.strip(), spec, registry) for part in _split_parts(spec)]


def format_part(name: str, part: Any) -> str:
    """Return the canonical text of a part: every key that differs from its default, numbers in full."""
    shown = []
    hints = typing.get_type_hints(type(part))
    for field in sorted(dataclasses.fields(part), key=lambda field: bool(field.kw_only)):
        value = getattr(part, field.name)
        if field.default is dataclasses.MISSING or value != field.default:
            shown.append(f"{field.name}={_format(value, hints[field.name])}")
    return f"{name}:{','.join(shown)}" if shown else name


def _format(value: Any, hint: Any) -> str:
    """Write a value so that equal values of whatever numeric type give one text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, numbers.Real):
        return repr(float(value)) if float in _kinds(hint) else repr(int(float(value)))
    return str(value)


def _kinds(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _split_parts(spec: str) -> list[str]:
    """Split at ``+``, but not inside a number such as ``1e+3``."""
    parts: list[str] = []
    for piece in spec.split("+"):
        if (
            parts
            and len(parts[-1]) > 1
            and parts[-1][-1] in "eE"
            and parts[-1][-2] in "0123456789."
            and piece[:1].isdigit()
        ):
            parts[-1] += "+" + piece
        else:
            parts.append(piece)
    return parts


def _parse_part(part: str, spec: str, registry: Registry[type[T]]) -> T:
    name, _, arguments = part.partition(":")
    if not name.strip():
        raise InvalidArgumentError(f"{registry.kind} {spec!r} has an empty part")
    kind = registry[name.strip()]
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for position, argument in enumerate(filter(None, (piece.strip() for piece in arguments.split(",")))):
        key, given, text = argument.partition("=")
        if not given:
            if position > 0 or all(field.kw_only for field in fields.values()):
                raise InvalidArgumentError(f"{registry.kind} {spec!r}: write {argument!r} as key=value; "
                                           f"{name} takes {', '.join(fields) or 'no values'}")  # fmt: skip
            key, text = next(key for key, field in fields.items() if not field.kw_only), argument
        key = key.strip()
        if key not in fields:
            raise UnknownNameError(f"key of the {registry.kind} {name!r}:", key, fields)
        if key in values:
            raise InvalidArgumentError(f"{registry.kind} {spec!r} gives {key!r} twice")
        values[key] = _convert(text.strip(), hints[key], f"{key} of the {registry.kind} {name!r}")
    missing = [key for key, field in fields.items() if field.default is dataclasses.MISSING and key not in values]
    if missing:
        raise InvalidArgumentError(
            f"{registry.kind} {spec!r} needs {', '.join(missing)}, as in '{name}:{missing[0]}=…'"
        )
    return kind(**values)


def _convert(text: str, hint: Any, what: str) -> Any:
    kinds = _kinds(hint)
    if bool in kinds and text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    if bool in kinds and kinds == (bool,):
        raise InvalidArgumentError(f"{what} must be yes or no, got {text!r}")
    if str in kinds:
        return text
    number = _number(text, what)
    if int in kinds and number.is_integer():
        return int(number)
    if float in kinds:
        return number
    raise InvalidArgumentError(f"{what} must be a whole number, got {text!r}")


def _number(text: str, what: str) -> float:
    numerator, slash, denominator = text.partition("/")
    try:
        number = float(numerator) / float(denominator) if slash else float(numerator)
    except (ValueError, ZeroDivisionError):
        number = math.nan
    if not math.isfinite(number):
        raise InvalidArgumentError(f"{what} must be a number or a fraction such as 8/255, got {text!r}")
    return number
