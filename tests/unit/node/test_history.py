"""Sums whose difference would show what a few members contributed: the node refuses, as far back as its policy says.

The coordinator is hostile: it repeats a model in a later round, or asks the same cohort less one for another job.
"""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from fedseal_crypto.masking import Confirmation, Step, Survivors
from fedseal_governance.history import SumRow
from fedseal_governance.participation import AttemptState
from tests.unit.node.attempts import Attempt, Coordinator, assert_refused
from tests.unit.node.papers import JobFile
from tests.unit.node.parties import NODES, Consortium
from tests.unit.node.site import Site, SiteMaker

OTHERS = tuple(name for name in NODES if name != "cleveland")
ALL_BUT_ZURICH = tuple(name for name in NODES if name != "zurich")
MODEL: Mapping[str, str] = {}


def with_scope(scope: str, minimum: int | None = None) -> Mapping[str, str]:
    least = "" if minimum is None else f", minimum_difference: {minimum}"
    return {"minimum_cohort: 3}": f"minimum_cohort: 3, history: {{scope: {scope}{least}}}}}"}


def job_at(site: Site, consortium: Consortium, **kind: object) -> Coordinator:
    coordinator = Coordinator(site, JobFile(**kind).signed(consortium))  # type: ignore[arg-type]  # fields by name
    assert coordinator.offer().accepted
    return coordinator


def training(site: Site, consortium: Consortium) -> Coordinator:
    """A job after its statistics, before two rounds of training."""
    coordinator = job_at(site, consortium, training_rounds=2)
    complete(coordinator)
    return coordinator


def complete(coordinator: Coordinator) -> Attempt:
    attempt = coordinator.attempt()
    attempt.finish()
    coordinator.run.absorb(attempt.server.result, attempt.opened.layout)
    return attempt


def the_model_again(coordinator: Coordinator, number: int = 1) -> None:
    """The coordinator goes on to the next round without changing the model."""
    coordinator.run.progress = replace(coordinator.run.progress, round=number)


def survivors_without(attempt: Attempt, *gone: str) -> Survivors:
    message = attempt.reach(Step.CONFIRM, leaves={Step.MASK: gone})
    assert isinstance(message, Survivors)
    return message


@pytest.mark.parametrize("restarted", [False, True])
def test_the_same_model_over_all_but_one(site: Site, consortium: Consortium, restarted: bool) -> None:
    coordinator = training(site, consortium)
    coordinator.attempt().finish()
    the_model_again(coordinator)
    if restarted:
        site.restart()
    second = coordinator.attempt()
    survivors = survivors_without(second, "zurich")
    assert_refused(
        site,
        lambda: second.instruct(survivors),
        code="HistoryRefused",
        says="differ from an earlier sum's by zurich only; expected the same ones, or at least 3 different members",
    )


def test_a_sum_that_was_confirmed_counts_even_if_the_coordinator_says_that_it_failed(
    site: Site, consortium: Consortium
) -> None:
    """The node has signed a list of survivors: whether others opened the sum, it cannot know."""
    coordinator = training(site, consortium)
    first = coordinator.attempt()
    first.reach(Step.UNMASK)
    first.end(completed=False)
    the_model_again(coordinator)
    second = coordinator.attempt()
    survivors = survivors_without(second, "zurich")
    assert_refused(site, lambda: second.instruct(survivors), code="HistoryRefused", says="by zurich only")


def test_a_roster_that_can_only_isolate_is_refused_before_anybody_works(site: Site, consortium: Consortium) -> None:
    coordinator = training(site, consortium)
    coordinator.attempt().finish()
    the_model_again(coordinator)
    second = coordinator.attempt(roster=ALL_BUT_ZURICH)
    assert_refused(
        site,
        second.begin,
        code="RefusalError",
        says=r"differ by zurich only.*at least 3 different ones \(`protection.history`, scope model\)",
    )


def test_the_same_survivors_again_are_no_difference(site: Site, consortium: Consortium) -> None:
    coordinator = training(site, consortium)
    coordinator.attempt().finish()
    the_model_again(coordinator)
    coordinator.attempt().finish()


def test_another_model_is_another_sum(site: Site, consortium: Consortium) -> None:
    """In scope `model`, losing a member from one round to the next is ordinary."""
    coordinator = training(site, consortium)
    complete(coordinator)
    coordinator.attempt().finish(leaves={Step.MASK: ("zurich",)})


@pytest.mark.parametrize(("gone", "refused"), [(("zurich",), True), ((), False)])
def test_in_scope_job_every_round_counts(
    sites: SiteMaker, consortium: Consortium, gone: tuple[str, ...], refused: bool
) -> None:
    """Numbers that stay the same from round to round, such as rows, are safe from subtraction too."""
    site = sites.fresh(policy=with_scope("job"))
    site.welcome()
    coordinator = training(site, consortium)
    complete(coordinator)
    second = coordinator.attempt()
    survivors = survivors_without(second, *gone)
    if refused:
        assert_refused(site, lambda: second.instruct(survivors), code="HistoryRefused", says="by zurich only")
    else:
        second.instruct(survivors)
        assert isinstance(site.last_message(), Confirmation)


@pytest.mark.parametrize(("scope", "refused"), [("model", False), ("job", False), ("dataset", True)])
def test_two_jobs_over_nearly_the_same_nodes(
    sites: SiteMaker, consortium: Consortium, scope: str, refused: bool
) -> None:
    """Two statistics jobs, one without zurich: their difference is zurich's statistics."""
    site = sites.fresh(policy=with_scope(scope))
    site.welcome()
    job_at(site, consortium, name="with").attempt().finish()
    second = job_at(site, consortium, name="without", seed=2, nodes=ALL_BUT_ZURICH).attempt(roster=ALL_BUT_ZURICH)
    if refused:
        assert_refused(site, second.begin, code="RefusalError", says="zurich only.*scope dataset")
    else:
        second.finish()


@pytest.mark.parametrize(("minimum", "refused"), [(None, False), (4, False), (5, True)])
def test_the_minimum_difference_is_the_policys(
    sites: SiteMaker, consortium: Consortium, minimum: int | None, refused: bool
) -> None:
    """Two members leave and two come: four are in one of the sums only."""
    seven = (*NODES, "utrecht", "vienna")
    enrol(consortium, seven[5:])
    site = sites.fresh(policy=with_scope("job", minimum))
    site.welcome()
    coordinator = job_at(site, consortium, training_rounds=1, nodes=seven)
    first = coordinator.attempt(roster=NODES)
    first.finish()
    coordinator.run.absorb(first.server.result, first.opened.layout)
    second = coordinator.attempt(roster=(*NODES[:3], *seven[5:]))
    if refused:
        assert_refused(site, second.begin, code="RefusalError", says="or at least 5 different ones")
    else:
        second.reach(Step.UNMASK)
        assert isinstance(site.last_message(), Confirmation)


@pytest.mark.parametrize("minimum", [2, None])
def test_a_difference_that_is_colluders_but_for_one(
    sites: SiteMaker, consortium: Consortium, minimum: int | None
) -> None:
    """Of ten members two may collude; when both leave together with zurich, they can take their own part away."""
    ten = tuple(sorted((*NODES, "oslo", "porto", "riga", "utrecht", "vienna")))
    enrol(consortium, tuple(name for name in ten if name not in NODES))
    site = sites.fresh(policy=with_scope("job", minimum))
    site.welcome()
    coordinator = job_at(site, consortium, training_rounds=1, nodes=ten)
    first = coordinator.attempt(roster=ten)
    first.finish()
    coordinator.run.absorb(first.server.result, first.opened.layout)
    second = coordinator.attempt(roster=ten)
    survivors = survivors_without(second, "utrecht", "vienna", "zurich")
    assert_refused(
        site,
        lambda: second.instruct(survivors),
        code="HistoryRefused",
        says="utrecht, vienna, zurich only; expected the same ones, or at least 4 different members",
    )


def enrol(consortium: Consortium, names: tuple[str, ...]) -> None:
    from fedseal_crypto.identity import PartyKind

    for name in names:
        consortium.enrol(PartyKind.NODE, name)


def test_a_sum_that_a_second_process_confirms_meanwhile(
    site: Site, consortium: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between comparing and noting, another process on the same database has confirmed a sum that isolates zurich."""
    coordinator = training(site, consortium)
    coordinator.attempt().finish()
    the_model_again(coordinator)
    second = coordinator.attempt()
    survivors = survivors_without(second, "zurich")
    monkeypatch.setattr(site.agent._me.ledger.attempts, "earlier_sums", lambda *_args: ())
    assert_refused(site, lambda: second.instruct(survivors), code="RefusalError", says="is it running twice")


# --- dead attempts ------------------------------------------------------------------------------------


def test_an_attempt_that_is_proven_dead_is_compared_with_nothing(coordinator: Coordinator) -> None:
    """Its sum was never opened and never will be: the retry may lose a member."""
    first, site = coordinator.attempt(), coordinator.site
    first.reach(Step.UNMASK)
    assert isinstance(site.last_message(), Confirmation)
    first.end(completed=False)
    gave_up = dict.fromkeys(OTHERS, (first.context,))
    coordinator.attempt(1, abandoned=gave_up).finish(leaves={Step.MASK: ("zurich",)})
    states = [row.state for row in site.attempts(coordinator.job.digest)]
    assert states == [AttemptState.ABANDONED, AttemptState.COMPLETED]
    dead = site.database.read(lambda session: [row.dead for row in session.query(SumRow).order_by(SumRow.attempt)])
    assert dead == [True, False]


def test_declarations_of_others_than_the_old_attempts_members_prove_nothing(site: Site, consortium: Consortium) -> None:
    """Five members shared their secrets; strangers who join later and swear to stay silent held no share."""
    seven = (*NODES, "utrecht", "vienna")
    enrol(consortium, seven[5:])
    coordinator = job_at(site, consortium, nodes=seven)
    first = coordinator.attempt(roster=NODES)
    first.reach(Step.UNMASK)
    first.end(completed=False)
    liars = dict.fromkeys(("utrecht", "vienna"), (first.context,))
    second = coordinator.attempt(1, roster=seven, abandoned=liars)
    roster = second.reach(Step.SHARE)
    assert roster is not None
    assert_refused(
        site,
        lambda: second.instruct(roster),
        code="RefusalError",
        says=r"may still be opened \(1 of 5 members have given that attempt up\)",
    )


def test_nothing_is_proven_of_an_attempt_whose_members_were_not_noted(coordinator: Coordinator) -> None:
    """As a release before this one left it: even all declarations together do not count."""
    first, site = coordinator.attempt(), coordinator.site
    first.reach(Step.UNMASK)
    first.end(completed=False)
    site.database.run("test", lambda session: session.query(SumRow).delete())
    second = coordinator.attempt(1, abandoned=dict.fromkeys(OTHERS, (first.context,)))
    roster = second.reach(Step.SHARE)
    assert roster is not None
    assert_refused(site, lambda: second.instruct(roster), code="RefusalError", says="may still be opened")


def test_a_round_that_was_tried_too_often(coordinator: Coordinator) -> None:
    """A declaration names at most 64 attempts; the node never drops one of them to go on."""
    site = coordinator.site
    for number in range(64):
        coordinator.attempt(number).begin()
    last = coordinator.attempt(64)
    last.begin()
    refused = coordinator.attempt(65)
    assert_refused(
        site, refused.begin, code="RefusalError", says="given up 65 attempts at the round and can declare 64"
    )


@pytest.mark.parametrize("grouped", [True, False])
def test_a_groups_sum_keeps_its_distance_from_the_part_of_an_earlier_sum_in_the_group(
    sites: SiteMaker, consortium: Consortium, monkeypatch: pytest.MonkeyPatch, grouped: bool
) -> None:
    """The two sums differ by three; once the other group's sum is subtracted too, by one site."""
    site = sites.fresh(policy=with_scope("job"))
    site.welcome()
    coordinator = job_at(site, consortium, training_rounds=2)
    attempt = coordinator.attempt(roster=ALL_BUT_ZURICH)
    attempt.finish()
    coordinator.run.absorb(attempt.server.result, attempt.opened.layout)
    group = ("basel", "cleveland", "zurich")
    if grouped:
        monkeypatch.setattr("fedseal.node.opening.asked_nodes", lambda *_: frozenset(group))
    second = coordinator.attempt(roster=group)
    if grouped:
        assert_refused(site, second.begin, code="RefusalError", says="differ by zurich only.*at least 3 different ones")
    else:
        second.finish()
