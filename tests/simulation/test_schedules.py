"""Hundreds of schedules of trouble in every test run, ten thousand in `make soak`; what is failure: see `judge`.

Each failure names its seed and the command that replays it with a trace.
"""

from collections import Counter
from dataclasses import replace

import pytest

from fedseal_crypto.encoding import RingVector
from fedseal_crypto.masking import ClientId, RingSum
from tests.simulation.judge import Failure, Judge, SimulationFailed
from tests.simulation.node import input_of
from tests.simulation.play import Report, play, prepare
from tests.simulation.schedule import CrashSite, Sabotage, crash_sites, draw_schedule

QUICK = range(200)
QUICK_SPARSE = range(4)
SOAK = 9_700
SOAK_SPARSE = 300
BLOCK = 100
SPARSE_BLOCK = 50

NOTICED_AS = {
    Sabotage.CLOSE_BEFORE_STORING: {Failure.TWO_STORIES, Failure.HONEST_REFUSED},
    Sabotage.LOSE_A_MESSAGE: {Failure.TWO_STORIES, Failure.HONEST_REFUSED},
    Sabotage.GIVE_UP: {Failure.DEADLOCK},
    Sabotage.REUSE_ENTROPY: {Failure.REUSE},
    Sabotage.ENTER_AGAIN: {Failure.TWO_ANSWERS},
    Sabotage.IGNORE_OPEN_ATTEMPTS: {Failure.TWO_SUMS},
    Sabotage.RELEASE_BEFORE_STORING: {Failure.TWO_SUMS, Failure.BROKEN_WORD},
    Sabotage.DECLARE_ALL: {Failure.BROKEN_WORD},
    Sabotage.COUNT_TWICE: {Failure.WRONG_SUM},
    Sabotage.REVEAL_BOTH: {Failure.BOTH_KINDS},
    Sabotage.IGNORE_HISTORY: {Failure.TWO_SUMS},
}


def summed_up(reports: list[Report]) -> Counter[str]:
    """What became of the runs, so that a quiet pass is not an empty one."""
    total: Counter[str] = Counter()
    for report in reports:
        total["rounds"] += report.schedule.rounds
        total["completed"] += report.completed
        total["attempts"] += report.attempts
        total["crashes"] += sum(report.crashes.values())
        total["blocked"] += report.blocked
    return total


def crashed_at(reports: list[Report]) -> set[CrashSite]:
    """Every place where a program died in some run."""
    return {site for report in reports for site in report.crashes}


def first_failure(sabotage: Sabotage) -> tuple[int, SimulationFailed]:
    """The first seed at which a broken rule shows, and how."""
    for seed in range(200):
        try:
            play(seed, sabotage=sabotage)
        except SimulationFailed as failed:
            return seed, failed
    pytest.fail(f"nobody noticed that {sabotage}")


def test_some_hundred_schedules() -> None:
    reports = [play(seed) for seed in QUICK]
    total = summed_up(reports)
    assert total["completed"] >= 0.8 * total["rounds"], total
    assert total["attempts"] > total["rounds"] + len(QUICK) / 4, total
    assert 0 < total["blocked"] < len(QUICK) / 5, total
    assert crashed_at(reports) == set(crash_sites(sparse=False))


def test_schedules_on_a_sparse_graph() -> None:
    total = summed_up([play(seed, sparse=True) for seed in QUICK_SPARSE])
    assert total["completed"] >= len(QUICK_SPARSE) / 2, total


@pytest.mark.soak
@pytest.mark.parametrize("first", range(0, SOAK, BLOCK))
def test_many_schedules(first: int) -> None:
    reports = [play(seed) for seed in range(first, first + BLOCK)]
    assert summed_up(reports)["completed"] >= BLOCK


@pytest.mark.soak
@pytest.mark.parametrize("first", range(0, SOAK_SPARSE, SPARSE_BLOCK))
def test_many_schedules_on_a_sparse_graph(first: int) -> None:
    reports = [play(seed, sparse=True) for seed in range(first, first + SPARSE_BLOCK)]
    assert summed_up(reports)["completed"] >= SPARSE_BLOCK / 2
    assert len(crashed_at(reports)) >= len(crash_sites(sparse=True)) / 2


@pytest.mark.parametrize("sabotage", list(Sabotage))
def test_a_broken_rule_is_noticed(sabotage: Sabotage) -> None:
    seed, failed = first_failure(sabotage)
    assert failed.kind in NOTICED_AS[sabotage]
    assert f"python -m tests.simulation.play {seed} --sabotage {sabotage.name}" in failed.__notes__[0]


def test_a_seed_gives_the_same_run_again() -> None:
    def trace(seed: int) -> list[str]:
        run = prepare(draw_schedule(seed), tracing=True)
        run.play()
        return run.world.trace

    assert trace(29) == trace(29)
    assert trace(29) != trace(30)


@pytest.fixture
def judged() -> tuple[Judge, RingSum]:
    """A judge who saw three members send their inputs, and their sum."""
    quiet = replace(
        draw_schedule(1), members=3, rounds=1, gone=frozenset(), loss=0, straggling=0, crash_rate=0, kills=0
    )
    run = prepare(replace(quiet, target=CrashSite("nobody", "", "")), tracing=False)
    run.play()
    result = run.judge.attempts[0, 0].result
    assert result is not None
    run.judge.attempts[0, 0].result = None
    return run.judge, result


def test_a_sum_over_too_few_is_noticed(judged: tuple[Judge, RingSum]) -> None:
    judge, result = judged
    with pytest.raises(SimulationFailed, match="too few"):
        judge.sum_opened((0, 0), replace(result, survivors=result.survivors[:2]))


def test_a_wrong_sum_is_noticed(judged: tuple[Judge, RingSum]) -> None:
    judge, result = judged
    words = RingVector.from_bytes(result.words, bytearray(result.words.buffer))
    words.add_in_place(input_of(ClientId("node-00"), judge.attempts[0, 0].parameters))
    with pytest.raises(SimulationFailed, match="wrong sum"):
        judge.sum_opened((0, 0), replace(result, words=words))
