"""Which jobs a coordinator takes, what it tells before one is submitted, and who may end one."""

from collections.abc import Callable

import pytest

from fedseal.coordinator.intake import StopAsked
from fedseal.errors import PeerFault, RefusalError
from fedseal_crypto.certificates import CertificateRevoked
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.masking import Step
from fedseal_governance.errors import AlreadyDone, DocumentError, NotFound
from fedseal_governance.records import read_record, verify_record
from tests.unit.coordinator.members import Play, signed_policy
from tests.unit.node.papers import DATASET, SCHEMA, JobFile, policy_with
from tests.unit.node.parties import NODES, Consortium


def attend_with(play: Play, name: str, **changed: object) -> None:
    """A node comes back and shows other policies or datasets."""
    play.members[name].leave()
    play.members[name].attend(**changed)


# --- refused submissions ------------------------------------------------------------------------------


def test_a_forbidden_purpose_names_the_clause(play: Play, consortium: Consortium) -> None:
    """The refusal is in the log, with the job file it was about."""
    signed = JobFile(purpose="DUO:0000004").signed(consortium)
    with pytest.raises(RefusalError, match=r"0 of 5 nodes could accept this job and it needs 3.*\[purposes\]"):
        play.submit(signed.envelope)
    [entry] = play.process.audit("job.refused")
    assert entry.actor == "person/ada"
    assert entry.subject == f"job/{signed.digest}"
    assert entry.details["purpose"] == "DUO:0000004"
    assert "[purposes]" in str(entry.details["reason"])
    assert entry.details["envelope"] == sha256_hex(signed.envelope)
    assert play.process.ledger.artefacts.get(sha256_hex(signed.envelope)) == signed.envelope
    assert list(play.process.views.jobs().jobs) == []
    play.process.assert_log_verifies()


def test_a_job_that_was_turned_away_leaves_a_signed_record(play: Play, consortium: Consortium) -> None:
    """It can be fetched by name or digest, verifies offline, and is the one that the log names."""
    signed = JobFile(purpose="DUO:0000004").signed(consortium)
    with pytest.raises(RefusalError):
        play.submit(signed.envelope)
    shown = play.process.views.shown(signed.document.job)
    assert shown == play.process.views.shown(signed.digest[:8])
    assert shown.summary.state == "refused"
    assert "[purposes]" in shown.summary.reason
    [entry] = play.process.audit("job.refused")
    assert sha256_hex(shown.job_record) == entry.details["record"]
    trust = play.process.trust
    verified = verify_record(shown.job_record, root=trust.root, revocations=trust.revocations)
    assert (verified.record.state, verified.record.job, verified.record.reason) == (
        "refused",
        signed.digest,
        shown.summary.reason,
    )
    assert (verified.record.log_position, verified.has_model) == (entry.seq, False)


def test_a_job_that_was_turned_away_may_come_again(play: Play, consortium: Consortium) -> None:
    """Once it is a job of its own, that is what its name means; both logs still agree on how it ended."""
    signed = JobFile(minimum_cohort=5).signed(consortium)
    attend_with(play, "zurich", policies=())
    with pytest.raises(RefusalError):
        play.submit(signed.envelope)
    attend_with(play, "zurich", policies=(signed_policy(consortium, policy_with({})),))
    job = play.submit(signed.envelope)
    assert play.process.views.shown(signed.document.job).summary.state == "offered"
    assert play.run(job) == "finished"


def test_a_method_that_is_not_installed_is_a_refusal(play: Play, consortium: Consortium) -> None:
    """It is noted and leaves a record, like any other job that was turned away."""
    signed = JobFile(method="fedfuture", training_rounds=1).signed(consortium)
    with pytest.raises(RefusalError, match="fedfuture"):
        play.submit(signed.envelope)
    record = read_record(play.process.views.shown(signed.document.job).job_record)
    assert record.method == "fedfuture"
    assert not record.disclosure.quantities


def test_a_job_that_nobody_submitted_is_not_found(play: Play) -> None:
    with pytest.raises(NotFound, match="there is no job"):
        play.process.views.shown("abcd")


def test_a_refusal_of_a_hundred_clauses_is_noted(play: Play, consortium: Consortium) -> None:
    """Five nodes with several clauses each make a long sentence; the log takes its beginning."""
    strict = policy_with(
        {
            "kinds: [training, statistics]": "kinds: [training]",
            "minimum_cohort: 3}": "minimum_cohort: 5}",
            "allowed: [masking]": "allowed: [hybrid]",
            "max_rounds: 10": "max_rounds: 1",
        }
    )
    for name in NODES:
        attend_with(play, name, policies=(signed_policy(consortium, strict),))
    with pytest.raises(RefusalError):
        play.submit(JobFile().signed(consortium).envelope)
    assert len(str(play.process.audit("job.refused")[0].details["reason"])) <= 2_000


@pytest.mark.parametrize(
    ("job", "says"),
    [
        ({"dataset": "lungs"}, "no node that is present has registered the dataset lungs"),
        ({"nodes": ("oslo", "paris", "rome")}, "no node that is present has registered"),
        ({"minimum_cohort": 5}, "4 of 5 nodes could accept this job and it needs 5"),
    ],
)
def test_a_job_that_cannot_run(play: Play, consortium: Consortium, job: dict[str, object], says: str) -> None:
    attend_with(play, "zurich", policies=())
    with pytest.raises(RefusalError, match=says):
        play.submit(JobFile(**job).signed(consortium).envelope)  # type: ignore[arg-type]  # fields by name
    assert len(play.process.audit("job.refused")) == 1


def test_a_method_that_needs_single_contributions(play: Play, consortium: Consortium) -> None:
    with pytest.raises(RefusalError, match="the protection masking shows the coordinator sums only"):
        play.submit(JobFile(training_rounds=1, method="fedavg-topk").signed(consortium).envelope)
    assert len(play.process.audit("job.refused")) == 1


def test_nodes_with_different_schemas(play: Play, consortium: Consortium) -> None:
    attend_with(play, "zurich", datasets={DATASET: SCHEMA.replace(b"[0, 120]", b"[0, 130]")})
    with pytest.raises(RefusalError, match="registered the dataset hearts with different schema files"):
        play.submit(JobFile().signed(consortium).envelope)


def test_somebody_elses_job(play: Play, consortium: Consortium) -> None:
    """A signed job is its signer's; nobody else submits it."""
    envelope = JobFile().signed(consortium).envelope
    with pytest.raises(PeerFault, match="is signed by ada and was submitted by grace"):
        play.process.submit(envelope, by="grace")


def test_a_job_that_no_data_scientist_signed(play: Play, consortium: Consortium) -> None:
    envelope = JobFile().signed(consortium, by="grace").envelope
    with pytest.raises(PeerFault, match="must be signed by one person with the role data scientist"):
        play.process.submit(envelope, by="grace")


def test_a_revoked_data_scientist(play: Play, consortium: Consortium) -> None:
    envelope = JobFile().signed(consortium).envelope
    consortium.revoke("ada")
    assert play.process.engine.take_revocations(consortium.crl(at=play.process.clock()))
    with pytest.raises(CertificateRevoked, match="person/ada"):
        play.submit(envelope)


def test_a_file_that_is_no_job(play: Play, consortium: Consortium) -> None:
    envelope = JobFile(nodes=("basel",) * 3)
    with pytest.raises(DocumentError):
        envelope.signed(consortium)
    with pytest.raises(Exception, match=r"envelope|JSON|document"):
        play.submit(b"{}")


def test_the_same_job_twice(play: Play, consortium: Consortium) -> None:
    signed = JobFile().signed(consortium)
    job = play.submit(signed.envelope)
    with pytest.raises(AlreadyDone, match="was submitted before, by ada"):
        play.submit(signed.envelope)
    assert play.run(job) == "finished"
    with pytest.raises(AlreadyDone, match="and is finished"):
        play.submit(signed.envelope)


# --- what one node can do to others' submissions ------------------------------------------------------


@pytest.mark.parametrize("policies", [(b"garbage",), (b"{}",), (b"",), (b"\xff" * 100,)])
@pytest.mark.parametrize("named", [True, False])
def test_an_unreadable_policy_of_one_node_concerns_nobody_else(
    play: Play, consortium: Consortium, policies: tuple[bytes, ...], named: bool
) -> None:
    attend_with(play, "zurich", policies=policies)
    nodes = NODES if named else NODES[:4]
    verdicts = play.process.engine.check_job(JobFile(nodes=nodes).signed(consortium).envelope)
    assert verdicts.accepted
    job = play.submit(JobFile(nodes=nodes).signed(consortium).envelope)
    assert play.process.state(job) == "offered"


def test_a_policy_that_is_no_policy(play: Play, consortium: Consortium) -> None:
    """Well signed, and still not a policy file."""
    attend_with(play, "zurich", policies=(signed_policy(consortium, b"policy: [1, 2"),))
    job = play.submit(JobFile().signed(consortium).envelope)
    assert play.run(job) == "finished"


# --- previews -----------------------------------------------------------------------------------------


def test_a_preview_says_what_each_node_would_say(play: Play, consortium: Consortium) -> None:
    """Nothing is stored, and what is not known is not refused."""
    play.members["zurich"].leave()
    attend_with(play, "basel", policies=(signed_policy(consortium, policy_with({"training, statistics": "training"})),))
    attend_with(play, "hungary", policies=())
    verdicts = {item.node: item for item in play.process.engine.check_job(JobFile().signed(consortium).envelope).nodes}
    assert [reason.clause for reason in verdicts["basel"].reasons if not reason.allowed] == ["jobs.kinds"]
    assert verdicts["cleveland"].accepted
    assert not verdicts["hungary"].known
    assert not verdicts["zurich"].known
    assert not verdicts["zurich"].attending
    assert list(play.process.views.jobs().jobs) == []
    assert play.process.audit() == []


# --- stopping -----------------------------------------------------------------------------------------


def stop(play: Play, job: str, reason: str = "a mistake") -> None:
    play.process.engine.call(StopAsked(job=Digest(job), person="ada", reason=reason))


@pytest.mark.parametrize("step", [None, Step.ADVERTISE, Step.MASK, Step.UNMASK])
def test_a_job_is_stopped(play: Play, consortium: Consortium, step: Step | None) -> None:
    """At any moment; the attempt that is under way fails with the same reason, and every node is told."""
    job = play.submit(JobFile().signed(consortium).envelope)
    if step is not None:
        play.until(lambda: play.step_of(job) is step)
    stop(play, job)
    assert play.process.state(job) == "stopped"
    detail = play.process.detail(job)
    assert detail.summary.reason == "stopped by ada: a mistake"
    assert [item.state for item in detail.rounds] == ([] if step is None else ["failed"])
    for _ in range(2):
        play.turn()
    assert all(member.ended[job].state == "stopped" for member in play.members.values())
    assert "job-record" in play.process.artefacts(job)
    with pytest.raises(RefusalError, match="is not running here"):
        stop(play, job)
    play.restart()
    assert play.process.state(job) == "stopped"


def test_a_stopped_job_keeps_its_last_good_model(play: Play, consortium: Consortium) -> None:
    job = play.submit(JobFile(training_rounds=3).signed(consortium).envelope)
    play.until(lambda: play.process.detail(job).summary.rounds_done == 2)
    stop(play, job, "enough")
    assert sorted(play.process.artefacts(job)) == ["job-record", "model", "statistics"]


def test_a_reason_that_looks_like_data_stops_a_job_too(play: Play, consortium: Consortium) -> None:
    job = play.submit(JobFile().signed(consortium).envelope)
    stop(play, job, "QUJD" * 125)
    assert play.process.state(job) == "stopped"
    play.process.assert_log_verifies()


# --- revocation while jobs run ------------------------------------------------------------------------


def test_a_node_that_is_revoked_inside_a_round(play: Play, consortium: Consortium) -> None:
    """It is out from the next step on: its stream ends, its messages count no more, the others go on."""
    job = play.submit(JobFile().signed(consortium).envelope)
    play.until(lambda: play.step_of(job) is Step.SHARE)
    consortium.revoke("zurich")
    stream = play.members["zurich"].stream
    assert stream is not None
    assert play.process.engine.take_revocations(consortium.crl(at=play.process.clock()))
    assert stream.closed
    assert play.process.attendance.get("zurich") is None
    [entry] = play.process.audit("certificate.revocations")
    assert entry.details["number"] == play.process.trust.revocations.number
    gone = play.members.pop("zurich")
    assert play.run(job) == "finished"
    assert [len(item.survivors) for item in play.process.detail(job).rounds] == [4]
    assert not play.process.engine.take_revocations(play.process.trust.revocation_list_pem())
    assert gone.ended == {}


@pytest.fixture
def names() -> Callable[[Play], list[str]]:
    return lambda play: [item.node for item in play.process.views.nodes().nodes]


def test_who_is_present(play: Play, names: Callable[[Play], list[str]]) -> None:
    assert names(play) == list(NODES)
    play.members["zurich"].leave()
    assert names(play) == list(NODES[:4])
