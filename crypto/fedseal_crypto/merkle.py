"""The Merkle tree of RFC 9162: append-only, with proofs of logarithmic length.

Rules it keeps: a leaf and an inner node can never be confused (different prefixes); verification raises;
proofs have exactly the length that index and size imply. Stored are only the hashes of full subtrees: node
`(level, index)` covers the leaves `index * 2^level` up to `(index + 1) * 2^level`, and once written it never
changes, so that a store may be any append-only table.
Reference: RFC 9162, sections 2.1.1 to 2.1.4; the verification algorithms are 2.1.3.2 and 2.1.4.2.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import NewType, Protocol

from fedseal_crypto.errors import MisuseError, PeerError

Hash = NewType("Hash", bytes)
"""A SHA-256 value, exactly 32 bytes: of a leaf, an inner node or a root."""

HASH_SIZE = 32

MAX_SIZE = 1 << 48
"""Leaves; far beyond any log, and small enough for every database's integers."""

EMPTY_ROOT = Hash(hashlib.sha256(b"").digest())
"""The root of the tree without leaves (RFC 9162, section 2.1.1)."""


class ProofInvalid(PeerError):
    """An inclusion or consistency proof does not prove what it claims."""


class NodeStore(Protocol):
    """Where the hashes of full subtrees are kept."""

    def get(self, level: int, index: int) -> Hash:
        """The hash of a subtree that was put before."""
        ...

    def put(self, level: int, index: int, value: Hash) -> None:
        """Keep the hash of a subtree that has just become full."""
        ...


class MemoryStore:
    """A `NodeStore` in memory, for small trees and for tests."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[int, int], Hash] = {}

    def get(self, level: int, index: int) -> Hash:
        """The hash of a subtree that was put before."""
        return self._nodes[level, index]

    def put(self, level: int, index: int, value: Hash) -> None:
        """Keep the hash of a subtree."""
        self._nodes[level, index] = value


def leaf_hash(data: bytes) -> Hash:
    """`SHA-256(0x00 || data)`."""
    return Hash(hashlib.sha256(b"\x00" + data).digest())


def node_hash(left: bytes, right: bytes) -> Hash:
    """`SHA-256(0x01 || left || right)`."""
    return Hash(hashlib.sha256(b"\x01" + left + right).digest())


def root(leaves: Iterable[bytes]) -> Hash:
    """The root over leaf hashes, in one pass with memory for one path.

    Args:
        leaves: Leaf hashes in order, as `leaf_hash` makes them.
    """
    running = RunningRoot()
    for leaf in leaves:
        running.add(leaf)
    return running.root()


class RunningRoot:
    """The root of a growing tree of which nothing is stored but the full subtrees at its right edge."""

    def __init__(self) -> None:
        self._peaks: list[tuple[int, Hash]] = []
        self._size = 0

    @property
    def size(self) -> int:
        """How many leaves were added."""
        return self._size

    def add(self, leaf: bytes) -> None:
        """Add a leaf hash, as `leaf_hash` makes it."""
        level, value = 0, Hash(leaf)
        while self._peaks and self._peaks[-1][0] == level:
            value = node_hash(self._peaks.pop()[1], value)
            level += 1
        self._peaks.append((level, value))
        self._size += 1

    def root(self) -> Hash:
        """The root over the leaves added so far."""
        return _bag([value for _, value in self._peaks])


class TreeAppender:
    """Appends leaves to a tree whose full subtrees are in a store.

    Args:
        store: Holds every full subtree of the first `size` leaves.
        size: How many leaves there are.
    """

    def __init__(self, store: NodeStore, size: int = 0) -> None:
        _require_size(size)
        self._store = store
        self._size = size

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return self._size

    def append(self, leaf: Hash) -> int:
        """Add a leaf hash; reads and writes as many nodes as subtrees become full.

        Returns:
            The leaf's index.
        """
        index, level, value = self._size, 0, leaf
        self._store.put(0, index, value)
        while index & 1:
            value = node_hash(self._store.get(level, index - 1), value)
            level, index = level + 1, index >> 1
            self._store.put(level, index, value)
        self._size += 1
        return self._size - 1

    def root(self) -> Hash:
        """The root of the tree as it is now."""
        return root_at(self._size, self._store)


def root_at(size: int, store: NodeStore) -> Hash:
    """The root of the first `size` leaves."""
    _require_size(size)
    return _range_hash(0, size, store) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, store: NodeStore) -> tuple[Hash, ...]:
    """The audit path of leaf `index` in the tree of the first `size` leaves (RFC 9162, section 2.1.3.1).

    Raises:
        MisuseError: Not `0 <= index < size`.
    """
    _require_size(size)
    if not 0 <= index < size:
        raise MisuseError(f"a tree of {size} leaves has no leaf {index}.")
    path: list[Hash] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_range_hash(middle, end, store))
            end = middle
        else:
            path.append(_range_hash(start, middle, store))
            start = middle
    return tuple(reversed(path))


def verify_inclusion(leaf: Hash, *, index: int, size: int, proof: Sequence[bytes], expected_root: bytes) -> None:
    """Check that `leaf` is at `index` in the tree of `size` leaves with this root (section 2.1.3.2).

    Raises:
        ProofInvalid: It is not proved.
    """
    _require_hashes(proof)
    if not 0 <= index < size <= MAX_SIZE:
        raise ProofInvalid(f"a tree of {size} leaves has no leaf {index}.")
    position, last, value = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofInvalid(f"the inclusion proof of leaf {index} is too long.")
        if position & 1 or position == last:
            value = node_hash(sibling, value)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            value = node_hash(value, sibling)
        position, last = position >> 1, last >> 1
    if last != 0 or value != expected_root:
        raise ProofInvalid(f"the proof does not lead from leaf {index} to the root of {size} leaves.")


def consistency_proof(old: int, new: int, store: NodeStore) -> tuple[Hash, ...]:
    """That the first `old` leaves of the tree of `new` leaves are the old tree (section 2.1.4.1).

    Empty when `old` is 0 or equal to `new`, where nothing needs proving.

    Raises:
        MisuseError: Not `0 <= old <= new`.
    """
    _require_size(new)
    if not 0 <= old <= new:
        raise MisuseError(f"there is no consistency proof from {old} to {new} leaves.")
    if old in (0, new):
        return ()
    path: list[Hash] = []
    start, end, whole = 0, new, True
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(_range_hash(middle, end, store))
            end = middle
        else:
            path.append(_range_hash(start, middle, store))
            start, whole = middle, False
    if not whole:
        path.append(_range_hash(start, end, store))
    return tuple(reversed(path))


def verify_consistency(old: int, new: int, *, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Check that the tree of `new` leaves begins with the tree of `old` leaves (section 2.1.4.2).

    Raises:
        ProofInvalid: It is not proved.
    """
    _require_hashes(proof)
    if not 0 <= old <= new <= MAX_SIZE:
        raise ProofInvalid(f"a tree of {new} leaves cannot begin with one of {old} leaves.")
    if old == new:
        _require_trivial(proof, old_root == new_root, old, new)
        return
    if old == 0:
        _require_trivial(proof, old_root == EMPTY_ROOT, old, new)
        return
    first, second = _replay_consistency(old, new, proof, old_root)
    if first != old_root or second != new_root:
        raise ProofInvalid(f"the proof does not connect the roots of {old} and {new} leaves.")


def _replay_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes) -> tuple[bytes, bytes]:
    """Steps 1 to 6 of section 2.1.4.2: both roots as the proof implies them."""
    # "If first is an exact power of 2, then prepend first_hash to the consistency_path array."
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    if not path:
        raise ProofInvalid(f"the consistency proof from {old} to {new} leaves is empty.")
    first = second = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofInvalid(f"the consistency proof from {old} to {new} leaves is too long.")
        if position & 1 or position == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise ProofInvalid(f"the consistency proof from {old} to {new} leaves is too short.")
    return first, second


def _require_trivial(proof: Sequence[bytes], holds: bool, old: int, new: int) -> None:
    if proof or not holds:
        raise ProofInvalid(f"the roots of {old} and {new} leaves contradict each other.")


def _split(size: int) -> int:
    """The largest power of two smaller than `size` (at least 2): where RFC 9162 divides a range."""
    return 1 << ((size - 1).bit_length() - 1)


def _range_hash(start: int, end: int, store: NodeStore) -> Hash:
    """The hash of the leaves from `start` to `end`, where `start` is a multiple of the range's split."""
    size = end - start
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return store.get(level, start >> level)
    middle = start + _split(size)
    return node_hash(_range_hash(start, middle, store), _range_hash(middle, end, store))


def _bag(peaks: Sequence[Hash]) -> Hash:
    if not peaks:
        return EMPTY_ROOT
    value = peaks[-1]
    for peak in reversed(peaks[:-1]):
        value = node_hash(peak, value)
    return value


def _require_size(size: int) -> None:
    if not 0 <= size <= MAX_SIZE:
        raise MisuseError(f"{size} is not a number of leaves between 0 and {MAX_SIZE}.")


def _require_hashes(proof: Sequence[bytes]) -> None:
    if any(len(item) != HASH_SIZE for item in proof):
        raise ProofInvalid(f"a proof is made of hashes of {HASH_SIZE} bytes each.")
