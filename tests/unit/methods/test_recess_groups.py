"""``recess-groups``: turns, probes that the coordinator forms, and groups that are left out."""

from typing import Any

import numpy as np
import pytest

from fedseal.errors import PeerFault
from fedseal.learning import use_deterministic_torch
from fedseal.learning.tensors import flatten, group_of
from fedseal.methods import CohortSum
from fedseal.methods.contract import Plan
from fedseal.methods.errors import MethodUnsuitable
from fedseal.methods.recess_groups import CHANGES, RecessGroups, RecessGroupsSettings
from fedseal.methods.trust import Trust
from fedseal.simulation.engine import Simulation, State
from fedseal.simulation.setting import Setting, make_setting
from tests.unit.simulation.attackers import experiment, source

MLP = {"name": "tabular-mlp", "settings": {"hidden_width": 8, "classes": 3, "learning_rate": 0.05, "batch_size": 8}}
MEMBERS = ["node-00 node-03 node-06", "node-01 node-04 node-07", "node-02 node-05 node-08"]
GROUPS = len(MEMBERS)


def setting(
    attack: dict[str, Any] | None = None,
    *,
    turns: int = 6,
    nodes: int = 9,
    protection: str = "none",
    **settings: object,
) -> Setting:
    chosen = experiment(
        attack,
        {"name": "recess-groups", "rounds": turns * GROUPS, "settings": {"norm_factor": 0.0, **settings}},
        partition={"kind": "dirichlet", "alpha": 0.5, "nodes": 9},
        learner=MLP,
        protection=protection,
        measures={"every": 100},
    )
    return make_setting(chosen, source(240), 1)


def states(chosen: Setting) -> list[State]:
    use_deterministic_torch()
    return [result.state for result in Simulation(setting=chosen).rounds()]


def trust_of(state: State) -> Trust:
    return Trust.of(group_of("trust", state.coordinator))


def test_a_group_that_an_attacker_outweighs_is_left_out() -> None:
    attack = {"name": "reverse", "nodes": 1, "settings": {"factor": 9.0}}
    trust = trust_of(states(setting(attack, turns=8, members=MEMBERS, decrease=2.0, unit_norm=0.0))[-1])
    assert trust.alive.tolist() == [False, True, True]
    cosines = trust.consistency / trust.answers
    assert cosines[0] < -0.7
    assert cosines[1:].min() > 0.3


def test_honest_groups_stay_and_the_model_learns() -> None:
    after = states(setting(members=MEMBERS))
    trust = trust_of(after[-1])
    assert trust.probes.tolist() == [2.0], "turns 2 and 4; the last turn never probes"
    assert trust.score.tolist() == [1.0] * GROUPS
    losses = [state.coordinator["report"][0] for state in after]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


def test_the_model_moves_when_a_turn_and_its_probe_are_over() -> None:
    models = [flatten(group_of("model", state.coordinator)) for state in states(setting(members=MEMBERS, turns=4))]
    moves = [number for number in range(1, len(models)) if (models[number] != models[number - 1]).any()]
    assert moves == [5, 8, 11], "turn 1 with its probe ends with round 6, counted from 1; then turn by turn"


def test_a_group_starts_a_step_along_its_own_mean_change() -> None:
    chosen = setting(members=MEMBERS, probe_scale=0.5)
    method, plan = RecessGroups(RecessGroupsSettings(members=tuple(MEMBERS), probe_scale=0.5)), chosen.plan
    after = states(chosen)[2].coordinator
    model = flatten(group_of("model", after))
    for group in range(GROUPS):
        sent = flatten(method.broadcast(plan.for_round(GROUPS + group), after))
        np.testing.assert_allclose(sent, model + 0.5 * after[CHANGES][group], atol=1e-6)
    np.testing.assert_allclose(flatten(method.broadcast(plan.for_round(2 * GROUPS), after)), model, atol=1e-7)


def test_nothing_goes_on_when_nobody_is_trusted() -> None:
    plan: Plan = setting(members=MEMBERS).plan
    method = RecessGroups(RecessGroupsSettings(members=tuple(MEMBERS)))
    gone = {f"trust/{name}": value for name, value in Trust.at_first(GROUPS, -1.0).tensors().items()}
    state = {**method.initial_state(plan), **gone, "heard": np.ones(GROUPS)}
    last = plan.for_round(2 * GROUPS - 1)
    values = {spec.name: np.zeros(spec.length) for spec in method.vectors(last)}
    with pytest.raises(PeerFault, match="No group is trusted"):
        method.aggregate(last, state, CohortSum(values={**values, "weight": np.array([3.0])}, cohort=3))


def test_groups_are_drawn_from_the_job_alike_and_large_enough() -> None:
    job = setting().job
    drawn = RecessGroups().groups(job)
    assert drawn == RecessGroups().groups(job)
    assert sorted(len(group) for group in drawn) == [3, 3, 3]
    assert set().union(*drawn) == set(job.nodes)
    assert len(RecessGroups(RecessGroupsSettings(group_size=4)).groups(job)) == 2
    others = [RecessGroups().groups(job.model_copy(update={"seed": seed})) for seed in range(5)]
    assert len({frozenset(groups) for groups in others}) > 1
    with pytest.raises(MethodUnsuitable, match="empty line"):
        RecessGroups(RecessGroupsSettings(members=("node-00", " "))).groups(job)


def test_masked_groups_give_the_same_answers() -> None:
    """Three masked sums of three nodes each, three turns."""
    plain, masked = (
        trust_of(states(setting(members=MEMBERS, turns=3, protection=protection))[-1])
        for protection in ("none", "masking")
    )
    assert masked.probes.tolist() == [1.0]
    np.testing.assert_allclose(masked.consistency, plain.consistency, atol=1e-3)
