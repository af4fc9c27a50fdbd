"""Policy files to start from, with comments for people who do not program."""

import json
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from importlib.resources import files
from string import Template

from fedseal_governance.policy.model import PolicyDocument, load_policy


class TemplateName(StrEnum):
    """Which organisations there is a template for."""

    HOSPITAL = "hospital"
    BANK = "bank"
    RESEARCH = "research"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blanks:
    """What a template leaves open."""

    policy: str
    owner: str
    dataset: str
    start: date
    until: date


def fill(name: TemplateName, blanks: Blanks, *, filename: str) -> tuple[bytes, PolicyDocument]:
    """The template with its blanks filled in: the file, and what it says.

    Raises:
        DocumentError: something that was filled in cannot stand there.
    """
    text = files(__package__).joinpath(f"{name.value}.yaml").read_text(encoding="utf-8")
    content = Template(text).substitute(
        policy=_quoted(blanks.policy),
        owner=_quoted(blanks.owner),
        dataset=_quoted(blanks.dataset),
        start=blanks.start.isoformat(),
        until=blanks.until.isoformat(),
    )
    data = content.encode("utf-8")
    return data, load_policy(data, filename)


def _quoted(text: str) -> str:
    """Plain where that is unmistakable, otherwise in quotes, as JSON and YAML both read them."""
    words = text.replace(" ", "a").replace("-", "a").isalnum() and text[:1].isalpha() and text == text.strip()
    plain = words and text not in ("true", "false", "null")
    return text if plain else json.dumps(text, ensure_ascii=False)


__all__ = ["Blanks", "TemplateName", "fill"]
