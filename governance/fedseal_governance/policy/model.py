"""The policy file: what an organisation allows others to compute on its data.

Rules kept here:

1. What is not listed is not allowed; there are no wildcards, and no key that a reader could misspell
   unnoticed.
2. A purpose is written as code and label, and both must belong together, so that the reviewer reads what the
   program enforces.
3. Contradictions are refused when the file is read: no protection without letting the coordinator see
   everything, no budget of which half is missing.
"""

from datetime import date
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from fedseal_governance.documents import Document, fault, load_yaml
from fedseal_governance.jobs import MAX_NODES, MAX_ROUNDS, SMALLEST_PROTECTED_COHORT
from fedseal_governance.purposes import label_of, problem_with
from fedseal_governance.vocabulary import Disclosure, JobKind, Name, Protection, Sentence, Sha256

MAX_EPOCHS = 1_000
MAX_RECORDS = 10_000_000
MAX_OFFICERS = 10
MAX_YEARS = 100

SMALLEST_DIFFERENCE = 2
"""Two sums that differ by one site tell what that site contributed."""

DEFAULT_CORRUPTED_FRACTION = 0.2
DEFAULT_DROPOUT_FRACTION = 0.1
HIGHEST_CORRUPTED_FRACTION = 0.5
HIGHEST_DROPOUT_FRACTION = 0.4
MOST_CORRUPTED_AND_TWICE_DROPPED = 0.9
"""Above 128 sites no graph withstands more: Bell et al., CCS 2020; see `fedseal_crypto.masking`."""


class PolicyPurpose(Document):
    """A purpose the data may be used for, as code and label."""

    code: str
    label: str

    @model_validator(mode="after")
    def _label_belongs_to_code(self) -> "PolicyPurpose":
        problem = problem_with(self.code)
        if problem is not None:
            raise fault(*problem, key="code")
        right = label_of(self.code)
        if self.label != right:
            raise fault(f'the label of {self.code} is not "{self.label[:80]}"', f'write "{right}"', key="label")
        return self


class JobRules(Document):
    """Which jobs may be run.

    Attributes:
        learner_digests: digest of the code a learner must have, by learner; without one any version may run.
        max_rounds: most rounds of one job.
        max_local_epochs: most passes over the site's records within one round.
    """

    kinds: Annotated[tuple[JobKind, ...], Field(min_length=1)]
    methods: Annotated[tuple[Name, ...], Field(max_length=100)] = ()
    learners: Annotated[tuple[Name, ...], Field(max_length=100)] = ()
    learner_digests: Annotated[dict[Name, Sha256], Field(max_length=100)] = Field(default_factory=dict)
    max_rounds: Annotated[int, Field(ge=1, le=MAX_ROUNDS)]
    max_local_epochs: Annotated[int, Field(ge=1, le=MAX_EPOCHS)]

    @model_validator(mode="after")
    def _is_consistent(self) -> "JobRules":
        for key in ("kinds", "methods", "learners"):
            _distinct(key, tuple(str(word) for word in getattr(self, key)))
        if JobKind.TRAINING in self.kinds:
            for key in ("methods", "learners"):
                if not getattr(self, key):
                    raise fault(f"training is allowed, but `{key}` is empty", "list at least one", key=key)
        unknown = sorted(set(self.learner_digests) - set(self.learners))
        if unknown:
            raise fault(
                f"a digest is given for {unknown[0]}, which is not among the learners",
                "add the learner or remove the digest",
                key="learner_digests",
            )
        return self


class HistoryScope(StrEnum):
    """Which earlier sums a sum is compared with; each scope contains the ones before it."""

    MODEL = "model"
    JOB = "job"
    DATASET = "dataset"

    @property
    def plain(self) -> str:
        """Which two sums are meant, in plain English."""
        return {
            HistoryScope.MODEL: "sums of one job over the same model",
            HistoryScope.JOB: "sums of one job, in whichever round",
            HistoryScope.DATASET: "sums over the same dataset, in whichever jobs",
        }[self]

    @property
    def width(self) -> int:
        """0, 1, 2 from the narrowest scope to the widest."""
        return list(HistoryScope).index(self)


class HistoryRules(Document):
    """How much two sums must differ, because whoever has both can subtract one from the other.

    Attributes:
        scope: which earlier sums count.
        minimum_difference: two such sums are over the same sites, or over sites that differ by at least this many;
            None stands for the minimum cohort.
    """

    scope: HistoryScope = HistoryScope.MODEL
    minimum_difference: Annotated[int, Field(ge=SMALLEST_DIFFERENCE, le=MAX_NODES)] | None = None


class ProtectionRules(Document):
    """How contributions must be protected and what the coordinator may learn.

    Attributes:
        allowed: protections of which a job must use one.
        coordinator_may_learn: the most that a job may disclose to the coordinator.
        minimum_cohort: fewest sites whose sum may be released.
        corrupted_fraction: share of the sites that is assumed to collude with the coordinator; one at least, and
            below ten sites just under a third.
        dropout_fraction: share of the sites that may leave during a round; shapes rounds of more than 128 sites.
        history: how much two sums must differ.
    """

    allowed: Annotated[tuple[Protection, ...], Field(min_length=1)]
    coordinator_may_learn: Disclosure
    minimum_cohort: Annotated[int, Field(ge=1, le=MAX_NODES)]
    corrupted_fraction: Annotated[float, Field(ge=0, le=HIGHEST_CORRUPTED_FRACTION)] = DEFAULT_CORRUPTED_FRACTION
    dropout_fraction: Annotated[float, Field(ge=0, le=HIGHEST_DROPOUT_FRACTION)] = DEFAULT_DROPOUT_FRACTION
    history: HistoryRules = HistoryRules()

    @model_validator(mode="after")
    def _is_consistent(self) -> "ProtectionRules":
        _distinct("allowed", tuple(self.allowed))
        if Protection.NONE in self.allowed and self.coordinator_may_learn is not Disclosure.INDIVIDUAL:
            raise fault(
                "without protection the coordinator sees what each site contributed",
                "remove `none`, or write `coordinator_may_learn: INDIVIDUAL`",
                key="allowed",
            )
        protected = set(self.allowed) != {Protection.NONE}
        if protected and self.minimum_cohort < SMALLEST_PROTECTED_COHORT:
            raise fault(
                f"with a minimum cohort of {self.minimum_cohort} a site could learn another's contribution",
                f"write {SMALLEST_PROTECTED_COHORT} or more",
                key="minimum_cohort",
            )
        if self.corrupted_fraction + 2 * self.dropout_fraction > MOST_CORRUPTED_AND_TWICE_DROPPED + 1e-9:
            raise fault(
                f"no masks withstand that {self.corrupted_fraction:g} of the sites collude while "
                f"{self.dropout_fraction:g} leave",
                f"lower one: `corrupted_fraction` plus twice this is at most {MOST_CORRUPTED_AND_TWICE_DROPPED:g}",
                key="dropout_fraction",
            )
        return self

    @property
    def minimum_difference(self) -> int:
        """By how many sites two sums must differ unless they are over the same ones; at least 2."""
        return self.history.minimum_difference or max(self.minimum_cohort, SMALLEST_DIFFERENCE)


class PrivacyRules(Document):
    """Differential privacy: either ``mechanism: none``, or a budget of all three figures.

    Attributes:
        epsilon_per_job: most that one job may spend.
        epsilon_total: most that all jobs on these datasets may spend together.
        delta: probability with which the epsilon guarantee may fail.
    """

    mechanism: Literal["none"] | None = None
    epsilon_per_job: Annotated[float, Field(gt=0, le=1000)] | None = None
    epsilon_total: Annotated[float, Field(gt=0, le=1000)] | None = None
    delta: Annotated[float, Field(gt=0, lt=0.1)] | None = None

    @model_validator(mode="after")
    def _none_or_a_whole_budget(self) -> "PrivacyRules":
        figures = {
            "epsilon_per_job": self.epsilon_per_job,
            "epsilon_total": self.epsilon_total,
            "delta": self.delta,
        }
        given = [key for key, value in figures.items() if value is not None]
        if self.mechanism is not None and given:
            raise fault(f"`mechanism: none` contradicts `{given[0]}`", "keep one of the two", key="mechanism")
        if self.mechanism is None:
            for key, value in figures.items():
                if value is None:
                    raise fault(f"`{key}` is missing", "add it, or write {mechanism: none} for no budget", key=key)
        if (self.epsilon_per_job or 0) > (self.epsilon_total or 0):
            raise fault("one job may spend more than all jobs together", "lower it", key="epsilon_per_job")
        return self

    @property
    def has_budget(self) -> bool:
        """Whether jobs must add noise within a budget."""
        return self.epsilon_per_job is not None


class ConsentRules(Document):
    """Whether each record needs a consent in force, and how many usable records a contribution needs."""

    required: bool
    minimum_records: Annotated[int, Field(ge=1, le=MAX_RECORDS)]


class ApprovalRules(Document):
    """Who approves.

    Attributes:
        compliance_officers: distinct officers who must sign this file before it comes into force.
        node_operator_per_job: whether the site's operator must agree to each job.
    """

    compliance_officers: Annotated[int, Field(ge=1, le=MAX_OFFICERS)]
    node_operator_per_job: bool = False


class RetentionRules(Document):
    """How long evidence and models are kept, in years."""

    audit_years: Annotated[int, Field(ge=1, le=MAX_YEARS)]
    model_years: Annotated[int, Field(ge=0, le=MAX_YEARS)]


class Validity(Document):
    """First and last day (UTC) on which the policy may be in force."""

    start: Annotated[date, Field(alias="from")]
    until: date

    @model_validator(mode="after")
    def _is_a_period(self) -> "Validity":
        if self.until < self.start:
            raise fault(f"the last day {self.until} is before the first day {self.start}", "swap them", key="until")
        return self


class PolicyDocument(Document):
    """One version of an organisation's policy.

    Attributes:
        policy: name; versions of one policy share it.
        version: number of this version, higher than any before.
        owner: organisation whose compliance officers sign it.
        datasets: names of the datasets it speaks for.
    """

    policy: Name
    version: Annotated[int, Field(ge=1, le=1_000_000)]
    owner: Annotated[Sentence, StringConstraints(strip_whitespace=False)]
    datasets: Annotated[tuple[Name, ...], Field(min_length=1, max_length=100)]
    purposes: Annotated[tuple[PolicyPurpose, ...], Field(min_length=1, max_length=20)]
    jobs: JobRules
    protection: ProtectionRules
    privacy: PrivacyRules
    consent: ConsentRules
    approval: ApprovalRules
    retention: RetentionRules
    valid: Validity

    @model_validator(mode="after")
    def _lists_differ(self) -> "PolicyDocument":
        _distinct("datasets", self.datasets)
        _distinct("purposes", tuple(purpose.code for purpose in self.purposes))
        return self

    @property
    def title(self) -> str:
        """Name and version as sentences use them."""
        return f"policy {self.policy}, version {self.version}"


@lru_cache(maxsize=256)
def load_policy(data: bytes, filename: str) -> PolicyDocument:
    """Read a policy file; the SHA-256 of ``data`` is what officers sign and nodes pin.

    Raises:
        DocumentError: with every problem found.
    """
    return load_yaml(data, filename, PolicyDocument)


def _distinct(key: str, words: tuple[str, ...]) -> None:
    twice = sorted({word for word in words if words.count(word) > 1})
    if twice:
        raise fault(f"`{key}` lists {twice[0]} twice", "keep one", key=key)
