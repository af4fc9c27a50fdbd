"""What a server sends to one member in each step, computed from what it has received."""

from collections.abc import Callable, Mapping

from fedseal_crypto.masking._messages import (
    Confirmations,
    Openings,
    Roster,
    RosterDigests,
    RosterEntry,
    SealedShare,
    ServerMessage,
    ShareDelivery,
    Survivors,
)
from fedseal_crypto.masking._parameters import MemberIndex
from fedseal_crypto.masking._progress import Progress, Received
from fedseal_crypto.masking._shares import advertisement_digest
from fedseal_crypto.masking._states import Step


def message_for_all(progress: Progress, received: Received) -> ServerMessage | None:
    """The step's instruction, if it is the same for every member."""
    match progress.step:
        case Step.REVEAL:
            return _digests(progress)
        case Step.SHARE if not progress.sparse:
            return Roster(context0=progress.context0, advertisements=tuple(progress.advertisements.values()))
        case Step.CONFIRM:
            return Survivors(context=progress.context, survivors=progress.survivors_bitmap)
        case Step.UNMASK if not progress.sparse:
            return _confirmations(progress, received, frozenset(received.confirmations))
        case _:
            return None


def message_for(progress: Progress, received: Received, member: MemberIndex) -> ServerMessage | None:
    """The step's instruction for one member, if it differs from member to member."""
    builder = _BUILDERS.get(progress.step)
    return None if builder is None else builder(progress, received, member)


def _digests(progress: Progress) -> RosterDigests:
    entries = [
        RosterEntry(member=i, digest=advertisement_digest(ad), graph_commitment=ad.graph_commitment)
        for i, ad in progress.advertisements.items()
    ]
    return RosterDigests(context0=progress.context0, entries=tuple(entries))


def _openings(progress: Progress, received: Received, member: MemberIndex) -> Openings:  # noqa: ARG001  # one signature for all builders
    seen = sorted(progress.peers(member) | {member})
    return Openings(
        context=progress.context,
        nonces=progress.nonces,
        advertisements=tuple(progress.advertisements[i] for i in seen),
    )


def _delivery(progress: Progress, received: Received, member: MemberIndex) -> ShareDelivery:
    sealed = received.sealed.get(member, {})
    return ShareDelivery(
        context=progress.context,
        receiver=progress.parameters.roster[member],
        shares=tuple(SealedShare(member=sender, sealed=sealed[sender]) for sender in sorted(sealed)),
    )


def _sparse_confirmations(progress: Progress, received: Received, member: MemberIndex) -> Confirmations:
    return _confirmations(progress, received, progress.peers(member) | {member})


def _confirmations(progress: Progress, received: Received, among: frozenset[MemberIndex]) -> Confirmations:
    # As many as are needed: each one more costs every member a signature check and adds nothing.
    chosen = sorted(among & received.confirmations.keys())[: progress.parameters.threshold]
    return Confirmations(context=progress.context, confirmations=tuple(received.confirmations[i] for i in chosen))


_BUILDERS: Mapping[Step, Callable[[Progress, Received, MemberIndex], ServerMessage]] = {
    Step.SHARE: _openings,
    Step.MASK: _delivery,
    Step.UNMASK: _sparse_confirmations,
}
