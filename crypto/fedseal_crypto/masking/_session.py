"""What a member knows of an attempt once the roster is fixed, and the checks it makes before believing it.

`open_roster` (complete graph) and `check_digests` with `open_nonces` (sparse graph) do, in this order:

1. the list belongs to this attempt;
2. every entry is of a roster member, once, under its certified identity and signature;
3. this member's own entry is exactly what it sent;
4. all public keys are canonical and distinct (low order shows when agreeing);
5. there are at least as many members as a sum must have;
6. on a sparse graph: every nonce opens its commitment, and neighbours are computed, not told.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from fedseal_crypto.masking._errors import (
    CohortTooSmall,
    ContextMismatch,
    DuplicateMember,
    OpeningRefused,
    OwnEntryChanged,
    UnknownMember,
    Violation,
)
from fedseal_crypto.masking._graph import Graph, complete_graph, sparse_graph
from fedseal_crypto.masking._members import COORDINATOR, Members, check_context, check_distinct_keys
from fedseal_crypto.masking._messages import Advertisement, Openings, Roster, RosterDigests, RosterEntry
from fedseal_crypto.masking._parameters import ClientId, MemberIndex, RoundParameters
from fedseal_crypto.masking._shares import advertisement_digest, graph_commitments, round_context
from fedseal_crypto.masking._states import Step


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One member's view of an attempt with a fixed roster.

    Attributes:
        parameters: The attempt.
        context: Second context, over the first and all advertisements.
        me: This member's position.
        graph: Who shares with whom, over the whole roster.
        advertised: Members that advertised (U1).
        advertisements: Those of this member and of its neighbours that advertised.
    """

    parameters: RoundParameters
    context: bytes
    me: MemberIndex
    graph: Graph
    advertised: frozenset[MemberIndex]
    advertisements: Mapping[MemberIndex, Advertisement]

    @property
    def name(self) -> ClientId:
        """This member's name."""
        return self.parameters.roster[self.me]

    @property
    def peers(self) -> tuple[MemberIndex, ...]:
        """Neighbours that advertised, sorted."""
        return tuple(sorted(self.advertisements.keys() - {self.me}))

    @property
    def holders(self) -> tuple[MemberIndex, ...]:
        """Who holds shares of this member's secrets: itself and its peers, sorted."""
        return tuple(sorted(self.advertisements))


def open_roster(members: Members, parameters: RoundParameters, own: Advertisement, roster: Roster) -> Session:
    """Check a complete roster and open the session.

    Raises:
        ProtocolViolation: One of the module's checks fails.
    """
    context0 = parameters.context0()
    check_context(roster.context0, context0, step=Step.ADVERTISE, party=COORDINATOR)
    by_index = _verified(members, context0, own, roster.advertisements, sparse=False)
    check_distinct_keys(by_index.values())
    me = members.index(own.client, Step.ADVERTISE)
    if by_index.get(me) != own:
        raise _own_entry_changed()
    _check_size(len(by_index), parameters)
    entries = [(index, advertisement_digest(by_index[index]), b"") for index in sorted(by_index)]
    return Session(
        parameters=parameters,
        context=round_context(context0, entries),
        me=me,
        graph=complete_graph(len(parameters.roster)),
        advertised=frozenset(by_index),
        advertisements=by_index,
    )


def check_digests(
    members: Members, parameters: RoundParameters, own: Advertisement, digests: RosterDigests
) -> tuple[bytes, tuple[RosterEntry, ...]]:
    """Check a roster by digests; the second context and the entries.

    Raises:
        ProtocolViolation: One of the module's checks fails.
    """
    context0 = parameters.context0()
    check_context(digests.context0, context0, step=Step.ADVERTISE, party=COORDINATOR)
    _check_size(len(digests.entries), parameters)
    if any(entry.member >= len(parameters.roster) for entry in digests.entries):
        raise UnknownMember(
            Violation(
                step=Step.ADVERTISE,
                party=COORDINATOR,
                got="a number beyond the roster",
                expected="members of it",
            )
        )
    me = members.index(own.client, Step.ADVERTISE)
    mine = RosterEntry(member=me, digest=advertisement_digest(own), graph_commitment=own.graph_commitment)
    if mine not in digests.entries:
        raise _own_entry_changed()
    entries = [(entry.member, entry.digest, entry.graph_commitment) for entry in digests.entries]
    return round_context(context0, entries), digests.entries


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Revealing:
    """A member's view between roster and graph."""

    parameters: RoundParameters
    own: Advertisement
    context: bytes
    entries: tuple[RosterEntry, ...]


def open_nonces(members: Members, revealing: Revealing, openings: Openings) -> Session:
    """Check all openings, compute the graph, check the neighbours' advertisements, open the session.

    Raises:
        ProtocolViolation: One of the module's checks fails.
    """
    parameters, own = revealing.parameters, revealing.own
    check_context(openings.context, revealing.context, step=Step.REVEAL, party=COORDINATOR)
    _check_nonces(revealing, openings)
    if parameters.neighbours is None:
        raise OpeningRefused(
            Violation(step=Step.REVEAL, party=COORDINATOR, got="openings", expected="none on the complete graph")
        )
    graph = sparse_graph(parameters, parameters.neighbours, openings.nonces)
    me = members.index(own.client, Step.REVEAL)
    context0 = parameters.context0()
    by_index = _verified(members, context0, own, openings.advertisements, sparse=True)
    _check_neighbours(revealing, by_index, expected=frozenset(graph.neighbours(me)) | {me})
    check_distinct_keys(by_index.values())
    return Session(
        parameters=parameters,
        context=revealing.context,
        me=me,
        graph=graph,
        advertised=frozenset(entry.member for entry in revealing.entries),
        advertisements=by_index,
    )


def _check_neighbours(
    revealing: Revealing, shown: Mapping[MemberIndex, Advertisement], *, expected: frozenset[MemberIndex]
) -> None:
    """The advertisements shown are exactly those of the graph's neighbours, as the roster's digests name them."""
    digests = {entry.member: entry.digest for entry in revealing.entries}
    present = expected & digests.keys()
    if shown.keys() != present:
        raise OpeningRefused(
            Violation(
                step=Step.REVEAL,
                party=COORDINATOR,
                got=f"advertisements of {len(shown)} members",
                expected=f"exactly those of the {len(present) - 1} neighbours of this graph, and its own",
            )
        )
    if len(shown) < revealing.parameters.threshold:
        raise CohortTooSmall(
            Violation(
                step=Step.REVEAL,
                party=COORDINATOR,
                got=f"{len(shown)} holders of this node's shares",
                expected=f"at least the threshold of {revealing.parameters.threshold}",
            )
        )
    for index, advertisement in shown.items():
        if advertisement_digest(advertisement) != digests[index]:
            raise ContextMismatch(
                Violation(
                    step=Step.REVEAL,
                    party=COORDINATOR,
                    got=f"another advertisement of {advertisement.client} than the roster's digest names",
                    expected="the same",
                )
            )


def _check_nonces(revealing: Revealing, openings: Openings) -> None:
    roster, context0 = revealing.parameters.roster, revealing.parameters.context0()
    if [nonce.member for nonce in openings.nonces] != [entry.member for entry in revealing.entries]:
        raise OpeningRefused(
            Violation(
                step=Step.REVEAL,
                party=COORDINATOR,
                got=f"{len(openings.nonces)} nonces",
                expected="one of every member of the roster; a missing one ends the attempt",
            )
        )
    commitment = graph_commitments(context0)
    for nonce, entry in zip(openings.nonces, revealing.entries, strict=True):
        if commitment(nonce.nonce, roster[nonce.member]) != entry.graph_commitment:
            raise OpeningRefused(
                Violation(
                    step=Step.REVEAL,
                    party=roster[nonce.member],
                    got="a nonce that does not match its commitment",
                    expected="the nonce committed to in step advertise",
                )
            )


def _verified(
    members: Members,
    context0: bytes,
    own: Advertisement,
    advertisements: tuple[Advertisement, ...],
    *,
    sparse: bool,
) -> dict[MemberIndex, Advertisement]:
    by_index: dict[MemberIndex, Advertisement] = {}
    for advertisement in advertisements:
        # What is byte for byte our own needs no signature check; if it differs the caller refuses it.
        if advertisement == own:
            index = members.index(own.client, Step.ADVERTISE)
        else:
            index = members.check_advertisement(advertisement, context0=context0, sparse=sparse)
        if index in by_index:
            raise _twice(advertisement.client)
        by_index[index] = advertisement
    return by_index


def _twice(client: ClientId) -> DuplicateMember:
    return DuplicateMember(
        Violation(step=Step.ADVERTISE, party=COORDINATOR, got=f"{client} twice", expected="each member once")
    )


def _own_entry_changed() -> OwnEntryChanged:
    return OwnEntryChanged(
        Violation(
            step=Step.ADVERTISE,
            party=COORDINATOR,
            got="a roster in which this node's own entry is missing or changed",
            expected="exactly what this node sent",
        )
    )


def _check_size(present: int, parameters: RoundParameters) -> None:
    if present < parameters.smallest_sum:
        raise CohortTooSmall(
            Violation(
                step=Step.ADVERTISE,
                party=COORDINATOR,
                got=f"a roster of {present} members",
                expected=f"at least {parameters.smallest_sum}",
            )
        )
