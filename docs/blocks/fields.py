"""Tables of a document's keys from its pydantic model: key, what may stand there, default, meaning.

What may stand there follows from the model's types and bounds; what a key means is written by hand in `meanings`. A
key without a meaning, and a meaning without a key, are errors.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from blocks.markdown import code, table
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

_PLAIN: Mapping[type, str] = {
    bool: "`true` or `false`",
    int: "whole number",
    float: "number",
    str: "text",
    date: "date, as 2026-12-31",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One key of a document."""

    path: str
    values: str
    default: str


def field_table(model: type[BaseModel], meanings: Mapping[str, str], *, what: str) -> str:
    """The table of all keys of a model, nested ones with their path.

    Raises:
        SystemExit: Keys and meanings do not fit together.
    """
    rows = list(_rows(model, ""))
    paths = {row.path for row in rows}
    if paths != meanings.keys():
        unlike = ", ".join(sorted(paths ^ meanings.keys()))
        raise SystemExit(f"docs/blocks/meanings.py: the meanings of {what} and its model differ in: {unlike}")
    return table(
        ("key", "what may stand there", "if left out", "meaning"),
        [(code(row.path), row.values, row.default, meanings[row.path]) for row in rows],
    )


def _rows(model: type[BaseModel], prefix: str) -> Iterator[Row]:
    for name, info in model.model_fields.items():
        path = f"{prefix}{info.alias or name}"
        nested, many = _nested(info.annotation)
        if nested is None:
            yield Row(path=path, values=_values(info.annotation, list(info.metadata)), default=_default(info))
            continue
        yield Row(path=path, values="list of mappings" if many else "mapping", default=_default(info))
        yield from _rows(nested, f"{path}[]." if many else f"{path}.")


def _nested(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The model inside an annotation, and whether it is a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    many = get_origin(annotation) is tuple
    for argument in get_args(annotation):
        inner, inner_many = _nested(argument)
        if inner is not None:
            return inner, many or inner_many
    return None, False


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if value is PydanticUndefined or value is None:
        return "none"
    if isinstance(value, BaseModel):
        return code(", ".join(f"{name}: {_yaml(item)}" for name, item in value if item is not None))
    return code(_yaml(value))


def _yaml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return str(value.value)
    if value in ((), {}, ""):
        return {"()": "[]", "{}": "{}"}.get(str(value), '""')
    return str(value)


def _values(annotation: Any, metadata: list[Any]) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _values(arguments[0], [*arguments[1:], *metadata])
    if origin is not None:
        return _composed(origin, arguments, metadata)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ", ".join(code(item.value) for item in annotation)
    return _PLAIN.get(annotation, str(annotation)) + _bounds(metadata)


def _composed(origin: Any, arguments: tuple[Any, ...], metadata: list[Any]) -> str:
    """A list, mapping, choice of words, or choice of types."""
    if origin is Literal:
        return " or ".join(code(item) for item in arguments)
    if origin is tuple:
        return _sequence(arguments, metadata)
    if origin is dict:
        return f"mapping of {_values(arguments[0], [])} to {_values(arguments[1], [])}"
    kept = [item for item in arguments if item is not type(None)]
    return " or ".join(dict.fromkeys(_values(item, metadata) for item in kept))


def _sequence(arguments: tuple[Any, ...], metadata: list[Any]) -> str:
    if arguments[-1] is not Ellipsis:
        return f"list of {len(arguments)}: {', '.join(_values(item, []) for item in arguments)}"
    least = next((item.min_length for item in _flat(metadata) if isinstance(item, MinLen)), 0)
    most = next((item.max_length for item in _flat(metadata) if isinstance(item, MaxLen)), None)
    count = f", {least or 0} to {most:,}" if most is not None else (f", at least {least}" if least else "")
    return f"list of {_values(arguments[0], [])}{count}"


def _bounds(metadata: list[Any]) -> str:
    notes: list[str] = []
    for item in _flat(metadata):
        match item:
            case Ge(ge=value):
                notes.append(f"at least {_number(value)}")
            case Gt(gt=value):
                notes.append(f"above {_number(value)}")
            case Le(le=value):
                notes.append(f"at most {_number(value)}")
            case Lt(lt=value):
                notes.append(f"below {_number(value)}")
            case _:
                pattern = getattr(item, "pattern", None)
                longest = getattr(item, "max_length", None)
                if pattern is not None:
                    notes.append(_PATTERNS.get(str(pattern), f"matching {code(pattern)}"))
                elif longest is not None:
                    notes.append(f"at most {longest:,} characters")
    return f", {', '.join(notes)}" if notes else ""


def _flat(metadata: list[Any]) -> Iterator[Any]:
    """Constraints, those inside a pydantic `Field` or `StringConstraints` included."""
    for item in metadata:
        if isinstance(item, FieldInfo):
            yield from item.metadata
        else:
            yield item


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


_PATTERNS: Mapping[str, str] = {
    "^[a-z0-9][a-z0-9._-]{0,62}$": "1 to 63 of `a-z 0-9 . _ -`",
    "^[0-9a-f]{64}$": "64 hexadecimal digits",
    r"^\S(.*\S)?$": "as in the header of the data file",
}
