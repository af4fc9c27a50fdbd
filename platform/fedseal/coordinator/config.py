"""The coordinator's configuration file: one frozen, typed object, read once at the start."""

from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MOST_ATTEMPTS = 64
"""More attempts at one round could not be declared abandoned by its nodes."""

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class CoordinatorSettings(BaseModel):
    """What ``coordinator.yaml`` may say; unknown keys are refused.

    Attributes:
        listen: ``host:port`` on which nodes and people reach the coordinator.
        database: SQLAlchemy URL; the embedded database in the folder if left out.
        offer_seconds: how long nodes may take to accept a job.
        gather_seconds: how long a round waits for nodes that were never seen since the start.
        return_seconds: how long the next round waits for a node that left during this one.
        patience_seconds: how long a job waits for its minimum cohort before it fails, and a round in its last step
            for answers without which it is lost.
        reconnect_grace_seconds: how long a broken stream may take to come back within a round.
        retry_pause_seconds: pause before a round is tried again.
        maximum_attempts: attempts at one round before the job fails.
        maximum_nodes: nodes that can be present at once; each holds one worker thread.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    listen: Annotated[str, Field(pattern=r"^[^\s:]+:\d{1,5}$|^\[[0-9a-fA-F:]+\]:\d{1,5}$")] = "0.0.0.0:7443"
    database: str | None = None
    offer_seconds: Seconds = 600.0
    gather_seconds: Seconds = 10.0
    return_seconds: Annotated[float, Field(ge=0, le=86_400)] = 10.0
    patience_seconds: Seconds = 900.0
    reconnect_grace_seconds: Seconds = 2.0
    retry_pause_seconds: Seconds = 1.0
    maximum_attempts: Annotated[int, Field(ge=1, le=MOST_ATTEMPTS)] = 5
    maximum_nodes: Annotated[int, Field(ge=3, le=1_000)] = 100

    @property
    def retry_pause(self) -> timedelta:
        """``retry_pause_seconds`` as a duration."""
        return timedelta(seconds=self.retry_pause_seconds)
