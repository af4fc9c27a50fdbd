from tests.unit.node.attempts import Coordinator, assert_counts
from tests.unit.node.papers import ROWS

def test_honest(coordinator: Coordinator) -> None:
    assert_counts(coordinator.attempt().finish(), ROWS)
    for e in coordinator.site.audit(): print(e.type, e.details)
