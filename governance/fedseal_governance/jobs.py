"""A job: the YAML file that says what is to be computed, by whom, and under which protection.

Rules kept here:

1. Every number has bounds, stated beside it; a job outside of them is refused before anybody looks at it.
2. A job that trains names method, learner, target and evaluation; a job that computes statistics names
   none of them.
3. The digest of the exact bytes identifies the job everywhere, so nothing here rewrites a job.

What methods and learners mean by their ``settings`` they check themselves.
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from fedseal_governance.documents import Document, fault, load_yaml
from fedseal_governance.purposes import Purpose
from fedseal_governance.vocabulary import (
    ColumnName,
    Disclosure,
    JobKind,
    Name,
    PrivacyMechanism,
    Protection,
    Settings,
)

MAX_ROUNDS = 10_000
MAX_NODES = 1_000
MAX_FEATURES = 2_000
MAX_ROWS = 10_000_000
MAX_STEP_SECONDS = 86_400
MAX_SEED = 2**53 - 1
"""Largest whole number that every JSON reader keeps exactly."""

SMALLEST_PROTECTED_COHORT = 3
"""In a sum over two sites each knows the other's part by subtracting its own."""

EPOCH_SETTINGS = ("local_epochs", "epochs")
"""Names under which a method or learner may be told how often it passes over a site's rows."""


class MethodChoice(Document):
    """The federated method, how many rounds of it, and its settings."""

    name: Name
    rounds: Annotated[int, Field(ge=1, le=MAX_ROUNDS)]
    settings: Settings = Field(default_factory=dict)


class LearnerChoice(Document):
    """The local training code and its settings."""

    name: Name
    settings: Settings = Field(default_factory=dict)


class Evaluation(Document):
    """Which share of each site's records is held out of training, and the salt of that choice."""

    holdout: Annotated[float, Field(gt=0, le=0.9)]
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0


class Weights(Document):
    """Public bound on the rows of one site; a site with more uses this many of them."""

    maximum_rows: Annotated[int, Field(ge=1, le=MAX_ROWS)]


class PrivacyDeclaration(Document):
    """The privacy mechanism the job applies."""

    mechanism: PrivacyMechanism


class JobDocument(Document):
    """One governed federated computation.

    Attributes:
        job: name for people; the digest of the file identifies it.
        version: version of this format.
        description: what it is for, in the data scientist's words.
        nodes: the sites that are asked, at least as many as the minimum cohort.
        minimum_cohort: fewest sites whose sum may be released.
        step_timeout_seconds: how long one protocol step waits for a site, 1 to 86,400.
        custodian: who holds the decryption key, for the protections that have one.
        seed: starting point of every random choice of the computation; not a secret.
    """

    job: Name
    version: Literal[1] = 1
    description: Annotated[str, StringConstraints(max_length=2000)] = ""
    purpose: Purpose
    dataset: Name
    kind: JobKind
    method: MethodChoice | None = None
    learner: LearnerChoice | None = None
    features: Annotated[tuple[ColumnName, ...], Field(min_length=1, max_length=MAX_FEATURES)]
    target: ColumnName | None = None
    evaluation: Evaluation | None = None
    protection: Protection
    custodian: Name | None = None
    disclosure: Disclosure
    nodes: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MAX_NODES)]
    minimum_cohort: Annotated[int, Field(ge=1, le=MAX_NODES)]
    step_timeout_seconds: Annotated[int, Field(ge=1, le=MAX_STEP_SECONDS)] = 60
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    weights: Weights = Weights(maximum_rows=10_000)
    privacy: PrivacyDeclaration = PrivacyDeclaration(mechanism=PrivacyMechanism.NONE)

    @model_validator(mode="after")
    def _parts_fit_kind(self) -> "JobDocument":
        parts = {
            "method": self.method,
            "learner": self.learner,
            "target": self.target,
            "evaluation": self.evaluation,
        }
        for key, value in parts.items():
            if self.kind is JobKind.TRAINING and value is None:
                raise fault(f"a training job needs `{key}`", "add it", key=key)
            if self.kind is JobKind.STATISTICS and value is not None:
                raise fault(f"a statistics job has no `{key}`", "remove it, or write `kind: training`", key=key)
        return self

    @model_validator(mode="after")
    def _columns_differ(self) -> "JobDocument":
        _distinct("features", self.features)
        if self.target in self.features:
            raise fault(f"the target `{self.target}` is also a feature", "remove it from the features", key="features")
        return self

    @model_validator(mode="after")
    def _custodian_fits_protection(self) -> "JobDocument":
        if self.protection.has_custodian and self.custodian is None:
            raise fault(
                f"the protection {self.protection.value} needs a `custodian`",
                "name the party that holds the decryption key",
                key="custodian",
            )
        if self.custodian is not None and not self.protection.has_custodian:
            raise fault(
                f"the protection {self.protection.value} has no `custodian`",
                "remove it, or write `protection: homomorphic` or `hybrid`",
                key="custodian",
            )
        return self

    @model_validator(mode="after")
    def _cohort_is_possible(self) -> "JobDocument":
        _distinct("nodes", self.nodes)
        if self.minimum_cohort > len(self.nodes):
            raise fault(
                f"the minimum cohort of {self.minimum_cohort} is more than the {len(self.nodes)} nodes asked",
                "ask more nodes or lower it",
                key="minimum_cohort",
            )
        if self.protection is not Protection.NONE and self.minimum_cohort < SMALLEST_PROTECTED_COHORT:
            raise fault(
                f"with a minimum cohort of {self.minimum_cohort} a site could learn another's contribution",
                f"write {SMALLEST_PROTECTED_COHORT} or more",
                key="minimum_cohort",
            )
        return self

    @property
    def rounds(self) -> int:
        """Rounds of the method; one for a statistics job."""
        return 1 if self.method is None else self.method.rounds

    @property
    def local_epochs(self) -> int | None:
        """Most passes over a site's rows that a setting asks for; None when none says it in whole numbers."""
        chosen = [part.settings for part in (self.method, self.learner) if part is not None]
        found = [settings[name] for settings in chosen for name in EPOCH_SETTINGS if name in settings]
        whole = [value for value in found if isinstance(value, int) and not isinstance(value, bool)]
        return max(whole) if whole and len(whole) == len(found) else None


def load_job(data: bytes, filename: str) -> JobDocument:
    """Read a job file.

    Args:
        data: the exact bytes; their SHA-256 identifies the job.
        filename: its name, for messages.

    Raises:
        DocumentError: with every problem found.
    """
    return load_yaml(data, filename, JobDocument)


def _distinct(key: str, names: tuple[str, ...]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise fault(f"`{key}` lists {twice[0]} twice", "keep one", key=key)
