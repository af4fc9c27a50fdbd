"""Who shares masks with whom.

Complete graph: everybody with everybody. Sparse graph: a random k-regular Harary graph over the whole roster
(members that never advertised are dropouts from the start, so that the analysis of `_graph_finder` holds with
the roster's own numbers). Its ring order is a shuffle keyed by all members' nonces, to which they committed
before any was opened; every member computes it for itself and takes no list of neighbours from the server.

Reference: Bell et al., CCS 2020, section 3; commit and reveal instead of their distributed choice of
neighbours.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from fedseal_crypto.masking._labels import Usage, derive_key, label
from fedseal_crypto.masking._messages import MemberNonce
from fedseal_crypto.masking._parameters import MemberIndex, RoundParameters

_DRAW_BYTES = 16  # 128 bits reduced modulo at most 2^16: the bias is below 2^-112


@final
@dataclass(frozen=True, slots=True)
class Graph:
    """The pairs that mask and share with each other.

    Attributes:
        size: n, members of the roster.
        degree: k, or None for the complete graph.
        ring: Members in ring order; in roster order for the complete graph.
        positions: Position on the ring, by member.
    """

    size: int
    degree: int | None
    ring: tuple[MemberIndex, ...]
    positions: tuple[int, ...]
    _found: dict[MemberIndex, tuple[MemberIndex, ...]] = field(default_factory=dict, compare=False, repr=False)

    def neighbours(self, member: MemberIndex) -> tuple[MemberIndex, ...]:
        """The member's neighbours, sorted."""
        found = self._found.get(member)
        if found is None:
            found = self._found[member] = self._find(member)
        return found

    def _find(self, member: MemberIndex) -> tuple[MemberIndex, ...]:
        if self.degree is None:
            return tuple(other for other in self.ring if other != member)
        here, reach = self.positions[member], self.degree // 2
        steps = (*range(-reach, 0), *range(1, reach + 1))
        return tuple(sorted(self.ring[(here + step) % self.size] for step in steps))

    def may_split(self, present: Iterable[MemberIndex], *, spare: int) -> bool:
        """Whether two disjoint windows of k/2 ring positions each keep at most `spare` present members.

        Only then can honest members that are present fall into two groups without an edge between them: on a
        ring with edges to the k/2 nearest, two separate runs of k/2 members must be missing or corrupted.
        """
        if self.degree is None:
            return False
        window = self.degree // 2
        here = [0] * self.size
        for member in present:
            here[self.positions[member]] = 1
        count = sum(here[:window])
        thin = []
        for start in range(self.size):
            if count <= spare:
                thin.append(start)
            count += here[(start + window) % self.size] - here[start]
        # Two starts a, b are disjoint windows if their distance is at least k/2 both ways round.
        return any(
            window <= b - thin[0] <= self.size - window or window <= thin[-1] - b <= self.size - window for b in thin
        )


def complete_graph(size: int) -> Graph:
    """Everybody with everybody."""
    everyone = tuple(MemberIndex(i) for i in range(size))
    return Graph(size, None, everyone, everyone)


def sparse_graph(parameters: RoundParameters, degree: int, nonces: Sequence[MemberNonce]) -> Graph:
    """The Harary graph of the opened nonces, which must be sorted by member."""
    size = len(parameters.roster)
    opened = b"".join(nonce.member.to_bytes(2, "big") + nonce.nonce for nonce in nonces)
    seed = derive_key(opened, Usage.GRAPH_SEED, context=parameters.context0())
    ring = _shuffled(size, seed)
    positions = [0] * size
    for place, member in enumerate(ring):
        positions[member] = place
    return Graph(size, degree, ring, tuple(positions))


def _shuffled(size: int, seed: bytes) -> tuple[MemberIndex, ...]:
    """Fisher and Yates' shuffle with draws from a keystream under the seed."""
    key = derive_key(seed, Usage.GRAPH_STREAM, context=label(Usage.GRAPH_STREAM))
    stream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor().update(bytes(size * _DRAW_BYTES))
    order = [MemberIndex(i) for i in range(size)]
    draws = [high << 64 | low for high, low in struct.iter_unpack(">QQ", stream)]
    for i in range(size - 1, 0, -1):
        j = draws[i] % (i + 1)
        order[i], order[j] = order[j], order[i]
    return tuple(order)
