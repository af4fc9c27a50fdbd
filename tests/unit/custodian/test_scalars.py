"""Numbers about single contributions at the custodian: known values, and a hostile coordinator turned away."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from fedseal.protection import Judge
from fedseal.protection.scalars import OpenedScalars, ScalarTerm, ScalarTerms, read_scalars
from fedseal.rounds import RoundAddress
from fedseal.wire._generated import custody_pb2 as pb
from fedseal.wire.custody import address_to_wire
from fedseal_crypto.custody import SumRequest, beside_digest
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.homomorphic import EvaluationContext, Operation, PublicContext, encrypt_reals, operand_digest
from fedseal_crypto.masking import ClientId
from tests.unit.custodian.house import CUSTODIAN, House, job_file, play, world_of
from tests.unit.node.parties import NODES

NORM = 8.0
DIRECTION = np.ones(30) / np.sqrt(30.0)
SCREENING = b"""kind: training
method: {name: screening, rounds: 2, settings: {local_epochs: 1, clip: 1.0}}
learner: {name: logistic-regression, settings: {learning_rate: 0.1, batch_size: 32}}
target: ill
evaluation: {holdout: 0.3, seed: 1}"""


def screening_job() -> bytes:
    return job_file().replace(b"kind: statistics", SCREENING).replace(b"disclosure: SUM", b"disclosure: SCALARS")


@dataclass(slots=True)
class Collection:
    """What a coordinator holds of a round with scalars."""

    house: House
    job: str
    vectors: dict[ClientId, NDArray[np.float64]]
    terms: ScalarTerms
    request: SumRequest
    ciphertexts: list[bytes]
    scalars: bytes

    def ask(
        self,
        *,
        request: SumRequest | None = None,
        terms: ScalarTerms | None = None,
        ciphertexts: list[bytes] | None = None,
    ) -> None:
        request, terms = request or self.request, terms or self.terms
        parameters = request.parameters
        address = RoundAddress(Digest(self.job), parameters.stage, parameters.round, parameters.attempt)
        self.house.outbox.bundles[""] = self.scalars
        task = pb.OpenScalars(
            address=address_to_wire(address),
            request=request.encode(),
            member_certificates=[
                self.house.consortium.parties[name].identity_pem.decode() for name in parameters.roster
            ],
            revocation_list=self.house.consortium.crl(at=self.house.clock()),
            terms=terms.encode(),
            ciphertexts=ciphertexts or self.ciphertexts,
        )
        self.house.keeper.handle(pb.CustodianTask(open_scalars=task))

    def opened(self) -> list[OpenedScalars]:
        trust = self.house.me.trust
        judge = Judge(root=trust.root, revocations=trust.revocations, custodian=CUSTODIAN, now=self.house.clock())
        return [read_scalars(item, judge) for item in self.house.outbox.scalars[-1].statements]

    def refusal(self) -> str:
        assert self.house.outbox.scalars == []
        return self.house.outbox.declined[-1].sentence


Collecting = Callable[..., Collection]


@pytest.fixture
def collect(new_house: Callable[..., House]) -> Collecting:
    house = new_house()
    house.approve({"coordinator_may_learn: SUM": "coordinator_may_learn: SCALARS", "[fedavg]": "[fedavg, screening]"})
    job = house.offer(screening_job())
    assert house.outbox.declined == []
    secret = house.vault.scalar_secret(job)
    keys = secret.evaluation_keys()
    evaluation = EvaluationContext.from_bytes(keys, public=secret.public, digest=sha256_hex(keys))

    def collected(*, attempt: int = 0, names: str = "squared_norm") -> Collection:
        terms = terms_for(secret.public, first=names, rounds=2)
        world = world_of(house, job, stage="training", attempt=attempt)
        vectors = dict(world.values)
        bundles = {}
        for name, vector in vectors.items():
            bundles[name] = encrypt_reals(vector, plan=terms.plan, public=secret.public)
        beside = {
            name: beside_digest(terms.encode(), hashlib.sha256(bundle).digest()) for name, bundle in bundles.items()
        }
        round_ = play(house, world, beside=beside)
        parts = []
        for name in round_.survivors:
            parts.append(evaluation.squared_norm(bundles[name], terms.plan))
            parts.append(evaluation.inner_product_with_public(bundles[name], DIRECTION, terms.plan))
        data = b"".join(parts)
        request = round_.request(sum_digest=hashlib.sha256(data).digest())
        digests = [hashlib.sha256(bundles[name]).digest() for name in round_.survivors]
        return Collection(house, job, vectors, terms, request, digests, data)

    return collected


def terms_for(public: PublicContext, *, first: str, rounds: int, norm: float = NORM) -> ScalarTerms:
    unbound = ScalarTerms(
        key=public.key_digest,
        vector="update",
        length=30,
        largest=1.0,
        norm=norm,
        decryptions=rounds * len(NODES) * 2,
        scalars=(ScalarTerm(name=first, operation=Operation.SQUARED_NORM),),
    )
    direction = ScalarTerm(
        name="direction",
        operation=Operation.INNER_PRODUCT_WITH_PUBLIC,
        public=operand_digest(unbound.plan, DIRECTION).hex(),
        public_norm=1.0,
    )
    return unbound.model_copy(update={"scalars": (*unbound.scalars, direction)})


def test_the_numbers_are_those_of_the_vectors_within_their_stated_error(collect: Collecting) -> None:
    collection = collect()
    collection.ask()
    assert collection.house.outbox.declined == []
    for opened in collection.opened():
        vector = collection.vectors[ClientId(opened.node)]
        norm, direction = opened.values["squared_norm"], opened.values["direction"]
        assert norm is not None
        assert direction is not None
        assert abs(norm - vector @ vector) <= opened.errors["squared_norm"] < 1e-3
        assert abs(direction - vector @ DIRECTION) <= opened.errors["direction"] < 1e-3
    (entry,) = collection.house.entries("scalars.opened")
    assert entry.details["members"] == sorted(NODES)
    assert entry.details["numbers"] == 2 * len(NODES)


def test_the_same_request_gets_the_same_bytes_and_another_none(collect: Collecting) -> None:
    """Numbers under fresh noise could be averaged."""
    collection = collect()
    collection.ask()
    collection.house.start()
    collection.ask()
    first, second = collection.house.outbox.scalars
    assert first == second
    assert len(collection.house.entries("scalars.opened")) == 1
    collect(attempt=1).ask()
    assert "other numbers of this round were opened before" in collection.house.outbox.declined[-1].sentence
    assert len(collection.house.outbox.scalars) == 2


def another_vector(collection: Collection) -> None:
    """A public vector that singles out one coordinate, which no node agreed to."""
    one = np.eye(30)[0]
    digest = operand_digest(collection.terms.plan, one).hex()
    changed = collection.terms.scalars[1].model_copy(update={"public": digest})
    collection.ask(terms=collection.terms.model_copy(update={"scalars": (collection.terms.scalars[0], changed)}))


def another_ciphertext(collection: Collection) -> None:
    collection.ask(ciphertexts=[collection.ciphertexts[1], *collection.ciphertexts[1:]])


def less_noise(collection: Collection) -> None:
    collection.ask(terms=collection.terms.model_copy(update={"decryptions": 1}))


def other_scalars(collection: Collection) -> None:
    """The bytes that arrive are not those of the request."""
    collection.scalars = collection.scalars[:-1] + bytes([collection.scalars[-1] ^ 1])
    collection.ask()


def exchanged_scalars(collection: Collection) -> None:
    """One node's number in place of another's: its header says whose it is."""
    size = len(collection.scalars) // (2 * len(NODES))
    data = collection.scalars[2 * size : 4 * size] + collection.scalars[2 * size :]
    collection.scalars = data
    collection.ask(request=replace(collection.request, sum_digest=hashlib.sha256(data).digest()))


def too_few(collection: Collection) -> None:
    collection.ask(
        request=replace(collection.request, inputs=collection.request.inputs[:2]),
        ciphertexts=collection.ciphertexts[:2],
    )


@pytest.mark.parametrize(
    ("lie", "sentence"),
    [
        (another_vector, "did not agree to these numbers"),
        (another_ciphertext, "did not agree to these numbers"),
        (less_noise, "less noise"),
        (other_scalars, "other encrypted scalars than it asked for"),
        (exchanged_scalars, "another layout"),
        (too_few, "2 contributions"),
    ],
)
def test_a_hostile_coordinator_gets_no_number(
    collect: Collecting, lie: Callable[[Collection], None], sentence: str
) -> None:
    collection = collect()
    lie(collection)
    assert sentence in collection.refusal()
    assert collection.house.entries("scalars.opened") == []


def test_a_number_that_the_method_does_not_name_is_not_opened(collect: Collecting) -> None:
    collection = collect(names="weight")
    collection.ask()
    assert "does not disclose weight" in collection.refusal()


def test_a_sums_only_policy_of_the_custodian_refuses_the_job(new_house: Callable[..., House]) -> None:
    house = new_house()
    house.approve({"[fedavg]": "[fedavg, screening]"})
    house.offer(screening_job())
    assert "coordinator_may_learn" in house.outbox.declined[-1].sentence


def test_both_keys_are_destroyed_at_the_end(collect: Collecting) -> None:
    collection = collect()
    collection.house.end(collection.job)
    assert not list((collection.house.folder.path / "vault").iterdir())
