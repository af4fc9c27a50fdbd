"""State diagrams, drawn from the transition tables that the code runs on."""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum

from blocks.markdown import fenced

from fedseal_crypto.masking import (
    CLIENT_TRANSITIONS,
    SERVER_TRANSITIONS,
    SPARSE_CLIENT_TRANSITIONS,
    SPARSE_SERVER_TRANSITIONS,
)
from fedseal_governance.participation import ATTEMPT_TRANSITIONS
from fedseal_governance.policy.lifecycle import TRANSITIONS as POLICY_TRANSITIONS
from fedseal_governance.runs import JOB_TRANSITIONS, ROUND_TRANSITIONS

Arrow = tuple[StrEnum, StrEnum, str]


def _diagram(arrows: Iterable[Arrow], *, first: StrEnum) -> str:
    """A mermaid state diagram; states without a way out lead to the end."""
    listed = list(arrows)
    sources = {source for source, _, _ in listed}
    ends = dict.fromkeys(target for _, target, _ in listed if target not in sources)
    lines = ["stateDiagram-v2", f"    [*] --> {first.value}"]
    lines += [
        f"    {source.value} --> {target.value}{f' : {label}' if label else ''}" for source, target, label in listed
    ]
    lines += [f"    {end.value} --> [*]" for end in ends]
    return fenced("\n".join(lines), "mermaid")


def _with_events(table: Mapping[StrEnum, Mapping[StrEnum, StrEnum]]) -> list[Arrow]:
    return [(source, target, event.value) for source, steps in table.items() for event, target in steps.items()]


def _without_events(table: Mapping[StrEnum, frozenset[StrEnum]]) -> list[Arrow]:
    # A set has no order; the enumeration's order is the order of a life.
    return [(source, target, "") for source, targets in table.items() for target in type(source) if target in targets]


def _masking(table: Mapping[StrEnum, Mapping[StrEnum, StrEnum]]) -> Callable[[], str]:
    return lambda: _diagram(_with_events(table), first=next(iter(table)))


def _plain(table: Mapping[StrEnum, frozenset[StrEnum]]) -> Callable[[], str]:
    return lambda: _diagram(_without_events(table), first=next(iter(table)))


def _policy() -> str:
    arrows: list[Arrow] = [(source, target, step.value) for (source, step), target in POLICY_TRANSITIONS.items()]
    return _diagram(arrows, first=arrows[0][0])


BLOCKS: Mapping[str, Callable[[], str]] = {
    "states-member": _masking(CLIENT_TRANSITIONS),  # type: ignore[arg-type]  # each table has enumerations of its own
    "states-server": _masking(SERVER_TRANSITIONS),  # type: ignore[arg-type]  # as above
    "states-member-sparse": _masking(SPARSE_CLIENT_TRANSITIONS),  # type: ignore[arg-type]  # as above
    "states-server-sparse": _masking(SPARSE_SERVER_TRANSITIONS),  # type: ignore[arg-type]  # as above
    "states-job": _plain(JOB_TRANSITIONS),  # type: ignore[arg-type]  # as above
    "states-round": _plain(ROUND_TRANSITIONS),  # type: ignore[arg-type]  # as above
    "states-attempt": _plain(ATTEMPT_TRANSITIONS),  # type: ignore[arg-type]  # as above
    "states-policy": _policy,
}
