"""A witness cosigns what extends everything it has seen, and convicts a log that contradicts itself."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fedseal_crypto.merkle import Hash
from fedseal_crypto.notes import NoteVerifier, attach, open_checkpoint
from fedseal_governance.audit import CheckpointWrong, ForkDetected, RolledBack, SeenCheckpoint

if TYPE_CHECKING:
    from tests.unit.audit.conftest import Party


@pytest.fixture
def node(make_party: "Callable[[str], Party]") -> "Party":
    return make_party("cleveland")


@pytest.fixture
def impostor(make_party: "Callable[[str], Party]", tmp_path: Path) -> "Party":
    """The coordinator's second database: the same name and key, another history."""
    second = make_party("shadow")
    second.name = "central"
    second.__post_init__()
    return second


def _seen(node: "Party", log: "Party") -> SeenCheckpoint | None:
    return node.database.read(lambda session: node.witness.last_seen(session, log.log.origin))


def _proof(node: "Party", log: "Party") -> tuple[Hash, ...]:
    """What an honest log answers to a witness that says what it has seen."""
    seen = _seen(node, log)
    old = 0 if seen is None else seen.checkpoint.size
    return log.database.read(lambda session: log.log.consistency(session, old, log.log.size(session)))


def _witnessed(node: "Party", log: "Party", note: str, proof: tuple[bytes, ...] = ()) -> str:
    return node.database.run(
        "witness",
        lambda session: node.witness.check_and_cosign(session, note, log.verifier, proof=proof, now=node.now),
    )


def test_a_growing_log_is_cosigned_again_and_again(central: "Party", node: "Party") -> None:
    for step in range(6):
        central.grow(step)
        note = central.checkpoint()
        line = _witnessed(node, central, note, _proof(node, central))
        opened = open_checkpoint(attach(note, line), central.verifier, [node.witness.verifier])
        assert opened.cosignatures[0].timestamp == int(node.now.timestamp())
        seen = _seen(node, central)
        assert seen is not None
        assert seen.checkpoint == opened.checkpoint
    assert central.database.read(central.log.size) == 15


def test_witnesses_remember_logs_apart(central: "Party", node: "Party", make_party: "Callable[[str], Party]") -> None:
    other = make_party("budapest")
    other.grow(2)
    central.grow(5)
    _witnessed(node, central, central.checkpoint())
    _witnessed(node, other, other.checkpoint())
    sizes = [seen.checkpoint.size for seen in (_seen(node, central), _seen(node, other)) if seen]
    assert sizes == [5, 2]


def test_a_fork_is_detected_and_both_checkpoints_are_named(central: "Party", impostor: "Party", node: "Party") -> None:
    central.grow(5)
    impostor.grow(8, other="history")
    first, second = central.checkpoint(), impostor.checkpoint()
    _witnessed(node, central, first)
    proof = impostor.database.read(lambda session: impostor.log.consistency(session, 5, 8))
    with pytest.raises(ForkDetected) as caught:
        _witnessed(node, central, second, proof)
    roots = [open_checkpoint(note, central.verifier).checkpoint.root.hex() for note in (first, second)]
    assert all(root in str(caught.value) for root in roots)
    assert (caught.value.seen, caught.value.offered) == (first, second)
    seen = _seen(node, central)
    assert seen is not None
    assert seen.note == first


def test_the_same_size_with_another_root_is_a_fork(central: "Party", impostor: "Party", node: "Party") -> None:
    central.grow(5)
    impostor.grow(5, other="history")
    _witnessed(node, central, central.checkpoint())
    with pytest.raises(ForkDetected):
        _witnessed(node, central, impostor.checkpoint())


def test_a_log_that_shrank_is_detected(central: "Party", node: "Party") -> None:
    central.grow(3)
    old = central.checkpoint()
    central.grow(3)
    _witnessed(node, central, central.checkpoint())
    with pytest.raises(RolledBack, match=r"the checkpoint of 3 entries .* after it had signed .* of 6 entries"):
        _witnessed(node, central, old)


def test_the_same_checkpoint_may_be_cosigned_again(central: "Party", node: "Party") -> None:
    central.grow(3)
    note = central.checkpoint()
    assert _witnessed(node, central, note) == _witnessed(node, central, note)


def test_growth_needs_its_proof(central: "Party", node: "Party") -> None:
    central.grow(3)
    _witnessed(node, central, central.checkpoint())
    central.grow(4)
    note = central.checkpoint()
    for proof in ((), (b"\x00" * 32,), (b"short",)):
        with pytest.raises(ForkDetected, match="does not provably extend"):
            _witnessed(node, central, note, proof)
    _witnessed(node, central, note, _proof(node, central))


def test_only_the_logs_own_checkpoints_are_cosigned(central: "Party", node: "Party") -> None:
    central.grow(1)
    note = central.checkpoint()
    namesake = NoteVerifier(name=central.log.origin, public=node.key.public)
    for log, text in ((namesake, note), (central.verifier, note.replace("1\n", "2\n")), (central.verifier, "x")):
        with pytest.raises(CheckpointWrong), node.database.transaction("witness") as session:
            node.witness.check_and_cosign(session, text, log, proof=(), now=node.now)
    assert _seen(node, central) is None
