"""Choosing a method: every installed one declares facts, and answers follow from these alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedseal.methods import Method, Need, Situation, Suitability, choose, method_names, training_methods
from fedseal.methods.choosing import declared
from fedseal.methods.fedavg import FedAvg
from fedseal_governance.vocabulary import Disclosure

SITUATIONS = st.builds(
    Situation, coordinator_may_learn=st.sampled_from(list(Disclosure)), needs=st.frozensets(st.sampled_from(list(Need)))
)


def names(*needs: Need, level: Disclosure = Disclosure.SUM) -> list[str]:
    return [item.method.name for item in choose(Situation(coordinator_may_learn=level, needs=frozenset(needs))).fitting]


def test_every_installed_training_method_declares_when_to_use_it() -> None:
    assert {method.name for method in training_methods()} == set(method_names()) - {"statistics", "evaluation"}
    assert [method.name for method in training_methods() if declared(method) is None] == []


def test_averaging_comes_first_where_nothing_is_asked() -> None:
    assert names()[0] == "fedavg"


@given(SITUATIONS)
def test_what_fits_meets_all_and_discloses_no_more_than_allowed(situation: Situation) -> None:
    choice = choose(situation)
    for item in choice.fitting:
        assert item.level <= situation.coordinator_may_learn
        assert not item.open
        assert set(item.met) == situation.needs <= set(item.suits.meets)
    for item in choice.nearest:
        assert not choice.fitting
        assert item.level <= situation.coordinator_may_learn
        assert item.open
        assert item.met
        assert Need.DIFFERENT_MODELS not in item.open, "it could not run at all"
    for item in choice.disclose_more:
        assert item.level > situation.coordinator_may_learn
        assert all(len(item.met) > len(near.met) for near in choice.nearest)


@given(SITUATIONS)
def test_nothing_that_fits_is_left_out(situation: Situation) -> None:
    fitting = {item.method.name for item in choose(situation).fitting}
    for method in training_methods():
        facts = declared(method)
        assert facts is not None
        fits = method.statement.level <= situation.coordinator_may_learn and situation.needs <= set(facts.meets)
        assert (method.name in fitting) is fits


def test_known_answers() -> None:
    assert {"fedprox", "scaffold", "ditto", "fedper"} <= set(names(Need.DIFFERENT_DATA))
    assert "lockdown" in names(Need.UNTRUSTED_NODES)
    assert "lockdown" not in names(Need.SCARCE_BANDWIDTH)
    assert {"evofed", "fedavg-quantised"} <= set(names(Need.SCARCE_BANDWIDTH))
    assert "fedavg-topk" not in names(Need.SCARCE_BANDWIDTH)
    assert "fedavg-topk" in names(Need.SCARCE_BANDWIDTH, level=Disclosure.INDIVIDUAL)


class Foreign(FedAvg):
    """A method of another package."""

    name = "foreign"
    suits = Suitability(
        purpose="Does everything.", meets=dict.fromkeys(Need, "It says so."), cost="More than anyone has."
    )


class Silent(FedAvg):
    """A method that declares nothing."""

    name = "silent"
    suits = None  # type: ignore[assignment]  # what a method of an earlier release looks like


def test_a_new_method_takes_part_by_its_own_facts() -> None:
    methods: list[type[Method]] = [*training_methods(), Foreign, Silent]
    everything = Situation(coordinator_may_learn=Disclosure.SUM, needs=frozenset(Need))
    assert "foreign" in {item.method.name for item in choose(everything, methods).fitting}
    choice = choose(everything, methods)
    assert choice.undeclared == ("silent",)
    found = next(item for item in choice.fitting if item.method.name == "foreign")
    assert found.reasons == ("Does everything.", *["It says so."] * len(Need))


def test_nearest_methods_take_turns_by_what_they_meet() -> None:
    methods: list[type[Method]] = [method for method in training_methods() if method.name in ONE_NEED_EACH]
    both = frozenset({Need.UNTRUSTED_NODES, Need.DIFFERENT_DATA})
    choice = choose(Situation(coordinator_may_learn=Disclosure.SUM, needs=both), methods)
    assert not choice.fitting
    assert {item.met for item in choice.nearest[:2]} == {(Need.UNTRUSTED_NODES,), (Need.DIFFERENT_DATA,)}


ONE_NEED_EACH = ("ditto", "feddyn", "fedprox", "lockdown", "scaffold")


@pytest.mark.parametrize("text", ["", "no full stop"])
def test_a_fact_that_is_no_sentence_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="full stop"):
        Suitability(purpose=text, cost="Little.")
