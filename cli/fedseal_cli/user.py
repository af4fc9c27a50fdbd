"""``fedseal user``: the people of a federation, their roles and their keys."""

from pathlib import Path
from typing import Annotated

import typer

from fedseal_cli.authority_options import (
    AuthorityOption,
    HoursOption,
    OrganisationOption,
    OutOption,
    now,
    open_office,
    unlocked_office,
    write_invitation,
)
from fedseal_cli.certificate import ReasonOption
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
from fedseal_cli.output import day, instant, print_json, print_table, say
from fedseal_cli.secrets_input import PassphraseFile

app = noun(
    "user",
    "The people of a federation, their roles and their keys.",
    example="fedseal user add ada --role data_scientist --organisation 'Heart Consortium' --out ada.json",
)


@command(
    app,
    "add",
    example="fedseal user add ada --role data_scientist --organisation 'Heart Consortium' --out ada.json "
    "--authority authority",
)
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The person's name in the federation: a-z, 0-9, dots.")],
    role: Annotated[
        list[str],
        typer.Option(
            "--role",
            help="administrator, compliance_officer, data_scientist, node_operator or auditor; repeatable.",
        ),
    ],
    organisation: OrganisationOption,
    out: OutOption,
    authority: AuthorityOption,
    expires_hours: HoursOption = None,
    as_json: JsonOption = False,
) -> None:
    """Invite a person with their roles; they enrol with the file that this writes."""
    from fedseal.authority.views import Invitee

    invitee = Invitee.parse(kind="person", name=name, organisation=organisation, roles=role, hosts=())
    write_invitation(authority, invitee, out=out, hours=expires_hours, as_json=as_json)


@command(app, "enrol", alias="enroll", example="fedseal user enrol --invitation ada.json --folder ada")
def enrol(
    folder: FolderOption,
    invitation: InvitationOption = None,
    offline: OfflineOption = None,
    answer: AnswerOption = None,
    fingerprint: FingerprintOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Make your keys on this machine, protected by your passphrase, and fetch their certificates."""
    run_enrolment(
        EnrolmentOptions(
            kind="person",
            folder=folder,
            invitation=invitation,
            offline=offline,
            answer=answer,
            fingerprint=fingerprint,
            passphrase_file=passphrase_file,
            as_json=as_json,
        )
    )


@command(app, "list", example="fedseal user list --authority authority")
def list_(authority: AuthorityOption, as_json: JsonOption = False) -> None:
    """List the people of the federation with their roles and whether their certificates are in force."""
    with open_office(authority) as office:
        people = [row for row in office.members(now=now()) if row.kind.value == "person"]
    if as_json:
        print_json(
            {
                "users": [
                    {
                        "name": row.name,
                        "organisation": row.organisation,
                        "roles": list(row.roles),
                        "state": row.state,
                        "certificate_until": instant(row.not_after),
                    }
                    for row in people
                ]
            }
        )
        return
    print_table(
        ("Name", "State", "Until", "Roles", "Organisation"),
        [(row.name, row.state, day(row.not_after)[:10], _plain(row.roles), row.organisation) for row in people],
        empty="No person has enrolled yet; invite one with `fedseal user add`.",
        folding=2,
    )


def _plain(roles: tuple[str, ...]) -> str:
    return ", ".join(role.replace("_", " ") for role in roles)


@command(app, "revoke", example="fedseal user revoke ada --reason privilege_withdrawn --authority authority")
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The person's name in the federation.")],
    authority: AuthorityOption,
    reason: ReasonOption = "privilege_withdrawn",
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Also write the new list here.")] = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke a person's certificates and sign a new revocation list."""
    from fedseal.files import write_atomic

    with unlocked_office(authority, passphrase_file) as office:
        done = office.revoke(f"person/{name}", reason=reason, now=now())
        if out is not None:
            write_atomic(out, office.revocations_pem())
    if as_json:
        print_json({"party": done.label, "certificates": done.certificates, "revocation_list": done.number})
        return
    say(f"{done.label} is revoked ({done.certificates} certificates); revocation list {done.number} says so.")
    say("It takes effect once the list is published: fedseal certificate publish")
