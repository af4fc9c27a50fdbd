"""What a new version of a policy changes, in words: what becomes allowed and what becomes forbidden.

Each field has its own sentence; a test changes every field of the model in turn and fails when `diff` is
silent.
"""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from fedseal_governance.policy.model import PolicyDocument


class Direction(StrEnum):
    """Which way a change goes."""

    ALLOWED = "allowed"
    FORBIDDEN = "forbidden"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference between two versions, as a sentence."""

    kind: Direction
    clause: str
    sentence: str


def diff(old: PolicyDocument, new: PolicyDocument) -> list[Change]:
    """Every difference from ``old`` to ``new``, in the order of the policy file."""
    return [
        *_identity(old, new),
        *_lists(old, new),
        *_limits(old, new),
        *_assumptions(old, new),
        *_privacy(old, new),
        *_switches(old, new),
        *_retention(old, new),
        *_validity(old, new),
    ]


def _allowed(clause: str, sentence: str) -> Change:
    return Change(kind=Direction.ALLOWED, clause=clause, sentence=sentence)


def _forbidden(clause: str, sentence: str) -> Change:
    return Change(kind=Direction.FORBIDDEN, clause=clause, sentence=sentence)


def _other(clause: str, sentence: str) -> Change:
    return Change(kind=Direction.OTHER, clause=clause, sentence=sentence)


def _identity(old: PolicyDocument, new: PolicyDocument) -> list[Change]:
    fields = (
        ("policy", "The policy is called", old.policy, new.policy),
        ("version", "The version is", old.version, new.version),
        ("owner", "The policy belongs to", old.owner, new.owner),
    )
    return [
        _other(key, f"{text} {after} instead of {before}.") for key, text, before, after in fields if before != after
    ]


def _lists(old: PolicyDocument, new: PolicyDocument) -> list[Change]:
    def purposes(policy: PolicyDocument) -> list[str]:
        return [f"{purpose.label} ({purpose.code})" for purpose in policy.purposes]

    def protections(policy: PolicyDocument) -> list[str]:
        return [f"{way.value} ({way.plain})" for way in policy.protection.allowed]

    def kinds(policy: PolicyDocument) -> list[str]:
        return [kind.plain for kind in policy.jobs.kinds]

    def pins(policy: PolicyDocument) -> list[str]:
        return [f"{name} with fingerprint {digest}" for name, digest in policy.jobs.learner_digests.items()]

    changes = [
        *_members("datasets", "Use of the dataset {}", list(old.datasets), list(new.datasets)),
        *_members("purposes", "Use for {}", purposes(old), purposes(new)),
        *_members("jobs.kinds", "A job for {}", kinds(old), kinds(new)),
        *_members("jobs.methods", "The method {}", list(old.jobs.methods), list(new.jobs.methods)),
        *_members("jobs.learners", "The learner {}", list(old.jobs.learners), list(new.jobs.learners)),
        *_members("protection.allowed", "Protection by {}", protections(old), protections(new)),
    ]
    # A pin narrows: adding one forbids every other version of the learner.
    added, removed = _sides(pins(old), pins(new))
    changes += [_forbidden("jobs.learner_digests", f"Every version but {pin} becomes forbidden.") for pin in added]
    changes += [_allowed("jobs.learner_digests", f"The code is no longer pinned to {pin}.") for pin in removed]
    return changes


def _members(clause: str, noun: str, old: list[str], new: list[str]) -> list[Change]:
    added, removed = _sides(old, new)
    return [
        *(_allowed(clause, f"{noun.format(word)} becomes allowed.") for word in added),
        *(_forbidden(clause, f"{noun.format(word)} becomes forbidden.") for word in removed),
    ]


def _sides(old: list[str], new: list[str]) -> tuple[list[str], list[str]]:
    return [word for word in new if word not in old], [word for word in old if word not in new]


def _limits(old: PolicyDocument, new: PolicyDocument) -> list[Change]:
    most = (
        ("jobs.max_rounds", "rounds of a job", old.jobs.max_rounds, new.jobs.max_rounds),
        (
            "jobs.max_local_epochs",
            "passes over the records in a round",
            old.jobs.max_local_epochs,
            new.jobs.max_local_epochs,
        ),
    )
    least = (
        (
            "protection.minimum_cohort",
            "sites in a released sum",
            old.protection.minimum_cohort,
            new.protection.minimum_cohort,
        ),
        (
            "consent.minimum_records",
            "usable records for a contribution",
            old.consent.minimum_records,
            new.consent.minimum_records,
        ),
        (
            "approval.compliance_officers",
            "signatures of compliance officers",
            old.approval.compliance_officers,
            new.approval.compliance_officers,
        ),
    )
    changes = [_limit(*row, grows_allowed=True) for row in most if row[2] != row[3]]
    changes += [_limit(*row, grows_allowed=False) for row in least if row[2] != row[3]]
    before, after = old.protection.coordinator_may_learn, new.protection.coordinator_may_learn
    if before != after:
        make = _allowed if after > before else _forbidden
        changes.append(
            make(
                "protection.coordinator_may_learn",
                f"The coordinator may learn {after.plain} instead of {before.plain}.",
            )
        )
    return changes


def _assumptions(old: PolicyDocument, new: PolicyDocument) -> list[Change]:
    """What the protection must withstand: assuming more forbids weaker rounds."""
    before, after = old.protection, new.protection
    shares = (
        ("corrupted_fraction", "that {} of the sites collude", before.corrupted_fraction, after.corrupted_fraction),
        ("dropout_fraction", "that {} of the sites leave", before.dropout_fraction, after.dropout_fraction),
    )
    changes = [
        (_forbidden if later > earlier else _allowed)(
            f"protection.{key}",
            f"Rounds must withstand {text.format(f'{100 * later:.10g} %')} instead of {100 * earlier:.10g} %.",
        )
        for key, text, earlier, later in shares
        if earlier != later
    ]
    scopes = before.history.scope, after.history.scope
    if scopes[0] is not scopes[1]:
        make = _forbidden if scopes[1].width > scopes[0].width else _allowed
        sentence = f"Compared for their sites are {scopes[1].plain}, instead of {scopes[0].plain}."
        changes.append(make("protection.history.scope", sentence))
    if before.minimum_difference != after.minimum_difference:
        make = _forbidden if after.minimum_difference > before.minimum_difference else _allowed
        sentence = (
            f"Sums that are compared must be over the same sites or differ by at least {after.minimum_difference} "
            f"instead of {before.minimum_difference}."
        )
        changes.append(make("protection.history.minimum_difference", sentence))
    return changes


def _limit(clause: str, noun: str, before: int, after: int, *, grows_allowed: bool) -> Change:
    bound = "At most" if grows_allowed else "At least"
    make = _allowed if (after > before) is grows_allowed else _forbidden
    verb = "are allowed" if grows_allowed else "are required"
    return make(clause, f"{bound} {after} instead of {before} {noun} {verb}.")


def _privacy(old: PolicyDocument, new: PolicyDocument) -> list[Change]:
    before, after = old.privacy, new.privacy
    if before.has_budget and not after.has_budget:
        return [_allowed("privacy", "Jobs without noise become allowed; the privacy budget is dropped.")]
    if after.has_budget and not before.has_budget:
        return [
            _forbidden(
                "privacy",
                "Jobs without noise become forbidden; a privacy budget applies "
                f"(epsilon {after.epsilon_per_job:g} for each job, {after.epsilon_total:g} in all, "
                f"delta {after.delta:g}).",
            )
        ]
    figures = (
        (
            "epsilon_per_job",
            "The privacy allowance of a job",
            before.epsilon_per_job,
            after.epsilon_per_job,
        ),
        ("epsilon_total", "The privacy allowance of all jobs", before.epsilon_total, after.epsilon_total),
        ("delta", "The probability that the privacy promise fails", before.delta, after.delta),
    )
    return [
        (_allowed if new_value > old_value else _forbidden)(
            f"privacy.{key}", f"{text} is {new_value:g} instead of {old_value:g}."
        )
        for key, text, old_value, new_value in figures
        if old_value is not None and new_value is not None and old_value != new_value
    ]


def _switches(old: PolicyDocument, new: PolicyDocument) -> list[Change]:
    changes = []
    if old.consent.required != new.consent.required:
        changes.append(
            _forbidden("consent.required", "Using records without a consent in force becomes forbidden.")
            if new.consent.required
            else _allowed("consent.required", "Using records without a consent in force becomes allowed.")
        )
    clause = "approval.node_operator_per_job"
    if old.approval.node_operator_per_job != new.approval.node_operator_per_job:
        changes.append(
            _forbidden(clause, "Jobs to which the site's operator has not agreed become forbidden.")
            if new.approval.node_operator_per_job
            else _allowed(clause, "Jobs to which the site's operator has not agreed become allowed.")
        )
    return changes


def _retention(old: PolicyDocument, new: PolicyDocument) -> list[Change]:
    rows = (
        ("audit_years", "The audit log", old.retention.audit_years, new.retention.audit_years),
        ("model_years", "Models", old.retention.model_years, new.retention.model_years),
    )
    return [
        _other(f"retention.{key}", f"{what} will be kept for {after} instead of {before} years.")
        for key, what, before, after in rows
        if before != after
    ]


def _validity(old: PolicyDocument, new: PolicyDocument) -> list[Change]:
    def moved(key: str, text: str, before: date, after: date, *, later_allowed: bool) -> list[Change]:
        if before == after:
            return []
        make = _allowed if (after > before) is later_allowed else _forbidden
        return [make(f"valid.{key}", f"{text} {after} instead of {before}.")]

    return [
        *moved("from", "Jobs are allowed from", old.valid.start, new.valid.start, later_allowed=False),
        *moved("until", "Jobs are allowed until", old.valid.until, new.valid.until, later_allowed=True),
    ]
