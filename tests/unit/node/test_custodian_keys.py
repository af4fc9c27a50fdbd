"""Which key a node encrypts under: the one that the job's own custodian signed for this job, and no other."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from fedseal.documents import SignedJob, read_job, sign_job
from fedseal.protection import JobKey, sign_key_statement
from fedseal_crypto.custody import Commitment, CommitmentList, Parcel, SealedClient
from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.encoding import RingVector
from fedseal_crypto.homomorphic import SecretContext, check_bundle, generate_keys, parameters_for_sums
from fedseal_crypto.identity import PartyKind
from fedseal_crypto.masking import ClientLimits
from tests.unit.node.attempts import Attempt, Coordinator, assert_refused
from tests.unit.node.papers import JobFile
from tests.unit.node.parties import NODES, NOW, SCIENTIST, Consortium
from tests.unit.node.site import Site, SiteMaker

CUSTODIAN = "data-trust"


@pytest.fixture(scope="module")
def secret() -> SecretContext:
    return generate_keys(parameters_for_sums(len(NODES)))


@dataclass(slots=True)
class Scene:
    """One node that accepted a job under a custodian's key, and the coordinator's side of its first round."""

    site: Site
    job: SignedJob
    secret: SecretContext
    attempt: Attempt

    @property
    def public(self) -> bytes:
        return self.secret.public.to_bytes()

    def statement(self, *, by: str = CUSTODIAN, **changed: str) -> bytes:
        fields = {
            "federation": "hearts",
            "job": str(self.job.digest),
            "protection": "homomorphic",
            "parameters": self.secret.public.parameters.name,
            "key": str(self.secret.public.key_digest),
            "file": str(sha256_hex(self.public)),
            "at": NOW.isoformat(),
        }
        party = self.site.consortium.parties[by]
        return sign_key_statement(
            JobKey.model_validate({**fields, **changed}), key=party.key, certificate_pem=party.identity_pem
        )

    def begin(self, *, statement: bytes | None = None, file: bytes | None = None, size: int | None = None) -> None:
        """The beginning of the round with some key; the file is what a download of it gives."""
        data = self.public if file is None else file
        digest = sha256_hex(self.public)
        self.site.outbox.artefacts[digest] = data
        self.attempt.begin(
            key_statement=self.statement() if statement is None else statement,
            key_digest=digest,
            key_size=len(data) if size is None else size,
        )


@pytest.fixture
def scene(sites: SiteMaker, consortium: Consortium, secret: SecretContext) -> Scene:
    consortium.enrol(PartyKind.CUSTODIAN, CUSTODIAN)
    consortium.enrol(PartyKind.CUSTODIAN, "another")
    site = sites.fresh(policy={"allowed: [masking]": "allowed: [homomorphic]"})
    site.welcome()
    text = JobFile().to_yaml().replace(b"protection: masking", b"protection: homomorphic\ncustodian: data-trust")
    person = consortium.parties[SCIENTIST]
    envelope = sign_job(text, key=person.key, certificate_pem=person.identity_pem)
    trust = site.me.trust
    job = read_job(envelope, root=trust.root, revocations=trust.revocations, now=NOW)
    coordinator = Coordinator(site, job)
    assert coordinator.offer().accepted
    coordinator.run.key = secret.public.key_digest
    return Scene(site, job, secret, coordinator.attempt())


def test_the_node_commits_and_sends_exactly_that_ciphertext(scene: Scene) -> None:
    scene.begin()
    (report,) = [item for item in scene.site.outbox.reports if item.WhichOneof("kind") == "message"]
    others = commitments_of_others(scene)
    own = Commitment.decode(report.message.payload)
    everyone = sorted([own, *others], key=lambda item: item.client)
    shown = CommitmentList(context0=scene.attempt.parameters.context0(), commitments=tuple(everyone))
    assert scene.site.outbox.vectors == [], "nothing is sent before the others are committed"
    scene.attempt.instruct(shown.encode())
    ((header, bundle),) = scene.site.outbox.vectors
    parcel = Parcel.decode(header.message)
    assert parcel.sealed.digest == own.digest == bytes.fromhex(sha256_hex(bundle))
    slots = scene.attempt.opened.slots
    assert slots is not None
    check_bundle(bundle, plan=slots, public=scene.secret.public)
    scene.attempt.instruct(shown.encode())
    assert scene.site.outbox.vectors[1] == scene.site.outbox.vectors[0], "asked again, it sends the same"
    (accepted,), (sealed,) = scene.site.audit("key.accepted"), scene.site.audit("round.sealed")
    assert accepted.details["key"] == sealed.details["key"] == scene.secret.public.key_digest
    assert sealed.details["committed"] == sorted(NODES)


def commitments_of_others(scene: Scene) -> list[Commitment]:
    """The other members' commitments to some ciphertext."""
    parties, roster = scene.site.consortium.parties, scene.attempt.parameters.roster
    members = {name: parties[name].member.public for name in roster}
    made = []
    for name in roster:
        if name != scene.site.name:
            key = bytes.fromhex(scene.secret.public.key_digest)
            client = SealedClient(scene.attempt.parameters, parties[name].key, members, ClientLimits(), key)
            layout = scene.attempt.opened.layout
            client.pad(RingVector.zeros(layout), bytes)
            made.append(client.commit(bytes.fromhex(sha256_hex(name.encode()))))
    return made


LIES: dict[str, tuple[Callable[[Scene], None], str, str]] = {
    "none": (lambda scene: scene.attempt.begin(), "PeerFault", "the coordinator offers none"),
    "another-custodian": (
        lambda scene: scene.begin(statement=scene.statement(by="another")),
        "PeerFault",
        "a statement of the custodian data-trust is signed by custodian/another",
    ),
    "a-node": (
        lambda scene: scene.begin(statement=scene.statement(by=NODES[0])),
        "PeerFault",
        "is signed by node/basel",
    ),
    "another-job": (
        lambda scene: scene.begin(statement=scene.statement(job="0" * 64)),
        "PeerFault",
        "is for another job than this job's",
    ),
    "weaker-parameters": (
        lambda scene: scene.begin(statement=scene.statement(parameters="toy")),
        "PeerFault",
        "is for another parameters than this job's",
    ),
    "another-key-than-in-the-plan": (
        lambda scene: scene.begin(statement=scene.statement(key="0" * 64)),
        "PeerFault",
        "the round's parameters name another plan digest",
    ),
    "another-file": (
        lambda scene: scene.begin(file=scene.public[:-1] + b"x"),
        "PeerFault",
        "another public key than data-trust signed",
    ),
    "huge": (
        lambda scene: scene.begin(size=1 << 40),
        "PeerFault",
        "a public key has at most",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_false_key_is_refused(scene: Scene, lie: str) -> None:
    tell, code, said = LIES[lie]
    assert_refused(scene.site, lambda: tell(scene), code=code, says=said)
    assert scene.site.audit("round.contributed") == []


def test_a_key_file_with_a_secret_in_it_is_refused(scene: Scene) -> None:
    data = b"FSHESEC\x01" + scene.public
    digest = sha256_hex(data)
    scene.site.outbox.artefacts[digest] = data

    def begin() -> None:
        statement = scene.statement(file=digest)
        scene.attempt.begin(key_statement=statement, key_digest=digest, key_size=len(data))

    assert_refused(scene.site, begin, code="SecretKeyPresent", says="secret key")


def test_the_first_key_stays(scene: Scene) -> None:
    """Another key for the same job, signed by the same custodian: the coordinator and it may not change their mind."""
    scene.begin()
    other = generate_keys(scene.secret.public.parameters)
    coordinator = scene.attempt.coordinator
    coordinator.run.key = other.public.key_digest
    second = Scene(scene.site, scene.job, other, coordinator.attempt(1))
    assert_refused(scene.site, second.begin, code="KeyConflict", says="a job keeps its key")
    assert len(scene.site.audit("key.accepted")) == 1
