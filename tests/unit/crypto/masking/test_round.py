"""Whole rounds: the sum is the plain ring sum for every dropout pattern, or the failure names its step."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedseal_crypto.encoding import Layout, RingVector, VectorSpec
from fedseal_crypto.masking import (
    ClientId,
    ClientLimits,
    ParametersInvalid,
    Party,
    RoundFailed,
    RoundParameters,
    Step,
    Transcript,
    run_round,
)

ParametersFor = Callable[..., RoundParameters]
PartiesFor = Callable[..., dict[ClientId, Party]]
PlainSum = Callable[[RoundParameters, dict[ClientId, Party], tuple[ClientId, ...]], RingVector]
Seeded = Callable[[object], Callable[[int], bytes]]

STEPS = (Step.ADVERTISE, Step.SHARE, Step.MASK, Step.CONFIRM, Step.UNMASK)


def expected_failure(parameters: RoundParameters, leaves: dict[int, Step]) -> Step | None:
    """The step that ends the round, from the rules and not from the code."""
    left = len(parameters.roster)
    gone = Counter(leaves.values())
    for step in STEPS:
        left -= gone[step]
        needed = parameters.threshold if step in {Step.CONFIRM, Step.UNMASK} else parameters.smallest_sum
        if left < needed:
            return step
    return None


@pytest.fixture(scope="session")
def check_round(parties_for: PartiesFor, plain_sum: PlainSum, seeded: Seeded) -> Callable[..., None]:
    def check(parameters: RoundParameters, leaves: dict[int, Step], limits: ClientLimits | None = None) -> None:
        parties = parties_for(parameters, leaves)
        failure = expected_failure(parameters, leaves)
        limits = limits or ClientLimits()
        if failure is not None:
            with pytest.raises(RoundFailed, match=f"step {failure} ended with") as caught:
                run_round(parameters, parties, limits=limits, entropy=seeded(0))
            assert caught.value.step == failure
            assert caught.value.present < caught.value.needed
            return
        result = run_round(parameters, parties, limits=limits, entropy=seeded(0))
        in_sum = tuple(
            name
            for index, name in enumerate(parameters.roster)
            if leaves.get(index) not in {Step.ADVERTISE, Step.SHARE, Step.MASK}
        )
        assert result.survivors == in_sum
        assert set(result.dropped) == set(parameters.roster) - set(in_sum)
        assert result.blamed == ()
        assert result.words == plain_sum(parameters, parties, in_sum)

    return check


@pytest.mark.parametrize("n", [3, 4, 5])
def test_every_number_leaving_at_every_step(
    n: int, parameters_for: ParametersFor, check_round: Callable[..., None]
) -> None:
    parameters = parameters_for(n)
    for shift, pattern in enumerate(combinations_with_replacement((None, *STEPS), n)):
        # Rotated, so that it is not always the first members that stay.
        leaves = {(index + shift) % n: step for index, step in enumerate(pattern) if step is not None}
        check_round(parameters, leaves)


@pytest.mark.parametrize("n", [6, 7, 8])
def test_every_number_leaving_around_the_masked_input(
    n: int, parameters_for: ParametersFor, check_round: Callable[..., None]
) -> None:
    parameters = parameters_for(n)
    spare = n - parameters.threshold + 1
    for shift, pattern in enumerate(combinations_with_replacement((None, Step.SHARE, Step.MASK, Step.UNMASK), spare)):
        leaves = {(index * 2 + shift) % n: step for index, step in enumerate(pattern) if step is not None}
        check_round(parameters, leaves)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), n=st.integers(6, 24))
def test_random_patterns(
    data: st.DataObject, n: int, parameters_for: ParametersFor, check_round: Callable[..., None]
) -> None:
    leaves = data.draw(st.dictionaries(st.integers(0, n - 1), st.sampled_from(STEPS), max_size=n // 2))
    check_round(parameters_for(n), leaves)


@pytest.mark.parametrize("n", [30, 100])
def test_many_members_with_a_third_leaving(
    n: int, parameters_for: ParametersFor, check_round: Callable[..., None]
) -> None:
    check_round(parameters_for(n), {index: STEPS[index % 5] for index in range(0, n, 3)})


@pytest.mark.parametrize("leaves_at", [None, *STEPS])
def test_a_sparse_graph(
    leaves_at: Step | None,
    small_sparse: tuple[RoundParameters, ClientLimits],
    check_round: Callable[..., None],
) -> None:
    parameters, limits = small_sparse
    assert parameters.neighbours is not None
    leaves = {} if leaves_at is None else dict.fromkeys(range(0, 50, 12), leaves_at)
    check_round(parameters, leaves, limits)


def test_a_real_sparse_graph(parameters_for: ParametersFor, check_round: Callable[..., None]) -> None:
    parameters = parameters_for(129)
    assert parameters.neighbours is not None
    check_round(parameters, {index: STEPS[index % 5] for index in range(0, 129, 13)})


def test_a_nonce_that_is_never_opened_ends_a_sparse_attempt(
    small_sparse: tuple[RoundParameters, ClientLimits], parties_for: PartiesFor, seeded: Seeded
) -> None:
    parameters, limits = small_sparse
    parties = parties_for(parameters, {7: Step.REVEAL})
    with pytest.raises(RoundFailed, match="step reveal ended with 49 answers; 50 are needed"):
        run_round(parameters, parties, limits=limits, entropy=seeded(0))


def test_rounds_are_functions_of_their_entropy(
    parameters_for: ParametersFor, parties_for: PartiesFor, seeded: Seeded
) -> None:
    parameters = parameters_for(5)
    transcripts = [Transcript(), Transcript(), Transcript()]
    for transcript, seed in zip(transcripts, (1, 1, 2), strict=True):
        parties = parties_for(parameters, {2: Step.MASK})
        run_round(parameters, parties, limits=ClientLimits(), entropy=seeded(seed), transcript=transcript)
    assert transcripts[0] == transcripts[1]
    assert transcripts[0].inputs.keys() == transcripts[2].inputs.keys()
    for name, raw in transcripts[0].inputs.items():
        assert raw != transcripts[2].inputs[name]


def test_encoded_values_come_back(parameters_for: ParametersFor, parties_for: PartiesFor, seeded: Seeded) -> None:
    layout = Layout.plan(
        [
            VectorSpec(name="update", length=50, bound=1.0, resolution=2**-16),
            VectorSpec(name="rows", length=1, bound=1e6, resolution=1),
            VectorSpec(name="clipped", length=1, bound=50, resolution=1),
        ],
        cohort=6,
    )
    parameters = parameters_for(6, layout_digest=layout.digest, words=layout.shape.runs)
    generator = np.random.default_rng(4)
    updates = generator.uniform(-1.2, 1.2, (6, 50))
    parties = {}
    for (name, party), update in zip(parties_for(parameters, {1: Step.MASK}).items(), updates, strict=True):
        values = {
            "update": update,
            "rows": np.array([300.0]),
            "clipped": np.array([np.count_nonzero(np.abs(update) > 1)]),
        }
        parties[name] = replace(party, words=layout.encode(values, generator=generator).words)
    result = run_round(parameters, parties, limits=ClientLimits(), entropy=seeded(0))
    sums = layout.decode(result.words, count=len(result.survivors))
    kept = np.delete(updates, 1, axis=0)
    assert sums["rows"][0] == 5 * 300
    assert sums["clipped"][0] == np.count_nonzero(np.abs(kept) > 1)
    assert np.abs(sums["update"] - np.clip(kept, -1, 1).sum(axis=0)).max() < 5 * 2**-16


def test_a_masked_vector_looks_uniform_whatever_the_input(
    parameters_for: ParametersFor, parties_for: PartiesFor, seeded: Seeded
) -> None:
    """Byte counts of what the server receives, for inputs of zeros: chi-squared within six deviations."""
    layout = Layout.plan([VectorSpec(name="v", length=200_000, bound=8, resolution=1)], cohort=3)
    parameters = parameters_for(3, layout_digest=layout.digest, words=layout.shape.runs)
    parties = {name: replace(party, words=RingVector.zeros(layout)) for name, party in parties_for(parameters).items()}
    transcript = Transcript()
    run_round(parameters, parties, limits=ClientLimits(), entropy=seeded(0), transcript=transcript)
    for raw in transcript.inputs.values():
        counts = np.bincount(np.frombuffer(raw, np.uint8), minlength=256)
        expected = len(raw) / 256
        chi_squared = float(((counts - expected) ** 2 / expected).sum())
        assert abs(chi_squared - 255) < 6 * np.sqrt(2 * 255)


def test_a_party_that_is_missing_is_our_own_mistake(
    parameters_for: ParametersFor, parties_for: PartiesFor, seeded: Seeded
) -> None:
    parameters = parameters_for(4)
    parties = parties_for(parameters)
    parties.pop(ClientId("node-002"))
    with pytest.raises(ParametersInvalid, match="'node-002' is in the roster but plays no part"):
        run_round(parameters, parties, limits=ClientLimits(), entropy=seeded(0))
