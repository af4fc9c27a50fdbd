"""A job from submission to model, with nothing going wrong: what all other tests here disturb."""

from pathlib import Path

import pytest

from tests.system import evidence
from tests.system.federation import Federation, SmallJob
from tests.system.founding import NODES

pytestmark = pytest.mark.system


def test_a_small_job_finishes(federation: Federation, tmp_path: Path) -> None:
    detail = federation.run()
    evidence.assert_finished(federation, detail.summary.job, tmp_path)
    assert detail.summary.rounds_done == 4
    assert all(sorted(item.survivors) == sorted(NODES) for item in detail.rounds)


def test_statistics_alone(federation: Federation, tmp_path: Path) -> None:
    detail = federation.run(SmallJob(kind="statistics"))
    assert detail.summary.state == "finished"
    assert {item.kind for item in detail.artefacts} == {"job-record", "statistics"}
    evidence.assert_sound(federation, detail.summary.job, tmp_path)


def test_clocks_that_differ_by_minutes(idle: Federation, tmp_path: Path) -> None:
    """Within the tolerance of certificates and logs nobody minds."""
    idle.start_coordinator()
    for node, minutes in zip(NODES, (-3, -1, 1, 3), strict=True):
        idle.start_node(node, clock_offset=minutes * 60.0)
    idle.wait_present(*NODES)
    detail = idle.run(SmallJob(rounds=1))
    evidence.assert_finished(idle, detail.summary.job, tmp_path)
    assert all(sorted(item.survivors) == sorted(NODES) for item in detail.rounds)
