"""The node's configuration file: one frozen, typed object, read once at the start."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class NodeSettings(BaseModel):
    """What ``node.yaml`` may say; unknown keys are refused.

    Attributes:
        coordinator: ``host:port``; the address from the invitation if left out.
        coordinator_name: the coordinator's name in its certificate.
        database: SQLAlchemy URL; the embedded database in the folder if left out.
        learner_seconds: how long an admitted learner file may take for one training or prediction.
        learner_memory_mb: address space of its process, in MiB; torch alone needs some 2,000.
        learner_unisolated: run admitted files although this system offers no process without network.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    coordinator: Annotated[str, Field(max_length=300)] | None = None
    coordinator_name: Annotated[str, Field(max_length=64)] = "coordinator"
    database: str | None = None
    learner_seconds: Annotated[float, Field(gt=0, le=86_400)] = 600.0
    learner_memory_mb: Annotated[int, Field(ge=1024, le=1 << 20)] = 8192
    learner_unisolated: bool = False
