"""Reads a YAML file that a person wrote into a frozen model, or says line by line what is wrong with it.

Used for policies, jobs, dataset schemas and configuration files. Every fault becomes one sentence with file,
line, field, value and remedy; unknown keys and wrong words come with the nearest right one. All faults of a
file are reported at once, in the order of the file.

What a model adds to pydantic's own checks it raises with `fault`, so that its sentence has a remedy too.
"""

import difflib
import json
import re
import types
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from fedseal_governance._yaml import LinedTree, Path, Tree, read_tree
from fedseal_governance.errors import DocumentError, Problem, shown

MAX_BYTES = 256 * 1024
"""Largest policy, job, schema or configuration; real ones have a few kilobytes."""

_MAX_PROBLEMS = 100
"""Told of one file; a file with more of them is probably another kind of file."""
_LIST = "write [first, second]"
_MAPPING = "write {key: value}"
_SHAPES = (_LIST, _MAPPING)
_QUOTED = re.compile(r"'([^']*)'")

M = TypeVar("M", bound=BaseModel)


class Document(BaseModel):
    """Base of every document model: frozen, and no key but the declared ones."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, str_strip_whitespace=False)


def fault(what: str, remedy: str, *, key: str | None = None) -> PydanticCustomError:
    """An error for a model's own validator.

    Args:
        what: what is wrong, without final punctuation.
        remedy: what to do about it, without final full stop.
        key: the key inside the validated mapping that is to blame, when the mapping as a whole is validated.
    """
    return PydanticCustomError("fedseal", "{what}", {"what": what, "remedy": remedy, "key": key})


def load_yaml(data: bytes, filename: str, model: type[M], *, max_bytes: int = MAX_BYTES) -> M:
    """Read one document.

    Args:
        data: the exact bytes of the file.
        filename: its name as the person gave it; used in messages only.
        model: what to read it into.
        max_bytes: largest accepted size.

    Raises:
        DocumentError: with every problem found.
    """
    tree = read_tree(data, filename=filename, max_bytes=max_bytes)
    if not isinstance(tree.root, dict):
        raise DocumentError(
            Problem(
                file=filename,
                line=1,
                value=shown(tree.root),
                fault="the file is not a list of `key: value` lines",
                remedy="begin every line with a key and a colon",
            )
        )
    try:
        # Through JSON, because pydantic's strict mode then reads dates and words from text,
        # but turns no text into a number and no number into a truth value.
        return model.model_validate_json(json.dumps(tree.root), strict=True)
    except ValidationError as error:
        raise DocumentError(*_problems(error, tree, filename, model)) from None


def suggestion(word: str, known: list[str]) -> str | None:
    """The member of ``known`` that ``word`` was probably meant to be."""
    lowered = {k.lower(): k for k in reversed(known)}
    near = difflib.get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.6)
    return lowered[near[0]] if near else None


def _problems(error: ValidationError, tree: LinedTree, filename: str, model: type[BaseModel]) -> list[Problem]:
    found: dict[Path, Problem] = {}
    for details in error.errors(include_url=False):
        path = _path(details, tree)
        # The branches of a union each complain about the same value; the first speaks for all.
        found.setdefault(path, _problem(details, path, tree, filename, model))
    # A misspelt key is one problem, not an unknown key and a missing one.
    meant = {(*path[:-1], _meant(path, model)) for path in found if path in tree.lines}
    # An item that was refused also makes its list "too short"; only the item is the problem.
    outer = {path[:depth] for path in found for depth in range(len(path)) if path in tree.lines}
    told = (
        problem
        for path, problem in found.items()
        if (path in tree.lines or path not in meant) and not (path in outer and path in tree.lines)
    )
    ordered = sorted(told, key=lambda problem: (problem.line or 0, problem.column or 0))
    if len(ordered) <= _MAX_PROBLEMS:
        return ordered
    left = len(ordered) - _MAX_PROBLEMS
    return [
        *ordered[:_MAX_PROBLEMS],
        Problem(file=filename, fault=f"{left} more problems", remedy="correct these first"),
    ]


def _path(details: ErrorDetails, tree: LinedTree) -> Path:
    """Where the problem is, without the names of union branches that pydantic appends."""
    path: Path = tuple(details["loc"])
    if details["type"] == "fedseal":
        key = details.get("ctx", {}).get("key")
        return path if key is None else (*path, key)
    if details["type"] == "missing":
        return path
    while path and path not in tree.lines:
        path = path[:-1]
    return path


def _problem(details: ErrorDetails, path: Path, tree: LinedTree, filename: str, model: type[BaseModel]) -> Problem:
    what, remedy = _words(details, path, model)
    present = path in tree.lines
    return Problem(
        file=filename,
        line=tree.line_of(path),
        column=tree.column_of(path),
        field=_dotted(path),
        value=shown(_value_at(tree.root, path)) if present else None,
        fault=what,
        remedy=remedy,
    )


def _words(details: ErrorDetails, path: Path, model: type[BaseModel]) -> tuple[str, str]:
    """Fault and remedy for one of pydantic's errors."""
    kind, context, given = details["type"], details.get("ctx", {}), details.get("input")
    name = f"`{_dotted(path)}`" if path else "the document"
    if kind == "fedseal":
        return str(context["what"]), str(context["remedy"])
    if kind == "missing":
        return f"{name} is missing", "add it"
    if kind == "extra_forbidden":
        return _unknown_key(path, model)
    if kind in ("enum", "literal_error"):
        expected = str(context.get("expected", ""))
        return _wrong_word(name, given, _QUOTED.findall(expected) or [expected])
    if kind == "too_short" and not given:
        return f"{name} is empty", f"write at least {context['min_length']}"
    remedy = _remedy(kind)
    if isinstance(given, (dict, list)) and remedy not in _SHAPES:
        remedy = "write a single value"
    return f"{name} is {_described(given)}, but {_expected(kind, details['msg'])}", remedy


def _described(given: object) -> str:
    match given:
        case None:
            return "empty"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str():
            return f'"{shown(given)}"'
        case bool():
            return str(given).lower()
        case _:
            return shown(given)


def _unknown_key(path: Path, model: type[BaseModel]) -> tuple[str, str]:
    key, near = str(path[-1]), _meant(path, model)
    known = sorted(_keys(_model_at(model, path[:-1])))
    inside = f" in `{_dotted(path[:-1])}`" if len(path) > 1 else ""
    remedy = f"did you mean `{near}`?" if near else f"remove it; known keys are {', '.join(known)}"
    return f"unknown key `{shown(key)}`{inside}", remedy


def _meant(path: Path, model: type[BaseModel]) -> str | None:
    """The known key that the last step of ``path`` is probably a misspelling of."""
    if not path:
        return None
    known = sorted(_keys(_model_at(model, path[:-1])))
    return None if path[-1] in known else suggestion(str(path[-1]), known)


def _wrong_word(name: str, given: object, words: list[str]) -> tuple[str, str]:
    near = suggestion(given, words) if isinstance(given, str) else None
    remedy = f"did you mean `{near}`?" if near else f"choose one of {', '.join(words)}"
    return f"{name} is {shown(given)}, which is not one of {', '.join(words)}", remedy


def _expected(kind: str, message: str) -> str:
    wanted = {
        "bool_type": "a truth value is expected",
        "bool_parsing": "a truth value is expected",
        "string_type": "text is expected",
        "int_type": "a whole number is expected",
        "float_type": "a number is expected",
        "tuple_type": "a list is expected",
        "list_type": "a list is expected",
        "dict_type": "a mapping is expected",
        "model_type": "a mapping is expected",
        "string_pattern_mismatch": "it has characters that are not allowed there",
    }
    if kind.startswith("date"):
        return "a date is expected"
    plain = re.sub(r"^(Input|Value|String|List|Tuple|Dictionary) ", "it ", message)
    return wanted.get(kind, plain[:1].lower() + plain[1:])


def _remedy(kind: str) -> str:
    remedies = {
        "bool_type": "write true or false",
        "bool_parsing": "write true or false",
        "string_type": "put the value in quotes",
        "int_type": "write digits only, without quotes",
        "float_type": "write digits with a point, without quotes",
        "tuple_type": _LIST,
        "list_type": _LIST,
        "dict_type": _MAPPING,
        "model_type": _MAPPING,
        "string_pattern_mismatch": "use at most 63 lower-case letters, digits, dots, hyphens and underscores",
    }
    return "write it as 2026-12-31" if kind.startswith("date") else remedies.get(kind, "correct the value")


def _dotted(path: Path) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f"{'.' if text else ''}{shown(step)}"
    return text


def _value_at(root: Tree, path: Path) -> object:
    value: Any = root
    for step in path:
        value = value[step]
    return value


def _model_at(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """The model that describes the mapping at ``path``, if the annotations lead to one."""
    current: Any = model
    for step in path:
        current = _model_in(current)
        if current is not None and isinstance(step, str):
            by_key = {info.alias or name: info.annotation for name, info in current.model_fields.items()}
            current = by_key.get(step)
        if current is None:
            return None
    return _model_in(current)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model inside ``Optional``, ``Annotated``, a tuple or a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType, Annotated, tuple, list) or origin is Mapping:
        for argument in get_args(annotation):
            found = _model_in(argument)
            if found is not None:
                return found
    return None


def _keys(model: type[BaseModel] | None) -> list[str]:
    return [] if model is None else [info.alias or name for name, info in model.model_fields.items()]
