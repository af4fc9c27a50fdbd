"""A federation whose optimum is known: node k minimises 1/2 (x - b_k)' A_k (x - b_k) with a diagonal A_k.

The problem of a node is its one "image": the rows A_k and b_k. A method's own code runs unchanged; only the learner
is this one, which takes full gradient steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from fedseal.learning import (
    FitRequest,
    FitResult,
    JobData,
    LocalData,
    NamedTensors,
    ParameterRole,
)
from fedseal.learning.tensors import Shapes
from fedseal.methods import CohortSum, IndividualMethod, Method, NodeContext, Plan, contribute, node_seed
from fedseal_governance.datasets import DatasetSchema, load_schema
from fedseal_governance.jobs import load_job

DIMENSION = 20
WIDEST = 4.0

CATEGORIES = [str(number) for number in range(10)]

SCHEMA_TEXT = f"""
dataset: quadratics
columns:
  - {{name: id, role: record_id}}
  - {{name: problem, type: image, shape: [2, {DIMENSION}], range: [-{WIDEST}, {WIDEST}]}}
  - {{name: number, type: category, categories: {CATEGORIES}, role: target}}
"""


class QuadraticSettings(BaseModel):
    """Steps of full gradient descent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate: float = 0.1
    steps: tuple[int, ...] = (10,)


@dataclass(frozen=True, slots=True)
class Quadratic:
    """The learner; its parameter is x, and node number k takes ``steps[k % len(steps)]`` steps."""

    settings: QuadraticSettings

    name: ClassVar[str] = "quadratic"
    title: ClassVar[str] = "Quadratic problems"
    settings_model: ClassVar[type[BaseModel]] = QuadraticSettings

    def parameter_shapes(self, width: int) -> Shapes:
        return {"x": (width // 2,)}

    def roles(self, width: int) -> Mapping[str, ParameterRole]:  # noqa: ARG002 - the contract
        return {"x": ParameterRole.BASE}

    def initial_parameters(self, width: int, seed: int) -> NamedTensors:  # noqa: ARG002 - the contract
        return {"x": np.zeros(width // 2)}

    def fit(self, request: FitRequest) -> FitResult:
        curvature, centre = decoded(request.examples.inputs[0])
        number = round(float(request.examples.labels[0]))
        x = np.array(request.parameters["x"], dtype=np.float64)
        steps = self.settings.steps[number % len(self.settings.steps)]
        for _ in range(steps):
            gradient = {"x": (curvature * (x - centre)).astype(np.float32)}
            exact = curvature * (x - centre)
            if request.correct_gradients is not None:
                before = gradient["x"].copy()
                request.correct_gradients({"x": x}, gradient)
                exact = exact + (gradient["x"].astype(np.float64) - before)
            x = x - self.settings.rate * exact
        return FitResult(parameters={"x": x}, loss=0.0, steps=steps, learning_rate=self.settings.rate)

    def predict(self, parameters: NamedTensors, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.full(len(inputs), float(parameters["x"][0]))


def decoded(row: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A_k's diagonal and b_k from an encoded row, whose pixels lie in [0, 1]."""
    both = row.astype(np.float64).reshape(2, -1) * 2 * WIDEST - WIDEST
    return both[0], both[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Federation:
    """Nodes, their joint optimum, and a round of any method among them."""

    nodes: tuple[JobData, ...]
    optimum: NDArray[np.float64]
    plan: Plan

    def distance(self, x: NDArray[np.float64]) -> float:
        return float(np.linalg.norm(x - self.optimum) / np.linalg.norm(self.optimum))

    def run(self, method: Method, *, rounds: int, share: float = 1.0, seed: int = 0) -> NDArray[np.float64]:
        """x after ``rounds``, in each of which a random ``share`` of the nodes takes part."""
        generator = np.random.default_rng(seed)
        state, own = method.initial_state(self.plan), [dict[str, NDArray[np.float64]]() for _ in self.nodes]
        for index in range(rounds):
            plan = self.plan.for_round(index)
            chosen = sorted(generator.permutation(len(self.nodes))[: round(share * len(self.nodes))])
            broadcast = method.broadcast(plan, state)
            parts = []
            for number in chosen:
                context = NodeContext(
                    plan=plan,
                    broadcast=broadcast,
                    data=self.nodes[number],
                    local_state=own[number],
                    seed=node_seed(seed, f"n{number}", plan.stage, index),
                )
                part = contribute(method, context)
                parts.append(part.values)
                if part.local_state is not None:
                    own[number] = dict(part.local_state)
            if isinstance(method, IndividualMethod):
                state = method.aggregate_each(plan, state, parts)
                continue
            total = {name: np.sum([part[name] for part in parts], axis=0) for name in parts[0]}
            state = method.aggregate(plan, state, CohortSum(values=total, cohort=len(parts)))
        return np.asarray(state["model/x"])


def federation(job_text: bytes, *, steps: tuple[int, ...] = (10,), rate: float = 0.1, count: int = 10) -> Federation:
    """Ten nodes as in the literature's check: A_k uniform in [0.2, 3], b_k standard normal, one row each."""
    generator = np.random.default_rng(11)
    curvature = generator.uniform(0.2, 3.0, size=(count, DIMENSION))
    centre = np.clip(generator.standard_normal((count, DIMENSION)), -WIDEST, WIDEST)
    schema = load_schema(SCHEMA_TEXT.encode(), "schema.yaml")
    job = load_job(job_text, "job.yaml")
    images = np.stack([curvature, centre], axis=1).astype(np.float32)
    nodes = tuple(_node(schema, images[number], number) for number in range(count))
    learner = Quadratic(QuadraticSettings(rate=rate, steps=steps))
    plan = Plan(
        job=job,
        schema=schema,
        stage="training",
        rounds=10_000,
        learner=learner,
        published={"statistics": {"mean": np.zeros(0), "scale": np.zeros(0)}},
    )
    encoded = [plan.examples(node.training).inputs[0] for node in nodes]
    exact = [decoded(row) for row in encoded]
    weight = np.sum([a for a, _ in exact], axis=0)
    return Federation(nodes=nodes, optimum=np.sum([a * b for a, b in exact], axis=0) / weight, plan=plan)


def _node(schema: DatasetSchema, image: NDArray[np.float32], number: int) -> JobData:
    frame = pd.DataFrame({"number": [str(number)]})
    data = LocalData(schema=schema, frame=frame, record_ids=(f"r{number}",), images={"problem": image[None]})
    return JobData(training=data, held_out=data.restrict(()))
