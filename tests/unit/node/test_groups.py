"""A round that sums over a group: a node answers only if every member is of that group."""

import pytest

from tests.unit.node.attempts import Coordinator, assert_refused
from tests.unit.node.parties import NODES
from tests.unit.node.test_round_start import assert_still_enters


def test_a_member_of_another_group_is_refused_before_anything_leaves(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("fedseal.node.opening.asked_nodes", lambda *_: frozenset(NODES[:-1]))
        attack = coordinator.attempt()
        assert_refused(coordinator.site, attack.begin, code="PeerFault", says=f"{NODES[-1]} is not asked in this round")
    assert_still_enters(coordinator)
