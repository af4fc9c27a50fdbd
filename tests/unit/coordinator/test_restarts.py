"""The coordinator dies: between any two operations of a job, or in the middle of one because storage fails.

Another engine on the same database goes on as if nothing had been: same sums, same model, same figures, and a log that
verifies. What counts as failure: an exception, a job that does not end, a result that differs, an open attempt left
behind, or an audit entry twice.
"""

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from fedseal.coordinator.ledger import Ledger
from fedseal_crypto.digests import Digest
from fedseal_crypto.masking import Step
from tests.unit.coordinator.members import Play
from tests.unit.node.papers import JobFile
from tests.unit.node.parties import Consortium

THREE = ("basel", "cleveland", "hungary")
STATISTICS = JobFile(nodes=THREE)
TRAINING = JobFile(nodes=THREE, training_rounds=2)
Plays = Callable[..., Play]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job came to, without times, digests of encrypted things, and the number of attempts."""

    state: str
    published: dict[str, bytes]
    sums: tuple[tuple[str, int, tuple[str, ...], str], ...]

    @classmethod
    def of(cls, play: Play, job: str) -> "Outcome":
        detail = play.process.detail(job)
        completed = [item for item in detail.rounds if item.state == "completed"]
        kept = {kind: data for kind, data in play.process.artefacts(job).items() if kind != "job-record"}
        return cls(
            state=detail.summary.state,
            published=kept,
            sums=tuple((r.address.stage, r.address.round, tuple(r.survivors), _figures(r.metrics)) for r in completed),
        )


def _figures(metrics: str) -> str:
    figures = json.loads(metrics)
    # What members sent in all attempts is the same only if there was one.
    figures.pop("bytes_up_per_node")
    return json.dumps(figures, sort_keys=True)


def complete(play: Play, job_file: JobFile, consortium: Consortium) -> tuple[Outcome, str]:
    """Run a job to its end and check what must hold however it went."""
    job = play.submit(job_file.signed(consortium).envelope)
    play.run(job)
    assert_whole(play, job)
    return Outcome.of(play, job), job


def assert_whole(play: Play, job: str) -> None:
    """Nothing is half done, nothing was done twice, and the log verifies."""
    process = play.process
    assert all(item.state in ("completed", "failed") for item in process.detail(job).rounds)
    addresses = [str(item.address) for item in process.detail(job).rounds]
    assert len(set(addresses)) == len(addresses)
    once = Counter(
        (entry.type, entry.actor, json.dumps(entry.details, sort_keys=True))
        for entry in process.audit()
        if entry.subject == f"job/{job}"
    )
    assert max(once.values()) == 1, once.most_common(3)
    process.assert_log_verifies()
    assert list(process.incoming.iterdir()) == []
    assert all(member.ended[job].state == process.state(job) for member in play.members.values())


@pytest.fixture(scope="module")
def memory() -> dict[str, Outcome]:
    """Outcomes of undisturbed jobs, computed once."""
    return {}


@pytest.fixture
def undisturbed(plays: Plays, consortium: Consortium, memory: dict[str, Outcome]) -> Callable[[JobFile], Outcome]:
    def outcome(job_file: JobFile) -> Outcome:
        key = f"{job_file}"
        if key not in memory:
            play = plays(*THREE)
            memory[key], _ = complete(play, job_file, consortium)
            memory[f"operations of {key}"] = play.operations  # type: ignore[assignment]  # a number beside it
        return memory[key]

    return outcome


# --- between two operations ---------------------------------------------------------------------------


def dying_at(*moments: tuple[int, str]) -> Callable[[Play, int, str], None]:
    """Kill the coordinator before or after these operations."""
    due = set(moments)

    def interfere(play: Play, number: int, moment: str) -> None:
        if (number, moment) in due:
            due.discard((number, moment))
            play.restart()

    return interfere


# A statistics job with three nodes takes about thirty operations: offers, answers, five steps, and ticks.
@pytest.mark.parametrize("number", range(1, 33))
def test_it_dies_after_any_operation(
    plays: Plays, consortium: Consortium, undisturbed: Callable[[JobFile], Outcome], number: int
) -> None:
    expected = undisturbed(STATISTICS)
    play = plays(*THREE)
    play.interfere = dying_at((number, "after"))
    outcome, _ = complete(play, STATISTICS, consortium)
    assert outcome == expected
    assert play.refusals == [] or all("not under way" in str(error) for _, error in play.refusals)


@pytest.mark.parametrize("seed", range(2))
def test_it_dies_again_and_again(
    plays: Plays, consortium: Consortium, undisturbed: Callable[[JobFile], Outcome], seed: int
) -> None:
    """Eight deaths in a training job, before or after operations that a seed chooses; nodes answer in any order."""
    expected = undisturbed(TRAINING)
    draw = random.Random(seed)  # noqa: S311 - a schedule, not a secret
    play = plays(*THREE)
    play.order = draw
    moments = [(draw.randint(1, 120), draw.choice(["before", "after"])) for _ in range(8)]
    play.interfere = dying_at(*moments)
    outcome, _ = complete(play, TRAINING, consortium)
    assert outcome == expected


def test_the_nodes_repeat_everything_that_they_ever_sent(
    plays: Plays, consortium: Consortium, undisturbed: Callable[[JobFile], Outcome]
) -> None:
    """After a restart each node's connection may deliver its last reports once more, in any order."""
    expected = undisturbed(STATISTICS)
    play = plays(*THREE)
    draw = random.Random(7)  # noqa: S311 - a schedule, not a secret

    def repeat(play: Play, number: int, moment: str) -> None:
        if moment == "after" and number % 5 == 0:
            sent = [event for member in play.members.values() for event in member.sent]
            draw.shuffle(sent)
            for event in sent:
                play._offer(event)

    play.interfere = repeat
    outcome, _ = complete(play, STATISTICS, consortium)
    assert outcome == expected


@pytest.mark.parametrize("step", [Step.SHARE, Step.MASK, Step.CONFIRM, Step.UNMASK])
def test_a_node_dies_with_the_coordinator(
    plays: Plays, consortium: Consortium, undisturbed: Callable[[JobFile], Outcome], step: Step
) -> None:
    """Of three nodes none can be spared: the attempt fails, and the next one gives the same result."""
    play = plays(*THREE)
    job = play.submit(STATISTICS.signed(consortium).envelope)
    play.until(lambda: play.step_of(job) is step)
    lost, *others = play.members.values()
    play.process.restart()
    lost.stream = None
    lost.restart()
    for member in others:
        member.attend()
    play.run(job)
    assert_whole(play, job)
    assert Outcome.of(play, job) == undisturbed(STATISTICS)
    assert [item.state for item in play.process.detail(job).rounds] == ["failed", "completed"]


def test_a_job_that_has_ended_is_not_taken_up_again(play: Play, consortium: Consortium) -> None:
    job = play.submit(JobFile().signed(consortium).envelope)
    play.run(job)
    entries = len(play.process.audit())
    play.restart()
    play.turn()
    assert play.process.engine._desks == {}
    assert len(play.process.audit()) == entries


def test_a_node_that_was_away_hears_of_the_end_when_it_returns(play: Play, consortium: Consortium) -> None:
    job = play.submit(JobFile().signed(consortium).envelope)
    play.until(lambda: play.process.state(job) == "running")
    away = play.members["zurich"]
    away.leave()
    play.until(lambda: play.process.state(job) == "finished")
    play.restart()
    away.attend()
    play.turn()
    assert away.ended[job].state == "finished"


# --- in the middle of an operation --------------------------------------------------------------------

WRITES = tuple(
    name
    for name in ("submit", "answer", "set_state", "begin_round", "message", "step_closed", "complete_round", "end")
    if hasattr(Ledger, name)
)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("name", WRITES[1:])
def test_storage_fails_once_at_each_call(
    plays: Plays,
    consortium: Consortium,
    undisturbed: Callable[[JobFile], Outcome],
    name: str,
    moment: str,
) -> None:
    """Before: the disk was full, nothing is stored. After: it is stored and nobody was told."""
    expected = undisturbed(STATISTICS)
    failed: list[int] = []

    def fails(number: int, called: str) -> str:
        if called == name and len(failed) < 1:
            failed.append(number)
            return moment
        return ""

    play = plays(*THREE, fails=fails)
    outcome, _ = complete(play, STATISTICS, consortium)
    assert failed
    assert outcome == expected


@pytest.mark.parametrize("seed", range(3))
def test_storage_fails_at_random(
    plays: Plays, consortium: Consortium, undisturbed: Callable[[JobFile], Outcome], seed: int
) -> None:
    """Every call of the ledger fails now and then, reads included."""
    expected = undisturbed(STATISTICS)
    draw = random.Random(seed)  # noqa: S311 - a schedule, not a secret
    quiet = {"submit"}

    def fails(_number: int, called: str) -> str:
        chance = draw.random()
        return "" if called in quiet or chance > 0.12 else draw.choice(["before", "after"])

    play = plays(*THREE, fails=fails)
    outcome, _ = complete(play, STATISTICS, consortium)
    assert outcome == expected


def test_a_submission_that_cannot_be_stored_is_none(plays: Plays, consortium: Consortium) -> None:
    full: list[bool] = [True]
    play = plays(*THREE, fails=lambda _number, name: "before" if name == "submit" and full[0] else "")
    envelope = STATISTICS.signed(consortium).envelope
    with pytest.raises(Exception, match="the disk is full"):
        play.submit(envelope)
    assert play.process.views.jobs().jobs == []
    full[0] = False
    job = play.submit(envelope)
    assert play.run(job) == "finished"


def test_a_vector_file_that_was_damaged_fails_the_attempt_alone(plays: Plays, consortium: Consortium) -> None:
    """The disk lost a masked vector: the attempt cannot be taken up, and the next one replaces it."""
    play = plays(*THREE)
    job = play.submit(STATISTICS.signed(consortium).envelope)
    spool = play.process.folder.path / "spool" / job
    play.until(lambda: any(spool.rglob("*.bin")))
    for file in spool.rglob("*.bin"):
        file.write_bytes(file.read_bytes()[:-1])
    play.restart()
    assert play.run(job) == "finished"
    assert [item.state for item in play.process.detail(job).rounds] == ["failed", "completed"]


def test_a_member_that_is_revoked_while_the_coordinator_is_down(play: Play, consortium: Consortium) -> None:
    """The attempt cannot be verified any more, so it fails; the next one is without that member."""
    job = play.submit(JobFile().signed(consortium).envelope)
    play.until(lambda: len(play.process.audit("round.started")) == 1)
    play.process.die()
    consortium.revoke("zurich")
    play.process.folder.store_revocations(consortium.crl(), play.process.clock())
    play.process.start()
    del play.members["zurich"]
    for member in play.members.values():
        member.attend()
    assert play.run(job) == "finished"
    assert [(item.state, len(item.roster)) for item in play.process.detail(job).rounds] == [
        ("failed", 5),
        ("completed", 4),
    ]


def test_a_state_file_that_is_missing_fails_that_job_alone(play: Play, consortium: Consortium) -> None:
    """Another job on the same coordinator goes on."""
    lost = play.submit(JobFile(name="lost", training_rounds=2).signed(consortium).envelope)
    play.until(lambda: play.process.detail(lost).summary.rounds_done == 1)
    digest = play.process.ledger.load(Digest(lost)).state_digest
    assert digest is not None
    play.process.ledger.artefacts.remove(digest)
    play.restart()
    assert play.process.state(lost) == "failed"
    assert "could not be taken up" in play.process.detail(lost).summary.reason
    other = play.submit(JobFile(name="other", seed=3).signed(consortium).envelope)
    assert play.run(other) == "finished"
