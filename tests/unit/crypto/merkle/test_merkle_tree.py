import hashlib
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedseal_crypto import merkle
from fedseal_crypto.errors import MisuseError
from fedseal_crypto.merkle import (
    EMPTY_ROOT,
    Hash,
    MemoryStore,
    ProofInvalid,
    TreeAppender,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)

SIZES = st.integers(0, 300)


def recursive_root(data: Sequence[bytes]) -> bytes:
    """Merkle Tree Hash word for word as RFC 9162, section 2.1.1, defines it."""
    if not data:
        return hashlib.sha256(b"").digest()
    if len(data) == 1:
        return hashlib.sha256(b"\x00" + data[0]).digest()
    split = _split(len(data))
    return hashlib.sha256(b"\x01" + recursive_root(data[:split]) + recursive_root(data[split:])).digest()


def recursive_path(index: int, data: Sequence[bytes]) -> list[bytes]:
    """PATH of section 2.1.3.1."""
    if len(data) <= 1:
        return []
    split = _split(len(data))
    if index < split:
        return [*recursive_path(index, data[:split]), recursive_root(data[split:])]
    return [*recursive_path(index - split, data[split:]), recursive_root(data[:split])]


def recursive_subproof(old: int, data: Sequence[bytes], whole: bool) -> list[bytes]:
    """SUBPROOF of section 2.1.4.1."""
    if old == len(data):
        return [] if whole else [recursive_root(data)]
    split = _split(len(data))
    if old <= split:
        return [*recursive_subproof(old, data[:split], whole), recursive_root(data[split:])]
    return [*recursive_subproof(old - split, data[split:], False), recursive_root(data[:split])]


def _split(size: int) -> int:
    split = 1
    while split * 2 < size:
        split *= 2
    return split


def _data(size: int) -> list[bytes]:
    return [b"%d" % number for number in range(size)]


def _tree(data: Sequence[bytes]) -> tuple[MemoryStore, TreeAppender]:
    store = MemoryStore()
    tree = TreeAppender(store)
    for item in data:
        tree.append(leaf_hash(item))
    return store, tree


@pytest.fixture(scope="session")
def known(vectors: dict[str, Any]) -> dict[str, Any]:
    group: dict[str, Any] = vectors["merkle"]
    return group


def test_known_roots(known: dict[str, Any]) -> None:
    data = [bytes.fromhex(leaf) for leaf in known["leaves"]]
    for size, expected in enumerate(known["roots"]):
        assert _tree(data[:size])[1].root().hex() == expected
        assert merkle.root(leaf_hash(item) for item in data[:size]).hex() == expected


def test_known_inclusion_proofs(known: dict[str, Any]) -> None:
    data = [bytes.fromhex(leaf) for leaf in known["leaves"]]
    store, _ = _tree(data)
    for case in known["inclusion"]:
        proof = inclusion_proof(case["index"], case["size"], store)
        assert [item.hex() for item in proof] == case["proof"]
        verify_inclusion(
            leaf_hash(data[case["index"]]),
            index=case["index"],
            size=case["size"],
            proof=proof,
            expected_root=bytes.fromhex(known["roots"][case["size"]]),
        )


def test_known_consistency_proofs(known: dict[str, Any]) -> None:
    store, _ = _tree([bytes.fromhex(leaf) for leaf in known["leaves"]])
    for case in known["consistency"]:
        proof = consistency_proof(case["old"], case["new"], store)
        assert [item.hex() for item in proof] == case["proof"]
        verify_consistency(
            case["old"],
            case["new"],
            proof=proof,
            old_root=bytes.fromhex(known["roots"][case["old"]]),
            new_root=bytes.fromhex(known["roots"][case["new"]]),
        )


@given(size=SIZES)
def test_both_ways_of_computing_the_root_agree_with_the_definition(size: int) -> None:
    data = _data(size)
    expected = recursive_root(data)
    assert _tree(data)[1].root() == expected
    assert merkle.root(leaf_hash(item) for item in data) == expected


@given(size=st.integers(1, 300), draw=st.data())
def test_inclusion_agrees_with_the_definition(size: int, draw: st.DataObject) -> None:
    data = _data(size)
    index = draw.draw(st.integers(0, size - 1))
    store, tree = _tree(data)
    proof = inclusion_proof(index, size, store)
    assert list(proof) == recursive_path(index, data)
    leaf = leaf_hash(data[index])
    verify_inclusion(leaf, index=index, size=size, proof=proof, expected_root=tree.root())
    _require_spoilt_fails(
        proof,
        draw,
        lambda spoilt: verify_inclusion(leaf, index=index, size=size, proof=spoilt, expected_root=tree.root()),
    )


@given(old=SIZES, more=SIZES, draw=st.data())
def test_consistency_agrees_with_the_definition(old: int, more: int, draw: st.DataObject) -> None:
    data = _data(old + more)
    store, _ = _tree(data)
    proof = consistency_proof(old, old + more, store)
    assert list(proof) == (recursive_subproof(old, data, True) if old else [])
    old_root, new_root = recursive_root(data[:old]), recursive_root(data)
    verify_consistency(old, old + more, proof=proof, old_root=old_root, new_root=new_root)
    _require_spoilt_fails(
        proof,
        draw,
        lambda spoilt: verify_consistency(old, old + more, proof=spoilt, old_root=old_root, new_root=new_root),
    )


def _require_spoilt_fails(proof: Sequence[Hash], draw: st.DataObject, verify: Any) -> None:
    """Longer, shorter, reordered and changed proofs all fail."""
    spoilt: list[Sequence[bytes]] = [[*proof, Hash(b"\x00" * 32)], [*proof, *proof, b"\x01" * 32]]
    if proof:
        place = draw.draw(st.integers(0, len(proof) - 1))
        flipped = bytes([proof[place][0] ^ 1]) + proof[place][1:]
        spoilt += [proof[:-1], proof[1:], [*proof[:place], flipped, *proof[place + 1 :]], [b"short"]]
    if len(proof) > 1:
        spoilt.append(list(reversed(proof)))
    for wrong in spoilt:
        with pytest.raises(ProofInvalid):
            verify(wrong)


@given(size=st.integers(1, 120), index=st.integers(0, 119), other=st.integers(0, 119))
def test_a_proof_is_for_one_place_only(size: int, index: int, other: int) -> None:
    data = _data(size)
    index, other = index % size, other % size
    store, tree = _tree(data)
    if index == other:
        return
    with pytest.raises(ProofInvalid):
        verify_inclusion(
            leaf_hash(data[index]),
            index=other,
            size=size,
            proof=inclusion_proof(index, size, store),
            expected_root=tree.root(),
        )


def test_a_rewritten_past_is_never_consistent() -> None:
    honest, rewritten = _data(20), [*_data(7), b"other", *_data(20)[8:]]
    store, _ = _tree(rewritten)
    for old in range(8, 20):
        with pytest.raises(ProofInvalid):
            verify_consistency(
                old,
                20,
                proof=consistency_proof(old, 20, store),
                old_root=recursive_root(honest[:old]),
                new_root=recursive_root(rewritten),
            )


def test_appending_needs_few_nodes() -> None:
    class Counting(MemoryStore):
        reads = 0

        def get(self, level: int, index: int) -> Hash:
            self.reads += 1
            return super().get(level, index)

    store = Counting()
    tree = TreeAppender(store)
    for item in _data(4096):
        tree.append(leaf_hash(item))
    assert store.reads < 4096
    store.reads = 0
    assert len(inclusion_proof(1234, 4095, store)) == 12
    assert store.reads <= 2 * 12


def test_appending_goes_on_where_another_process_stopped() -> None:
    store, _ = _tree(_data(13))
    tree = TreeAppender(store, 13)
    assert tree.append(leaf_hash(b"13")) == 13
    assert tree.root() == recursive_root(_data(14))


@pytest.mark.parametrize(("index", "size"), [(-1, 5), (5, 5), (0, 0)])
def test_proofs_of_what_is_not_there(index: int, size: int) -> None:
    store, _ = _tree(_data(5))
    with pytest.raises(MisuseError, match="has no leaf"):
        inclusion_proof(index, size, store)
    with pytest.raises(ProofInvalid, match="has no leaf"):
        verify_inclusion(leaf_hash(b""), index=index, size=size, proof=[], expected_root=EMPTY_ROOT)


@pytest.mark.parametrize(("old", "new"), [(-1, 5), (6, 5)])
def test_consistency_goes_forward_only(old: int, new: int) -> None:
    store, _ = _tree(_data(6))
    with pytest.raises(MisuseError, match="no consistency proof"):
        consistency_proof(old, new, store)
    with pytest.raises(ProofInvalid, match="cannot begin"):
        verify_consistency(old, new, proof=[], old_root=EMPTY_ROOT, new_root=EMPTY_ROOT)


def test_equal_sizes_need_equal_roots_and_the_empty_tree_its_own() -> None:
    root = recursive_root(_data(3))
    for old, old_root in ((3, b"\x00" * 32), (0, b"\x00" * 32)):
        with pytest.raises(ProofInvalid, match="contradict"):
            verify_consistency(old, 3, proof=[], old_root=old_root, new_root=root)


def test_sizes_beyond_the_limit_are_refused() -> None:
    with pytest.raises(MisuseError):
        TreeAppender(MemoryStore(), merkle.MAX_SIZE + 1)
    with pytest.raises(ProofInvalid):
        verify_inclusion(leaf_hash(b""), index=0, size=merkle.MAX_SIZE + 1, proof=[], expected_root=EMPTY_ROOT)
