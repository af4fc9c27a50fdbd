"""A hostile coordinator inside a round: keys, shares, survivors and unmasking that no honest one would send.

`tests/unit/crypto/masking` plays every such attack against the protocol alone. Here it goes through the whole node: the
attempt ends, its secrets are gone, the log and the coordinator are told why, and the next honest attempt works.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from fedseal.rounds import RoundAddress
from fedseal.wire.limits import MASKING_MESSAGE_BYTES
from fedseal_crypto.masking import (
    ClientId,
    ClientState,
    Confirmation,
    Confirmations,
    Roster,
    ServerMessage,
    ShareBundle,
    ShareDelivery,
    Step,
    Survivors,
    Unmasking,
)
from fedseal_governance.participation import AttemptState
from tests.unit.node.attempts import Attempt, Coordinator, assert_counts, assert_ignored, assert_refused
from tests.unit.node.forging import (
    assert_attempt_is_over,
    delivery_of,
    entry_of,
    everybody_but,
    resigned,
    roster_of,
    survivors_of,
    with_entry,
)
from tests.unit.node.papers import ROWS, JobFile
from tests.unit.node.parties import NODES, Consortium
from tests.unit.node.site import Site

ZURICH, HUNGARY = ClientId("zurich"), ClientId("hungary")
LOW_ORDER = bytes(32)


# --- the list of keys ---------------------------------------------------------------------------------


def substituted_key(roster: Roster, _attempt: Attempt) -> Roster:
    return with_entry(roster, replace(entry_of(roster, ZURICH), mask_key=b"\x07" * 32))


def unsigned_entry(roster: Roster, _attempt: Attempt) -> Roster:
    return with_entry(roster, replace(entry_of(roster, ZURICH), signature=bytes(64)))


def colluders_low_order_key(roster: Roster, attempt: Attempt) -> Roster:
    return with_entry(roster, resigned(replace(entry_of(roster, ZURICH), mask_key=LOW_ORDER), attempt))


def one_key_twice(roster: Roster, attempt: Attempt) -> Roster:
    stolen = entry_of(roster, HUNGARY).mask_key
    return with_entry(roster, resigned(replace(entry_of(roster, ZURICH), mask_key=stolen), attempt))


def keys_of_another_attempt(roster: Roster, attempt: Attempt) -> Roster:
    elsewhere = attempt.coordinator.attempt(5)
    return with_entry(roster, elsewhere.others[ZURICH].advertise())


def keys_of_members_told_another_broadcast(roster: Roster, attempt: Attempt) -> Roster:
    elsewhere = attempt.coordinator.attempt(0, broadcast_digest="cd" * 32)
    for name in (ZURICH, HUNGARY):
        roster = with_entry(roster, elsewhere.others[name].advertise())
    return roster


def another_identity(roster: Roster, attempt: Attempt) -> Roster:
    mallory = attempt.coordinator.consortium.parties["hungary"]
    forged = replace(entry_of(roster, ZURICH), identity=bytes.fromhex(mallory.member.public.key_id))
    return with_entry(roster, replace(forged, signature=mallory.key.sign(forged.signed())))


def own_entry_changed(roster: Roster, attempt: Attempt) -> Roster:
    return with_entry(roster, replace(entry_of(roster, attempt.me), mask_key=b"\x07" * 32))


def own_entry_missing(roster: Roster, attempt: Attempt) -> Roster:
    return replace(roster, advertisements=tuple(a for a in roster.advertisements if a.client != attempt.me))


def too_few(roster: Roster, _attempt: Attempt) -> Roster:
    return replace(roster, advertisements=roster.advertisements[:3])


@pytest.mark.parametrize(
    ("forge", "code", "says"),
    [
        (substituted_key, "SignatureRefused", "zurich broke a rule in step advertise"),
        (unsigned_entry, "SignatureRefused", "zurich broke a rule"),
        (colluders_low_order_key, "KeyRefused", "low order"),
        (one_key_twice, "KeyRefused", "a key that hungary advertised too"),
        (keys_of_another_attempt, "ContextMismatch", "told different things"),
        (keys_of_members_told_another_broadcast, "ContextMismatch", "told different things"),
        (another_identity, "IdentityMismatch", "expected the certified identity"),
        (own_entry_changed, "SignatureRefused|OwnEntryChanged", "cleveland|own entry"),
        (own_entry_missing, "OwnEntryChanged", "own entry is missing or changed"),
        (too_few, "CohortTooSmall", "a roster of 3 members; expected at least 4"),
    ],
)
def test_a_list_of_keys_that_is_not_what_members_signed(
    coordinator: Coordinator, forge: Callable[[Roster, Attempt], Roster], code: str, says: str
) -> None:
    attempt = coordinator.attempt()
    forged = forge(roster_of(attempt), attempt)
    assert_refused(coordinator.site, lambda: attempt.instruct(forged), code=code, says=says)
    assert_attempt_is_over(attempt)


# --- shares -------------------------------------------------------------------------------------------


def tampered_share(delivery: ShareDelivery, _attempt: Attempt) -> ShareDelivery:
    first = delivery.shares[0]
    flipped = replace(first, sealed=first.sealed[:-1] + bytes([first.sealed[-1] ^ 1]))
    return replace(delivery, shares=(flipped, *delivery.shares[1:]))


def swapped_shares(delivery: ShareDelivery, _attempt: Attempt) -> ShareDelivery:
    one, other, *rest = delivery.shares
    return replace(delivery, shares=(replace(one, sealed=other.sealed), replace(other, sealed=one.sealed), *rest))


def somebody_elses_shares(_delivery: ShareDelivery, attempt: Attempt) -> ShareDelivery:
    message = attempt.server.instruction_for(ZURICH)
    assert isinstance(message, ShareDelivery)
    return message


def too_few_shares(delivery: ShareDelivery, _attempt: Attempt) -> ShareDelivery:
    return replace(delivery, shares=delivery.shares[:2])


@pytest.mark.parametrize(
    ("forge", "code", "says"),
    [
        (tampered_share, "SharesRefused", "basel broke a rule"),
        (swapped_shares, "SharesRefused", "basel broke a rule"),
        (somebody_elses_shares, "SharesRefused", "shares for zurich"),
        (too_few_shares, "CohortTooSmall", "shares of 3 members"),
    ],
)
def test_shares_that_were_not_sealed_for_this_node(
    coordinator: Coordinator, forge: Callable[[ShareDelivery, Attempt], ShareDelivery], code: str, says: str
) -> None:
    attempt = coordinator.attempt()
    forged = forge(delivery_of(attempt), attempt)
    assert_refused(coordinator.site, lambda: attempt.instruct(forged), code=code, says=says)
    gave_up = dict.fromkeys(NODES, (attempt.context,))
    assert_counts(coordinator.attempt(1, abandoned=gave_up).finish(), ROWS)


# --- survivors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "code", "says"),
    [
        (everybody_but("basel", "zurich"), "CohortTooSmall", "3 survivors; expected at least 4"),
        (everybody_but("cleveland"), "SurvivorsRefused", "a list without this node"),
        ((), "SurvivorsRefused", "a list without this node"),
        (("cleveland",), "CohortTooSmall", "1 survivors; expected at least 4"),
    ],
)
def test_survivors_that_this_node_may_not_unmask(
    coordinator: Coordinator, listed: tuple[str, ...], code: str, says: str
) -> None:
    attempt = coordinator.attempt()
    attempt.reach(Step.CONFIRM)
    forged = survivors_of(attempt, *listed)
    assert_refused(coordinator.site, lambda: attempt.instruct(forged), code=code, says=says)
    assert_attempt_is_over(attempt)


def test_a_survivor_that_never_shared(coordinator: Coordinator) -> None:
    attempt = coordinator.attempt()
    attempt.reach(Step.CONFIRM, leaves={Step.SHARE: ("zurich",)})
    forged = survivors_of(attempt, *NODES)
    assert_refused(
        coordinator.site, lambda: attempt.instruct(forged), code="SurvivorsRefused", says="zurich as a survivor"
    )
    assert_attempt_is_over(attempt)


def test_a_member_on_both_lists_in_two_requests(coordinator: Coordinator) -> None:
    """First everybody survived, then zurich is gone: its two masks would both be open."""
    attempt = coordinator.attempt()
    first = attempt.reach(Step.CONFIRM)
    assert isinstance(first, Survivors)
    attempt.instruct(first)
    assert isinstance(coordinator.site.last_message(), Confirmation)
    second = survivors_of(attempt, *everybody_but("zurich"))
    assert_refused(
        coordinator.site,
        lambda: attempt.instruct(second),
        code="AlreadyAnswered",
        says="each step to be asked once in an attempt",
    )
    assert_attempt_is_over(attempt)


def test_a_second_request_after_the_unmasking(coordinator: Coordinator) -> None:
    """Shares of one kind are out; those of the other kind never follow, for whatever list."""
    attempt = coordinator.attempt()
    attempt.reach(Step.CONFIRM)
    other = survivors_of(attempt, *everybody_but("zurich"))
    attempt.reach(Step.DONE)
    assert isinstance(coordinator.site.last_message(), Unmasking)
    assert_refused(coordinator.site, lambda: attempt.instruct(other), code="AlreadyAnswered", says="state unmasked")
    [row] = coordinator.site.attempts(coordinator.job.digest)
    assert row.state is AttemptState.UNMASK_RELEASED


def test_members_that_were_shown_other_survivors(coordinator: Coordinator) -> None:
    """The server told two stories: the node keeps both signed messages as evidence and reveals nothing."""
    attempt = coordinator.attempt()
    attempt.reach(Step.CONFIRM)
    elsewhere = survivors_of(attempt, *everybody_but("basel"))
    zurich = attempt.others[ZURICH].confirm(elsewhere)
    attempt.play_step(gone=("zurich",))
    attempt.server.close_step()
    honest = attempt.server.instruction_for(attempt.me)
    assert isinstance(honest, Confirmations)
    forged = replace(honest, confirmations=(*(c for c in honest.confirmations if c.client != "long-beach"), zurich))
    assert_refused(
        coordinator.site,
        lambda: attempt.instruct(forged),
        code="EquivocationDetected",
        says=r"zurich signed the survivors \[cleveland, hungary, long-beach, zurich\]",
    )
    evidence = coordinator.site.audit("round.refused")[-1].details["conflicting"]
    assert isinstance(evidence, list)
    assert zurich.encode().hex() in ["".join(lines) for lines in evidence]
    assert_attempt_is_over(attempt)


def test_too_few_confirmations(coordinator: Coordinator) -> None:
    attempt = coordinator.attempt()
    honest = attempt.reach(Step.UNMASK)
    assert isinstance(honest, Confirmations)
    few = replace(honest, confirmations=honest.confirmations[:2])
    assert_refused(
        coordinator.site, lambda: attempt.instruct(few), code="CohortTooSmall", says="confirmations of survivors"
    )
    assert_attempt_is_over(attempt)


# --- order --------------------------------------------------------------------------------------------


def test_the_same_question_gets_the_same_answer(coordinator: Coordinator) -> None:
    """A lost connection makes a coordinator ask again; nothing new leaves, and nothing is done twice."""
    attempt, site = coordinator.attempt(), coordinator.site
    for step in (Step.ADVERTISE, Step.SHARE, Step.MASK, Step.CONFIRM, Step.UNMASK):
        attempt.reach(step)
        attempt.play_own_step()
        reports, vectors = site.mark()
        entries = len(site.audit())
        instruction = attempt.server.instruction_for(attempt.me)
        if instruction is None:
            attempt.begin()
        else:
            attempt.instruct(instruction)
        if step is Step.MASK:
            assert site.outbox.vectors[vectors:] == [site.outbox.vectors[vectors - 1]]
        else:
            assert site.outbox.reports[reports:] == [site.outbox.reports[reports - 1]]
        assert len(site.audit()) == entries
        attempt.play_step()
        attempt.server.close_step()
    assert attempt.server.step is Step.DONE


def skip_to(attempt: Attempt, step: Step) -> ServerMessage:
    """An instruction from another course of the same kind of round, which is already at ``step``."""
    message = attempt.reach(step)
    assert message is not None
    return message


@pytest.mark.parametrize("reached", [Step.SHARE, Step.MASK])
def test_an_unmasking_is_asked_for_before_the_input(
    coordinator: Coordinator, consortium: Consortium, reached: Step
) -> None:
    attempt = coordinator.attempt()
    attempt.reach(reached)
    nobody = Confirmations(context=bytes(32), confirmations=())
    assert_refused(
        coordinator.site, lambda: attempt.instruct(nobody), code="CallOutOfOrder", says="step unmask is not possible"
    )
    assert_attempt_is_over(attempt)


def test_survivors_before_the_input(coordinator: Coordinator) -> None:
    attempt = coordinator.attempt()
    attempt.reach(Step.MASK)
    early = Survivors(context=bytes(32), survivors=b"\x1f")
    assert_refused(
        coordinator.site, lambda: attempt.instruct(early), code="CallOutOfOrder", says="step confirm is not possible"
    )
    assert_attempt_is_over(attempt)


def test_requests_after_the_round(coordinator: Coordinator) -> None:
    attempt = coordinator.attempt()
    honest = attempt.reach(Step.UNMASK)
    assert honest is not None
    attempt.end(completed=False)
    assert_ignored(coordinator.site, lambda: attempt.instruct(honest))
    assert_ignored(coordinator.site, lambda: attempt.end(completed=True, survivors=NODES))
    [row] = coordinator.site.attempts(coordinator.job.digest)
    assert row.state is AttemptState.ABANDONED


def test_requests_for_another_attempt_or_round(coordinator: Coordinator) -> None:
    attempt = coordinator.attempt()
    honest = attempt.reach(Step.UNMASK)
    assert honest is not None
    here = attempt.address
    for address in (
        replace(here, attempt=1),
        replace(here, round=1),
        replace(here, stage="training"),
        RoundAddress(attempt.coordinator.job.digest[::-1], here.stage, here.round, here.attempt),  # type: ignore[arg-type]
    ):
        assert_ignored(coordinator.site, lambda address=address: attempt.instruct(honest, address))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    attempt.finish()


def test_a_message_of_another_attempt_under_this_ones_address(coordinator: Coordinator, site: Site) -> None:
    first = coordinator.attempt()
    recorded = first.reach(Step.SHARE)
    assert recorded is not None
    first.end(completed=False)
    second = coordinator.attempt(1)
    second.reach(Step.SHARE)
    assert_refused(site, lambda: second.instruct(recorded), code="ContextMismatch", says="expected context")


def test_messages_that_are_not_for_a_node(coordinator: Coordinator) -> None:
    attempt = coordinator.attempt()
    attempt.reach(Step.SHARE)
    bundle = attempt.others[ZURICH].share(attempt.server.instruction_for(ZURICH))  # type: ignore[arg-type]
    assert isinstance(bundle, ShareBundle)
    assert_refused(
        coordinator.site,
        lambda: attempt.instruct(bundle.encode()),
        code="PeerFault",
        says="a ShareBundle is not a message for a node",
    )
    assert_attempt_is_over(attempt)


def test_a_masking_message_beyond_every_limit(coordinator: Coordinator) -> None:
    attempt = coordinator.attempt()
    attempt.reach(Step.SHARE)
    assert_refused(
        coordinator.site,
        lambda: attempt.instruct(bytes(MASKING_MESSAGE_BYTES + 1)),
        code="PeerFault",
        says="larger than any can be",
    )
    assert_attempt_is_over(attempt)


def test_the_secrets_of_an_attempt_end_with_it(coordinator: Coordinator) -> None:
    """After a refusal the agent holds no protocol object; the one it held has forgotten its keys."""
    attempt = coordinator.attempt()
    attempt.reach(Step.MASK)
    current = coordinator.site.agent._current
    assert current is not None
    attempt.instruct(b"nonsense")
    assert coordinator.site.agent._current is None
    assert current.opened.client.state is ClientState.ABANDONED
    assert current.opened.client._memory is None


def test_a_new_attempt_ends_the_one_before(coordinator: Coordinator, consortium: Consortium) -> None:
    """Also one of another job: a node is in one attempt at a time."""
    second = Coordinator(coordinator.site, JobFile(name="second", seed=2).signed(consortium))
    assert second.offer().accepted
    first = coordinator.attempt()
    honest = first.reach(Step.MASK)
    assert honest is not None
    second.attempt().begin()
    assert_ignored(coordinator.site, lambda: first.instruct(honest))
