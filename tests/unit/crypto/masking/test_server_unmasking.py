"""The server's last step: shares of the wrong kind, wrong shares, and who is named for them."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from fedseal_crypto.encoding import RingVector
from fedseal_crypto.identity import IdentityKey
from fedseal_crypto.masking import (
    Blame,
    CallOutOfOrder,
    ClientId,
    Confirmations,
    MaskingClient,
    MaskingServer,
    Party,
    RevealedShare,
    RoundParameters,
    SecretUnrecoverable,
    SignatureRefused,
    Step,
    Unmasking,
    UnmaskingRefused,
)

ParametersFor = Callable[..., RoundParameters]
PartiesFor = Callable[..., dict[ClientId, Party]]
IdentityOf = Callable[[str], IdentityKey]
PlayUntil = Callable[..., tuple[MaskingServer, dict[ClientId, MaskingClient]]]
PlainSum = Callable[[RoundParameters, dict[ClientId, Party], tuple[ClientId, ...]], RingVector]

A, B = ClientId("node-000"), ClientId("node-001")


def resigned(message: Unmasking, identity_of: IdentityOf) -> Unmasking:
    return replace(message, signature=identity_of(message.client).sign(message.signed()))


def spoil(message: Unmasking, identity_of: IdentityOf) -> Unmasking:
    """Every share another one, properly signed."""

    def wrong(shares: tuple[RevealedShare, ...]) -> tuple[RevealedShare, ...]:
        return tuple(replace(share, share=b"\0" + hashlib.sha256(share.share).digest()) for share in shares)

    changed = replace(message, self_mask=wrong(message.self_mask), pairwise=wrong(message.pairwise))
    return resigned(changed, identity_of)


def unmaskings(server: MaskingServer, clients: dict[ClientId, MaskingClient]) -> list[Unmasking]:
    """What every expected member answers, not yet received."""
    out = []
    for name in sorted(server.expected):
        instruction = server.instruction_for(name)
        assert isinstance(instruction, Confirmations)
        out.append(clients[name].unmask(instruction))
    return out


def test_the_wrong_kind_of_share(
    parameters_for: ParametersFor, parties_for: PartiesFor, play_until: PlayUntil, identity_of: IdentityOf
) -> None:
    parameters = parameters_for(6)
    parties = parties_for(parameters, {5: Step.MASK})
    server, clients = play_until(parameters, parties, Step.UNMASK)
    honest = unmaskings(server, clients)[0]
    both = replace(honest, pairwise=(*honest.self_mask[:1], *honest.pairwise))
    swapped = replace(honest, self_mask=honest.pairwise, pairwise=honest.self_mask)
    missing = replace(honest, self_mask=honest.self_mask[1:])
    for changed in (both, swapped, missing):
        with pytest.raises(UnmaskingRefused, match="one share of each owner"):
            server.receive(resigned(changed, identity_of))
    with pytest.raises(SignatureRefused, match="node-000"):
        server.receive(replace(honest, signature=bytes(64)))
    assert A in server.missing()
    server.receive(honest)


@pytest.mark.parametrize("liars", [1, 2, 3])
def test_wrong_shares_are_named_and_do_no_harm(
    liars: int,
    parameters_for: ParametersFor,
    parties_for: PartiesFor,
    play_until: PlayUntil,
    identity_of: IdentityOf,
    plain_sum: PlainSum,
) -> None:
    parameters = parameters_for(10)  # threshold 7
    parties = parties_for(parameters)
    server, clients = play_until(parameters, parties, Step.UNMASK)
    for place, message in enumerate(unmaskings(server, clients)):
        server.receive(spoil(message, identity_of) if place < liars else message)
    server.close_step()
    assert server.result.words == plain_sum(parameters, parties, parameters.roster)
    # Once found out for the first owner they are asked last, so no other owner's shares are looked at. It is proof
    # while nine shares agree: a threshold of seven, and two corrupted members that might pretend to.
    assert server.result.blamed == tuple(
        Blame(holder=name, owner=A, proven=liars == 1) for name in parameters.roster[:liars]
    )


def test_wrong_shares_of_a_member_that_left(
    parameters_for: ParametersFor,
    parties_for: PartiesFor,
    play_until: PlayUntil,
    identity_of: IdentityOf,
    plain_sum: PlainSum,
) -> None:
    parameters = parameters_for(10)
    parties = parties_for(parameters, {0: Step.MASK})
    server, clients = play_until(parameters, parties, Step.UNMASK)
    for message in unmaskings(server, clients):
        server.receive(spoil(message, identity_of) if message.client == B else message)
    server.close_step()
    assert server.result.words == plain_sum(parameters, parties, parameters.roster[1:])
    assert server.result.blamed == (Blame(holder=B, owner=A, proven=False),)


def test_too_many_wrong_shares_fail_and_never_give_a_wrong_sum(
    parameters_for: ParametersFor, parties_for: PartiesFor, play_until: PlayUntil, identity_of: IdentityOf
) -> None:
    parameters = parameters_for(10)
    parties = parties_for(parameters)
    server, clients = play_until(parameters, parties, Step.UNMASK)
    for place, message in enumerate(unmaskings(server, clients)):
        server.receive(spoil(message, identity_of) if place < 4 else message)
    with pytest.raises(SecretUnrecoverable, match="node-000's secret") as caught:
        server.close_step()
    assert caught.value.owner == A
    assert server.step is Step.FAILED
    with pytest.raises(CallOutOfOrder, match="no sum in step failed"):
        _ = server.result
    with pytest.raises(CallOutOfOrder, match="is over"):
        server.close_step()
    assert server._total is None


def test_failing_for_good(parameters_for: ParametersFor, parties_for: PartiesFor, play_until: PlayUntil) -> None:
    parameters = parameters_for(4)
    server, _ = play_until(parameters, parties_for(parameters), Step.MASK)
    server.fail()
    assert server.step is Step.FAILED
    assert server.expected == frozenset()
    assert server.instruction_for(A) is None
    assert not server.can_close()
    with pytest.raises(CallOutOfOrder):
        server.fail()
