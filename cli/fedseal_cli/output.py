"""What commands print: sentences, tables of at most 80 columns, or JSON.

Rules this module keeps: results go to stdout, everything else to stderr; with ``--json`` stdout holds exactly
one RFC 8785 document and a newline; text from outside cannot forge lines or move the cursor.
"""

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import typer

WIDTH = 80


def say(text: str) -> None:
    """A line for the person, on stdout."""
    typer.echo(printable(text))


def note(text: str) -> None:
    """A remark that is not the result, on stderr."""
    typer.echo(printable(text), err=True)


def print_json(value: Mapping[str, object]) -> None:
    """The one JSON document of a ``--json`` call."""
    from fedseal_crypto.canonical import canonical_json

    sys.stdout.write(canonical_json(value).decode("utf-8") + "\n")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str, folding: int = 1) -> None:
    """A table that fits a terminal of 80 columns.

    Args:
        columns: Headings.
        rows: One cell per heading; rendered with ``str``.
        empty: The sentence to print when there are no rows.
        folding: How many columns, counted from the right, may break their text over lines.
    """
    if not rows:
        say(empty)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=_width(), highlight=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for place, heading in enumerate(columns):
        table.add_column(heading, overflow="fold", no_wrap=place < len(columns) - folding)
    for row in rows:
        table.add_row(*(Text(printable(str(cell))) for cell in row))
    console.print(table)


def print_fields(fields: Mapping[str, object]) -> None:
    """Names and values, one pair a line, aligned; long values continue under their beginning."""
    import textwrap

    width = max(len(name) for name in fields) + 2
    for name, value in fields.items():
        text = printable(str(value))
        line = textwrap.fill(
            f"{name:<{width}}{text}",
            # Digests and keys are copied from the screen; they stay on the line of their name.
            WIDTH if " " in text else width + len(text),
            subsequent_indent=" " * width,
            break_long_words=False,
            break_on_hyphens=False,
        )
        say(line)


def wrapped(line: str) -> str:
    """A paragraph folded at 80 columns; what follows a bullet is indented under it."""
    import textwrap

    indent = " " * (len(line) - len(line.lstrip(" -+")))
    return textwrap.fill(line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def day(moment: datetime) -> str:
    """A date and minute in UTC for a person."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def instant(moment: datetime) -> str:
    """RFC 3339 in UTC with seconds, for JSON."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def printable(text: str) -> str:
    """``text`` with control characters escaped; line breaks stay."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def _width() -> int:
    import shutil

    return shutil.get_terminal_size((WIDTH, 24)).columns if sys.stdout.isatty() else WIDTH
