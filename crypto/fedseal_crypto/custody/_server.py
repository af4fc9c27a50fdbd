"""The coordinator's side of one attempt under a custodian's key, without masks: a state machine without I/O.

It collects commitments, then statements with their pads; the ciphertexts themselves are the caller's, who keeps
them until the custodian has opened their sum. It has the same shape as `MaskingServer`, so that a caller can
drive either.

Rules it keeps: a message is checked completely before anything changes; a repeated identical message changes
nothing, a different second one is refused; the same messages and closings give the same state.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import final

from fedseal_crypto.custody._checks import Statements, check_seen
from fedseal_crypto.custody._messages import Commitment, CommitmentList, Parcel, SealedInput
from fedseal_crypto.custody._pads import pads_taken
from fedseal_crypto.encoding import RingVector
from fedseal_crypto.identity import PublicIdentity
from fedseal_crypto.masking import (
    ClientId,
    ConflictingMessage,
    EarlyMessage,
    InputRefused,
    LateMessage,
    RingSum,
    RoundFailed,
    RoundParameters,
    ServerEvent,
    Step,
    UnknownMember,
)
from fedseal_crypto.masking._errors import CallOutOfOrder, Violation

_FAIL = {ServerEvent.FAIL: Step.FAILED}

SEALED_SERVER_TRANSITIONS: Mapping[Step, Mapping[ServerEvent, Step]] = {
    Step.ADVERTISE: {ServerEvent.CLOSE: Step.MASK, **_FAIL},
    Step.MASK: {ServerEvent.CLOSE: Step.DONE, **_FAIL},
    Step.DONE: {},
    Step.FAILED: {},
}
"""A coordinator that collects ciphertexts under a custodian's key."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SealedMessage:
    """A member's message: its commitment, or what goes before its ciphertext."""

    client: ClientId
    content: Commitment | Parcel


@final
class SealedServer:
    """The collecting party in one attempt.

    Args:
        parameters: What it proposed to the members.
        members: The certified identity of every member of the roster.
        key: Digest of the custodian's public key, 32 bytes.

    Raises:
        ParametersInvalid: A member has no identity.
    """

    def __init__(self, parameters: RoundParameters, members: Mapping[ClientId, PublicIdentity], key: bytes) -> None:
        self._statements = Statements(parameters, members, key)
        self._step = Step.ADVERTISE
        self._commitments: dict[ClientId, Commitment] = {}
        self._parcels: dict[ClientId, Parcel] = {}
        self._gone: frozenset[ClientId] = frozenset()
        self._list: CommitmentList | None = None
        self._left_out: frozenset[ClientId] = frozenset()
        self._result: RingSum | None = None

    @property
    def step(self) -> Step:
        """What is being collected."""
        return self._step

    @property
    def parameters(self) -> RoundParameters:
        """The attempt."""
        return self._statements.parameters

    @property
    def result(self) -> RingSum:
        """Who is in the sum, and minus the sum of their pads: to be added to what the custodian opens.

        Raises:
            CallOutOfOrder: The attempt is not done.
        """
        if self._result is None:
            raise CallOutOfOrder(f"there is no sum in step {self._step}.")
        return self._result

    @property
    def commitments(self) -> CommitmentList | None:
        """What the members saw; None before step mask."""
        return self._list

    @property
    def inputs(self) -> tuple[SealedInput, ...]:
        """The statements of those in the sum so far, sorted by member."""
        return tuple(self._parcels[client].sealed for client in sorted(self._parcels))

    def missing(self) -> frozenset[ClientId]:
        """Members that may answer the step and have not, gone ones included."""
        match self._step:
            case Step.ADVERTISE:
                return frozenset(self.parameters.roster) - self._commitments.keys()
            case Step.MASK:
                return frozenset(self._commitments) - self._parcels.keys()
            case _:
                return frozenset()

    def all_in(self) -> bool:
        """Whether everybody who is not gone has answered."""
        return self.missing() <= self._gone

    def can_close(self) -> bool:
        """Whether enough have answered for the step to be closed without failing."""
        if not SEALED_SERVER_TRANSITIONS[self._step]:
            return False
        present = len(self._commitments if self._step is Step.ADVERTISE else self._parcels)
        return present >= self.parameters.smallest_sum

    def drop(self, client: ClientId) -> None:
        """Note that a member's connection is gone: `all_in` no longer waits for it in this step.

        Raises:
            UnknownMember: It is not in the roster.
        """
        self._statements.require_member(client, self._step)
        self._gone |= {client}

    def receive(self, message: SealedMessage) -> None:
        """Check a member's message and keep it; the same message again changes nothing.

        Raises:
            ProtocolViolation: It is refused; nothing changed.
        """
        client, content = message.client, message.content
        step = Step.ADVERTISE if isinstance(content, Commitment) else Step.MASK
        self._statements.require_member(client, step)
        earlier = (self._commitments if step is Step.ADVERTISE else self._parcels).get(client)
        if earlier == content:
            return
        if earlier is not None:
            raise ConflictingMessage(
                Violation(step=step, party=client, got="a second, different message", expected="one message a step")
            )
        self._check_turn(client, step)
        if isinstance(content, Commitment):
            self._check_sender(client, content.client)
            self._statements.check(content)
            self._commitments[client] = content
        else:
            self._check_parcel(client, content)
            self._parcels[client] = content

    def instruction_for(self, client: ClientId) -> CommitmentList | None:
        """What this member needs to answer the current step: in step mask, everybody's commitments.

        Raises:
            UnknownMember: It is not in the roster.
        """
        self._statements.require_member(client, self._step)
        return self._list if self._step is Step.MASK and client in self._commitments else None

    def close_step(self) -> None:
        """End the step: go on with those who answered, or fail.

        Raises:
            CallOutOfOrder: The attempt is over.
            RoundFailed: Too few answered; the attempt has then failed for good.
        """
        after = self._after(ServerEvent.CLOSE)
        present = len(self._commitments if self._step is Step.ADVERTISE else self._parcels)
        needed = self.parameters.smallest_sum
        if present < needed:
            step = self._step
            self.fail()
            sentence = f"step {step} ended with {present} answers; {needed} are needed."
            raise RoundFailed(sentence, step=step, present=present, needed=needed)
        if self._step is Step.ADVERTISE:
            items = tuple(self._commitments[client] for client in sorted(self._commitments))
            self._list = CommitmentList(context0=self._statements.context0, commitments=items)
        else:
            self._finish()
        self._step, self._gone = after, frozenset()

    def fail(self) -> None:
        """Give the attempt up, because its caller must; it can never be completed afterwards.

        Raises:
            CallOutOfOrder: The attempt is over.
        """
        self._step = self._after(ServerEvent.FAIL)
        self._parcels.clear()

    def leave_out(self, clients: Collection[ClientId]) -> None:
        """Take members out of the sum before it is asked for; leaving the same ones out again changes nothing.

        Raises:
            CallOutOfOrder: The attempt is not done.
            RoundFailed: Fewer would remain than a sum must have; nothing changed.
        """
        remaining = len(self._parcels.keys() - set(clients))
        if self._step is not Step.DONE:
            raise CallOutOfOrder(f"nobody can be left out in step {self._step}.")
        needed = self.parameters.smallest_sum
        if remaining < needed:
            sentence = f"{remaining} contributions would remain in the sum; {needed} are needed."
            raise RoundFailed(sentence, step=self._step, present=remaining, needed=needed)
        self._left_out = frozenset(clients)
        self._finish()

    def _finish(self) -> None:
        survivors = tuple(sorted(self._parcels.keys() - self._left_out))
        pads = [(client, self._parcels[client].pad) for client in survivors]
        words = pads_taken(RingVector.zeros(self.parameters), pads, context0=self._statements.context0)
        dropped = tuple(sorted(frozenset(self.parameters.roster) - frozenset(survivors)))
        self._result = RingSum(words=words, survivors=survivors, dropped=dropped, blamed=())

    def _check_turn(self, client: ClientId, step: Step) -> None:
        if step is not self._step:
            order = list(Step)
            violation = Violation(
                step=step,
                party=client,
                got=f"a message for step {step} during step {self._step}",
                expected=f"messages for step {self._step}",
            )
            raise (LateMessage if order.index(step) < order.index(self._step) else EarlyMessage)(violation)
        if step is Step.MASK and client not in self._commitments:
            raise UnknownMember(
                Violation(step=step, party=client, got="a ciphertext", expected="members that committed to one")
            )

    def _check_parcel(self, client: ClientId, parcel: Parcel) -> None:
        self._check_sender(client, parcel.sealed.client)
        self._statements.check(parcel.sealed)
        check_seen(parcel.sealed, self._list, {name: item.digest for name, item in self._commitments.items()})
        if len(parcel.pad) == 0:
            raise InputRefused(
                Violation(step=Step.MASK, party=client, got="no pad", expected="the pad of its ciphertext")
            )

    def _check_sender(self, client: ClientId, named: ClientId) -> None:
        if client != named:
            violation = Violation(step=self._step, party=client, got=f"a statement by {named}", expected="its own")
            raise UnknownMember(violation)

    def _after(self, event: ServerEvent) -> Step:
        after = SEALED_SERVER_TRANSITIONS[self._step].get(event)
        if after is None:
            raise CallOutOfOrder(f"the attempt is over: its state is {self._step}.")
        return after

    def __repr__(self) -> str:
        return f"SealedServer({self._step}, {len(self.missing())} missing)"
