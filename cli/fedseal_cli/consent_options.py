"""What the commands of ``fedseal consent`` share."""

import sys
from typing import Annotated

import typer

DatasetOption = Annotated[str, typer.Option("--dataset", help="The dataset whose records the pseudonyms are.")]
PseudonymArgument = Annotated[
    str, typer.Argument(metavar="PSEUDONYM", help="The record's pseudonym, or - to read it from standard input.")
]


def typed_pseudonym(given: str) -> str:
    """A pseudonym as it was given, or from standard input."""
    # Arguments can be seen by other users of the machine; standard input cannot.
    return sys.stdin.readline(1024).strip() if given == "-" else given
