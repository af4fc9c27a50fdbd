"""A coordinator that tells two real nodes different stories, and what each of them writes into its log.

Five members, threshold four, one of them colludes with the coordinator (`basel`); `cleveland` and `zurich` are real
nodes with databases and logs of their own; `hungary` and `long-beach` are honest too.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from fedseal_crypto.encoding import RingVector
from fedseal_crypto.masking import (
    Advertisement,
    AlreadyAnswered,
    ClientId,
    Confirmation,
    Confirmations,
    LateMessage,
    MaskedInput,
    MaskedInputHeader,
    Roster,
    ServerMessage,
    Step,
    Survivors,
    Unmasking,
    decode_message,
)
from fedseal_governance.participation import AttemptState
from tests.unit.node.attempts import Attempt, Coordinator, assert_counts, assert_ignored, assert_refused
from tests.unit.node.cohort import Cohort
from tests.unit.node.forging import everybody_but, survivors_of, with_entry
from tests.unit.node.papers import ROWS, JobFile
from tests.unit.node.parties import NODES, Consortium
from tests.unit.node.site import Site, SiteMaker

CLEVELAND, ZURICH, BASEL = ClientId("cleveland"), ClientId("zurich"), ClientId("basel")
HUNGARY, LONG_BEACH = ClientId("hungary"), ClientId("long-beach")


@pytest.fixture
def both(sites: SiteMaker, site: Site, consortium: Consortium) -> tuple[Coordinator, Coordinator]:
    """The same job, accepted by two real nodes."""
    other = sites.fresh("zurich")
    other.welcome()
    signed = JobFile().signed(consortium)
    pair = Coordinator(site, signed), Coordinator(other, signed)
    assert all(item.offer().accepted for item in pair)
    return pair


@pytest.fixture
def cohort(both: tuple[Coordinator, Coordinator]) -> Cohort:
    cleveland, zurich = both
    return Cohort({CLEVELAND: cleveland.attempt(), ZURICH: zurich.attempt()})


def refuse_both(cohort: Cohort, messages: Mapping[ClientId, ServerMessage], *, code: str, says: str) -> None:
    """Each real node refuses what it is shown, and its log says why."""
    for name, attempt in cohort.real.items():
        message = messages[name]
        assert_refused(attempt.site, lambda a=attempt, m=message: a.instruct(m), code=code, says=says)  # type: ignore[misc]  # mypy cannot infer a lambda with defaults


def test_two_real_nodes_that_are_told_the_same_make_a_sum(cohort: Cohort) -> None:
    """The harness itself: an honest coordinator gets the sum of both."""
    cohort.reach(Step.DONE)
    values = cohort.first.opened.layout.decode(cohort.server.result.words, count=5)
    assert_counts(values, 2 * ROWS)


@pytest.mark.parametrize(
    "story",
    [
        {"threshold": 5},
        {"minimum_cohort": 4},
        {"corrupted": 2},
        {"roster": everybody_but("basel")},
    ],
    ids=lambda story: next(iter(story)),
)
def test_each_is_told_other_parameters(both: tuple[Coordinator, Coordinator], story: dict[str, Any]) -> None:
    """Both enter: each set is strong enough. The keys show it before anything is masked, in both logs."""
    cleveland, zurich = both[0].attempt(), both[1].attempt(**story)
    first, second = advertised(cleveland), advertised(zurich)
    for attempt, stranger in ((cleveland, second), (zurich, first)):
        for client in attempt.others.values():
            attempt.server.receive(client.advertise())
        attempt.server.receive(attempt.site.last_message())
        attempt.server.close_step()
        roster = attempt.server.instruction_for(attempt.me)
        assert isinstance(roster, Roster)
        forged = with_entry(roster, stranger)
        assert_refused(
            attempt.site,
            lambda a=attempt, f=forged: a.instruct(f),  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
            code="ContextMismatch",
            says=f"{stranger.client} broke a rule in step advertise.*told different things",
        )


def advertised(attempt: Attempt) -> Advertisement:
    """What a real node says first."""
    attempt.begin()
    message = attempt.site.last_message()
    assert isinstance(message, Advertisement)
    return message


def confirmed(cohort: Cohort, name: ClientId, survivors: Survivors) -> Confirmation:
    message = cohort.ask(name, survivors)
    assert isinstance(message, Confirmation)
    return message


def together(confirmations: Iterable[Confirmation]) -> Confirmations:
    """What a coordinator forwards."""
    ordered = tuple(sorted(confirmations, key=lambda item: item.client))
    return Confirmations(context=ordered[0].context, confirmations=ordered)


def test_each_is_told_that_the_other_left(cohort: Cohort) -> None:
    """Overlapping lists: cleveland would open zurich's pair masks, zurich cleveland's, everybody all self-masks.

    The colluder signs both lists, the other honest members one each: neither list gets a threshold of signatures.
    """
    cohort.reach(Step.CONFIRM)
    lists = {
        CLEVELAND: survivors_of(cohort.first, *everybody_but("zurich")),
        ZURICH: survivors_of(cohort.first, *everybody_but("cleveland")),
    }
    allies = {CLEVELAND: HUNGARY, ZURICH: LONG_BEACH}
    key = cohort.first.coordinator.consortium.parties["basel"].key
    shown: dict[ClientId, ServerMessage] = {}
    for name, survivors in lists.items():
        own, ally = confirmed(cohort, name, survivors), confirmed(cohort, allies[name], survivors)
        unsigned = replace(own, client=BASEL)
        shown[name] = together([own, ally, replace(unsigned, signature=key.sign(unsigned.signed()))])
    refuse_both(cohort, shown, code="CohortTooSmall", says="3 confirmations of survivors; expected at least.*4")
    cohort.assert_nothing_was_released()


def test_each_is_shown_the_others_signature_under_another_list(cohort: Cohort) -> None:
    """The consistency round: the contradicting message and its signer stand in both nodes' logs, as evidence."""
    cohort.reach(Step.CONFIRM)
    lists = {
        CLEVELAND: survivors_of(cohort.first, *everybody_but("basel")),
        ZURICH: survivors_of(cohort.first, *everybody_but("hungary")),
    }
    signed = {name: confirmed(cohort, name, survivors) for name, survivors in lists.items()}
    everything = together(signed.values())
    for name, other in ((CLEVELAND, ZURICH), (ZURICH, CLEVELAND)):
        attempt = cohort.real[name]
        assert_refused(
            attempt.site,
            lambda a=attempt: a.instruct(everything),  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            code="EquivocationDetected",
            says=rf"that {other} signed the survivors \[.*\] and {name} \[",
        )
        evidence = attempt.site.audit("round.refused")[-1].details["conflicting"]
        assert isinstance(evidence, list)
        shown = ["".join(lines) for lines in evidence]
        assert shown == [signed[name].encode().hex(), signed[other].encode().hex()]
    cohort.assert_nothing_was_released()


# --- both lists in one request ------------------------------------------------------------------------


def test_one_request_cannot_put_a_member_on_both_lists(cohort: Cohort) -> None:
    """A list of survivors has one bit a member; all that is left is a bit too many, or a byte."""
    cohort.reach(Step.CONFIRM)
    honest = cohort.server.instruction_for(CLEVELAND)
    assert isinstance(honest, Survivors)
    attempt = cohort.real[CLEVELAND]
    beyond = replace(honest, survivors=bytes([honest.survivors[0] | 1 << len(NODES)]))
    assert_refused(attempt.site, lambda: attempt.instruct(beyond), code=".*", says="bit|member|survivor")
    longer = replace(honest, survivors=honest.survivors + b"\x1f")
    attempt = cohort.real[ZURICH]
    assert_refused(attempt.site, lambda: attempt.instruct(longer), code=".*", says="bit|byte|survivor|malformed|length")


def test_an_answer_holds_one_kind_of_share_for_each_owner(both: tuple[Coordinator, Coordinator]) -> None:
    """What a real node releases, taken apart: no owner appears on both sides."""
    attempt = both[0].attempt()
    attempt.reach(Step.UNMASK, leaves={Step.MASK: ("basel",)})
    attempt.play_own_step()
    released = attempt.site.last_message()
    assert isinstance(released, Unmasking)
    owners = [{share.owner for share in kind} for kind in (released.self_mask, released.pairwise)]
    assert owners[0] & owners[1] == set()
    names = [{attempt.parameters.roster[index] for index in side} for side in owners]
    assert names == [set(everybody_but("basel")), {"basel"}]


# --- late, repeated, afterwards -----------------------------------------------------------------------


def test_late_input_after_its_masks_were_recovered(both: tuple[Coordinator, Coordinator]) -> None:
    """The coordinator holds cleveland's vector, says that it never came, and lets the others open its pair masks.

    What still hides the vector is cleveland's own mask. Its shares leave nobody: the others answered once, and
    cleveland sees that they signed a list without it.
    """
    attempt = both[0].attempt()
    delivery = attempt.reach(Step.MASK)
    assert delivery is not None
    attempt.instruct(delivery)
    vector = vector_of(attempt.site)
    others_answer(attempt)
    without = attempt.server.instruction_for(HUNGARY)
    assert isinstance(without, Survivors)
    others_answer(attempt)
    confirmations = attempt.server.instruction_for(HUNGARY)
    assert confirmations is not None
    others_answer(attempt)
    assert attempt.server.result.dropped == (CLEVELAND,)
    assert_counts(attempt.opened.layout.decode(attempt.server.result.words, count=4), 0)
    with_me = replace(without, survivors=b"\x1f")
    attempt.instruct(with_me)
    assert isinstance(attempt.site.last_message(), Confirmation)
    assert_refused(
        attempt.site,
        lambda: attempt.instruct(confirmations),
        code="EquivocationDetected",
        says="basel signed the survivors",
    )
    for client in attempt.others.values():
        with pytest.raises(AlreadyAnswered, match="each step to be asked once"):
            client.confirm(with_me)
    # An honest coordinator does not take the vector afterwards either.
    with pytest.raises(LateMessage):
        attempt.server.receive(vector)


def others_answer(attempt: Attempt) -> None:
    """Everybody but the real node answers the current step."""
    for name, client in attempt.others.items():
        instruction = attempt.server.instruction_for(name)
        assert instruction is not None
        attempt.server.receive(client.answer(instruction, attempt.nothing()))
    attempt.server.close_step()


def vector_of(site: Site) -> MaskedInput:
    """The newest masked vector that left a node."""
    header, data = site.outbox.vectors[-1]
    message = decode_message(header.message)
    assert isinstance(message, MaskedInputHeader)
    current = site.agent._current
    assert current is not None
    return message.with_words(RingVector.from_bytes(current.opened.offer.parameters, data))


def test_an_unmasking_is_asked_for_after_the_job(coordinator: Coordinator) -> None:
    attempt = coordinator.attempt()
    honest = attempt.reach(Step.UNMASK)
    assert honest is not None
    coordinator.end("stopped", "test")
    assert_ignored(coordinator.site, lambda: attempt.instruct(honest))
    assert coordinator.site.audit("round.unmasked") == []
    again = coordinator.attempt(1)
    assert_refused(coordinator.site, again.begin, code="RefusalError", says="or the job has ended")


def test_an_unmasking_is_asked_for_twice(coordinator: Coordinator) -> None:
    """Once asked, the same bytes come back and nothing else; with other confirmations nothing comes back."""
    attempt, site = coordinator.attempt(), coordinator.site
    honest = attempt.reach(Step.UNMASK)
    assert isinstance(honest, Confirmations)
    attempt.instruct(honest)
    first = site.last_message()
    attempt.instruct(honest)
    assert site.last_message() == first
    fewer = replace(honest, confirmations=honest.confirmations[1:])
    assert_refused(site, lambda: attempt.instruct(fewer), code="AlreadyAnswered", says="state unmasked")
    [row] = site.attempts(coordinator.job.digest)
    assert row.state is AttemptState.UNMASK_RELEASED
