"""What the demonstration shows while it runs: chapters as lines, the job as a live table.

On a terminal the table is redrawn in place; elsewhere each round is one line.
"""

import json
import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_cli.demonstration.setting import HOSPITALS

_STEP_WORDS = {
    "advertise": "keys sent",
    "share": "shares sent",
    "mask": "masked update sent",
    "confirm": "survivors signed",
    "unmask": "unmasked the sum",
}


def _indented(text: str, style: str) -> Padding:
    return Padding(Text(text, style=style), (0, 0, 0, 9))


class Screen:
    """Prints chapters and follows a job."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the demonstration began."""
        return time.monotonic() - self._began

    def chapter(self, title: str) -> None:
        """Announce a part of the demonstration."""
        self._console.print(Text.assemble((f"\n{self.seconds:5.1f} s  ", "dim"), (title, "bold")))

    def line(self, text: str, *, style: str = "") -> None:
        """One thing that happened."""
        self._console.print(_indented(text, style))

    def table(self, table: Table) -> None:
        """A finished table."""
        self._console.print(table)

    def follow(self, rounds: int) -> "JobView":
        """A live view of one job."""
        return JobView(self._console, rounds)


class JobView:
    """Rounds, nodes and loss of a running job; use as a context manager."""

    def __init__(self, console: Console, rounds: int) -> None:
        self._console = console
        self._nodes = dict.fromkeys(HOSPITALS, "present")
        self._figures = ""
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
        )
        self._task = self._progress.add_task("rounds", total=rounds)
        self._live = Live(self._render(), console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def show(self, event: pb.JobEvent) -> None:
        """Take one event of the job."""
        if event.kind == "message":
            self._nodes[event.node] = _STEP_WORDS.get(event.step, event.step)
        elif event.kind == "lost":
            self._nodes[event.node] = "gone"
            self.say(f"{event.node} is gone in the middle of the round")
        elif event.kind == "refusal":
            self._nodes[event.node] = "refused"
            self.say(f"{event.node} refuses: {event.text}")
        elif event.kind == "failed":
            self.say(f"{event.address.stage} round {event.address.round + 1} failed: {event.text}")
        elif event.kind == "completed":
            self._completed(event)
        if self._console.is_terminal:
            self._live.update(self._render())

    def say(self, text: str, *, style: str = "yellow") -> None:
        """A line above the live table."""
        self._console.print(_indented(text, style))

    def note(self, node: str, status: str) -> None:
        """Show what the demonstration itself did to a node."""
        self._nodes[node] = status

    def _completed(self, event: pb.JobEvent) -> None:
        self._progress.advance(self._task)
        figures = json.loads(event.metrics) if event.metrics else {}
        loss = f", loss {figures['loss']:.4f}" if "loss" in figures else ""
        self._figures = f"{event.address.stage} round {event.address.round + 1}: {event.text}{loss}"
        if not self._console.is_terminal:
            self._console.print(_indented(self._figures, ""))

    def _render(self) -> Group:
        table = Table(box=None, pad_edge=False)
        table.add_column("node")
        table.add_column("now")
        for node, status in self._nodes.items():
            table.add_row(node, Text(status, style="red" if status in ("gone", "killed") else "green"))
        return Group(table, self._progress, Text(self._figures, style="dim"))
