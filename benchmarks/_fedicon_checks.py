"""What ``make bench-fedicon`` measures of a finished run, and what it promises."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from _fedicon_shifts import UNSEEN, shifted, test_images
from numpy.typing import NDArray

from fedseal.learning import Examples, NamedTensors
from fedseal.learning.metrics import evaluate
from fedseal.learning.tensors import group_of, pack_tensors
from fedseal.methods import NodeContext, make_method
from fedseal.methods.averaging import MODEL
from fedseal.methods.fedicon import PROJECTION, FedIcon
from fedseal.simulation.runs import Runs
from fedseal.simulation.setting import make_setting
from fedseal.simulation.sources import load_source

KINDS = ("none", "statistics", "ucl", "tent")
ONLINE, PLAIN, MEAN = "ucl, batch by batch", "plain", "four shifts"
BATCH = 100
NAIVE, ENCODER = 15, 10  # points

Accuracies: TypeAlias = dict[str, dict[str, float]]
"""By way to adapt, then by shift: shares of right predictions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One promise, or with ``holds`` None a difference that is told beside them.

    Attributes:
        measured: Points, one a seed.
    """

    what: str
    measured: tuple[float, ...]
    holds: bool | None


def accuracies_of(runs: Runs) -> Accuracies:
    """Adapt copies of the run's common model to each shift in every way, and predict.

    Raises:
        SystemExit: The run has no saved end, or adaptation changed the common model.
    """
    setting = make_setting(
        runs.experiment, load_source(runs.experiment.data, runs.folder.parent), runs.experiment.seeds[0]
    )
    state = runs.state(runs.experiment.seeds[0])
    if state is None:
        raise SystemExit(f"{runs.folder} has no saved state; remove it and run again.")
    plan = setting.plan.for_round(state.rounds - 1)
    model = setting.method.export(plan, state.coordinator)
    head = {name: value for name, value in group_of(MODEL, state.coordinator).items() if name not in model}
    node = setting.context(
        min(setting.nodes), plan, {}, {f"{PROJECTION}/{name}": value for name, value in head.items()}
    )
    rows, before = test_images(), pack_tensors(model)
    found: Accuracies = {kind: {} for kind in (*KINDS, ONLINE)}
    for seed, (name, shift) in enumerate(UNSEEN.items()):
        examples = plan.examples(shifted(rows, shift, seed=100 + seed))
        for kind in KINDS:
            found[kind][name] = _accuracy(node, _adapted(kind, node, model, examples.inputs), examples)
        found[ONLINE][name] = _online(node, model, examples)
    for accuracies in found.values():
        accuracies[MEAN] = float(np.mean([accuracies[name] for name in UNSEEN]))
    plain = plan.examples(rows)
    for kind in KINDS:
        found[kind][PLAIN] = _accuracy(node, _adapted(kind, node, model, plain.inputs), plain)
    if pack_tensors(model) != before:
        raise SystemExit("Adaptation changed the common model.")
    return found


def checks(found: Mapping[str, list[Accuracies]]) -> list[Check]:
    """The promises, for each seed, and beside them what the controls reach."""

    def gained(ours: tuple[str, str], other: tuple[str, str]) -> tuple[float, ...]:
        pairs = zip(found[ours[0]], found[other[0]], strict=True)
        return tuple(100 * (one[ours[1]][MEAN] - two[other[1]][MEAN]) for one, two in pairs)

    naive = ("fedavg", "none")
    promised = (
        ("FedICON 30 + 5, adapted, above FedAvg without", gained(("long", "ucl"), naive), NAIVE),
        ("FedICON 12 + 5, adapted, above FedAvg without", gained(("short", "ucl"), naive), NAIVE),
        ("FedICON 30 + 5 above FedAvg, both without", gained(("long", "none"), naive), ENCODER),
        ("FedICON 12 + 5 above FedAvg, both without", gained(("short", "none"), naive), ENCODER),
    )
    told = (
        ("control: FedAvg, statistics alone, above FedAvg", gained(("fedavg", "statistics"), naive)),
        ("control: FedAvg, entropy, above FedAvg", gained(("fedavg", "tent"), naive)),
        ("control: FedAvg on views above FedAvg, both without", gained(("views", "none"), naive)),
        ("FedICON 30 + 5, adapted, above FedAvg, statistics", gained(("long", "ucl"), ("fedavg", "statistics"))),
        ("FedICON 30 + 5: contrastive above statistics alone", gained(("long", "ucl"), ("long", "statistics"))),
    )
    kept = [
        Check(what=f"{what}: at least {least}", measured=values, holds=min(values) >= least)
        for what, values, least in promised
    ]
    return [*kept, *(Check(what=what, measured=values, holds=None) for what, values in told)]


def _adapted(kind: str, node: NodeContext, model: NamedTensors, inputs: NDArray[np.float32]) -> NamedTensors:
    method = make_method("fedicon", {"adaptation": kind, "adapt_batch": BATCH})
    if not isinstance(method, FedIcon):
        raise TypeError("fedicon is another method here")
    return method.adapted_model(node, model, inputs)


def _accuracy(node: NodeContext, model: NamedTensors, examples: Examples) -> float:
    return evaluate(node.plan.require_learner().predict(model, examples.inputs), examples.labels).accuracy


def _online(node: NodeContext, model: NamedTensors, examples: Examples) -> float:
    """Adapt to a batch, predict it, and go on with what was adapted."""
    right = 0.0
    for start in range(0, len(examples), BATCH):
        batch = Examples(inputs=examples.inputs[start : start + BATCH], labels=examples.labels[start : start + BATCH])
        model = _adapted("ucl", replace(node, seed=start), model, batch.inputs)
        right += _accuracy(node, model, batch) * len(batch)
    return right / len(examples)
