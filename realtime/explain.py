"""Why a setting is refused, in words for the person who wrote it: which key, the value seen, what is allowed."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

import msgspec
from msgspec import inspect

STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
FIELD = re.compile(r"Object (missing required|contains unknown) field `(.+?)`")


def explained(error: msgspec.ValidationError, cls: type, table: dict[str, Any], where: str) -> str:
    """One line about the first wrong value in `table`, the settings of a `cls` that `where` names."""
    message, _, path = str(error).partition(" - at `$")
    path = path.rstrip("`")
    kind, value, place = inspect.type_info(cls), table, where
    for name, number in STEP.findall(path):
        step: Any = int(number) if number else name
        kind, value = _inner(kind, step), value[step]
        place += f"[{number}]" if number else f".{name}"
    if field := FIELD.fullmatch(message):
        key = f"{place}.{field[2]}"
        names = [f.name for f in getattr(_given(kind), "fields", ())]
        return f"{key} is missing and has no default: give it" if "missing" in field[1] else unknown(key, place, names)
    if isinstance(error.__cause__, ValueError):  # raised by the class itself
        return f"{place}: {message}"
    return f"{place} must be {allowed(kind)}, not {shown(value)}{_as_a_list(kind, value)}"


def _as_a_list(kind: inspect.Type, value: Any) -> str:
    """For one thing where several may stand: how one is written."""
    plain = kind.type if isinstance(kind, inspect.Metadata) else kind
    is_list = isinstance(plain, inspect.VarTupleType | inspect.ListType)
    return f"; write [{shown(value)}]" if is_list and isinstance(value, str | int | float) else ""


def unknown(key: str, place: str, names: Iterable[str]) -> str:
    """A key that nobody knows."""
    names = list(names)
    hint = did_you_mean(key.rpartition(".")[2], names)
    return f"{key} is not a setting{hint}; {place} has {', '.join(names) or 'no settings'}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean x?)`, or nothing."""
    close = get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def shown(value: Any) -> str:
    """A value as it is written in TOML."""
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {shown(item)}' for key, item in value.items())} }}"
    if isinstance(value, str):
        return f'"{value}"'
    return str(value).lower() if isinstance(value, bool) else str(value)


def allowed(kind: inspect.Type) -> str:
    """What a setting of this kind may be."""
    match kind:
        case inspect.FloatType() | inspect.IntType():
            return ("a number" if isinstance(kind, inspect.FloatType) else "a whole number") + _range(kind)
        case inspect.AnyType():
            return "any value"
        case inspect.BoolType():
            return "true or false"
        case inspect.StrType(min_length=least, max_length=most):
            return f"text of {least or 0} to {most} characters" if most else "text"
        case inspect.LiteralType(values=values):
            *first, last = map(shown, values)
            return f"{', '.join(first)} or {last}" if first else last
        case inspect.TupleType(item_types=items):
            return f"a list of {len(items)}, each {allowed(items[0])}"
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            return f"a list, each {allowed(item)}"
        case inspect.DictType(value_type=item):
            return f"a table, each value {allowed(item)}"
        case inspect.Metadata(extra={"path": True}):
            return "a path"
        case inspect.Metadata(type=inner):
            return allowed(inner)
        case inspect.UnionType(types=kinds):
            return " or ".join(allowed(part) for part in kinds if not isinstance(part, inspect.NoneType))
        case _:
            return "a table"


def _range(kind: inspect.FloatType | inspect.IntType) -> str:
    signs = ((">", kind.gt), ("≥", kind.ge), ("<", kind.lt), ("≤", kind.le))
    limits = [f"{sign} {limit:g}" for sign, limit in signs if limit is not None]
    return " " + " and ".join(limits) if limits else ""


def _given(kind: inspect.Type) -> inspect.Type:
    """Of what may be left out, the kind that it has where it is given."""
    if not isinstance(kind, inspect.UnionType):
        return kind
    return next(part for part in kind.types if not isinstance(part, inspect.NoneType))


def _inner(kind: inspect.Type, step: str | int) -> inspect.Type:
    """The kind of what lies one step inside."""
    match kind:
        case inspect.Metadata(type=inner):
            return _inner(inner, step)
        case inspect.UnionType(types=kinds):
            return _inner(next(part for part in kinds if not isinstance(part, inspect.NoneType)), step)
        case inspect.TupleType(item_types=items) if isinstance(step, int):
            return items[step]
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            return item
        case inspect.StructType(fields=fields) | inspect.DataclassType(fields=fields):
            return next(f.type for f in fields if f.name == step)
        case _:
            return kind
