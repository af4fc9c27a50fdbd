"""Who computes the nodes' parts of a round: this process, or the workers of a Ray cluster, with the same results.

A part is a pure function of setting and task, so it does not matter who computes it, nor in which order. Ray
(https://www.ray.io) is an extra: ``pip install fedseal[ray]``.
"""

import importlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedseal.errors import SetupError
from fedseal.learning.determinism import use_deterministic_torch
from fedseal.learning.tensors import NamedTensors
from fedseal.methods.contract import NOTHING, Contribution
from fedseal.methods.programme import contribute
from fedseal.simulation.setting import Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One node's part of one round.

    Attributes:
        node: Which.
        round: From 0.
        broadcast: What every node received; the same object in all tasks of a round.
        local_state: What the node kept.
        hurried: It trains one epoch only.
        attacks: It does what its attack says, if it is an attacker.
        earlier: Its vector of the round before, where the method judges by products with it.
    """

    node: str
    round: int
    broadcast: NamedTensors
    local_state: NamedTensors
    hurried: bool
    attacks: bool
    earlier: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What came of a task.

    Attributes:
        node: Which.
        contribution: What the node would send.
        seconds: CPU time of its method.
    """

    node: str
    contribution: Contribution
    seconds: float


class Workers(Protocol):
    """Computes tasks; gives the parts in the tasks' order."""

    def compute(self, setting: Setting, tasks: Sequence[Task]) -> Iterator[Part]:
        """All parts of a round."""


def part_of(setting: Setting, task: Task) -> Part:
    """Let a node's method contribute, checked as in a federation."""
    plan = setting.plan.for_round(task.round)
    method = setting.method_of(task.node, hurried=task.hurried) if task.attacks else setting.honest(task.hurried)
    context = setting.context(task.node, plan, task.broadcast, task.local_state)
    context = replace(context, earlier=task.earlier)
    start = time.process_time()
    contribution = contribute(method, context)
    return Part(node=task.node, contribution=contribution, seconds=time.process_time() - start)


class Serial:
    """One after the other, in this process."""

    def compute(self, setting: Setting, tasks: Sequence[Task]) -> Iterator[Part]:
        """See `Workers`."""
        for task in tasks:
            yield part_of(setting, task)


class OnRay:
    """On every processor of a Ray cluster; starts one on this machine unless one is running."""

    def __init__(self) -> None:
        """Connect.

        Raises:
            SetupError: Ray is not installed.
        """
        try:
            self._ray: Any = importlib.import_module("ray")
        except ModuleNotFoundError:
            raise SetupError("The engine ray needs Ray, which is not installed; pip install 'fedseal[ray]'.") from None
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
        if not self._ray.is_initialized():
            self._ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False)
        self._remote = self._ray.remote(_remote_part)
        self._placed: tuple[Setting, Any] | None = None

    def compute(self, setting: Setting, tasks: Sequence[Task]) -> Iterator[Part]:
        """See `Workers`; the broadcast, which all tasks of a round share, is placed once."""
        if not tasks:
            return
        if self._placed is None or self._placed[0] is not setting:
            self._placed = (setting, self._ray.put(setting))
        broadcast = self._ray.put(tasks[0].broadcast)
        results = [
            self._remote.remote(self._placed[1], broadcast, replace(task, broadcast=dict(NOTHING))) for task in tasks
        ]
        for result in results:
            try:
                yield self._ray.get(result)
            except self._ray.exceptions.RayTaskError as error:
                raise error.cause from None  # the method's own error, as the serial engine raises it


def _remote_part(setting: Setting, broadcast: NamedTensors, task: Task) -> Part:
    use_deterministic_torch()
    return part_of(setting, replace(task, broadcast=broadcast))


def make_workers(engine: str) -> Workers:
    """``serial`` or ``ray``.

    Raises:
        SetupError: Another word, or Ray is not installed.
    """
    if engine == "serial":
        return Serial()
    if engine == "ray":
        return OnRay()
    raise SetupError(f'There is no engine "{engine}"; write serial or ray.')
