"""No secret shows in any representation or error, and none stays longer than it is needed."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping

from fedseal_crypto.encoding import RingVector
from fedseal_crypto.masking import (
    ClientId,
    MaskingClient,
    MaskingServer,
    Party,
    ProtocolViolation,
    RoundParameters,
    Step,
)
from fedseal_crypto.masking._client_memory import Advertised, Masked, Shared
from fedseal_crypto.secret import SecretBytes

ParametersFor = Callable[..., RoundParameters]
PartiesFor = Callable[..., dict[ClientId, Party]]
PlayUntil = Callable[..., tuple[MaskingServer, dict[ClientId, MaskingClient]]]


def secrets_in(value: object) -> Iterator[bytes]:
    """Every secret that an object holds, however deep."""
    if isinstance(value, SecretBytes):
        yield value.reveal()
    elif dataclasses.is_dataclass(value):
        for item in dataclasses.fields(value):
            yield from secrets_in(getattr(value, item.name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from secrets_in(item)
    elif hasattr(value, "secret"):
        yield from secrets_in(value.secret)


def spellings(secret: bytes) -> tuple[str, ...]:
    return secret.hex(), repr(secret)[2:-1], str(int.from_bytes(secret, "big")), str(list(secret))[1:-1]


def test_representations_show_no_secret(
    parameters_for: ParametersFor, parties_for: PartiesFor, play_until: PlayUntil
) -> None:
    parameters = parameters_for(4)
    parties = parties_for(parameters)
    for step in (Step.SHARE, Step.MASK, Step.CONFIRM, Step.UNMASK):
        server, clients = play_until(parameters, parties, step)
        for client in clients.values():
            found = list(secrets_in(client._memory))
            assert len(found) >= 3
            shown = repr(client) + repr(client._memory) + str(client._memory) + repr(server)
            for secret in found:
                assert not any(spelling in shown for spelling in spellings(secret))
        for name, party in parties.items():
            shown = repr(party)
            assert party.words.to_bytes().hex()[:32] not in shown
            assert "private" in shown, name


def test_secrets_are_forgotten_as_soon_as_possible(
    parameters_for: ParametersFor, parties_for: PartiesFor, play_until: PlayUntil
) -> None:
    parameters = parameters_for(4)
    parties = parties_for(parameters)
    name = parameters.roster[0]
    _, clients = play_until(parameters, parties, Step.SHARE)
    memory = clients[name]._memory
    assert isinstance(memory, Advertised)
    seed, private = memory.secrets.seed, memory.secrets.mask.secret
    channel = memory.secrets.channel.secret

    server, clients = play_until(parameters, parties, Step.MASK)
    shared = clients[name]._memory
    assert isinstance(shared, Shared)
    kept = set(secrets_in(shared))
    assert seed.reveal() in kept
    assert private.reveal() not in kept
    assert channel.reveal() not in kept

    _, clients = play_until(parameters, parties, Step.CONFIRM)
    masked = clients[name]._memory
    assert isinstance(masked, Masked)
    kept = set(secrets_in(masked))
    assert seed.reveal() not in kept
    assert kept.isdisjoint(set(secrets_in(shared.masks)))

    _, clients = play_until(parameters, parties, Step.DONE)
    assert clients[name]._memory is None
    assert server is not None


def test_errors_show_no_secret(parameters_for: ParametersFor, parties_for: PartiesFor, play_until: PlayUntil) -> None:
    parameters = parameters_for(4)
    parties = parties_for(parameters)
    server, clients = play_until(parameters, parties, Step.MASK)
    client = clients[parameters.roster[0]]
    found = list(secrets_in(client._memory))
    wrong = server.instruction_for(parameters.roster[1])
    assert wrong is not None
    try:
        client.answer(wrong, RingVector.zeros(parameters))
    except ProtocolViolation as error:
        said = str(error) + repr(error) + repr(error.violation)
    else:
        raise AssertionError("a delivery for another member was accepted")
    for secret in found:
        assert not any(spelling in said for spelling in spellings(secret))
