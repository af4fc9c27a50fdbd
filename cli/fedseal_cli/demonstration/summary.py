"""The demonstration's outcome as data, written to ``summary.json``."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from fedseal.files import write_atomic


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Auc(_Frozen):
    """Area under the ROC curve on the union of held-out patients."""

    alone_mean: float
    federated: float
    pooled: float


class Audit(_Frozen):
    """The audit bundle of the coordinator and whether checking it works."""

    bundle: str
    verified: bool
    tampered_entry_found: bool


class Summary(_Frozen):
    """What the demonstration did; paths are absolute.

    Attributes:
        method: federated method of the job.
        rounds: completed rounds of all stages.
        dropout_recovered: a killed node's masks were removed and the round completed without it.
        refused_clause: policy clause that refused the second job.
        withdrawn_patient_excluded: the patient who withdrew during the job is in no later round.
        own_models: hospitals that keep a model of their own; 0 unless the method is a personal one.
        seconds: the whole demonstration.
        bytes_up_per_node: what a node sent in the whole job, mean over the nodes.
    """

    auc: Auc
    method: str
    rounds: int
    dropout_recovered: bool
    refused_clause: str
    withdrawn_patient_excluded: bool
    audit: Audit
    model: str
    job_record: str
    report: str
    own_models: int
    seconds: float
    bytes_up_per_node: float

    @property
    def succeeded(self) -> bool:
        """Whether everything that the demonstration promises happened."""
        checks = (
            self.dropout_recovered,
            self.refused_clause == "purposes",
            self.withdrawn_patient_excluded,
            self.audit.verified,
            self.audit.tampered_entry_found,
        )
        return all(checks)

    def write(self, path: Path) -> None:
        """Write the file."""
        write_atomic(path, self.model_dump_json(indent=2).encode() + b"\n")
