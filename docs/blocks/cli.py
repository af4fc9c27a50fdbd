"""The reference of the commands, from the command tree itself, and the exit codes."""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from blocks.markdown import code, fenced, table

from fedseal_cli import exit_codes
from fedseal_cli.app import build_command
from fedseal_cli.exit_codes import ExitCode


def _exit_codes() -> str:
    """The table at the top of the module; its columns stand two blanks or more apart."""
    lines = iter((exit_codes.__doc__ or "").splitlines())
    for line in lines:
        if line.split()[:2] == ["code", "meaning"]:
            break
    rows: list[list[str]] = []
    for line in itertools.takewhile(str.strip, lines):
        cells = re.split(r"\s{2,}", line.strip())
        if cells[0].isdigit():
            rows.append([*cells, ""][:3])
        else:
            rows[-1][1:] = [f"{a} {b}".strip() for a, b in itertools.zip_longest(rows[-1][1:], cells, fillvalue="")]
    if [int(row[0]) for row in rows] != sorted(ExitCode):
        raise SystemExit("cli/fedseal_cli/exit_codes.py: the table at the top and the codes differ")
    return table(("code", "meaning", "what to do"), rows)


def _commands() -> str:
    root = build_command()
    parts: list[str] = []
    for name, item in root.commands.items():
        if hasattr(item, "commands"):
            parts += [f"## {name}", _text(item.help), *_of_noun(name, item)]
        else:
            parts += [f"## {name}", *_command(f"fedseal {name}", item)]
    return "\n\n".join(part for part in parts if part)


def _of_noun(noun: str, group: Any) -> Iterator[str]:
    for name, item in group.commands.items():
        if not item.hidden:
            yield f"### {noun} {name}"
            yield from _command(f"fedseal {noun} {name}", item)


def _command(words: str, item: Any) -> Iterator[str]:
    arguments = [parameter for parameter in item.params if parameter.param_type_name == "argument"]
    options = [
        parameter
        for parameter in item.params
        if parameter.param_type_name == "option" and not parameter.hidden and parameter.name != "help"
    ]
    pieces = [words, *(_placeholder(argument) for argument in arguments)]
    pieces += [f"{option.opts[0]} {_value(option)}".rstrip() for option in options if option.required]
    if any(not option.required for option in options):
        pieces.append("[OPTIONS]")
    yield _text(item.help)
    yield fenced(" ".join(pieces))
    rows = [(code(_placeholder(argument)), argument.help or "") for argument in arguments]
    rows += [(code(_spelled(option)), _described(option)) for option in options]
    if rows:
        yield table(("argument or option", "meaning"), rows)
    if item.epilog:
        yield f"Example: `{_text(item.epilog).removeprefix('Example: ')}`"


def _text(help_text: str | None) -> str:
    paragraphs = (help_text or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _placeholder(argument: Any) -> str:
    name = argument.metavar or str(argument.name).upper()
    return name if argument.required else f"[{name}]"


def _spelled(option: Any) -> str:
    # The short spelling after the long one.
    names = ", ".join(sorted(option.opts, key=len, reverse=True))
    return f"{names} {_value(option)}".strip()


def _value(option: Any) -> str:
    if option.is_flag:
        return ""
    return str(option.metavar or str(option.name).strip("_").upper())


def _described(option: Any) -> str:
    notes = []
    if option.required:
        notes.append("required")
    if option.multiple:
        notes.append("repeatable")
    if option.envvar:
        notes.append(f"or set `{option.envvar}`")
    if option.default not in (None, False, (), []) and not callable(option.default) and not option.is_flag:
        notes.append(f"otherwise `{option.default}`")
    text = option.help or ""
    return f"{text} ({'; '.join(notes)})" if notes else text


BLOCKS: Mapping[str, Callable[[], str]] = {"exit-codes": _exit_codes, "commands": _commands}
