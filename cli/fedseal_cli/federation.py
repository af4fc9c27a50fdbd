"""``fedseal federation``: create a federation's authority, invite its parties, serve and sign enrolments."""

from pathlib import Path
from typing import Annotated

import typer

from fedseal_cli.authority_options import (
    AuthorityOption,
    HostOption,
    HoursOption,
    OrganisationOption,
    OutOption,
    now,
    open_office,
    unlocked_office,
    write_invitation,
)
from fedseal_cli.commands import JsonOption, command, noun
from fedseal_cli.output import day, instant, print_fields, print_json, print_table, say
from fedseal_cli.secrets_input import PassphraseFile, read_passphrase

app = noun(
    "federation",
    "Create a federation's authority, invite its parties, serve their enrolments.",
    example="fedseal federation init authority --name heart --organisation 'Heart Consortium'",
)


@command(
    app,
    "init",
    example="fedseal federation init authority --name heart --organisation 'Heart Consortium' "
    "--address authority.example.org:7400",
)
def init(  # noqa: PLR0913, PLR0917 - Typer declares one parameter per option
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The authority's new folder.")],
    name: Annotated[str, typer.Option("--name", help="The federation's name: a-z, 0-9, dots, hyphens.")],
    organisation: OrganisationOption,
    address: Annotated[
        str, typer.Option("--address", metavar="HOST:PORT", help="How parties reach the enrolment service.")
    ] = "localhost:7400",
    listen: Annotated[
        str | None,
        typer.Option("--listen", metavar="HOST:PORT", help="Where it listens; otherwise the port of --address."),
    ] = None,
    coordinator: Annotated[
        str | None,
        typer.Option("--coordinator", metavar="HOST:PORT", help="Told to invited nodes and people."),
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Create the authority of a new federation: its root key, protected by a passphrase, and its records.

    The root is made once and never changes. Keep the folder offline if you can, and a copy of it in a safe.
    """
    import os

    from fedseal.authority.config import AuthorityConfig
    from fedseal.authority.diagnosis import split_address
    from fedseal.authority.founding import NewFederation, found_federation
    from fedseal.folders import require_free

    require_free(folder)
    host, port = split_address(address)
    # A service that parties reach as localhost has no business on other interfaces.
    interface = "127.0.0.1" if host in {"localhost", "127.0.0.1"} else "0.0.0.0"  # noqa: S104
    config = AuthorityConfig(
        address=address,
        listen=listen or f"{interface}:{port}",
        coordinator=coordinator,
    )
    passphrase = read_passphrase(passphrase_file, purpose="the new root key", new=True)
    plan = NewFederation(name=name, organisation=organisation, config=config)
    made = found_federation(folder, plan, passphrase=passphrase, now=now(), entropy=os.urandom)
    record = made.record
    if as_json:
        print_json(
            {
                "federation": record.federation,
                "folder": str(folder),
                "root_fingerprint": record.root_fingerprint,
            }
        )
        return
    say(f"The federation {record.federation} exists; its authority lives in {folder}.")
    say(f"Root fingerprint: {record.root_fingerprint}")
    say(f"Next: fedseal node invite NAME --organisation ... --out FILE --authority {folder}")


@command(app, "show", example="fedseal federation show --authority authority")
def show(
    authority: Annotated[
        Path | None,
        typer.Option("--authority", metavar="DIR", envvar="FEDSEAL_AUTHORITY", help="The authority's folder."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--folder", metavar="DIR", help="Instead: a party's own folder, and what it pinned.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a federation's root fingerprint, addresses, and how many parties it has."""
    from fedseal.errors import SetupError

    if folder is not None:
        _show_pinned(folder, as_json=as_json)
        return
    if authority is None:
        raise SetupError("give --authority DIR, or --folder DIR of any party.")
    with open_office(authority) as office:
        overview = office.overview(now=now())
    if as_json:
        print_json(
            {
                "federation": overview.federation,
                "organisation": overview.organisation,
                "root_fingerprint": overview.root_fingerprint,
                "root_until": instant(overview.root_until),
                "address": overview.address,
                "coordinator": overview.coordinator,
                "members": overview.members,
                "open_invitations": overview.open_invitations,
                "revocation_list": overview.revocation_number,
                "revocation_list_due": instant(overview.revocation_due),
            }
        )
        return
    print_fields(
        {
            "Federation": overview.federation,
            "Organisation": overview.organisation,
            "Root fingerprint": overview.root_fingerprint,
            "Root valid until": day(overview.root_until),
            "Enrolment service": overview.address,
            "Coordinator": overview.coordinator or "not set (authority.yaml)",
            "Members": overview.members,
            "Open invitations": overview.open_invitations,
            "Revocation list": f"{overview.revocation_number}, next due {day(overview.revocation_due)} UTC",
        }
    )


def _show_pinned(folder: Path, *, as_json: bool) -> None:
    """What a party knows of its federation; loading the folder has compared its root with the pinned fingerprint."""
    from fedseal.folders import PartyFolder

    record = PartyFolder.load(folder).record
    if as_json:
        print_json(
            {
                "federation": record.federation,
                "root_fingerprint": record.root_fingerprint,
                "address": record.authority,
                "coordinator": record.coordinator,
            }
        )
        return
    print_fields(
        {
            "Federation": record.federation,
            "Root fingerprint": record.root_fingerprint,
            "Pinned by": f"{record.kind.value}/{record.name}",
            "Enrolment service": record.authority or "not known",
            "Coordinator": record.coordinator or "not known",
        }
    )


@command(
    app,
    "invite",
    example="fedseal federation invite --kind custodian --name ethics-board --organisation 'Ethics Board' "
    "--out custodian.json --authority authority",
)
def invite(  # noqa: PLR0913, PLR0917 - as above
    kind: Annotated[str, typer.Option("--kind", help="node, coordinator, custodian or person.")],
    name: Annotated[str, typer.Option("--name", help="The party's name in the federation.")],
    organisation: OrganisationOption,
    out: OutOption,
    authority: AuthorityOption,
    role: Annotated[list[str] | None, typer.Option("--role", help="Of a person; repeat for several.")] = None,
    host: HostOption = None,
    expires_hours: HoursOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the invitation of any party; `node invite`, `coordinator invite` and `user add` are shorter."""
    from fedseal.authority.views import Invitee

    invitee = Invitee.parse(kind=kind, name=name, organisation=organisation, roles=role or (), hosts=host or ())
    write_invitation(authority, invitee, out=out, hours=expires_hours, as_json=as_json)


@command(app, "invitations", example="fedseal federation invitations --authority authority")
def invitations(authority: AuthorityOption, as_json: JsonOption = False) -> None:
    """List invitations with their state: open, used, expired or withdrawn."""
    with open_office(authority) as office:
        rows = office.invitations(now=now())
    if as_json:
        print_json(
            {
                "invitations": [
                    {
                        "party": row.label,
                        "organisation": row.organisation,
                        "roles": list(row.roles),
                        "state": row.state,
                        "expires": instant(row.expires),
                    }
                    for row in rows
                ]
            }
        )
        return
    print_table(
        ("Party", "Organisation", "State", "Expires (UTC)"),
        [(row.label, row.organisation, row.state, day(row.expires)) for row in rows],
        empty="No invitations were made yet.",
    )


@command(app, "withdraw", example="fedseal federation withdraw node/cleveland --authority authority")
def withdraw(
    party: Annotated[str, typer.Argument(metavar="KIND/NAME", help="Whose open invitation.")],
    authority: AuthorityOption,
    as_json: JsonOption = False,
) -> None:
    """Withdraw the open invitations of a party, so that their tokens no longer work."""
    with open_office(authority) as office:
        count = office.withdraw(party, now=now())
    if as_json:
        print_json({"party": party, "withdrawn": count})
        return
    say(f"{count} open invitation(s) of {party} withdrawn.")


@command(app, "serve", example="fedseal federation serve --authority authority --passphrase-file root-passphrase")
def serve(authority: AuthorityOption, passphrase_file: PassphraseFile = None) -> None:
    """Run the enrolment service until it is stopped; only needed while parties enrol over the network."""
    from fedseal.authority.running import serve_until_stopped

    with unlocked_office(authority, passphrase_file) as office:
        serve_until_stopped(office, ready=say)


@command(app, "sign", example="fedseal federation sign request.json --out answer.json --authority authority")
def sign(
    request: Annotated[Path, typer.Argument(metavar="REQUEST", help="The file that --offline wrote.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write the answer.")],
    authority: AuthorityOption,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Sign a request of `enrol --offline` or `certificate rotate --offline` that was carried here by hand."""
    from fedseal.authority.exchange import MAX_REQUEST_BYTES, parse_application
    from fedseal.authority.rotation import is_rotation
    from fedseal.files import read_limited, write_atomic

    data = read_limited(request, max_bytes=MAX_REQUEST_BYTES, what="an enrolment request")
    application = None if is_rotation(data) else parse_application(data, filename=str(request))
    with unlocked_office(authority, passphrase_file) as office:
        answer = office.rotate(data, now=now()) if application is None else office.issue(application, now=now())
    write_atomic(out, answer.to_bytes())
    if as_json:
        print_json({"answer": str(out)})
        return
    say(f"{out} is the answer; it holds no secrets. Carry it back and give it there with --answer {out.name}.")
