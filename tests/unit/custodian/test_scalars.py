"""Numbers about single contributions at the custodian: known values, and a hostile coordinator turned away."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from fedseal.errors import PeerFault
from fedseal.protection import Judge
from fedseal.protection.scalars import OpenedScalars, ScalarTerm, ScalarTerms, read_scalars
from fedseal.rounds import RoundAddress
from fedseal.wire._generated import custody_pb2 as pb
from fedseal.wire.custody import address_to_wire
from fedseal_crypto.custody import SumRequest, beside_digest
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.homomorphic import EvaluationContext, Operation, PublicContext, encrypt_reals, operand_digest
from fedseal_crypto.homomorphic._frames import HEADER_BYTES
from fedseal_crypto.identity import PartyKind
from fedseal_crypto.masking import ClientId
from tests.unit.custodian.house import CUSTODIAN, House, digest_of, job_file, play, world_of
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
    bundles: dict[ClientId, bytes]
    earlier: list[bytes] = field(default_factory=list)

    def ask(
        self,
        *,
        request: SumRequest | None = None,
        terms: ScalarTerms | None = None,
        ciphertexts: list[bytes] | None = None,
        earlier: list[bytes] | None = None,
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
            earlier=earlier or self.earlier,
        )
        self.house.keeper.handle(pb.CustodianTask(open_scalars=task))

    def opened(self) -> list[OpenedScalars]:
        trust = self.house.me.trust
        judge = Judge(root=trust.root, revocations=trust.revocations, custodian=CUSTODIAN, now=self.house.clock())
        return [read_scalars(item, judge) for item in self.house.outbox.scalars[-1].statements]

    def refusal(self) -> str:
        assert self.house.outbox.scalars == []
        return self.house.outbox.declined[-1].sentence


@dataclass(slots=True)
class Second:
    """The second ciphertexts of a round, before their nodes commit to them."""

    terms: ScalarTerms
    bundles: dict[ClientId, bytes]
    earlier: dict[ClientId, bytes]
    before: Collection | None
    public: PublicContext

    def computed(self, name: ClientId, evaluation: EvaluationContext) -> bytes:
        """The encrypted numbers about one node."""
        own, plan = self.bundles[name], self.terms.plan
        norm = evaluation.squared_norm(own, plan)
        if self.before is None:
            return norm + evaluation.inner_product_with_public(own, DIRECTION, plan)
        other = self.before.bundles[name] if self.terms.shape == self.before.terms.shape else own
        return norm + (evaluation.inner_product(own, other, plan) if self.earlier[name] else b"")


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

    def collected(
        *,
        attempt: int = 0,
        names: str = "squared_norm",
        before: Collection | None = None,
        change: Callable[[Second], None] = lambda _second: None,
        norm: float = NORM,
        members: tuple[str, ...] = NODES,
    ) -> Collection:
        """A round; one with ``before`` is the next, with products in place of the inner product with a public one."""
        terms = terms_for(secret.public, first=names, rounds=2, norm=norm)
        everybody = tuple(ClientId(name) for name in members)
        index = int(before is not None)
        world = world_of(house, job, stage="training", attempt=attempt, round=index, names=everybody)
        if before is not None:
            terms = paired(terms)
            world.values = {name: vector[::-1] * 0.5 for name, vector in world.values.items()}
        second = Second(
            terms=terms,
            bundles={
                name: encrypt_reals(vector, plan=terms.plan, public=secret.public)
                for name, vector in world.values.items()
            },
            earlier={} if before is None else {name: digest_of(data) for name, data in before.bundles.items()},
            before=before,
            public=secret.public,
        )
        change(second)
        beside = {
            name: beside_digest(second.terms.encode(), digest_of(bundle), second.earlier.get(name, b""))
            for name, bundle in second.bundles.items()
        }
        round_ = play(house, world, beside=beside)
        data = b"".join(second.computed(name, evaluation) for name in round_.survivors)
        return Collection(
            house,
            job,
            dict(world.values),
            second.terms,
            round_.request(sum_digest=digest_of(data)),
            [digest_of(second.bundles[name]) for name in round_.survivors],
            data,
            second.bundles,
            [second.earlier[name] for name in round_.survivors] if before else [],
        )

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


def paired(terms: ScalarTerms) -> ScalarTerms:
    product = ScalarTerm(name="direction", operation=Operation.INNER_PRODUCT)
    return terms.model_copy(update={"scalars": (terms.scalars[0], product), "earlier": 0})


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
    collection.ask(request=replace(collection.request, sum_digest=digest_of(data)))


def too_few(collection: Collection) -> None:
    collection.ask(
        request=replace(collection.request, inputs=collection.request.inputs[:2]),
        ciphertexts=collection.ciphertexts[:2],
    )


def test_a_hostile_coordinator_gets_no_number(collect: Collecting) -> None:
    lies: dict[Callable[[Collection], None], str] = {
        another_vector: "did not agree to these numbers",
        another_ciphertext: "did not agree to these numbers",
        less_noise: "less noise",
        other_scalars: "other encrypted scalars than it asked for",
        exchanged_scalars: "another layout",
        too_few: "2 contributions",
    }
    for lie, sentence in lies.items():
        collection = collect()
        lie(collection)
        assert sentence in collection.refusal(), lie
    collect(names="weight").ask()
    assert "does not disclose weight" in collection.refusal()
    collection.house.consortium.enrol(PartyKind.NODE, "stranger")
    collect(members=tuple(sorted((*NODES, "stranger")))).ask()
    assert "stranger is not of the group that this round sums" in collection.refusal()
    assert collection.house.entries("scalars.opened") == []


def test_a_sums_only_policy_of_the_custodian_refuses_the_job(new_house: Callable[..., House]) -> None:
    house = new_house()
    house.approve({"[fedavg]": "[fedavg, screening]"})
    house.offer(screening_job())
    assert "coordinator_may_learn" in house.outbox.declined[-1].sentence


def test_both_keys_are_destroyed_at_the_end(collect: Collecting) -> None:
    collection = collect()
    collection.house.end(collection.job)
    assert not list((collection.house.folder.path / "vault").iterdir())


# -- products with the vector of the round before ----------------------------------------------------------


def test_products_are_those_of_both_vectors_within_their_stated_error(collect: Collecting) -> None:
    first = collect()
    first.ask()
    second = collect(before=first)
    second.ask()
    assert second.house.outbox.declined == []
    for opened in second.opened():
        name = ClientId(opened.node)
        product, true = opened.values["direction"], float(first.vectors[name] @ second.vectors[name])
        assert product is not None
        assert abs(product - true) <= opened.errors["direction"] < 1e-3
        assert abs(true) > 1e-2
        assert opened.earlier == digest_of(first.bundles[name]).hex()


def test_a_node_without_a_bounded_vector_of_the_round_before_has_no_product(collect: Collecting) -> None:
    """The noise would not cover a product with a vector that is longer than it may be."""
    long = ClientId(NODES[1])

    def too_long(second: Second) -> None:
        loose = replace(second.terms.plan, norm=8.0, largest=8.0)
        vector = np.zeros(30)
        vector[0] = 7.5
        body = encrypt_reals(vector, plan=loose, public=second.public)[HEADER_BYTES:]
        second.bundles[long] = second.bundles[long][:HEADER_BYTES] + body

    def without(second: Second) -> None:
        second.earlier[long] = b""

    first = collect(norm=5.0, change=too_long)
    first.ask()
    assert [opened.node for opened in first.opened() if None in opened.values.values()] == [long]
    collect(norm=5.0, before=first).ask()
    assert f"the product for {long} is asked with another vector" in first.house.outbox.declined[-1].sentence
    second = collect(norm=5.0, before=first, change=without)
    second.ask()
    opened = {item.node: item for item in second.opened()}
    assert opened[long].values.keys() == {"squared_norm"}
    assert opened[long].earlier is None
    assert opened[NODES[0]].values.keys() == {"squared_norm", "direction"}


def another_nodes(second: Second) -> None:
    """A node that conspires names another's ciphertext as its own of the round before."""
    one, other = list(second.earlier)[:2]
    second.earlier[one] = second.earlier[other]


def of_another_round(second: Second) -> None:
    second.earlier = {name: digest_of(b"of a round before that, or of another job") for name in second.earlier}


def withheld(second: Second) -> None:
    """A node that was in the round before does not let its two vectors be compared."""
    second.earlier[next(iter(second.earlier))] = b""


def one_and_the_same(second: Second) -> None:
    """A squared norm by another name."""
    assert second.before is not None
    second.bundles = dict(second.before.bundles)


def of_another_shape(second: Second) -> None:
    """The noise of the product would not cover the longer vectors of the round before."""
    second.terms = second.terms.model_copy(update={"norm": second.terms.norm * 0.9})
    for name in second.bundles:
        second.bundles[name] = encrypt_reals(np.full(30, 0.1), plan=second.terms.plan, public=second.public)


def of_the_same_round(second: Second) -> None:
    second.terms = second.terms.model_copy(update={"earlier": 1})


def test_no_product_with_another_vector_is_opened(collect: Collecting) -> None:
    first = collect()
    first.ask()
    lies: dict[Callable[[Second], None], str] = {
        another_nodes: "is asked with another vector than the one about which numbers were opened in the round before",
        of_another_round: "is asked with another vector",
        withheld: "is asked with another vector",
        one_and_the_same: "is asked of one and the same ciphertext",
        of_another_shape: "is asked with another vector",
        of_the_same_round: "products are with vectors of the round before, not of round 2",
    }
    for lie, sentence in lies.items():
        collect(before=first, change=lie).ask()
        assert sentence in first.house.outbox.declined[-1].sentence, lie
    true = collect(before=first)
    true.ask(earlier=[true.earlier[1], *true.earlier[1:]])
    assert "did not agree to these numbers" in first.house.outbox.declined[-1].sentence
    assert len(first.house.outbox.declined) == len(lies) + 1
    assert len(first.house.outbox.scalars) == 1
    true.ask()
    assert len(first.house.outbox.scalars) == 2


def test_terms_that_contradict_themselves_are_refused() -> None:
    norm = ScalarTerm(name="squared_norm", operation=Operation.SQUARED_NORM)
    product = ScalarTerm(name="response", operation=Operation.INNER_PRODUCT)
    common = {"key": "ab" * 32, "vector": "update", "length": 30, "largest": 1.0, "norm": 8.0, "decryptions": 1}
    right = ScalarTerms.model_validate({**common, "earlier": 0, "scalars": (norm, product)})
    assert ScalarTerms.decode(right.encode()) == right
    for wrong in ({"earlier": None}, {"scalars": (norm,)}, {"scalars": (product,)}):
        with pytest.raises(PeerFault, match="contradict themselves"):
            ScalarTerms.decode(right.model_copy(update=wrong).encode())
