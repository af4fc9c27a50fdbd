"""Local data, learners, metrics and model files: everything that happens at one party, without federation."""

from fedseal.learning.data import LocalData, dataset_files, load_dataset
from fedseal.learning.determinism import use_deterministic_torch
from fedseal.learning.errors import (
    DatasetError,
    SettingsRefused,
    TensorsRefused,
    TrainingFailed,
    UnknownPlugin,
)
from fedseal.learning.fingerprint import Fingerprint, content_digest, fingerprint
from fedseal.learning.learner import Examples, FitRequest, FitResult, GradientCorrection, Learner, ParameterRole
from fedseal.learning.metrics import Metrics, PredictionSums, evaluate, metrics_of, prediction_sums
from fedseal.learning.model_file import (
    Model,
    ModelDescription,
    Origin,
    build_model,
    load_model,
    model_bytes,
    predict,
    read_model,
)
from fedseal.learning.plugins import learner_class, learner_digest, learner_names, make_learner
from fedseal.learning.split import JobData, job_data
from fedseal.learning.tensors import NamedTensors, Shape, Shapes, Tensor, pack_tensors, unpack_tensors

__all__ = [
    "DatasetError",
    "Examples",
    "Fingerprint",
    "FitRequest",
    "FitResult",
    "GradientCorrection",
    "JobData",
    "Learner",
    "LocalData",
    "Metrics",
    "Model",
    "ModelDescription",
    "NamedTensors",
    "Origin",
    "ParameterRole",
    "PredictionSums",
    "SettingsRefused",
    "Shape",
    "Shapes",
    "Tensor",
    "TensorsRefused",
    "TrainingFailed",
    "UnknownPlugin",
    "build_model",
    "content_digest",
    "dataset_files",
    "evaluate",
    "fingerprint",
    "job_data",
    "learner_class",
    "learner_digest",
    "learner_names",
    "load_dataset",
    "load_model",
    "make_learner",
    "metrics_of",
    "model_bytes",
    "pack_tensors",
    "predict",
    "prediction_sums",
    "read_model",
    "unpack_tensors",
    "use_deterministic_torch",
]
