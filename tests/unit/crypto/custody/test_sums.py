"""All parties honest: the sum comes out exactly, whoever leaves, and nobody alone sees more than uniform words."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from fedseal_crypto.custody import SealedServer, add_pad, check_request, open_sealed, pads_taken, run_sealed_round
from fedseal_crypto.encoding import RingVector, SumInconsistent
from fedseal_crypto.encoding._ring import Words
from fedseal_crypto.errors import CryptoError
from fedseal_crypto.homomorphic import lift_masks
from fedseal_crypto.masking import (
    ClientId,
    InputRefused,
    MaskingClient,
    ParametersInvalid,
    Party,
    RoundFailed,
    Step,
    Transcript,
)
from fedseal_crypto.masking._client_memory import Shared
from fedseal_crypto.masking._keystream import Mask, apply_masks
from fedseal_crypto.masking._shares import self_mask_key
from fedseal_crypto.secret import SecretBytes
from tests.unit.crypto.custody.rounds import (
    NAMES,
    SPECS,
    Collected,
    World,
    custodian_opens,
    decoded,
    entropy_of,
    play_hybrid,
    play_padded,
)


@pytest.mark.parametrize("drops", [(), NAMES[:1], NAMES[3:]], ids=["all", "without-the-first", "without-the-last-two"])
def test_padded_sum_is_exact_over_the_survivors(padded: World, drops: tuple[ClientId, ...]) -> None:
    if len(NAMES) - len(drops) < padded.parameters.smallest_sum:
        with pytest.raises(RoundFailed, match="step mask ended with 3 answers; 4 are needed"):
            play_padded(padded, drops=drops)
        return
    collected = play_padded(padded, drops=drops)
    opened = custodian_opens(padded, collected.request(), collected.bundles)
    survivors = [name for name in NAMES if name not in drops]
    assert list(collected.survivors) == survivors
    assert np.array_equal(decoded(padded, collected, opened), padded.total(survivors))


@pytest.mark.parametrize("drops", [(), NAMES[2:3]], ids=["all", "one-dropped"])
def test_hybrid_sum_is_exact_over_the_survivors(hybrid: World, drops: tuple[ClientId, ...]) -> None:
    collected = play_hybrid(hybrid, drops=drops)
    opened = custodian_opens(hybrid, collected.request(), collected.bundles)
    survivors = [name for name in NAMES if name not in drops]
    assert np.array_equal(decoded(hybrid, collected, opened), hybrid.total(survivors))


@pytest.mark.parametrize("masked", [False, True], ids=["homomorphic", "hybrid"])
def test_all_parties_in_one_process(masked: bool, padded: World, hybrid: World) -> None:
    """One member never appears, one leaves before its vector; four remain of six, and messages are on record."""
    base = hybrid if masked else padded
    names = (*NAMES, ClientId("node-5"))
    world = World(secret=base.secret, masked=masked, names=names)
    leaving = {names[1]: Step.ADVERTISE, names[4]: Step.MASK}
    parties = {
        name: Party(identity=key, words=world.words(name), leaves_at=leaving.get(name))
        for name, key in world.identities.items()
    }
    record = Transcript()
    result = run_sealed_round(
        world.parameters, parties, world.custody, entropy=entropy_of("round").bytes, transcript=record
    )
    survivors = tuple(name for name in names if name not in leaving)
    layout, plan = world.plan
    assert (result.survivors, set(result.dropped)) == (survivors, set(leaving))
    assert np.array_equal(layout.decode(result.words, count=4)["update"], world.total(survivors))
    assert {name: len(data) for name, data in record.inputs.items()} == dict.fromkeys(survivors, plan.bundle_bytes)
    assert {name for _, name, _ in record.up} == {*survivors, names[4]}
    with pytest.raises(ParametersInvalid, match="plays no part"):
        run_sealed_round(world.parameters, {}, world.custody, entropy=entropy_of("round").bytes)


def test_an_honest_custodian_opens_only_what_members_signed(padded: World) -> None:
    collected = play_padded(padded)
    request = collected.request()
    members = check_request(request, padded.expected, padded.members)
    swapped = {**collected.bundles, NAMES[0]: collected.bundles[NAMES[1]]}
    with pytest.raises(InputRefused, match="another ciphertext"):
        open_sealed(request, members, swapped, padded.secret)
    for changed, said in (({"sum_digest": bytes(32)}, "another sum"), ({"specs": SPECS * 2}, "is described twice")):
        with pytest.raises(CryptoError, match=said):
            open_sealed(collected.request(**changed), members, collected.bundles, padded.secret)
    other = (replace(SPECS[0], bound=2.0),)
    with pytest.raises(InputRefused, match="other vectors than members signed"):
        open_sealed(collected.request(specs=other), members, collected.bundles, padded.secret)


def test_a_sum_of_other_ciphertexts_is_caught_by_its_check_word(padded: World) -> None:
    collected = play_padded(padded)
    opened = custodian_opens(padded, collected.request(), collected.bundles)
    opened.segments[0][0] += np.uint64(1)
    with pytest.raises(SumInconsistent):
        decoded(padded, collected, opened)


def test_a_server_without_commitments_fails_for_good(padded: World) -> None:
    server = SealedServer(padded.parameters, padded.members, padded.key)
    with pytest.raises(RoundFailed, match="step advertise ended with 0 answers"):
        server.close_step()
    assert server.step is Step.FAILED


# -- who can see what ------------------------------------------------------------------------------------


def opened_alone(collected: Collected, name: ClientId) -> Words:
    """What whoever holds the secret key sees of one ciphertext."""
    world = collected.world
    _, plan = world.plan
    bundle = collected.bundles[name]
    return world.secret.decrypt_sum(bundle, plan=plan, count=1).segments[0].copy()


def bits_set(words: Words, bits: int) -> float:
    """The share of set bits; uniform words have a half of them."""
    narrow = words[1:]
    return float(np.mean([(narrow >> np.uint64(bit)) & np.uint64(1) for bit in range(bits)]))


@pytest.mark.parametrize("masked", [False, True], ids=["homomorphic", "hybrid"])
def test_the_custodian_alone_sees_uniform_words(masked: bool, padded: World, hybrid: World) -> None:
    """All members contribute zeros, which in the clear would be the same small words in every slot."""
    world = hybrid if masked else padded
    for name in NAMES:
        world.values[name] = np.zeros(30)
    collected = play_hybrid(world) if masked else play_padded(world)
    _, plan = world.plan
    seen = [opened_alone(collected, name) for name in NAMES]
    words = np.concatenate([item[1:] for item in seen])
    assert len(np.unique(words)) == len(words)
    assert abs(bits_set(np.concatenate(seen), plan.narrow_bits) - 0.5) < 0.06  # 15 words of 45 bits: 5 deviations
    clear = world.words(NAMES[0]).segments[0]
    assert not any(np.array_equal(item[1:], clear[1:]) for item in seen)


@pytest.mark.parametrize("corrupted", list(itertools.combinations(NAMES, 3)), ids=",".join)
def test_coordinator_custodian_and_three_members_together_see_no_summand_of_hybrid(
    hybrid: World, corrupted: tuple[ClientId, ...]
) -> None:
    """They open every ciphertext and take off every mask that they can know: all self masks, which unmasking
    reveals, and the pairwise masks of the corrupted members. With a threshold of four, three are t - 1."""
    assert hybrid.parameters.threshold == len(corrupted) + 1
    for name in NAMES:
        hybrid.values[name] = np.zeros(30)  # so that a contribution in the clear would be obvious
    memories: dict[ClientId, Shared] = {}

    def watch(name: ClientId, client: MaskingClient) -> None:
        memory = client._memory
        assert isinstance(memory, Shared)
        memories[name] = memory

    collected = play_hybrid(hybrid, watch=watch)
    _, plan = hybrid.plan
    left: list[RingVector] = []
    for name in sorted(set(NAMES) - set(corrupted)):
        opened = hybrid.secret.decrypt_sum(collected.bundles[name], plan=plan, count=1)
        memory = memories[name]
        me = memory.session.me
        known = [Mask(self_mask_key(memory.seed, memory.session.context, name), add=False)]
        for peer, key in memory.masks.items():
            if hybrid.names[peer] in corrupted:
                known.append(Mask(key, add=peer < me))
        apply_masks(opened, known)
        left.append(plan.reduce(opened))
    clear = hybrid.words(NAMES[0])
    for remainder in left:
        assert remainder != clear
        words = remainder.segments[0][1:]
        assert len(np.unique(words)) == len(words), "what is left is a keystream, not a contribution of zeros"
        assert abs(bits_set(remainder.segments[0], plan.narrow_bits) - 0.5) < 0.12
    both = left[0].copy()
    both.add_in_place(left[1])
    twice = clear.copy()
    twice.add_in_place(clear)
    assert plan.reduce(both) == twice, "the two honest members' sum is all that is known of them"


def test_coordinator_and_custodian_together_do_see_a_padded_contribution(padded: World) -> None:
    """The limit of `homomorphic`, as its statement says: the pad and the key together open a contribution."""
    collected = play_padded(padded)
    layout, plan = padded.plan
    name = NAMES[0]
    opened = padded.secret.decrypt_sum(collected.bundles[name], plan=plan, count=1)
    pad = [(name, SecretBytes(collected.pads[name]))]
    taken = pads_taken(RingVector.zeros(layout), pad, context0=padded.parameters.context0())
    assert np.array_equal(layout.decode(lift_masks(opened, taken, plan), count=1)["update"], padded.values[name])
    back = taken.copy()
    add_pad(back, pad[0][1], context0=padded.parameters.context0(), client=name)
    assert back == RingVector.zeros(layout)


def test_members_left_out_after_the_last_step_are_not_in_the_sum(padded: World) -> None:
    collected = play_padded(padded)
    server = collected.server
    assert server is not None
    server.leave_out(NAMES[1:2])
    server.leave_out(NAMES[1:2])
    left = [name for name in NAMES if name != NAMES[1]]
    assert list(server.result.survivors) == left
    fewer = replace(collected, survivors=server.result.survivors, words=server.result.words)
    opened = custodian_opens(padded, fewer.request(), collected.bundles)
    layout, plan = padded.plan
    values = layout.decode(lift_masks(opened, server.result.words, plan), count=len(left))["update"]
    assert np.array_equal(values, padded.total(left))


def test_too_many_left_out_give_no_sum(padded: World) -> None:
    server = play_padded(padded).server
    assert server is not None
    with pytest.raises(RoundFailed, match="3 contributions would remain in the sum; 4 are needed"):
        server.leave_out(NAMES[:2])
    assert len(server.result.survivors) == len(NAMES)
