"""Nodes that leave, restart, stay silent or come back: the round goes on without them, or is tried again."""

from dataclasses import replace

import pytest

from fedseal.coordinator.intake import MessageReported
from fedseal.rounds import RoundAddress
from fedseal_crypto.digests import Digest
from fedseal_crypto.masking import Advertisement, Step, decode_message
from tests.unit.coordinator.members import Lost, Play, messages_of, signed_policy
from tests.unit.node.papers import ROWS, JobFile, policy_with
from tests.unit.node.parties import NODES, Consortium


def begin(play: Play, consortium: Consortium, **job: object) -> str:
    """A submitted job that every node has accepted, its first round about to be answered."""
    digest = play.submit(JobFile(**job).signed(consortium).envelope)  # type: ignore[arg-type]  # fields by name
    play.until(lambda: play.process.state(digest) == "running")
    play.until(lambda: play.step_of(digest) is Step.ADVERTISE)
    return digest


def reach(play: Play, job: str, step: Step) -> None:
    """Answer honestly until that step is asked for."""
    play.until(lambda: play.step_of(job) is step)


def rounds_of(play: Play, job: str) -> list[tuple[str, int, int]]:
    """State, survivors and recovered of each attempt."""
    return [(item.state, len(item.survivors), len(item.recovered)) for item in play.process.detail(job).rounds]


def rows_of(play: Play, job: str) -> float:
    stored = play.process.ledger.load(Digest(job))
    progress = play.process.ledger.progress(stored)
    assert progress is not None
    return float(progress.published["statistics"]["rows"][0])


# --- one leaves ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "in_the_sum"),
    [
        (Step.ADVERTISE, False),
        (Step.SHARE, False),
        (Step.MASK, False),
        (Step.CONFIRM, True),
        (Step.UNMASK, True),
    ],
)
def test_a_node_leaves_at_each_step(play: Play, consortium: Consortium, step: Step, in_the_sum: bool) -> None:
    """Five nodes, threshold four: one may go at any moment, and its masks are recovered."""
    job = begin(play, consortium)
    reach(play, job, step)
    gone = play.members["hungary"]
    gone.leave()
    gone.inbox.clear()
    play.tick(2.1)
    assert play.run(job) == "finished"
    survivors = 5 if in_the_sum else 4
    assert rounds_of(play, job) == [("completed", survivors, 5 - survivors)]
    assert rows_of(play, job) == survivors * ROWS
    play.process.assert_log_verifies()


@pytest.mark.parametrize("step", [Step.ADVERTISE, Step.SHARE, Step.MASK, Step.CONFIRM, Step.UNMASK])
def test_a_node_restarts_at_each_step(play: Play, consortium: Consortium, step: Step) -> None:
    """Another process has lost the round's secrets: it is as gone as one that left."""
    job = begin(play, consortium)
    reach(play, job, step)
    play.members["hungary"].restart()
    assert play.run(job) == "finished"
    survivors = 5 if step in (Step.CONFIRM, Step.UNMASK) else 4
    assert rounds_of(play, job) == [("completed", survivors, 5 - survivors)]


def test_a_node_that_restarted_is_back_in_the_next_round(play: Play, consortium: Consortium) -> None:
    job = begin(play, consortium, training_rounds=1)
    reach(play, job, Step.SHARE)
    play.members["hungary"].restart()
    assert play.run(job) == "finished"
    assert [survivors for _, survivors, _ in rounds_of(play, job)] == [4, 5, 5]


def test_a_stream_that_breaks_for_a_moment_changes_nothing(play: Play, consortium: Consortium) -> None:
    job = begin(play, consortium)
    for step in (Step.SHARE, Step.MASK, Step.CONFIRM, Step.UNMASK):
        reach(play, job, step)
        member = play.members["hungary"]
        member.leave()
        play.tick(1.9)
        member.attend()
    assert play.run(job) == "finished"
    assert rounds_of(play, job) == [("completed", 5, 0)]


def test_a_node_that_returns_too_late_is_out_of_the_round(play: Play, consortium: Consortium) -> None:
    job = begin(play, consortium)
    reach(play, job, Step.MASK)
    member = play.members["hungary"]
    member.leave()
    play.tick(2.1)
    member.attend()
    assert play.run(job) == "finished"
    assert rounds_of(play, job) == [("completed", 5, 0)]


# --- too many leave -----------------------------------------------------------------------------------


def advertisements(play: Play) -> list[Advertisement]:
    decoded = [decode_message(event.payload) for member in play.members.values() for event in messages_of(member.sent)]
    return [message for message in decoded if isinstance(message, Advertisement)]


@pytest.mark.parametrize("step", [Step.ADVERTISE, Step.SHARE, Step.MASK, Step.CONFIRM, Step.UNMASK])
def test_a_round_that_lost_too_many_is_tried_again_with_fresh_keys(
    play: Play, consortium: Consortium, step: Step
) -> None:
    """Two of five go: the attempt fails, and the next one is over the three that are left."""
    job = begin(play, consortium)
    reach(play, job, step)
    for name in ("hungary", "zurich"):
        play.members[name].leave()
        play.members[name].inbox.clear()
    play.tick(2.1)
    assert play.run(job) == "finished"
    assert rounds_of(play, job) == [("failed", 0, 0), ("completed", 3, 0)]
    assert rows_of(play, job) == 3 * ROWS
    first, second = (RoundAddress.from_wire(item.address) for item in play.process.detail(job).rounds)
    assert (first.attempt, second.attempt) == (0, 1)
    keys = [key for message in advertisements(play) for key in (message.mask_key, message.channel_key)]
    assert len(set(keys)) == len(keys)
    failed = play.process.audit("round.failed")
    assert [entry.details["attempt"] for entry in failed] == [0]
    assert "answers" in str(failed[0].details["reason"])


def test_a_job_whose_rounds_always_fail_ends_with_the_reason(plays: object, play: Play, consortium: Consortium) -> None:
    job = begin(play, consortium)
    for _ in range(3):
        reach(play, job, Step.SHARE)
        for name in ("hungary", "zurich"):
            play.members[name].restart()
        play.turn()
    assert play.run(job) == "failed"
    reason = play.process.detail(job).summary.reason
    assert reason.startswith("3 attempts at the round failed, the last because: step share ended with 3 answers")
    assert len(rounds_of(play, job)) == 3
    assert play.process.audit("job.failed")[-1].details["reason"] == reason
    assert all(member.ended[job].state == "failed" for member in play.members.values())


def test_a_job_that_waits_too_long_for_its_nodes(play: Play, consortium: Consortium) -> None:
    job = begin(play, consortium)
    for name in ("basel", "hungary", "zurich"):
        play.members[name].leave()
    assert play.run(job) == "failed"
    assert "only 2 nodes were present for 6" in play.process.detail(job).summary.reason


def test_the_last_good_model_survives_the_jobs_end(play: Play, consortium: Consortium) -> None:
    """A round of training completed; then everybody leaves."""
    job = begin(play, consortium, training_rounds=3)
    play.until(lambda: play.process.detail(job).summary.rounds_done == 2)
    for member in play.members.values():
        member.leave()
    assert play.run(job) == "failed"
    assert sorted(play.process.artefacts(job)) == ["job-record", "model", "statistics"]


# --- deadlines ----------------------------------------------------------------------------------------


def test_a_silent_node_is_waited_for_until_the_deadline(play: Play, consortium: Consortium) -> None:
    """It is present and says nothing; the step closes at its deadline and not before."""
    job = begin(play, consortium, step_seconds=60)
    play.members["hungary"].silent = True
    play.turn()
    play.tick(59.0)
    assert play.step_of(job) is Step.ADVERTISE
    play.tick(1.1)
    assert play.step_of(job) is Step.SHARE
    assert play.run(job) == "finished"
    assert rounds_of(play, job) == [("completed", 4, 1)]


def test_a_deadline_with_too_few_answers_ends_the_attempt(play: Play, consortium: Consortium) -> None:
    job = begin(play, consortium, step_seconds=30)
    for name in ("basel", "hungary"):
        play.members[name].silent = True
    play.turn()
    play.tick(30.1)
    assert rounds_of(play, job) == [("failed", 0, 0)]


def test_a_message_after_the_deadline_comes_too_late(play: Play, consortium: Consortium) -> None:
    """It is refused, stored nowhere, and the round goes on as if it had not come."""
    job = begin(play, consortium, step_seconds=30)
    late = play.members["hungary"]
    late.read()
    [instruction] = [item for item in late.inbox if item.WhichOneof("kind") == "round_start"]
    late.inbox.clear()
    for name, member in play.members.items():
        if name != "hungary":
            for item in list(member.read()):
                event = member.answer(item)
                if event is not None:
                    play.deliver(event)
            member.inbox.clear()
    play.tick(30.1)
    assert play.step_of(job) is Step.SHARE
    event = late.answer(instruction)
    assert isinstance(event, MessageReported)
    play.deliver(event)
    [(refused, error)] = play.refusals
    assert refused is event
    assert type(error).__name__ == "LateMessage"
    assert play.run(job) == "finished"
    assert rounds_of(play, job) == [("completed", 4, 1)]


# --- policies that compare every round ----------------------------------------------------------------


@pytest.mark.parametrize(("scope", "expected"), [("model", [4, 5, 5, 5]), ("job", [4, 4, 4, 4])])
def test_who_missed_a_sum_stays_out_where_a_policy_compares_every_round(
    play: Play, consortium: Consortium, scope: str, expected: list[int]
) -> None:
    """Hungary misses the first round and comes back: a sum with it would differ from the first by it alone."""
    text = policy_with({"minimum_cohort: 3}": f"minimum_cohort: 3, history: {{scope: {scope}}}}}"})
    play.members["zurich"].attend(policies=(signed_policy(consortium, text),))
    job = begin(play, consortium, training_rounds=2)
    reach(play, job, Step.SHARE)
    play.members["hungary"].restart()
    play.until(lambda: play.process.detail(job).summary.rounds_done == 1)
    play.restart()
    play.members["zurich"].attend(policies=(signed_policy(consortium, text),))
    assert play.run(job) == "finished"
    assert [survivors for _, survivors, _ in rounds_of(play, job)] == expected


# --- the last step ------------------------------------------------------------------------------------


def silent_in_the_last_step(play: Play, consortium: Consortium) -> str:
    """Two of five are present and say nothing: with three answers, one short, the round would be lost."""
    job = begin(play, consortium, step_seconds=30)
    reach(play, job, Step.UNMASK)
    for name in ("hungary", "zurich"):
        play.members[name].silent = True
    play.turn()
    assert play.step_of(job) is Step.UNMASK
    return job


def test_the_last_step_waits_beyond_its_deadline_for_what_it_cannot_do_without(
    play: Play, consortium: Consortium
) -> None:
    """Three nodes have released their shares for this attempt: none of them would help with another one."""
    job = silent_in_the_last_step(play, consortium)
    play.tick(30.1)
    play.tick(59.0)
    assert play.step_of(job) is Step.UNMASK
    play.members["zurich"].silent = False
    play.members["zurich"].leave()
    play.members["zurich"].attend()
    assert play.run(job) == "finished"
    assert rounds_of(play, job) == [("completed", 5, 0)]


def test_the_last_step_does_not_wait_for_ever(play: Play, consortium: Consortium) -> None:
    job = silent_in_the_last_step(play, consortium)
    play.tick(90.1)  # the step's 30 seconds and the 60 of the coordinator's patience
    assert rounds_of(play, job) == [("failed", 0, 0)]


def test_the_last_step_with_enough_answers_ends_at_its_deadline(play: Play, consortium: Consortium) -> None:
    job = begin(play, consortium, step_seconds=30)
    reach(play, job, Step.UNMASK)
    play.members["hungary"].silent = True
    play.turn()
    play.tick(29.0)
    assert play.step_of(job) is Step.UNMASK
    play.tick(1.1)
    assert rounds_of(play, job) == [("completed", 5, 0)]


def test_nobody_waits_for_those_who_cannot_answer_any_more(play: Play, consortium: Consortium) -> None:
    """Two processes ended before they released anything: the new ones have nothing to send."""
    job = silent_in_the_last_step(play, consortium)
    for name in ("hungary", "zurich"):
        play.members[name].silent = False
        play.members[name].restart()
    play.tick(2.1)
    assert rounds_of(play, job)[0] == ("failed", 0, 0)


def test_a_restarted_node_hands_in_what_its_last_process_released(play: Play, consortium: Consortium) -> None:
    """It stored the shares and ended before they arrived; the bytes are signed, so any process may bring them."""
    job = begin(play, consortium, step_seconds=30)
    reach(play, job, Step.UNMASK)
    released = {}
    for name in ("hungary", "zurich"):
        member = play.members[name]
        [instruction] = [item for item in member.read() if item.WhichOneof("kind") == "masking_step"]
        released[name] = member.answer(instruction)
        member.restart()
    play.turn()
    assert play.step_of(job) is Step.UNMASK
    event = released["zurich"]
    assert isinstance(event, MessageReported)
    play.deliver(replace(event, session=play.members["zurich"].session))
    assert play.run(job) == "finished"
    assert play.refusals == []
    assert rounds_of(play, job) == [("completed", 5, 0)]


def test_another_process_takes_part_in_no_other_step(play: Play, consortium: Consortium) -> None:
    job = begin(play, consortium)
    reach(play, job, Step.CONFIRM)
    member = play.members["zurich"]
    [instruction] = [item for item in member.read() if item.WhichOneof("kind") == "masking_step"]
    event = member.answer(instruction)
    assert isinstance(event, MessageReported)
    member.restart()
    play.deliver(replace(event, session=member.session))
    [(_, error)] = play.refusals
    assert "was begun by another process of zurich" in str(error)
    assert play.run(job) == "finished"


def test_a_round_waits_a_little_for_nodes_that_are_away(play: Play, consortium: Consortium) -> None:
    """A node that just left is expected back; one that was never seen is given a shorter time."""
    job = play.submit(JobFile().signed(consortium).envelope)
    play.until(lambda: len(play.process.detail(job).answers) == 5)
    play.members["zurich"].leave()
    play.tick()
    play.tick(2.1)
    assert play.step_of(job) is None
    play.members["zurich"].attend()
    play.tick()
    assert play.step_of(job) is Step.ADVERTISE
    assert play.run(job) == "finished"
    assert rounds_of(play, job) == [("completed", 5, 0)]


def test_everybody_leaves_and_nobody_returns(play: Play, consortium: Consortium) -> None:
    job = begin(play, consortium)
    for member in play.members.values():
        member.leave()
    with pytest.raises(Lost):
        play.until(lambda: play.process.state(job) != "running", turns=60)
    assert play.run(job) == "failed"
    assert set(play.members) == set(NODES)
