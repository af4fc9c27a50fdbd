"""``fedseal certificate``: what the authority issued, what it withdrew, and what a certificate says."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedseal_cli.authority_options import AuthorityOption, now, open_office, unlocked_office
from fedseal_cli.commands import JsonOption, command, noun
from fedseal_cli.enrolment import AnswerOption, OfflineOption
from fedseal_cli.local_options import AsOption, folder_passphrase
from fedseal_cli.output import day, instant, note, print_fields, print_json, print_table, say
from fedseal_cli.remote import CoordinatorOption, connected
from fedseal_cli.secrets_input import PassphraseFile

if TYPE_CHECKING:
    from fedseal_crypto.certificates import Member

ReasonOption = Annotated[
    str,
    typer.Option(
        "--reason",
        help="unspecified, key_compromise, affiliation_changed, superseded, cessation_of_operation or "
        "privilege_withdrawn.",
    ),
]

_SHOWN_OF_FOLDER = ("identity.pem", "authority.pem", "revocations.pem")

app = noun(
    "certificate",
    "What the authority issued, what it withdrew, and what a certificate says.",
    example="fedseal certificate list --authority authority",
)


@command(app, "list", example="fedseal certificate list --authority authority")
def list_(authority: AuthorityOption, as_json: JsonOption = False) -> None:
    """List every party's certificates: in force, expired or revoked; warn of those that end soon."""
    with open_office(authority) as office:
        moment = now()
        rows, warnings = office.certificates(now=moment), office.warnings(now=moment)
    if as_json:
        print_json(
            {
                "certificates": [
                    {
                        "party": row.label,
                        "use": row.use,
                        "serial": f"{row.serial:x}",
                        "state": row.state,
                        "fingerprint": row.fingerprint,
                        "not_before": instant(row.not_before),
                        "not_after": instant(row.not_after),
                        "roles": list(row.roles),
                    }
                    for row in rows
                ],
                "warnings": list(warnings),
            }
        )
        return
    print_table(
        ("Party", "Use", "State", "Until", "Fingerprint"),
        [(row.label, row.use, row.state, day(row.not_after)[:10], f"{row.fingerprint[:16]}…") for row in rows],
        empty="No certificate was issued yet.",
    )
    for warning in warnings:
        note(f"Warning: {warning}")


@command(
    app,
    "show",
    example="fedseal certificate show node/certificates/identity.pem --root node/certificates/authority.pem",
)
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A certificate in PEM, or the folder of a party.")],
    root: Annotated[
        Path | None,
        typer.Option("--root", metavar="FILE", help="Also verify it against this root certificate."),
    ] = None,
    revocations: Annotated[
        Path | None, typer.Option("--revocations", metavar="FILE", help="The revocation list to verify with.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show whose certificate a file is; with --root and --revocations also whether it holds.

    Of a party's folder its identity certificate is shown, verified against the folder's own root and list.
    """
    from fedseal.authority.inspection import describe, verify
    from fedseal.errors import SetupError
    from fedseal.files import read_limited
    from fedseal.folders import MAX_PEM_BYTES, MAX_REVOCATIONS_BYTES

    if file.is_dir():
        file, root, revocations = (file / "certificates" / name for name in _SHOWN_OF_FOLDER)
    if (root is None) != (revocations is None):
        raise SetupError("give --root and --revocations together; a certificate is not verified without both.")
    data = read_limited(file, max_bytes=MAX_PEM_BYTES, what="a certificate")
    view = describe(data, filename=str(file))
    if root is not None and revocations is not None:
        verify(
            data,
            root_pem=read_limited(root, max_bytes=MAX_PEM_BYTES, what="a root certificate"),
            revocations_pem=read_limited(revocations, max_bytes=MAX_REVOCATIONS_BYTES, what="a revocation list"),
            now=now(),
        )
    verified = root is not None
    if as_json:
        print_json(
            {
                "party": view.party,
                "roles": list(view.roles),
                "log_key": view.log_key,
                "witness_key": view.witness_key,
                "addresses": list(view.addresses),
                "hosts": list(view.hosts),
                "organisation": view.organisation,
                "use": view.use,
                "serial": f"{view.serial:x}",
                "fingerprint": view.fingerprint,
                "not_before": instant(view.not_before),
                "not_after": instant(view.not_after),
                "verified": verified,
            }
        )
        return
    print_fields(
        {
            "Party": view.party or "none that this program knows",
            "Roles": ", ".join(view.roles) or "none",
            "Addresses": ", ".join(view.addresses),
            "Hosts": ", ".join(view.hosts) or "none",
            "Organisation": view.organisation,
            "Use": view.use,
            "Serial": f"{view.serial:x}",
            "Fingerprint": view.fingerprint,
            "Valid (UTC)": f"{day(view.not_before)} to {day(view.not_after)}",
            "Log key": view.log_key or "none (people keep no log; TLS certificates sign none)",
            "Witness key": view.witness_key or "none",
            "Verified": "yes, in force" if verified else "not checked (give --root and --revocations)",
        }
    )


@command(
    app,
    "revoke",
    example="fedseal certificate revoke node/cleveland --reason key_compromise --authority authority",
)
def revoke(
    party: Annotated[str, typer.Argument(metavar="KIND/NAME", help="Whose certificates, such as node/cleveland.")],
    authority: AuthorityOption,
    reason: ReasonOption = "unspecified",
    superseded: Annotated[
        bool, typer.Option("--superseded", help="Only those that a rotation has replaced; the newest stay in force.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Also write the new list here.")] = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke all certificates of a party and sign a new revocation list."""
    from fedseal.files import write_atomic

    with unlocked_office(authority, passphrase_file) as office:
        why = "superseded" if superseded and reason == "unspecified" else reason
        done = office.revoke(party, reason=why, now=now(), keep_newest=superseded)
        if out is not None:
            write_atomic(out, office.revocations_pem())
    if as_json:
        print_json({"party": done.label, "certificates": done.certificates, "revocation_list": done.number})
        return
    whose = f"The older certificates of {done.label} are" if superseded else f"{done.label} is"
    say(f"{whose} revoked ({done.certificates} certificates); revocation list {done.number} says so.")
    say("It takes effect once the list is published: fedseal certificate publish")


@command(app, "revocations", example="fedseal certificate revocations --out revocations.pem --authority authority")
def revocations(
    authority: AuthorityOption,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the list here (PEM).")] = None,
    renew: Annotated[
        bool, typer.Option("--renew", help="Sign a new list first; do so before the old one is due.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Show the current revocation list, write it to a file, or sign a fresh one."""
    from fedseal.files import write_atomic

    if renew:
        with unlocked_office(authority, passphrase_file) as office:
            office.renew_revocations(now=now())
    with open_office(authority) as office:
        listed, pem = office.revocations(now=now()), office.revocations_pem()
    if out is not None:
        write_atomic(out, pem)
    if as_json:
        print_json(
            {
                "number": listed.number,
                "revoked": len(listed.serials),
                "issued": instant(listed.this_update),
                "due": instant(listed.next_update),
            }
        )
        return
    say(
        f"Revocation list {listed.number} of {day(listed.this_update)} UTC names {len(listed.serials)} "
        f"certificates; the next is due by {day(listed.next_update)}."
    )
    if out is not None:
        say(f"Written to {out}.")


@command(app, "update", example="fedseal certificate update node")
def update(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of an enrolled party.")],
    file: Annotated[
        Path | None,
        typer.Option("--list", metavar="FILE", help="A revocation list; otherwise the authority is asked."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Bring a party's revocation list up to date, from the authority's service or from a file."""
    from fedseal.errors import SetupError
    from fedseal.files import read_limited
    from fedseal.folders import MAX_REVOCATIONS_BYTES, PartyFolder

    party = PartyFolder.load(folder)
    if file is not None:
        pem = read_limited(file, max_bytes=MAX_REVOCATIONS_BYTES, what="a revocation list")
    elif party.record.authority is None:
        raise SetupError(f"{folder} knows no address of the authority; give --list FILE.")
    else:
        from fedseal.authority.client import fetch_revocations

        pem = fetch_revocations(party.record.authority, party.trust_root())
    listed = party.store_revocations(pem, now())
    if as_json:
        print_json({"number": listed.number, "revoked": len(listed.serials), "due": instant(listed.next_update)})
        return
    say(f"{folder} now holds revocation list {listed.number}, with {len(listed.serials)} certificates.")


@command(app, "publish", example="fedseal certificate publish --authority authority --as adam")
def publish(
    as_: AsOption,
    authority: Annotated[
        Path | None,
        typer.Option("--authority", metavar="DIR", envvar="FEDSEAL_AUTHORITY", help="The authority's folder."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--list", metavar="FILE", help="A revocation list, where the folder is elsewhere.")
    ] = None,
    coordinator: CoordinatorOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Bring the newest revocation list to the coordinator; it takes effect in running jobs at their next step."""
    from fedseal.errors import SetupError
    from fedseal.files import read_limited
    from fedseal.folders import MAX_REVOCATIONS_BYTES

    if file is not None:
        pem = read_limited(file, max_bytes=MAX_REVOCATIONS_BYTES, what="a revocation list")
    elif authority is not None:
        with open_office(authority) as office:
            pem = office.revocations_pem()
    else:
        raise SetupError("give --authority DIR or --list FILE, so that there is a list to publish.")
    with connected(as_, passphrase_file, coordinator) as client:
        receipt = client.publish_revocations(pem)
    if as_json:
        print_json({"receipt": receipt})
        return
    say(f"The coordinator has the list: {receipt}" if receipt else "The coordinator has the list.")


@command(app, "rotate", example="fedseal certificate rotate cleveland")
def rotate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of an enrolled party.")],
    offline: OfflineOption = None,
    answer: AnswerOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Replace a party's keys and certificates before they end; a running service takes them over by itself.

    The old certificates stay valid until they end, so that nothing is interrupted.
    """
    import os

    from fedseal.authority import client, rotating
    from fedseal.authority.exchange import MAX_ANSWER_BYTES, parse_answer
    from fedseal.errors import SetupError
    from fedseal.files import read_limited, write_atomic
    from fedseal.folders import PartyFolder

    party = PartyFolder.load(folder)
    if answer is not None:
        data = read_limited(answer, max_bytes=MAX_ANSWER_BYTES, what="an answer")
        read = parse_answer(data, filename=str(answer))
        _report_rotation(rotating.finish(rotating.load_pending(party), read, now=now()), as_json=as_json)
        return
    passphrase = folder_passphrase(party, passphrase_file)
    pending = rotating.begin(party, passphrase=passphrase, now=now(), entropy=os.urandom)
    if offline is not None:
        write_atomic(offline, pending.request)
        if as_json:
            print_json({"request": str(offline), "folder": str(folder)})
            return
        say(f"{offline} is the request; the new keys stay here. At the authority:")
        say(f"  fedseal federation sign {offline} --out answer.json")
        say(f"Then here: fedseal certificate rotate {folder} --answer answer.json")
        return
    address = party.record.authority
    if address is None:
        raise SetupError(f"{folder} knows no address of the authority; use --offline FILE and carry it there.")
    root = party.trust_root()
    done = rotating.rotate(pending, exchange=lambda sent: client.rotate(address, root, sent), now=now())
    _report_rotation(done, as_json=as_json)


def _report_rotation(member: "Member", *, as_json: bool) -> None:
    if as_json:
        until, fingerprint = instant(member.not_after), member.fingerprint
        print_json({"party": member.label, "certificate_until": until, "fingerprint": fingerprint})
        return
    say(f"{member.label} has new keys and certificates, until {day(member.not_after)[:10]}.")
    say("A running service takes them over within seconds; the old certificates end by themselves, or at once with")
    say(f"  fedseal certificate revoke {member.label} --superseded")
