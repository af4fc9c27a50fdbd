"""The node's configuration file: one frozen, typed object, read once at the start."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class NodeSettings(BaseModel):
    """What ``node.yaml`` may say; unknown keys are refused.

    Attributes:
        coordinator: ``host:port``; the address from the invitation if left out.
        coordinator_name: the coordinator's name in its certificate.
        database: SQLAlchemy URL; the embedded database in the folder if left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    coordinator: Annotated[str, Field(max_length=300)] | None = None
    coordinator_name: Annotated[str, Field(max_length=64)] = "coordinator"
    database: str | None = None
