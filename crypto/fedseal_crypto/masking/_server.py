"""The server's side of one attempt: a state machine without I/O.

It collects the members' messages step by step, adds masked vectors into one accumulator as they arrive, and
takes the remaining masks out at the end. It holds no key of its own: a server that breaks the rules can stop
a round, but learns no more than the sum, because members check everything themselves.

Rules it keeps: a message is checked completely before anything changes; a repeated identical message changes
nothing; a different second one is refused; a vector counts only when it is whole and matches its signed
digest; the same messages and closings in the same order give the same state, so that a restarted server
replays them into a new object. Memory: one vector, whatever the number of members.

Left to the caller: when to close a step (deadlines), transport, storing messages before they are
acknowledged.
"""

from collections.abc import Mapping
from typing import final

from fedseal_crypto.encoding import RingVector
from fedseal_crypto.identity import PublicIdentity
from fedseal_crypto.masking._errors import CallOutOfOrder, ConflictingMessage, RoundFailed, Violation
from fedseal_crypto.masking._instructions import message_for, message_for_all
from fedseal_crypto.masking._members import Members, check_new_keys
from fedseal_crypto.masking._messages import Advertisement, HiddenInput, MaskedInput, ReceivedMessage, ServerMessage
from fedseal_crypto.masking._parameters import ClientId, MemberIndex, RoundParameters
from fedseal_crypto.masking._progress import (
    Kept,
    Received,
    advance,
    collected,
    first_progress,
    present_and_needed,
)
from fedseal_crypto.masking._recovery import RingSum, remove_masks
from fedseal_crypto.masking._server_checks import check_kind, check_message, check_turn, step_of
from fedseal_crypto.masking._states import SERVER_TRANSITIONS, SPARSE_SERVER_TRANSITIONS, ServerEvent, Step


@final
class MaskingServer:
    """The collecting party in one attempt.

    Args:
        parameters: What it proposed to the members.
        members: The certified identity of every member of the roster.
        hidden: Whether the masked vectors travel inside ciphertexts to somebody who opens their sum. The result
            is then minus the sum of the masks, to be added to that.

    Raises:
        ParametersInvalid: A member has no identity.
    """

    def __init__(
        self, parameters: RoundParameters, members: Mapping[ClientId, PublicIdentity], *, hidden: bool = False
    ) -> None:
        self._members = Members(parameters, members)
        self._hidden = hidden
        self._progress = first_progress(parameters)
        self._table = SPARSE_SERVER_TRANSITIONS if self._progress.sparse else SERVER_TRANSITIONS
        self._received = Received()
        self._gone: frozenset[MemberIndex] = frozenset()
        self._total: RingVector | None = None
        self._result: RingSum | None = None
        self._for_all: ServerMessage | None = None

    @property
    def step(self) -> Step:
        """What is being collected."""
        return self._progress.step

    @property
    def parameters(self) -> RoundParameters:
        """The attempt."""
        return self._progress.parameters

    @property
    def result(self) -> RingSum:
        """The sum.

        Raises:
            CallOutOfOrder: The attempt is not done.
        """
        if self._result is None:
            raise CallOutOfOrder(f"there is no sum in step {self.step}.")
        return self._result

    @property
    def expected(self) -> frozenset[ClientId]:
        """Members that may answer the step; nobody once the attempt is over."""
        return self._names(self._progress.expected if self._table[self.step] else frozenset())

    def missing(self) -> frozenset[ClientId]:
        """Members that may answer the step and have not, gone ones included."""
        return self.expected - self._names(frozenset(self._received.of(self.step)))

    def all_in(self) -> bool:
        """Whether everybody who is not gone has answered."""
        return self.missing() <= self._names(self._gone)

    def can_close(self) -> bool:
        """Whether enough have answered for the step to be closed without failing."""
        if not self._table[self.step]:
            return False
        present, needed = present_and_needed(self._progress, self._received)
        return present >= needed

    def drop(self, client: ClientId) -> None:
        """Note that a member's connection is gone: `all_in` no longer waits for it in this step.

        It may still answer while the step is open; nothing else depends on it.

        Raises:
            UnknownMember: It is not in the roster.
        """
        self._gone |= {self._members.index(client, self.step)}

    def receive(self, message: ReceivedMessage) -> None:
        """Check a member's message and keep it; the same message again changes nothing.

        Raises:
            ProtocolViolation: It is refused; nothing changed.
        """
        step = step_of(message)
        sender = self._members.index(message.client, step)
        kept: Kept = message.header if isinstance(message, MaskedInput | HiddenInput) else message
        earlier = self._received.of(step).get(sender)
        if earlier == kept:
            return
        if earlier is not None:
            raise ConflictingMessage(
                Violation(
                    step=step,
                    party=message.client,
                    got="a second, different message",
                    expected="one message a step; a member that restarted waits for the next attempt",
                )
            )
        check_turn(self._progress, sender, message)
        check_kind(message, hidden=self._hidden)
        check_message(self._progress, self._members, message)
        if isinstance(message, Advertisement):
            check_new_keys(message, self._received.keys)
        if isinstance(message, MaskedInput):
            self._add(message.words)
        elif isinstance(message, HiddenInput):
            self._total = self._total or RingVector.zeros(self.parameters)
        self._received.keep(sender, kept)

    def instruction_for(self, client: ClientId) -> ServerMessage | None:
        """What this member needs to answer the current step; the same however often it is asked for.

        None in step advertise (the parameters themselves are the instruction), when the attempt is over, and
        for a member that left.

        Raises:
            UnknownMember: It is not in the roster.
        """
        member = self._members.index(client, self.step)
        if not self._table[self.step] or member not in self._progress.expected:
            return None
        return self._for_all or message_for(self._progress, self._received, member)

    def close_step(self, *, workers: int = 1) -> None:
        """End the step: go on with those who answered, or fail.

        Args:
            workers: Threads for taking the masks out, when step unmask closes.

        Raises:
            CallOutOfOrder: The attempt is over.
            RoundFailed: Too few answered, or a secret cannot be recovered. The attempt has then failed for
                good: this error, unlike all others, comes with a change of state.
        """
        after = self._after(ServerEvent.CLOSE)
        present, needed = present_and_needed(self._progress, self._received)
        if present < needed:
            step = self.step
            self._fail()
            raise RoundFailed(
                f"step {step} ended with {present} answers; {needed} are needed.",
                step=step,
                present=present,
                needed=needed,
            )
        if self.step is Step.UNMASK:
            self._finish(workers)
        self._progress = advance(self._progress, self._received, after)
        self._for_all = message_for_all(self._progress, self._received)
        self._gone = frozenset()

    def fail(self) -> None:
        """Give the attempt up, because its caller must; it can never be completed afterwards.

        Raises:
            CallOutOfOrder: The attempt is over.
        """
        self._fail()

    def _fail(self) -> None:
        self._progress = advance(self._progress, self._received, self._after(ServerEvent.FAIL))
        self._total = None
        self._for_all = None

    def _finish(self, workers: int) -> None:
        if self._total is None:
            raise CallOutOfOrder("there is no input to sum.")
        try:
            blamed = remove_masks(self._total, collected(self._progress, self._received), workers=workers)
        except RoundFailed:
            self._fail()
            raise
        everyone = frozenset(self.parameters.roster)
        survivors = self._names(self._progress.survivors)
        self._result = RingSum(
            words=self._total,
            survivors=tuple(sorted(survivors)),
            dropped=tuple(sorted(everyone - survivors)),
            blamed=blamed,
        )
        self._total = None

    def _add(self, words: RingVector) -> None:
        if self._total is None:
            self._total = RingVector.zeros(self.parameters)
        self._total.add_in_place(words)

    def _after(self, event: ServerEvent) -> Step:
        after = self._table[self.step].get(event)
        if after is None:
            raise CallOutOfOrder(f"the attempt is over: its state is {self.step}.")
        return after

    def _names(self, members: frozenset[MemberIndex]) -> frozenset[ClientId]:
        return frozenset(self.parameters.roster[i] for i in members)

    def __repr__(self) -> str:
        return f"MaskingServer({self.step}, {len(self._received.of(self.step))} of {len(self.expected)} answered)"
