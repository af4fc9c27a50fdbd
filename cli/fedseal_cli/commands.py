"""How every noun and command is declared, so that all look alike and none lacks its example."""

import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer

Function = TypeVar("Function", bound=Callable[..., Any])
_BREAK = re.compile(r"(?<!\n)\n(?![\n\s*-])")

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON (RFC 8785) and nothing else to stdout.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


def noun(name: str, summary: str, *, example: str) -> typer.Typer:
    """A group of commands.

    Args:
        name: The noun, as typed.
        summary: One sentence for the overview.
        example: A typical call of one of its commands.
    """
    return typer.Typer(name=name, help=summary, epilog=f"Example: {example}", no_args_is_help=True)


def command(app: typer.Typer, name: str, *, example: str, alias: str | None = None) -> Callable[[Function], Function]:
    """Register a function as a command; its docstring's text is the help.

    Args:
        app: The noun.
        name: The verb, as typed.
        example: A call that works, shown under the help.
        alias: Another spelling, accepted but not listed.
    """

    def register(function: Function) -> Function:
        epilog, text = f"Example: {example}", _flowing(function.__doc__ or "")
        app.command(name, epilog=epilog, help=text)(function)
        if alias is not None:
            app.command(alias, epilog=epilog, help=text, hidden=True)(function)
        return function

    return register


def _flowing(docstring: str) -> str:
    """Paragraphs as one line each, so that a terminal of any width breaks them; lists and indented lines stay."""
    return _BREAK.sub(" ", inspect.cleandoc(docstring))
