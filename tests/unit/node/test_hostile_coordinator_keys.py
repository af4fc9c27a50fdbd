"""Keys and shares that belong elsewhere: another job, round, federation or attempt, another receiver, a stranger.

Together with `test_protocol_steps.py`, which plays what is forged within the attempt. Everything here goes through the
whole node. What it must not do is answer; what it must do is name the culprit in its log.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from fedseal_crypto.identity import FederationName, PartyKind
from fedseal_crypto.masking import (
    Advertisement,
    ClientId,
    ClientLimits,
    MaskedInputHeader,
    MaskingClient,
    SealedShare,
    ShareBundle,
    ShareDelivery,
    Step,
    decode_message,
)
from tests.unit.node.attempts import Attempt, Coordinator, assert_refused
from tests.unit.node.forging import assert_attempt_is_over, delivery_of, entry_of, roster_of, with_entry
from tests.unit.node.papers import JobFile
from tests.unit.node.parties import NODES
from tests.unit.node.site import SiteMaker

ZURICH = ClientId("zurich")
OTHERS = tuple(name for name in NODES if name != "cleveland")


# --- keys ---------------------------------------------------------------------------------------------


def of_another_job(attempt: Attempt) -> Advertisement:
    coordinator = attempt.coordinator
    second = Coordinator(coordinator.site, JobFile(name="second", seed=2).signed(coordinator.consortium))
    return second.attempt().others[ZURICH].advertise()


def of_another_round(attempt: Attempt) -> Advertisement:
    return attempt.coordinator.attempt(round=1).others[ZURICH].advertise()


def of_another_stage(attempt: Attempt) -> Advertisement:
    return attempt.coordinator.attempt(stage="training").others[ZURICH].advertise()


def of_another_federation(attempt: Attempt) -> Advertisement:
    return attempt.coordinator.attempt(federation=FederationName("lungs")).others[ZURICH].advertise()


def of_an_earlier_attempt(attempt: Attempt) -> Advertisement:
    return attempt.coordinator.attempt(9).others[ZURICH].advertise()


def of_members_told_another_threshold(attempt: Attempt) -> Advertisement:
    return attempt.coordinator.attempt(threshold=5).others[ZURICH].advertise()


def of_members_told_another_cohort(attempt: Attempt) -> Advertisement:
    return attempt.coordinator.attempt(minimum_cohort=4).others[ZURICH].advertise()


def of_members_told_other_members(attempt: Attempt) -> Advertisement:
    return attempt.coordinator.attempt(roster=[n for n in NODES if n != "basel"]).others[ZURICH].advertise()


def of_members_told_another_plan(attempt: Attempt) -> Advertisement:
    return attempt.coordinator.attempt(plan_digest="ab" * 32).others[ZURICH].advertise()


@pytest.mark.parametrize(
    "recorded",
    [
        of_another_job,
        of_another_round,
        of_another_stage,
        of_another_federation,
        of_an_earlier_attempt,
        of_members_told_another_threshold,
        of_members_told_another_cohort,
        of_members_told_other_members,
        of_members_told_another_plan,
    ],
)
def test_a_validly_signed_key_from_elsewhere(
    coordinator: Coordinator, recorded: Callable[[Attempt], Advertisement]
) -> None:
    """Zurich has signed it, for something else. The refusal names zurich: it was told another story."""
    attempt = coordinator.attempt()
    forged = with_entry(roster_of(attempt), recorded(attempt))
    assert_refused(
        coordinator.site,
        lambda: attempt.instruct(forged),
        code="ContextMismatch",
        says="zurich broke a rule in step advertise.*the parties were told different things",
    )
    assert_attempt_is_over(attempt)


def test_an_invented_member_in_the_list_of_keys(coordinator: Coordinator) -> None:
    """A node that exists, with a certificate, but not in this round's roster."""
    oslo = coordinator.consortium.enrol(PartyKind.NODE, "oslo")
    attempt = coordinator.attempt()
    roster = roster_of(attempt)
    entry = replace(
        entry_of(roster, ZURICH), client=ClientId("oslo"), identity=bytes.fromhex(oslo.member.public.key_id)
    )
    forged = with_entry(roster, replace(entry, signature=oslo.key.sign(entry.signed())))
    assert_refused(
        coordinator.site, lambda: attempt.instruct(forged), code="UnknownMember|MessageMalformed", says="oslo|6"
    )
    assert_attempt_is_over(attempt)


def test_one_member_twice_in_the_list_of_keys(coordinator: Coordinator) -> None:
    """Two sets of keys of zurich, both validly signed by it."""
    attempt = coordinator.attempt()
    roster = roster_of(attempt)
    parties = coordinator.consortium.parties
    members = {ClientId(name): parties[name].member.public for name in NODES}
    again = MaskingClient(attempt.parameters, parties["zurich"].key, members, ClientLimits(), bytes_of(b"again"))
    kept = [entry for entry in roster.advertisements if entry.client != "basel"]
    doubled = sorted([*kept, again.advertise()], key=lambda item: item.client)
    forged = replace(roster, advertisements=tuple(doubled))
    assert_refused(
        coordinator.site, lambda: attempt.instruct(forged), code="DuplicateMember|MessageMalformed", says="zurich|twice"
    )
    assert_attempt_is_over(attempt)


def bytes_of(seed: bytes) -> Callable[[int], bytes]:
    """A made-up source of randomness for a colluder."""
    drawn = [0]

    def draw(size: int) -> bytes:
        drawn[0] += 1
        return hashlib.shake_256(seed + drawn[0].to_bytes(4, "big")).digest(size)

    return draw


def test_a_threshold_that_is_enough_by_default_but_not_by_this_nodes_policy(sites: SiteMaker) -> None:
    """The node's officers assume that two of five collude; the coordinator computed with one."""
    site = sites.fresh(policy={"minimum_cohort: 3}": "minimum_cohort: 3, corrupted_fraction: 0.4}"})
    site.welcome()
    coordinator = Coordinator(site, JobFile().signed(site.consortium))
    assert coordinator.offer().accepted
    weak = coordinator.attempt()
    assert_refused(site, weak.begin, code="WeakParameters", says="corrupted members of 1; expected at least 2")
    strong = coordinator.attempt(corrupted=2, threshold=4)
    strong.begin()
    assert isinstance(site.last_message(), Advertisement)


# --- shares -------------------------------------------------------------------------------------------


def of_another_rounds_shares(delivery: ShareDelivery, attempt: Attempt) -> bytes:
    """Sealed by the same members for the same node, in the next attempt."""
    return replace(delivery, shares=shares_of(attempt.coordinator.attempt(7))).encode()


def of_another_jobs_shares(delivery: ShareDelivery, attempt: Attempt) -> bytes:
    coordinator = attempt.coordinator
    second = Coordinator(coordinator.site, JobFile(name="second", seed=2).signed(coordinator.consortium))
    return replace(delivery, shares=shares_of(second.attempt())).encode()


def shares_of(attempt: Attempt) -> tuple[SealedShare, ...]:
    """What the others seal for this node elsewhere: the whole round is played without it."""
    me = attempt.me
    parties = attempt.coordinator.consortium.parties
    members = {ClientId(name): parties[name].member.public for name in NODES}
    stand_in = MaskingClient(attempt.parameters, parties[me].key, members, ClientLimits(), bytes_of(b"stand-in"))
    clients = {**attempt.others, me: stand_in}
    for client in clients.values():
        attempt.server.receive(client.advertise())
    attempt.server.close_step()
    for name, client in clients.items():
        message = attempt.server.instruction_for(name)
        assert message is not None
        attempt.server.receive(client.answer(message))
    attempt.server.close_step()
    delivery = attempt.server.instruction_for(me)
    assert isinstance(delivery, ShareDelivery)
    return delivery.shares


def reflected(delivery: ShareDelivery, attempt: Attempt) -> bytes:
    """What this node sealed for zurich comes back as what zurich sealed for it."""
    own = attempt.site.last_message()
    assert isinstance(own, ShareBundle)
    index = attempt.parameters.roster.index(ZURICH)
    mine = next(share for share in own.shares if share.member == index)
    kept = tuple(share for share in delivery.shares if share.member != index)
    return replace(delivery, shares=tuple(sorted((*kept, mine), key=lambda share: share.member))).encode()


def truncated(delivery: ShareDelivery, _attempt: Attempt) -> bytes:
    return delivery.encode()[:-1]


def twice(delivery: ShareDelivery, _attempt: Attempt) -> bytes:
    return replace(delivery, shares=(delivery.shares[0], *delivery.shares)).encode()


@pytest.mark.parametrize(
    ("forge", "code", "says"),
    [
        (of_another_rounds_shares, "SharesRefused", "basel broke a rule in step share"),
        (of_another_jobs_shares, "SharesRefused", "basel broke a rule in step share"),
        (reflected, "SharesRefused", "zurich broke a rule in step share"),
        (truncated, "MessageMalformed", ""),
        (twice, "DuplicateMember|MessageMalformed", ""),
    ],
)
def test_shares_that_were_sealed_for_something_else(
    coordinator: Coordinator, forge: Callable[[ShareDelivery, Attempt], bytes], code: str, says: str
) -> None:
    """The key and the associated data name sender, receiver and attempt, and the attempt names job and round."""
    attempt = coordinator.attempt()
    forged = forge(delivery_of(attempt), attempt)
    assert_refused(coordinator.site, lambda: attempt.instruct(forged), code=code, says=says)
    assert_attempt_is_over(attempt)


# --- restarts -----------------------------------------------------------------------------------------


def test_no_mask_of_an_attempt_comes_back(coordinator: Coordinator) -> None:
    """The same records in four attempts with restarts between: four vectors that have nothing in common.

    Were a mask used twice, the difference of two vectors would be the rounding of the encoding alone: mostly zeros.
    """
    site, seen = coordinator.site, []
    given_up: tuple[bytes, ...] = ()
    for number in range(4):
        attempt = coordinator.attempt(number, abandoned=dict.fromkeys(OTHERS, given_up))
        attempt.reach(Step.CONFIRM)
        header, data = site.outbox.vectors[-1]
        message = decode_message(header.message)
        assert isinstance(message, MaskedInputHeader)
        seen.append((message, data))
        given_up = tuple(sorted((*given_up, attempt.context)))
        site.restart()
        site.welcome()
    assert len({data for _, data in seen}) == len(seen)
    for index, (_, one) in enumerate(seen):
        for _, other in seen[index + 1 :]:
            same = sum(a == b for a, b in zip(one, other, strict=True))
            assert same <= len(one) // 8  # 1 in 256 by chance
