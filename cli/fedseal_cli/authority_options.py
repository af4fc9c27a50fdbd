"""Options and steps that several nouns share when they act on an authority's folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedseal_cli.output import instant, note, print_json, say
from fedseal_cli.secrets_input import read_passphrase

if TYPE_CHECKING:
    from fedseal.authority.office import Office
    from fedseal.authority.views import Invitee

AuthorityOption = Annotated[
    Path,
    typer.Option("--authority", metavar="DIR", envvar="FEDSEAL_AUTHORITY", help="The authority's folder."),
]
OrganisationOption = Annotated[str, typer.Option("--organisation", help="Legal name of the organisation.")]
OutOption = Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write the invitation.")]
HoursOption = Annotated[
    int | None,
    typer.Option("--expires-hours", min=1, max=2160, help="Life of the invitation; otherwise as authority.yaml says."),
]
HostOption = Annotated[
    list[str] | None,
    typer.Option("--host", help="DNS name or IP address under which it serves; repeat for several."),
]


def now() -> datetime:
    """The machine's clock, read once per command."""
    return datetime.now(UTC)


@contextmanager
def open_office(folder: Path) -> "Iterator[Office]":
    """The authority's records, without its root key."""
    from fedseal.authority.office import Office

    office = Office.open(folder)
    try:
        yield office
    finally:
        office.close()


@contextmanager
def unlocked_office(folder: Path, passphrase_file: Path | None) -> "Iterator[Office]":
    """The authority's records with its root key, for what must be signed."""
    from fedseal.authority.office import Office

    office = Office.open(folder)
    try:
        passphrase = read_passphrase(passphrase_file, purpose="the authority's root key")
        yield office.unlock(passphrase)
    finally:
        office.close()


def write_invitation(authority: Path, invitee: "Invitee", *, out: Path, hours: int | None, as_json: bool) -> None:
    """Record an invitation and write its file."""
    import secrets

    from fedseal.authority.invitations import TOKEN_BYTES
    from fedseal.errors import SetupError
    from fedseal.files import write_atomic

    if out.exists():
        raise SetupError(f"{out} already exists; choose another name, invitations are never overwritten.")
    if not out.parent.is_dir():
        raise SetupError(f"the folder {out.parent} does not exist; create it first.")
    with open_office(authority) as office:
        invitation = office.invite(invitee, token=secrets.token_bytes(TOKEN_BYTES), hours=hours, now=now())
        fingerprint = invitation.trust_root().fingerprint
    write_atomic(out, invitation.to_bytes(), private=True)
    if as_json:
        print_json(
            {
                "federation": invitation.federation,
                "kind": invitation.kind.value,
                "name": invitation.name,
                "organisation": invitation.organisation,
                "roles": [role.value for role in invitation.roles],
                "expires": instant(invitation.expires),
                "root_fingerprint": fingerprint,
                "file": str(out),
            }
        )
        return
    say(
        f"{out} invites {invitation.label} of {invitation.organisation}; it works once, until "
        f"{invitation.expires:%Y-%m-%d %H:%M} UTC."
    )
    say(f"Root fingerprint, to be read out over another channel: {fingerprint}")
    note("Send the file over a channel that you trust: whoever holds it can enrol.")
