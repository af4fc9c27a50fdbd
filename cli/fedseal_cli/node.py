"""``fedseal node``: invite and enrol a data holder, run its node, and see how it is."""

from typing import Annotated

import typer

from fedseal_cli.authority_options import (
    AuthorityOption,
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
from fedseal_cli.secrets_input import PassphraseFile

app = noun(
    "node",
    "Invite and enrol a data holder, run its node, and see how it is.",
    example="fedseal node run --folder cleveland",
)


@command(
    app,
    "invite",
    example="fedseal node invite cleveland --organisation 'Cleveland Clinic' "
    "--out cleveland.json --authority authority",
)
def invite(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The node's name in the federation.")],
    organisation: OrganisationOption,
    out: OutOption,
    authority: AuthorityOption,
    expires_hours: HoursOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the invitation of a node, to be used on its own machine."""
    from fedseal.authority.views import Invitee

    invitee = Invitee.parse(kind="node", name=name, organisation=organisation, roles=(), hosts=())
    write_invitation(authority, invitee, out=out, hours=expires_hours, as_json=as_json)


@command(app, "enrol", alias="enroll", example="fedseal node enrol --invitation cleveland.json --folder cleveland")
def enrol(
    folder: FolderOption,
    invitation: InvitationOption = None,
    offline: OfflineOption = None,
    answer: AnswerOption = None,
    fingerprint: FingerprintOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Make the node's keys on this machine and fetch their certificates."""
    run_enrolment(
        EnrolmentOptions(
            kind="node",
            folder=folder,
            invitation=invitation,
            offline=offline,
            answer=answer,
            fingerprint=fingerprint,
            passphrase_file=passphrase_file,
            as_json=as_json,
        )
    )
