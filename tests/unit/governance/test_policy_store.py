"""Policies in the database: proposed, signed, in force, ended; each rule, on both databases."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from fedseal_crypto.certificates import CertificateExpired, CertificateRevoked
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.dsse import EnvelopeInvalid, sign_document
from fedseal_crypto.identity import Role
from fedseal_governance.acts import Act
from fedseal_governance.audit import AuditLog
from fedseal_governance.errors import AlreadyDone, DocumentError, NotFound, RefusedError, TamperError, WrongState
from fedseal_governance.policy import (
    Owner,
    PolicyState,
    StoredPolicy,
    approve,
    in_force,
    list_policies,
    propose,
    revoke,
    settle,
    show,
)
from fedseal_governance.policy.lifecycle import TRANSITIONS, PolicyStep, after
from fedseal_governance.policy.tables import PolicyRow
from fedseal_governance.vocabulary import PolicyLevel

if TYPE_CHECKING:
    from tests.unit.governance.conftest import Federation, Office, Person

CLINIC = "Cleveland Clinic"
CLINIC_OWNS = Owner(level=PolicyLevel.NODE, name=CLINIC)


@pytest.fixture(scope="module")
def officers(federation: "Federation") -> "list[Person]":
    return [federation.person(name) for name in ("ada", "ben", "cleo")]


@pytest.fixture
def suggest(office: "Office", officers: "list[Person]") -> Callable[[bytes], StoredPolicy]:
    """Proposes a file as person/ada."""

    def work(content: bytes) -> StoredPolicy:
        office.actor = "person/ada"
        proposer = officers[0].member
        return office.change(
            lambda act: propose(act, content, filename="policy.yaml", owner=CLINIC_OWNS, proposer=proposer)
        )

    return work


@pytest.fixture
def sign(office: "Office", federation: "Federation") -> "Callable[[StoredPolicy, Person], StoredPolicy]":
    def work(policy: StoredPolicy, person: "Person") -> StoredPolicy:
        trust = federation.trust(office.now)
        signature = person.sign_policy(policy.content)
        return office.change(lambda act: approve(act, policy.digest, signature, trust))

    return work


@pytest.fixture
def active(
    suggest: Callable[[bytes], StoredPolicy],
    sign: "Callable[[StoredPolicy, Person], StoredPolicy]",
    officers: "list[Person]",
) -> Callable[[bytes], StoredPolicy]:
    """Proposes a file and has two officers sign it."""

    def work(content: bytes) -> StoredPolicy:
        policy = suggest(content)
        sign(policy, officers[0])
        return sign(policy, officers[1])

    return work


def current(office: "Office", federation: "Federation", dataset: str = "heart-disease") -> StoredPolicy | None:
    trust = federation.trust(office.now)
    return office.read(lambda session: in_force(session, dataset, trust=trust, now=office.now))


def test_two_officers_bring_a_policy_into_force(
    office: "Office",
    federation: "Federation",
    policy_bytes: bytes,
    suggest: Callable[[bytes], StoredPolicy],
    sign: "Callable[[StoredPolicy, Person], StoredPolicy]",
    officers: "list[Person]",
) -> None:
    policy = suggest(policy_bytes)
    assert (policy.state, policy.digest, policy.signatures_missing) == (
        PolicyState.PROPOSED,
        sha256_hex(policy_bytes),
        2,
    )
    first = sign(policy, officers[0])
    assert (first.state, first.signatures_missing) == (PolicyState.PROPOSED, 1)
    assert current(office, federation) is None
    second = sign(policy, officers[1])
    assert (second.state, second.signers) == (PolicyState.IN_FORCE, ("person/ada", "person/ben"))
    found = current(office, federation)
    assert found is not None
    assert (found.digest, found.content) == (policy.digest, policy_bytes)
    assert office.journal.types == [
        "policy.proposed",
        "policy.signed",
        "policy.signed",
        "policy.approved",
        "policy.in_force",
    ]


def test_proposer_cannot_be_the_only_approver(
    policy_bytes: bytes,
    suggest: Callable[[bytes], StoredPolicy],
    sign: "Callable[[StoredPolicy, Person], StoredPolicy]",
    officers: "list[Person]",
) -> None:
    policy = suggest(policy_bytes.replace(b"compliance_officers: 2", b"compliance_officers: 1"))
    alone = sign(policy, officers[0])
    assert (alone.state, alone.signatures_missing) == (PolicyState.PROPOSED, 1)
    assert sign(policy, officers[1]).state is PolicyState.IN_FORCE


def test_nobody_signs_twice(
    policy_bytes: bytes,
    suggest: Callable[[bytes], StoredPolicy],
    sign: "Callable[[StoredPolicy, Person], StoredPolicy]",
    officers: "list[Person]",
) -> None:
    policy = suggest(policy_bytes)
    sign(policy, officers[0])
    with pytest.raises(AlreadyDone, match="person/ada has signed"):
        sign(policy, officers[0])


@pytest.mark.parametrize(
    ("roles", "organisation", "words"),
    [
        ((Role.DATA_SCIENTIST,), CLINIC, "is no compliance officer; ask one of Cleveland Clinic"),
        ((Role.COMPLIANCE_OFFICER,), "Budapest", "is a compliance officer of Budapest"),
    ],
)
def test_others_cannot_sign(
    federation: "Federation",
    policy_bytes: bytes,
    suggest: Callable[[bytes], StoredPolicy],
    sign: "Callable[[StoredPolicy, Person], StoredPolicy]",
    roles: tuple[Role, ...],
    organisation: str,
    words: str,
) -> None:
    policy = suggest(policy_bytes)
    with pytest.raises(RefusedError, match=words):
        sign(policy, federation.person("zoe", roles=roles, organisation=organisation))


def test_other_bytes_and_other_types_are_no_signature(
    office: "Office",
    federation: "Federation",
    policy_bytes: bytes,
    suggest: Callable[[bytes], StoredPolicy],
    officers: "list[Person]",
) -> None:
    policy, trust, ada = suggest(policy_bytes), federation.trust(), officers[0]
    other = ada.sign_policy(policy_bytes + b"\n")
    with pytest.raises(RefusedError, match="over other bytes"):
        office.change(lambda act: approve(act, policy.digest, other, trust))
    job = sign_document("application/vnd.fedseal.job+yaml", policy_bytes, key=ada.key, certificate_pem=ada.certificate)
    with pytest.raises(EnvelopeInvalid):
        office.change(lambda act: approve(act, policy.digest, job, trust))
    double = ada.sign_policy(policy_bytes).countersigned(officers[1].key, officers[1].certificate)
    with pytest.raises(RefusedError, match="one signature at a time"):
        office.change(lambda act: approve(act, policy.digest, double, trust))
    assert office.journal.types == ["policy.proposed"]


def test_revoked_and_expired_officers_cannot_sign(
    office: "Office",
    federation: "Federation",
    policy_bytes: bytes,
    suggest: Callable[[bytes], StoredPolicy],
    sign: "Callable[[StoredPolicy, Person], StoredPolicy]",
) -> None:
    policy = suggest(policy_bytes)
    gone = federation.person("gone")
    federation.revoke(gone, office.now - timedelta(minutes=30))
    with pytest.raises(CertificateRevoked):
        sign(policy, gone)
    late = federation.person("late", lifetime=timedelta(hours=2))
    office.now += timedelta(days=1)
    with pytest.raises(CertificateExpired):
        sign(policy, late)


def test_signatures_hold_after_a_certificate_has_expired(
    office: "Office",
    federation: "Federation",
    policy_bytes: bytes,
    suggest: Callable[[bytes], StoredPolicy],
    sign: "Callable[[StoredPolicy, Person], StoredPolicy]",
) -> None:
    policy = suggest(policy_bytes)
    for name in ("short-a", "short-b"):
        sign(policy, federation.person(name, lifetime=timedelta(hours=2)))
    office.now += timedelta(days=200)
    assert current(office, federation) is not None


def test_new_version_supersedes_the_old_one(
    office: "Office", federation: "Federation", policy_bytes: bytes, active: Callable[[bytes], StoredPolicy]
) -> None:
    old = active(policy_bytes)
    new = active(policy_bytes.replace(b"version: 3", b"version: 4"))
    found = current(office, federation)
    assert found is not None
    assert found.digest == new.digest
    ended = office.read(lambda session: show(session, old.digest))
    assert (ended.state, ended.reason) == (PolicyState.SUPERSEDED, "version 4 came into force")
    versions = office.read(lambda session: list_policies(session, name="heart-risk-research"))
    assert [policy.document.version for policy in versions] == [3, 4]


def test_future_policy_waits_for_its_first_day(
    office: "Office", federation: "Federation", policy_bytes: bytes, active: Callable[[bytes], StoredPolicy]
) -> None:
    policy = active(policy_bytes.replace(b"from: 2026-01-01", b"from: 2026-06-01"))
    assert policy.state is PolicyState.APPROVED
    office.change(settle)
    assert current(office, federation) is None
    office.now = datetime(2026, 6, 1, tzinfo=UTC)
    office.change(settle)
    assert current(office, federation) is not None


def test_policy_expires_without_settling_and_is_marked_by_it(
    office: "Office", federation: "Federation", policy_bytes: bytes, active: Callable[[bytes], StoredPolicy]
) -> None:
    policy = active(policy_bytes)
    office.now = datetime(2028, 1, 1, tzinfo=UTC)
    assert current(office, federation) is None
    office.change(settle)
    assert office.read(lambda session: show(session, policy.digest)).state is PolicyState.EXPIRED
    office.change(settle)
    assert office.journal.types[-1] == "policy.expired"
    assert office.journal.types.count("policy.expired") == 1


def test_one_officer_revokes_at_once(
    office: "Office",
    federation: "Federation",
    policy_bytes: bytes,
    active: Callable[[bytes], StoredPolicy],
    officers: "list[Person]",
) -> None:
    policy = active(policy_bytes)
    stranger = federation.person("eve", organisation="Budapest").member
    with pytest.raises(RefusedError):
        office.change(lambda act: revoke(act, policy.digest, stranger, "no"))
    ended = office.change(lambda act: revoke(act, policy.digest, officers[2].member, "data protection office asked"))
    assert ended.state is PolicyState.REVOKED
    assert current(office, federation) is None
    with pytest.raises(WrongState, match="is revoked"):
        office.change(lambda act: revoke(act, policy.digest, officers[2].member, "again"))


@pytest.mark.parametrize(
    ("old", "new", "error", "words"),
    [
        (b"owner: Cleveland Clinic", b"owner: Budapest", RefusedError, 'this party belongs to "Cleveland Clinic"'),
        (b"version: 3", b"version: 2", RefusedError, "version 3 of heart-risk-research exists; write 4"),
        (b"version: 3", b"version: three", DocumentError, "a whole number is expected"),
        (b"compliance_officers: 2", b"compliance_officers: 3", RefusedError, "write 4"),
        (b"max_rounds: 200", b"max_rounds: 200", AlreadyDone, "was proposed before"),
        (b"until: 2027-12-31", b"until: 2026-02-01", RefusedError, "version 3"),
    ],
)
def test_proposals_that_are_refused(
    policy_bytes: bytes,
    suggest: Callable[[bytes], StoredPolicy],
    old: bytes,
    new: bytes,
    error: type[Exception],
    words: str,
) -> None:
    suggest(policy_bytes)
    with pytest.raises(error, match=words):
        suggest(policy_bytes.replace(old, new))


def test_past_policy_is_refused(policy_bytes: bytes, suggest: Callable[[bytes], StoredPolicy]) -> None:
    with pytest.raises(RefusedError, match="which is past; extend it"):
        suggest(policy_bytes.replace(b"until: 2027-12-31", b"until: 2026-02-01"))


def test_two_policies_cannot_speak_for_one_dataset(
    policy_bytes: bytes, active: Callable[[bytes], StoredPolicy]
) -> None:
    active(policy_bytes)
    with pytest.raises(RefusedError, match=r"version 3 is in force for the dataset heart-disease; revoke it"):
        active(policy_bytes.replace(b"policy: heart-risk-research", b"policy: another"))


def test_unknown_policy(office: "Office") -> None:
    with pytest.raises(NotFound, match="fedseal policy list"):
        office.read(lambda session: show(session, Digest("0" * 64)))


@pytest.mark.parametrize("column", ["content", "signed", "too few"])
def test_edited_row_is_found(
    office: "Office",
    federation: "Federation",
    policy_bytes: bytes,
    active: Callable[[bytes], StoredPolicy],
    officers: "list[Person]",
    column: str,
) -> None:
    policy = active(policy_bytes)
    edits: dict[str, dict[str, bytes]] = {
        "content": {"content": policy_bytes.replace(b"minimum_records: 50", b"minimum_records: 05")},
        "signed": {"signed": officers[0].sign_policy(policy_bytes + b"#").to_json()},
        "too few": {"signed": officers[0].sign_policy(policy_bytes).to_json()},
    }
    statement = update(PolicyRow).where(PolicyRow.digest == policy.digest).values(**edits[column])
    office.database.run("edit", lambda session: session.execute(statement))
    with pytest.raises(TamperError):
        current(office, federation)


def test_transition_table_is_complete() -> None:
    for state in PolicyState:
        for step in PolicyStep:
            if (state, step) not in TRANSITIONS:
                with pytest.raises(WrongState):
                    after(state, step, title="policy x, version 1")
    final = {state for state in PolicyState if state.is_final}
    assert final == {PolicyState.SUPERSEDED, PolicyState.REVOKED, PolicyState.EXPIRED}


def test_change_and_log_entry_stand_or_fall_together(
    office: "Office", policy_bytes: bytes, officers: "list[Person]"
) -> None:
    """With the real audit log: a change that fails afterwards leaves neither row nor entry."""
    log = AuditLog("fedseal/heart/cleveland")

    def work(act: Act) -> None:
        real = Act(session=act.session, journal=log, actor=act.actor, now=act.now)
        propose(real, policy_bytes, filename="policy.yaml", owner=CLINIC_OWNS, proposer=officers[0].member)

    def failing(act: Act) -> None:
        work(act)
        raise LookupError

    with pytest.raises(LookupError):
        office.change(failing)
    assert office.read(log.size) == 0
    assert office.read(list_policies) == ()
    office.change(work)
    assert office.read(log.size) == 1
    assert len(office.read(list_policies)) == 1
