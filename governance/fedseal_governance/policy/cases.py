"""Example jobs with the verdict that a policy must give them: how a compliance team tests its own rules.

A file of cases names job files, what to change in them, what to assume about the site, and what the policy must say.
A case that is to be refused may name the clauses that must refuse; then exactly these must.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Annotated, Literal

from pydantic import Field, field_validator

from fedseal_governance.documents import Document, fault, load_yaml
from fedseal_governance.errors import RefusedError
from fedseal_governance.jobs import JobDocument
from fedseal_governance.policy.decision import CLAUSES, Decision, NodeFacts, decide
from fedseal_governance.policy.editing import edited
from fedseal_governance.policy.model import PolicyDocument
from fedseal_governance.vocabulary import Disclosure, Sentence, Setting

MAX_CASES = 1_000
_MANY_RECORDS = 10_000_000


class CaseFacts(Document):
    """What to assume about the site; what is left out is as good as can be.

    Attributes:
        registered: whether the dataset is registered and unchanged.
        usable_records: how many records could be used.
        operator_agreed: whether the site's operator has agreed to the job.
        federation_policy: whether the federation has a policy in force for the dataset.
        learner_digest: digest of the learner's installed code; left out: the approved one.
    """

    registered: bool = True
    usable_records: Annotated[int, Field(ge=0)] = _MANY_RECORDS
    operator_agreed: bool = True
    federation_policy: bool = True
    learner_digest: str | None = None


class Case(Document):
    """One example.

    Attributes:
        case: what it shows, for people.
        job: a job file, relative to the file of cases.
        change: other values for some of the job's keys, by dotted key; null removes a key.
        today: the day of the decision; left out: the one of the file, or the policy's first day.
        expect: the verdict.
        clauses: of a refusal, the clauses that refuse; left out: whichever.
    """

    case: Sentence
    job: Annotated[str, Field(min_length=1, max_length=500)]
    change: Annotated[dict[str, Setting | tuple[str, ...] | None], Field(max_length=50)] = Field(default_factory=dict)
    facts: CaseFacts = CaseFacts()
    today: date | None = None
    expect: Literal["allowed", "refused"]
    clauses: Annotated[tuple[str, ...], Field(max_length=50)] = ()

    @field_validator("clauses")
    @classmethod
    def _clauses_exist(cls, clauses: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [clause for clause in clauses if clause not in CLAUSES]
        if unknown:
            raise fault(f"no clause is called {unknown[0][:60]}", f"choose among {', '.join(CLAUSES)}")
        return clauses


class CaseFile(Document):
    """A file of examples.

    Attributes:
        policy: the policy file they are about, relative to this file; the command may name another.
        today: the day of all decisions that name none.
    """

    policy: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    today: date | None = None
    cases: Annotated[tuple[Case, ...], Field(min_length=1, max_length=MAX_CASES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the policy said to one case.

    Attributes:
        decision: None where the case itself could not be judged; ``fault`` says why.
        passed: whether that is what was expected.
    """

    case: Case
    decision: Decision | None
    passed: bool
    fault: str

    @property
    def verdict(self) -> str:
        """The verdict as the file writes it, or ``error``."""
        if self.decision is None:
            return "error"
        return "allowed" if self.decision.allowed else "refused"

    @property
    def clauses(self) -> tuple[str, ...]:
        """The clauses that refused."""
        return () if self.decision is None else tuple(reason.clause for reason in self.decision.refusals)


def load_cases(data: bytes, filename: str) -> CaseFile:
    """Read a file of cases.

    Raises:
        DocumentError: with every problem found.
    """
    return load_yaml(data, filename, CaseFile)


def judge_case(
    case: Case,
    job: JobDocument,
    policy: PolicyDocument,
    *,
    today: date | None,
    discloses: Mapping[str, Disclosure],
) -> Outcome:
    """What ``policy`` says to ``case``.

    Args:
        case: the example.
        job: the job file it names, unchanged.
        policy: the rules.
        today: the day for a case that names none; None: the policy's first day.
        discloses: what each installed method discloses, by name.
    """
    try:
        changed = edited(job, case.change)
    except RefusedError as error:
        return Outcome(case=case, decision=None, passed=False, fault=str(error))
    method = None if changed.method is None else changed.method.name
    learner = None if changed.learner is None else changed.learner.name
    day = case.today or today or policy.valid.start
    facts = NodeFacts(
        now=datetime.combine(day, time(12), UTC),
        datasets=frozenset({changed.dataset}) if case.facts.registered else frozenset(),
        usable_records=case.facts.usable_records,
        method_discloses=Disclosure.SUM if method is None else discloses.get(method, changed.disclosure),
        learner_digest=case.facts.learner_digest or policy.jobs.learner_digests.get(learner or ""),
        operator_agreed=case.facts.operator_agreed,
        federation_policy=case.facts.federation_policy,
    )
    decision = decide(changed, policy, facts)
    refusing = {reason.clause for reason in decision.refusals}
    passed = decision.allowed is (case.expect == "allowed") and (not case.clauses or refusing == set(case.clauses))
    return Outcome(case=case, decision=decision, passed=passed, fault="")
