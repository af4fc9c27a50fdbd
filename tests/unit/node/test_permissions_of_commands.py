"""Commands on a node's own machine: the table decides by the person's certificate, and each denial is in its log."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fedseal.local import LocalParty, Person, create_database, open_party
from fedseal_crypto.identity import PartyKind, Role
from fedseal_governance.permissions import PERMISSIONS, Operation, PermissionDenied
from tests.unit.node.parties import NOW, Consortium

HERE = [operation for operation, rule in PERMISSIONS.items() if rule.at is PartyKind.NODE]
ELSEWHERE = "Another Clinic"


@pytest.fixture
def node(tmp_path: Path, consortium: Consortium) -> Iterator[LocalParty]:
    folder = consortium.make_folder(tmp_path / "basel", "basel")
    create_database(folder.database_path)
    with open_party(folder.path) as party:
        yield party


def person(consortium: Consortium, role: Role) -> Person:
    made = consortium.enrol(PartyKind.PERSON, role.value, roles=(role,))
    return Person(member=made.member, key=made.key, certificate_pem=made.identity_pem)


def foreign(of: Person) -> Person:
    return replace(of, member=replace(of.member, organisation=ELSEWHERE))


def entries(node: LocalParty) -> list[tuple[str, str, str]]:
    found = node.read(lambda session: list(node.log().entries(session)))
    return [(entry.type, entry.actor, entry.subject) for entry in found]


def attempt(node: LocalParty, operation: Operation, who: Person | None) -> bool:
    """Whether the work was done."""
    try:
        node.run(operation, lambda act: act.note("test.done", f"operation/{operation}"), now=NOW, person=who)
    except PermissionDenied:
        return False
    return True


def test_each_cell(node: LocalParty, consortium: Consortium) -> None:
    people = [person(consortium, role) for role in Role]
    callers: list[Person | None] = [None, *people, *map(foreign, people)]
    expected: list[tuple[str, str, str]] = []
    for operation in HERE:
        rule = PERMISSIONS[operation]
        for who in callers:
            done = attempt(node, operation, who)
            if who is None:
                assert done == (PartyKind.NODE in rule.machines), operation
            else:
                at_home = who.member.organisation != ELSEWHERE
                allowed = bool(who.member.roles & rule.roles) and (at_home or not rule.own)
                assert done == allowed, (operation, who.label)
            kind = "test.done" if done else "permission.denied"
            expected.append((kind, "node/basel" if who is None else who.label, f"operation/{operation}"))
    assert entries(node) == expected


def test_an_operation_that_the_table_does_not_know_changes_nothing(node: LocalParty) -> None:
    with pytest.raises(PermissionDenied, match=r"not in the table"):
        node.run("policy.burn", lambda act: act.note("test.done", "node/basel"), now=NOW)
    assert entries(node) == [("permission.denied", "node/basel", "operation/policy.burn")]
