"""The log in its own database: each edit by hand is found, and the first wrong entry is named."""

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from fedseal_crypto.merkle import leaf_hash
from fedseal_governance.audit import AuditError, CheckedLog, CheckpointWrong, EntryWrong, check_log

if TYPE_CHECKING:
    from tests.unit.audit.conftest import Party


def _check(party: "Party") -> CheckedLog:
    return party.database.read(lambda session: check_log(session, party.log.origin))


def _edit(party: "Party", statement: str, **values: object) -> None:
    with party.database.transaction("edit") as session:
        session.execute(text(statement), values)


@pytest.fixture
def grown(central: "Party") -> "Party":
    """Ten entries, with checkpoints at 0, 4 and 7."""
    central.checkpoint()
    for count in (4, 3):
        central.grow(count, who="alice")
        central.checkpoint()
    central.grow(3, who="alice")
    return central


def test_a_whole_log_is_found_whole_on_both_databases(party: "Party") -> None:
    assert _check(party).size == 0
    party.grow(5)
    party.checkpoint()
    party.grow(1)
    assert (_check(party).size, _check(party).checkpoints) == (6, 1)


@pytest.mark.parametrize(
    ("statement", "entry"),
    [
        ("UPDATE audit_entries SET entry = CAST(REPLACE(entry, 'alice', 'bob') AS BLOB) WHERE seq = 5", 5),
        ("UPDATE audit_entries SET leaf = (SELECT leaf FROM audit_entries WHERE seq = 1) WHERE seq = 5", 5),
        ("DELETE FROM audit_entries WHERE seq = 5", 5),
        ("DELETE FROM audit_entries WHERE seq >= 5", 5),
        ("DELETE FROM audit_entries WHERE seq = 9", 9),
        ("INSERT INTO audit_entries SELECT 10, leaf, entry FROM audit_entries WHERE seq = 9", 10),
        ("UPDATE audit_entries SET seq = -seq - 1 WHERE seq = 5", 0),
        ("UPDATE audit_head SET size = 9", 9),
        ("UPDATE audit_head SET size = 11", 10),
        ("DELETE FROM audit_head", 0),
    ],
)
def test_the_first_wrong_entry_is_named(statement: str, entry: int, grown: "Party") -> None:
    assert _check(grown).checkpoints == 3
    _edit(grown, statement)
    with pytest.raises(EntryWrong) as caught:
        _check(grown)
    assert caught.value.entry == entry


def test_a_consistent_edit_is_caught_at_the_next_checkpoint(grown: "Party") -> None:
    with grown.database.transaction("read") as session:
        data = session.execute(text("SELECT entry FROM audit_entries WHERE seq = 5")).scalar_one()
    forged = data.replace(b"alice", b"bobby")
    _edit(
        grown,
        "UPDATE audit_entries SET entry = :entry, leaf = :leaf WHERE seq = 5",
        entry=forged,
        leaf=leaf_hash(forged),
    )
    with pytest.raises(EntryWrong, match="one of the entries 4 to 6") as caught:
        _check(grown)
    assert caught.value.entry == 4


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_checkpoints SET note = REPLACE(note, 'hearts', 'heaven') WHERE size = 4",
        "UPDATE audit_checkpoints SET size = 5 WHERE size = 4",
        "UPDATE audit_checkpoints SET vkey = 'x' WHERE size = 4",
    ],
)
def test_changed_checkpoints_are_found(statement: str, grown: "Party") -> None:
    _edit(grown, statement)
    with pytest.raises(CheckpointWrong):
        _check(grown)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_nodes SET hash = (SELECT leaf FROM audit_entries WHERE seq = 1)",
        "DELETE FROM audit_nodes",
        "UPDATE audit_head SET origin = 'fedseal/hearts/other'",
    ],
)
def test_changed_nodes_and_heads_are_found(statement: str, grown: "Party") -> None:
    _edit(grown, statement)
    with pytest.raises(AuditError, match="changed"):
        _check(grown)
