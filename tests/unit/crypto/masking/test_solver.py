"""What a coordinator and t - 1 corrupted members can compute together: the sum over the others, nothing else.

Real rounds are played. The attacker then has every message that the server received, also the masked vectors
that came too late, and everything that the corrupted members held. From that it recovers every secret it can,
with the real code. What is left is linear: each masked vector of an honest member is its input plus masks, and a
mask of unknown key is a uniformly random unknown (AES as a pseudorandom generator). The test solves that system
over the integers modulo 2^64 and shows which combinations of inputs come out free of unknown masks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedseal_crypto.masking import (
    ClientId,
    MaskedInput,
    MaskingClient,
    MaskingServer,
    Party,
    RoundParameters,
    Step,
    Unmasking,
)
from fedseal_crypto.masking._client_memory import Advertised, Masked
from fedseal_crypto.masking._keys import KeyPair
from fedseal_crypto.masking._shares import matches_pairwise, self_mask_commitment
from fedseal_crypto.secret import SecretBytes
from fedseal_crypto.shamir import recover_secret

MODULUS = 2**64
Play = Callable[..., tuple[MaskingServer, dict[ClientId, MaskingClient]]]
Row = list[int]


@dataclass
class View:
    """Everything the attacker has.

    Attributes:
        inputs: Masked vectors of honest members, by index; only who sent one matters here.
        counted: Which of them are in the sum.
        seeds: Shares of self-mask seeds, by owner and evaluation point.
        keys: The same of mask keys.
        own: Secrets (seed, mask key) of corrupted members.
    """

    inputs: set[int]
    counted: set[int]
    seeds: dict[int, dict[int, bytes]]
    keys: dict[int, dict[int, bytes]]
    own: dict[int, tuple[bytes, bytes]]


def play(
    parameters: RoundParameters,
    parties: Mapping[ClientId, Party],
    corrupted: set[int],
    server: MaskingServer,
    clients: dict[ClientId, MaskingClient],
) -> View:
    """Play to the end or to failure, and collect the view."""
    roster = parameters.roster
    n = len(roster)
    view = View(set(), set(), {i: {} for i in range(n)}, {i: {} for i in range(n)}, {})
    order = list(Step)
    while server.step not in {Step.DONE, Step.FAILED}:
        for index, name in enumerate(roster):
            if name not in server.expected:
                continue
            left = parties[name].leaves_at
            gone = left is not None and order.index(left) <= order.index(server.step)
            # Who leaves at step mask does answer, but late: the attacker has the vector, the sum has not.
            if gone and not (left is Step.MASK and server.step is Step.MASK):
                continue
            client, instruction = clients[name], server.instruction_for(name)
            answer = client.advertise() if instruction is None else client.answer(instruction, parties[name].words)
            learn(view, index, client, corrupted=index in corrupted)
            if isinstance(answer, MaskedInput):
                view.inputs.add(index)
                if not gone:
                    view.counted.add(index)
            if isinstance(answer, Unmasking):
                for kind, known in ((answer.self_mask, view.seeds), (answer.pairwise, view.keys)):
                    for share in kind:
                        known[share.owner][index + 1] = share.share
            if not gone:
                server.receive(answer)
        if not server.can_close():
            break
        server.close_step()
    return view


def learn(view: View, index: int, client: MaskingClient, *, corrupted: bool) -> None:
    """A corrupted member gives away all it holds."""
    memory = client._memory
    if not corrupted:
        return
    if isinstance(memory, Advertised):
        view.own[index] = (memory.secrets.seed.reveal(), memory.secrets.mask.secret.reveal())
    if isinstance(memory, Masked):
        for owner, pair in memory.held.items():
            view.seeds[owner][index + 1] = pair.self_mask.reveal()
            view.keys[owner][index + 1] = pair.pairwise.reveal()


def recovered(shares: dict[int, dict[int, bytes]], threshold: int, matches: Callable[[int, bytes], bool]) -> set[int]:
    """Owners whose secret the attacker can compute; below the threshold the shares say nothing."""
    found = set()
    for owner, theirs in shares.items():
        if len(theirs) >= threshold:
            secret = recover_secret(dict(list(theirs.items())[:threshold]))
            assert matches(owner, secret)
            found.add(owner)
    return found


def free_combinations(rows: list[Row], unknowns: list[Row]) -> list[Row]:
    """Combinations of the rows, as combinations of inputs, in which every unknown cancels; modulo 2^64.

    Gaussian elimination with odd pivots only. They always suffice here: the matrix of masks is that of a graph
    with loops, which is totally unimodular, and the function would fail otherwise.
    """
    work = [(mask[:], combination[:]) for mask, combination in zip(unknowns, rows, strict=True)]
    width = len(unknowns[0]) if unknowns else 0
    done: list[tuple[Row, Row]] = []
    for column in range(width):
        pivot = next((row for row in work if row[0][column] % 2), None)
        if pivot is None:
            assert all(row[0][column] % MODULUS == 0 for row in work)
            continue
        work.remove(pivot)
        inverse = pow(pivot[0][column], -1, MODULUS)
        for mask, combination in work:
            factor = mask[column] * inverse % MODULUS
            for vector, other in ((mask, pivot[0]), (combination, pivot[1])):
                for i, value in enumerate(other):
                    vector[i] = (vector[i] - factor * value) % MODULUS
        done.append(pivot)
    return [combination for _, combination in work]


def learnt_combinations(
    parameters: RoundParameters, view: View, corrupted: set[int], server: MaskingServer, sharers: set[int]
) -> list[Row]:
    advertisements = server._progress.advertisements
    threshold = parameters.threshold

    def is_seed(owner: int, secret: bytes) -> bool:
        advertisement = advertisements[owner]  # type: ignore[index]  # a plain number is a member's
        commitment = self_mask_commitment(SecretBytes(secret), parameters.context0(), advertisement.client)
        return commitment == advertisement.commitment

    def is_key(owner: int, secret: bytes) -> bool:
        return matches_pairwise(secret, advertisements[owner].mask_key)  # type: ignore[index]  # as above

    seeds = recovered(view.seeds, threshold, is_seed) | view.own.keys()
    keys = recovered(view.keys, threshold, is_key) | view.own.keys()
    for index, (_, key) in view.own.items():
        assert KeyPair(SecretBytes(key)).public == advertisements[index].mask_key  # type: ignore[index]  # as above

    honest = sorted(view.inputs - corrupted)
    hidden_selves = [u for u in honest if u not in seeds]
    hidden_pairs = sorted(
        {(min(u, v), max(u, v)) for u in honest for v in sharers if u != v and u not in keys and v not in keys}
    )
    unknowns, rows = [], []
    for u in honest:
        row = [int(u == v) for v in hidden_selves]
        row += [(1 if u == low else -1 if u == high else 0) for low, high in hidden_pairs]
        unknowns.append(row)
        rows.append([int(u == v) for v in honest])
    return free_combinations(rows, unknowns)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), n=st.integers(3, 8))
def test_the_sum_is_found_and_nothing_else(
    data: st.DataObject,
    n: int,
    parameters_for: Callable[..., RoundParameters],
    parties_for: Callable[..., dict[ClientId, Party]],
    play_until: Play,
) -> None:
    parameters = parameters_for(n)
    threshold = parameters.threshold
    leaves = data.draw(
        st.dictionaries(
            st.integers(0, n - 1),
            st.sampled_from((Step.SHARE, Step.MASK, Step.CONFIRM, Step.UNMASK)),
            max_size=n - threshold,
        )
    )
    corrupted = set(data.draw(st.permutations(range(n)))[: threshold - 1])
    parties = parties_for(parameters, leaves)
    server, clients = play_until(parameters, parties, Step.ADVERTISE)
    view = play(parameters, parties, corrupted, server, clients)
    assert server.step is Step.DONE
    sharers = {i for i in range(n) if leaves.get(i) is not Step.SHARE}
    learnt = learnt_combinations(parameters, view, corrupted, server, sharers)
    honest = sorted(view.inputs - corrupted)
    the_sum = [int(u in view.counted) for u in honest]
    if not any(the_sum):
        assert learnt == []
        return
    # One combination: every honest input of the sum with the same coefficient, a unit; late ones with none.
    assert len(learnt) == 1
    factor = next(value for value in learnt[0] if value)
    assert factor % 2 == 1
    assert learnt[0] == [value * factor % MODULUS for value in the_sum]


@pytest.mark.parametrize("stop", [Step.CONFIRM, Step.UNMASK])
def test_before_anybody_unmasks_nothing_is_found(
    stop: Step,
    parameters_for: Callable[..., RoundParameters],
    parties_for: Callable[..., dict[ClientId, Party]],
    play_until: Play,
) -> None:
    parameters = parameters_for(6)
    corrupted = set(range(parameters.threshold - 1))
    parties = parties_for(parameters, dict.fromkeys(range(6), stop))
    server, clients = play_until(parameters, parties, Step.ADVERTISE)
    view = play(parameters, parties, corrupted, server, clients)
    assert len(view.inputs) == 6
    assert learnt_combinations(parameters, view, corrupted, server, set(range(6))) == []


def test_the_solver_would_notice_a_broken_protocol(
    parameters_for: Callable[..., RoundParameters],
    parties_for: Callable[..., dict[ClientId, Party]],
    play_until: Play,
) -> None:
    """With both kinds of shares of one member its input is found: what one kind for each member prevents."""
    parameters = parameters_for(6)
    parties = parties_for(parameters)
    server, clients = play_until(parameters, parties, Step.CONFIRM)
    shares = {i: client._memory.held for i, client in enumerate(clients.values()) if isinstance(client._memory, Masked)}
    view = View(set(range(6)), set(range(6)), {i: {} for i in range(6)}, {i: {} for i in range(6)}, {})
    for holder, held in shares.items():
        for owner, pair in held.items():
            view.seeds[owner][holder + 1] = pair.self_mask.reveal()
            if owner == 2:
                view.keys[owner][holder + 1] = pair.pairwise.reveal()
    learnt = learnt_combinations(parameters, view, set(), server, set(range(6)))
    assert len(learnt) == 2
    assert [0, 0, 1, 0, 0, 0] in learnt
