"""The report's plots: the course of the rounds, and a model's discrimination by hospital.

Each is drawn twice, for wide and for narrow screens, because letters that shrink with a picture cannot be read on a
phone. Meaning never rests on colour alone: shapes differ too.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fedseal.report.drawing import (
    Drawing,
    Element,
    Scale,
    box,
    circle,
    cross,
    diamond,
    line,
    path,
    shortened,
    text,
    ticks,
)
from fedseal.report.figures import counted, decimal
from fedseal.report.history import EVALUATION, STATISTICS, TRAINING, Slot
from fedseal.report.sites import UNION, SiteMetrics, SiteRow, rows_of

WIDE, NARROW = 720.0, 344.0
MOST_COLUMNS = 120
MOST_NODE_ROWS = 12
_ROOM_FOR_WORDS = 24.0
"""Pixels of a column that hold a word such as "stats"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One plot for wide and for narrow screens.

    Attributes:
        marks: what beside sums the legend must explain: left, failed, absent.
    """

    wide: Drawing
    narrow: Drawing
    marks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One round, or several neighbouring ones of a stage where there are too many to draw.

    Attributes:
        first: the first round it stands for, from 0.
        loss: after its last round.
        cohort: the least of its rounds.
        roster: the largest of its rounds.
        stayed: nodes that are in every sum of it.
        recovered: nodes that left one of its rounds.
        failures: attempts of it that failed.
    """

    stage: str
    first: int
    last: int
    loss: float | None
    cohort: int
    roster: int
    stayed: frozenset[str]
    recovered: frozenset[str]
    failures: int

    @property
    def name(self) -> str:
        """For people: ``Training round 3``."""
        if self.stage != TRAINING:
            return self.stage.capitalize()
        rounds = f"round {self.first + 1}" if self.first == self.last else f"rounds {self.first + 1} to {self.last + 1}"
        return f"Training {rounds}"


def course_plot(slots: Sequence[Slot], *, nodes: Sequence[str], minimum: int | None) -> Plot | None:
    """Loss and cohort round by round; None when there is nothing to see in a plot.

    Args:
        slots: the rounds in order.
        nodes: every node that was ever asked, in the order in which to show them.
        minimum: the least cohort whose sum could be released.
    """
    if len(slots) < 2:
        return None
    columns = _columns(slots)
    return Plot(
        wide=_Course(columns, nodes, minimum, WIDE).drawing(),
        narrow=_Course(columns, nodes, minimum, NARROW).drawing(),
        marks=frozenset(_marks(columns, nodes)),
    )


def sites_plot(metrics: SiteMetrics) -> Plot | None:
    """AUC of the models by hospital; None when none is defined."""
    rows = [(row, union) for row, union in rows_of(metrics) if math.isfinite(row.federated.auc)]
    if not rows:
        return None
    return Plot(wide=_sites(rows, WIDE), narrow=_sites(rows, NARROW))


def _marks(columns: Sequence[Column], nodes: Sequence[str]) -> Iterator[str]:
    if any(column.recovered for column in columns):
        yield "left"
    if any(column.failures for column in columns):
        yield "failed"
    if _are_named(columns, nodes) and any(set(nodes) - column.stayed - column.recovered for column in columns):
        yield "absent"


def _are_named(columns: Sequence[Column], nodes: Sequence[str]) -> bool:
    """Whether each node can have a row: there are few, and the sources say who was in each sum."""
    return len(nodes) <= MOST_NODE_ROWS and all(column.stayed or not column.cohort for column in columns)


def _columns(slots: Sequence[Slot]) -> list[Column]:
    bundle = math.ceil(len(slots) / MOST_COLUMNS)
    columns: list[Column] = []
    start = 0
    while start < len(slots):
        stage = slots[start].last.stage
        end = start + 1
        while end < len(slots) and end - start < bundle and slots[end].last.stage == stage:
            end += 1
        columns.append(_column(slots[start:end]))
        start = end
    return columns


def _column(slots: Sequence[Slot]) -> Column:
    last = slots[-1].last
    return Column(
        stage=last.stage,
        first=slots[0].last.round,
        last=last.round,
        loss=slots[-1].loss,
        cohort=min(slot.last.cohort for slot in slots),
        roster=max(len(slot.last.roster) for slot in slots),
        stayed=frozenset.intersection(*(frozenset(slot.last.survivors) for slot in slots)),
        recovered=frozenset(node for slot in slots for node in slot.last.recovered),
        failures=sum(slot.failures for slot in slots),
    )


class _Course:
    """Two panels over one axis: the loss as a line, and below it who was in each sum."""

    def __init__(self, columns: Sequence[Column], nodes: Sequence[str], minimum: int | None, width: float) -> None:
        self.columns = columns
        self.minimum = minimum
        self.named = _are_named(columns, nodes)
        self.nodes = tuple(nodes) if self.named else ()
        self.width = width
        self.narrow = width < WIDE
        self.left = 96.0 if self.narrow else 124.0
        self.right = width - (34.0 if self.narrow else 46.0)
        self.step = (self.right - self.left) / len(columns)
        self.has_loss = any(column.loss is not None for column in columns)
        self.loss_top, self.loss_bottom = 30.0, 156.0
        self.top = self.loss_bottom + 48 if self.has_loss else 30.0

    def drawing(self) -> Drawing:
        elements: list[Element] = []
        if self.has_loss:
            elements += self._loss()
        bottom = self._named_cohort(elements) if self.named else self._counted_cohort(elements)
        elements += self._axis(bottom + 16)
        return Drawing(width=self.width, height=bottom + 38, label=self._label(), elements=tuple(elements))

    def x(self, index: int) -> float:
        return self.left + (index + 0.5) * self.step

    def _label(self) -> str:
        losses = [column.loss for column in self.columns if column.loss is not None]
        said = f"Training loss from {decimal(losses[0])} to {decimal(losses[-1])}. " if losses else ""
        cohorts = [column.cohort for column in self.columns]
        return f"{said}Nodes in the sum of each round: {min(cohorts)} to {max(cohorts)}."

    def _loss(self) -> list[Element]:
        points = [(index, column.loss) for index, column in enumerate(self.columns) if column.loss is not None]
        values = [loss for _, loss in points]
        marks = ticks(min(values), max(values), about=3)
        scale = Scale(low=marks[0], high=marks[-1], start=self.loss_bottom, end=self.loss_top)
        elements = [text((0, 14), "Training loss", "plot-title")]
        for mark in marks:
            y = scale.at(mark)
            elements.append(line((self.left, y), (self.right, y), "plot-grid"))
            elements.append(text((self.left - 8, y + 4), f"{mark:g}", "plot-tick", anchor="end"))
        coordinates = [(self.x(index), scale.at(loss)) for index, loss in points]
        if len(coordinates) > 1:
            elements.append(path(coordinates, "plot-line"))
        radius = 2.8 if self.step >= 9 else 0.0
        for (x, y), (index, loss) in zip(coordinates, points, strict=True):
            if radius or index == points[-1][0]:
                title = f"{self.columns[index].name}: {decimal(loss)}"
                elements.append(circle((x, y), max(radius, 2.8), "plot-dot", title=title))
        x, y = coordinates[-1]
        elements.append(text((x + 7, y + 4), decimal(values[-1]), "plot-value"))
        return elements

    def _named_cohort(self, elements: list[Element]) -> float:
        """A row of cells for each node; returns where it ends."""
        elements.append(text((0, self.top - 16), "Who was in the sum", "plot-title"))
        pitch, height = 21.0, 15.0
        most = 13 if self.narrow else 17
        for row, node in enumerate(self.nodes):
            y = self.top + row * pitch
            label = shortened(node, most)
            elements.append(text((self.left - 8, y + 11.5), label, "plot-label", anchor="end", title=node))
            for index, column in enumerate(self.columns):
                elements += self._cell(index, column, node, (y, height))
        bottom = self.top + len(self.nodes) * pitch
        if self.step >= 12:
            elements.append(text((self.left - 8, bottom + 10), "in the sum", "plot-tick", anchor="end"))
            for index, column in enumerate(self.columns):
                style = "plot-tick" if column.cohort == column.roster else "plot-tick plot-strong"
                elements.append(text((self.x(index), bottom + 10), str(column.cohort), style, anchor="middle"))
            bottom += 16
        elements += self._failures(self.top - 7)
        return bottom

    def _cell(self, index: int, column: Column, node: str, place: tuple[float, float]) -> list[Element]:
        y, height = place
        width = min(self.step * 0.8, 24.0)
        corner, middle = (self.x(index) - width / 2, y), (self.x(index), y + height / 2)
        if node in column.recovered:
            title = f"{column.name}: {node} left; its masks were removed"
            frame = box(corner, (width, height), "plot-cell plot-left", title=title)
            return [frame, cross(middle, min(3.0, width / 3), "plot-left-mark", title=title)]
        if node in column.stayed:
            return [box(corner, (width, height), "plot-cell plot-in", title=f"{column.name}: {node} in the sum")]
        return [circle(middle, 1.4, "plot-absent", title=f"{column.name}: {node} not in the sum")]

    def _counted_cohort(self, elements: list[Element]) -> float:
        """One bar for each column; returns where it ends."""
        height = 78.0
        bottom = self.top + height
        most = max([column.roster for column in self.columns] + [1])
        scale = Scale(low=0, high=most, start=bottom, end=self.top)
        elements.append(text((0, self.top - 16), "Nodes in the sum", "plot-title"))
        for mark in (0, most):
            elements.append(line((self.left, scale.at(mark)), (self.right, scale.at(mark)), "plot-grid"))
            elements.append(text((self.left - 8, scale.at(mark) + 4), str(mark), "plot-tick", anchor="end"))
        width = min(self.step * 0.8, 22.0)
        for index, column in enumerate(self.columns):
            y = scale.at(column.cohort)
            title = f"{column.name}: {column.cohort} of {column.roster}"
            style = "plot-in" if not column.recovered else "plot-left-bar"
            elements.append(box((self.x(index) - width / 2, y), (width, bottom - y), style, title=title))
        if self.minimum is not None and self.minimum <= most:
            y = scale.at(self.minimum)
            elements.append(line((self.left, y), (self.right, y), "plot-limit"))
            elements.append(text((self.right + 5, y + 4), f"min {self.minimum}", "plot-tick"))
        elements += self._failures(self.top - 7)
        return bottom

    def _failures(self, y: float) -> list[Element]:
        return [
            cross((self.x(index), y), 3.2, "plot-failed", title=f"{column.name}: {counted(column.failures)} failed")
            for index, column in enumerate(self.columns)
            if column.failures
        ]

    def _axis(self, y: float) -> list[Element]:
        elements = [text((0, y), "Round", "plot-tick")]
        words = self.step >= _ROOM_FOR_WORDS
        every = self._label_step()
        first = next((index for index, column in enumerate(self.columns) if column.stage == TRAINING), 0)
        for index, column in enumerate(self.columns):
            if column.stage != TRAINING:
                known = {STATISTICS: ("stats", "S"), EVALUATION: ("eval", "E")}.get(column.stage, (column.stage, "·"))
                elements.append(text((self.x(index), y), known[0 if words else 1], "plot-tick", anchor="middle"))
            elif (index == first or (index - first + 1) % every == 0) and self._has_room(index):
                label = str(column.last + 1)
                elements.append(text((self.x(index), y), label, "plot-tick", anchor="middle"))
        return elements

    def _has_room(self, index: int) -> bool:
        """Whether the label of a training round keeps clear of the letter of a stage beside it."""
        beside = [other for other in (index - 1, index + 1) if 0 <= other < len(self.columns)]
        letters = 3.2 * (len(str(self.columns[index].last + 1)) + 1) + 2
        return self.step > letters or all(self.columns[other].stage == TRAINING for other in beside)

    def _label_step(self) -> int:
        """How many columns share one label of the axis, so that labels keep apart."""
        least = math.ceil((24 if self.narrow else 28) / self.step)
        return next((step for step in (1, 5, 10, 20, 50) if step >= least), least)


def _sites(rows: Sequence[tuple[SiteRow, bool]], width: float) -> Drawing:
    left, right, top, pitch = (96.0 if width < WIDE else 124.0), width - 16, 22.0, 30.0
    values = [figures.auc for row, _ in rows for figures in (row.alone, row.federated, row.pooled)]
    finite = [value for value in values if math.isfinite(value)]
    marks = ticks(min(finite), min(1.0, max(finite)), about=4 if width < WIDE else 6)
    scale = Scale(low=marks[0], high=marks[-1], start=left + 8, end=right - 8)
    bottom = top + len(rows) * pitch
    elements = [line((scale.at(mark), top - 6), (scale.at(mark), bottom - 4), "plot-grid") for mark in marks]
    elements += [text((scale.at(mark), bottom + 12), f"{mark:g}", "plot-tick", anchor="middle") for mark in marks]
    for index, (row, union) in enumerate(rows):
        elements += _site(row, scale, top + (index + 0.5) * pitch - 3, union=union, narrow=width < WIDE)
    label = "AUC of the models trained alone, federated and pooled, by data holder; the tables have the numbers."
    return Drawing(width=width, height=bottom + 22, label=label, elements=tuple(elements))


def _site(row: SiteRow, scale: Scale, y: float, *, union: bool, narrow: bool) -> list[Element]:
    name = UNION if union else row.group
    style = "plot-label plot-strong" if union else "plot-label"
    label = shortened(name, 13 if narrow else 17)
    elements = [text((scale.start - 20, y + 4), label, style, anchor="end", title=name)]
    alone, federated, pooled = row.alone.auc, row.federated.auc, row.pooled.auc
    if math.isfinite(alone):
        elements.append(line((scale.at(alone), y), (scale.at(federated), y), "plot-gain"))
    if math.isfinite(pooled):
        elements.append(diamond((scale.at(pooled), y), 7.5, "plot-pooled", title=f"{name}, pooled: {decimal(pooled)}"))
    if math.isfinite(alone):
        elements.append(circle((scale.at(alone), y), 5.6, "plot-alone", title=f"{name}, alone: {decimal(alone)}"))
    title = f"{name}, federated: {decimal(federated)}"
    elements.append(circle((scale.at(federated), y), 4.0, "plot-federated", title=title))
    return elements
