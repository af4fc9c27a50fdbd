"""Changing what attackers contribute, without leaving what the platform would let through.

A method that averages contributes ``update`` already multiplied by the node's weight. Attacks are written for updates
of weight 1; here they are divided by it and multiplied again.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedseal.methods.contract import Contribution
from fedseal.simulation.attacks.attack import AttackRound
from fedseal.simulation.errors import ExperimentUnsuitable
from fedseal_crypto.encoding import VectorSpec

UPDATE, WEIGHT = "update", "weight"

Vector = NDArray[np.float64]


def update_spec(turn: AttackRound) -> VectorSpec:
    """The vector that attackers bend.

    Raises:
        ExperimentUnsuitable: The method sums no updates.
    """
    for spec in turn.specs:
        if spec.name == UPDATE:
            return spec
    names = ", ".join(spec.name for spec in turn.specs)
    raise ExperimentUnsuitable(f"The attack bends updates, and the job's method sums none; it sums: {names}.")


def weight_of(part: Contribution) -> float:
    """The node's weight in the mean: rows, or 1; 0 for a node that had nothing to train on."""
    weight = part.values.get(WEIGHT)
    return 1.0 if weight is None else float(weight[0])


def update_matrix(parts: Mapping[str, Contribution]) -> Vector:
    """The updates of the nodes that trained, for weight 1: shape (nodes, parameters), nodes in sorted order."""
    trained = [parts[name] for name in sorted(parts) if weight_of(parts[name]) > 0]
    if not trained:
        return np.zeros((0, 0))
    return np.stack([part.values[UPDATE] / weight_of(part) for part in trained])


def with_update(turn: AttackRound, part: Contribution, update: Vector) -> Contribution:
    """The contribution with this update of weight 1, cut to the vector's bound."""
    bound = update_spec(turn).bound
    weighted = np.clip(update * weight_of(part), -bound, bound)
    return replace(part, values={**part.values, UPDATE: weighted})


def all_send(turn: AttackRound, update: Vector) -> dict[str, Contribution]:
    """Every attacker contributes the same update, each with its own weight."""
    return {name: with_update(turn, part, update) for name, part in turn.own.items()}
