"""Options and steps of nouns that talk to the coordinator as a person."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedseal_cli.local_options import folder_passphrase

if TYPE_CHECKING:
    from fedseal.client import Client
    from fedseal.wire._generated import coordination_pb2 as pb

CoordinatorOption = Annotated[
    str | None,
    typer.Option(
        "--coordinator",
        metavar="HOST:PORT",
        envvar="FEDSEAL_COORDINATOR",
        help="Where the coordinator listens; otherwise as your folder says.",
    ),
]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Name, or the first digits of the digest.")]


@contextmanager
def connected(folder: Path, passphrase_file: Path | None, coordinator: str | None) -> "Iterator[Client]":
    """A person's connection to the coordinator."""
    from fedseal.client import Client
    from fedseal.errors import SetupError
    from fedseal.folders import PartyFolder
    from fedseal_crypto.identity import PartyKind

    party = PartyFolder.load(folder)
    if party.record.kind is not PartyKind.PERSON:
        raise SetupError(f"{folder} is the folder of a {party.record.kind.value}; give your own, made by `user enrol`.")
    with Client(party, address=coordinator, passphrase=folder_passphrase(party, passphrase_file)) as client:
        yield client


def summary_row(summary: "pb.JobSummary") -> dict[str, object]:
    """A job as every ``--json`` shows it."""
    return {
        "job": summary.name,
        "digest": summary.job,
        "state": summary.state,
        "reason": summary.reason,
        "submitted_by": summary.submitted_by,
        "submitted_at": summary.submitted_at,
        "finished_at": summary.finished_at or None,
        "rounds_done": summary.rounds_done,
        "rounds_planned": summary.rounds_planned,
    }
