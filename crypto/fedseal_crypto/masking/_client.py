"""A member's side of one attempt: a state machine without I/O.

Each step checks everything that the server sent, then computes, then assigns: a step that raises leaves the
object as it was, and nothing has been revealed. The steps go strictly forward. A node makes a new object for
each attempt; nothing of it survives a restart, so that no key, mask or nonce can be used twice and no attempt
can be answered twice.

What a member has checked before it hands over a masked vector: the parameters are at least as strong as its
own limits (on construction); every key is signed by a certified member for exactly these parameters, this
broadcast and this layout; its own entry is unchanged; neighbours are its own computation; enough shares
arrived, sealed by their owners for it in this attempt. Before it unmasks: see `_survivors`.

Left to the caller: that the identities are certified and not revoked, that round and attempt were not used
before, that earlier attempts are dead (`attempt_is_dead`), and everything about the values themselves.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NoReturn, TypeVar, final

from fedseal_crypto.encoding import RingVector
from fedseal_crypto.errors import MisuseError
from fedseal_crypto.identity import Entropy, IdentityKey, PublicIdentity
from fedseal_crypto.masking._client_memory import (
    Advertised,
    Confirmed,
    Masked,
    Memory,
    Revealed,
    Secrets,
    Shared,
    new_secrets,
)
from fedseal_crypto.masking._client_steps import (
    build_advertisement,
    build_bundle,
    build_masked_input,
    build_unmasking,
    open_delivery,
    sorted_abandonments,
)
from fedseal_crypto.masking._errors import AlreadyAnswered, CallOutOfOrder, ParametersInvalid, Violation
from fedseal_crypto.masking._limits import ClientLimits, check_strength
from fedseal_crypto.masking._members import COORDINATOR, Members
from fedseal_crypto.masking._messages import (
    Advertisement,
    ClientMessage,
    Confirmation,
    Confirmations,
    MaskedInput,
    Opening,
    Openings,
    Roster,
    RosterDigests,
    ServerMessage,
    ShareBundle,
    ShareDelivery,
    Survivors,
    Unmasking,
)
from fedseal_crypto.masking._parameters import ClientId, RoundParameters
from fedseal_crypto.masking._session import Revealing, check_digests, open_nonces, open_roster
from fedseal_crypto.masking._states import (
    CLIENT_TRANSITIONS,
    SPARSE_CLIENT_TRANSITIONS,
    ClientEvent,
    ClientState,
)
from fedseal_crypto.masking._survivors import check_confirmations, check_history, check_survivors

M = TypeVar("M", Advertised, Revealed, Shared, Masked, Confirmed)


@final
class MaskingClient:
    """One member in one attempt.

    Args:
        parameters: As the server proposes them.
        identity: This member's signing key.
        members: The certified identity of every member of the roster.
        limits: What this node demands, from its policy and the job it accepted.
        entropy: The system's generator in programs.

    Raises:
        ParametersInvalid: This node is not a member, or a member has no identity.
        WeakParameters: The parameters protect less than `limits` demand.
    """

    def __init__(
        self,
        parameters: RoundParameters,
        identity: IdentityKey,
        members: Mapping[ClientId, PublicIdentity],
        limits: ClientLimits,
        entropy: Entropy,
    ) -> None:
        names = [name for name in parameters.roster if members.get(name) == identity.public]
        if not names:
            raise ParametersInvalid("this node's identity is not among the members of the roster.")
        self._members = Members(parameters, members)
        check_strength(parameters, limits)
        self._parameters = parameters
        self._identity = identity
        self._limits = limits
        self._name = names[0]
        self._entropy = entropy
        self._table = CLIENT_TRANSITIONS if parameters.neighbours is None else SPARSE_CLIENT_TRANSITIONS
        self._state = ClientState.READY
        self._memory: Memory = None
        self._declared: Mapping[ClientId, tuple[bytes, ...]] = {}
        self._last: tuple[ServerMessage, ClientMessage] | None = None

    @property
    def state(self) -> ClientState:
        """Where this member is."""
        return self._state

    @property
    def name(self) -> ClientId:
        """This member's name in the roster."""
        return self._name

    @property
    def parameters(self) -> RoundParameters:
        """The attempt."""
        return self._parameters

    @property
    def survivors(self) -> frozenset[ClientId]:
        """Whose inputs are in the sum that this member has confirmed.

        Raises:
            CallOutOfOrder: The member is not in state confirmed.
        """
        memory = self._remembered(Confirmed)
        return frozenset(self._parameters.roster[i] for i in memory.survivors)

    def advertise(self, abandoned: tuple[bytes, ...] = ()) -> Advertisement:
        """Make fresh keys and announce them.

        Args:
            abandoned: First contexts of earlier attempts of this round that this node promises never to
                unmask; at most 64 distinct ones.

        Raises:
            AbandonmentsInvalid: There are more, or one is no context; nothing changed.
        """
        after = self._after(ClientEvent.ADVERTISE)
        abandoned = sorted_abandonments(abandoned)
        secrets = new_secrets(self._entropy, sparse=self._parameters.neighbours is not None)
        own = build_advertisement(self._parameters, self._identity, self._name, secrets, abandoned)
        self._enter(after, Advertised(secrets, own))
        return own

    def reveal(self, digests: RosterDigests) -> Opening:
        """Sparse graph only: check the roster by digests and open the nonce.

        Raises:
            ProtocolViolation: The roster is refused; nothing changed.
        """
        after = self._after(ClientEvent.REVEAL)
        memory = self._remembered(Advertised)
        context, entries = check_digests(self._members, self._parameters, memory.own, digests)
        revealing = Revealing(parameters=self._parameters, own=memory.own, context=context, entries=entries)
        opening = Opening(client=self._name, context=context, nonce=_nonce(memory.secrets))
        self._enter(after, Revealed(memory.secrets, revealing))
        return opening

    def share(self, roster: Roster | Openings) -> ShareBundle:
        """Check everybody's keys, agree with the neighbours, and share out this member's two secrets.

        Raises:
            ProtocolViolation: The roster is refused; nothing changed.
        """
        after = self._after(ClientEvent.SHARE)
        if isinstance(roster, Roster):
            memory = self._remembered(Advertised)
            secrets = memory.secrets
            session = open_roster(self._members, self._parameters, memory.own, roster)
        else:
            revealed = self._remembered(Revealed)
            secrets = revealed.secrets
            session = open_nonces(self._members, revealed.revealing, roster)
        bundle, shared = build_bundle(session, secrets, self._identity, self._entropy)
        self._declared = {ad.client: ad.abandoned for ad in session.advertisements.values()}
        self._enter(after, shared)
        return bundle

    def roster_abandonments(self, context0: bytes) -> frozenset[ClientId]:
        """Members that signed never to unmask that attempt; known from step share on.

        On a sparse graph these are this member and its neighbours only.
        """
        return frozenset(client for client, contexts in self._declared.items() if context0 in contexts)

    def mask(self, delivery: ShareDelivery, words: RingVector, *, workers: int = 1) -> MaskedInput:
        """Open the shares that others sent, and mask this member's vector.

        Args:
            delivery: The sealed shares.
            words: The encoded contribution; it is copied, not changed.
            workers: Threads for the masks.

        Raises:
            ProtocolViolation: The delivery is refused; nothing changed.
            RingMismatch: `words` has not the agreed layout.
        """
        after = self._after(ClientEvent.MASK)
        memory = self._remembered(Shared)
        held = open_delivery(memory, delivery)
        masked = build_masked_input(memory, self._identity, words, peers=held.keys(), workers=workers)
        self._enter(after, Masked(memory.session, held))
        return masked

    def confirm(self, survivors: Survivors, *, earlier: Iterable[frozenset[ClientId]] = ()) -> Confirmation:
        """Check the list of survivors and sign it.

        Args:
            survivors: The server's list.
            earlier: Survivors of earlier sums over the same broadcast to which this node may have revealed
                shares, from the node's own records.

        Raises:
            HistoryRefused: The sum's difference to an earlier one would be over too few members.
            AlreadyAnswered: Another list was signed before.
            ProtocolViolation: The list is refused; nothing changed.
        """
        after = self._after(ClientEvent.CONFIRM)
        memory = self._remembered(Masked)
        alive = check_survivors(memory.session, memory.held, survivors)
        check_history(memory.session, alive, earlier, minimum_difference=self._limits.minimum_difference)
        unsigned = Confirmation(
            client=self._name, context=memory.session.context, survivors=survivors.survivors, signature=b""
        )
        confirmation = replace(unsigned, signature=self._identity.sign(unsigned.signed()))
        self._enter(after, Confirmed(memory.session, memory.held, alive, confirmation))
        return confirmation

    def unmask(self, confirmations: Confirmations) -> Unmasking:
        """Check that enough members signed the same survivors, then reveal one share for each owner.

        For a survivor it is the self-mask share, for a member that left after sharing the pairwise share.

        Raises:
            EquivocationDetected: A member signed other survivors.
            ProtocolViolation: The confirmations are refused; nothing changed.
        """
        after = self._after(ClientEvent.UNMASK)
        memory = self._remembered(Confirmed)
        check_confirmations(memory.session, self._members, memory.confirmation, confirmations)
        unmasking = build_unmasking(memory, self._identity)
        self._enter(after, None)
        return unmasking

    def abandon(self) -> None:
        """Forget every secret of this attempt; it can never be answered again."""
        after = self._after(ClientEvent.ABANDON)
        self._last = None
        self._enter(after, None)

    def answer(
        self,
        instruction: ServerMessage,
        words: RingVector | None = None,
        *,
        earlier: Iterable[frozenset[ClientId]] = (),
        workers: int = 1,
    ) -> ClientMessage:
        """The step that an instruction asks for; the same instruction again gives the same answer again.

        Args:
            instruction: What the server sent.
            words: Needed for a `ShareDelivery`.
            earlier: For `Survivors`, see `confirm`.
            workers: Threads for the masks.

        Raises:
            ProtocolViolation: The instruction is refused; nothing changed.
            CallOutOfOrder: `words` are missing.
        """
        if self._last is not None and self._last[0] == instruction:
            return self._last[1]
        reply: ClientMessage
        match instruction:
            case RosterDigests():
                reply = self.reveal(instruction)
            case Roster() | Openings():
                reply = self.share(instruction)
            case ShareDelivery():
                if words is None:
                    raise CallOutOfOrder("a share delivery is answered with a masked vector; pass the words.")
                reply = self.mask(instruction, words, workers=workers)
            case Survivors():
                reply = self.confirm(instruction, earlier=earlier)
            case Confirmations():
                reply = self.unmask(instruction)
        self._last = (instruction, reply)
        return reply

    def _after(self, event: ClientEvent) -> ClientState:
        """The state that `event` leads to.

        Raises:
            AlreadyAnswered: The step was done before, or the attempt is over.
            CallOutOfOrder: The step comes later.
        """
        after = self._table[self._state].get(event)
        if after is not None:
            return after
        order = list(ClientState)
        answered = any(
            targets.get(event) is not None and order.index(state) < order.index(self._state)
            for state, targets in self._table.items()
        )
        if answered:
            raise AlreadyAnswered(
                Violation(
                    step=event,
                    party=COORDINATOR,
                    got=f"a request for step {event} of {self._name} in state {self._state}",
                    expected="each step to be asked once in an attempt",
                )
            )
        raise CallOutOfOrder(f"step {event} is not possible in state {self._state}.")

    def _remembered(self, kind: type[M]) -> M:
        if not isinstance(self._memory, kind):
            raise CallOutOfOrder(f"this message does not belong to state {self._state}.")
        return self._memory

    def _enter(self, state: ClientState, memory: Memory) -> None:
        self._state, self._memory = state, memory

    def __reduce__(self) -> NoReturn:
        raise MisuseError("a member in an attempt cannot be pickled or copied: it could then answer twice.")

    def __repr__(self) -> str:
        return f"MaskingClient({self._name}, {self._state})"


def _nonce(secrets: Secrets) -> bytes:
    if secrets.nonce is None:
        raise CallOutOfOrder("there is no nonce to open on the complete graph.")
    return secrets.nonce.reveal()
