"""What a server has received, what closed steps have fixed, and how closing a step fixes more.

`Progress` is frozen; closing a step makes a new one from it and from what was received. Both are functions of
the messages and the closings alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import final

from fedseal_crypto.masking._graph import Graph, complete_graph, sparse_graph
from fedseal_crypto.masking._members import to_bitmap
from fedseal_crypto.masking._messages import (
    Advertisement,
    Confirmation,
    MaskedInputHeader,
    MemberNonce,
    Opening,
    ShareBundle,
    Unmasking,
)
from fedseal_crypto.masking._parameters import ClientId, MemberIndex, RoundParameters
from fedseal_crypto.masking._recovery import Collected, needed_owners, shares_by_owner
from fedseal_crypto.masking._shares import advertisement_digest, round_context
from fedseal_crypto.masking._states import Step

Kept = Advertisement | Opening | ShareBundle | MaskedInputHeader | Confirmation | Unmasking
"""A member's message as the server keeps it: of a masked input only the header, the vector is in the sum."""

_NOBODY: frozenset[MemberIndex] = frozenset()


@final
@dataclass(frozen=True, slots=True)
class Received:
    """All messages so far, by sender; only ever added to."""

    advertisements: dict[MemberIndex, Advertisement] = field(default_factory=dict)
    openings: dict[MemberIndex, Opening] = field(default_factory=dict)
    bundles: dict[MemberIndex, ShareBundle] = field(default_factory=dict)
    inputs: dict[MemberIndex, MaskedInputHeader] = field(default_factory=dict)
    confirmations: dict[MemberIndex, Confirmation] = field(default_factory=dict)
    unmaskings: dict[MemberIndex, Unmasking] = field(default_factory=dict)
    # Who advertised a public key, so that a second use is found without a search.
    keys: dict[bytes, ClientId] = field(default_factory=dict)
    # Sealed shares by receiver and sender, so that a delivery is found without a search.
    sealed: dict[MemberIndex, dict[MemberIndex, bytes]] = field(default_factory=dict)

    def of(self, step: Step) -> Mapping[MemberIndex, Kept]:
        """The messages of one step."""
        by_step: dict[Step, Mapping[MemberIndex, Kept]] = {
            Step.ADVERTISE: self.advertisements,
            Step.REVEAL: self.openings,
            Step.SHARE: self.bundles,
            Step.MASK: self.inputs,
            Step.CONFIRM: self.confirmations,
            Step.UNMASK: self.unmaskings,
        }
        return by_step.get(step, {})

    def keep(self, sender: MemberIndex, message: Kept) -> None:
        """Add a checked message."""
        match message:
            case Advertisement():
                self.advertisements[sender] = message
                self.keys.update(dict.fromkeys((message.mask_key, message.channel_key), message.client))
            case Opening():
                self.openings[sender] = message
            case ShareBundle():
                self.bundles[sender] = message
                for share in message.shares:
                    self.sealed.setdefault(share.member, {})[sender] = share.sealed
            case MaskedInputHeader():
                self.inputs[sender] = message
            case Confirmation():
                self.confirmations[sender] = message
            case Unmasking():
                self.unmaskings[sender] = message

    def nonces(self) -> tuple[MemberNonce, ...]:
        """Opened nonces, sorted by member."""
        return tuple(MemberNonce(member=i, nonce=opening.nonce) for i, opening in sorted(self.openings.items()))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Everything that closed steps have fixed.

    Attributes:
        parameters: The attempt.
        step: What is being collected.
        expected: Members that may answer now.
        context0: First context.
        context: Second context, from step reveal or share on.
        graph: Who shares with whom, from step share on.
        advertisements: Of U1, from the end of step advertise on.
        sharers: U2, from step mask on.
        survivors: U3, from step confirm on.
        survivors_bitmap: The same as messages carry it.
        nonces: All opened nonces, from step share on a sparse graph on.
    """

    parameters: RoundParameters
    step: Step
    expected: frozenset[MemberIndex]
    context0: bytes
    context: bytes = b""
    graph: Graph | None = None
    advertisements: Mapping[MemberIndex, Advertisement] = field(default_factory=dict)
    sharers: frozenset[MemberIndex] = _NOBODY
    survivors: frozenset[MemberIndex] = _NOBODY
    survivors_bitmap: bytes = b""
    nonces: tuple[MemberNonce, ...] = ()

    @property
    def sparse(self) -> bool:
        """Whether the graph is sparse."""
        return self.parameters.neighbours is not None

    def peers(self, member: MemberIndex) -> frozenset[MemberIndex]:
        """Neighbours that advertised."""
        if self.graph is None:
            return _NOBODY
        return frozenset(self.graph.neighbours(member)).intersection(self.advertisements)


def first_progress(parameters: RoundParameters) -> Progress:
    """Before any step is closed."""
    everyone = frozenset(MemberIndex(i) for i in range(len(parameters.roster)))
    return Progress(parameters=parameters, step=Step.ADVERTISE, expected=everyone, context0=parameters.context0())


def advance(progress: Progress, received: Received, after: Step) -> Progress:
    """What is fixed once the current step is closed."""
    present = frozenset(received.of(progress.step))
    moved = replace(progress, step=after, expected=present)
    match progress.step:
        case Step.ADVERTISE:
            advertisements = dict(sorted(received.advertisements.items()))
            entries = [(i, advertisement_digest(ad), ad.graph_commitment) for i, ad in advertisements.items()]
            return replace(
                moved,
                context=round_context(progress.context0, entries),
                graph=None if progress.sparse else complete_graph(len(progress.parameters.roster)),
                advertisements=advertisements,
            )
        case Step.REVEAL:
            degree = progress.parameters.neighbours or 0
            nonces = received.nonces()
            return replace(moved, graph=sparse_graph(progress.parameters, degree, nonces), nonces=nonces)
        case Step.SHARE:
            return replace(moved, sharers=present)
        case Step.MASK:
            bitmap = to_bitmap(present, len(progress.parameters.roster))
            return replace(moved, survivors=present, survivors_bitmap=bitmap)
        case _:
            return moved


def present_and_needed(progress: Progress, received: Received) -> tuple[int, int]:
    """How many members have answered the step, and how many must have for it to be closed.

    On a sparse graph step unmask counts the shares of the member that has the fewest.
    """
    present = len(received.of(progress.step))
    match progress.step:
        case Step.ADVERTISE | Step.SHARE | Step.MASK:
            return present, progress.parameters.smallest_sum
        case Step.REVEAL:
            return present, len(progress.expected)
        case Step.UNMASK if progress.sparse:
            final_state = collected(progress, received)
            shares = shares_by_owner(final_state)
            fewest = min(len(shares[owner]) for owner in needed_owners(final_state))
            return fewest, progress.parameters.threshold
        case _:
            return present, progress.parameters.threshold


def collected(progress: Progress, received: Received) -> Collected:
    """Everything that recovery needs."""
    return Collected(
        parameters=progress.parameters,
        context=progress.context,
        graph=progress.graph or complete_graph(len(progress.parameters.roster)),
        advertisements=progress.advertisements,
        sharers=progress.sharers,
        survivors=progress.survivors,
        unmaskings=received.unmaskings,
    )
