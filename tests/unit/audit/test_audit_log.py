"""Appending, checkpoints, proofs and cosignatures, on both databases."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from fedseal_crypto.identity import IdentityKey
from fedseal_crypto.merkle import Hash, leaf_hash, root, verify_consistency
from fedseal_crypto.notes import open_checkpoint
from fedseal_crypto.secret import SecretBytes
from fedseal_governance.audit import (
    AuditError,
    AuditLog,
    CheckpointWrong,
    EntryRefused,
    InclusionProof,
    KeyMissing,
    NotCovered,
    check_log,
    verify_bundle,
    verify_proof,
)
from fedseal_governance.errors import StorageError

if TYPE_CHECKING:
    from tests.unit.audit.conftest import Party


def _kinds(party: "Party") -> list[tuple[int, str]]:
    return party.database.read(lambda session: [(entry.seq, entry.type) for entry in party.log.entries(session)])


def _proof(party: "Party", seq: int) -> InclusionProof:
    return party.database.read(lambda session: party.log.prove(session, seq))


def _consistency(party: "Party", old: int, new: int) -> tuple[Hash, ...]:
    return party.database.read(lambda session: party.log.consistency(session, old, new))


def _cosigned(node: "Party", session: Session, note: str, log: "Party") -> str:
    return node.witness.check_and_cosign(session, note, log.verifier, proof=(), now=node.now)


def test_sequence_numbers_start_at_zero_without_gaps(party: "Party") -> None:
    assert party.database.read(party.log.size) == 0
    party.grow(3)
    party.grow(2)
    assert [seq for seq, _ in _kinds(party)] == [0, 1, 2, 3, 4]
    assert party.database.read(party.log.size) == 5


def test_a_slice_of_the_log(party: "Party") -> None:
    party.grow(5)
    found = party.database.read(lambda session: list(party.log.entries(session, start=1, end=3)))
    assert [entry.seq for entry in found] == [1, 2]
    assert found[0].details == {"round": 1}


def test_the_entry_shares_the_fate_of_the_change_it_records(party: "Party") -> None:
    def fails(session: Session) -> None:
        party.record(session)
        raise EntryRefused("the change is refused afterwards")

    party.grow(1)
    with pytest.raises(EntryRefused):
        party.database.run("fails", fails)
    party.grow(1)
    assert [seq for seq, _ in _kinds(party)] == [0, 1]


def test_a_refused_entry_leaves_nothing(party: "Party") -> None:
    with pytest.raises(EntryRefused):
        party.grow(1, update=[0.5] * 1000)
    assert party.database.read(party.log.size) == 0


def test_the_checkpoint_commits_to_all_entries(party: "Party") -> None:
    party.grow(11)
    opened = open_checkpoint(party.checkpoint(), party.verifier)
    data = party.database.read(lambda session: [entry.to_bytes() for entry in party.log.entries(session)])
    assert opened.checkpoint.size == 11
    assert opened.checkpoint.root == root(leaf_hash(item) for item in data)


def test_the_same_log_gives_the_same_note_again(party: "Party") -> None:
    party.grow(2)
    first = party.checkpoint()
    party.now += timedelta(days=1)
    assert party.checkpoint() == first
    party.grow(1)
    assert party.checkpoint() != first


def test_an_empty_log_has_a_checkpoint(party: "Party") -> None:
    assert open_checkpoint(party.checkpoint(), party.verifier).checkpoint.size == 0


def test_without_a_key_there_are_no_checkpoints(party: "Party") -> None:
    party.grow(1)
    log = AuditLog(party.log.origin)
    with pytest.raises(KeyMissing):
        party.database.run("checkpoint", lambda session: log.checkpoint(session, party.now))


def test_a_database_holds_one_log(party: "Party") -> None:
    party.grow(1)
    stranger = AuditLog("fedseal/hearts/other", party.key)
    with pytest.raises(StorageError, match="holds the log fedseal/hearts/central"):
        party.database.run("checkpoint", lambda session: stranger.checkpoint(session, party.now))


def test_every_entry_can_be_proved_alone(party: "Party") -> None:
    party.grow(9)
    party.checkpoint()
    for seq in range(9):
        document = _proof(party, seq).to_json()
        proven = verify_proof(document, keys=[party.verifier])
        assert proven.entry.seq == seq
        assert proven.checkpoint.pinned


def test_what_no_checkpoint_covers_is_not_proved(party: "Party") -> None:
    party.grow(2)
    with pytest.raises(NotCovered, match="make a checkpoint"):
        _proof(party, 0)
    party.checkpoint()
    party.grow(1)
    for seq in (2, 3):
        with pytest.raises(NotCovered):
            _proof(party, seq)


def test_consistency_between_any_two_sizes(party: "Party") -> None:
    roots = [open_checkpoint(party.checkpoint(), party.verifier).checkpoint.root]
    for _ in range(9):
        party.grow(1)
        roots.append(open_checkpoint(party.checkpoint(), party.verifier).checkpoint.root)
    for new in range(10):
        for old in range(new + 1):
            proof = _consistency(party, old, new)
            verify_consistency(old, new, proof=proof, old_root=roots[old], new_root=roots[new])
    with pytest.raises(NotCovered):
        _consistency(party, 3, 10)


def test_cosignatures_are_verified_kept_and_shown(party: "Party", make_party: "Callable[[str], Party]") -> None:
    node = make_party("cleveland")
    party.grow(4)
    note = party.checkpoint()
    line = node.database.run("cosign", lambda session: _cosigned(node, session, note, party))

    def add(session: Session, size: int = 4, text: str = line) -> None:
        party.log.add_cosignature(session, size=size, line=text, witness=node.witness.verifier, now=party.now)

    party.database.run("add", add)
    party.database.run("add again", add)
    with_line = party.checkpoint()
    assert with_line == note + line
    opened = open_checkpoint(with_line, party.verifier, [node.witness.verifier])
    assert [item.verifier.name for item in opened.cosignatures] == ["fedseal/hearts/cleveland"]
    with pytest.raises(NotCovered):
        party.database.run("wrong size", partial(add, size=3))
    with pytest.raises(CheckpointWrong):
        party.database.run("no line", partial(add, text="junk\n"))
    with pytest.raises(CheckpointWrong):
        party.database.run("another key", partial(add, text=note.split("\n\n")[1]))


def test_earlier_checkpoints_stay_available(party: "Party") -> None:
    party.grow(2)
    first = party.checkpoint()
    party.grow(2)
    party.checkpoint()
    found = party.database.read(lambda session: party.log.checkpoint_at(session, 2))
    assert found is not None
    assert found.note == first
    assert party.database.read(lambda session: party.log.checkpoint_at(session, 3)) is None


@pytest.mark.parametrize("lag", [timedelta(milliseconds=1), timedelta(seconds=60)])
def test_a_clock_that_lags_a_little_is_smoothed(party: "Party", lag: timedelta) -> None:
    party.grow(1)
    last = party.now
    party.now -= lag + timedelta(milliseconds=10)
    party.grow(1)
    entries = party.database.read(lambda session: list(party.log.entries(session)))
    assert [entry.time for entry in entries] == [last, last]


def test_a_clock_that_was_set_back_is_written_down(party: "Party") -> None:
    party.grow(1)
    last = party.now
    party.now -= timedelta(hours=1)
    assert party.database.run("append", party.record) == 2
    party.grow(1)
    assert _kinds(party) == [
        (0, "round.completed"),
        (1, "log.clock_set_back"),
        (2, "round.completed"),
        (3, "round.completed"),
    ]
    entries = party.database.read(lambda session: list(party.log.entries(session)))
    assert entries[1].details == {"previous_time": last.strftime("%Y-%m-%dT%H:%M:%S.010Z")}
    assert entries[1].time == entries[2].time == last - timedelta(hours=1)


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE audit_nodes SET hash = (SELECT leaf FROM audit_entries WHERE seq = 0)",
        "DELETE FROM audit_nodes",
        "DELETE FROM audit_entries WHERE seq > 1",
        "UPDATE audit_head SET size = 2",
    ],
)
def test_tables_changed_by_hand_are_not_signed_over(central: "Party", tampering: str) -> None:
    central.grow(5)
    central.checkpoint()
    with central.database.transaction("tamper") as session:
        session.execute(text(tampering))
    with pytest.raises(AuditError, match="changed by hand"):
        central.checkpoint()


def test_a_missing_node_stops_the_append_that_needs_it(party: "Party") -> None:
    party.grow(3)
    with party.database.transaction("tamper") as session:
        session.execute(text("DELETE FROM audit_nodes"))
    with pytest.raises(AuditError, match="the entries 0 to 1 is missing"):
        party.grow(1)


def test_a_new_key_is_named_in_the_log_and_old_checkpoints_still_verify(central: "Party", tmp_path: Path) -> None:
    central.grow(3)
    first = central.checkpoint()
    renewed = AuditLog(central.log.origin, IdentityKey.from_seed(SecretBytes(b"n" * 32)))
    note = central.database.run("checkpoint", lambda session: renewed.checkpoint(session, central.now))
    assert note.split("\n")[1] == "4"
    assert central.database.run("checkpoint", lambda session: renewed.checkpoint(session, central.now)) == note
    (entry,) = central.database.read(lambda session: list(renewed.entries(session, start=3)))
    old = central.verifier.vkey
    assert entry.type == "log.key_changed"
    assert old.endswith(str(entry.details["previous"]))
    verified = verify_bundle(central.database.read(lambda session: renewed.export(session, tmp_path / "out", {})).path)
    assert verified.log_key.vkey.endswith(str(entry.details["following"]))
    assert central.database.read(lambda session: check_log(session, central.log.origin)).checkpoints == 2
    proof = central.database.read(lambda session: renewed.consistency(session, 3, 4))
    line = central.database.run(
        "cosign",
        lambda session: central.witness.check_and_cosign(session, first, central.verifier, proof=(), now=central.now),
    )
    assert line
    assert central.database.run(
        "cosign",
        lambda session: central.witness.check_and_cosign(session, note, verified.log_key, proof=proof, now=central.now),
    )
