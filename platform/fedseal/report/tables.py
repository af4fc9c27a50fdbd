"""The report's tables: nodes and their answers, clauses, rounds, and events that a reader should know of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from fedseal.report.evidence import PolicyStory
from fedseal.report.figures import LOSS, ROWS, clock, counted, decimal, duration, whole
from fedseal.report.history import TRAINING, Slot, Span, contributions, spans_of
from fedseal.report.sources import Attempt, Sources
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_governance.runs import RoundState

MOST_EVENTS = 40
MOST_ROUNDS = 200
"""Lines of the appendix; a page that nobody can print helps nobody, and the record has them all."""

ACCEPTED, REFUSED, SILENT = "accepted", "refused", "no answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """A clause and what it decided."""

    clause: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRow:
    """A data holder.

    Attributes:
        organisation: empty when it is not known.
        answer: accepted, refused or no answer.
        policy: digest of the policy file that decided; empty when it is not known.
        policy_title: its name and version; empty when the file is not at hand.
        signed_by: whose signatures on it were verified; empty when none were.
        sums: in how many released sums it is, ready to show; empty when that does not follow.
    """

    name: str
    organisation: str
    answer: str
    policy: str
    policy_title: str
    signed_by: str
    refusals: tuple[Reason, ...]
    sums: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClauseRow:
    """A clause that decided alike at some nodes."""

    clause: str
    sentence: str
    allowed: bool
    nodes: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanRow:
    """Consecutive rounds that went alike.

    Attributes:
        missing: nodes of the roster that are not in the sums, ready to show.
        figure: how the loss or the row count went.
    """

    rounds: str
    outcome: str
    tone: str
    cohort: str
    missing: str
    minimum: str
    threshold: str
    figure: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that did not go as planned."""

    when: str
    what: str
    tone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundLine:
    """A line of the appendix."""

    round: str
    outcome: str
    tone: str
    cohort: str
    threshold: str
    rows: str
    loss: str
    ended: str
    took: str


def node_rows(
    sources: Sources, slots: Sequence[Slot], organisations: Mapping[str, str], stories: Mapping[str, PolicyStory]
) -> tuple[NodeRow, ...]:
    """Every node that was asked or has answered."""
    answers = _answers(sources)
    policies = {} if sources.record is None else {item.node: item.policy for item in sources.record.answers}
    asked = list(sources.job.nodes) if sources.job is not None else []
    names = asked + [name for name in answers if name not in asked]
    completed = sum(slot.last.completed for slot in slots)
    rows = []
    for name in names:
        answer, refusals = answers.get(name, (SILENT, ()))
        sums = contributions(slots, name)
        rows.append(
            NodeRow(
                name=name,
                organisation=organisations.get(name, ""),
                answer=answer,
                policy=policies.get(name, ""),
                policy_title=stories[name].title if name in stories else "",
                signed_by=stories[name].signed_by if name in stories else "",
                refusals=refusals,
                sums="" if sums is None or not completed else f"{whole(sums)} of {whole(completed)}",
            )
        )
    return tuple(rows)


def clause_rows(answers: Sequence[pb.NodeAnswer]) -> tuple[ClauseRow, ...]:
    """What each clause decided, with the nodes where it decided alike; refusals first."""
    found: dict[tuple[str, str, bool], list[str]] = {}
    for answer in answers:
        for reason in answer.reasons:
            found.setdefault((reason.clause, reason.sentence, reason.allowed), []).append(answer.node)
    first_seen = {clause: index for index, (clause, _, _) in reversed(list(enumerate(found)))}
    ordered = sorted(found.items(), key=lambda item: (item[0][2], first_seen[item[0][0]]))
    return tuple(
        ClauseRow(
            clause=clause,
            sentence=sentence,
            allowed=allowed,
            nodes=f"all {len(answers)}" if len(nodes) == len(answers) > 1 else ", ".join(nodes),
        )
        for (clause, sentence, allowed), nodes in ordered
    )


def span_rows(attempts: Sequence[Attempt]) -> tuple[SpanRow, ...]:
    """The rounds in few lines."""
    return tuple(_span(span) for span in spans_of(attempts))


def events(attempts: Sequence[Attempt]) -> tuple[tuple[Event, ...], int]:
    """What stood out, and how many more such events there are than are listed."""
    found = list(_events(attempts))
    return tuple(found[:MOST_EVENTS]), max(0, len(found) - MOST_EVENTS)


def round_lines(attempts: Sequence[Attempt]) -> tuple[tuple[RoundLine, ...], int]:
    """Every attempt, and how many were left out of the middle."""
    left_out = max(0, len(attempts) - MOST_ROUNDS)
    half = MOST_ROUNDS // 2
    shown = attempts if not left_out else (*attempts[:half], *attempts[-half:])
    return tuple(_line(attempt) for attempt in shown), left_out


def round_name(attempt: Attempt) -> str:
    """``Training round 9, attempt 2``; rounds of stages with one round need no number."""
    name = attempt.stage.capitalize() if attempt.stage != TRAINING else f"Training round {attempt.round + 1}"
    return name if not attempt.attempt else f"{name}, attempt {attempt.attempt + 1}"


def listed(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else "".join(names)


def _answers(sources: Sources) -> dict[str, tuple[str, tuple[Reason, ...]]]:
    if sources.record is not None:
        return {
            item.node: (
                ACCEPTED if item.accepted else REFUSED,
                tuple(Reason(clause=reason.clause, sentence=reason.sentence) for reason in item.refusals),
            )
            for item in sources.record.answers
        }
    return {
        item.node: (
            ACCEPTED if item.answer == ACCEPTED else REFUSED,
            tuple(
                Reason(clause=reason.clause, sentence=reason.sentence) for reason in item.reasons if not reason.allowed
            ),
        )
        for item in sources.detail.answers
    }


def _span(span: Span) -> SpanRow:
    first, last = span.first, span.last
    name = round_name(first)
    if len(span.attempts) > 1:
        name = f"Training rounds {first.round + 1} to {last.round + 1}"
        if first.attempt:
            name += f", attempt {first.attempt + 1}"
    outcome, tone = _outcome(first)
    return SpanRow(
        rounds=name,
        outcome=outcome,
        tone=tone,
        cohort=f"{first.cohort} of {len(first.roster)}" if first.completed else f"none of {len(first.roster)}",
        missing=_missing(first),
        minimum="not stated" if first.minimum_cohort is None else str(first.minimum_cohort),
        threshold=str(first.threshold),
        figure=_course(span),
    )


def _missing(attempt: Attempt) -> str:
    if not attempt.completed:
        return ""
    if attempt.survivors:
        return listed([node for node in attempt.roster if node not in attempt.survivors])
    return listed(attempt.recovered)


def _course(span: Span) -> str:
    losses = [attempt.figures[LOSS] for attempt in span.attempts if LOSS in attempt.figures]
    if losses:
        return f"loss {decimal(losses[0])}" + (f" → {decimal(losses[-1])}" if len(losses) > 1 else "")
    rows = span.first.figures.get(ROWS, span.first.figures.get("patients"))
    return "" if rows is None else f"{whole(rows)} records"


def _outcome(attempt: Attempt) -> tuple[str, str]:
    if attempt.state is RoundState.FAILED:
        return "failed", "bad"
    if attempt.state is RoundState.OPEN:
        return "under way", "open"
    return ("completed with recovery", "warn") if attempt.recovered else ("completed", "good")


def _events(attempts: Sequence[Attempt]) -> Iterator[Event]:
    for attempt in attempts:
        if attempt.state is RoundState.FAILED:
            reason = f" Reason: {attempt.reason}" if attempt.reason else ""
            what = f"{round_name(attempt)} failed and released no sum.{reason}"
            yield Event(when=clock(attempt.ended_at), what=what, tone="bad")
        elif attempt.recovered:
            one = len(attempt.recovered) == 1
            what = (
                f"{round_name(attempt)}: {listed(attempt.recovered)} left before the end. The others removed the masks "
                f"that {'it' if one else 'they'} had agreed on with them, and the sum of the remaining "
                f"{counted(attempt.cohort)} was released."
            )
            yield Event(when=clock(attempt.ended_at), what=what, tone="warn")


def _line(attempt: Attempt) -> RoundLine:
    outcome, tone = _outcome(attempt)
    figures = attempt.figures
    rows = figures.get(ROWS, figures.get("patients"))
    return RoundLine(
        round=round_name(attempt),
        outcome=outcome,
        tone=tone,
        cohort=f"{attempt.cohort} of {len(attempt.roster)}",
        threshold=str(attempt.threshold),
        rows="" if rows is None else whole(rows),
        loss=decimal(figures[LOSS]) if LOSS in figures else "",
        ended=_ended(attempt.ended_at),
        took=duration(attempt.started_at, attempt.ended_at),
    )


def _ended(moment: datetime | None) -> str:
    return "" if moment is None else clock(moment)
