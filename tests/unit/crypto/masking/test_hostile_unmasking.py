"""A hostile coordinator against the real client, from the masked input on: survivors, confirmations, order.

Each attack must be refused with its own error, and leave the client as it was.
"""

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace

import pytest

from fedseal_crypto.encoding import RingMismatch, RingVector
from fedseal_crypto.errors import MisuseError
from fedseal_crypto.identity import IdentityKey
from fedseal_crypto.masking import (
    AbandonmentsInvalid,
    AlreadyAnswered,
    CallOutOfOrder,
    ClientId,
    ClientLimits,
    ClientState,
    CohortTooSmall,
    Confirmation,
    Confirmations,
    ContextMismatch,
    DuplicateMember,
    EquivocationDetected,
    HistoryRefused,
    MaskingClient,
    MaskingServer,
    Party,
    ProtocolViolation,
    Roster,
    RoundParameters,
    ShareDelivery,
    SignatureRefused,
    Step,
    Survivors,
    SurvivorsRefused,
    UnknownMember,
    decode_message,
)
from fedseal_crypto.masking._members import from_bitmap, to_bitmap
from fedseal_crypto.masking._parameters import MemberIndex

ParametersFor = Callable[..., RoundParameters]
PartiesFor = Callable[..., dict[ClientId, Party]]
IdentityOf = Callable[[str], IdentityKey]
PlayUntil = Callable[..., tuple[MaskingServer, dict[ClientId, MaskingClient]]]
ClientsFor = Callable[..., dict[ClientId, MaskingClient]]
Refused = Callable[[MaskingClient, Callable[[], object], type[ProtocolViolation], str], None]
Setting = tuple[MaskingServer, dict[ClientId, MaskingClient], dict[ClientId, Party]]

VICTIM, OTHER = ClientId("node-000"), ClientId("node-001")
N = 10  # threshold 7, corrupted 2


def without(survivors: Survivors, *gone: int) -> Survivors:
    left = from_bitmap(survivors.survivors, N) - {MemberIndex(i) for i in gone}
    return replace(survivors, survivors=to_bitmap(left, N))


@pytest.fixture
def at(parameters_for: ParametersFor, parties_for: PartiesFor, play_until: PlayUntil) -> Callable[..., Setting]:
    """A round of ten that honestly arrived at a step."""

    def arrive(step: Step, leaves: dict[int, Step] | None = None) -> Setting:
        parameters = parameters_for(N)
        parties = parties_for(parameters, leaves)
        return *play_until(parameters, parties, step), parties

    return arrive


def survivors_of(server: MaskingServer) -> Survivors:
    message = server.instruction_for(VICTIM)
    assert isinstance(message, Survivors)
    return message


# --- survivors ----------------------------------------------------------------------------------------


def test_lists_that_a_member_does_not_sign(refused: Refused, at: Callable[..., Setting]) -> None:
    server, clients, _ = at(Step.CONFIRM, {9: Step.SHARE, 8: Step.ADVERTISE})
    client, honest = clients[VICTIM], survivors_of(server)
    refused(client, lambda: client.confirm(without(honest, 0)), SurvivorsRefused, "without this node")
    refused(client, lambda: client.confirm(without(honest, 1, 2)), CohortTooSmall, "6 survivors; expected at least 7")
    with_unshared = replace(honest, survivors=to_bitmap([MemberIndex(i) for i in (*range(8), 9)], N))
    refused(client, lambda: client.confirm(with_unshared), SurvivorsRefused, "node-009 as a survivor")
    with_absent = replace(honest, survivors=to_bitmap([MemberIndex(i) for i in range(9)], N))
    refused(client, lambda: client.confirm(with_absent), SurvivorsRefused, "never advertised")
    refused(client, lambda: client.confirm(replace(honest, context=bytes(32))), ContextMismatch, "context")
    for bitmap in (b"", b"\xff", b"\xff\xff\xff", b"\xff\x07"):
        refused(
            client,
            lambda bitmap=bitmap: client.confirm(replace(honest, survivors=bitmap)),  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            SurvivorsRefused,
            "one bit for each of the 10",
        )
    client.confirm(honest)


def test_a_second_list_is_never_signed(refused: Refused, at: Callable[..., Setting]) -> None:
    server, clients, _ = at(Step.CONFIRM)
    client, honest = clients[VICTIM], survivors_of(server)
    first = client.confirm(honest)
    refused(client, lambda: client.confirm(without(honest, 3)), AlreadyAnswered, "step confirm")
    refused(client, lambda: client.confirm(honest), AlreadyAnswered, "step confirm")
    assert client.survivors == frozenset(client.parameters.roster)
    assert isinstance(first, Confirmation)


def test_sums_whose_difference_isolates_members(refused: Refused, at: Callable[..., Setting]) -> None:
    server, clients, _ = at(Step.CONFIRM, {9: Step.MASK})
    client, honest = clients[VICTIM], survivors_of(server)
    everyone = frozenset(client.parameters.roster)
    nine = everyone - {ClientId("node-009")}
    for earlier in ([everyone], [nine - {OTHER}], [nine, everyone], [nine - {OTHER} | {ClientId("node-009")}]):
        refused(
            client,
            lambda earlier=earlier: client.confirm(honest, earlier=earlier),  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            HistoryRefused,
            "differ from an earlier sum's by node-00",
        )
    client.confirm(honest, earlier=[nine, nine - frozenset(list(everyone)[:0]), frozenset(sorted(nine)[:6])])


def test_the_minimum_difference_is_the_nodes_own(
    parameters_for: ParametersFor, parties_for: PartiesFor, play_until: PlayUntil
) -> None:
    parameters = parameters_for(N)
    for minimum, accepted in ((2, True), (4, False)):
        server, clients = play_until(
            parameters, parties_for(parameters), Step.CONFIRM, limits=ClientLimits(minimum_difference=minimum)
        )
        client, earlier = clients[VICTIM], [frozenset(parameters.roster[:-2])]
        if accepted:
            client.confirm(survivors_of(server), earlier=earlier)
        else:
            with pytest.raises(HistoryRefused, match="at least 4 different"):
                client.confirm(survivors_of(server), earlier=earlier)


# --- confirmations ------------------------------------------------------------------------------------


def test_two_stories_about_the_survivors(refused: Refused, at: Callable[..., Setting]) -> None:
    """Half are told that node-000 survived, half that it left: nobody reveals anything."""
    server, clients, _ = at(Step.CONFIRM)
    told = survivors_of(server)
    other_story = without(told, 0)
    names = list(clients)
    one = [clients[name].confirm(told) for name in names[:5]]
    two = [clients[name].confirm(other_story) for name in names[5:]]
    context = told.context

    mixed = Confirmations(context=context, confirmations=(*one, *two))
    client = clients[VICTIM]
    refused(client, lambda: client.unmask(mixed), EquivocationDetected, "node-005 signed the survivors")
    with pytest.raises(EquivocationDetected) as caught:
        client.unmask(mixed)
    mine, theirs = caught.value.conflicting
    assert mine == one[0].encode()
    assert theirs == two[0].encode()
    assert caught.value.violation.party == "coordinator"

    # Kept apart, neither half reaches the threshold.
    for group, story in ((names[:5], one), (names[5:], two)):
        for name in group:
            apart = Confirmations(context=context, confirmations=tuple(story))
            refused(
                clients[name],
                lambda name=name, apart=apart: clients[name].unmask(apart),  # type: ignore[misc]  # mypy cannot infer a lambda with a default
                CohortTooSmall,
                "5 confirmations of survivors; expected at least the threshold of 7",
            )


def test_two_stories_with_corrupted_members_signing_both(at: Callable[..., Setting], identity_of: IdentityOf) -> None:
    """The largest split: c corrupted members sign both lists. Still one story at most gets enough signatures."""
    server, clients, _ = at(Step.CONFIRM)
    told = survivors_of(server)
    story = {True: told, False: without(told, 0)}
    names = list(clients)
    corrupted = names[-2:]
    for honest_in_first in range(1, 9):
        signed: dict[bool, list[Confirmation]] = {True: [], False: []}
        for place, name in enumerate(names[:-2]):
            signed[place < honest_in_first].append(forged(name, story[place < honest_in_first], identity_of))
        for view in (True, False):
            signed[view] += [forged(name, story[view], identity_of) for name in corrupted]
        assert sum(len(confirmations) >= 7 for confirmations in signed.values()) <= 1


def forged(name: ClientId, told: Survivors, identity_of: IdentityOf) -> Confirmation:
    unsigned = Confirmation(client=name, context=told.context, survivors=told.survivors, signature=b"")
    return replace(unsigned, signature=identity_of(name).sign(unsigned.signed()))


def test_confirmations_that_do_not_count(refused: Refused, at: Callable[..., Setting], identity_of: IdentityOf) -> None:
    server, clients, _ = at(Step.UNMASK)
    client = clients[VICTIM]
    honest = server.instruction_for(VICTIM)
    assert isinstance(honest, Confirmations)
    assert len(honest.confirmations) == 7
    others = [c for c in honest.confirmations if c.client != VICTIM]

    def with_first(changed: Confirmation) -> Confirmations:
        return replace(honest, confirmations=(changed, *others[1:]))

    first = others[0]
    unsigned = replace(first, signature=bytes(64))
    refused(client, lambda: client.unmask(with_first(unsigned)), SignatureRefused, first.client)
    by_another = replace(first, signature=others[1].signature)
    refused(client, lambda: client.unmask(with_first(by_another)), SignatureRefused, first.client)
    old = replace(first, context=bytes(32))
    refused(client, lambda: client.unmask(with_first(old)), ContextMismatch, first.client)
    stranger = replace(first, client=ClientId("node-zzz"))
    refused(client, lambda: client.unmask(with_first(stranger)), UnknownMember, "node-zzz")
    doubled = replace(honest, confirmations=(*honest.confirmations, first))
    refused(client, lambda: client.unmask(doubled), DuplicateMember, "twice")
    few = replace(honest, confirmations=honest.confirmations[:5])
    refused(client, lambda: client.unmask(few), CohortTooSmall, "expected at least the threshold of 7")
    none = replace(honest, confirmations=())
    refused(client, lambda: client.unmask(none), CohortTooSmall, "1 confirmations")
    refused(client, lambda: client.unmask(replace(honest, context=bytes(32))), ContextMismatch, "coordinator")
    client.unmask(honest)


def test_one_kind_of_share_for_each_owner(at: Callable[..., Setting]) -> None:
    server, clients, _ = at(Step.UNMASK, {4: Step.MASK, 7: Step.SHARE})
    for name, client in clients.items():
        instruction = server.instruction_for(name)
        if instruction is None:
            continue
        assert isinstance(instruction, Confirmations)
        unmasking = client.unmask(instruction)
        selves, pairs = ({share.owner for share in kind} for kind in (unmasking.self_mask, unmasking.pairwise))
        assert selves == set(range(N)) - {4, 7}
        assert pairs == {4}


# --- order, repetition, restart -----------------------------------------------------------------------


def test_steps_out_of_order(
    refused: Refused, at: Callable[..., Setting], clients_for: ClientsFor, parameters_for: ParametersFor
) -> None:
    server, clients, parties = at(Step.UNMASK)
    roster = Roster(context0=bytes(32), advertisements=())
    delivery = ShareDelivery(context=bytes(32), receiver=VICTIM, shares=())
    survivors = Survivors(context=bytes(32), survivors=b"")
    confirmations = server.instruction_for(VICTIM)
    assert isinstance(confirmations, Confirmations)
    words = parties[VICTIM].words
    fresh = clients_for(parameters_for(N))[VICTIM]
    for call in (
        lambda: fresh.share(roster),
        lambda: fresh.mask(delivery, words),
        lambda: fresh.confirm(survivors),
        lambda: fresh.unmask(confirmations),
        lambda: fresh.survivors,
    ):
        with pytest.raises(CallOutOfOrder):
            call()
        assert fresh.state is ClientState.READY
    fresh.advertise()
    with pytest.raises(CallOutOfOrder):
        fresh.unmask(confirmations)  # an unmask request before the input

    late = clients[VICTIM]
    for again in (
        late.advertise,
        lambda: late.share(roster),
        lambda: late.mask(delivery, words),
        lambda: late.confirm(survivors),
    ):
        refused(late, again, AlreadyAnswered, "each step to be asked once")
    late.unmask(confirmations)
    refused(late, lambda: late.unmask(confirmations), AlreadyAnswered, "step unmask")
    refused(late, late.abandon, AlreadyAnswered, "step abandon")


def test_an_abandoned_attempt_answers_nothing(refused: Refused, at: Callable[..., Setting]) -> None:
    server, clients, _ = at(Step.CONFIRM)
    client = clients[VICTIM]
    survivors = survivors_of(server)
    client.abandon()
    refused(client, lambda: client.confirm(survivors), AlreadyAnswered, "state abandoned")
    refused(client, lambda: client.answer(survivors), AlreadyAnswered, "state abandoned")
    refused(client, client.advertise, AlreadyAnswered, "state abandoned")
    assert client._memory is None


def test_a_repeated_instruction_gets_the_same_answer(at: Callable[..., Setting]) -> None:
    server, clients, parties = at(Step.MASK)
    client, delivery = clients[VICTIM], server.instruction_for(VICTIM)
    assert delivery is not None
    first = client.answer(delivery, parties[VICTIM].words)
    other_words = RingVector.zeros(client.parameters)
    assert client.answer(delivery, other_words) is first
    assert client.answer(delivery) is first
    assert client.state is ClientState.MASKED
    with pytest.raises(AlreadyAnswered):
        client.mask(delivery, other_words)  # type: ignore[arg-type]  # a delivery for sure


def test_words_are_needed_and_must_fit(at: Callable[..., Setting], parameters_for: ParametersFor) -> None:
    server, clients, parties = at(Step.MASK)
    client, delivery = clients[VICTIM], server.instruction_for(VICTIM)
    assert isinstance(delivery, ShareDelivery)
    with pytest.raises(CallOutOfOrder, match="pass the words"):
        client.answer(delivery)
    other_layout = RingVector.zeros(parameters_for(N, layout_digest=bytes(32)))
    with pytest.raises(RingMismatch):
        client.mask(delivery, other_layout)
    assert client.state is ClientState.SHARED
    before = parties[VICTIM].words.to_bytes()
    client.mask(delivery, parties[VICTIM].words)
    assert parties[VICTIM].words.to_bytes() == before


def test_members_cannot_be_copied(at: Callable[..., Setting]) -> None:
    _, clients, _ = at(Step.UNMASK)
    client = clients[VICTIM]
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(MisuseError, match="could then answer twice"):
            duplicate(client)


def test_a_restarted_member_uses_nothing_again(
    parameters_for: ParametersFor, parties_for: PartiesFor, play_until: PlayUntil
) -> None:
    """Same parameters, same vector, new process: every public value and every masked byte is new."""
    parameters = parameters_for(4)
    parties = parties_for(parameters)
    seen: set[bytes] = set()
    masked: list[bytes] = []
    for life in range(3):
        server, clients = play_until(parameters, parties, Step.MASK, seed=("life", life))
        for advertisement in server._progress.advertisements.values():
            for value in (advertisement.mask_key, advertisement.channel_key, advertisement.commitment):
                assert value not in seen
                seen.add(value)
        delivery = server.instruction_for(VICTIM)
        assert isinstance(delivery, ShareDelivery)
        for share in delivery.shares:
            assert share.sealed not in seen
            seen.add(share.sealed)
        masked.append(clients[VICTIM].mask(delivery, parties[VICTIM].words).words.to_bytes())
    assert len(set(masked)) == 3


def test_abandonments_are_signed_and_seen(
    refused: Refused,
    parameters_for: ParametersFor,
    parties_for: PartiesFor,
    identity_of: IdentityOf,
    clients_for: ClientsFor,
) -> None:
    first = parameters_for(4)
    second = parameters_for(4, attempt=1)
    clients = clients_for(second)
    server = MaskingServer(second, {name: identity_of(name).public for name in second.roster})
    dead = first.context0()
    for place, client in enumerate(clients.values()):
        server.receive(client.advertise(abandoned=(dead, bytes(32)) if place < 3 else ()))
    server.close_step()
    roster = server.instruction_for(VICTIM)
    assert isinstance(roster, Roster)
    silenced = [replace(ad, abandoned=()) if ad.client == OTHER else ad for ad in roster.advertisements]
    invented = [replace(ad, abandoned=(dead,)) if ad.client == "node-003" else ad for ad in roster.advertisements]
    client = clients[VICTIM]
    for changed in (silenced, invented):
        refused(
            client,
            lambda changed=changed: client.share(replace(roster, advertisements=tuple(changed))),  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            SignatureRefused,
            "node-00",
        )
    assert client.roster_abandonments(dead) == frozenset()
    client.share(roster)
    assert client.roster_abandonments(dead) == frozenset(second.roster[:3])
    assert client.roster_abandonments(second.context0()) == frozenset()


def test_more_abandonments_than_receivers_read_are_refused_before_anything_is_made(
    parameters_for: ParametersFor, clients_for: ClientsFor
) -> None:
    client = clients_for(parameters_for(4))[VICTIM]
    contexts = tuple(place.to_bytes(32, "big") for place in range(65))
    for wrong, said in ((contexts, "65 attempts .* at most 64"), ((b"short",), "32 bytes")):
        with pytest.raises(AbandonmentsInvalid, match=said):
            client.advertise(abandoned=wrong)
        assert client.state is ClientState.READY
    most = client.advertise(abandoned=(*contexts[:64], contexts[0]))
    assert decode_message(most.encode()) == most
    assert most.abandoned == contexts[:64]
