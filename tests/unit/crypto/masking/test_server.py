"""The server: order, repetition, broken members, blame, replay, memory."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import pytest

from fedseal_crypto.encoding import RingShape, RingVector, WordRun
from fedseal_crypto.identity import IdentityKey
from fedseal_crypto.masking import (
    ClientId,
    ClientMessage,
    Confirmation,
    ConflictingMessage,
    EarlyMessage,
    InputRefused,
    KeyRefused,
    LateMessage,
    MaskedInput,
    MaskingClient,
    MaskingServer,
    Party,
    ProtocolViolation,
    Roster,
    RoundFailed,
    RoundParameters,
    SharesRefused,
    SignatureRefused,
    Step,
    SurvivorsRefused,
    UnknownMember,
)

ParametersFor = Callable[..., RoundParameters]
PartiesFor = Callable[..., dict[ClientId, Party]]
IdentityOf = Callable[[str], IdentityKey]
PlayUntil = Callable[..., tuple[MaskingServer, dict[ClientId, MaskingClient]]]
ClientsFor = Callable[..., dict[ClientId, MaskingClient]]
PlainSum = Callable[[RoundParameters, dict[ClientId, Party], tuple[ClientId, ...]], RingVector]

A, B, C = ClientId("node-000"), ClientId("node-001"), ClientId("node-002")


def refuses(server: MaskingServer, message: ClientMessage, error: type[ProtocolViolation], said: str) -> None:
    """The message is refused with `error`, and the server is exactly as before."""

    def state() -> object:
        total = None if server._total is None else server._total.to_bytes()
        return server._progress, total, server.missing(), server._gone, repr(server._received)

    before = state()
    with pytest.raises(error, match=said):
        server.receive(message)
    assert state() == before


def answers(
    server: MaskingServer, clients: dict[ClientId, MaskingClient], parties: dict[ClientId, Party]
) -> dict[ClientId, ClientMessage]:
    """What every expected member answers now, not yet received."""
    out: dict[ClientId, ClientMessage] = {}
    for name in sorted(server.expected):
        instruction = server.instruction_for(name)
        client = clients[name]
        out[name] = client.advertise() if instruction is None else client.answer(instruction, parties[name].words)
    return out


@pytest.mark.parametrize("step", [Step.ADVERTISE, Step.SHARE, Step.MASK, Step.CONFIRM, Step.UNMASK])
def test_counting_repeating_and_order(
    step: Step, parameters_for: ParametersFor, parties_for: PartiesFor, play_until: PlayUntil
) -> None:
    parameters = parameters_for(5)
    parties = parties_for(parameters)
    server, clients = play_until(parameters, parties, step)
    assert server.missing() == server.expected == frozenset(parameters.roster)
    assert not server.can_close()
    assert not server.all_in()
    given = answers(server, clients, parties)
    for place, (name, message) in enumerate(given.items()):
        assert server.can_close() == (place >= 4)
        assert server.instruction_for(name) == server.instruction_for(name)
        server.receive(message)
        received = repr(server)
        server.receive(message)  # a lost acknowledgement
        assert repr(server) == received
        assert name not in server.missing()
    assert server.all_in()
    server.close_step()
    for message in given.values():
        server.receive(message)  # an old duplicate is no news either
    if server.step is not Step.DONE:
        assert server.missing() == frozenset(parameters.roster)
    else:
        assert server.expected == frozenset()


def test_members_that_are_gone_are_not_waited_for(
    parameters_for: ParametersFor, parties_for: PartiesFor, play_until: PlayUntil
) -> None:
    parameters = parameters_for(5)
    parties = parties_for(parameters)
    server, clients = play_until(parameters, parties, Step.SHARE)
    given = answers(server, clients, parties)
    server.drop(A)
    for name in (B, C, ClientId("node-003"), ClientId("node-004")):
        assert not server.all_in()
        server.receive(given[name])
    assert server.all_in()
    assert server.can_close()
    assert server.missing() == {A}
    server.receive(given[A])  # it came back in time
    assert server.missing() == frozenset()
    server.drop(A)
    assert server.all_in()
    server.close_step()
    assert A in server.expected
    with pytest.raises(UnknownMember):
        server.drop(ClientId("node-zzz"))


def test_second_late_and_early_messages(
    parameters_for: ParametersFor, parties_for: PartiesFor, play_until: PlayUntil, clients_for: ClientsFor
) -> None:
    parameters = parameters_for(5)
    parties = parties_for(parameters)
    server, clients = play_until(parameters, parties, Step.SHARE)
    restarted = clients_for(parameters, seed="second life")[A].advertise()
    refuses(server, restarted, ConflictingMessage, "second, different message")
    given = answers(server, clients, parties)
    for name in (A, B, C, ClientId("node-003")):
        server.receive(given[name])
    server.close_step()
    refuses(server, given[ClientId("node-004")], LateMessage, "step share during step mask")
    masked = answers(server, clients, parties)
    future = Confirmation(client=A, context=masked[A].context, survivors=b"\x0f", signature=bytes(64))  # type: ignore[union-attr]  # a masked input
    refuses(server, future, EarlyMessage, "step confirm during step mask")
    stranger = replace(future, client=ClientId("node-zzz"))
    refuses(server, stranger, UnknownMember, "node-zzz")


def test_a_member_that_left_is_not_heard_again(
    parameters_for: ParametersFor, parties_for: PartiesFor, play_until: PlayUntil
) -> None:
    parameters = parameters_for(5)
    server, _ = play_until(parameters, parties_for(parameters, {0: Step.MASK}), Step.CONFIRM)
    assert server.instruction_for(A) is None
    confirmation = Confirmation(client=A, context=bytes(32), survivors=b"\x1e", signature=bytes(64))
    refuses(server, confirmation, UnknownMember, "left in an earlier step")


def test_late_input_never_touches_the_sum(
    parameters_for: ParametersFor, parties_for: PartiesFor, play_until: PlayUntil, plain_sum: PlainSum
) -> None:
    parameters = parameters_for(5)
    parties = parties_for(parameters)
    server, clients = play_until(parameters, parties, Step.MASK)
    late = answers(server, clients, parties)
    for name in parameters.roster[1:]:
        server.receive(late[name])
    server.close_step()
    refuses(server, late[A], LateMessage, "step mask during step confirm")
    for _ in range(2):
        for name, message in answers(server, clients, parties).items():
            assert name != A
            server.receive(message)
        refuses(server, late[A], LateMessage, "step mask")
        server.close_step()
    refuses(server, late[A], LateMessage, "step mask during step done")
    assert server.result.words == plain_sum(parameters, parties, parameters.roster[1:])


def test_advertisements_the_server_refuses(
    parameters_for: ParametersFor, identity_of: IdentityOf, clients_for: ClientsFor
) -> None:
    parameters = parameters_for(3)
    clients = clients_for(parameters)
    server = MaskingServer(parameters, {name: identity_of(name).public for name in parameters.roster})
    honest, other = clients[A].advertise(), clients[B].advertise()
    server.receive(other)
    refuses(server, replace(honest, signature=bytes(64)), SignatureRefused, "node-000")

    def signed(**changed: bytes) -> ClientMessage:
        message = replace(honest, **changed)  # type: ignore[arg-type]  # by name
        return replace(message, signature=identity_of(A).sign(message.signed()))

    refuses(server, signed(mask_key=bytes(32)), KeyRefused, "low order")
    refuses(server, signed(channel_key=honest.mask_key), KeyRefused, "for both uses")
    refuses(server, signed(mask_key=other.mask_key), KeyRefused, "advertised too")
    refuses(server, signed(graph_commitment=bytes(32)), ProtocolViolation, "a graph commitment")
    server.receive(honest)


def test_bundles_the_server_refuses(
    parameters_for: ParametersFor, parties_for: PartiesFor, play_until: PlayUntil, identity_of: IdentityOf
) -> None:
    parameters = parameters_for(4)
    parties = parties_for(parameters)
    server, clients = play_until(parameters, parties, Step.SHARE)
    roster = server.instruction_for(A)
    assert isinstance(roster, Roster)
    bundle = clients[A].share(roster)
    refuses(server, replace(bundle, signature=bytes(64)), SignatureRefused, "node-000")
    short = replace(bundle, shares=bundle.shares[1:])
    short = replace(short, signature=identity_of(A).sign(short.signed()))
    refuses(server, short, SharesRefused, "sealed shares for 2 members")
    server.receive(bundle)


def test_inputs_that_are_not_whole(
    parameters_for: ParametersFor, parties_for: PartiesFor, play_until: PlayUntil, identity_of: IdentityOf
) -> None:
    parameters = parameters_for(4)
    parties = parties_for(parameters)
    server, clients = play_until(parameters, parties, Step.MASK)
    given = answers(server, clients, parties)
    whole = given[A]
    assert isinstance(whole, MaskedInput)
    spoiled = bytearray(whole.words.to_bytes())
    spoiled[7] ^= 1
    refuses(
        server,
        whole.header.with_words(RingVector.from_bytes(parameters, spoiled)),
        InputRefused,
        "does not match its signed digest",
    )
    other_shape = RingShape(layout_digest=bytes(32), runs=(WordRun(bits=16, count=3),))
    refuses(server, whole.header.with_words(RingVector.zeros(other_shape)), InputRefused, "another layout")
    header = replace(whole.header, digest=bytes(32))
    refuses(server, header.with_words(whole.words), SignatureRefused, "node-000")
    theirs = given[B]
    assert isinstance(theirs, MaskedInput)
    stolen = replace(theirs.header, client=A)
    refuses(server, stolen.with_words(theirs.words), SignatureRefused, "node-000")
    server.receive(whole)
    refuses(server, stolen.with_words(theirs.words), ConflictingMessage, "node-000")


def test_confirmations_the_server_refuses(
    parameters_for: ParametersFor, parties_for: PartiesFor, play_until: PlayUntil, identity_of: IdentityOf
) -> None:
    parameters = parameters_for(4)
    server, _ = play_until(parameters, parties_for(parameters), Step.CONFIRM)
    context = server._progress.context
    other = Confirmation(client=A, context=context, survivors=b"\x07", signature=b"")
    other = replace(other, signature=identity_of(A).sign(other.signed()))
    refuses(server, other, SurvivorsRefused, "other survivors")
    refuses(server, replace(other, survivors=b"\x0f"), SignatureRefused, "node-000")


# --- restart and resources ----------------------------------------------------------------------------


def test_a_restarted_server_replays_to_the_same_state(
    parameters_for: ParametersFor, parties_for: PartiesFor, clients_for: ClientsFor, identity_of: IdentityOf
) -> None:
    """Killed after every single event: the replayed server asks the same and ends with the same sum."""
    parameters = parameters_for(5)
    parties = parties_for(parameters, {4: Step.MASK})
    members = {name: identity_of(name).public for name in parameters.roster}
    clients = clients_for(parameters)
    log: list[ClientMessage | None] = []  # None is a closing

    def replayed() -> MaskingServer:
        server = MaskingServer(parameters, members)
        for event in log:
            if event is None:
                server.close_step()
            else:
                server.receive(event)
        return server

    server = replayed()
    while server.step is not Step.DONE:
        for name in sorted(server.expected):
            if server.step is Step.MASK and parties[name].leaves_at:
                continue
            instruction = server.instruction_for(name)
            client = clients[name]
            answer = client.advertise() if instruction is None else client.answer(instruction, parties[name].words)
            server.receive(answer)
            log.append(answer)
            again = replayed()
            assert again.step == server.step
            assert again.missing() == server.missing()
            for other in parameters.roster:
                assert again.instruction_for(other) == server.instruction_for(other)
        server.close_step()
        log.append(None)
    assert replayed().result == server.result


def big_vector(size: int) -> RingShape:
    return RingShape(layout_digest=bytes(32), runs=(WordRun(bits=32, count=size // 4),))


def test_memory_does_not_grow_with_the_number_of_members(
    parameters_for: ParametersFor, parties_for: PartiesFor, play_until: PlayUntil
) -> None:
    size = 4 << 20
    shape = big_vector(size)
    parameters = parameters_for(12, layout_digest=shape.layout_digest, words=shape.runs)
    parties = parties_for(parameters)
    server, clients = play_until(parameters, parties, Step.MASK)
    given = answers(server, clients, parties)
    tracemalloc.start()
    try:
        for message in given.values():
            server.receive(message)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * size


def test_a_clients_peak_is_below_three_vectors(
    parameters_for: ParametersFor, parties_for: PartiesFor, play_until: PlayUntil
) -> None:
    size = 4 << 20
    shape = big_vector(size)
    parameters = parameters_for(12, layout_digest=shape.layout_digest, words=shape.runs)
    parties = parties_for(parameters)
    server, clients = play_until(parameters, parties, Step.MASK)
    delivery = server.instruction_for(A)
    assert delivery is not None
    tracemalloc.start()
    try:
        clients[A].answer(delivery, parties[A].words)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * size  # beside the words themselves


def test_threads_give_the_same_sum(
    parameters_for: ParametersFor, parties_for: PartiesFor, play_until: PlayUntil, plain_sum: PlainSum
) -> None:
    shape = big_vector(9 << 20)
    parameters = parameters_for(4, layout_digest=shape.layout_digest, words=shape.runs)
    parties = parties_for(parameters, {3: Step.MASK})
    server, clients = play_until(parameters, parties, Step.MASK)
    for name in parameters.roster[:3]:
        delivery = server.instruction_for(name)
        assert delivery is not None
        server.receive(clients[name].answer(delivery, parties[name].words, workers=2))
    server.close_step()
    for _ in range(2):
        for message in answers(server, clients, parties).values():
            server.receive(message)
        server.close_step(workers=2)
    assert server.result.words == plain_sum(parameters, parties, parameters.roster[:3])


def test_too_few_answers_name_the_step(
    parameters_for: ParametersFor, parties_for: PartiesFor, play_until: PlayUntil
) -> None:
    parameters = parameters_for(5)
    parties = parties_for(parameters)
    server, clients = play_until(parameters, parties, Step.CONFIRM)
    for name, message in answers(server, clients, parties).items():
        if name in {A, B, C}:
            server.receive(message)
    with pytest.raises(RoundFailed, match="step confirm ended with 3 answers; 4 are needed") as caught:
        server.close_step()
    assert (caught.value.step, caught.value.present, caught.value.needed) == ("confirm", 3, 4)
    assert server.step is Step.FAILED
