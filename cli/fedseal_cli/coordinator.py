"""``fedseal coordinator``: invite and enrol the consortium's coordinator, and run it."""

from typing import Annotated

import typer

from fedseal_cli.authority_options import (
    AuthorityOption,
    HostOption,
    HoursOption,
    OrganisationOption,
    OutOption,
    write_invitation,
)
from fedseal_cli.commands import JsonOption, command, noun
from fedseal_cli.enrolment import (
    AnswerOption,
    EnrolmentOptions,
    FingerprintOption,
    FolderOption,
    InvitationOption,
    OfflineOption,
    run_enrolment,
)
from fedseal_cli.output import note
from fedseal_cli.secrets_input import PassphraseFile

app = noun(
    "coordinator",
    "Invite and enrol the consortium's coordinator, and run it.",
    example="fedseal coordinator run --folder coordinator",
)


@command(
    app,
    "invite",
    example="fedseal coordinator invite --organisation 'Heart Consortium' --host hub.example.org "
    "--out coordinator.json --authority authority",
)
def invite(
    organisation: OrganisationOption,
    out: OutOption,
    authority: AuthorityOption,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Its name in the federation; nodes expect `coordinator`.")
    ] = "coordinator",
    host: HostOption = None,
    expires_hours: HoursOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the invitation of a coordinator, to be used on its own machine."""
    from fedseal.authority.views import Invitee

    invitee = Invitee.parse(kind="coordinator", name=name, organisation=organisation, roles=(), hosts=host or ())
    write_invitation(authority, invitee, out=out, hours=expires_hours, as_json=as_json)


@command(
    app,
    "enrol",
    alias="enroll",
    example="fedseal coordinator enrol --invitation coordinator.json --folder coordinator",
)
def enrol(
    folder: FolderOption,
    invitation: InvitationOption = None,
    offline: OfflineOption = None,
    answer: AnswerOption = None,
    fingerprint: FingerprintOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Make the coordinator's keys on this machine and fetch their certificates."""
    run_enrolment(
        EnrolmentOptions(
            kind="coordinator",
            folder=folder,
            invitation=invitation,
            offline=offline,
            answer=answer,
            fingerprint=fingerprint,
            passphrase_file=passphrase_file,
            as_json=as_json,
        )
    )


@command(app, "run", example="fedseal coordinator run --folder coordinator --listen 0.0.0.0:7443")
def run(
    folder: FolderOption,
    listen: Annotated[
        str | None, typer.Option("--listen", metavar="HOST:PORT", help="Instead of `listen` in coordinator.yaml.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log debugging details.")] = False,
) -> None:
    """Run the coordinator in the foreground until Ctrl-C or SIGTERM; it takes unfinished jobs up again by itself."""
    from fedseal import logs
    from fedseal.coordinator.server import run_coordinator

    logs.configure(verbose=verbose)
    run_coordinator(folder, listen=listen, ready=lambda address: note(f"The coordinator listens on {address}."))
