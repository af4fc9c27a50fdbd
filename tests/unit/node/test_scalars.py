"""What a node makes of the numbers that were opened about it: a hostile coordinator or custodian is found out."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from fedseal.documents import read_job, sign_job
from fedseal.methods.judging import Scalar, ScalarsAsked
from fedseal.node.local_state import KeptVector
from fedseal.node.scalars import ScalarsWrong, ScalarWatch
from fedseal.node.sealed import KeyChecks, OwnScalars
from fedseal.protection.scalars import (
    OpenedScalars,
    ScalarRoll,
    ScalarTerm,
    ScalarTerms,
    sign_roll,
    sign_scalars,
    terms_digest,
)
from fedseal.rounds import RoundAddress
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.homomorphic import Operation, SecretContext, generate_keys, parameters_named
from fedseal_crypto.identity import PartyKind
from tests.unit.node.attempts import Coordinator
from tests.unit.node.papers import JobFile
from tests.unit.node.parties import NOW, SCIENTIST, Consortium
from tests.unit.node.site import Site, SiteMaker
from tests.unit.node.test_custodian_keys import CUSTODIAN

VECTOR = np.array([0.5, -0.25, 1.0])
PUBLIC = np.array([0.0, 1.0, 0.0])


@pytest.fixture(scope="module")
def secret() -> SecretContext:
    return generate_keys(parameters_named("ckks-8192-scalars"))


@dataclass(slots=True)
class Scene:
    """A node whose ciphertexts of one round have left."""

    site: Site
    job: str
    watch: ScalarWatch

    @property
    def honest(self) -> OpenedScalars:
        address, terms = self.watch.address, self.watch.scalars.terms
        return OpenedScalars(
            federation="hearts",
            job=address.job,
            stage=address.stage,
            round=address.round,
            attempt=address.attempt,
            node=self.site.name,
            request=sha256_hex(b"request"),
            key=terms.key,
            terms=terms_digest(terms),
            shape=terms.shape,
            ciphertext=self.watch.second,
            values={"squared_norm": 1.3125 + 1e-6, "direction": -0.25 - 1e-7},
            errors={term.name: terms.error(term) for term in terms.scalars},
            at=NOW.isoformat(),
        )

    def hand(self, opened: OpenedScalars, *, by: str = CUSTODIAN) -> bytes:
        party = self.site.consortium.parties[by]
        statement = sign_scalars(opened, key=party.key, certificate_pem=party.identity_pem)
        own = pb.OwnScalars(address=self.watch.address.to_wire(), statement=statement)
        self.site.agent.handle(pb.Instruction(own_scalars=own))
        return statement

    def end_round(self) -> None:
        end = pb.RoundEnd(address=self.watch.address.to_wire(), completed=True, survivors=[self.site.name])
        self.site.agent.handle(pb.Instruction(round_end=end))

    @property
    def outcome(self) -> str:
        row = self.site.me.ledger.known_job(self.job)
        assert row is not None
        return row.outcome


@pytest.fixture
def scene(sites: SiteMaker, consortium: Consortium, secret: SecretContext) -> Scene:
    for name in (CUSTODIAN, "another"):
        consortium.enrol(PartyKind.CUSTODIAN, name)
    site = sites.fresh(policy={"allowed: [masking]": "allowed: [homomorphic]"})
    site.welcome()
    text = JobFile().to_yaml().replace(b"protection: masking", b"protection: homomorphic\ncustodian: data-trust")
    person = consortium.parties[SCIENTIST]
    envelope = sign_job(text, key=person.key, certificate_pem=person.identity_pem)
    trust = site.me.trust
    signed = read_job(envelope, root=trust.root, revocations=trust.revocations, now=NOW)
    assert Coordinator(site, signed).offer().accepted
    job = str(signed.digest)
    asked = ScalarsAsked(
        vector="update",
        length=3,
        largest=1.0,
        norm=2.0,
        scalars=(
            Scalar(name="squared_norm", operation=Operation.SQUARED_NORM),
            Scalar(name="direction", operation=Operation.INNER_PRODUCT_WITH_PUBLIC, public=PUBLIC),
        ),
    )
    terms = ScalarTerms.decode(_terms(secret))
    scalars = OwnScalars(asked=asked, terms=terms, public=secret.public, vector=VECTOR)
    address = RoundAddress(Digest(job), "statistics", 0, 0)
    watch = ScalarWatch(address=address, scalars=scalars, second=sha256_hex(b"second"))
    site.agent._watch = watch
    return Scene(site, job, watch)


def _terms(secret: SecretContext) -> bytes:
    plan = {"type": "fedseal/scalar-terms/1", "key": str(secret.public.key_digest), "vector": "update", "length": 3}
    numbers = [
        {"name": "squared_norm", "operation": 2},
        {"name": "direction", "operation": 1, "public": "ab" * 32, "public_norm": 1.0},
    ]
    fields = {**plan, "largest": 1.0, "norm": 2.0, "decryptions": 100, "scalars": numbers}
    return ScalarTerms.model_validate(fields).encode()


def test_right_numbers_are_noted_and_the_job_goes_on(scene: Scene) -> None:
    statement = scene.hand(scene.honest)
    scene.end_round()
    (entry,) = scene.site.audit("scalars.compared")
    assert entry.details["statement"] == sha256_hex(statement)
    assert scene.outcome == ""


Change = Callable[[OpenedScalars], OpenedScalars]

LIES: dict[str, tuple[Change, str]] = {
    "another number": (
        lambda opened: opened.model_copy(update={"values": {**opened.values, "direction": 0.3}}),
        "the opened number direction is not that of this node's vector",
    ),
    "no number": (
        lambda opened: opened.model_copy(update={"values": dict.fromkeys(opened.values)}),
        "the opened number squared_norm is not that",
    ),
    "more numbers": (
        lambda opened: opened.model_copy(update={"values": {**opened.values, "third": 1.0}}),
        "other numbers were opened than this node agreed to",
    ),
    "another node's": (lambda opened: opened.model_copy(update={"node": "hungary"}), "about another node"),
    "another ciphertext": (
        lambda opened: opened.model_copy(update={"ciphertext": "cd" * 32}),
        "about another ciphertext",
    ),
    "other terms": (lambda opened: opened.model_copy(update={"terms": "cd" * 32}), "about another terms"),
}


@pytest.mark.parametrize("lie", LIES)
def test_wrong_numbers_end_the_job_for_this_node_with_the_evidence(scene: Scene, lie: str) -> None:
    change, sentence = LIES[lie]
    statement = scene.hand(change(scene.honest))
    (entry,) = scene.site.audit("scalars.wrong")
    assert sentence in str(entry.details["sentence"])
    assert "".join(entry.details["statement"]) == statement.hex()  # type: ignore[arg-type]  # a list of lines
    assert "takes no further part" in scene.outcome


def test_numbers_by_another_custodian_count_for_nothing(scene: Scene) -> None:
    scene.hand(scene.honest, by="another")
    (entry,) = scene.site.audit("scalars.wrong")
    assert "signed by custodian/another" in str(entry.details["sentence"])


def test_a_completed_round_without_a_word_ends_the_job_for_this_node(scene: Scene) -> None:
    scene.end_round()
    (entry,) = scene.site.audit("scalars.wrong")
    assert "nobody told this node" in str(entry.details["sentence"])
    assert "takes no further part" in scene.outcome


def test_a_number_within_its_error_is_right_and_one_beyond_is_not(scene: Scene) -> None:
    terms = scene.watch.scalars.terms
    error = terms.error(terms.scalars[1])
    fits = scene.honest.model_copy(update={"values": {"squared_norm": 1.3125, "direction": -0.25 + 0.9 * error}})
    party = scene.site.consortium.parties[CUSTODIAN]

    def check(opened: OpenedScalars) -> None:
        statement = sign_scalars(opened, key=party.key, certificate_pem=party.identity_pem)
        checks = KeyChecks(federation="hearts", trust=scene.site.me.trust, clock=scene.site.me.clock)
        scene.watch.check(statement, custodian=CUSTODIAN, name=scene.site.name, checks=checks)

    check(fits)
    with pytest.raises(ScalarsWrong):
        check(fits.model_copy(update={"values": {"squared_norm": 1.3125, "direction": -0.25 + 1.1 * error}}))


def test_a_product_is_compared_with_the_vector_of_the_round_before(scene: Scene) -> None:
    """It is what the node kept, and named by the ciphertext that it sent then; without one there is no product."""
    earlier = KeptVector(values=np.array([1.0, 1.0, 0.0]), ciphertext=bytes(32))
    own = scene.watch.scalars
    product = Scalar(name="direction", operation=Operation.INNER_PRODUCT)
    asked = replace(own.asked, scalars=(own.asked.scalars[0], product), keep=True)
    term = ScalarTerm(name="direction", operation=Operation.INNER_PRODUCT)
    terms = own.terms.model_copy(update={"scalars": (own.terms.scalars[0], term), "earlier": 3})
    party = scene.site.consortium.parties[CUSTODIAN]
    checks = KeyChecks(federation="hearts", trust=scene.site.me.trust, clock=scene.site.me.clock)

    def check(kept: KeptVector | None, **changed: object) -> None:
        watch = replace(scene.watch, scalars=replace(own, asked=asked, terms=terms, earlier=kept))
        scene.watch = watch
        opened = scene.honest.model_copy(update=changed)
        statement = sign_scalars(opened, key=party.key, certificate_pem=party.identity_pem)
        watch.check(statement, custodian=CUSTODIAN, name=scene.site.name, checks=checks)

    named = earlier.ciphertext.hex()
    check(earlier, earlier=named, values={"squared_norm": 1.3125, "direction": 0.25})
    check(None, values={"squared_norm": 1.3125})
    wrong: list[tuple[KeptVector | None, dict[str, object], str]] = [
        (earlier, {"earlier": named, "values": {"squared_norm": 1.3125, "direction": 1.3125}}, "direction is not that"),
        (earlier, {"earlier": named, "values": {"squared_norm": 1.3125}}, "other numbers were opened"),
        (earlier, {"earlier": "ab" * 32, "values": {"squared_norm": 1.3125, "direction": 0.25}}, "another earlier"),
        (None, {"earlier": named, "values": {"squared_norm": 1.3125, "direction": 0.25}}, "another earlier"),
        (None, {"values": {"squared_norm": 1.3125, "direction": 0.25}}, "other numbers were opened"),
    ]
    for kept, changed, sentence in wrong:
        with pytest.raises(ScalarsWrong, match=sentence):
            check(kept, **changed)
    assert scene.watch.kept.ciphertext.hex() == scene.watch.second


def test_the_custodians_word_that_nothing_was_opened(scene: Scene) -> None:
    """For a node whose ciphertext came too late; it counts for its own attempt only, and only by the custodian."""
    site, address = scene.site, scene.watch.address

    def told(*, by: str = CUSTODIAN, **changed: object) -> str:
        asked = replace(scene.watch.scalars.asked, keep=True)
        site.agent._watch = replace(scene.watch, scalars=replace(scene.watch.scalars, asked=asked))
        fields = {
            "federation": "hearts",
            "job": address.job,
            "stage": address.stage,
            "round": address.round,
            "attempt": address.attempt,
            "request": sha256_hex(b"request"),
            "absent": (site.name,),
        }
        party = site.consortium.parties[by]
        statement = ScalarRoll.model_validate({**fields, **changed})
        roll = sign_roll(statement, key=party.key, certificate_pem=party.identity_pem)
        site.agent.handle(pb.Instruction(own_scalars=pb.OwnScalars(address=address.to_wire(), roll=roll)))
        wrong = site.audit("scalars.wrong")
        return str(wrong[-1].details["sentence"]) if wrong else ""

    assert told() == ""
    scene.end_round()
    assert scene.outcome == ""
    (entry,) = site.audit("scalars.compared")
    assert entry.details["statement"]
    assert site.me.local_states.vector_of(scene.job, address.stage, address.round) is None
    assert site.me.local_states.settled(scene.job, address.stage, address.round)
    assert "numbers were opened about this node, and it was not told which" in told(absent=("hungary",))
    assert "takes no further part" in scene.outcome
    assert "of another attempt than this node's" in told(attempt=1)
    assert "of another job than this node's" in told(job="0" * 64)
    assert "signed by custodian/another" in told(by="another")
