"""The last chapter: model, job record, report and audit log, verified, and a forged copy found out."""

import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from fedseal.client import Client
from fedseal.errors import SetupError
from fedseal.evidence import documents_of
from fedseal.files import write_atomic
from fedseal.local import open_party
from fedseal.methods.comparison import Comparison
from fedseal.report import FederationView, read_log, render_report
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_cli.demonstration.setting import HOSPITALS
from fedseal_crypto.identity import PartyKind
from fedseal_governance.audit import AuditError, verify_bundle
from fedseal_governance.records import verify_record

TAMPERED_ENTRY = 5
"""Which entry of the copy gets one of its bytes flipped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Products:
    """Files that a job leaves."""

    model: Path
    job_record: Path
    report: Path


def fetch(client: Client, detail: pb.JobDetail, folder: Path) -> Products:
    """Download the model and keep the job record."""
    digests = {item.kind: item.digest for item in detail.artefacts}
    if "model" not in digests:
        sentence = f"the job left no model; it ended as {detail.summary.state}: {detail.summary.reason}"
        raise SetupError(sentence)
    products = Products(
        model=folder / "model.safetensors", job_record=folder / "job-record.json", report=folder / "report.html"
    )
    client.download(detail.summary.job, digests["model"], products.model)
    write_atomic(products.job_record, detail.job_record)
    return products


def write_report(
    path: Path, detail: pb.JobDetail, comparison: Comparison, bundle: Path, coordinator: Path, *, now: datetime
) -> None:
    """Write the report, with the hospitals' figures and the verified log."""
    with open_party(coordinator, PartyKind.COORDINATOR) as party:
        trust = party.trust(now)
    view = FederationView(root=trust.root, revocations=trust.revocations, organisations=HOSPITALS)
    page = render_report(
        detail, generated_at=now, site_metrics=comparison, federation=view, log=read_log(bundle, detail.summary.job)
    )
    write_atomic(path, page)


def verify_model(products: Products, coordinator: Path, *, now: datetime) -> str:
    """Verify offline that the record is the coordinator's and the model is the record's; gives the signer."""
    with open_party(coordinator, PartyKind.COORDINATOR) as party:
        trust = party.trust(now)
    verified = verify_record(
        products.job_record.read_bytes(),
        root=trust.root,
        revocations=trust.revocations,
        model=products.model.read_bytes(),
    )
    return verified.signer


def export_log(party_folder: Path, bundle: Path, *, now: datetime) -> int:
    """Export a party's audit log with its documents; gives the number of entries."""
    with open_party(party_folder) as party:
        log = party.log(party.folder.identity_key())
        party.database.run("audit.checkpoint", lambda session: log.checkpoint(session, now))

        def work(session: Session) -> int:
            return log.export(session, bundle, documents_of(session, log, party_folder)).size

        return party.read(work)


def witnesses_of(party_folder: Path) -> int:
    """How many witnesses have cosigned the newest checkpoint of a party's log."""
    with open_party(party_folder) as party:
        latest = party.read(party.log().latest_checkpoint)
    return 0 if latest is None else len(latest.vkeys) - 1


def forged_copy_found(bundle: Path, copy: Path) -> tuple[bool, str]:
    """Flip one byte in a copy of the bundle; whether verifying names that entry, and what it says."""
    shutil.copytree(bundle, copy)
    path = copy / "entries.jsonl"
    lines = path.read_bytes().split(b"\n")
    entry = bytearray(lines[TAMPERED_ENTRY])
    entry[len(entry) // 2] ^= 0x01
    lines[TAMPERED_ENTRY] = bytes(entry)
    path.write_bytes(b"\n".join(lines))
    try:
        verify_bundle(copy)
    except AuditError as error:
        return error.entry == TAMPERED_ENTRY, str(error)
    return False, "the forged copy verified"
