"""``fedseal record``: the signed record that every job leaves, whether it finished, failed, stopped or was refused."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedseal_cli.commands import JsonOption, command, noun
from fedseal_cli.local_options import AsOption, require_existing
from fedseal_cli.output import note, print_fields, print_json, say
from fedseal_cli.remote import CoordinatorOption, JobArgument, connected
from fedseal_cli.secrets_input import PassphraseFile

if TYPE_CHECKING:
    from fedseal_governance.records import VerifiedRecord

app = noun(
    "record",
    "The signed record that every job leaves, however it ended.",
    example="fedseal record verify job-record.json --root authority.pem",
)


@command(app, "export", example="fedseal record export heart-risk --out job-record.json --as ada")
def export(
    job: JobArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write the record.")],
    as_: AsOption,
    coordinator: CoordinatorOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch the signed record of a job that has ended."""
    from fedseal.errors import SetupError
    from fedseal.files import write_atomic
    from fedseal_crypto.digests import sha256_hex

    if out.exists():
        raise SetupError(f"{out} already exists; choose another name.")
    with connected(as_, passphrase_file, coordinator) as client:
        detail = client.show_job(job)
    if not detail.job_record:
        raise SetupError(f"{detail.summary.name} has no record; it is {detail.summary.state}")
    write_atomic(out, detail.job_record)
    if as_json:
        print_json({"record": str(out), "sha256": sha256_hex(detail.job_record), "state": detail.summary.state})
        return
    say(f"{out} is the signed record of {detail.summary.name} ({detail.summary.state}).")


@command(app, "verify", example="fedseal record verify job-record.json --root authority.pem")
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A signed job record.")],
    root: Annotated[Path, typer.Option("--root", metavar="FILE", help="The federation's root certificate.")],
    revocations: Annotated[
        Path | None, typer.Option("--revocations", metavar="FILE", help="A revocation list of the federation.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check offline that a coordinator of the federation signed a job record, and show what it says."""
    from fedseal.authority.inspection import historic_trust
    from fedseal.files import read_limited
    from fedseal.folders import MAX_PEM_BYTES, MAX_REVOCATIONS_BYTES
    from fedseal_governance.records import MAX_RECORD_BYTES, verify_record

    require_existing(file, what="a job record")
    listed = (
        None
        if revocations is None
        else read_limited(revocations, max_bytes=MAX_REVOCATIONS_BYTES, what="a revocation list")
    )
    trust, revoked = historic_trust(read_limited(root, max_bytes=MAX_PEM_BYTES, what="a root certificate"), listed)
    data = read_limited(file, max_bytes=MAX_RECORD_BYTES, what="a job record")
    verified = verify_record(data, root=trust, revocations=revoked)
    if as_json:
        print_json({**_as_json(verified), "revocations_checked": revocations is not None})
        return
    _show(verified)
    if revocations is None:
        note("Whether the signer's certificate had been revoked was not checked; give --revocations.")


def _show(verified: "VerifiedRecord") -> None:
    record = verified.record
    refusing = [answer.node for answer in record.answers if not answer.accepted]
    print_fields(
        {
            "Job": f"{record.name} ({record.job})",
            "Ended": f"{record.ended_at}, {record.state}",
            "Reason": record.reason or "none needed",
            "Purpose": record.purpose,
            "Asked by": record.submitted_by,
            "Answers": f"{len(record.answers) - len(refusing)} accepted"
            + (f"; refused by {', '.join(refusing)}" if refusing else ""),
            "Rounds": f"{sum(item.state == 'completed' for item in record.rounds)} completed",
            "Model": verified.subject if verified.has_model else "none",
            "Log": f"entry {record.log_position} of {record.log_origin} names this record",
            "Signed by": f"{verified.signer}, verified",
        }
    )


def _as_json(verified: "VerifiedRecord") -> dict[str, object]:
    record = verified.record
    return {
        "verified": True,
        "job": record.job,
        "name": record.name,
        "state": record.state,
        "reason": record.reason,
        "ended_at": record.ended_at,
        "model": verified.subject if verified.has_model else None,
        "log": record.log_origin,
        "log_entry": record.log_position,
        "signed_by": verified.signer,
    }
