"""What laws ask about a job like this, and how far this job's evidence answers it.

Each line has one of four standings, and never a better one than the evidence carries:

- *proved*: entries of the verified audit log say it, and the line names them;
- *configured*: the signed documents or the software provide for it, and nothing here shows that it had its effect;
- *organisational*: people must do it, outside of any software;
- *not covered*: nothing in this evidence speaks of it.

Sources: Regulation (EU) 2016/679 (GDPR); 45 CFR 164.312 (HIPAA Security Rule, technical safeguards); Regulation (EU)
2024/1689 (AI Act), whose articles bind high-risk systems. The lines are a map for a reader of the law, no legal advice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from fedseal.report.checks import Findings, Outcome
from fedseal.report.evidence import LogEvidence, ranges
from fedseal.report.sources import Sources
from fedseal_governance.vocabulary import Protection

ENDS = ("job.finished", "job.failed", "job.stopped", "job.refused")


class Standing(StrEnum):
    """How far the evidence goes."""

    PROVED = "proved"
    CONFIGURED = "configured"
    ORGANISATIONAL = "organisational"
    NOT_COVERED = "not covered"

    @property
    def tone(self) -> str:
        """The style sheet's name."""
        return {"proved": "good", "configured": "open", "organisational": "warn"}.get(self.value, "plain")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One article.

    Attributes:
        article: How it is cited.
        asks: What it is about, in a few words.
        answer: What the evidence says to it.
        entries: The log entries that prove it, ready to show; empty unless it is proved.
    """

    article: str
    asks: str
    standing: Standing
    answer: str
    entries: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """One law with its lines."""

    name: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """What the lines are decided by.

    Attributes:
        log: None unless the coordinator's log was verified and holds this job's record.
        protected: Whether the coordinator could not see single contributions.
        rounds: Whether any round began.
    """

    sources: Sources
    log: LogEvidence | None
    protected: bool
    rounds: bool

    def proved(self, article: str, asks: str, answer: str, types: tuple[str, ...], *, short: str) -> Line:
        """Proved by entries of these types; else what remains without them, which is `short` of it."""
        numbers = () if self.log is None else self.log.numbers(*types)
        if not numbers:
            return Line(article=article, asks=asks, standing=Standing.CONFIGURED, answer=short)
        return Line(article=article, asks=asks, standing=Standing.PROVED, answer=answer, entries=ranges(numbers))


def laws(sources: Sources, findings: Findings, evidence: LogEvidence | None) -> tuple[Law, ...]:
    """The map for this job.

    Args:
        sources: What the coordinator says of the job.
        findings: What was checked; nothing is proved while a check failed.
        evidence: The job in the coordinator's verified log; None if there is none.
    """
    sound = not findings.failed and findings.record.outcome is Outcome.PASSED
    protection = sources.job.protection if sources.job is not None else Protection.NONE
    case = _Case(
        sources=sources,
        log=evidence if sound else None,
        protected=protection is not Protection.NONE,
        rounds=bool(sources.attempts),
    )
    return (
        Law(name="GDPR, Regulation (EU) 2016/679", lines=tuple(_gdpr(case))),
        Law(name="HIPAA Security Rule, 45 CFR 164.312", lines=tuple(_hipaa(case))),
        Law(name="AI Act, Regulation (EU) 2024/1689, for high-risk systems", lines=tuple(_ai_act(case))),
    )


def _gdpr(case: _Case) -> Iterator[Line]:
    yield case.proved(
        "Art. 5(1)(b)",
        "purpose limitation",
        "The signed job names one purpose, and each data holder's answer names the policy by which it judged it. "
        "What the model is used for afterwards is not shown.",
        ("job.submitted", "job.accepted", "job.declined"),
        short="The job file names one purpose, and a data holder's software refuses purposes that its policy does not "
        "list.",
    )
    yield _configured(
        "Art. 5(1)(c)",
        "data minimisation",
        "The job names the columns it uses, and no message carries a record. That nothing beyond them was read rests "
        "on each data holder's software.",
    )
    yield _uncovered("Art. 5(1)(d)", "accuracy of the data", "Nothing here speaks of whether the records are right.")
    yield _configured(
        "Art. 5(1)(e)",
        "storage limitation",
        "Each policy states how long models and evidence are kept. Deletions appear in the log as document.removed "
        "when somebody carries them out.",
    )
    yield _confidentiality(case)
    yield case.proved(
        "Art. 5(2)",
        "accountability",
        "The job's request, each answer, each round and its end are in a verified log, with a signed record.",
        ("job.submitted", "job.accepted", "job.declined", "round.started", "round.completed", "round.failed", *ENDS),
        short="The coordinator signs a record of each job and keeps a log; this report was made without verifying it.",
    )
    yield from _gdpr_duties(case)


def _gdpr_duties(case: _Case) -> Iterator[Line]:
    yield _organisational(
        "Art. 6, 9",
        "legal basis",
        "Each controller decides on its legal basis. A data holder whose policy asks for consents leaves out records "
        "without one; the count is in its own log, which this report does not see.",
    )
    yield _configured(
        "Art. 25",
        "data protection by design",
        "Protected sums, a minimum number of data holders in each, and refusal by default are built in"
        + (", and this job used them." if case.protected else "; this job asked for no protection.")
        + " Masked or encrypted contributions are still personal data in law.",
    )
    yield _organisational(
        "Art. 28",
        "processors",
        "Whether the coordinator's operator is a processor, and the contract with it, are between the organisations.",
    )
    yield case.proved(
        "Art. 30",
        "records of processing",
        "Purpose, parties, categories of data and time of this processing are on record. Contacts, recipients of the "
        "model and the rest of the register are not.",
        ("job.submitted", *ENDS),
        short="Purpose, parties, categories of data and time are in the job record. The rest of the register is not.",
    )
    yield _configured(
        "Art. 32",
        "security of processing",
        "Connections use mutual TLS 1.3 with certificates of the federation's authority; documents are signed. The "
        "machines themselves are their owners' to guard.",
    )
    yield _organisational(
        "Art. 35",
        "impact assessment",
        "People must assess. Sections 3 and 6 say what each party sees and what remains of the risk.",
    )


def _confidentiality(case: _Case) -> Line:
    if not case.protected:
        return _uncovered("Art. 5(1)(f)", "confidentiality", "This job's contributions were not protected.")
    if case.log is not None and case.log.numbers("round.completed") and not case.log.sums_large_enough:
        return _uncovered(
            "Art. 5(1)(f)",
            "integrity and confidentiality",
            "The log shows a sum over fewer data holders than promised.",
        )
    return case.proved(
        "Art. 5(1)(f)",
        "integrity and confidentiality",
        "For each released sum the log names the data holders in it, never fewer than the round's minimum. That no "
        "single contribution could be read follows from the protocol's assumptions in section 4.",
        ("round.completed",),
        short="Contributions are protected by the method that section 4 describes.",
    )


def _hipaa(case: _Case) -> Iterator[Line]:
    yield _configured(
        "(a)(1)", "access control", "Certificates with roles decide who may ask, approve and read; each party checks."
    )
    yield case.proved(
        "(a)(2)(i)",
        "unique user identification",
        "The job is signed with the certificate of one named person.",
        ("job.submitted",),
        short="Each person has a certificate of their own.",
    )
    yield _organisational("(a)(2)(iv)", "encryption at rest", "Disks of data holders and coordinator are theirs.")
    yield case.proved(
        "(b)",
        "audit controls",
        "What the coordinator did with this job is in its verified log. Access to records inside an organisation is "
        "in that organisation's systems.",
        ("job.submitted", "job.accepted", "job.declined", "round.started", "round.completed", "round.failed", *ENDS),
        short="Every party keeps a log; this report was made without verifying the coordinator's.",
    )
    yield case.proved(
        "(c)(1)",
        "integrity",
        "The model, the job and the record are named by digest; a change shows. The records at the source are not.",
        ENDS,
        short="Model, job and record are named by digest. The records at the source are not.",
    )
    yield _configured(
        "(d)",
        "person or entity authentication",
        "Each connection and each signature is checked against the authority's certificates and revocations.",
    )
    yield _configured("(e)(1)", "transmission security", "Mutual TLS 1.3 on every connection, in no other version.")


def _ai_act(case: _Case) -> Iterator[Line]:
    yield case.proved(
        "Art. 10",
        "data governance",
        "The log names the one schema that this job's data had to have. Whether the data is right, representative and "
        "examined for bias is not shown.",
        ("job.submitted",),
        short="The data holders register their data under one schema. Whether it is representative is not shown.",
    )
    yield case.proved(
        "Art. 12",
        "record-keeping",
        "Events of this training were recorded as they happened, by software. Events of using the model are not.",
        ("round.started", "round.completed", "round.failed", *ENDS),
        short="Events of training are recorded by software. Events of using the model are not.",
    )
    yield _configured(
        "Art. 13",
        "transparency to deployers",
        "Purpose, data, method, figures and limits are stated here. Instructions for use are the provider's to write.",
    )
    yield _configured(
        "Art. 15",
        "accuracy",
        "Section 5 has the figures that the job published on held-out rows, as measured by the data holders' software."
        if case.rounds
        else "No figure was published.",
    )
    yield _uncovered(
        "Art. 15",
        "robustness and cybersecurity",
        "A data holder can contribute poisoned numbers; how the model stands up to attacks was not examined.",
    )


def _configured(article: str, asks: str, answer: str) -> Line:
    return Line(article=article, asks=asks, standing=Standing.CONFIGURED, answer=answer)


def _organisational(article: str, asks: str, answer: str) -> Line:
    return Line(article=article, asks=asks, standing=Standing.ORGANISATIONAL, answer=answer)


def _uncovered(article: str, asks: str, answer: str) -> Line:
    return Line(article=article, asks=asks, standing=Standing.NOT_COVERED, answer=answer)
