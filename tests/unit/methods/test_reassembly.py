"""pFedHR's planning: CKA, groups of blocks, and the paper's rules for candidates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedseal.learning.blocks import Block, architecture
from fedseal.methods.reassembly import Observed, cka, distances, may_follow, medoid_groups, reassembled, similarity

LINES = ("conv3x4 conv3x6 fc8", "conv5x4 fc10", "conv3x4 conv3x4 conv3x4 fc8 fc6", "conv5x8 conv3x8 fc12")
BLOCKS = [block for line in LINES for block in architecture(line, inputs=(1, 8, 8), outputs=3)]


def features(seed: int, rows: int = 20, width: int = 7) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)


def test_cka_is_one_with_itself_symmetric_and_blind_to_turning_shifting_and_scaling() -> None:
    first, second = features(1), features(2, width=11)
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(7, 7)))
    assert cka(first, first) == pytest.approx(1)
    assert cka(first, second) == pytest.approx(cka(second, first))
    assert 0 < cka(first, second) < 0.9
    assert cka((first @ turn * 3 + 2).astype(np.float32), second) == pytest.approx(cka(first, second), abs=1e-5)


def test_cka_by_the_papers_formula() -> None:
    first, second = features(4), features(5)
    centring = np.eye(20) - 1 / 20
    one, two = (centring @ x.astype(float) @ x.T @ centring for x in (first, second))
    assert cka(first, second) == pytest.approx(np.sum(one * two) / np.linalg.norm(one) / np.linalg.norm(two), abs=1e-6)


def test_rows_that_are_all_alike_resemble_nothing() -> None:
    assert cka(np.ones((5, 3), dtype=np.float32), features(1, rows=5)) == 0


def test_distance_is_a_half_of_a_block_to_itself() -> None:
    seen = [Observed(network=n, block=BLOCKS[n], inputs=features(n), outputs=features(n + 9)) for n in range(4)]
    found = distances(seen)
    assert np.allclose(found, found.T)
    assert np.allclose(np.diag(found), 0.5)
    assert found[0, 1] == pytest.approx(1 / (cka(features(0), features(1)) + cka(features(9), features(10))))


def test_medoids_find_clear_groups_and_leave_none_empty() -> None:
    points = np.array([0.0, 0.1, 0.2, 5.0, 5.1, 9.0])
    distance = np.abs(points[:, None] - points)
    for seed in range(10):
        groups = medoid_groups(distance, 3, np.random.default_rng(seed))
        assert sorted(groups) == [[0, 1, 2], [3, 4], [5]]
    many = medoid_groups(np.zeros((4, 4)), 9, np.random.default_rng(0))
    assert all(many)
    assert sorted(one for group in many for one in group) == [0, 1, 2, 3]


@given(st.lists(st.integers(0, 3), min_size=len(BLOCKS), max_size=len(BLOCKS)))
def test_candidates_obey_the_papers_rules(labels: list[int]) -> None:
    groups = [[n for n, label in enumerate(labels) if label == group] for group in range(4)]
    groups = [group for group in groups if group]
    found = reassembled(BLOCKS, groups)
    assert len(set(found)) == len(found)
    for chain in found:
        blocks = [BLOCKS[one] for one in chain]
        places = [block.index for block in blocks]
        assert places == sorted(set(places)), "R1"
        kinds = [block.kind for block in blocks]
        assert kinds == sorted(kinds), "R2: conv before fc"
        assert set(kinds) == {"conv", "fc"}, "R3"
        assert all(set(chain) & set(group) for group in groups), "R4"


def test_a_candidate_by_hand() -> None:
    conv = [Block(kind="conv", index=n, inputs=1, outputs=1, kernel=3) for n in range(2)]
    dense = [Block(kind="fc", index=n, inputs=4, outputs=4) for n in (1, 2)]
    blocks = [*conv, *dense]  # conv 0, conv 1, fc 1, fc 2
    assert reassembled(blocks, [[0, 1], [2, 3]]) == [(0, 1, 3), (1, 3)]
    assert reassembled(blocks, [[0], [1], [2], [3]]) == [], "conv 1 and fc 1 are never both in a chain"
    assert not may_follow(dense[0], conv[1])


def test_similarity_is_the_mean_cosine_of_raw_logits() -> None:
    one, two = np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([[2.0, 0.0], [-1.0, 1.0]])
    assert similarity(one, two) == pytest.approx(0.5)
    assert similarity(one, np.zeros((2, 2))) == 0
