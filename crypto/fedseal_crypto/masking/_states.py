"""The states of both roles and every transition between them.

Two rules: everything that decides whether a step may happen now is in these tables, and a missing entry is an
error. The state diagrams in the documentation are drawn from the same tables.

A member goes strictly forward through one attempt. There is no way back and no second answer: what a lost
connection needs is the same answer again, which `MaskingClient.answer` gives from memory. A sparse graph
needs one more step, in which the nonces behind the graph are opened.
"""

from collections.abc import Mapping
from enum import StrEnum


class ClientState(StrEnum):
    """Where a member is in an attempt."""

    READY = "ready"
    ADVERTISED = "advertised"
    REVEALED = "revealed"
    SHARED = "shared"
    MASKED = "masked"
    CONFIRMED = "confirmed"
    UNMASKED = "unmasked"
    ABANDONED = "abandoned"


class ClientEvent(StrEnum):
    """What a member does."""

    ADVERTISE = "advertise"
    REVEAL = "reveal"
    SHARE = "share"
    MASK = "mask"
    CONFIRM = "confirm"
    UNMASK = "unmask"
    ABANDON = "abandon"


class Step(StrEnum):
    """What a server is collecting, or how the attempt ended."""

    ADVERTISE = "advertise"
    REVEAL = "reveal"
    SHARE = "share"
    MASK = "mask"
    CONFIRM = "confirm"
    UNMASK = "unmask"
    DONE = "done"
    FAILED = "failed"


class ServerEvent(StrEnum):
    """How a step ends: with enough messages, or without."""

    CLOSE = "close"
    FAIL = "fail"


_ABANDON = {ClientEvent.ABANDON: ClientState.ABANDONED}
_FAIL = {ServerEvent.FAIL: Step.FAILED}

CLIENT_TRANSITIONS: Mapping[ClientState, Mapping[ClientEvent, ClientState]] = {
    ClientState.READY: {ClientEvent.ADVERTISE: ClientState.ADVERTISED, **_ABANDON},
    ClientState.ADVERTISED: {ClientEvent.SHARE: ClientState.SHARED, **_ABANDON},
    ClientState.SHARED: {ClientEvent.MASK: ClientState.MASKED, **_ABANDON},
    ClientState.MASKED: {ClientEvent.CONFIRM: ClientState.CONFIRMED, **_ABANDON},
    ClientState.CONFIRMED: {ClientEvent.UNMASK: ClientState.UNMASKED, **_ABANDON},
    ClientState.UNMASKED: {},
    ClientState.ABANDONED: {},
}
"""A member on the complete graph."""

SPARSE_CLIENT_TRANSITIONS: Mapping[ClientState, Mapping[ClientEvent, ClientState]] = {
    **CLIENT_TRANSITIONS,
    ClientState.ADVERTISED: {ClientEvent.REVEAL: ClientState.REVEALED, **_ABANDON},
    ClientState.REVEALED: {ClientEvent.SHARE: ClientState.SHARED, **_ABANDON},
}
"""A member on a sparse graph."""

SERVER_TRANSITIONS: Mapping[Step, Mapping[ServerEvent, Step]] = {
    Step.ADVERTISE: {ServerEvent.CLOSE: Step.SHARE, **_FAIL},
    Step.SHARE: {ServerEvent.CLOSE: Step.MASK, **_FAIL},
    Step.MASK: {ServerEvent.CLOSE: Step.CONFIRM, **_FAIL},
    Step.CONFIRM: {ServerEvent.CLOSE: Step.UNMASK, **_FAIL},
    Step.UNMASK: {ServerEvent.CLOSE: Step.DONE, **_FAIL},
    Step.DONE: {},
    Step.FAILED: {},
}
"""A server on the complete graph."""

SPARSE_SERVER_TRANSITIONS: Mapping[Step, Mapping[ServerEvent, Step]] = {
    **SERVER_TRANSITIONS,
    Step.ADVERTISE: {ServerEvent.CLOSE: Step.REVEAL, **_FAIL},
    Step.REVEAL: {ServerEvent.CLOSE: Step.SHARE, **_FAIL},
}
"""A server on a sparse graph."""
