"""Inclusion proofs as documents."""

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedseal_crypto.canonical import canonical_json
from fedseal_crypto.identity import IdentityKey
from fedseal_crypto.notes import NoteVerifier
from fedseal_crypto.secret import SecretBytes
from fedseal_governance.audit import AuditError, CheckpointWrong, InclusionProof, ProofWrong, verify_proof

if TYPE_CHECKING:
    from tests.unit.audit.conftest import Party


@pytest.fixture
def document(central: "Party") -> bytes:
    central.grow(21)
    central.checkpoint()
    return central.database.read(lambda session: central.log.prove(session, 13)).to_json()


def test_a_proof_is_checked_alone(document: bytes, central: "Party") -> None:
    proven = verify_proof(document)
    assert (proven.entry.seq, proven.entry.details) == (13, {"round": 13})
    assert proven.checkpoint.opened.checkpoint.size == 21
    assert not proven.checkpoint.pinned
    assert verify_proof(document, keys=[central.verifier]).checkpoint.pinned


def test_the_document_reads_as_it_was_written(document: bytes) -> None:
    assert InclusionProof.from_json(document).to_json() == document
    fields = json.loads(document)
    assert sorted(fields) == ["checkpoint", "entry", "format", "keys", "proof", "seq"]
    assert fields["format"] == "fedseal-audit-proof/1"


def test_other_keys_do_not_vouch(document: bytes, central: "Party") -> None:
    other = IdentityKey.from_seed(SecretBytes(b"o" * 32)).public
    with pytest.raises(CheckpointWrong, match="not among the keys you trust"):
        verify_proof(document, keys=[NoteVerifier(name=central.log.origin, public=other)])


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "fedseal-audit-proof/2"},
        {"seq": 12},
        {"seq": -1},
        {"seq": 21},
        {"seq": "13"},
        {"seq": True},
        {"entry": "{}"},
        {"entry": 1},
        {"proof": []},
        {"proof": ["AAAA"]},
        {"proof": ["?"]},
        {"proof": [1]},
        {"proof": "x"},
        {"keys": []},
        {"keys": ["x"]},
        {"keys": [1]},
        {"checkpoint": "x"},
        {"checkpoint": None},
        {"extra": 1},
    ],
)
def test_wrong_fields_are_refused(changes: dict[str, Any], document: bytes) -> None:
    with pytest.raises((ProofWrong, CheckpointWrong)):
        verify_proof(canonical_json(json.loads(document) | changes))


def test_another_entry_is_not_proved(document: bytes) -> None:
    fields = json.loads(document)
    fields["entry"] = fields["entry"].replace('"round":13', '"round":14')
    with pytest.raises(ProofWrong, match="entry 13 is not proved") as caught:
        verify_proof(canonical_json(fields))
    assert caught.value.entry == 13


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_no_flipped_byte_survives(place: float, flip: int, document: bytes) -> None:
    data = bytearray(document)
    data[int(place * len(data))] ^= flip
    with pytest.raises(AuditError):
        verify_proof(bytes(data))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b"x" * 300_000])
def test_what_is_no_proof(data: bytes) -> None:
    with pytest.raises(ProofWrong):
        verify_proof(data)
