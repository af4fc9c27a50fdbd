"""A hostile coordinator against the real client on a sparse graph: who shares with whom, and who is declared gone."""

from collections.abc import Callable
from dataclasses import replace

from fedseal_crypto.masking import (
    ClientId,
    ClientLimits,
    CohortTooSmall,
    MaskingClient,
    MaskingServer,
    OpeningRefused,
    Openings,
    OwnEntryChanged,
    Party,
    ProtocolViolation,
    RosterDigests,
    RoundParameters,
    Step,
    Survivors,
    SurvivorsRefused,
    UnknownMember,
)
from fedseal_crypto.masking._members import to_bitmap
from fedseal_crypto.masking._parameters import MemberIndex
from fedseal_crypto.masking._survivors import corrupted_in_window

PartiesFor = Callable[..., dict[ClientId, Party]]
PlayUntil = Callable[..., tuple[MaskingServer, dict[ClientId, MaskingClient]]]
Refused = Callable[[MaskingClient, Callable[[], object], type[ProtocolViolation], str], None]

VICTIM = ClientId("node-000")


def test_sparse_rosters_and_openings(
    refused: Refused, small_sparse: tuple[RoundParameters, ClientLimits], parties_for: PartiesFor, play_until: PlayUntil
) -> None:
    parameters, limits = small_sparse
    parties = parties_for(parameters)
    server, clients = play_until(parameters, parties, Step.REVEAL, limits=limits)
    client = clients[VICTIM]
    digests = server.instruction_for(VICTIM)
    assert isinstance(digests, RosterDigests)
    changed = digests.entries[0]._replace(graph_commitment=bytes(32))
    refused(
        client,
        lambda: client.reveal(replace(digests, entries=(changed, *digests.entries[1:]))),
        OwnEntryChanged,
        "own entry",
    )
    few = replace(digests, entries=digests.entries[:5])
    refused(client, lambda: client.reveal(few), CohortTooSmall, "5 members")
    beyond = replace(digests, entries=(*digests.entries[:-1], digests.entries[-1]._replace(member=50)))  # type: ignore[arg-type]  # no such member
    refused(client, lambda: client.reveal(beyond), UnknownMember, "beyond the roster")

    server, clients = play_until(parameters, parties, Step.SHARE, limits=limits)
    client = clients[VICTIM]
    openings = server.instruction_for(VICTIM)
    assert isinstance(openings, Openings)
    wrong = openings.nonces[3]._replace(nonce=bytes(32))
    nonces = (*openings.nonces[:3], wrong, *openings.nonces[4:])
    refused(client, lambda: client.share(replace(openings, nonces=nonces)), OpeningRefused, "node-003")
    missing = replace(openings, nonces=openings.nonces[1:])
    refused(client, lambda: client.share(missing), OpeningRefused, "49 nonces")
    fewer = replace(openings, advertisements=openings.advertisements[:-1])
    refused(client, lambda: client.share(fewer), OpeningRefused, "neighbours of this graph")
    client.share(openings)


def test_neighbours_are_not_taken_from_the_server(
    refused: Refused, small_sparse: tuple[RoundParameters, ClientLimits], parties_for: PartiesFor, play_until: PlayUntil
) -> None:
    """Advertisements of other members than the graph's neighbours, all genuine, are refused."""
    parameters, limits = small_sparse
    server, clients = play_until(parameters, parties_for(parameters), Step.SHARE, limits=limits)
    mine, theirs = server.instruction_for(VICTIM), server.instruction_for(ClientId("node-025"))
    assert isinstance(mine, Openings)
    assert isinstance(theirs, Openings)
    own = next(ad for ad in mine.advertisements if ad.client == VICTIM)
    chosen = sorted([own, *(ad for ad in theirs.advertisements if ad.client != VICTIM)][:9], key=lambda ad: ad.client)
    refused(
        clients[VICTIM],
        lambda: clients[VICTIM].share(replace(mine, advertisements=tuple(chosen))),
        OpeningRefused,
        "neighbours of this graph",
    )


def test_false_dropouts_around_a_victim(
    refused: Refused, small_sparse: tuple[RoundParameters, ClientLimits], parties_for: PartiesFor, play_until: PlayUntil
) -> None:
    """The server, which knows the graph, declares members gone so that one survivor stands alone."""
    parameters, limits = small_sparse
    server, clients = play_until(parameters, parties_for(parameters), Step.CONFIRM, limits=limits)
    honest = server.instruction_for(VICTIM)
    assert isinstance(honest, Survivors)
    graph = server._progress.graph
    assert graph is not None
    client = clients[VICTIM]
    everyone = {MemberIndex(i) for i in range(50)}

    def list_of(members: set[MemberIndex]) -> Survivors:
        return replace(honest, survivors=to_bitmap(members, 50))

    assert graph.degree is not None
    around = set(graph.neighbours(MemberIndex(0))[: graph.degree + 2 - parameters.threshold])
    refused(client, lambda: client.confirm(list_of(everyone - around)), SurvivorsRefused, "surviving holders of")
    # Two short runs of the ring, far from the victim: with corrupted members beside them they cut it in two.
    ring, window = list(graph.ring), graph.degree // 2
    length = window - corrupted_in_window(50, parameters.corrupted, window)
    start = ring.index(MemberIndex(0)) + 2 * window
    runs = {ring[(start + half + offset) % 50] for half in (0, 25 - window) for offset in range(length)}
    refused(client, lambda: client.confirm(list_of(everyone - runs)), SurvivorsRefused, "may split the graph")
    client.confirm(honest)
