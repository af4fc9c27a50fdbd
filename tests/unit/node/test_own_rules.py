"""A node's own rules at every moment: job, policy, dataset and consents, before a round and inside it.

Each is checked when the job is offered, when a round begins, and once more right before the vector is made.
"""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest

from fedseal.profiles import facts_now
from fedseal_crypto.masking import Step
from fedseal_governance import participation
from fedseal_governance.consent import withdraw
from fedseal_governance.datasets import approve, registered
from fedseal_governance.participation import AttemptState
from fedseal_governance.policy import Rules, StoredPolicy, list_policies, revoke
from fedseal_governance.runs import RoundKey
from tests.unit.node.attempts import Coordinator, assert_counts, assert_refused
from tests.unit.node.papers import DATASET, MINIMUM_RECORDS, ROWS, JobFile, policy_with, pseudonyms
from tests.unit.node.parties import NODES, NOW, OFFICERS, Consortium
from tests.unit.node.site import RECORD_KEY, REGISTER, Site, SiteMaker

Change = Callable[[Site], None]

MINE = pseudonyms("cleveland")


def forget(site: Site, *records: str) -> None:
    """These people withdraw their consent."""
    for record in records:
        site.act(lambda act, record=record: withdraw(act, REGISTER, record))  # type: ignore[misc]  # mypy cannot infer a lambda with a default


def policy_of(site: Site) -> StoredPolicy:
    return site.database.read(list_policies)[-1]


def revoke_policy(site: Site) -> None:
    officer = site.consortium.parties[OFFICERS[0]].member
    digest = policy_of(site).digest
    site.act(lambda act: revoke(act, digest, officer, "the study has ended"))


def supersede_policy(site: Site) -> None:
    """A new version that allows the same, and still is not the one that accepted the job."""
    site.approve_policy(policy_with({"version: 1": "version: 2"}))


def let_policy_expire(site: Site) -> None:
    site.clock.now = NOW.replace(year=2028, month=1, day=1)
    site.consortium.lists = max(site.consortium.lists, 1)
    site.me.trust.update(site.consortium.crl(at=site.clock()))


def withdraw_below_the_minimum(site: Site) -> None:
    forget(site, *MINE[: ROWS - MINIMUM_RECORDS + 1])


def end_job(site: Site) -> None:
    [job] = site.ledger.accepted_jobs()
    site.ledger.end_job(job.digest, outcome="stopped: enough", record=b"", now=site.clock())


def revoke_scientist(site: Site) -> None:
    site.consortium.revoke("ada")
    site.me.trust.update(site.consortium.crl())


def change_a_cell(site: Site) -> None:
    """Make the file another one; the usual site's is shared, so it gets one of its own first."""
    lines = site.data.read_text().splitlines()
    cells = lines[1].split(",")
    cells[1] = str(int(cells[1]) + 1)
    site.data.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")


def remove_the_file(site: Site) -> None:
    site.data.unlink()


CHANGES: list[tuple[Change, str, str]] = [
    (revoke_policy, "RefusalError", r"\[policy\] No approved policy for the dataset hearts is in force"),
    (supersede_policy, "RefusalError", "another version of the policy has come into force since this job was accepted"),
    (withdraw_below_the_minimum, "RefusalError", r"\[consent.minimum_records\] At least 8 records"),
    (end_job, "RefusalError", "has not accepted job [0-9a-f]{12}, or the job has ended"),
    (change_a_cell, "RefusalError", r"\[datasets\] The dataset hearts is not registered here, or has changed"),
    (remove_the_file, "RefusalError", r"\[datasets\] The dataset hearts is not registered here, or has changed"),
]


@pytest.fixture
def own(sites: SiteMaker, consortium: Consortium) -> Coordinator:
    """As ``coordinator``, with a data file that the test may change."""
    site = sites.with_own_data()
    site.welcome()
    coordinator = Coordinator(site, JobFile().signed(consortium))
    assert coordinator.offer().accepted
    return coordinator


# --- before a round -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        *CHANGES,
        (revoke_scientist, "CertificateRevoked", "person/ada was revoked"),
    ],
)
def test_what_changed_since_the_job_was_accepted(own: Coordinator, change: Change, code: str, says: str) -> None:
    change(own.site)
    attack = own.attempt()
    assert_refused(own.site, attack.begin, code=code, says=says)
    assert own.site.attempts(own.job.digest) == ()


def test_a_policy_past_its_last_day(own: Coordinator) -> None:
    """No command has noted its end yet; the node sees the date itself."""
    attack = own.attempt()
    let_policy_expire(own.site)
    assert_refused(
        own.site,
        attack.begin,
        code="RefusalError|CertificateExpired",
        says="No approved policy|person/ada expired",
    )


def test_a_dataset_that_is_as_registered_again(own: Coordinator) -> None:
    before = own.site.data.read_bytes()
    change_a_cell(own.site)
    assert_refused(own.site, own.attempt().begin, code="RefusalError", says="has changed")
    own.site.data.write_bytes(before)
    assert_counts(own.attempt().finish(), ROWS)


def test_what_changed_in_a_dataset_is_not_told(own: Coordinator) -> None:
    """Numbers of rows and paths stay at the node."""
    own.site.data.write_text(own.site.data.read_text() + "EXT-1,50,male,TRUE\n")
    assert_refused(own.site, own.attempt().begin, code="RefusalError", says="changed")
    sentence = own.site.left_since((0, 0)).refusals[-1].sentence
    assert re.findall(r"\d+", sentence) == [str(MINIMUM_RECORDS)]
    assert str(own.site.data) not in sentence


# --- inside a round -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "code", "says"), CHANGES)
def test_what_changed_between_the_beginning_and_the_vector(
    own: Coordinator, change: Change, code: str, says: str
) -> None:
    attempt = own.attempt()
    delivery = attempt.reach(Step.MASK)
    assert delivery is not None
    change(own.site)
    assert_refused(own.site, lambda: attempt.instruct(delivery), code=code, says=says)
    assert own.site.outbox.vectors == []
    assert [row.state for row in own.site.attempts(own.job.digest)] == [AttemptState.ABANDONED]
    assert not any(row.input_sent for row in own.site.attempts(own.job.digest))


def test_a_job_that_the_coordinator_ends_inside_a_round(coordinator: Coordinator) -> None:
    attempt = coordinator.attempt()
    attempt.reach(Step.CONFIRM)
    coordinator.end("stopped", "by ada")
    assert [row.state for row in coordinator.site.attempts(coordinator.job.digest)] == [AttemptState.ABANDONED]
    assert coordinator.site.audit("job.ended")[-1].details["outcome"] == "stopped: by ada"
    assert_refused(coordinator.site, coordinator.attempt(1).begin, code="RefusalError", says="or the job has ended")


# --- consents -----------------------------------------------------------------------------------------


def used(coordinator: Coordinator, attempt: int = 0, stage: str = "statistics") -> set[str]:
    """Of the table's records, those that the node noted for an attempt; it must have noted no others."""
    key = RoundKey(job=coordinator.job.digest, stage=stage, round=0, attempt=attempt)
    noted = coordinator.site.database.read(lambda session: participation.records_used(session, key))
    known = {RECORD_KEY.leaf(record): record for record in pseudonyms("cleveland", 20)}
    return {known[leaf] for leaf in noted}


def test_only_records_with_a_consent_are_used(sites: SiteMaker, consortium: Consortium) -> None:
    site = sites.fresh(rows=20, consents=15)
    coordinator = Coordinator(site, JobFile().signed(consortium))
    assert coordinator.offer().accepted
    assert_counts(coordinator.attempt().finish(), 15)
    assert used(coordinator) == set(pseudonyms("cleveland", 15))


def test_a_withdrawn_record_is_left_out_of_the_next_attempt(coordinator: Coordinator) -> None:
    first = coordinator.attempt()
    first.reach(Step.CONFIRM)
    first.end(completed=False)
    forget(coordinator.site, MINE[3])
    second = coordinator.attempt(1, abandoned=dict.fromkeys(NODES, (first.context,)))
    assert_counts(second.finish(), ROWS - 1)
    assert used(coordinator, 0) == set(MINE)
    assert used(coordinator, 1) == set(MINE) - {MINE[3]}


def test_a_record_that_is_withdrawn_inside_a_round_is_left_out_of_it(coordinator: Coordinator) -> None:
    attempt = coordinator.attempt()
    attempt.reach(Step.MASK)
    forget(coordinator.site, MINE[0], MINE[1])
    assert_counts(attempt.finish(), ROWS - 2)
    assert used(coordinator) == set(MINE[2:])
    [entry] = coordinator.site.audit("round.contributed")
    assert entry.details["records"] == ROWS - 2


def test_the_minimum_itself_is_enough(coordinator: Coordinator) -> None:
    forget(coordinator.site, *MINE[: ROWS - MINIMUM_RECORDS])
    assert_counts(coordinator.attempt().finish(), MINIMUM_RECORDS)


def test_a_consent_ends_by_itself(own: Coordinator) -> None:
    """All consents of the tests end with 2029; here the clock is past that and nothing else is."""
    signed, now = own.job, NOW.replace(year=2030, month=1, day=2)
    policy = policy_of(own.site).document
    assert own.site.ledger.usable(signed, Rules(node=policy), now=now - timedelta(days=1)).record_count == ROWS
    assert own.site.ledger.usable(signed, Rules(node=policy), now=now).record_count == 0


def test_no_log_names_a_person(coordinator: Coordinator) -> None:
    """Neither the audit log nor anything that was sent holds a pseudonym."""
    forget(coordinator.site, MINE[0])
    coordinator.attempt().finish()
    written = b"".join(entry.to_bytes() for entry in coordinator.site.audit())
    sent = b"".join(report.SerializeToString() for report in coordinator.site.outbox.reports)
    for record in MINE:
        assert record.encode() not in written + sent


def test_where_consent_is_not_required_every_record_counts(sites: SiteMaker, consortium: Consortium) -> None:
    site = sites.fresh(policy={"required: true": "required: false"}, consents=9)
    coordinator = Coordinator(site, JobFile().signed(consortium))
    assert coordinator.offer().accepted
    assert_counts(coordinator.attempt().finish(), ROWS)


# --- approved data ------------------------------------------------------------------------------------

TOLERANT = {"approval: {": "data: {max_rows_changed_percent: 10}\napproval: {"}


def edit_rows(site: Site, count: int) -> None:
    """Change the age in the first rows of the node's data file."""
    lines = site.data.read_text().splitlines()
    for place in range(1, count + 1):
        record, _age, *others = lines[place].split(",")
        lines[place] = ",".join((record, "55.5", *others))
    site.data.write_text("\n".join(lines) + "\n")


def test_drift_within_the_policys_tolerance_is_used_and_noted_once(sites: SiteMaker, consortium: Consortium) -> None:
    site = sites.fresh(rows=20, policy=TOLERANT)
    edit_rows(site, 2)
    coordinator = Coordinator(site, JobFile().signed(consortium))
    assert coordinator.offer().accepted
    assert_counts(coordinator.attempt().finish(), 20)
    [entry] = site.audit("dataset.drifted")
    assert (entry.details["tolerated"], entry.details["rows_edited"]) == (True, 2)


def test_drift_beyond_it_stops_the_node_until_the_data_is_approved(sites: SiteMaker, consortium: Consortium) -> None:
    site = sites.fresh(rows=20, policy=TOLERANT)
    coordinator = Coordinator(site, JobFile().signed(consortium))
    assert coordinator.offer().accepted
    edit_rows(site, 3)
    assert_refused(site, coordinator.attempt().begin, code="RefusalError", says=r"\[datasets\]")
    [entry] = site.audit("dataset.drifted")
    assert (entry.details["tolerated"], entry.details["rows_edited"]) == (False, 3)
    facts = facts_now(site.database.read(lambda session: registered(session, DATASET)))
    site.act(lambda act: approve(act, DATASET, facts))
    assert_counts(coordinator.attempt(1).finish(), 20)
