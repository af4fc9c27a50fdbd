"""The custodian's configuration file: one frozen, typed object, read once at the start."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class CustodianSettings(BaseModel):
    """What ``custodian.yaml`` may say; unknown keys are refused.

    Attributes:
        coordinator: ``host:port``; the address from the invitation if left out.
        coordinator_name: the coordinator's name in its certificate.
        key_file: file with the key that seals secret keys at rest; ``keys/vault.key`` in the folder if left out.
        database: SQLAlchemy URL; the embedded database in the folder if left out.
        sums_per_job: most sums that are opened for one job.
        sums_per_hour: most sums that are opened within an hour, of all jobs.
        repeated_answers: how often one and the same request is answered, for a coordinator that was restarted.
        key_days: after so many days a job's secret key is destroyed, whether the job has ended or not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    coordinator: Annotated[str, Field(max_length=300)] | None = None
    coordinator_name: Annotated[str, Field(max_length=64)] = "coordinator"
    key_file: Annotated[str, Field(max_length=1000)] | None = None
    database: str | None = None
    sums_per_job: Annotated[int, Field(ge=1, le=100_000)] = 10_000
    sums_per_hour: Annotated[int, Field(ge=1, le=1_000_000)] = 3_600
    repeated_answers: Annotated[int, Field(ge=1, le=1_000)] = 20
    key_days: Annotated[int, Field(ge=1, le=366)] = 30
