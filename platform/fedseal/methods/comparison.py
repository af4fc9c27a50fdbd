"""What federation is worth: one learner trained alone, federated and pooled, on the same held-out patients.

Only a demonstration or a benchmark that holds all the data can do this; a real federation cannot, by design.

Rules this module keeps:
- "Alone" and "pooled" are the same programme as the federated job (same learner, settings, rounds and local
  epochs) with one node: one hospital's rows, or everybody's.
- Held-out patients are the same for all three, chosen per hospital and class by the job's evaluation seed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedseal.learning.data import LocalData
from fedseal.learning.metrics import Metrics, evaluate, exact_auc
from fedseal.learning.model_file import Model, Origin, build_model
from fedseal.learning.split import JobData
from fedseal.methods.contract import STATISTICS_STAGE, TRAINING_STAGE
from fedseal.methods.in_process import JobRun, run_in_process
from fedseal_governance.datasets import DatasetSchema
from fedseal_governance.jobs import JobDocument, Weights

Floats: TypeAlias = NDArray[np.float64]

_UNSIGNED = Origin(job_digest="0" * 64, schema_digest="0" * 64)  # these models are compared and thrown away


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Figures of one model on one group of patients; AUC is exact here, NaN when one class is absent."""

    auc: float
    accuracy: float
    calibration_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRow:
    """One group of held-out patients under the three kinds of training.

    Attributes:
        group: A node's name, or ``"all"`` for the union.
        patients: Held-out patients in the group.
        alone: Of a node: its own model on its own patients. Of the union: mean over nodes of each one's own
            model on the union.
        federated: The federated model.
        pooled: The model trained on all rows in one place: the upper bound that nobody may have.
    """

    group: str
    patients: int
    alone: Figures
    federated: Figures
    pooled: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One row per node, and the union."""

    nodes: tuple[ComparisonRow, ...]
    overall: ComparisonRow


def pool(parts: Mapping[str, JobData]) -> JobData:
    """The rows of all nodes as if one had them; what was held out stays held out."""
    ordered = [parts[name] for name in sorted(parts)]
    return JobData(
        training=_join([part.training for part in ordered]),
        held_out=_join([part.held_out for part in ordered]),
    )


def train_one(job: JobDocument, schema: DatasetSchema, data: JobData) -> Model:
    """The job's learner trained by one holder of ``data``, for as many rounds and epochs as the job has."""
    rows = max(job.weights.maximum_rows, data.record_count)
    roomy = job.model_copy(update={"weights": Weights(maximum_rows=rows)})
    return model_of(roomy, schema, run_in_process(roomy, schema, {"one": data}))


def model_of(job: JobDocument, schema: DatasetSchema, run: JobRun, origin: Origin = _UNSIGNED) -> Model:
    """The model of a finished run."""
    return build_model(
        job,
        schema,
        origin,
        statistics=run.published[STATISTICS_STAGE],
        parameters=run.published[TRAINING_STAGE],
    )


def figures(model: Model, data: LocalData) -> Figures:
    """A model's figures on some patients."""
    probabilities, labels = _predictions(model, data)
    metrics: Metrics = evaluate(probabilities, labels)
    return Figures(
        auc=exact_auc(probabilities, labels),
        accuracy=metrics.accuracy,
        calibration_error=metrics.calibration_error,
    )


def compare(job: JobDocument, schema: DatasetSchema, nodes: Mapping[str, JobData], federated: Model) -> Comparison:
    """Train alone and pooled, and set them beside the federated model."""
    everybody = pool(nodes)
    pooled = train_one(job, schema, everybody)
    alone = {name: train_one(job, schema, nodes[name]) for name in sorted(nodes)}
    rows = tuple(
        ComparisonRow(
            group=name,
            patients=nodes[name].held_out.row_count,
            alone=figures(alone[name], nodes[name].held_out),
            federated=figures(federated, nodes[name].held_out),
            pooled=figures(pooled, nodes[name].held_out),
        )
        for name in sorted(nodes)
    )
    overall = ComparisonRow(
        group="all",
        patients=everybody.held_out.row_count,
        alone=_mean([figures(model, everybody.held_out) for model in alone.values()]),
        federated=figures(federated, everybody.held_out),
        pooled=figures(pooled, everybody.held_out),
    )
    return Comparison(nodes=rows, overall=overall)


def _predictions(model: Model, data: LocalData) -> tuple[Floats, Floats]:
    inputs = model.encoder().encode_rows(data)
    return model.learner().predict(model.parameters, inputs), data.labels(model.description.target)


def _join(parts: list[LocalData]) -> LocalData:
    return LocalData(
        schema=parts[0].schema,
        frame=pd.concat([part.frame for part in parts], ignore_index=True),
        record_ids=tuple(record for part in parts for record in part.record_ids),
        images={name: np.concatenate([part.images[name] for part in parts]) for name in parts[0].images},
    )


def _mean(several: list[Figures]) -> Figures:
    return Figures(
        auc=float(np.mean([one.auc for one in several])),
        accuracy=float(np.mean([one.accuracy for one in several])),
        calibration_error=float(np.mean([one.calibration_error for one in several])),
    )
