"""What a member checks on a list of survivors before it signs it, and on confirmations before it unmasks.

Survivors (U3):
1. the list belongs to this attempt, and every survivor advertised;
2. of the members it shares with, only such that delivered shares can survive;
3. this member is in it: who is declared gone answers nothing;
4. it is at least as long as a sum must be;
5. on a sparse graph: each survivor it holds shares of keeps a threshold of surviving holders, and the honest
   survivors cannot have been split. That replaces the assumption that dropouts are random: the server chooses
   them after it has seen the graph. Of any k/2 ring positions at most c_w are corrupted, except with
   probability 2^-41 over the graph; two disjoint windows with at most c_w survivors are refused.

6. no earlier sum that this node took part in over the same broadcast has nearly the same contributors: if
   they differ by 1 to m - 1 members, the difference of the two sums is a sum over those few (Pasquini et al.,
   "Eluding secure aggregation", CCS 2022; So et al., "Securing secure aggregation", AAAI 2023). m is the
   node's own and at least c + 2, since c of the few may collude. An equal set is no leak by itself, and sums over
   different broadcasts are of different inputs.

Confirmations:
1. each is of a different survivor among the holders of this member's secrets, with a valid signature;
2. all name the list that this member signed: another one is proof that the server told two stories;
3. there are at least a threshold of them.
"""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import lru_cache
from math import comb

from fedseal_crypto.masking._errors import (
    CohortTooSmall,
    DuplicateMember,
    EquivocationDetected,
    HistoryRefused,
    SurvivorsRefused,
    UnknownMember,
    Violation,
)
from fedseal_crypto.masking._graph_finder import SECURITY_BITS
from fedseal_crypto.masking._members import COORDINATOR, Members, check_context, from_bitmap
from fedseal_crypto.masking._messages import Confirmation, Confirmations, Survivors
from fedseal_crypto.masking._parameters import ClientId, MemberIndex
from fedseal_crypto.masking._session import Session
from fedseal_crypto.masking._shares import SharePair
from fedseal_crypto.masking._states import Step
from fedseal_crypto.masking._thresholds import least_difference


def check_survivors(
    session: Session, held: Mapping[MemberIndex, SharePair], message: Survivors
) -> frozenset[MemberIndex]:
    """The survivors, once all checks have passed.

    Args:
        session: This member's view.
        held: The members whose shares it holds, itself included.
        message: The server's list.

    Raises:
        ProtocolViolation: One of the module's checks fails.
    """
    check_context(message.context, session.context, step=Step.CONFIRM, party=COORDINATOR)
    survivors = from_bitmap(message.survivors, len(session.parameters.roster))
    if not survivors <= session.advertised:
        raise _refused("a survivor that never advertised", "survivors among the members of the roster list")
    silent = (survivors & session.advertisements.keys()) - held.keys()
    if silent:
        name = session.parameters.roster[min(silent)]
        raise _refused(f"{name} as a survivor", "only members whose shares were delivered")
    if session.me not in survivors:
        raise _refused("a list without this node", "one with it; a node that is declared gone reveals nothing")
    needed = session.parameters.smallest_sum
    if len(survivors) < needed:
        raise CohortTooSmall(
            Violation(
                step=Step.CONFIRM,
                party=COORDINATOR,
                got=f"{len(survivors)} survivors",
                expected=f"at least {needed}",
            )
        )
    _check_sparse(session, survivors)
    return survivors


def check_history(
    session: Session,
    survivors: frozenset[MemberIndex],
    earlier: Iterable[frozenset[ClientId]],
    *,
    minimum_difference: int,
) -> None:
    """Refuse survivors that differ too little from those of an earlier sum.

    Args:
        session: This member's view.
        survivors: The proposed ones.
        earlier: Survivors of sums over the same broadcast to which this node may have revealed shares.
        minimum_difference: the node's own m; c + 2 counts if it is more.

    Raises:
        HistoryRefused: 1 to m - 1 members are in one of the two sets only.
    """
    least = least_difference(minimum_difference=minimum_difference, corrupted=session.parameters.corrupted)
    names = frozenset(session.parameters.roster[i] for i in survivors)
    for before in earlier:
        apart = names ^ before
        if 0 < len(apart) < least:
            raise HistoryRefused(
                Violation(
                    step=Step.CONFIRM,
                    party=COORDINATOR,
                    got=f"survivors that differ from an earlier sum's by {', '.join(sorted(apart))} only",
                    expected=f"the same ones, or at least {least} different members",
                )
            )


def check_confirmations(session: Session, members: Members, mine: Confirmation, message: Confirmations) -> None:
    """Check that enough members signed the same list of survivors.

    Raises:
        EquivocationDetected: A member validly signed another list in this attempt.
        ProtocolViolation: Another of the module's checks fails.
    """
    check_context(message.context, session.context, step=Step.UNMASK, party=COORDINATOR)
    survivors = from_bitmap(mine.survivors, len(session.parameters.roster))
    agreed = {session.me}
    seen: set[MemberIndex] = set()
    for confirmation in message.confirmations:
        check_context(confirmation.context, session.context, step=Step.UNMASK, party=confirmation.client)
        index = members.index(confirmation.client, Step.UNMASK)
        if index in seen:
            raise DuplicateMember(
                Violation(
                    step=Step.UNMASK,
                    party=COORDINATOR,
                    got=f"{confirmation.client} twice",
                    expected="each once",
                )
            )
        if index not in session.advertisements:
            raise UnknownMember(
                Violation(
                    step=Step.UNMASK,
                    party=COORDINATOR,
                    got=f"a confirmation of {confirmation.client}",
                    expected="confirmations of members that this node shares with",
                )
            )
        # Our own needs no check: signing is deterministic, so an equal one is ours.
        if confirmation != mine:
            members.check_signature(confirmation, Step.UNMASK)
        if confirmation.survivors != mine.survivors:
            raise _equivocation(session, mine, confirmation)
        seen.add(index)
        agreed.add(index)
    _check_enough(session, len(agreed & survivors))


def _check_enough(session: Session, agreed: int) -> None:
    if agreed < session.parameters.threshold:
        raise CohortTooSmall(
            Violation(
                step=Step.UNMASK,
                party=COORDINATOR,
                got=f"{agreed} confirmations of survivors",
                expected=f"at least the threshold of {session.parameters.threshold}",
            )
        )


def _equivocation(session: Session, mine: Confirmation, theirs: Confirmation) -> EquivocationDetected:
    lists = [
        ", ".join(
            session.parameters.roster[i]
            for i in sorted(from_bitmap(confirmation.survivors, len(session.parameters.roster)))
        )
        for confirmation in (mine, theirs)
    ]
    return EquivocationDetected(
        Violation(
            step=Step.UNMASK,
            party=COORDINATOR,
            got=f"that {theirs.client} signed the survivors [{lists[1]}] and {mine.client} [{lists[0]}]",
            expected="one list of survivors for everybody",
        ),
        conflicting=(mine.encode(), theirs.encode()),
    )


def _check_sparse(session: Session, survivors: frozenset[MemberIndex]) -> None:
    graph, parameters = session.graph, session.parameters
    if graph.degree is None:
        return
    for owner in sorted(session.advertisements.keys() & survivors):
        left = 1 + len(survivors.intersection(graph.neighbours(owner)))
        if left < parameters.threshold:
            name = parameters.roster[owner]
            raise _refused(f"{left} surviving holders of {name}'s shares", f"at least {parameters.threshold}")
    spare = corrupted_in_window(graph.size, parameters.corrupted, graph.degree // 2)
    if graph.may_split(survivors, spare=spare):
        raise _refused("dropouts that may split the graph", "the honest survivors to stay connected")


@lru_cache(maxsize=64)
def corrupted_in_window(n: int, corrupted: int, window: int) -> int:
    """c_w: the smallest number that no window exceeds, except with probability 2^-(σ+1) over the n windows."""
    allowed = Fraction(comb(n, window), n << (SECURITY_BITS + 1))
    tail = 0
    for hits in range(min(window, corrupted), -1, -1):
        tail += comb(corrupted, hits) * comb(n - corrupted, window - hits)
        if tail > allowed:
            return hits
    return 0


def _refused(got: str, expected: str) -> SurvivorsRefused:
    return SurvivorsRefused(Violation(step=Step.CONFIRM, party=COORDINATOR, got=got, expected=expected))
