"""The transition tables, and that the objects follow exactly them; the public names."""

from collections.abc import Callable, Mapping
from enum import StrEnum

import pytest

from fedseal_crypto import encoding, masking
from fedseal_crypto.masking import (
    CLIENT_TRANSITIONS,
    SERVER_TRANSITIONS,
    SPARSE_CLIENT_TRANSITIONS,
    SPARSE_SERVER_TRANSITIONS,
    AlreadyAnswered,
    CallOutOfOrder,
    ClientEvent,
    ClientId,
    ClientState,
    Confirmations,
    MaskingClient,
    MaskingServer,
    Party,
    Roster,
    RosterDigests,
    RoundParameters,
    ServerEvent,
    ShareDelivery,
    Step,
    Survivors,
)

TABLES: list[tuple[Mapping[StrEnum, Mapping[StrEnum, StrEnum]], StrEnum, set[StrEnum], set[StrEnum]]] = [
    (
        CLIENT_TRANSITIONS,  # type: ignore[list-item]  # read as a table of any states
        ClientState.READY,
        {ClientState.UNMASKED, ClientState.ABANDONED},
        {ClientState.REVEALED},
    ),
    (SPARSE_CLIENT_TRANSITIONS, ClientState.READY, {ClientState.UNMASKED, ClientState.ABANDONED}, set()),  # type: ignore[list-item]  # as above
    (SERVER_TRANSITIONS, Step.ADVERTISE, {Step.DONE, Step.FAILED}, {Step.REVEAL}),  # type: ignore[list-item]  # as above
    (SPARSE_SERVER_TRANSITIONS, Step.ADVERTISE, {Step.DONE, Step.FAILED}, set()),  # type: ignore[list-item]  # as above
]


@pytest.mark.parametrize(("table", "first", "last", "unused"), TABLES)
def test_tables_go_strictly_forward(
    table: Mapping[StrEnum, Mapping[StrEnum, StrEnum]], first: StrEnum, last: set[StrEnum], unused: set[StrEnum]
) -> None:
    order = list(type(first))
    reached = {first}
    for state in order:
        if state not in reached:
            continue
        for target in table[state].values():
            assert order.index(target) > order.index(state)
            reached.add(target)
    assert reached == set(order) - unused
    assert {state for state in reached if not table[state]} == last


def client_calls(client: MaskingClient) -> dict[ClientEvent, Callable[[], object]]:
    context = bytes(32)
    return {
        ClientEvent.ADVERTISE: client.advertise,
        ClientEvent.REVEAL: lambda: client.reveal(RosterDigests(context0=context, entries=())),
        ClientEvent.SHARE: lambda: client.share(Roster(context0=context, advertisements=())),
        ClientEvent.MASK: lambda: client.mask(
            ShareDelivery(context=context, receiver=client.name, shares=()),
            encoding.RingVector.zeros(client.parameters),
        ),
        ClientEvent.CONFIRM: lambda: client.confirm(Survivors(context=context, survivors=b"")),
        ClientEvent.UNMASK: lambda: client.unmask(Confirmations(context=context, confirmations=())),
        ClientEvent.ABANDON: client.abandon,
    }


@pytest.mark.parametrize("state", list(ClientState))
def test_what_the_table_does_not_allow_raises_and_changes_nothing(
    state: ClientState,
    parameters_for: Callable[..., RoundParameters],
    parties_for: Callable[..., dict[ClientId, Party]],
    play_until: Callable[..., tuple[MaskingServer, dict[ClientId, MaskingClient]]],
    clients_for: Callable[..., dict[ClientId, MaskingClient]],
) -> None:
    parameters = parameters_for(4)
    parties = parties_for(parameters)
    steps = {
        ClientState.ADVERTISED: Step.SHARE,
        ClientState.SHARED: Step.MASK,
        ClientState.MASKED: Step.CONFIRM,
        ClientState.CONFIRMED: Step.UNMASK,
        ClientState.UNMASKED: Step.DONE,
    }
    if state is ClientState.REVEALED:
        pytest.skip("not a state of the complete graph")
    name = parameters.roster[0]
    client = (
        clients_for(parameters)[name] if state not in steps else play_until(parameters, parties, steps[state])[1][name]
    )
    if state is ClientState.ABANDONED:
        client.abandon()
    assert client.state is state
    for event, call in client_calls(client).items():
        if event in CLIENT_TRANSITIONS[state]:
            continue
        before = client._memory
        with pytest.raises((AlreadyAnswered, CallOutOfOrder)):
            call()
        assert client.state is state
        assert client._memory is before


def test_events_are_all_used() -> None:
    assert {event for row in SPARSE_CLIENT_TRANSITIONS.values() for event in row} == set(ClientEvent)
    assert {event for row in SERVER_TRANSITIONS.values() for event in row} == set(ServerEvent)


@pytest.mark.parametrize("package", [encoding, masking])
def test_public_names_are_listed_sorted_and_exist(package: object) -> None:
    listed = package.__all__  # type: ignore[attr-defined]  # both packages have it
    public = {name for name, value in vars(package).items() if not name.startswith("_") and not is_module(value)}
    assert public == set(listed)
    assert len(set(listed)) == len(listed)


def is_module(value: object) -> bool:
    return type(value).__name__ == "module"
