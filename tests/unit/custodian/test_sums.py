"""Which sums a custodian opens, and how a hostile coordinator is turned away."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fedseal.custodian.keeper import LATER
from fedseal.protection import Judge, read_sum_statement
from fedseal.rounds import RoundAddress
from fedseal_crypto.digests import Digest
from fedseal_crypto.encoding import RingVector, VectorSpec
from fedseal_crypto.identity import PartyKind
from tests.unit.crypto.custody.rounds import Collected, decoded
from tests.unit.custodian.house import CUSTODIAN, House, digest_of, job_file, play, world_of
from tests.unit.node.parties import NODES, SCIENTIST


@pytest.fixture
def job(house: House) -> str:
    return house.offer(job_file())


def refusal(house: House) -> str:
    assert house.outbox.sums == []
    return house.outbox.declined[-1].sentence


def test_a_sum_is_opened_signed_and_noted(house: House, job: str) -> None:
    world = world_of(house, job)
    collected = play(house, world)
    house.ask(collected.request())
    ((header, words),) = house.outbox.sums
    layout, _ = world.plan
    opened = RingVector.from_bytes(layout, bytearray(words))
    assert np.array_equal(decoded(world, collected, opened), world.total(world.names))
    trust = house.me.trust
    judge = Judge(root=trust.root, revocations=trust.revocations, custodian=CUSTODIAN, now=house.clock())
    stated = read_sum_statement(header.statement, judge)
    assert stated.request == header.request == collected.request().digest().hex()
    assert stated.opened == digest_of(words).hex()
    assert stated.count == len(NODES)
    (entry,) = house.entries("sum.opened")
    assert entry.details["members"] == sorted(NODES)
    assert entry.details["sum"] == collected.request().sum_digest.hex()
    assert entry.details["key"] == world.secret.public.key_digest
    assert entry.details["count"] == len(NODES)
    assert entry.details["opened"] == digest_of(words).hex()
    assert list((house.folder.path / "incoming").iterdir()) == []


def test_the_same_request_has_the_same_answer_and_another_has_none(house: House, job: str) -> None:
    collected = play(house, world_of(house, job))
    house.ask(collected.request())
    house.start()
    house.ask(collected.request())
    assert house.outbox.sums[1][1] == house.outbox.sums[0][1]
    assert [entry.details["time"] for entry in house.entries("sum.opened")] == [1, 2]
    again = play(house, world_of(house, job, attempt=1))
    house.ask(again.request())
    assert "another sum of this round was opened before (attempt 0)" in house.outbox.declined[0].sentence
    fewer = play(house, world_of(house, job), drops=world_of(house, job).names[:1])
    house.ask(fewer.request())
    assert "two could be subtracted from each other" in house.outbox.declined[1].sentence
    assert len(house.outbox.sums) == 2


def test_an_answer_is_repeated_only_so_often(new_house: Callable[..., House]) -> None:
    house = new_house(repeated_answers=2)
    house.approve()
    collected = play(house, world_of(house, house.offer(job_file())))
    for _ in range(3):
        house.ask(collected.request())
    assert len(house.outbox.sums) == 2
    assert "this sum was opened 2 times already" in house.outbox.declined[0].sentence


def test_sums_that_differ_by_few_members_are_not_both_opened(house: House) -> None:
    """Over one and the same broadcast, the difference of two sums is what those few contributed."""
    job = house.offer(job_file().replace(b"kind: statistics", _TRAINING))
    first = play(house, world_of(house, job, stage="training"))
    house.ask(first.request())
    same = world_of(house, job, stage="training", round=1)
    house.ask(play(house, same, drops=same.names[:1]).request())
    assert "differs from this one by 1 members" in house.outbox.declined[0].sentence
    other = world_of(house, job, stage="training", round=1, broadcast="second")
    house.ask(play(house, other, drops=other.names[:1]).request())
    assert len(house.outbox.sums) == 2


@pytest.mark.parametrize("scope", ["job", "dataset"])
def test_the_policy_says_which_sums_are_compared(new_house: Callable[..., House], scope: str) -> None:
    """A wider scope also compares sums over other models, or of other jobs over the same dataset."""
    house = new_house()
    history = f"minimum_cohort: 3, history: {{scope: {scope}, minimum_difference: 3}}"
    house.approve({"minimum_cohort: 3": history})
    job = house.offer(job_file().replace(b"kind: statistics", _TRAINING))
    house.ask(play(house, world_of(house, job, stage="training")).request())
    if scope == "dataset":
        job = house.offer(job_file(name="another").replace(b"kind: statistics", _TRAINING))
    later = world_of(house, job, stage="training", round=1, broadcast="second")
    house.ask(play(house, later, drops=later.names[:1]).request())
    assert "differs from this one by 1 members" in house.outbox.declined[0].sentence
    house.ask(play(house, later).request())
    assert len(house.outbox.sums) == 2


def test_limits_per_job_and_hour(new_house: Callable[..., House]) -> None:
    house = new_house(sums_per_hour=1, sums_per_job=2)
    house.approve()
    job = house.offer(job_file().replace(b"kind: statistics", _TRAINING))
    rounds = [world_of(house, job, stage="training", round=n, broadcast=str(n)) for n in range(3)]
    house.ask(play(house, rounds[0]).request())
    house.ask(play(house, rounds[1]).request())
    assert house.outbox.declined[0].code == LATER
    house.clock.forward(hours=1, seconds=1)
    house.ask(play(house, rounds[1]).request())
    house.clock.forward(hours=1, seconds=1)
    house.ask(play(house, rounds[2]).request())
    assert house.outbox.declined[1].code == "SumRefused"
    assert "2 sums of job" in house.outbox.declined[1].sentence
    assert len(house.outbox.sums) == 2


# -- a hostile coordinator ---------------------------------------------------------------------------------

Lie = Callable[[House, Collected], None]


def one_as_sum(house: House, collected: Collected) -> None:
    name = collected.survivors[0]
    digest = digest_of(collected.bundles[name])
    house.ask(collected.request(inputs=(collected.inputs[name],), sum_digest=digest))


def single_as_sum_digest(house: House, collected: Collected) -> None:
    """All statements are there, but the "sum" is one ciphertext."""
    house.ask(collected.request(sum_digest=digest_of(collected.bundles[collected.survivors[0]])))


def swapped_ciphertexts(house: House, collected: Collected) -> None:
    first, second = (str(name) for name in collected.survivors[:2])
    house.outbox.bundles[second] = house.outbox.bundles[first]
    house.ask(collected.request())


def cut_ciphertext(house: House, collected: Collected) -> None:
    name = str(collected.survivors[0])
    house.outbox.bundles[name] = house.outbox.bundles[name][:-1]
    house.ask(collected.request())


def other_round(house: House, collected: Collected) -> None:
    parameters = collected.world.parameters
    house.ask(collected.request(), address=RoundAddress(parameters.job_digest, "statistics", 0, 1))


def round_beyond_the_programme(house: House, collected: Collected) -> None:
    parameters = replace(collected.world.parameters, round=7)
    house.ask(collected.request(parameters=parameters))


def stage_of_no_programme(house: House, collected: Collected) -> None:
    house.ask(collected.request(parameters=replace(collected.world.parameters, stage="peeking")))


def other_vectors(house: House, collected: Collected) -> None:
    specs = (VectorSpec(name="update", length=29, bound=1.0, resolution=2.0**-15),)
    house.ask(collected.request(specs=specs))


def invented_member(house: House, collected: Collected) -> None:
    """A certificate of the federation, but a person's."""
    house.ask(collected.request(), certificates={NODES[0]: house.consortium.parties[SCIENTIST].identity_pem})


def revoked_member(house: House, collected: Collected) -> None:
    house.consortium.revoke(NODES[0])
    house.ask(collected.request())


def revoked_scientist(house: House, collected: Collected) -> None:
    house.consortium.revoke(SCIENTIST)
    house.ask(collected.request())


def ended_job(house: House, collected: Collected) -> None:
    request = collected.request()
    house.end(request.parameters.job_digest)
    house.ask(request)


def unknown_job(house: House, collected: Collected) -> None:
    house.ask(collected.request(parameters=replace(collected.world.parameters, job_digest=Digest("0" * 64))))


def newer_policy(house: House, collected: Collected) -> None:
    house.approve({"version: 1": "version: 2"})
    house.ask(collected.request())


LIES: dict[str, tuple[Lie, str]] = {
    "one-as-sum": (one_as_sum, "got 1 contributions; expected at least 4"),
    "single-as-sum-digest": (single_as_sum_digest, "coordinator's sum is not the sum of the 5 ciphertexts"),
    "swapped": (swapped_ciphertexts, "sent another ciphertext of cleveland than that node signed"),
    "cut": (cut_ciphertext, "sent another ciphertext of basel"),
    "other-round": (other_round, "the request is for the parameters of another round"),
    "beyond-programme": (round_beyond_the_programme, "is not part of the job's programme"),
    "no-stage": (stage_of_no_programme, "is not part of the job's programme"),
    "other-vectors": (other_vectors, "the vectors of the request are not those that the members signed"),
    "invented-member": (invented_member, "basel is not a node of this job with that certificate"),
    "revoked-member": (revoked_member, "revoked"),
    "revoked-scientist": (revoked_scientist, "revoked"),
    "ended": (ended_job, "or its key is destroyed"),
    "unknown-job": (unknown_job, "this custodian does not serve job 0000"),
    "newer-policy": (newer_policy, "another version of this custodian's policy has come into force"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_hostile_coordinator_gets_nothing_opened(house: House, job: str, lie: str) -> None:
    tell, said = LIES[lie]
    collected = play(house, world_of(house, job))
    tell(house, collected)
    assert said in refusal(house)
    assert house.entries("sum.opened") == []
    assert len(house.entries("sum.refused")) == 1
    assert list((house.folder.path / "incoming").iterdir()) == []


def test_a_welcome_by_somebody_else_is_ignored(house: House) -> None:
    house.welcome()
    house.consortium.enrol(PartyKind.NODE, "extra")
    house.welcome(by="extra")
    assert house.outbox.declined == []


_TRAINING = b"""kind: training
method: {name: fedavg, rounds: 5, settings: {local_epochs: 1, clip: 1.0}}
learner: {name: logistic-regression, settings: {learning_rate: 0.1, batch_size: 8}}
evaluation: {holdout: 0.3, seed: 1}
target: ill"""


def test_a_sum_with_members_of_another_group_stays_closed(
    house: House, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected = play(house, world_of(house, job))
    with monkeypatch.context() as patch:
        patch.setattr("fedseal.custodian.opening.asked_nodes", lambda *_: frozenset(NODES[:-1]))
        house.ask(collected.request())
        assert f"{NODES[-1]} is not of the group that this round sums" in refusal(house)
    house.ask(collected.request())
    assert len(house.outbox.sums) == 1
