"""The map of laws never says more than the evidence; the log's documents name who signed; a browser prints."""

import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedseal.errors import SetupError
from fedseal.report import LogEvidence, read_log, render_report, to_pdf
from fedseal.report.checks import check_evidence
from fedseal.report.evidence import policy_stories, ranges
from fedseal.report.laws import Law, Line, Standing, laws
from fedseal.report.pdf import VARIABLE
from fedseal.report.sources import read_sources
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_governance.audit import AuditError, AuditLog
from fedseal_governance.audit.entries import Entry
from fedseal_governance.database import Database
from fedseal_migrations import upgrade
from tests.unit.report.telling import MADE, START, TRAINING, Scenario, Teller

ORIGIN = "fedseal/heart/coordinator"
WHERE = {"stage": "training", "round": 0, "attempt": 0}


def log_with(teller: Teller, detail: pb.JobDetail, folder: Path, *, sum_of: int = 4) -> LogEvidence:
    """A real bundle of a coordinator that wrote this job down."""
    database = Database(f"sqlite:///{folder}/log.db")
    upgrade(database.engine)
    log, job = AuditLog(ORIGIN, teller.coordinator.key), detail.summary.job
    told = [
        ("job.submitted", {"purpose": "DUO:0000006"}),
        ("job.accepted", {"policy": "aa" * 32}),
        ("round.started", {**WHERE, "minimum_cohort": 3, "roster": ["a", "b", "c", "d"]}),
        ("round.completed", {**WHERE, "survivors": ["a", "b", "c", "d"][:sum_of]}),
        (f"job.{detail.summary.state}", {"record": sha256_hex(detail.job_record)}),
    ]
    for number, (kind, details) in enumerate(told):
        database.run(
            "entry",
            lambda session, number=number, kind=kind, details=details: log.append(  # type: ignore[misc]  # per entry
                session,
                time=START + timedelta(seconds=number),
                type=kind,
                actor="node/cleveland",
                subject=f"job/{job}",
                details=details,
            ),
        )
    database.run("checkpoint", lambda session: log.checkpoint(session, MADE))
    documents = {sha256_hex(detail.job_record): detail.job_record}
    bundle = database.read(lambda session: log.export(session, folder / "bundle", documents)).path
    database.close()
    return read_log(bundle, job)


def lines(detail: pb.JobDetail, teller: Teller, evidence: LogEvidence | None) -> dict[str, Line]:
    sources = read_sources(detail)
    log = None if evidence is None else evidence.verified
    found: tuple[Law, ...] = laws(sources, check_evidence(sources, federation=teller.view, log=log), evidence)
    return {f"{law.name.split(',')[0]} {line.article} {line.asks}": line for law in found for line in law.lines}


def test_without_the_log_nothing_is_proved(teller: Teller) -> None:
    detail = teller.tell(Scenario())
    found = lines(detail, teller, None)
    assert {line.standing for line in found.values()} == set(Standing) - {Standing.PROVED}
    assert all(not line.entries for line in found.values())
    page = render_report(detail, generated_at=MADE, federation=teller.view).decode()
    assert "no line is called proved" in page
    assert "making them is processing it" in page


def test_what_is_proved_names_its_entries(teller: Teller, tmp_path: Path) -> None:
    detail = teller.tell(Scenario())
    evidence = log_with(teller, detail, tmp_path)
    found = lines(detail, teller, evidence)
    proved = {name: line.entries for name, line in found.items() if line.standing is Standing.PROVED}
    assert proved["GDPR Art. 5(1)(b) purpose limitation"] == "0 to 1"
    assert proved["GDPR Art. 5(1)(f) integrity and confidentiality"] == "3"
    assert proved["HIPAA Security Rule (c)(1) integrity"] == "4"
    assert all(proved.values())
    page = render_report(detail, generated_at=MADE, federation=teller.view, log=evidence).decode()
    assert page.count('tag good">proved') == len(proved)
    assert "Log entries: 0 to 1." in page


@pytest.mark.parametrize("article", ["Art. 6, 9 legal basis", "Art. 28 processors", "Art. 35 impact assessment"])
def test_duties_of_people_stay_theirs(article: str, teller: Teller, tmp_path: Path) -> None:
    detail = teller.tell(Scenario())
    assert lines(detail, teller, log_with(teller, detail, tmp_path))[f"GDPR {article}"].standing is (
        Standing.ORGANISATIONAL
    )


def test_nothing_is_proved_by_evidence_that_does_not_hold(teller: Teller, tmp_path: Path) -> None:
    detail = teller.tell(Scenario())
    evidence = log_with(teller, detail, tmp_path)
    detail.rounds[0].state = "failed"  # the coordinator now says otherwise than it signed
    found = lines(detail, teller, evidence)
    assert Standing.PROVED not in {line.standing for line in found.values()}


def test_a_sum_below_the_minimum_is_told(teller: Teller, tmp_path: Path) -> None:
    detail = teller.tell(Scenario())
    line = lines(detail, teller, log_with(teller, detail, tmp_path, sum_of=2))[
        "GDPR Art. 5(1)(f) integrity and confidentiality"
    ]
    assert (line.standing, line.entries) == (Standing.NOT_COVERED, "")
    assert "fewer data holders than promised" in line.answer


def test_unprotected_contributions_are_not_called_confidential(teller: Teller, tmp_path: Path) -> None:
    open_job = TRAINING.replace("protection: masking", "protection: none").replace(
        "disclosure: SUM", "disclosure: INDIVIDUAL"
    )
    detail = teller.tell(Scenario(job=open_job))
    found = lines(detail, teller, log_with(teller, detail, tmp_path))
    assert found["GDPR Art. 5(1)(f) confidentiality"].standing is Standing.NOT_COVERED


def test_a_bundle_that_does_not_verify_is_no_evidence(teller: Teller, tmp_path: Path) -> None:
    log_with(teller, teller.tell(Scenario()), tmp_path)
    entries = tmp_path / "bundle" / "entries.jsonl"
    entries.write_bytes(entries.read_bytes().replace(b"cleveland", b"Cleveland", 1))
    with pytest.raises(AuditError):
        read_log(tmp_path / "bundle", "aa" * 32)


def test_who_signed_a_policy_is_only_told_when_it_verifies(teller: Teller, tmp_path: Path) -> None:
    evidence = log_with(teller, teller.tell(Scenario()), tmp_path)
    (story,) = policy_stories(evidence, teller.view).values()
    assert (story.title, story.signed_by) == ("", "")  # the bundle does not have the file
    envelope = Digest("bb" * 32)
    policy = b"policy: p\n"
    answer = evidence.of("job.accepted")[0]
    entry = Entry(
        seq=answer.seq,
        time=answer.time,
        log=answer.log,
        type=answer.type,
        actor=answer.actor,
        subject=answer.subject,
        details={"policy": sha256_hex(policy), "policy_envelope": envelope},
    )
    forged = replace(evidence, entries=(entry,), documents={sha256_hex(policy): policy, envelope: b"{}"})
    assert policy_stories(forged, teller.view)["cleveland"].signed_by == "the signatures do not verify"
    assert policy_stories(None, teller.view) == {}


@given(numbers=st.sets(st.integers(0, 300), max_size=40))
def test_ranges_say_how_many_and_which(numbers: set[int]) -> None:
    told = ranges(numbers)
    if " from " in told:
        assert told == f"{len(numbers)} from {min(numbers)} to {max(numbers)}"
        return
    found: set[int] = set()
    for part in filter(None, told.split(", ")):
        first, _, last = part.partition(" to ")
        found |= set(range(int(first), int(last or first) + 1))
    assert found == numbers


def test_a_pdf_needs_a_browser_and_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, "no-such-browser")
    with pytest.raises(SetupError, match=r"no-such-browser.*print it from any browser"):
        to_pdf(b"<html>")
    browser = tmp_path / "browser"
    browser.write_text('#!/bin/sh\nfor a; do case $a in --print-to-pdf=*) echo "%PDF" > "${a#*=}";; esac; done\n')
    browser.chmod(browser.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv(VARIABLE, str(browser))
    assert to_pdf(b"<html>") == b"%PDF\n"
    browser.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(SetupError, match="exit code 3"):
        to_pdf(b"<html>")
