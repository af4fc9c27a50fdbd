"""Passphrases: from a file, the environment or a prompt, never from an argument.

Arguments are visible to every user of a machine and stay in the shell's history.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fedseal_crypto.secret import SecretBytes

VARIABLE = "FEDSEAL_PASSPHRASE"
MIN_CHARACTERS = 8  # of a new passphrase; the key file's own derivation slows guessing, it does not prevent it
MAX_BYTES = 4096

PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help=f"File whose first line is the passphrase; or set {VARIABLE}; otherwise you are asked.",
    ),
]


def read_passphrase(file: Path | None, *, purpose: str, new: bool = False) -> "SecretBytes":
    """The passphrase from ``file``, the environment or the terminal, in that order.

    Args:
        file: What ``--passphrase-file`` named.
        purpose: What it opens, for the prompt: ``"the authority's root key"``.
        new: It is being chosen now: asked twice, and of a minimum length.

    Raises:
        SetupError: None was given and nobody can be asked, it is empty or too short, or the two differ.
    """
    from fedseal.errors import SetupError
    from fedseal_crypto.secret import SecretBytes

    text = _given(file)
    if text is None:
        text = _asked(purpose, new=new)
    if not text:
        raise SetupError(f"the passphrase for {purpose} is empty; give one.")
    if new and len(text) < MIN_CHARACTERS:
        raise SetupError(
            f"the passphrase for {purpose} is shorter than {MIN_CHARACTERS} characters; choose a longer one."
        )
    return SecretBytes(text.encode("utf-8"))


def _given(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(VARIABLE)
    from fedseal.errors import SetupError
    from fedseal.files import read_limited

    data = read_limited(file, max_bytes=MAX_BYTES, what="a passphrase file")
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise SetupError(f"{file} is not text and cannot be a passphrase file.") from None
    return lines[0] if lines else ""


def _asked(purpose: str, *, new: bool) -> str:
    from fedseal.errors import SetupError

    if not sys.stdin.isatty():
        raise SetupError(f"a passphrase for {purpose} is needed; give --passphrase-file or set {VARIABLE}.")
    first: str = typer.prompt(f"Passphrase for {purpose}", hide_input=True, default="", show_default=False, err=True)
    if new:
        again: str = typer.prompt("The same again", hide_input=True, default="", show_default=False, err=True)
        if first != again:
            raise SetupError("the two passphrases differ; nothing was done.")
    return first
