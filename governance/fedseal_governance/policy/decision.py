"""Does a policy allow a job? A pure function of job, policy and what the node knows.

Rules kept here:

1. Every clause of the policy gives one reason, allowing or refusing; the job is allowed when all allow it.
2. Unknown or missing means no: a fact that nobody established refuses the clause that needs it.
3. A reason is a sentence that a compliance officer understands; a refusing one says what to change.

Left to the caller: whether the policy is approved and in force (`fedseal_governance.policy.store`), and
whether the job is signed. Reference: design of the node's checks before it contributes, numbers 2 to 5.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from fedseal_governance.jobs import JobDocument
from fedseal_governance.policy.model import PolicyDocument
from fedseal_governance.purposes import label_of, permits
from fedseal_governance.vocabulary import Disclosure, JobKind, PolicyLevel, PrivacyMechanism

_NEW_VERSION = "or have a new version of the policy approved"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What a node knows when it decides; None stands for "not established".

    Attributes:
        now: the present, aware.
        datasets: names of the datasets registered at this node and unchanged since.
        usable_records: records that the job would use here now (consent in force where required).
        method_discloses: what the installed method itself states that the coordinator learns.
        learner_digest: SHA-256 of the installed learner's code, lower-case hexadecimal.
        operator_agreed: whether the node's operator has agreed to this job.
        federation_policy: whether a policy of the federation that speaks for the dataset is in force.
    """

    now: datetime
    datasets: frozenset[str]
    usable_records: int | None
    method_discloses: Disclosure | None
    learner_digest: str | None = None
    operator_agreed: bool = False
    federation_policy: bool = False

    def __post_init__(self) -> None:
        if self.now.tzinfo is None:
            raise ValueError("NodeFacts.now has no time zone; pass an aware UTC time")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """What one clause says about the job.

    Attributes:
        clause: the policy's key, such as ``protection.minimum_cohort``.
        sentence: plain English; a refusal says what to change.
        allowed: whether this clause allows the job.
        level: whose policy the clause belongs to.
    """

    clause: str
    sentence: str
    allowed: bool
    level: PolicyLevel = PolicyLevel.NODE

    @property
    def label(self) -> str:
        """The clause with its level where that is not the node's own: ``federation: jobs.methods``."""
        return self.clause if self.level is PolicyLevel.NODE else f"{self.level.value}: {self.clause}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The verdict on a job, with every clause's reason in the order of the policy file."""

    allowed: bool
    reasons: tuple[Reason, ...]

    @property
    def refusals(self) -> tuple[Reason, ...]:
        """The reasons that refuse the job."""
        return tuple(reason for reason in self.reasons if not reason.allowed)


def decide(job: JobDocument, policy: PolicyDocument, facts: NodeFacts) -> Decision:
    """Judge ``job`` by ``policy`` with what the node knows."""
    reasons = tuple(replace(reason, level=policy.level) for clause in _CLAUSES for reason in clause(job, policy, facts))
    return Decision(allowed=all(reason.allowed for reason in reasons), reasons=reasons)


def _reason(clause: str, allowed: bool, agreed: str, refused: str) -> Reason:
    return Reason(clause=clause, allowed=allowed, sentence=agreed if allowed else refused)


def _datasets(job: JobDocument, policy: PolicyDocument, facts: NodeFacts) -> Iterable[Reason]:
    listed = ", ".join(policy.datasets)
    if job.dataset not in policy.datasets:
        sentence = (
            f"The policy covers the datasets {listed}, not {job.dataset}; "
            f"change the job's dataset, {_NEW_VERSION} that lists it."
        )
    elif job.dataset not in facts.datasets:
        sentence = (
            f"The dataset {job.dataset} is not registered here, or has changed since it was; "
            "register it again with `fedseal dataset register`."
        )
    else:
        sentence = ""
    yield _reason("datasets", not sentence, f"The policy covers the dataset {job.dataset}.", sentence)


def _purposes(job: JobDocument, policy: PolicyDocument, _facts: NodeFacts) -> Iterable[Reason]:
    allowed = any(permits(purpose.code, job.purpose) for purpose in policy.purposes)
    asked = f"{label_of(job.purpose)} ({job.purpose})"
    listed = " and ".join(f"{purpose.label} ({purpose.code})" for purpose in policy.purposes)
    yield _reason(
        "purposes",
        allowed,
        f"The data may be used for {asked}.",
        f"The data may be used for {listed}, but the job asks for {asked}; "
        f"change the job's purpose, {_NEW_VERSION} that includes it.",
    )


def _kinds(job: JobDocument, policy: PolicyDocument, _facts: NodeFacts) -> Iterable[Reason]:
    yield _reason(
        "jobs.kinds",
        job.kind in policy.jobs.kinds,
        f"Jobs for {job.kind.plain} are allowed.",
        f"Jobs for {job.kind.plain} are not allowed; {_NEW_VERSION[3:]} that lists {job.kind.value}.",
    )


def _methods(job: JobDocument, policy: PolicyDocument, _facts: NodeFacts) -> Iterable[Reason]:
    if job.method is None:
        return
    name, listed = job.method.name, ", ".join(policy.jobs.methods) or "none"
    yield _reason(
        "jobs.methods",
        name in policy.jobs.methods,
        f"The method {name} is allowed.",
        f"The allowed methods are {listed}, but the job uses {name}; "
        f"choose an allowed one, {_NEW_VERSION} that lists it.",
    )


def _learners(job: JobDocument, policy: PolicyDocument, facts: NodeFacts) -> Iterable[Reason]:
    if job.learner is None:
        return
    name, listed = job.learner.name, ", ".join(policy.jobs.learners) or "none"
    yield _reason(
        "jobs.learners",
        name in policy.jobs.learners,
        f"The learner {name} is allowed.",
        f"The allowed learners are {listed}, but the job uses {name}; "
        f"choose an allowed one, {_NEW_VERSION} that lists it.",
    )
    pinned = policy.jobs.learner_digests.get(name)
    if pinned is not None:
        yield _reason(
            "jobs.learner_digests",
            facts.learner_digest == pinned,
            f"The code of {name} is the approved one.",
            f"The code of {name} installed here is not the one that was approved ({pinned[:12]}…); "
            f"install the approved version, {_NEW_VERSION}.",
        )


def _rounds(job: JobDocument, policy: PolicyDocument, _facts: NodeFacts) -> Iterable[Reason]:
    most = policy.jobs.max_rounds
    yield _reason(
        "jobs.max_rounds",
        job.rounds <= most,
        f"{_count(job.rounds, 'round')} of at most {most}.",
        f"At most {_count(most, 'round')} may be run, but the job asks for {job.rounds}; lower `rounds`.",
    )


def _epochs(job: JobDocument, policy: PolicyDocument, _facts: NodeFacts) -> Iterable[Reason]:
    if job.kind is not JobKind.TRAINING:
        return
    most, asked = policy.jobs.max_local_epochs, job.local_epochs
    if asked is None:
        refused = (
            f"At most {most} passes over the records are allowed in a round, but the job does not say "
            "how many "
            "it makes; add `local_epochs` to the settings of its method."
        )
    else:
        refused = (
            f"At most {most} passes over the records are allowed in a round, but the job makes {asked}; "
            "lower `local_epochs`."
        )
    allowed = asked is not None and 1 <= asked <= most
    yield _reason("jobs.max_local_epochs", allowed, f"{asked} of at most {most} passes over the records.", refused)


def _protection(job: JobDocument, policy: PolicyDocument, _facts: NodeFacts) -> Iterable[Reason]:
    listed = " or ".join(protection.value for protection in policy.protection.allowed)
    yield _reason(
        "protection.allowed",
        job.protection in policy.protection.allowed,
        f"The protection {job.protection.value} ({job.protection.plain}) is allowed.",
        f"Contributions must be protected by {listed}, but the job uses {job.protection.value} "
        f"({job.protection.plain}); change the job's protection.",
    )


def _disclosure(job: JobDocument, policy: PolicyDocument, facts: NodeFacts) -> Iterable[Reason]:
    most, stated = policy.protection.coordinator_may_learn, facts.method_discloses
    if job.disclosure > most:
        refused = (
            f"The coordinator may learn {most.plain}, but the job would let it learn {job.disclosure.plain}; "
            "choose a method that discloses less."
        )
    elif stated is None:
        refused = "What the job's method discloses is not known here; install the method on this node."
    elif stated > job.disclosure:
        refused = (
            f"The job says that the coordinator learns {job.disclosure.plain}, but its method discloses "
            f"{stated.plain}; correct the job's `disclosure` or choose another method."
        )
    else:
        refused = ""
    agreed = f"The coordinator learns {job.disclosure.plain}, as allowed."
    yield _reason("protection.coordinator_may_learn", not refused, agreed, refused)


def _cohort(job: JobDocument, policy: PolicyDocument, _facts: NodeFacts) -> Iterable[Reason]:
    least = policy.protection.minimum_cohort
    yield _reason(
        "protection.minimum_cohort",
        job.minimum_cohort >= least,
        f"Sums are released for at least {job.minimum_cohort} sites; the policy asks for {least}.",
        f"Sums may be released only for at least {least} sites, but the job would release them for "
        f"{job.minimum_cohort}; raise `minimum_cohort`.",
    )


def _privacy(job: JobDocument, policy: PolicyDocument, _facts: NodeFacts) -> Iterable[Reason]:
    adds_noise = job.privacy.mechanism is not PrivacyMechanism.NONE
    yield _reason(
        "privacy",
        # This version has no mechanism that could keep a budget, so a budget refuses every job.
        not policy.privacy.has_budget,
        "The policy asks for no privacy budget.",
        f"The policy allows an epsilon of at most {policy.privacy.epsilon_per_job} for each job, but the job "
        + ("names a mechanism that cannot be checked here" if adds_noise else "declares no privacy mechanism")
        + f"; declare one that this version can enforce, {_NEW_VERSION} without a budget.",
    )


def _records(_job: JobDocument, policy: PolicyDocument, facts: NodeFacts) -> Iterable[Reason]:
    least, usable = policy.consent.minimum_records, facts.usable_records
    which = "records with a consent in force" if policy.consent.required else "records"
    if usable is None:
        refused = f"At least {least} {which} are needed, but they have not been counted; register the dataset."
    else:
        # Not the number itself: the reason travels to the coordinator.
        refused = (
            f"At least {least} {which} are needed, but fewer can be used for this job now; "
            "wait until more consents are recorded."
        )
    allowed = usable is not None and usable >= least
    yield _reason("consent.minimum_records", allowed, f"At least {least} {which} can be used.", refused)


def _operator(_job: JobDocument, policy: PolicyDocument, facts: NodeFacts) -> Iterable[Reason]:
    if not policy.approval.node_operator_per_job:
        return
    yield _reason(
        "approval.node_operator_per_job",
        facts.operator_agreed,
        "The site's operator has agreed to this job.",
        "The site's operator must agree to each job and has not agreed to this one; ask the operator.",
    )


def _federation(_job: JobDocument, policy: PolicyDocument, facts: NodeFacts) -> Iterable[Reason]:
    if not policy.approval.federation_policy:
        return
    yield _reason(
        "approval.federation_policy",
        facts.federation_policy,
        "A policy of the federation for this dataset is in force.",
        "The policy asks for a policy of the federation as well, and none for this dataset is in force here; "
        "have one approved with `fedseal policy propose --federation`.",
    )


def _valid(_job: JobDocument, policy: PolicyDocument, facts: NodeFacts) -> Iterable[Reason]:
    today = facts.now.astimezone(UTC).date()
    period = f"from {policy.valid.start} until {policy.valid.until}"
    yield _reason(
        "valid",
        policy.valid.start <= today <= policy.valid.until,
        f"The policy is valid {period}.",
        f"The policy is valid {period}, and today is {today}; have a new version of the policy approved.",
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


_CLAUSES: tuple[Callable[[JobDocument, PolicyDocument, NodeFacts], Iterable[Reason]], ...] = (
    _datasets,
    _purposes,
    _kinds,
    _methods,
    _learners,
    _rounds,
    _epochs,
    _protection,
    _disclosure,
    _cohort,
    _privacy,
    _records,
    _operator,
    _federation,
    _valid,
)

CLAUSES = (
    "datasets",
    "purposes",
    "jobs.kinds",
    "jobs.methods",
    "jobs.learners",
    "jobs.learner_digests",
    "jobs.max_rounds",
    "jobs.max_local_epochs",
    "protection.allowed",
    "protection.coordinator_may_learn",
    "protection.minimum_cohort",
    "privacy",
    "consent.minimum_records",
    "approval.node_operator_per_job",
    "approval.federation_policy",
    "valid",
)
"""Every clause that can allow or refuse, in the order of the policy file."""
