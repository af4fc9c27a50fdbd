"""Attempts that are begun again: after a refusal, after a restart of the node, after the vector was out.

What must never happen: any mask or key twice, a second answer, and a vector in two sums. What the difference of two
sums may show is tested in `test_history.py`.
"""

from collections.abc import Callable, Mapping

import grpc
import pytest

from fedseal.wire._generated import coordination_pb2 as pb
from fedseal.wire.status import CallRefused
from fedseal_crypto.masking import Advertisement, ShareBundle, Step, Unmasking
from fedseal_governance.history import SumRow
from fedseal_governance.participation import AttemptState
from tests.unit.node.attempts import Attempt, Coordinator, assert_counts, assert_ignored, assert_refused
from tests.unit.node.papers import ROWS
from tests.unit.node.parties import NODES

OTHERS = tuple(name for name in NODES if name != "cleveland")


def given_up(attempt: Attempt, *names: str) -> Mapping[str, tuple[bytes, ...]]:
    """These members sign that they will never open ``attempt``."""
    return dict.fromkeys(names, (attempt.context,))


def states(coordinator: Coordinator) -> list[AttemptState]:
    return [row.state for row in coordinator.site.attempts(coordinator.job.digest)]


# --- the same attempt again ---------------------------------------------------------------------------


def test_the_same_beginning_again_changes_nothing(coordinator: Coordinator) -> None:
    """Whatever a second beginning says, the node is in the attempt that it entered first."""
    attempt, site = coordinator.attempt(), coordinator.site
    attempt.begin()
    first = site.last_message()
    weaker = attempt.coordinator.attempt(threshold=5)
    attempt.begin(parameters=weaker.parameters.encode())
    assert site.last_message() == first
    assert len(site.attempts(coordinator.job.digest)) == 1
    current = site.agent._current
    assert current is not None
    assert current.opened.offer.parameters == attempt.parameters


@pytest.mark.parametrize("reached", [Step.SHARE, Step.MASK, Step.CONFIRM, Step.UNMASK])
def test_the_same_attempt_after_a_restart(coordinator: Coordinator, reached: Step) -> None:
    """The new process has other keys; an attempt that an old process began is dead for it."""
    attempt, site = coordinator.attempt(), coordinator.site
    instruction = attempt.reach(reached)
    assert instruction is not None
    site.restart()
    assert_ignored(site, lambda: attempt.instruct(instruction))
    assert_refused(site, attempt.begin, code="AlreadyDone", says="has begun attempt 0 of the round before")
    assert states(coordinator) == [AttemptState.ABANDONED]
    again = coordinator.attempt(1, abandoned=given_up(attempt, *OTHERS))
    assert_counts(again.finish(), ROWS)


def test_no_key_or_nonce_of_an_attempt_comes_back(coordinator: Coordinator) -> None:
    """Across attempts and restarts every public value of the protocol is a new one."""
    site = coordinator.site
    seen: list[bytes] = []
    for number in range(4):
        coordinator.attempt(number).reach(Step.MASK)
        messages = site.left_since((0, 0)).messages[-2:]
        advertisement, bundle = messages
        assert isinstance(advertisement, Advertisement)
        assert isinstance(bundle, ShareBundle)
        seen += [advertisement.mask_key, advertisement.channel_key, advertisement.commitment]
        seen += [share.sealed for share in bundle.shares]
        if number % 2:
            site.restart()
    assert len(set(seen)) == len(seen)


def test_an_earlier_attempt_is_never_taken_up_again(coordinator: Coordinator) -> None:
    coordinator.attempt(3).begin()
    earlier = coordinator.attempt(2)
    assert_refused(coordinator.site, earlier.begin, code="AlreadyDone", says="has begun attempt 3 of the round before")


def test_a_completed_round_is_never_answered_again(coordinator: Coordinator) -> None:
    coordinator.attempt().finish()
    assert states(coordinator) == [AttemptState.COMPLETED]
    again = coordinator.attempt(1)
    assert_refused(coordinator.site, again.begin, code="AlreadyDone", says="was completed with attempt 0")
    coordinator.site.restart()
    assert_refused(coordinator.site, again.begin, code="AlreadyDone", says="was completed with attempt 0")


# --- after the vector was out -------------------------------------------------------------------------


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(("declaring", "enough"), [(0, False), (1, False), (2, True), (4, True)])
def test_a_retry_needs_the_others_word_that_the_first_attempt_stays_closed(
    coordinator: Coordinator, declaring: int, enough: bool, restarted: bool
) -> None:
    """Five members, threshold 4, one may lie: three of them, this node included, must have given the attempt up."""
    first, site = coordinator.attempt(), coordinator.site
    first.reach(Step.CONFIRM)
    if restarted:
        site.restart()
    else:
        first.end(completed=False)
    retry = coordinator.attempt(1, abandoned=given_up(first, *OTHERS[:declaring]))
    if enough:
        assert_counts(retry.finish(), ROWS)
        assert states(coordinator) == [AttemptState.ABANDONED, AttemptState.COMPLETED]
        return
    roster = retry.reach(Step.SHARE)
    assert roster is not None
    assert_refused(
        site,
        lambda: retry.instruct(roster),
        code="RefusalError",
        says=rf"may still be opened \({declaring + 1} of 5 members have given that attempt up\)",
    )
    assert states(coordinator) == [AttemptState.ABANDONED, AttemptState.ABANDONED]


def test_this_node_gives_up_what_it_will_never_open(coordinator: Coordinator) -> None:
    """Its advertisement says so, signed; the others decide by it."""
    first = coordinator.attempt()
    first.reach(Step.CONFIRM)
    first.end(completed=False)
    coordinator.attempt(1).begin()
    advertisement = coordinator.site.last_message()
    assert isinstance(advertisement, Advertisement)
    assert advertisement.abandoned == (first.context,)


def test_a_sum_that_was_opened_is_not_given_up(coordinator: Coordinator) -> None:
    """The coordinator says that the attempt failed after it has got every share: no honest member retries."""
    first, site = coordinator.attempt(), coordinator.site
    first.reach(Step.DONE)
    assert isinstance(site.last_message(), Unmasking)
    first.end(completed=False)
    assert states(coordinator) == [AttemptState.UNMASK_RELEASED]
    retry = coordinator.attempt(1, abandoned=given_up(first, "zurich"))
    roster = retry.reach(Step.SHARE)
    assert roster is not None
    advertisement = site.last_message()
    assert isinstance(advertisement, Advertisement)
    assert advertisement.abandoned == ()
    assert_refused(site, lambda: retry.instruct(roster), code="RefusalError", says="may still be opened")


def test_an_attempt_before_the_vector_needs_nobodys_word(coordinator: Coordinator) -> None:
    first = coordinator.attempt()
    first.reach(Step.MASK)
    first.end(completed=False)
    assert_counts(coordinator.attempt(1).finish(), ROWS)


# --- shares that were released ------------------------------------------------------------------------


def test_released_shares_are_sent_again_after_a_restart(coordinator: Coordinator) -> None:
    """The process ends after it stored that they leave and before they did: the round need not be lost."""
    attempt, site = coordinator.attempt(), coordinator.site
    confirmations = attempt.reach(Step.UNMASK)
    assert confirmations is not None
    site.outbox.answer = fail_once(RuntimeError("the machine loses power"))
    with pytest.raises(RuntimeError, match="loses power"):
        attempt.instruct(confirmations)
    lost = site.outbox.reports.pop()
    assert states(coordinator) == [AttemptState.UNMASK_RELEASED]
    site.restart()
    mark = site.mark()
    site.welcome()
    [released] = site.left_since(mark).messages
    assert isinstance(released, Unmasking)
    assert released.encode() == lost.message.payload
    attempt.server.receive(released)
    assert_ignored(site, site.welcome)
    assert len(site.audit("round.unmasked")) == 1


def test_shares_that_a_coordinator_turns_away_are_offered_until_the_end(coordinator: Coordinator) -> None:
    attempt, site = coordinator.attempt(), coordinator.site
    confirmations = attempt.reach(Step.UNMASK)
    assert confirmations is not None
    site.outbox.answer = fail_once(RuntimeError("the machine loses power"))
    with pytest.raises(RuntimeError, match="loses power"):
        attempt.instruct(confirmations)
    site.restart()
    site.outbox.answer = fail_once(CallRefused("not under way here", grpc.StatusCode.FAILED_PRECONDITION))
    for _ in range(2):
        mark = site.mark()
        site.welcome()
        assert [type(message) for message in site.left_since(mark).messages] == [Unmasking]
    attempt.end(completed=False)
    assert_ignored(site, site.welcome)


def test_nothing_is_sent_again_that_was_never_released(coordinator: Coordinator) -> None:
    """Up to its last step an attempt that a process began is dead with it."""
    attempt, site = coordinator.attempt(), coordinator.site
    attempt.reach(Step.UNMASK)
    site.restart()
    assert_ignored(site, site.welcome)


def test_a_job_that_ended_leaves_no_shares_behind(coordinator: Coordinator) -> None:
    attempt, site = coordinator.attempt(), coordinator.site
    attempt.reach(Step.DONE)
    coordinator.end("failed")
    kept = site.database.read(lambda session: [row.answer for row in session.query(SumRow)])
    assert kept == [None]


def fail_once(error: Exception) -> Callable[[pb.NodeReport], None]:
    """An answer to a report that fails the first time."""
    waiting = [error]

    def answer(_report: pb.NodeReport) -> None:
        if waiting:
            raise waiting.pop()

    return answer
