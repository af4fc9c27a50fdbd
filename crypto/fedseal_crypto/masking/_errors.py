"""Errors of the masking protocol, by blame.

    CryptoError
    ├── MisuseError
    │   ├── ParametersInvalid     numbers that cannot describe a round
    │   ├── AbandonmentsInvalid   more abandoned attempts than an advertisement can name
    │   └── CallOutOfOrder        our own code called a step that the state does not allow
    ├── PeerError
    │   ├── MessageMalformed      bytes that are no message of this protocol
    │   └── ProtocolViolation     a message that breaks a rule; names step, party, got, expected
    │       └── one subclass for each kind of rule
    └── RoundFailed               (PeerError) the server cannot finish the attempt

An error never changes the object that raised it, and never contains a secret.
"""

from dataclasses import dataclass

from fedseal_crypto.errors import MisuseError, PeerError


class ParametersInvalid(MisuseError):
    """The parameters cannot describe a round at all."""


class CallOutOfOrder(MisuseError):
    """A step was called in a state that does not allow it; the transition table says which do."""


class AbandonmentsInvalid(MisuseError):
    """The attempts that a member wants to give up do not fit into an advertisement."""


class MessageMalformed(PeerError):
    """Bytes that do not decode to a message: wrong version, size, order or trailing bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """What was wrong, in fields.

    Attributes:
        step: The protocol step, such as `share`.
        party: Who is to blame as far as the message shows: a member's name, or `coordinator`.
        got: What the message said.
        expected: What the rule asks.
    """

    step: str
    party: str
    got: str
    expected: str


class ProtocolViolation(PeerError):
    """A well-formed message breaks a rule of the protocol.

    Attributes:
        violation: Step, party, got and expected.
    """

    def __init__(self, violation: Violation) -> None:
        super().__init__(
            f"{violation.party} broke a rule in step {violation.step}: got {violation.got}; "
            f"expected {violation.expected}."
        )
        self.violation = violation


class ContextMismatch(ProtocolViolation):
    """The message belongs to another job, round, attempt, roster or set of parameters."""


class UnknownMember(ProtocolViolation):
    """A party that is not in the roster, or not where the message puts it."""


class DuplicateMember(ProtocolViolation):
    """One member appears twice in a list."""


class SignatureRefused(ProtocolViolation):
    """A signature does not verify under the member's certified identity."""


class IdentityMismatch(ProtocolViolation):
    """A message was made under another identity key than the certified one."""


class KeyRefused(ProtocolViolation):
    """A public key is of low order, not canonical, or used twice."""


class OwnEntryChanged(ProtocolViolation):
    """The roster shows something else for this node than it sent."""


class WeakParameters(ProtocolViolation):
    """Threshold, cohort, corruption or neighbours are weaker than the node computes itself."""


class CohortTooSmall(ProtocolViolation):
    """Fewer members than the threshold or the minimum cohort."""


class SharesRefused(ProtocolViolation):
    """A sealed share does not open, is for someone else, or is missing."""


class OpeningRefused(ProtocolViolation):
    """A nonce does not match its commitment, or is missing."""


class SurvivorsRefused(ProtocolViolation):
    """The list of survivors is not one this node may unmask."""


class HistoryRefused(ProtocolViolation):
    """With an earlier sum this one would isolate too few members: their difference is the leak."""


class EquivocationDetected(ProtocolViolation):
    """Members were told different lists of survivors.

    Attributes:
        conflicting: The encoded messages that contradict each other: ours, and the other member's signed one.
    """

    def __init__(self, violation: Violation, *, conflicting: tuple[bytes, bytes]) -> None:
        super().__init__(violation)
        self.conflicting = conflicting


class AlreadyAnswered(ProtocolViolation):
    """This node already answered the step for this context, with another question."""


class ConflictingMessage(ProtocolViolation):
    """A member sent a second, different message for one step."""


class LateMessage(ProtocolViolation):
    """A message for a step that is closed."""


class EarlyMessage(ProtocolViolation):
    """A message for a step that has not begun."""


class UnmaskingRefused(ProtocolViolation):
    """A member reveals the wrong kind of share, or for the wrong owners."""


class InputRefused(ProtocolViolation):
    """A masked input is incomplete or does not match its signed digest."""


class RoundFailed(PeerError):
    """The attempt cannot be completed.

    Attributes:
        step: The step that ended it.
        present: How many members answered.
        needed: How many are needed.
    """

    def __init__(self, message: str, *, step: str, present: int, needed: int) -> None:
        super().__init__(message)
        self.step = step
        self.present = present
        self.needed = needed


class SecretUnrecoverable(RoundFailed):
    """The shares of one member do not give back the secret that it committed to.

    Attributes:
        owner: Whose secret it is.
    """

    def __init__(self, message: str, *, owner: str, present: int, needed: int) -> None:
        super().__init__(message, step="unmask", present=present, needed=needed)
        self.owner = owner
