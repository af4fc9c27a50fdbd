"""Sentences that depend on what happened: the headline, the verdict on the evidence, and fixed commands."""

from collections.abc import Mapping
from dataclasses import dataclass

from fedseal.report.checks import Findings, Outcome
from fedseal.report.figures import counted, whole
from fedseal_governance.jobs import JobDocument
from fedseal_governance.purposes import is_purpose, label_of
from fedseal_governance.vocabulary import Disclosure, JobKind, Protection

MODEL_COMMAND = "fedseal model verify model.safetensors --record job-record.json --root authority.pem"
LOG_COMMAND = "fedseal audit verify coordinator-audit.zip"
LOG_EXPORT_COMMAND = "fedseal audit export coordinator coordinator-audit.zip"

PROTECTION_TITLES: Mapping[Protection, str] = {
    Protection.MASKING: "Masking",
    Protection.HOMOMORPHIC: "Homomorphic encryption",
    Protection.HYBRID: "Masking inside encryption",
    Protection.NONE: "None",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A job's state in words.

    Attributes:
        tone: good, bad, warn or open; the style sheet's name.
        final: whether nothing follows.
    """

    word: str
    title: str
    tone: str
    final: bool


_STATES = {
    state.word: state
    for state in (
        State(word="submitted", title="Submitted", tone="open", final=False),
        State(word="offered", title="Waiting for answers", tone="open", final=False),
        State(word="running", title="Running", tone="open", final=False),
        State(word="finished", title="Finished", tone="good", final=True),
        State(word="failed", title="Failed", tone="bad", final=True),
        State(word="stopped", title="Stopped", tone="warn", final=True),
        State(word="refused", title="Refused", tone="warn", final=True),
    )
}


def state_of(word: str) -> State:
    """The state in words; one that is not known is shown as it is and taken for open."""
    return _STATES.get(word, State(word=word, title=word or "Unknown", tone="open", final=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What the headline needs to know.

    Attributes:
        asked: nodes that the job names.
        accepted: nodes that accepted it.
        refused: nodes that refused it.
        done: rounds completed.
        planned: rounds of the whole job; 0 when it is not known.
        attempted: whether any round began.
        has_model: whether a model was exported.
        level: what the coordinator learned, where the record says it.
        minimum: fewest nodes in a sum; None when it is not known.
    """

    state: State
    job: JobDocument | None
    asked: int
    accepted: int
    refused: int
    done: int
    planned: int
    attempted: bool
    has_model: bool
    level: Disclosure | None
    minimum: int | None


def headline(story: Story) -> str:
    """The job in a few sentences."""
    tellers = {
        "finished": _finished,
        "failed": _failed,
        "stopped": _stopped,
        "refused": _refused,
    }
    return tellers.get(story.state.word, _unfinished)(story)


def purpose_label(code: str) -> str:
    """A purpose in plain English; empty for a code that the ontology does not have."""
    return label_of(code) if is_purpose(code) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the checks add up to, for the top of the page."""

    tone: str
    title: str
    sentence: str


def verdict(findings: Findings, state: State) -> Verdict:
    """The checks in one line."""
    if findings.failed:
        names = ", ".join(check.subject.lower() for check in findings.failed)
        return Verdict(
            tone="bad",
            title="Do not rely on this report",
            sentence=f"The evidence behind it does not hold: {names}. Section 7 says what was found.",
        )
    if not state.final:
        return Verdict(
            tone="open",
            title="Interim report",
            sentence="The job has not ended. What follows is what the coordinator says now; none of it is signed yet.",
        )
    if findings.record.outcome is Outcome.PASSED:
        return Verdict(
            tone="good",
            title="Signature verified",
            sentence="This page was made from the coordinator's signed job record, and its signature was verified.",
        )
    return Verdict(
        tone="warn",
        title="Signature not verified",
        sentence=findings.record.finding,
    )


def _finished(story: Story) -> str:
    return f"{_work(story)} {_learned(story)}"


def _work(story: Story) -> str:
    holders = _holders(story.accepted)
    if story.job is None:
        return f"{holders} took part in this job, and it finished."
    what = "trained one model together" if story.job.kind is JobKind.TRAINING else "computed joint statistics"
    return f"{holders} {what} on the dataset {story.job.dataset}{_purpose(story.job)}."


def _learned(story: Story) -> str:
    if story.job is None or story.level is None:
        return ""
    if story.job.protection is Protection.NONE:
        return "What each of them sent was not protected from the coordinator."
    least = "" if story.minimum is None else f", each over at least {counted(story.minimum)} of them"
    if story.level is not Disclosure.SUM:
        return f"Their records stayed with them; the coordinator learned {story.level.plain}."
    return f"Their records stayed with them; the coordinator learned only sums{least}."


def _failed(story: Story) -> str:
    return f"The job failed {_progress(story)}. {_left(story)}"


def _stopped(story: Story) -> str:
    return f"The job was stopped {_progress(story)}. {_left(story)}"


def _refused(story: Story) -> str:
    silent = story.asked - story.accepted - story.refused
    answers = [f"{_holders(story.refused).lower()} refused it"] if story.refused else []
    answers += [f"{counted(silent)} gave no answer"] if silent > 0 else []
    answers += [f"{counted(story.accepted)} accepted it"] if story.accepted else []
    said = f"Of {counted(story.asked)} data holders that were asked, {', '.join(answers)}." if answers else ""
    idle = "" if story.attempted else " No round began, so no record was used for it."
    return f"The job did not run. {_sentence(said)}{idle}".strip()


def _unfinished(story: Story) -> str:
    if story.state.word == "running":
        return f"The job is running: {_of_planned(story)} completed."
    return f"The job waits for the answers of the {counted(story.asked)} data holders it asks."


def _progress(story: Story) -> str:
    return f"after {_of_planned(story)}" if story.done else "before any round was completed"


def _of_planned(story: Story) -> str:
    rounds = "round" if story.planned == 1 or (not story.planned and story.done == 1) else "rounds"
    return f"{whole(story.done)} of {whole(story.planned)} {rounds}" if story.planned else f"{story.done} {rounds}"


def _left(story: Story) -> str:
    if story.has_model:
        return "The model of its last completed training was kept."
    if story.done:
        return "It left no model; what the coordinator learned until then are the sums of the completed rounds."
    return "It left no model, and no sum was released."


def _purpose(job: JobDocument) -> str:
    label = purpose_label(job.purpose)
    return f", for {label}" if label else ""


def _holders(number: int) -> str:
    return f"{counted(number).capitalize()} data holder{'' if number == 1 else 's'}"


def _sentence(said: str) -> str:
    return said[:1].upper() + said[1:]
