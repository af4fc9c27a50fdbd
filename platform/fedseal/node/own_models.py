"""The models of this node alone: what a personal method left here at a job's end, never sent.

Methods such as Ditto or FedPer give each node a model of its own: the common one joined with what the node kept. When
the node is asked to evaluate, it has the common model for certain, joins it with its local state and keeps the result:

    models/<job digest>.safetensors    an ordinary model file; 0600, because it was fitted to this node's records

A job whose method has no personal part leaves nothing here; neither does one that this node did not evaluate.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedseal.documents import SignedJob
from fedseal.errors import SetupError
from fedseal.files import make_folder, read_limited, write_atomic
from fedseal.learning import Origin, build_model, model_bytes
from fedseal.learning.model_file import MODEL_BYTES, read_model
from fedseal.methods import NodeContext, Stage, own_model
from fedseal.methods.contract import STATISTICS_STAGE, TRAINING_STAGE
from fedseal.methods.evaluation import Evaluation
from fedseal_crypto.digests import Digest, parse_digest, sha256_hex

FOLDER = "models"
_SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnModel:
    """A model file of this node.

    Attributes:
        name: Of the job.
        job: Its digest.
        digest: SHA-256 of the file.
        size: In bytes.
    """

    name: str
    job: str
    digest: Digest
    size: int


class OwnModels:
    """The folder ``models`` of a node."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, job: str, data: bytes) -> Digest:
        """Store a job's model, in place of an older one of the same job; gives its digest."""
        make_folder(self._folder)
        write_atomic(self._path(job), data, private=True)
        return sha256_hex(data)

    def read(self, job: str) -> bytes:
        """A job's model.

        Raises:
            SetupError: There is none.
        """
        path = self._path(job)
        if not path.exists():
            raise SetupError(f"This node has no model of its own from job {job[:12]}; see `fedseal model own`.")
        return read_limited(path, max_bytes=MODEL_BYTES, what="a model of this node")

    def listed(self) -> tuple[OwnModel, ...]:
        """All of them, by the job's digest.

        Raises:
            TensorsRefused: A file was damaged.
        """
        paths = sorted(self._folder.glob(f"*{_SUFFIX}")) if self._folder.is_dir() else []
        return tuple(_listed(path) for path in paths)

    def _path(self, job: str) -> Path:
        return self._folder / f"{parse_digest(job)}{_SUFFIX}"


def personal_model(signed: SignedJob, stage: Stage, context: NodeContext, *, schema_digest: str) -> bytes | None:
    """The node's own model, when ``stage`` is the evaluation; None if it is no other than the common one.

    Raises:
        TensorsRefused: What was kept does not fit the learner.
    """
    if not isinstance(stage.method, Evaluation):
        return None
    plan = context.plan
    common = plan.published[TRAINING_STAGE]
    own = own_model(stage.method.trainer, context, common)
    if all(np.array_equal(own[name], common[name]) for name in common):
        return None
    model = build_model(
        signed.document,
        plan.schema,
        Origin(job_digest=signed.digest, schema_digest=schema_digest),
        statistics=plan.published[STATISTICS_STAGE],
        parameters=own,
    )
    return model_bytes(model)


def _listed(path: Path) -> OwnModel:
    data = read_limited(path, max_bytes=MODEL_BYTES, what="a model of this node")
    description = read_model(data, what=str(path)).description
    return OwnModel(name=description.job, job=description.job_digest, digest=sha256_hex(data), size=len(data))
