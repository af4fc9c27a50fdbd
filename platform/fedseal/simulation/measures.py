"""What is measured of a round's model: on the common test rows, on triggered ones, and at every node."""

import numpy as np
from numpy.typing import NDArray

from fedseal.learning.metrics import evaluate, exact_auc
from fedseal.learning.tensors import NamedTensors
from fedseal.methods.contract import NOTHING, Method, NodeContext, Plan, predicting_model
from fedseal.simulation.setting import Setting


def measure(
    setting: Setting, plan: Plan, state: NamedTensors, local_states: dict[str, NamedTensors]
) -> dict[str, float]:
    """Figures of the model that the method would export now.

    Returns:
        ``accuracy``, ``log_loss``, ``calibration_error``, with two classes ``auc``; under a backdoor attack
        ``attack_success`` (share of triggered test rows of other classes that are taken for the target) and
        ``backdoor_accuracy`` (share of triggered rows that keep their label); with own test rows
        ``own_accuracy_mean`` and ``own_accuracy_worst`` over nodes, each with its own model (fitted or adapted, if the
        method does that), and ``own_calibration_error`` of all these predictions together; the same as
        ``unseen_...`` of nodes that never trained.
    """
    exported = setting.method.export(plan, state)
    model = setting.method.node_model(exported, NOTHING)
    found = _common(setting, plan, model)
    found.update(_backdoor(setting, plan, model))
    if setting.experiment.measures.own_rows:
        found.update(_own(setting, plan, exported, local_states))
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _common(setting: Setting, plan: Plan, model: NamedTensors) -> dict[str, float]:
    examples = plan.examples(setting.test)
    probabilities = plan.require_learner().predict(model, examples.inputs)
    figures = evaluate(probabilities, examples.labels)
    return {
        "accuracy": figures.accuracy,
        "log_loss": figures.log_loss,
        "calibration_error": figures.calibration_error,
        "auc": exact_auc(probabilities, examples.labels),
    }


def _backdoor(setting: Setting, plan: Plan, model: NamedTensors) -> dict[str, float]:
    attack = setting.attack
    target = None if attack is None else attack.target()
    triggered = None if attack is None else attack.trigger(setting.test)
    if target is None or triggered is None:
        return {}
    examples = plan.examples(triggered)
    predicted = _classes(plan.require_learner().predict(model, examples.inputs))
    others = examples.labels != target
    return {
        "attack_success": float(np.mean(predicted[others] == target)) if others.any() else float("nan"),
        "backdoor_accuracy": float(np.mean(predicted == examples.labels)),
    }


def _own(
    setting: Setting, plan: Plan, exported: NamedTensors, local_states: dict[str, NamedTensors]
) -> dict[str, float]:
    honest = {name: data for name, data in setting.nodes.items() if name not in setting.attackers}
    found = {}
    for label, nodes in (("own", honest), ("unseen", setting.unseen)):
        contexts = [
            setting.context(name, plan, NOTHING, local_states.get(name, NOTHING))
            for name, data in sorted(nodes.items())
            if data.held_out.row_count
        ]
        found.update({f"{label}_{name}": value for name, value in _figures(setting.method, contexts, exported).items()})
    return found


def _figures(method: Method, contexts: list[NodeContext], exported: NamedTensors) -> dict[str, float]:
    """Of each node's own model on its own test rows."""
    if not contexts:
        return {}
    accuracies, probabilities, labels = [], [], []
    for context in contexts:
        examples = context.plan.examples(context.data.held_out)
        model = predicting_model(method, context, exported, examples.inputs)
        probabilities.append(context.plan.require_learner().predict(model, examples.inputs))
        labels.append(examples.labels)
        accuracies.append(evaluate(probabilities[-1], examples.labels).accuracy)
    together = evaluate(np.concatenate(probabilities), np.concatenate(labels))
    return {
        "accuracy_mean": float(np.mean(accuracies)),
        "accuracy_worst": float(min(accuracies)),
        "calibration_error": together.calibration_error,
    }


def _classes(probabilities: NDArray[np.float64]) -> NDArray[np.intp]:
    if probabilities.ndim == 2:
        return np.asarray(probabilities.argmax(axis=1))
    return np.asarray(probabilities >= 0.5, dtype=np.intp)
