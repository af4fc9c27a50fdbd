"""The table of permissions, cell by cell, against a second table that was written by hand from the guides."""

from dataclasses import dataclass, field

import pytest

from fedseal_crypto.identity import PartyKind, Role
from fedseal_governance.errors import RefusedError
from fedseal_governance.permissions import (
    PERMISSIONS,
    Machine,
    Operation,
    PermissionDenied,
    holds_role,
    require_permitted,
)

HERE, ELSEWHERE = "Cleveland Clinic", "Heart Consortium"

# A letter for each caller who may: Administrator, compliance Officer, data Scientist, node operator (P), aUditor; the
# machines of Node, Coordinator, cUstodian (K) and authority (Z). Small letters: only people of the party itself.
EXPECTED = {
    "job.check": "AOSPU",
    "job.submit": "S",
    "job.read": "AOSPU",
    "job.stop": "AOS",
    "node.list": "AOSPU",
    "artefact.read": "AOSPU",
    "revocations.publish": "AOSPU",
    "round.attend": "N",
    "round.report": "N",
    "round.contribute": "N",
    "broadcast.read": "N",
    "checkpoint.read": "N",
    "checkpoint.cosign": "N",
    "custody.attend": "K",
    "custody.answer": "K",
    "ciphertext.read": "K",
    "federation.policy.propose": "AO",
    "federation.policy.approve": "O",
    "federation.policy.revoke": "O",
    "federation.policy.read": "AOSPU",
    "policy.propose": "aop",
    "policy.approve": "o",
    "policy.revoke": "o",
    "job.agree": "p",
    "dataset.register": "pN",
    "consent.import": "opN",
    "consent.record": "opN",
    "consent.withdraw": "opN",
    "dataset.approve": "pN",
    "retention.hold": "o",
    "retention.release": "o",
    "retention.apply": "o",
    "custody.split": "o",
    "custody.reassemble": "AOSPU",
}
PEOPLE = {
    "A": Role.ADMINISTRATOR,
    "O": Role.COMPLIANCE_OFFICER,
    "S": Role.DATA_SCIENTIST,
    "P": Role.NODE_OPERATOR,
    "U": Role.AUDITOR,
}
MACHINES = {
    "N": PartyKind.NODE,
    "C": PartyKind.COORDINATOR,
    "K": PartyKind.CUSTODIAN,
    "Z": PartyKind.AUTHORITY,
}


@dataclass(frozen=True)
class Person:
    """A caller as a verified certificate describes them."""

    roles: frozenset[Role]
    organisation: str = HERE
    label: str = "person/alice"
    kind: PartyKind = field(default=PartyKind.PERSON)


def test_every_operation_is_in_both_tables() -> None:
    assert {operation.value for operation in PERMISSIONS} == set(EXPECTED) == {item.value for item in Operation}


@pytest.mark.parametrize("organisation", [HERE, ELSEWHERE])
@pytest.mark.parametrize("letter", PEOPLE)
@pytest.mark.parametrize("operation", Operation)
def test_people(operation: Operation, letter: str, organisation: str) -> None:
    caller = Person(roles=frozenset({PEOPLE[letter]}), organisation=organisation)
    allowed = letter in EXPECTED[operation] or (organisation == HERE and letter.lower() in EXPECTED[operation])
    if allowed:
        require_permitted(operation, caller, organisation=HERE)
        return
    with pytest.raises(PermissionDenied) as caught:
        require_permitted(operation, caller, organisation=HERE)
    assert (caught.value.operation, caught.value.caller) == (operation.value, "person/alice")
    assert operation.value in str(caught.value)


@pytest.mark.parametrize("letter", MACHINES)
@pytest.mark.parametrize("operation", Operation)
def test_machines(operation: Operation, letter: str) -> None:
    kind = MACHINES[letter]
    machine = Machine(kind=kind, label=f"{kind.value}/basel", organisation=HERE)
    if letter in EXPECTED[operation]:
        require_permitted(operation, machine, organisation=HERE)
        return
    with pytest.raises(PermissionDenied, match=f"you are the {kind.value} basel"):
        require_permitted(operation, machine, organisation=HERE)


@pytest.mark.parametrize("operation", Operation)
def test_a_person_without_a_role_may_nothing(operation: Operation) -> None:
    with pytest.raises(PermissionDenied):
        require_permitted(operation, Person(roles=frozenset()), organisation=HERE)


@pytest.mark.parametrize("operation", ["", "policy", "policy.approve ", "POLICY.APPROVE", "job.delete"])
def test_what_is_not_in_the_table_is_denied(operation: str) -> None:
    everybody = Person(roles=frozenset(Role))
    with pytest.raises(PermissionDenied, match="not in the table"):
        require_permitted(operation, everybody, organisation=HERE)


def test_what_belongs_to_the_whole_federation_has_no_own_people() -> None:
    officer = Person(roles=frozenset({Role.COMPLIANCE_OFFICER}), organisation=ELSEWHERE)
    require_permitted(Operation.RETENTION_HOLD, officer, organisation=None)
    with pytest.raises(PermissionDenied, match="ask one of its own"):
        require_permitted(Operation.RETENTION_HOLD, officer, organisation=HERE)


def test_several_roles_add_up() -> None:
    caller = Person(roles=frozenset({Role.ADMINISTRATOR, Role.COMPLIANCE_OFFICER}))
    require_permitted(Operation.POLICY_APPROVE, caller, organisation=HERE)
    require_permitted(Operation.JOB_STOP, caller, organisation=HERE)


def test_a_signature_is_judged_by_the_same_row() -> None:
    assert holds_role(Operation.JOB_SUBMIT, Person(roles=frozenset({Role.DATA_SCIENTIST}), organisation=ELSEWHERE))
    assert not holds_role(Operation.JOB_SUBMIT, Person(roles=frozenset({Role.ADMINISTRATOR})))
    node = Machine(kind=PartyKind.NODE, label="node/basel", organisation=HERE)
    assert not holds_role(Operation.CONSENT_IMPORT, node)


def test_a_denial_is_a_refusal() -> None:
    """Whoever catches refusals of rules catches this one too."""
    assert issubclass(PermissionDenied, RefusedError)
