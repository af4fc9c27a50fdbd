"""What ``node enrol``, ``coordinator enrol``, ``custodian enrol`` and ``user enrol`` have in common."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedseal_cli.authority_options import now
from fedseal_cli.output import instant, note, print_json, say
from fedseal_cli.secrets_input import read_passphrase

if TYPE_CHECKING:
    from fedseal.authority.invitations import Invitation
    from fedseal.folders import PartyFolder
    from fedseal_crypto.secret import SecretBytes

InvitationOption = Annotated[
    Path | None, typer.Option("--invitation", metavar="FILE", help="The invitation that the authority sent.")
]
FolderOption = Annotated[Path, typer.Option("--folder", metavar="DIR", help="Where keys and certificates will live.")]
OfflineOption = Annotated[
    Path | None,
    typer.Option("--offline", metavar="FILE", help="Write the request to FILE instead of calling the authority."),
]
AnswerOption = Annotated[
    Path | None,
    typer.Option("--answer", metavar="FILE", help="Finish with the authority's answer to --offline."),
]
FingerprintOption = Annotated[
    str | None,
    typer.Option("--fingerprint", metavar="HEX", help="Root fingerprint you were told; must match."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentOptions:
    """What the person typed."""

    kind: str
    folder: Path
    invitation: Path | None
    offline: Path | None
    answer: Path | None
    fingerprint: str | None
    passphrase_file: Path | None
    as_json: bool


def run_enrolment(options: EnrolmentOptions) -> None:
    """Enrol over the network, begin offline, or finish offline, as the options say."""
    from fedseal.errors import SetupError

    if options.answer is not None:
        _finish_offline(options, options.answer)
        return
    if options.invitation is None:
        raise SetupError("give --invitation FILE, the file that the federation's authority sent.")
    invitation = _checked_invitation(options, options.invitation)
    passphrase = _passphrase(options, invitation)
    if options.offline is not None:
        _begin_offline(options, invitation, passphrase, options.offline)
        return
    import os

    from fedseal.authority import applicant, client

    pending = applicant.begin(invitation, options.folder, passphrase=passphrase, now=now(), entropy=os.urandom)
    folder = applicant.enrol(
        pending, options.folder, exchange=lambda sent: client.exchange(invitation, sent), now=now()
    )
    _report(folder, options)


def _checked_invitation(options: EnrolmentOptions, file: Path) -> "Invitation":
    from fedseal.authority.errors import InvitationAltered
    from fedseal.authority.invitations import MAX_INVITATION_BYTES, parse_invitation
    from fedseal.errors import SetupError
    from fedseal.files import read_limited

    data = read_limited(file, max_bytes=MAX_INVITATION_BYTES, what="an invitation")
    invitation = parse_invitation(data, filename=str(file))
    if invitation.kind.value != options.kind:
        noun = "user" if invitation.kind.value == "person" else invitation.kind.value
        raise SetupError(f"{file} invites a {invitation.kind.value}; use `fedseal {noun} enrol`.")
    told = options.fingerprint
    actual = invitation.trust_root().fingerprint
    if told is not None and told.replace(":", "").replace(" ", "").lower() != actual:
        raise InvitationAltered(
            f"the root in {file} has the fingerprint {actual}, not the one you were told; do not use the "
            "file and ask the authority's administrator."
        )
    return invitation


def _passphrase(options: EnrolmentOptions, invitation: "Invitation") -> "SecretBytes | None":
    """People's keys are always protected; a service's only if a passphrase file is given."""
    if options.kind != "person" and options.passphrase_file is None:
        return None
    return read_passphrase(options.passphrase_file, purpose=f"the new keys of {invitation.label}", new=True)


def _begin_offline(
    options: EnrolmentOptions, invitation: "Invitation", passphrase: "SecretBytes | None", out: Path
) -> None:
    import os

    from fedseal.authority import applicant
    from fedseal.files import write_atomic

    pending = applicant.begin(invitation, options.folder, passphrase=passphrase, now=now(), entropy=os.urandom)
    write_atomic(out, pending.application.to_bytes(), private=True)
    if options.as_json:
        print_json(
            {
                "request": str(out),
                "folder": str(options.folder),
                "kind": options.kind,
                "name": invitation.name,
            }
        )
        return
    noun = "user" if options.kind == "person" else options.kind
    say(f"{out} is the request; the keys stay here. At the authority: fedseal federation sign {out} --out answer.json")
    say(f"Then here: fedseal {noun} enrol --answer answer.json --folder {options.folder}")


def _finish_offline(options: EnrolmentOptions, answer_file: Path) -> None:
    from fedseal.authority import applicant
    from fedseal.authority.exchange import MAX_ANSWER_BYTES, parse_answer
    from fedseal.files import read_limited

    data = read_limited(answer_file, max_bytes=MAX_ANSWER_BYTES, what="an answer")
    answer = parse_answer(data, filename=str(answer_file))
    pending = applicant.load_pending(options.folder)
    _report(applicant.finish(pending, options.folder, answer, now=now()), options)


def _report(folder: "PartyFolder", options: EnrolmentOptions) -> None:
    member = folder.member(now())
    record = folder.record
    if options.as_json:
        print_json(
            {
                "federation": record.federation,
                "kind": record.kind.value,
                "name": record.name,
                "organisation": record.organisation,
                "roles": sorted(role.value for role in member.roles),
                "folder": str(folder.path),
                "root_fingerprint": record.root_fingerprint,
                "certificate_until": instant(member.not_after),
            }
        )
        return
    say(
        f"{member.label} of {record.organisation} is enrolled in {record.federation} until {member.not_after:%Y-%m-%d}."
    )
    say(f"Folder: {folder.path}")
    say(f"Root fingerprint: {record.root_fingerprint}")
    if options.fingerprint is None:
        note("Compare the fingerprint with the one the authority's administrator reads out to you.")
