"""A member's side of one attempt under a custodian's key, without masks: a state machine without I/O.

The member pads its vector, the caller encrypts it, the member commits to the ciphertext's digest, and sends the
ciphertext only when it has seen that enough others are committed too. Committing first means that no member's
ciphertext can be made from another's: ciphertexts that can be added can also be subtracted.

It leaves out encryption (`fedseal_crypto.homomorphic`) and where the ciphertext is kept in between.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import NoReturn, final

from fedseal_crypto.custody._checks import Statements
from fedseal_crypto.custody._messages import (
    MASKED_INSIDE,
    NOTHING_BESIDE,
    PAD_SIZE,
    Commitment,
    CommitmentList,
    Parcel,
    SealedInput,
)
from fedseal_crypto.custody._pads import add_pad
from fedseal_crypto.encoding import RingMismatch, RingVector
from fedseal_crypto.errors import MisuseError
from fedseal_crypto.identity import IdentityKey, PublicIdentity
from fedseal_crypto.masking import (
    ClientId,
    ClientLimits,
    MaskedInputHeader,
    OwnEntryChanged,
    RoundParameters,
    Step,
    UnknownMember,
)
from fedseal_crypto.masking._errors import CallOutOfOrder, Violation
from fedseal_crypto.masking._limits import check_strength
from fedseal_crypto.masking._members import COORDINATOR
from fedseal_crypto.secret import SecretBytes


class SealedState(StrEnum):
    """Where a member is in an attempt."""

    READY = "ready"
    PADDED = "padded"
    COMMITTED = "committed"
    SENT = "sent"
    ABANDONED = "abandoned"


class SealedEvent(StrEnum):
    """What a member does."""

    PAD = "pad"
    COMMIT = "commit"
    SEND = "send"
    ABANDON = "abandon"


_ABANDON = {SealedEvent.ABANDON: SealedState.ABANDONED}

SEALED_TRANSITIONS: Mapping[SealedState, Mapping[SealedEvent, SealedState]] = {
    SealedState.READY: {SealedEvent.PAD: SealedState.PADDED, **_ABANDON},
    SealedState.PADDED: {SealedEvent.COMMIT: SealedState.COMMITTED, **_ABANDON},
    SealedState.COMMITTED: {SealedEvent.SEND: SealedState.SENT, **_ABANDON},
    SealedState.SENT: {},
    SealedState.ABANDONED: {},
}
"""A member of a sum under a custodian's key."""


@final
class SealedClient:
    """One member in one attempt.

    Args:
        parameters: As the coordinator proposed them.
        identity: This member's signing key.
        members: The certified identity of every member of the roster.
        limits: What this member demands.
        key: Digest of the custodian's public key, 32 bytes.

    Raises:
        WeakParameters: The parameters protect less than `limits` ask.
        UnknownMember: The identity is of nobody in the roster.
    """

    def __init__(
        self,
        parameters: RoundParameters,
        identity: IdentityKey,
        members: Mapping[ClientId, PublicIdentity],
        limits: ClientLimits,
        key: bytes,
    ) -> None:
        check_strength(parameters, limits)
        self._statements = Statements(parameters, members, key)
        self._identity = identity
        self._name = _own_name(parameters, identity, members)
        self._state = SealedState.READY
        self._pad: SecretBytes | None = None
        self._own: Commitment | None = None
        self._last: tuple[CommitmentList, Parcel] | None = None

    @property
    def state(self) -> SealedState:
        """Where it is."""
        return self._state

    def pad(self, words: RingVector, entropy: Callable[[int], bytes]) -> RingVector:
        """The padded copy of an encoded contribution, to be encrypted.

        Raises:
            RingMismatch: `words` has not the agreed layout.
        """
        after = self._after(SealedEvent.PAD)
        parameters = self._statements.parameters
        if words.shape != parameters.shape:
            raise RingMismatch("the contribution was encoded with another layout than the round's.")
        pad = SecretBytes(entropy(PAD_SIZE))
        padded = words.copy()
        add_pad(padded, pad, context0=self._statements.context0, client=self._name)
        self._pad, self._state = pad, after
        return padded

    def commit(self, ciphertext_digest: bytes, beside: bytes = NOTHING_BESIDE) -> Commitment:
        """Bind this member to the ciphertext with that SHA-256, and to what goes beside it."""
        after = self._after(SealedEvent.COMMIT)
        unsigned = Commitment(
            client=self._name,
            context0=self._statements.context0,
            key=self._statements.key,
            digest=ciphertext_digest,
            beside=beside,
            signature=b"",
        )
        self._own = replace(unsigned, signature=self._identity.sign(unsigned.signed()))
        self._state = after
        return self._own

    def send(self, commitments: CommitmentList) -> Parcel:
        """Check everybody's commitments; what goes before this member's ciphertext. Repeating gives the same.

        Raises:
            OwnEntryChanged: This member's own commitment is missing or changed.
            ProtocolViolation: A commitment is wrong, or there are too few.
        """
        if self._last is not None and self._last[0] == commitments:
            return self._last[1]
        after = self._after(SealedEvent.SEND)
        own, pad = self._own, self._pad
        if own is None or pad is None:
            raise CallOutOfOrder("nothing was committed to.")
        self._statements.check_list(commitments)
        if own not in commitments.commitments:
            raise OwnEntryChanged(
                Violation(
                    step=Step.ADVERTISE,
                    party=COORDINATOR,
                    got="a list in which this node's own commitment is missing or changed",
                    expected="exactly what this node sent",
                )
            )
        seen = commitments.digest()
        parcel = Parcel(sealed=sign_input(own, seen, self._identity), pad=pad, masking=b"")
        self._last, self._pad, self._state = (commitments, parcel), None, after
        return parcel

    def abandon(self) -> None:
        """Forget the pad; this attempt can never be answered again."""
        self._state = self._after(SealedEvent.ABANDON)
        self._pad = self._last = None

    def _after(self, event: SealedEvent) -> SealedState:
        after = SEALED_TRANSITIONS[self._state].get(event)
        if after is None:
            raise CallOutOfOrder(f"step {event} is not possible in state {self._state}.")
        return after

    def __reduce__(self) -> NoReturn:
        raise MisuseError("a member in an attempt cannot be pickled or copied: it could then answer twice.")

    def __repr__(self) -> str:
        return f"SealedClient({self._name}, {self._state})"


def sign_input(own: Commitment, commitments: bytes, identity: IdentityKey) -> SealedInput:
    """The statement that goes with a ciphertext; `own` need not be signed."""
    unsigned = SealedInput(
        client=own.client,
        context0=own.context0,
        key=own.key,
        commitments=commitments,
        digest=own.digest,
        signature=b"",
    )
    return replace(unsigned, signature=identity.sign(unsigned.signed()))


def masked_parcel(
    header: MaskedInputHeader, digest: bytes, *, parameters: RoundParameters, key: bytes, identity: IdentityKey
) -> Parcel:
    """What goes before a ciphertext that holds a masked vector.

    Args:
        header: Of the masked vector inside.
        digest: SHA-256 of the ciphertext's bytes.
        parameters: The attempt.
        key: Digest of the custodian's public key, 32 bytes.
        identity: The member's signing key.
    """
    unsigned = Commitment(client=header.client, context0=parameters.context0(), key=key, digest=digest, signature=b"")
    sealed = sign_input(unsigned, MASKED_INSIDE, identity)
    return Parcel(sealed=sealed, pad=SecretBytes(b""), masking=header.encode())


def _own_name(
    parameters: RoundParameters, identity: IdentityKey, members: Mapping[ClientId, PublicIdentity]
) -> ClientId:
    for member in parameters.roster:
        if members.get(member) == identity.public:
            return member
    violation = Violation(
        step=Step.ADVERTISE, party=COORDINATOR, got="a roster without this node", expected="this node in it"
    )
    raise UnknownMember(violation)
