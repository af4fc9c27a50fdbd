"""``fedseal custodian``: enrol and run the separate party that holds decryption keys, and see what it did."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedseal_cli.authority_options import now
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
from fedseal_cli.local_options import person_in
from fedseal_cli.output import day, instant, note, print_fields, print_json, print_table, say
from fedseal_cli.remote import CoordinatorOption
from fedseal_cli.secrets_input import PassphraseFile, read_passphrase

if TYPE_CHECKING:
    from fedseal.custodian.vault import Vault
    from fedseal.local import LocalParty
    from fedseal_crypto.secret import SecretBytes

app = noun(
    "custodian",
    "Enrol and run the separate party that holds decryption keys, and see what it did.",
    example="fedseal custodian run --folder custodian",
)

SealFile = Annotated[
    Path | None,
    typer.Option(
        "--seal-passphrase-file",
        metavar="FILE",
        help="File whose first line seals secret keys at rest; otherwise the key file of custodian.yaml does.",
    ),
]


@command(
    app,
    "enrol",
    alias="enroll",
    example="fedseal custodian enrol --invitation custodian.json --folder custodian",
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
    """Make the custodian's keys on this machine and fetch their certificates."""
    run_enrolment(
        EnrolmentOptions(
            kind="custodian",
            folder=folder,
            invitation=invitation,
            offline=offline,
            answer=answer,
            fingerprint=fingerprint,
            passphrase_file=passphrase_file,
            as_json=as_json,
        )
    )


@command(app, "run", example="fedseal custodian run --folder custodian --seal-passphrase-file seal.txt")
def run(
    folder: FolderOption,
    seal_passphrase_file: SealFile = None,
    coordinator: CoordinatorOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log debugging details.")] = False,
) -> None:
    """Run the custodian in the foreground until Ctrl-C or SIGTERM; it connects outwards only."""
    from fedseal import logs
    from fedseal.custodian import run_custodian

    logs.configure(verbose=verbose)
    run_custodian(
        folder,
        passphrase=_seal_passphrase(seal_passphrase_file),
        coordinator=coordinator,
        ready=lambda address: note(f"The custodian connects to {address}."),
    )


@command(app, "status", example="fedseal custodian status custodian")
def status(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The custodian's folder.")], as_json: JsonOption = False
) -> None:
    """Show from the custodian's own folder which jobs have a key, how it is sealed, and how many sums were opened."""
    from fedseal.custodian.standing import custodian_standing
    from fedseal.local import open_party
    from fedseal_crypto.identity import PartyKind

    with open_party(folder, PartyKind.CUSTODIAN) as party:
        standing = custodian_standing(party, now())
    if as_json:
        print_json(
            {
                "federation": standing.federation,
                "custodian": standing.name,
                "organisation": standing.organisation,
                "coordinator": standing.coordinator,
                "certificate_until": instant(standing.certificate_until),
                "revocation_list": standing.revocation_number,
                "revocation_list_due": instant(standing.revocation_due),
                "policies": list(standing.policies),
                "jobs": [
                    {
                        "job": job.name,
                        "digest": job.digest,
                        "state": job.state,
                        "key": job.key or None,
                        "sealed": job.sealed or None,
                        "sums_opened": job.sums,
                        "key_destroyed_at": None if job.destroyed_at is None else instant(job.destroyed_at),
                    }
                    for job in standing.jobs
                ],
                "log_entries": standing.log_entries,
                "warnings": list(standing.warnings),
            }
        )
        return
    print_fields(
        {
            "Custodian": f"{standing.name} of {standing.organisation}, in {standing.federation}",
            "Coordinator": standing.coordinator or "not set (custodian.yaml)",
            "Certificate": f"until {day(standing.certificate_until)} UTC",
            "Revocation list": f"{standing.revocation_number}, next due {day(standing.revocation_due)} UTC",
            "Policies in force": ", ".join(standing.policies) or "none; every job is refused",
            "Audit log": f"{standing.log_entries} entries",
        }
    )
    say("")
    print_table(
        ("Job", "State", "Sums", "Key at rest", "Digest"),
        [
            (job.name, job.state, str(job.sums), job.sealed or ("destroyed" if job.key else "none"), job.digest[:12])
            for job in standing.jobs
        ],
        empty="No job was offered yet.",
    )
    for warning in standing.warnings:
        note(f"Warning: {warning}")


PeopleOption = Annotated[
    list[Path], typer.Option("--as", metavar="DIR", help="Folder of a person who takes part; repeat for each.")
]
LiveJobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Name, or the first digits of the digest.")]


@command(
    app,
    "split",
    example="fedseal custodian split heart-risk-training --folder custodian --threshold 2 "
    "--holder 'Cleveland Clinic=a.txt' --holder 'VA Medical Center=b.txt' --out shares --as olga --as omar",
)
def split(  # noqa: PLR0913, PLR0917 - Typer declares one parameter per option
    job: LiveJobArgument,
    folder: FolderOption,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="New folder for the shares.")],
    threshold: Annotated[int, typer.Option("--threshold", metavar="K", help="How many shares open the key.")],
    holder: Annotated[
        list[str],
        typer.Option(
            "--holder", metavar="ORG=FILE", help="An organisation and the file with its share's passphrase; repeat."
        ),
    ],
    as_: PeopleOption,
    seal_passphrase_file: SealFile = None,
    as_json: JsonOption = False,
) -> None:
    """Split a job's key among organisations: from the custodian's next start on, K of them must come together.

    The process that runs now keeps the key that it has in memory; restart it to make the split take effect.
    """
    from fedseal.custodian.ceremonies import Splitting, find_job, split_job_key
    from fedseal_crypto.homomorphic import Passphrase

    pairs = _pairs(holder, what="--holder")
    holders = {
        name: Passphrase(read_passphrase(file, purpose=f"the share of {name}", new=True)) for name, file in pairs
    }
    splitting = Splitting(
        threshold=threshold, holders=holders, officers=tuple(person_in(path, None) for path in as_), out=out
    )
    with _opened(folder, seal_passphrase_file) as (party, vault):
        row = find_job(party, job)
        files = split_job_key(party, vault, row, splitting, now=now())
    if as_json:
        shares = {name: str(file) for name, file in zip(holders, files, strict=True)}
        print_json({"job": row.digest, "key": row.key_digest, "threshold": threshold, "shares": shares})
        return
    say(f"The key of {row.name} is split: {threshold} of {len(files)} shares open it after the next start.")
    for name, file in zip(holders, files, strict=True):
        say(f"  {name}: {file}")
    say("Hand each share to its organisation and delete it here.")


@command(
    app,
    "reassemble",
    example="fedseal custodian reassemble heart-risk-training --folder custodian "
    "--share a.share=a.txt --share b.share=b.txt --as carol --as vera",
)
def reassemble(
    job: LiveJobArgument,
    folder: FolderOption,
    share: Annotated[
        list[str],
        typer.Option("--share", metavar="SHARE=FILE", help="A share and the file with its passphrase; repeat."),
    ],
    as_: PeopleOption,
    seal_passphrase_file: SealFile = None,
    as_json: JsonOption = False,
) -> None:
    """Bring shares together so that one run of the custodian can open sums of a job whose key is split.

    The first --as brings the first --share, and so on; each is of the organisation that holds the share.
    """
    from fedseal.custodian.ceremonies import BroughtShare, find_job, reassemble_job_key
    from fedseal.errors import SetupError
    from fedseal_crypto.homomorphic import Passphrase

    pairs = _pairs(share, what="--share")
    if len(pairs) != len(as_):
        raise SetupError("give an --as for each --share, in the same order")
    brought = [
        BroughtShare(
            file=Path(file),
            passphrase=Passphrase(read_passphrase(secret, purpose=f"the share {file}")),
            person=person_in(path, None),
        )
        for (file, secret), path in zip(pairs, as_, strict=True)
    ]
    with _opened(folder, seal_passphrase_file) as (party, vault):
        row = find_job(party, job)
        reassemble_job_key(party, vault, row, brought, now=now())
    if as_json:
        people = [item.person.label for item in brought]
        print_json({"job": row.digest, "key": row.key_digest, "people": people})
        return
    say(f"The key of {row.name} is ready for one run of the custodian; a running one takes it when it is asked.")


def _pairs(values: list[str], *, what: str) -> list[tuple[str, Path]]:
    """``NAME=FILE`` taken apart at the last equals sign.

    Raises:
        SetupError: One has none, or a name comes twice.
    """
    from fedseal.errors import SetupError

    pairs = [(name, Path(file)) for name, _, file in (value.rpartition("=") for value in values)]
    for (name, _), value in zip(pairs, values, strict=True):
        if not name:
            raise SetupError(f"{what} {value} names no file; write NAME=FILE.")
    if len({name for name, _ in pairs}) < len(pairs):
        raise SetupError(f"{what} names one twice; each counts once.")
    return pairs


@contextmanager
def _opened(folder: Path, seal_passphrase_file: Path | None) -> "Iterator[tuple[LocalParty, Vault]]":
    """The custodian of a folder with its sealed keys."""
    from fedseal.custodian.config import CustodianSettings
    from fedseal.custodian.run import open_vault
    from fedseal.local import load_settings, open_party
    from fedseal_crypto.identity import PartyKind

    with open_party(folder, PartyKind.CUSTODIAN) as party:
        settings = load_settings(party.folder, CustodianSettings)
        yield party, open_vault(party.folder, settings, _seal_passphrase(seal_passphrase_file))


def _seal_passphrase(file: Path | None) -> "SecretBytes | None":
    return None if file is None else read_passphrase(file, purpose="the secret keys at rest")
