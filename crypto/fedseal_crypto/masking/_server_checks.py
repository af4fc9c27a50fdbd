"""What a server checks of each message before it keeps it.

The server's checks protect the attempt from broken or hostile members: they name who is to blame and keep a
wrong message from spoiling the sum. The members' secrecy does not rest on them.
"""

from collections.abc import Mapping

from fedseal_crypto.masking._errors import (
    EarlyMessage,
    InputRefused,
    LateMessage,
    OpeningRefused,
    SharesRefused,
    SurvivorsRefused,
    UnknownMember,
    UnmaskingRefused,
    Violation,
)
from fedseal_crypto.masking._members import Members, check_context, check_keys
from fedseal_crypto.masking._messages import (
    Advertisement,
    ClientMessage,
    Confirmation,
    MaskedInput,
    Opening,
    ShareBundle,
    Unmasking,
)
from fedseal_crypto.masking._parameters import MemberIndex
from fedseal_crypto.masking._progress import Progress
from fedseal_crypto.masking._shares import graph_commitment
from fedseal_crypto.masking._states import Step

_STEPS: Mapping[type, Step] = {
    Advertisement: Step.ADVERTISE,
    Opening: Step.REVEAL,
    ShareBundle: Step.SHARE,
    MaskedInput: Step.MASK,
    Confirmation: Step.CONFIRM,
    Unmasking: Step.UNMASK,
}


def step_of(message: ClientMessage) -> Step:
    """The step a message belongs to."""
    return _STEPS[type(message)]


def check_turn(progress: Progress, sender: MemberIndex, message: ClientMessage) -> None:
    """Refuse a message that does not belong to the step being collected, or not from this member.

    Raises:
        LateMessage: Its step is closed, or the attempt is over.
        EarlyMessage: Its step has not begun.
        UnknownMember: This member left in an earlier step.
    """
    step = step_of(message)
    if step is not progress.step:
        order = list(Step)
        late = order.index(step) < order.index(progress.step)
        raise (LateMessage if late else EarlyMessage)(
            Violation(
                step=step,
                party=message.client,
                got=f"a message for step {step} during step {progress.step}",
                expected=f"messages for step {progress.step}",
            )
        )
    if sender not in progress.expected:
        raise UnknownMember(
            Violation(
                step=step,
                party=message.client,
                got="a message from a member that left in an earlier step",
                expected="members that answered every step so far",
            )
        )


def check_message(progress: Progress, members: Members, message: ClientMessage) -> None:
    """Check one message completely, against what closed steps have fixed.

    Raises:
        ProtocolViolation: It breaks a rule.
    """
    match message:
        case Advertisement():
            _check_advertisement(progress, members, message)
        case Opening():
            _check_opening(progress, members, message)
        case ShareBundle():
            _check_bundle(progress, members, message)
        case MaskedInput():
            _check_input(progress, members, message)
        case Confirmation():
            _check_confirmation(progress, members, message)
        case Unmasking():
            _check_unmasking(progress, members, message)


def _check_advertisement(progress: Progress, members: Members, message: Advertisement) -> None:
    sparse = progress.parameters.neighbours is not None
    members.check_advertisement(message, context0=progress.context0, sparse=sparse)
    check_keys(message)


def _check_opening(progress: Progress, members: Members, message: Opening) -> None:
    check_context(message.context, progress.context, step=Step.REVEAL, party=message.client)
    own = progress.advertisements[members.index(message.client, Step.REVEAL)]
    if graph_commitment(message.nonce, progress.context0, message.client) != own.graph_commitment:
        raise OpeningRefused(
            Violation(
                step=Step.REVEAL,
                party=message.client,
                got="a nonce that does not match its commitment",
                expected="the nonce committed to in step advertise",
            )
        )


def _check_bundle(progress: Progress, members: Members, message: ShareBundle) -> None:
    check_context(message.context, progress.context, step=Step.SHARE, party=message.client)
    sender = members.check_signature(message, Step.SHARE)
    receivers = [share.member for share in message.shares]
    if receivers != sorted(progress.peers(sender)):
        raise SharesRefused(
            Violation(
                step=Step.SHARE,
                party=message.client,
                got=f"sealed shares for {len(receivers)} members",
                expected=f"one for each of its {len(progress.peers(sender))} peers",
            )
        )


def _check_input(progress: Progress, members: Members, message: MaskedInput) -> None:
    check_context(message.context, progress.context, step=Step.MASK, party=message.client)
    members.check_signature(message.header, Step.MASK)
    # The cheap test first: a vector of another layout must not cost a pass over it.
    if message.words.shape != progress.parameters.shape:
        raise InputRefused(
            Violation(
                step=Step.MASK,
                party=message.client,
                got="a vector of another layout",
                expected="the round's layout",
            )
        )
    if message.words.digest() != message.digest:
        raise InputRefused(
            Violation(
                step=Step.MASK,
                party=message.client,
                got="a vector that does not match its signed digest",
                expected="the bytes that the member signed, all of them",
            )
        )


def _check_confirmation(progress: Progress, members: Members, message: Confirmation) -> None:
    check_context(message.context, progress.context, step=Step.CONFIRM, party=message.client)
    members.check_signature(message, Step.CONFIRM)
    if message.survivors != progress.survivors_bitmap:
        raise SurvivorsRefused(
            Violation(
                step=Step.CONFIRM,
                party=message.client,
                got="a confirmation of other survivors",
                expected="the list that was sent",
            )
        )


def _check_unmasking(progress: Progress, members: Members, message: Unmasking) -> None:
    check_context(message.context, progress.context, step=Step.UNMASK, party=message.client)
    sender = members.check_signature(message, Step.UNMASK)
    owners = progress.sharers & (progress.peers(sender) | {sender})
    got = ([share.owner for share in message.self_mask], [share.owner for share in message.pairwise])
    if got != (sorted(owners & progress.survivors), sorted(owners - progress.survivors)):
        raise UnmaskingRefused(
            Violation(
                step=Step.UNMASK,
                party=message.client,
                got=f"{len(got[0])} self-mask and {len(got[1])} pairwise shares",
                expected="one share of each owner it holds shares of, of the kind its survival asks",
            )
        )
