"""One attempt of one round at the coordinator: the masking server, deadlines and absences. No I/O.

The driver owns no clock, socket or database: the engine hands in messages, departures and the time, and
sends what ``instruction_for`` gives. Feeding the same messages and step closures into a fresh driver gives
the same state, which is how a restarted coordinator takes a round up again.

A step is closed when every member that is still present has answered, or at its deadline. The last step is different:
members that have answered it have released their shares and will never sign that they did not, so a round that fails
there can hardly be tried again. With too few answers it is kept open, deadline or not, as long as somebody may answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fedseal.rounds import RoundAddress
from fedseal_crypto.identity import PublicIdentity
from fedseal_crypto.masking import (
    ClientId,
    ClientMessage,
    MaskingServer,
    RingSum,
    RoundFailed,
    RoundParameters,
    Step,
)

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPlan:
    """What is fixed before an attempt begins.

    Attributes:
        address: where its messages belong.
        parameters: bound into every key of the attempt.
        members: identity keys of the roster.
        sessions: the process of each member; another process has lost the round's secrets.
        step_seconds: how long a step may take before those who did not answer are left out.
    """

    address: RoundAddress
    parameters: RoundParameters
    members: Mapping[ClientId, PublicIdentity]
    sessions: Mapping[ClientId, bytes]
    step_seconds: float


class RoundDriver:
    """The coordinator's side of one attempt."""

    def __init__(self, plan: RoundPlan, *, now: datetime, patience: timedelta = timedelta(0)) -> None:
        """Begin an attempt; ``patience`` is how long after its deadline the last step waits for too few answers."""
        self.plan = plan
        self._patience = patience
        self._server = MaskingServer(plan.parameters, plan.members)
        self._deadline = now + timedelta(seconds=plan.step_seconds)
        self._away: set[ClientId] = set()
        self._silent_from: dict[ClientId, datetime] = {}
        self.failure: RoundFailed | None = None

    @property
    def step(self) -> Step:
        """The step whose messages are awaited, or ``DONE`` or ``FAILED``."""
        return self._server.step

    @property
    def result(self) -> RingSum:
        """The sum; only when ``step`` is ``DONE``."""
        return self._server.result

    @property
    def waiting_for(self) -> frozenset[ClientId]:
        """Members that have not answered the current step and are still expected to."""
        return self._server.missing()

    def belongs(self, client: ClientId, session: bytes) -> bool:
        """Whether ``session`` is the process that ``client`` began this attempt with."""
        return self.plan.sessions.get(client) == session

    def receive(self, message: ClientMessage) -> bool:
        """Take one message; false if it was taken before, which may be in an earlier step.

        Raises:
            PeerError: the message fails a check; nothing changed.
        """
        before = self._server.missing()
        self._server.receive(message)
        return self._server.missing() != before

    def leave(self, client: ClientId, *, silent_from: datetime | None = None) -> None:
        """Stop waiting for ``client``, in this step and the following: it is gone, was restarted or refused.

        Args:
            client: the member.
            silent_from: from when on it is certain that it will not answer; None if it may come back and do so.
        """
        self._away.add(client)
        if silent_from is not None:
            self._silent_from[client] = min(silent_from, self._silent_from.get(client, silent_from))
        self._drop_away()

    def come_back(self, client: ClientId) -> None:
        """Wait for ``client`` again, from the next step on: its connection was broken for a moment only."""
        self._away.discard(client)

    def due(self, now: datetime) -> bool:
        """Whether the current step should be closed now."""
        if self._server.step in (Step.DONE, Step.FAILED):
            return False
        if self._server.step is Step.UNMASK and not self._server.can_close():
            hoped_for = any(now < self._silent_from.get(client, _NEVER) for client in self._server.missing())
            return not hoped_for or now >= self._deadline + self._patience
        return self._server.all_in() or now >= self._deadline

    def close_step(self, now: datetime) -> None:
        """Close the current step; too few messages end the attempt, with the reason in ``failure``."""
        try:
            self._server.close_step()
        except RoundFailed as error:
            self.failure = error
        self._drop_away()
        self._deadline = now + timedelta(seconds=self.plan.step_seconds)

    def instruction_for(self, client: ClientId) -> bytes | None:
        """The encoded message that ``client`` needs in order to answer the current step."""
        message = self._server.instruction_for(client)
        return None if message is None else message.encode()

    def _drop_away(self) -> None:
        # The server forgets absences with each step.
        if self._server.step not in (Step.DONE, Step.FAILED):
            for client in self._away:
                self._server.drop(client)
