"""The rounds of a job, arranged for reading: one slot a round, runs of equal rounds together, what stands out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from fedseal.report.figures import LOSS, ROWS
from fedseal.report.sources import Attempt
from fedseal_governance.runs import RoundState
from fedseal_governance.vocabulary import Protection

STATISTICS, TRAINING, EVALUATION = "statistics", "training", "evaluation"
"""Stages of a job as `fedseal.methods` names them, which would load the learning libraries."""

LARGEST_LOSS = 1e6
"""Beyond it something is broken, and a plot would show nothing else."""

COMPLETE_GRAPH_LIMIT = 128
"""Above this roster the threshold concerns neighbourhoods, and the number of colluders does not follow from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One round with its attempts, at least one; the last attempt is the one that counts."""

    attempts: tuple[Attempt, ...]

    @property
    def last(self) -> Attempt:
        """The attempt that completed the round, or the latest."""
        return self.attempts[-1]

    @property
    def failures(self) -> int:
        """How many attempts ended without a sum."""
        return sum(attempt.state is RoundState.FAILED for attempt in self.attempts)

    @property
    def loss(self) -> float | None:
        """The published mean training loss, where it can be drawn."""
        loss = self.last.figures.get(LOSS)
        return None if loss is None or abs(loss) > LARGEST_LOSS else loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Consecutive attempts that were alike in everything but their figures; at least one."""

    attempts: tuple[Attempt, ...]

    @property
    def first(self) -> Attempt:
        """The earliest."""
        return self.attempts[0]

    @property
    def last(self) -> Attempt:
        """The latest."""
        return self.attempts[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowChange:
    """The published number of training rows changed while the nodes in the sum stayed the same."""

    round: int
    before: float
    after: float


def slots_of(attempts: Sequence[Attempt]) -> tuple[Slot, ...]:
    """Attempts by round, in order."""
    grouped = groupby(attempts, key=lambda item: (item.stage, item.round))
    return tuple(Slot(attempts=tuple(group)) for _, group in grouped)


def spans_of(attempts: Sequence[Attempt]) -> tuple[Span, ...]:
    """Neighbouring attempts that only differ in round, time and figures, together."""

    def alike(item: Attempt) -> tuple[object, ...]:
        return (
            item.stage,
            item.attempt,
            item.state,
            item.roster,
            item.cohort,
            item.survivors,
            item.recovered,
            item.threshold,
            item.minimum_cohort,
            item.reason,
        )

    return tuple(Span(attempts=tuple(group)) for _, group in groupby(attempts, key=alike))


def contributions(slots: Sequence[Slot], node: str) -> int | None:
    """In how many released sums ``node`` is; None when the sources do not name the nodes of each sum."""
    completed = [slot.last for slot in slots if slot.last.completed]
    if any(not attempt.survivors for attempt in completed):
        return None
    return sum(node in attempt.survivors for attempt in completed)


def row_changes(slots: Sequence[Slot]) -> Iterator[RowChange]:
    """Where the training rows changed although the same nodes were in the sum."""
    known: dict[frozenset[str], float] = {}
    for attempt in (slot.last for slot in slots):
        rows = attempt.figures.get(ROWS)
        if attempt.stage != TRAINING or rows is None or not attempt.survivors:
            continue
        nodes = frozenset(attempt.survivors)
        before = known.get(nodes)
        if before is not None and before != rows:
            yield RowChange(round=attempt.round, before=before, after=rows)
        known[nodes] = rows


def colluders_withstood(slots: Sequence[Slot], protection: Protection | None) -> int | None:
    """How many nodes the rounds were laid out to withstand if they collude with the coordinator.

    A threshold t on a complete graph of n nodes belongs to the c colluders for which it is the smallest with
    2 t > n + c (`fedseal_crypto.masking.choose_parameters`); of the two c that give the same t, this is the smaller. A
    sum must also keep two honest nodes.

    Returns:
        The least over all released sums, at least 1; None where it does not follow from the record.
    """
    completed = [slot.last for slot in slots if slot.last.completed]
    if protection not in (Protection.MASKING, Protection.HYBRID) or not completed:
        return None
    if any(len(attempt.roster) > COMPLETE_GRAPH_LIMIT for attempt in completed):
        return None
    least = min(min(_layout(attempt), attempt.cohort - 2) for attempt in completed)
    return least if least >= 1 else None


def _layout(attempt: Attempt) -> int:
    roster, threshold = len(attempt.roster), attempt.threshold
    colluders = max(1, 2 * threshold - roster - 2)
    return colluders if 2 * threshold > roster + colluders else 0
