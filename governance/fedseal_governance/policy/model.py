"""The policy file: what an organisation allows others to compute on its data.

Rules kept here:

1. What is not listed is not allowed; there are no wildcards, and no key that a reader could misspell
   unnoticed.
2. A purpose is written as code and label, and both must belong together, so that the reviewer reads what the
   program enforces.
3. Contradictions are refused when the file is read: no protection without letting the coordinator see
   everything, no budget of which half is missing.
4. Rules are checked field by field, so that one wrong field hides no other one's fault.
"""

from datetime import date
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, field_validator, model_validator

from fedseal_governance.documents import Document, fault, load_yaml
from fedseal_governance.jobs import MAX_NODES, MAX_ROUNDS, SMALLEST_PROTECTED_COHORT
from fedseal_governance.purpose_codes import NO_PURPOSE, ForeignCode
from fedseal_governance.purposes import label_of, problem_with
from fedseal_governance.vocabulary import Disclosure, JobKind, Name, PolicyLevel, Protection, Sentence, Sha256

MAX_EPOCHS = 1_000
MAX_RECORDS = 10_000_000
MAX_OFFICERS = 10
MAX_YEARS = 100
FEDERATION_OFFICERS = 2
"""Fewest officers, each of another organisation, who can set rules for a whole federation."""


def _different(key: str) -> AfterValidator:
    """A check that a list names nothing twice."""

    def check(items: tuple[Any, ...]) -> tuple[Any, ...]:
        words = [str(getattr(item, "code", item)) for item in items]
        twice = sorted({word for word in words if words.count(word) > 1})
        if twice:
            raise fault(f"`{key}` lists {twice[0]} twice", "keep one")
        return items

    return AfterValidator(check)


SMALLEST_DIFFERENCE = 2
"""Two sums that differ by one site tell what that site contributed."""

DEFAULT_CORRUPTED_FRACTION = 0.2
DEFAULT_DROPOUT_FRACTION = 0.1
HIGHEST_CORRUPTED_FRACTION = 0.5
HIGHEST_DROPOUT_FRACTION = 0.4
MOST_CORRUPTED_AND_TWICE_DROPPED = 0.9
"""Above 128 sites no graph withstands more: Bell et al., CCS 2020; see `fedseal_crypto.masking`."""
MAX_PURPOSE_CODES = 200


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

    kinds: Annotated[tuple[JobKind, ...], Field(min_length=1), _different("kinds")]
    methods: Annotated[tuple[Name, ...], Field(max_length=100, validate_default=True), _different("methods")] = ()
    learners: Annotated[tuple[Name, ...], Field(max_length=100, validate_default=True), _different("learners")] = ()
    learner_digests: Annotated[dict[Name, Sha256], Field(max_length=100)] = Field(default_factory=dict)
    max_rounds: Annotated[int, Field(ge=1, le=MAX_ROUNDS)]
    max_local_epochs: Annotated[int, Field(ge=1, le=MAX_EPOCHS)]

    @field_validator("methods", "learners")
    @classmethod
    def _training_needs_them(cls, words: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        # Kinds that could not be read may well include training.
        if JobKind.TRAINING in info.data.get("kinds", (JobKind.TRAINING,)) and not words:
            raise fault(f"training is allowed, but `{info.field_name}` is empty", "list at least one")
        return words

    @field_validator("learner_digests")
    @classmethod
    def _pins_are_of_learners(cls, pins: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        learners = info.data.get("learners")
        unknown = [] if learners is None else sorted(set(pins) - set(learners))
        if unknown:
            raise fault(
                f"a digest is given for {unknown[0]}, which is not among the learners",
                "add the learner or remove the digest",
            )
        return pins


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
            None stands for the minimum cohort. A node asks for two more sites than may collude in any case.
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

    allowed: Annotated[tuple[Protection, ...], Field(min_length=1), _different("allowed")]
    coordinator_may_learn: Disclosure
    minimum_cohort: Annotated[int, Field(ge=1, le=MAX_NODES)]
    corrupted_fraction: Annotated[float, Field(ge=0, le=HIGHEST_CORRUPTED_FRACTION)] = DEFAULT_CORRUPTED_FRACTION
    dropout_fraction: Annotated[float, Field(ge=0, le=HIGHEST_DROPOUT_FRACTION)] = DEFAULT_DROPOUT_FRACTION
    history: HistoryRules = HistoryRules()

    @model_validator(mode="after")
    def _none_means_individual(self) -> "ProtectionRules":
        if Protection.NONE in self.allowed and self.coordinator_may_learn is not Disclosure.INDIVIDUAL:
            raise fault(
                "without protection the coordinator sees what each site contributed",
                "remove `none`, or write `coordinator_may_learn: INDIVIDUAL`",
                key="allowed",
            )
        return self

    @field_validator("minimum_cohort")
    @classmethod
    def _hides_one_among_others(cls, cohort: int, info: ValidationInfo) -> int:
        # What could not be read counts as protected: the stricter reading.
        protected = set(info.data.get("allowed", ())) != {Protection.NONE}
        if protected and cohort < SMALLEST_PROTECTED_COHORT:
            raise fault(
                f"with a minimum cohort of {cohort} a site could learn another's contribution",
                f"write {SMALLEST_PROTECTED_COHORT} or more",
            )
        return cohort

    @field_validator("dropout_fraction")
    @classmethod
    def _masks_withstand_both(cls, dropout: float, info: ValidationInfo) -> float:
        corrupted = info.data.get("corrupted_fraction", 0.0)
        if corrupted + 2 * dropout > MOST_CORRUPTED_AND_TWICE_DROPPED + 1e-9:
            raise fault(
                f"no masks withstand that {corrupted:g} of the sites collude while {dropout:g} leave",
                f"lower one: `corrupted_fraction` plus twice this is at most {MOST_CORRUPTED_AND_TWICE_DROPPED:g}",
            )
        return dropout

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
    """Whether each record needs a consent in force, and how many usable records a contribution needs.

    Attributes:
        purpose_codes: what a code in an imported FHIR consent stands for, beside the table that is built in: a purpose
            of the Data Use Ontology, or ``none`` for no research purpose. A key is a PurposeOfUse code, or
            ``system|code`` for another code system.
    """

    required: bool
    minimum_records: Annotated[int, Field(ge=1, le=MAX_RECORDS)]
    purpose_codes: Annotated[dict[ForeignCode, str], Field(max_length=MAX_PURPOSE_CODES)] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _codes_lead_to_purposes(self) -> "ConsentRules":
        for code, purpose in self.purpose_codes.items():
            problem = None if purpose == NO_PURPOSE else problem_with(purpose)
            if problem is not None:
                raise fault(f"`{code}`: {problem[0]}", f"{problem[1]}, or write {NO_PURPOSE}", key="purpose_codes")
        return self


class DataRules(Document):
    """How far the data may move from what was approved before the site stops contributing.

    Attributes:
        max_rows_changed_percent: most rows that may have been added, removed or edited since the dataset was approved,
            in percent of the approved number. With 0 the content must be the approved one to the byte.
    """

    max_rows_changed_percent: Annotated[float, Field(ge=0, le=100)] = 0


class ApprovalRules(Document):
    """Who approves.

    Attributes:
        compliance_officers: distinct officers who must sign this file before it comes into force.
        node_operator_per_job: whether the site's operator must agree to each job.
        federation_policy: whether a job also needs a policy of the federation that speaks for the dataset.
    """

    compliance_officers: Annotated[int, Field(ge=1, le=MAX_OFFICERS)]
    node_operator_per_job: bool = False
    federation_policy: bool = False


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
    """One version of an organisation's or a federation's policy.

    Attributes:
        policy: name; versions of one policy share it.
        version: number of this version, higher than any before.
        level: whether it speaks for one data holder or for the whole federation.
        owner: organisation whose compliance officers sign it; of a federation's policy, the federation's name.
        datasets: names of the datasets it speaks for.
    """

    policy: Name
    version: Annotated[int, Field(ge=1, le=1_000_000)]
    level: PolicyLevel = PolicyLevel.NODE
    owner: Annotated[Sentence, StringConstraints(strip_whitespace=False)]
    datasets: Annotated[tuple[Name, ...], Field(min_length=1, max_length=100), _different("datasets")]
    purposes: Annotated[tuple[PolicyPurpose, ...], Field(min_length=1, max_length=20), _different("purposes")]
    jobs: JobRules
    protection: ProtectionRules
    privacy: PrivacyRules
    consent: ConsentRules
    data: DataRules = Field(default_factory=DataRules)
    approval: ApprovalRules
    retention: RetentionRules
    valid: Validity

    @field_validator("approval")
    @classmethod
    def _fits_the_level(cls, rules: ApprovalRules, info: ValidationInfo) -> ApprovalRules:
        if info.data.get("level") is not PolicyLevel.FEDERATION:
            return rules
        if rules.compliance_officers < FEDERATION_OFFICERS:
            raise fault(
                "one organisation alone cannot set the rules of a federation",
                f"write `compliance_officers: {FEDERATION_OFFICERS}` or more",
            )
        if rules.federation_policy:
            raise fault("`federation_policy` is a demand of a node's policy", "remove it here")
        return rules

    @property
    def title(self) -> str:
        """Name and version as sentences use them."""
        whose = "federation policy" if self.level is PolicyLevel.FEDERATION else "policy"
        return f"{whose} {self.policy}, version {self.version}"


@lru_cache(maxsize=256)
def load_policy(data: bytes, filename: str) -> PolicyDocument:
    """Read a policy file; the SHA-256 of ``data`` is what officers sign and nodes pin.

    Raises:
        DocumentError: with every problem found.
    """
    return load_yaml(data, filename, PolicyDocument)
