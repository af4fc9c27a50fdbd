"""Plots, tables and figures: what they show of given rounds."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedseal.report import SiteMetrics, render_report
from fedseal.report.drawing import ticks
from fedseal.report.figures import UNDEFINED, data_size, describe, duration, whole
from fedseal.report.history import colluders_withstood, row_changes, slots_of, spans_of
from fedseal.report.plots import MOST_COLUMNS, course_plot, sites_plot
from fedseal.report.sites import comparison, metric_tables
from fedseal.report.sources import Attempt
from fedseal.report.tables import clause_rows, listed
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_governance.runs import RoundState
from fedseal_governance.vocabulary import Protection
from tests.unit.report.telling import MADE, NODES, Scenario, Teller

BEGUN = datetime(2026, 5, 4, 9, 30, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class SomeFigures:
    auc: float
    accuracy: float = 0.8
    calibration_error: float = 0.05


@dataclass(frozen=True, kw_only=True)
class SomeRow:
    group: str
    alone: SomeFigures
    federated: SomeFigures
    pooled: SomeFigures
    patients: int = 80


@dataclass(frozen=True, kw_only=True)
class SomeMetrics:
    nodes: tuple[SomeRow, ...]
    overall: SomeRow


def row_of(group: str, alone: float, federated: float, pooled: float) -> SomeRow:
    return SomeRow(
        group=group,
        alone=SomeFigures(auc=alone),
        federated=SomeFigures(auc=federated),
        pooled=SomeFigures(auc=pooled),
    )


def metrics() -> SiteMetrics:
    return SomeMetrics(
        nodes=(row_of("cleveland", 0.8, 0.85, 0.86), row_of("switzerland", math.nan, math.nan, math.nan)),
        overall=row_of("all", 0.81, 0.89, 0.885),
    )


def attempt_of(number: int, **changes: object) -> Attempt:
    plain: dict[str, object] = {
        "stage": "training",
        "round": number,
        "attempt": 0,
        "state": RoundState.COMPLETED,
        "roster": NODES,
        "survivors": NODES,
        "cohort": len(NODES),
        "recovered": (),
        "threshold": 3,
        "minimum_cohort": 3,
        "started_at": BEGUN,
        "ended_at": BEGUN,
        "figures": {"loss": 1.0 / (number + 1), "rows": 600.0},
    }
    return Attempt(**(plain | changes))  # type: ignore[arg-type]  # a test's keyword arguments


@given(low=st.floats(-1e6, 1e6), spread=st.floats(0, 1e6), about=st.integers(2, 8))
def test_ticks_enclose_what_they_mark(low: float, spread: float, about: int) -> None:
    marks = ticks(low, low + spread, about=about)
    slack = 1e-6 * (marks[1] - marks[0])
    assert list(marks) == sorted(set(marks))
    assert marks[0] <= low + slack
    assert marks[-1] >= low + spread - slack
    assert 2 <= len(marks) <= 2 * about + 3


def test_ticks_of_one_value_spread_around_it() -> None:
    assert ticks(0.5, 0.5, about=3)[0] < 0.5 < ticks(0.5, 0.5, about=3)[-1]
    assert len(ticks(0.0, 0.0, about=3)) >= 2


def test_course_shows_who_was_in_each_sum() -> None:
    left = {"survivors": NODES[:3], "cohort": 3, "recovered": (NODES[3],)}
    failed = attempt_of(1, state=RoundState.FAILED, cohort=0, survivors=(), figures={})
    slots = slots_of([attempt_of(0), failed, attempt_of(1, attempt=1, **left), attempt_of(2)])
    plot = course_plot(slots, nodes=NODES, minimum=3)
    assert plot is not None
    for picture in (plot.wide, plot.narrow):
        titles = [element.title for element in picture.elements]
        assert titles.count("Training round 1: cleveland in the sum") == 1
        assert "Training round 2: va-long-beach left; its masks were removed" in titles
        assert "Training round 2: one failed" in titles
        assert picture.label == "Training loss from 1.000 to 0.333. Nodes in the sum of each round: 3 to 4."


@pytest.mark.parametrize("rounds", [2, 119, 121, 1_000, 10_000])
@pytest.mark.parametrize("nodes", [4, 40])
def test_course_stays_inside_and_small(rounds: int, nodes: int) -> None:
    names = tuple(f"node-{index}" for index in range(nodes))
    changes = {"roster": names, "survivors": names, "cohort": nodes}
    plot = course_plot(slots_of([attempt_of(number, **changes) for number in range(rounds)]), nodes=names, minimum=3)
    assert plot is not None
    for picture in (plot.wide, plot.narrow):
        assert len(picture.elements) < 8 * MOST_COLUMNS
        for element in picture.elements:
            xs = [float(element.attributes[name]) for name in ("x", "x1", "x2", "cx") if name in element.attributes]
            ys = [float(element.attributes[name]) for name in ("y", "y1", "y2", "cy") if name in element.attributes]
            assert all(0 <= x <= picture.width for x in xs)
            assert all(0 <= y <= picture.height for y in ys)


def test_one_round_needs_no_plot() -> None:
    assert course_plot(slots_of([attempt_of(0)]), nodes=NODES, minimum=3) is None


def test_rounds_that_went_alike_stand_together() -> None:
    left = attempt_of(2, survivors=NODES[:3], cohort=3, recovered=(NODES[3],))
    spans = spans_of([attempt_of(0), attempt_of(1), left, attempt_of(3)])
    assert [len(span.attempts) for span in spans] == [2, 1, 1]


def test_row_changes_compare_equal_cohorts_only() -> None:
    left = attempt_of(1, survivors=NODES[:3], cohort=3, figures={"rows": 400.0})
    fewer = attempt_of(2, figures={"rows": 599.0})
    changes = list(row_changes(slots_of([attempt_of(0), left, fewer, attempt_of(3, figures={"rows": 599.0})])))
    assert [(change.round, change.before, change.after) for change in changes] == [(2, 600.0, 599.0)]


@pytest.mark.parametrize(
    ("roster", "threshold", "cohort", "expected"),
    [
        (4, 3, 4, 1),
        (4, 3, 3, 1),
        (3, 3, 3, 1),
        (5, 4, 5, 1),
        (10, 7, 9, 2),
        (4, 2, 4, None),  # laid out for nobody: a lying server alone could split the nodes
        (200, 30, 190, None),  # a sparse graph: its threshold concerns neighbourhoods
    ],
)
def test_colluders_are_never_overstated(roster: int, threshold: int, cohort: int, expected: int | None) -> None:
    names = tuple(f"node-{index}" for index in range(roster))
    slots = slots_of([attempt_of(0, roster=names, survivors=names[:cohort], cohort=cohort, threshold=threshold)])
    assert colluders_withstood(slots, Protection.MASKING) == expected
    assert colluders_withstood(slots, Protection.NONE) is None


def test_clauses_are_told_once_for_all_who_decided_alike() -> None:
    def answer(node: str, *reasons: tuple[str, str, bool]) -> pb.NodeAnswer:
        return pb.NodeAnswer(
            node=node, reasons=[pb.Reason(clause=name, sentence=said, allowed=ok) for name, said, ok in reasons]
        )

    common = ("datasets", "It covers the dataset.", True)
    rows = clause_rows(
        [
            answer("a", common, ("purposes", "Allowed.", True)),
            answer("b", common, ("purposes", "Not allowed.", False)),
        ]
    )
    assert [(row.clause, row.allowed, row.nodes) for row in rows] == [
        ("purposes", False, "b"),
        ("datasets", True, "all 2"),
        ("purposes", True, "a"),
    ]


def test_figures_have_words_and_margins() -> None:
    shown = describe({"auc": 0.9, "auc_uncertainty": 0.004, "zeta": 1.5, "bytes_up_per_node": 7.0, "patients": 1_234.0})
    assert [(figure.name, figure.value) for figure in shown] == [
        ("auc", "0.900"),
        ("patients", "1,234"),
        ("zeta", "1.5"),
    ]
    assert "0.004" in shown[0].margin


def test_small_words() -> None:
    assert listed([]) == ""
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert duration(BEGUN, BEGUN + timedelta(seconds=75)) == "1 min 15 s"
    assert duration(BEGUN, BEGUN + timedelta(hours=30, minutes=5)) == "30 h 5 min"
    assert duration(BEGUN, BEGUN - timedelta(seconds=1)) == ""
    assert data_size(1_634) == "1.63 kB"
    assert whole(1e300) == "1e+300"


def test_sites_are_compared_in_tables_and_words() -> None:
    tables = metric_tables(metrics())
    assert [table.title for table in tables] == ["Discrimination (AUC)", "Accuracy", "Calibration error"]
    assert tables[0].rows[1].federated == UNDEFINED
    assert tables[0].rows[-1].is_union
    said = comparison(metrics())
    assert said == "0.080 above the mean of the models trained alone and 0.005 above the pooled model"
    plot = sites_plot(metrics())
    assert plot is not None
    assert not [element for element in plot.wide.elements if "switzerland" in element.title]


def test_report_shows_sites_as_unsigned(teller: Teller) -> None:
    page = render_report(teller.tell(Scenario()), generated_at=MADE, site_metrics=metrics()).decode()
    parser = HTMLParser()
    parser.feed(page)
    assert "trained alone, federated, pooled" in page
    assert "These figures are not part of the signed job record." in page
    assert "“undefined”" in page
