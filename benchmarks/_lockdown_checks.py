"""What ``make bench-lockdown`` measures of a finished run, and what it promises."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from _lockdown_arms import ARMS, experiment

from fedseal.learning.tensors import NamedTensors
from fedseal.methods.lockdown import BALLOT, MASK, VOTES, Ballot, Lockdown
from fedseal.methods.masks import unpacked
from fedseal.simulation.engine import RoundResult, Simulation, State
from fedseal.simulation.experiment import Protection, load_experiment
from fedseal.simulation.measures import measure
from fedseal.simulation.runs import Runs
from fedseal.simulation.setting import Setting, make_setting
from fedseal.simulation.sources import load_source

SECURE_ROUNDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One run's end.

    Attributes:
        accuracy: On the test images.
        attack_success: Triggered test images of other classes that are taken for the target.
        backdoor_accuracy: Triggered test images that keep their label.
        unfused_accuracy: Of the model without the vote; for looking at.
        unfused_success: Likewise.
        kept_share: Of the parameters in the model; 1 for FedAvg.
        wrong_counts: Layers of nodes whose mask has another number of ones than is public.
    """

    accuracy: float
    attack_success: float
    backdoor_accuracy: float
    unfused_accuracy: float
    unfused_success: float
    kept_share: float
    wrong_counts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SecureRound:
    """A round that was added up in two ways from the same start.

    Attributes:
        round: From 1.
        protection: Of the second way.
        difference: Largest between two parameters.
        resolution: Of the encoding.
        same_votes: Whether all votes, and all nodes' masks, are the same.
    """

    round: int
    protection: str
    difference: float
    resolution: float
    same_votes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One promise."""

    what: str
    measured: str
    holds: bool


def setting_of(runs: Runs) -> Setting:
    """The run's setting, worked out anew."""
    chosen = runs.experiment
    return make_setting(chosen, load_source(chosen.data, runs.folder), chosen.seeds[0])


def outcome_of(runs: Runs) -> Outcome:
    """Measure the saved end of a run."""
    setting, state = setting_of(runs), runs.state(runs.experiment.seeds[0])
    if state is None:
        raise SystemExit(f"{runs.folder} has no saved state; remove it and run again.")
    plan = setting.plan.for_round(state.rounds - 1)
    figures = measure(setting, plan, state.coordinator, {})
    unfused, kept, wrong = figures, 1.0, 0
    if isinstance(setting.method, Lockdown):
        plain = {**state.coordinator, BALLOT: Ballot().tensor()}  # as if nobody had voted
        unfused = measure(setting, plan, plain, {})
        kept = setting.method.summary(plan, state.coordinator)["kept_share"]
        public = setting.method.kept_counts(plan)
        wrong = sum(_wrong_counts(setting, own, public) for own in state.nodes.values())
    return Outcome(
        accuracy=figures["accuracy"],
        attack_success=figures["attack_success"],
        backdoor_accuracy=figures["backdoor_accuracy"],
        unfused_accuracy=unfused["accuracy"],
        unfused_success=unfused["attack_success"],
        kept_share=kept,
        wrong_counts=wrong,
    )


def _wrong_counts(setting: Setting, own: NamedTensors, public: Mapping[str, int]) -> int:
    method = setting.method
    if not isinstance(method, Lockdown):
        return 0
    mask = unpacked(own[MASK], method.masked_shapes(setting.plan))
    return sum(int(mask[name].sum()) != count for name, count in public.items())


def secure_rounds(folder: Path) -> list[SecureRound]:
    """The first rounds of Lockdown under encoded and masked sums, each from the same start as the plain one."""
    arm = next(arm for arm in ARMS if arm.name == "lockdown")
    settings = {}
    for protection in Protection:
        text = yaml.safe_dump({**experiment(arm, 1), "protection": protection.value, "measures": {"every": 1000}})
        chosen = load_experiment(text.encode(), f"{protection.value}.yaml")
        settings[protection] = make_setting(chosen, load_source(chosen.data, folder), 1)
    simulation = Simulation(setting=settings[Protection.NONE])
    state, found = simulation.start(), []
    for index in range(SECURE_ROUNDS):
        plain = next(simulation.rounds(state))
        for protection in (Protection.ENCODED, Protection.MASKING):
            other = next(Simulation(setting=settings[protection]).rounds(state))
            found.append(_compared(plain, other, protection, settings[protection], index + 1))
        state = plain.state
    return found


def _compared(
    plain: RoundResult, other: RoundResult, protection: Protection, setting: Setting, number: int
) -> SecureRound:
    one, two = plain.state, other.state
    models = [key for key in one.coordinator if key.startswith("model/")]
    gaps = [float(np.abs(one.coordinator[key] - two.coordinator[key]).max()) for key in models]
    method = setting.method
    return SecureRound(
        round=number,
        protection=protection.value,
        difference=max(gaps),
        resolution=method.settings.resolution if isinstance(method, Lockdown) else 0.0,
        same_votes=bool(np.array_equal(one.coordinator[VOTES], two.coordinator[VOTES])) and _same_masks(one, two),
    )


def _same_masks(one: State, two: State) -> bool:
    return all(np.array_equal(own[MASK], two.nodes[name][MASK]) for name, own in one.nodes.items())


def checks(outcomes: Mapping[str, list[Outcome]], secure: list[SecureRound]) -> list[Check]:
    """Every promise; those about seeds hold only if they hold for each seed."""
    locked, still = outcomes["lockdown"], outcomes["static"]
    pairs = list(zip(outcomes["fedavg"], locked, strict=True))
    success = [(a.attack_success, b.attack_success) for a, b in pairs]
    below_static = [100 * (c.attack_success - b.attack_success) for b, c in zip(locked, still, strict=True)]
    lost = [100 * (a.accuracy - b.accuracy) for a, b in pairs]
    fused = [100 * (one.unfused_success - one.attack_success) for one in locked]
    gained = [100 * (one.accuracy - one.unfused_accuracy) for one in locked]
    wrong = [float(one.wrong_counts) for one in (*locked, *still)]
    same = all(one.same_votes and one.difference <= one.resolution for one in secure)
    return [
        _of("attack success at most half of FedAvg's", "ratio", [b / a for a, b in success], 0.0, 0.5),
        _of("and at least 30 points lower", "points", [100 * (a - b) for a, b in success], 30, 100),
        _mean("(a) attack success at most 10 %, mean over seeds", "%", [100 * b for _, b in success], 10),
        _of("(a) and at least 50 points below FedAvg's", "points", [100 * (a - b) for a, b in success], 50, 100),
        _of("(b) and at least 15 below masks that never move", "points", below_static, 15, 100),
        _of("(c) accuracy at most 8 points below FedAvg's", "points", lost, -100, 8),
        _of("(d) fusion lowers attack success by", "points", fused, 0, 100),
        _of("(d) and does not lower accuracy; it gains", "points", gained, 0, 100),
        _of("(e) layers of masks whose number of ones is not the public one", "", wrong, 0, 0),
        _of("(e) share of parameters in the model 0.2 to 0.25", "", [one.kept_share for one in locked], 0.2, 0.25),
        Check(
            what="(f) plain, encoded and masked sums: same masks and votes, models within the resolution",
            measured=", ".join(f"round {one.round} {one.protection}: {one.difference:.1e}" for one in secure),
            holds=same,
        ),
    ]


def _of(what: str, unit: str, values: list[float], low: float, high: float) -> Check:
    shown = f"{min(values):.3g} to {max(values):.3g} {unit}".strip()
    return Check(what=what, measured=shown, holds=all(low <= value <= high for value in values))


def _mean(what: str, unit: str, values: list[float], high: float) -> Check:
    mean = sum(values) / len(values)
    shown = f"{mean:.3g} ({min(values):.3g} to {max(values):.3g}) {unit}"
    return Check(what=what, measured=shown, holds=mean <= high)
