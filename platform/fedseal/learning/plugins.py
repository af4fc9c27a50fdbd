"""Finding what is installed under a name: learners here, methods in `fedseal.methods.registry`.

Rules this module keeps:
- A name in a job never selects code by itself; it is looked up among the entry points of installed
  distributions.
- A name that is not installed, or that two distributions claim, is refused with a sentence.
- What is installed is looked up once per process; a plugin that is installed later needs a restart.
- Settings are validated by the learner's or method's own model before the first object is made.
"""

import difflib
import inspect
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from pydantic import BaseModel, ValidationError

from fedseal.errors import SetupError
from fedseal.learning.errors import SettingsRefused, UnknownPlugin
from fedseal.learning.learner import Learner
from fedseal_crypto.canonical import canonical_json
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_governance.jobs import LearnerChoice
from fedseal_governance.vocabulary import FILE_LEARNER

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

LEARNER_GROUP = "fedseal.learners"
LONGEST_SHOWN = 60  # characters of a refused value

S = TypeVar("S", bound=BaseModel)


def learner_names() -> tuple[str, ...]:
    """Installed learners, sorted."""
    return plugin_names(LEARNER_GROUP)


def learner_class(name: str) -> type[Learner]:
    """The learner's class, with its settings model.

    Raises:
        UnknownPlugin: Not installed here.
    """
    return cast("type[Learner]", load_plugin(LEARNER_GROUP, "learner", name))


def make_learner(name: str, settings: Mapping[str, object]) -> Learner:
    """A learner bound to a job's settings.

    Raises:
        UnknownPlugin: Not installed here.
        SettingsRefused: A setting is unknown or out of range.
    """
    chosen = learner_class(name)
    return chosen(validated_settings(chosen.settings_model, settings, what=f'learner "{name}"'))


@cache
def learner_digest(name: str) -> Digest:
    """Identifies a learner's code: name, distribution, version, and the Python files of the package it is in.

    Raises:
        UnknownPlugin: Not installed here.
    """
    entry = find_plugin(LEARNER_GROUP, "learner", name)
    facts = {
        "learner": name,
        "distribution": entry.dist.name if entry.dist is not None else "",
        "version": entry.dist.version if entry.dist is not None else "",
        "sources": {path.name: sha256_hex(path.read_bytes()) for path in _sources(learner_class(name))},
    }
    return sha256_hex(canonical_json(facts))


def choice_digest(choice: LearnerChoice) -> Digest:
    """Identifies the code that a job's learner runs: of ``python-file`` the digest of the file that the job names.

    Raises:
        UnknownPlugin: Not installed here.
        SettingsRefused: The job names no file.
    """
    if choice.name != FILE_LEARNER:
        return learner_digest(choice.name)
    settings = validated_settings(
        learner_class(choice.name).settings_model, choice.settings, what=f'learner "{choice.name}"'
    )
    return Digest(settings.model_dump()["file"])


def _sources(learner: type[Learner]) -> list[Path]:
    defined_in = inspect.getsourcefile(learner)
    if defined_in is None:
        return []
    path = Path(defined_in)
    # A module that is in no package may lie among a thousand others: then only its own file counts.
    return sorted(path.parent.glob("*.py")) if "." in learner.__module__ else [path]


def plugin_names(group: str) -> tuple[str, ...]:
    """Names in an entry-point group, sorted."""
    return tuple(sorted({entry.name for entry in entry_points(group=group)}))


def find_plugin(group: str, kind: str, name: str) -> EntryPoint:
    """The one entry point of that name; ``kind`` is for the sentence.

    Raises:
        UnknownPlugin: There is none.
        SetupError: There are several.
    """
    found = {entry.value: entry for entry in entry_points(group=group) if entry.name == name}
    if not found:
        known = plugin_names(group)
        nearest = difflib.get_close_matches(name, known, n=1)
        raise UnknownPlugin(kind, name, known, nearest[0] if nearest else None)
    if len(found) > 1:
        raise SetupError(f'The {kind} "{name}" is provided twice, by {" and ".join(sorted(found))}; uninstall one.')
    return next(iter(found.values()))


@cache
def load_plugin(group: str, kind: str, name: str) -> object:
    """What the entry point names.

    Raises:
        UnknownPlugin: There is none.
        SetupError: There are several, or its code cannot be imported.
    """
    entry = find_plugin(group, kind, name)
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        raise SetupError(
            f'The {kind} "{name}" is installed as {entry.value}, which cannot be loaded: {error}.'
        ) from error


def validated_settings(model: type[S], settings: Mapping[str, object], *, what: str) -> S:
    """Settings in their typed form.

    Raises:
        SettingsRefused: A setting is unknown or out of range.
    """
    try:
        return model.model_validate(dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingsRefused(f"The settings of {what}: {_setting_fault(model, first)}") from None


def _setting_fault(model: type[BaseModel], details: "ErrorDetails") -> str:
    """Setting, value and what is wrong with it, for people."""
    key = ".".join(str(part) for part in details["loc"])
    what = details["msg"].removeprefix("Value error, ").rstrip(".")
    if not key:  # of several settings together
        return f"{what}."
    if details["type"] == "missing":
        return f'"{key}" is missing; add it.'
    if details["type"] == "extra_forbidden":
        return f'"{key}": {_unknown_setting(model, key)}'
    value = str(details["input"])
    shown = value if len(value) <= LONGEST_SHOWN else f"{value[:LONGEST_SHOWN]}..."
    return f'"{key}" is {shown}: {what[:1].lower()}{what[1:]}.'


def _unknown_setting(model: type[BaseModel], key: str) -> str:
    nearest = difflib.get_close_matches(key, model.model_fields, n=1)
    known = ", ".join(model.model_fields) or "none"
    return f'unknown setting; did you mean "{nearest[0]}"?' if nearest else f"unknown setting; known: {known}."
