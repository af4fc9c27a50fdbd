"""What is on the report's page, as values: the template decides how it looks, ``fedseal.report.page`` what it says."""

from dataclasses import dataclass

from fedseal.report.checks import Findings
from fedseal.report.figures import Figure
from fedseal.report.history import RowChange
from fedseal.report.laws import Law
from fedseal.report.plots import Plot
from fedseal.report.sites import MetricTable
from fedseal.report.tables import ClauseRow, Event, NodeRow, RoundLine, SpanRow
from fedseal.report.wording import State, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A term, its value, and a remark."""

    term: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One thing that a party sees."""

    name: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What one party sees."""

    party: str
    seen: tuple[Seen, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DisclosureView:
    """The method's statement.

    Attributes:
        learns: to follow "the coordinator learns".
        sums_only: whether nothing about a single node is disclosed.
        paragraphs: title and text; the title may be empty.
    """

    learns: str
    sums_only: bool
    paragraphs: tuple[tuple[str, str], ...]
    views: tuple[View, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectionView:
    """How contributions were protected.

    Attributes:
        code: one of the protections; empty when it is not known.
        minimum: fewest nodes in a sum, as a word; empty when it is not known.
        colluders: how many colluding nodes it was laid out to withstand, as a word; empty when that does not follow.
        sent: what a data holder sent in all completed rounds on average, ready to show; empty when it is not known.
        clipped: the largest published share of clipped numbers, ready to show; none when it is 0, empty when there
            is no such figure.
    """

    code: str
    title: str
    minimum: str
    colluders: str
    clipped: str
    sent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What was published.

    Attributes:
        figures: of the evaluation, or of the statistics of a job that trains nothing.
        comparison: the AUC of the union beside those of the other two kinds of training; empty when it is not known.
    """

    figures: tuple[Figure, ...]
    trained: bool
    model: str
    tables: tuple[MetricTable, ...]
    plot: Plot | None
    undefined: bool
    comparison: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """What a reader can type."""

    model: str
    export: str
    log: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Everything on the page, in its order.

    Attributes:
        digest_beginning: of the job, for the foot of each printed page: hexadecimal digits only, or empty.
        reason: why the job ended, in the coordinator's words; empty for a job that finished.
        columns: features the job asked for.
        refusing: nodes that gave clauses for their refusal.
        course: the rounds as a plot.
        spans: the rounds, those that went alike together.
        more_events: how many there are beyond those listed.
        log: origin of the coordinator's log, and the number of the entry that names the record.
        rounds: every attempt.
        rounds_left_out: how many attempts of the middle are not in ``rounds``.
        log_verified: whether the coordinator's log was read and verified, and nothing contradicts it.
    """

    state: State
    verdict: Verdict
    name: str
    federation: str
    digest_beginning: str
    generated: str
    headline: str
    reason: str
    facts: tuple[Fact, ...]
    description: str
    computed: tuple[Fact, ...]
    columns: tuple[str, ...]
    purpose: Fact
    nodes: tuple[NodeRow, ...]
    refusing: tuple[NodeRow, ...]
    organisations_known: bool
    disclosure: DisclosureView | None
    protection: ProtectionView
    course: Plot | None
    spans: tuple[SpanRow, ...]
    events: tuple[Event, ...]
    more_events: int
    row_changes: tuple[RowChange, ...]
    results: Results
    privacy: Fact
    findings: Findings
    digests: tuple[Fact, ...]
    log: Fact | None
    commands: Commands
    software: tuple[Fact, ...]
    rounds: tuple[RoundLine, ...]
    rounds_left_out: int
    clauses: tuple[ClauseRow, ...]
    laws: tuple[Law, ...]
    log_verified: bool
