"""Masks inside the ciphertexts: coordinator and custodian together learn the sum and nothing else.

Real masking rounds are played; each member's masked vector is encrypted, and the sum comes from the ciphertexts.
The colluders then have the secret key and every ciphertext besides all that a masking coordinator ever sees.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest

from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.encoding import Layout, RingVector, SumInconsistent, VectorSpec
from fedseal_crypto.homomorphic import (
    Adder,
    SecretContext,
    SlotPlan,
    encrypt_vector,
    lift_masks,
    parameters_for_sums,
    plan_slots,
)
from fedseal_crypto.identity import IdentityKey
from fedseal_crypto.masking import (
    ClientId,
    ClientLimits,
    MaskedInput,
    MaskingClient,
    MaskingServer,
    RingSum,
    RoundParameters,
    Step,
    choose_parameters,
)

N = 5
ROSTER = tuple(ClientId(f"node-{i}") for i in range(N))
SPECS = (
    VectorSpec(name="update", length=5_000, bound=1.0, resolution=1 / 32_767),
    VectorSpec(name="weight", length=1, bound=2.0**50, resolution=1.0),
)
ORDER = list(Step)


@dataclass
class Round:
    """What a round left behind.

    Attributes:
        result: Of the masking protocol.
        masked: The masked vector of every member that made one.
        bundles: The same, encrypted.
    """

    result: RingSum | None = None
    masked: dict[ClientId, RingVector] = field(default_factory=dict)
    bundles: dict[ClientId, bytes] = field(default_factory=dict)


def planned() -> tuple[Layout, SlotPlan]:
    return plan_slots(SPECS, cohort=N, parameters=parameters_for_sums(N), masked=True)


def inputs(layout: Layout, seed: int) -> tuple[dict[ClientId, dict[str, np.ndarray]], dict[ClientId, RingVector]]:
    rng = np.random.default_rng(seed)
    values = {
        name: {"update": rng.integers(-32_767, 32_768, 5_000) / 32_767, "weight": np.array([float(2**50 - i)])}
        for i, name in enumerate(ROSTER)
    }
    return values, {name: layout.encode(value, generator=rng).words for name, value in values.items()}


def play(
    secret: SecretContext, words: Mapping[ClientId, RingVector], leaves: Mapping[ClientId, Step] | None = None
) -> Round:
    """One masking round, in which every masked vector is encrypted as well; the same masks each time."""
    layout, plan = planned()
    group = choose_parameters(N, corrupted_fraction=0.2, dropout_fraction=0.1)
    parameters = RoundParameters(
        federation="hearts",
        job_digest=sha256_hex(b"job"),
        stage="training",
        round=1,
        attempt=0,
        roster=ROSTER,
        minimum_cohort=3,
        corrupted=group.corrupted,
        threshold=group.threshold,
        neighbours=group.neighbours,
        layout_digest=layout.digest,
        words=layout.shape.runs,
        broadcast_digest=sha256_hex(b"broadcast"),
        plan_digest=sha256_hex(secret.public.key_digest.encode()),
    )
    identities = {name: IdentityKey.generate(np.random.default_rng(list(name.encode())).bytes) for name in ROSTER}
    members = {name: key.public for name, key in identities.items()}
    server = MaskingServer(parameters, members)
    clients = {
        name: MaskingClient(parameters, key, members, ClientLimits(), np.random.default_rng([7, *name.encode()]).bytes)
        for name, key in identities.items()
    }
    done = Round()
    while server.step not in {Step.DONE, Step.FAILED}:
        for name, client in clients.items():
            left = (leaves or {}).get(name)
            if name not in server.expected or (left and ORDER.index(left) <= ORDER.index(server.step)):
                continue
            instruction = server.instruction_for(name)
            answer = client.advertise() if instruction is None else client.answer(instruction, words[name])
            if isinstance(answer, MaskedInput):
                done.masked[name] = answer.words.copy()
                done.bundles[name] = encrypt_vector(answer.words, plan=plan, public=secret.public)
            server.receive(answer)
        server.close_step()
    done.result = server.result
    return done


def sum_through_ciphertexts(secret: SecretContext, done: Round) -> tuple[tuple[ClientId, ...], RingVector]:
    """What the coordinator computes from ciphertexts, the custodian's answer, and the masks of the survivors."""
    layout, plan = planned()
    assert done.result is not None
    adder = Adder(plan, secret.public)
    minus_masks = done.result.words.copy()
    for name in done.result.survivors:
        adder.add(done.bundles[name])
        minus_masks.segments[0][:] -= done.masked[name].segments[0]
    decrypted = secret.decrypt_sum(adder.to_bytes(), plan=plan, count=adder.addends)
    # Without the masks taken out the sum says nothing that decoding accepts.
    with pytest.raises(SumInconsistent):
        layout.decode(decrypted, count=adder.addends)
    return done.result.survivors, lift_masks(decrypted, minus_masks, plan)


@pytest.mark.parametrize(
    "leaves",
    [{}, {ROSTER[2]: Step.MASK}, {ROSTER[0]: Step.UNMASK}, {ROSTER[4]: Step.CONFIRM}],
    ids=["nobody leaves", "before masking", "before unmasking", "before confirming"],
)
def test_the_sum_is_right_with_and_without_dropouts(
    leaves: Mapping[ClientId, Step], keys: Mapping[str, SecretContext]
) -> None:
    layout, plan = planned()
    secret = keys[plan.parameters.name]
    values, words = inputs(layout, 1)
    survivors, total = sum_through_ciphertexts(secret, play(secret, words, leaves))
    assert len(survivors) == (4 if Step.MASK in leaves.values() else 5)
    sums = layout.decode(total, count=len(survivors))
    for spec in SPECS:
        assert np.abs(sums[spec.name] - sum(values[name][spec.name] for name in survivors)).max() < 1e-9


def test_colluders_see_masked_vectors_and_only_those(keys: Mapping[str, SecretContext]) -> None:
    """Secret key plus one member's ciphertext gives exactly what a masking coordinator sees of that member.

    So what masking's `test_solver` shows of that view holds for the colluders too: the unknown masks in it cancel in
    the whole sum and in no other combination of rows. The key adds nothing.
    """
    layout, plan = planned()
    secret = keys[plan.parameters.name]
    values, words = inputs(layout, 1)
    done = play(secret, words)
    for name, bundle in done.bundles.items():
        opened = secret.decrypt_sum(bundle, plan=plan, count=1)
        assert opened == plan.reduce(done.masked[name])
        with pytest.raises(SumInconsistent):
            layout.decode(opened, count=1)
        # Wide words are uniform modulo 2^64, narrow ones modulo 2^narrow_bits: no bit leans either way.
        narrow = opened.segments[0][plan.wide_words :]
        for bit in range(plan.narrow_bits):
            ones = int(np.count_nonzero((narrow >> np.uint64(bit)) & np.uint64(1)))
            assert abs(ones - narrow.size / 2) < 6 * np.sqrt(narrow.size / 4)
        assert (
            abs(np.corrcoef(narrow.astype(float), words[name].segments[0][plan.wide_words :].astype(float))[0, 1]) < 0.1
        )
    assert len(done.bundles) == len(values)


def test_any_other_input_explains_what_colluders_see(keys: Mapping[str, SecretContext]) -> None:
    """With the same masks, other inputs shift what the key opens by their difference, and by nothing else.

    A mask being uniform, every input of a member therefore explains its opened ciphertext equally well: x with
    mask m, or x' with mask m + x - x'.
    """
    layout, plan = planned()
    secret = keys[plan.parameters.name]
    (_, words), (_, others) = inputs(layout, 1), inputs(layout, 2)
    one, other = play(secret, words), play(secret, others)
    for name in ROSTER:
        opened = [secret.decrypt_sum(done.bundles[name], plan=plan, count=1) for done in (one, other)]
        shift = others[name].copy()
        shift.segments[0][:] -= words[name].segments[0]
        opened[0].add_in_place(shift)
        assert plan.reduce(opened[0]) == opened[1]
