"""A hostile coordinator against the real client, up to the sealed shares: parameters, keys, members, shares.

Each attack must be refused with its own error, and leave the client as it was: afterwards the honest message
still works.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.identity import IdentityKey, PublicIdentity
from fedseal_crypto.masking import (
    Advertisement,
    ClientId,
    ClientLimits,
    CohortTooSmall,
    ContextMismatch,
    DuplicateMember,
    IdentityMismatch,
    KeyRefused,
    MaskingClient,
    MaskingServer,
    OwnEntryChanged,
    ParametersInvalid,
    Party,
    ProtocolViolation,
    Roster,
    RoundParameters,
    SealedShare,
    ShareDelivery,
    SharesRefused,
    SignatureRefused,
    Step,
    UnknownMember,
    WeakParameters,
)

ParametersFor = Callable[..., RoundParameters]
PartiesFor = Callable[..., dict[ClientId, Party]]
IdentityOf = Callable[[str], IdentityKey]
PlayUntil = Callable[..., tuple[MaskingServer, dict[ClientId, MaskingClient]]]
Seeded = Callable[[object], Callable[[int], bytes]]
Refused = Callable[[MaskingClient, Callable[[], object], type[ProtocolViolation], str], None]

VICTIM, OTHER, THIRD = ClientId("node-000"), ClientId("node-001"), ClientId("node-002")


def signed_again(advertisement: Advertisement, identity: IdentityKey) -> Advertisement:
    """What a colluding member signs."""
    return replace(advertisement, signature=identity.sign(advertisement.signed()))


# --- parameters ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"threshold": 6}, "a threshold of 6; expected at least 7"),
        ({"corrupted": 1, "threshold": 6}, "corrupted members of 1; expected at least 2"),
        ({"minimum_cohort": 2}, "a minimum cohort of 2; expected at least 3"),
        ({"neighbours": 4}, "a sparse graph; expected the complete graph"),
    ],
)
def test_parameters_weaker_than_the_node_computes(
    changed: Mapping[str, int], said: str, parameters_for: ParametersFor, clients_for: Callable[..., object]
) -> None:
    with pytest.raises(WeakParameters, match=said):
        clients_for(parameters_for(10, **changed))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"neighbours": 8}, "8 neighbours; expected enough"),
        ({"threshold": 43}, "a threshold of 43; expected at least 44"),
    ],
)
def test_sparse_parameters_weaker_than_the_node_computes(
    changed: Mapping[str, int], said: str, parameters_for: ParametersFor, clients_for: Callable[..., object]
) -> None:
    with pytest.raises(WeakParameters, match=said):
        clients_for(parameters_for(140, **changed))


def test_stronger_parameters_are_welcome(parameters_for: ParametersFor, clients_for: Callable[..., object]) -> None:
    clients_for(parameters_for(10, threshold=9, corrupted=3, minimum_cohort=8))


def test_the_nodes_own_limits_decide(parameters_for: ParametersFor, identity_of: IdentityOf, seeded: Seeded) -> None:
    parameters = parameters_for(10)
    members = {name: identity_of(name).public for name in parameters.roster}
    for limits in (ClientLimits(corrupted_fraction=0.3), ClientLimits(minimum_cohort=4)):
        with pytest.raises(WeakParameters):
            MaskingClient(parameters, identity_of(VICTIM), members, limits, seeded(0))


@pytest.mark.parametrize(
    "limits",
    [{"minimum_cohort": 2}, {"minimum_difference": 1}, {"corrupted_fraction": 1.0}, {"dropout_fraction": -0.1}],
)
def test_limits_that_protect_nobody_are_refused(limits: Mapping[str, float]) -> None:
    with pytest.raises(ParametersInvalid):
        ClientLimits(**limits)  # type: ignore[arg-type]  # a table of fields


def test_rosters_that_do_not_fit_the_certified_members(
    parameters_for: ParametersFor, identity_of: IdentityOf, seeded: Seeded
) -> None:
    parameters = parameters_for(4)
    members: dict[ClientId, PublicIdentity] = {name: identity_of(name).public for name in parameters.roster}
    revoked = {name: public for name, public in members.items() if name != THIRD}
    with pytest.raises(ParametersInvalid, match="'node-002' has no certified identity"):
        MaskingClient(parameters, identity_of(VICTIM), revoked, ClientLimits(), seeded(0))
    doubled = {**members, THIRD: members[OTHER]}
    with pytest.raises(ParametersInvalid, match="same identity key"):
        MaskingClient(parameters, identity_of(VICTIM), doubled, ClientLimits(), seeded(0))
    with pytest.raises(ParametersInvalid, match="not among the members"):
        MaskingClient(parameters, identity_of("stranger"), members, ClientLimits(), seeded(0))


# --- roster -------------------------------------------------------------------------------------------


@pytest.fixture
def scene(
    parameters_for: ParametersFor, parties_for: PartiesFor, play_until: PlayUntil
) -> tuple[MaskingServer, MaskingClient, Roster]:
    """A round of five in step share: the server, one client, and the honest roster it should get."""
    parameters = parameters_for(5)
    server, clients = play_until(parameters, parties_for(parameters), Step.SHARE)
    roster = server.instruction_for(VICTIM)
    assert isinstance(roster, Roster)
    return server, clients[VICTIM], roster


Scene = tuple[MaskingServer, MaskingClient, Roster]


def with_entry(roster: Roster, entry: Advertisement) -> Roster:
    """The roster with one member's entry replaced."""
    kept = [ad for ad in roster.advertisements if ad.client != entry.client]
    return replace(roster, advertisements=tuple(sorted([*kept, entry], key=lambda ad: ad.client)))


def entry_of(roster: Roster, name: ClientId) -> Advertisement:
    return next(ad for ad in roster.advertisements if ad.client == name)


@pytest.mark.parametrize("field", ["mask_key", "channel_key", "commitment"])
def test_substituted_keys(refused: Refused, scene: Scene, field: str, identity_of: IdentityOf, seeded: Seeded) -> None:
    """Man in the middle: the server's own key in place of a member's."""
    _, client, roster = scene
    forged = replace(entry_of(roster, OTHER), **{field: seeded("evil")(32)})  # type: ignore[arg-type]  # by name
    refused(client, lambda: client.share(with_entry(roster, forged)), SignatureRefused, "node-001")
    resigned = signed_again(forged, identity_of("evil"))
    refused(client, lambda: client.share(with_entry(roster, resigned)), SignatureRefused, "node-001")
    as_someone_else = signed_again(
        replace(forged, identity=bytes.fromhex(identity_of("evil").public.key_id)), identity_of("evil")
    )
    refused(client, lambda: client.share(with_entry(roster, as_someone_else)), IdentityMismatch, "node-001")
    client.share(roster)


def test_unsigned_and_swapped_signatures(refused: Refused, scene: Scene) -> None:
    _, client, roster = scene
    unsigned = replace(entry_of(roster, OTHER), signature=bytes(64))
    refused(client, lambda: client.share(with_entry(roster, unsigned)), SignatureRefused, "node-001")
    swapped = replace(entry_of(roster, OTHER), signature=entry_of(roster, THIRD).signature)
    refused(client, lambda: client.share(with_entry(roster, swapped)), SignatureRefused, "node-001")


@pytest.mark.parametrize(
    "changed",
    [
        {"federation": "lungs"},
        {"job_digest": sha256_hex(b"another job")},
        {"stage": "evaluation"},
        {"round": 2},
        {"attempt": 1},
        {"minimum_cohort": 4},
        {"broadcast_digest": sha256_hex(b"another model")},
        {"plan_digest": sha256_hex(b"another plan")},
        {"layout_digest": bytes(32)},
        {"threshold": 5},
        {"corrupted": 2},
    ],
)
def test_keys_of_another_job_round_or_broadcast(
    refused: Refused,
    scene: Scene,
    changed: Mapping[str, object],
    parameters_for: ParametersFor,
    clients_for: Callable[..., object],
) -> None:
    """A member was told something else, or its signed keys are replayed from elsewhere."""
    _, client, roster = scene
    others = clients_for(parameters_for(5, **changed))
    assert isinstance(others, dict)
    foreign = others[OTHER].advertise()
    refused(client, lambda: client.share(with_entry(roster, foreign)), ContextMismatch, "node-001")
    relabelled = replace(foreign, context0=roster.context0)
    refused(client, lambda: client.share(with_entry(roster, relabelled)), SignatureRefused, "node-001")
    refused(client, lambda: client.share(replace(roster, context0=foreign.context0)), ContextMismatch, "coordinator")


def test_another_roster_gives_another_context(scene: Scene, parameters_for: ParametersFor) -> None:
    _, _, roster = scene
    smaller = parameters_for(5, roster=tuple(ClientId(f"node-00{i}") for i in (0, 1, 2, 3, 9)))
    assert smaller.context0() != roster.context0


LOW_ORDER = bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")
NOT_CANONICAL = bytes.fromhex("ee" + "ff" * 30 + "7f")


@pytest.mark.parametrize("field", ["mask_key", "channel_key"])
@pytest.mark.parametrize("key", [LOW_ORDER, NOT_CANONICAL, bytes(32)])
def test_weak_keys_of_a_colluding_member(
    refused: Refused, scene: Scene, field: str, key: bytes, identity_of: IdentityOf
) -> None:
    _, client, roster = scene
    weak = signed_again(replace(entry_of(roster, OTHER), **{field: key}), identity_of(OTHER))  # type: ignore[arg-type]  # by name
    refused(client, lambda: client.share(with_entry(roster, weak)), KeyRefused, "node-001")
    client.share(roster)


def test_duplicate_keys_of_a_colluding_member(refused: Refused, scene: Scene, identity_of: IdentityOf) -> None:
    _, client, roster = scene
    theirs = entry_of(roster, THIRD)
    for changed in (
        replace(theirs, mask_key=entry_of(roster, OTHER).mask_key),
        replace(theirs, mask_key=entry_of(roster, VICTIM).mask_key),
        replace(theirs, channel_key=theirs.mask_key),
        replace(theirs, channel_key=entry_of(roster, OTHER).mask_key),
    ):
        copied = signed_again(changed, identity_of(THIRD))
        refused(client, lambda entry=copied: client.share(with_entry(roster, entry)), KeyRefused, "advertised")  # type: ignore[misc]  # mypy cannot infer a lambda with a default


def test_invented_and_doubled_members(refused: Refused, scene: Scene, identity_of: IdentityOf) -> None:
    _, client, roster = scene
    stranger = ClientId("node-zzz")
    invented = signed_again(replace(entry_of(roster, OTHER), client=stranger), identity_of(OTHER))
    refused(client, lambda: client.share(with_entry(roster, invented)), UnknownMember, "node-zzz")
    doubled = replace(roster, advertisements=(*roster.advertisements, entry_of(roster, OTHER)))
    refused(client, lambda: client.share(doubled), DuplicateMember, "node-001 twice")


def test_own_entry_changed_or_missing(
    refused: Refused, scene: Scene, parameters_for: ParametersFor, clients_for: Callable[..., object]
) -> None:
    _, client, roster = scene
    others = clients_for(parameters_for(5), seed="another life")
    assert isinstance(others, dict)
    earlier_self = others[VICTIM].advertise()
    refused(client, lambda: client.share(with_entry(roster, earlier_self)), OwnEntryChanged, "its own|own entry")
    without = replace(roster, advertisements=roster.advertisements[1:])
    refused(client, lambda: client.share(without), OwnEntryChanged, "own entry")


def test_a_shrunken_roster(refused: Refused, scene: Scene) -> None:
    _, client, roster = scene
    shrunken = replace(roster, advertisements=roster.advertisements[:3])
    refused(client, lambda: client.share(shrunken), CohortTooSmall, "3 members; expected at least 4")


def test_different_broadcasts_split_the_members(
    refused: Refused, parameters_for: ParametersFor, parties_for: PartiesFor, play_until: PlayUntil
) -> None:
    """The server keeps two worlds apart. Each has too few members, and their contexts have nothing in common."""
    one = parameters_for(5)
    other = parameters_for(5, broadcast_digest=sha256_hex(b"a model that isolates node-000"))
    server, clients = play_until(one, parties_for(one), Step.SHARE)
    elsewhere, _ = play_until(other, parties_for(other), Step.SHARE, seed=1)
    honest, foreign = server.instruction_for(VICTIM), elsewhere.instruction_for(OTHER)
    assert isinstance(honest, Roster)
    assert isinstance(foreign, Roster)
    mixed = replace(honest, advertisements=(honest.advertisements[0], *foreign.advertisements[1:]))
    refused(clients[VICTIM], lambda: clients[VICTIM].share(mixed), ContextMismatch, "told different things")


# --- sealed shares ------------------------------------------------------------------------------------


@pytest.fixture
def shared(
    parameters_for: ParametersFor, parties_for: PartiesFor, play_until: PlayUntil
) -> tuple[MaskingServer, MaskingClient, Party, ShareDelivery]:
    """A round of five in step mask: server, one client, its party, and the honest delivery."""
    parameters = parameters_for(5)
    parties = parties_for(parameters)
    server, clients = play_until(parameters, parties, Step.MASK)
    delivery = server.instruction_for(VICTIM)
    assert isinstance(delivery, ShareDelivery)
    return server, clients[VICTIM], parties[VICTIM], delivery


Shared = tuple[MaskingServer, MaskingClient, Party, ShareDelivery]


def with_share(delivery: ShareDelivery, place: int, share: SealedShare) -> ShareDelivery:
    shares = list(delivery.shares)
    shares[place] = share
    return replace(delivery, shares=tuple(shares))


def test_shares_that_are_tampered_swapped_or_foreign(
    refused: Refused, shared: Shared, parameters_for: ParametersFor, parties_for: PartiesFor, play_until: PlayUntil
) -> None:
    server, client, party, delivery = shared
    first, second = delivery.shares[0], delivery.shares[1]
    flipped = replace(first, sealed=bytes([first.sealed[0] ^ 1]) + first.sealed[1:])
    cut = replace(first, sealed=first.sealed[:-1])
    swapped = replace(first, sealed=second.sealed)
    for_another = server.instruction_for(THIRD)
    parameters = parameters_for(5, round=4)
    elsewhere, _ = play_until(parameters, parties_for(parameters), Step.MASK)
    of_another_round = elsewhere.instruction_for(VICTIM)
    assert isinstance(for_another, ShareDelivery)
    assert isinstance(of_another_round, ShareDelivery)
    redirected = replace(first, sealed=next(s for s in for_another.shares if s.member == first.member).sealed)
    foreign = of_another_round.shares[0]
    for share in (flipped, cut, swapped, redirected, foreign):
        refused(
            client,
            lambda share=share: client.mask(with_share(delivery, 0, share), party.words),  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            SharesRefused,
            "node-001 broke a rule",
        )
    client.mask(delivery, party.words)


def test_deliveries_for_someone_else_or_another_attempt(refused: Refused, shared: Shared) -> None:
    server, client, party, delivery = shared
    for_another = server.instruction_for(THIRD)
    assert isinstance(for_another, ShareDelivery)
    refused(client, lambda: client.mask(for_another, party.words), SharesRefused, "shares for node-002")
    foreign = replace(delivery, context=bytes(32))
    refused(client, lambda: client.mask(foreign, party.words), ContextMismatch, "context 0000")


def test_deliveries_with_strangers_doubles_or_too_few(refused: Refused, shared: Shared) -> None:
    _, client, party, delivery = shared
    doubled = replace(delivery, shares=(*delivery.shares, delivery.shares[0]))
    refused(client, lambda: client.mask(doubled, party.words), DuplicateMember, "two shares of one member")
    own = replace(delivery.shares[0], member=client.parameters.index_of(VICTIM))  # type: ignore[arg-type]  # a member for sure
    refused(client, lambda: client.mask(with_share(delivery, 0, own), party.words), DuplicateMember, "two shares")
    stranger = replace(delivery.shares[-1], member=77)  # type: ignore[arg-type]  # no such member, that is the point
    refused(client, lambda: client.mask(with_share(delivery, 3, stranger), party.words), UnknownMember, "number 77")
    few = replace(delivery, shares=delivery.shares[:2])
    refused(client, lambda: client.mask(few, party.words), CohortTooSmall, "3 members, this node included")
