"""What is odd about a valid policy file: nothing that refuses it, but that its author will want to know."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

from fedseal_governance.documents import suggestion
from fedseal_governance.policy.model import PolicyDocument
from fedseal_governance.vocabulary import PrivacyMechanism, Protection


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """One oddity, with the clause it concerns."""

    clause: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What this machine could run."""

    methods: Collection[str]
    learners: Collection[str]
    protections: Collection[Protection]


def remarks(policy: PolicyDocument, installed: Installed, *, today: date) -> tuple[Remark, ...]:
    """Everything odd about ``policy`` on the machine that knows ``installed``, on the day ``today`` (UTC)."""
    return (
        *_not_installed("jobs.methods", "method", policy.jobs.methods, installed.methods),
        *_not_installed("jobs.learners", "learner", policy.jobs.learners, installed.learners),
        *_protections(policy, installed),
        *_budget(policy),
        *_period(policy, today),
    )


def _not_installed(clause: str, noun: str, names: Collection[str], known: Collection[str]) -> list[Remark]:
    found = []
    for name in names:
        if name not in known:
            near = suggestion(name, sorted(known))
            hint = f"did you mean {near}?" if near else "jobs with it are refused until it is."
            found.append(Remark(clause=clause, sentence=f"The {noun} {name} is not installed on this machine; {hint}"))
    return found


def _protections(policy: PolicyDocument, installed: Installed) -> list[Remark]:
    if set(policy.protection.allowed) & set(installed.protections):
        return []
    usable = " or ".join(sorted(way.value for way in installed.protections))
    return [
        Remark(
            clause="protection.allowed",
            sentence=f"This version can run none of the protections, so every job would be refused; add {usable}.",
        )
    ]


def _budget(policy: PolicyDocument) -> list[Remark]:
    if not policy.privacy.has_budget or len(PrivacyMechanism) > 1:
        return []
    return [
        Remark(
            clause="privacy",
            sentence="This version has no mechanism that could keep a privacy budget, so every job would be refused.",
        )
    ]


def _period(policy: PolicyDocument, today: date) -> list[Remark]:
    if policy.valid.until < today:
        sentence = f"The last day {policy.valid.until} is past; the policy cannot be proposed any more."
        return [Remark(clause="valid.until", sentence=sentence)]
    if policy.valid.start > today:
        sentence = f"The policy is not valid before {policy.valid.start}; until then it allows nothing."
        return [Remark(clause="valid.from", sentence=sentence)]
    return []
