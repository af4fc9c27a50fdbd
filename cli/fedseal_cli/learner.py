"""``fedseal learner``: data scientists' Python files that this party allows to train, by digest."""

from pathlib import Path
from typing import Annotated

import typer

from fedseal_cli.commands import JsonOption, command, noun
from fedseal_cli.output import print_json, print_table, say

app = noun(
    "learner",
    "Data scientists' Python files that this party allows to train, by digest.",
    example="fedseal learner admit cnn.py --folder cleveland",
)

PartyOption = Annotated[Path, typer.Option("--folder", metavar="DIR", help="Folder of the node or coordinator.")]


@command(app, "admit", example="fedseal learner admit cnn.py --folder cleveland")
def admit(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The Python file, read and understood beforehand.")],
    folder: PartyOption,
    as_json: JsonOption = False,
) -> None:
    """Keep a copy of a learner file, so that jobs that name its digest may run it without network.

    A node runs it only if its policy lists `python-file` with this digest in `jobs.learner_digests`.
    """
    from fedseal.folders import PartyFolder
    from fedseal.learning.sandbox import LearnerFiles

    party = PartyFolder.load(folder)
    digest = LearnerFiles.of_party(party.path).admit(file)
    if as_json:
        print_json({"file": str(file), "digest": digest})
        return
    say(f"{file} is admitted at {folder} with the digest {digest}")


@command(app, "list", example="fedseal learner list --folder cleveland")
def list_(folder: PartyOption, as_json: JsonOption = False) -> None:
    """List the digests of the admitted files."""
    from fedseal.folders import PartyFolder
    from fedseal.learning.sandbox import LearnerFiles

    digests = LearnerFiles.of_party(PartyFolder.load(folder).path).admitted()
    if as_json:
        print_json({"learners": list(digests)})
        return
    print_table(("Digest",), [(digest,) for digest in digests], empty="No learner file is admitted here.")
