"""What the report says it has checked, and that it notices what does not hold."""

from dataclasses import replace
from datetime import timedelta

from fedseal.report import FederationView, render_report
from fedseal.report.checks import Check, Outcome, check_evidence
from fedseal.report.sources import read_sources
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.certificates import RevokedSerial
from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.identity import IdentityKey
from fedseal_crypto.merkle import Hash
from fedseal_crypto.notes import NoteVerifier
from fedseal_governance.audit import AuditError, Verified
from tests.unit.report.telling import MADE, START, Scenario, Teller, found_teller

RECORD, JOB_SIGNATURE, LOG = "Signature of the job record", "Signature of the job file", "Coordinator's audit log"


def checked(
    detail: pb.JobDetail, *, view: FederationView | None = None, log: Verified | AuditError | None = None
) -> dict[str, Check]:
    return {check.subject: check for check in check_evidence(read_sources(detail), federation=view, log=log).all}


def log_of(*documents: str, origin: str = "fedseal/heart/coordinator") -> Verified:
    key = IdentityKey.generate(lambda size: b"\x07" * size)
    return Verified(
        origin=origin,
        size=42,
        root=Hash(b"\x00" * 32),
        log_key=NoteVerifier(name=origin, public=key.public),
        pinned=False,
        cosignatures=(),
        first_time=START,
        last_time=START,
        documents=tuple(map(sha256_hex, (item.encode() for item in documents))),
        unknown_files=(),
    )


def test_everything_holds(teller: Teller) -> None:
    detail = teller.tell(Scenario())
    log = replace(log_of(), documents=(sha256_hex(detail.job_record),))
    found = checked(detail, view=teller.view, log=log)
    assert {check.outcome for check in found.values()} == {Outcome.PASSED}
    assert "Its 42 entries verify" in found[LOG].finding
    page = render_report(detail, generated_at=MADE, federation=teller.view, log=log).decode()
    assert "Signature verified" in page


def test_what_was_not_checked_is_not_called_verified(teller: Teller) -> None:
    detail = teller.tell(Scenario())
    found = checked(detail)
    assert {found[name].outcome for name in (RECORD, JOB_SIGNATURE, LOG)} == {Outcome.UNCHECKED}
    assert "Signature not verified" in render_report(detail, generated_at=MADE).decode()


def test_record_of_another_federation_fails(teller: Teller) -> None:
    found = checked(found_teller().tell(Scenario()), view=teller.view)
    assert found[RECORD].outcome is Outcome.FAILED
    assert "was not issued by the authority" in found[RECORD].finding


def test_changed_record_fails(teller: Teller) -> None:
    detail = teller.tell(Scenario())
    # A letter of the base64 payload; the record stays readable JSON or becomes nonsense, and fails either way.
    spot = detail.job_record.index(b'"payload":"') + 400
    letter = b"A" if detail.job_record[spot : spot + 1] != b"A" else b"B"
    detail.job_record = detail.job_record[:spot] + letter + detail.job_record[spot + 1 :]
    assert checked(detail, view=teller.view)[RECORD].outcome is Outcome.FAILED
    page = render_report(detail, generated_at=MADE, federation=teller.view).decode()
    assert "Do not rely on this report" in page
    assert "Signature verified" not in page


def test_revoked_coordinator_fails(teller: Teller) -> None:
    view = teller.view
    member = view.root.verify_identity(teller.coordinator.certificate, now=START, revocations=view.revocations)
    entry = RevokedSerial(serial=member.serial, revoked_at=START - timedelta(hours=2))
    revoked = replace(view, revocations=replace(view.revocations, serials={member.serial: entry}))
    found = checked(teller.tell(Scenario()), view=revoked)
    assert found[RECORD].outcome is Outcome.FAILED
    assert "was revoked" in found[RECORD].finding


def test_record_signed_by_somebody_else_fails(teller: Teller) -> None:
    other = Teller(teller.authority, coordinator=teller.scientist, scientist=teller.scientist)
    found = checked(other.tell(Scenario()), view=teller.view)
    assert found[RECORD].outcome is Outcome.FAILED
    assert "signed by its coordinator alone" in found[RECORD].finding


def test_another_submitter_than_signer_fails(teller: Teller) -> None:
    found = checked(teller.tell(Scenario(submitted_by="mallory")), view=teller.view)
    assert found[JOB_SIGNATURE].outcome is Outcome.FAILED
    assert "mallory is said to have submitted it" in found[JOB_SIGNATURE].finding


def test_another_schema_model_or_job_file_fails(teller: Teller) -> None:
    detail = teller.tell(Scenario())
    detail.schema += b"\n"
    detail.artefacts[0].digest = "00" * 32
    detail.document = found_teller().tell(Scenario(job=Scenario().job + "seed: 2\n")).document
    found = checked(detail)
    failed = {subject for subject, check in found.items() if check.outcome is Outcome.FAILED}
    assert failed == {"Dataset schema", "Model on offer", "Job file", "Signed job file"}


def test_coordinator_that_contradicts_its_record_is_named(teller: Teller) -> None:
    detail = teller.tell(Scenario())
    detail.summary.state = "failed"
    detail.answers[0].answer = "refused"
    del detail.rounds[-1]
    found = checked(detail)["Coordinator's answer"]
    assert found.outcome is Outcome.FAILED
    assert "the state and the answers and the rounds" in found.finding
    # The signed record is what the page shows.
    page = render_report(detail, generated_at=MADE, federation=teller.view).decode()
    assert ">Finished<" in page
    assert "Do not rely on this report" in page


def test_wrong_logs_are_named(teller: Teller) -> None:
    detail = teller.tell(Scenario())
    broken = checked(detail, log=AuditError("entry 5 was changed", entry=5))[LOG]
    assert broken.outcome is Outcome.FAILED
    assert "entry 5 was changed" in broken.finding
    foreign = checked(detail, log=log_of(origin="fedseal/heart/hungary"))[LOG]
    assert foreign.outcome is Outcome.FAILED
    assert "fedseal/heart/hungary" in foreign.finding
    without = checked(detail, log=log_of("something else"))[LOG]
    assert without.outcome is Outcome.FAILED
    assert "does not hold this job record" in without.finding
