"""Options and steps of nouns that work on a party's own folder, beside its running process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedseal_cli.authority_options import now
from fedseal_cli.secrets_input import read_passphrase

if TYPE_CHECKING:
    from fedseal.folders import PartyFolder
    from fedseal.local import LocalParty, Person
    from fedseal_crypto.secret import SecretBytes

NodeOption = Annotated[Path, typer.Option("--node", metavar="DIR", envvar="FEDSEAL_NODE", help="The node's folder.")]
AsOption = Annotated[
    Path, typer.Option("--as", metavar="DIR", envvar="FEDSEAL_AS", help="Your own folder, made by `user enrol`.")
]
OptionalAsOption = Annotated[
    Path | None,
    typer.Option(
        "--as", metavar="DIR", envvar="FEDSEAL_AS", help="Your own folder, so that the log names you, not the machine."
    ),
]
PartyArgument = Annotated[
    Path, typer.Argument(metavar="DIR", help="The folder of a node, coordinator, custodian or authority.")
]


@contextmanager
def open_node(folder: Path) -> "Iterator[LocalParty]":
    """A node's folder with its database."""
    from fedseal.local import open_party
    from fedseal_crypto.identity import PartyKind

    with open_party(folder, PartyKind.NODE) as party:
        yield party


@contextmanager
def open_policy_holder(folder: Path) -> "Iterator[LocalParty]":
    """The folder of a node or a custodian, each of which has policies of its own, with its database."""
    from fedseal.local import open_party
    from fedseal_crypto.identity import PartyKind

    with open_party(folder, PartyKind.NODE, PartyKind.CUSTODIAN) as party:
        yield party


def person_in(folder: Path, passphrase_file: Path | None) -> "Person":
    """The person of a folder, who has proved to hold its key."""
    from fedseal.folders import PartyFolder
    from fedseal.local import open_person

    passphrase = folder_passphrase(PartyFolder.load(folder), passphrase_file)
    return open_person(folder, passphrase, now=now())


def optional_person(folder: Path | None, passphrase_file: Path | None) -> "Person | None":
    """As ``person_in``; None if no folder was named."""
    return None if folder is None else person_in(folder, passphrase_file)


def require_existing(path: Path, *, what: str) -> None:
    """Refuse a file or folder that is not there.

    Raises:
        SetupError: ``path`` does not exist.
    """
    from fedseal.errors import SetupError

    if not path.exists():
        raise SetupError(f"{path} does not exist; {what} is expected there.")


def folder_passphrase(folder: "PartyFolder", passphrase_file: Path | None) -> "SecretBytes | None":
    """The passphrase of a folder's keys, asked for only if they are protected."""
    if not folder.needs_passphrase():
        return None
    return read_passphrase(passphrase_file, purpose=f"the keys of {folder.record.kind.value}/{folder.record.name}")
