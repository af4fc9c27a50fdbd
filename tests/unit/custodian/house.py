"""One real custodian without a network: its folder, database, policy, vault and keeper, and what leaves it."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fedseal.custodian.config import CustodianSettings
from fedseal.custodian.keeper import CustodianSelf, Keeper
from fedseal.custodian.ledger import CustodianLedger
from fedseal.custodian.vault import Lock, Vault
from fedseal.documents import sign_job
from fedseal.folders import PartyFolder
from fedseal.local import LocalParty
from fedseal.rounds import RoundAddress
from fedseal.trust import Trust
from fedseal.wire._generated import custody_pb2 as pb
from fedseal.wire.custody import address_to_wire
from fedseal_crypto.custody import SumRequest
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.dsse import sign_document
from fedseal_crypto.homomorphic import KeyFile
from fedseal_crypto.identity import IdentityKey
from fedseal_crypto.masking import ClientId, RoundParameters
from fedseal_crypto.secret import SecretBytes
from fedseal_governance.acts import Act
from fedseal_governance.audit import Entry
from fedseal_governance.policy import Owner, approve, propose
from fedseal_governance.policy.store import POLICY_TYPE
from fedseal_governance.trust import Trust as DocumentTrust
from fedseal_governance.vocabulary import PolicyLevel
from fedseal_migrations import upgrade
from tests.unit.crypto.custody.rounds import Collected, World, play_padded
from tests.unit.node.papers import JobFile, policy_with
from tests.unit.node.parties import COORDINATOR, NODES, OFFICERS, ORGANISATION, SCIENTIST, Consortium, SettableClock
from tests.unit.node.site import open_quickly

CUSTODIAN = "data-trust"
LOCK = KeyFile(SecretBytes(bytes(range(32))))


def job_file(protection: str = "homomorphic", *, custodian: str = CUSTODIAN, name: str = "small") -> bytes:
    chosen = f"protection: {protection}\ncustodian: {custodian}".encode()
    return JobFile(name=name).to_yaml().replace(b"protection: masking", chosen)


@dataclass(slots=True)
class Outbox:
    """What leaves the custodian; ``bundles`` is what a fetch gives, and a hostile coordinator stores lies there."""

    declined: list[pb.Declination] = field(default_factory=list)
    keys: list[tuple[pb.KeyHeader, bytes]] = field(default_factory=list)
    sums: list[tuple[pb.SumHeader, bytes]] = field(default_factory=list)
    scalars: list[pb.ScalarDelivery] = field(default_factory=list)
    bundles: dict[str, bytes] = field(default_factory=dict)

    def decline(self, declination: pb.Declination) -> None:
        self.declined.append(declination)

    def publish_key(self, header: pb.KeyHeader, pieces: Callable[[], Iterator[bytes]]) -> None:
        self.keys.append((header, b"".join(pieces())))

    def fetch_ciphertext(self, address: RoundAddress, member: str, *, size: int, target: Path) -> None:
        assert address.job
        assert size > 0
        target.write_bytes(self.bundles[member])

    def deliver_sum(self, header: pb.SumHeader, pieces: Callable[[], Iterator[bytes]]) -> None:
        self.sums.append((header, b"".join(pieces())))

    def deliver_scalars(self, delivery: pb.ScalarDelivery) -> None:
        self.scalars.append(delivery)


class House:
    """A custodian as its process builds it."""

    def __init__(
        self, folder: PartyFolder, clock: SettableClock, consortium: Consortium, *, settings: CustodianSettings
    ) -> None:
        self.folder, self.clock, self.consortium, self.settings = folder, clock, consortium, settings
        self.outbox = Outbox()
        self.database = open_quickly(folder.database_url)
        upgrade(self.database.engine)
        self.start()

    def start(self, lock: Lock = LOCK) -> None:
        """A new process: nothing in memory, everything on disk."""
        trust = Trust(self.folder, clock=self.clock)
        member = self.folder.verify(self.clock())
        workspace = self.folder.path / "incoming"
        workspace.mkdir(exist_ok=True)
        self.vault = Vault(self.folder.path / "vault", lock)
        self.me = CustodianSelf(
            name=str(member.name),
            federation=str(member.federation),
            key=self.folder.identity_key(),
            certificate=self.folder.identity_certificate(),
            trust=trust,
            ledger=CustodianLedger(
                self.database, member=member, key=self.folder.identity_key(), trust=trust, settings=self.settings
            ),
            vault=self.vault,
            settings=self.settings,
            workspace=workspace,
            clock=self.clock,
        )
        self.keeper = Keeper(self.me, self.outbox)

    @property
    def party(self) -> LocalParty:
        return LocalParty(folder=self.folder, database=self.database)

    def approve(self, replacements: Mapping[str, str] | None = None) -> None:
        """Have the policy with some of its text replaced approved by both officers."""
        changed = {"allowed: [masking]": "allowed: [homomorphic, hybrid]", **(replacements or {})}
        content = policy_with(changed)
        trust = DocumentTrust(root=self.me.trust.root, revocations=self.me.trust.revocations)

        def work(act: Act) -> None:
            owner = Owner(level=PolicyLevel.NODE, name=ORGANISATION)
            proposer = self.consortium.parties[OFFICERS[0]].member
            stored = propose(act, content, filename="policy.yaml", owner=owner, proposer=proposer)
            for officer in OFFICERS:
                person = self.consortium.parties[officer]
                signature = sign_document(POLICY_TYPE, content, key=person.key, certificate_pem=person.identity_pem)
                approve(act, stored.digest, signature, trust)

        log = self.party.log()
        self.database.run(
            "policy.approve",
            lambda session: work(Act(session=session, journal=log, actor="person/clerk", now=self.clock())),
        )

    def offer(self, data: bytes, *, by: str = SCIENTIST) -> str:
        """The coordinator offers a signed job; its digest."""
        person = self.consortium.parties[by]
        envelope = sign_job(data, key=person.key, certificate_pem=person.identity_pem)
        self.keeper.handle(pb.CustodianTask(job_offer=pb.CustodyOffer(job=sha256_hex(data), document=envelope)))
        return str(sha256_hex(data))

    def ask(
        self,
        request: SumRequest,
        *,
        address: RoundAddress | None = None,
        certificates: Mapping[str, bytes] | None = None,
    ) -> None:
        """The coordinator asks for a sum."""
        parameters = request.parameters
        named = address or RoundAddress(parameters.job_digest, parameters.stage, parameters.round, parameters.attempt)
        pems = {name: self.consortium.parties[name].identity_pem for name in parameters.roster} | dict(
            certificates or {}
        )
        task = pb.OpenSum(
            address=address_to_wire(named),
            request=request.encode(),
            member_certificates=[pems[name].decode() for name in parameters.roster],
            revocation_list=self.consortium.crl(at=self.clock()),
        )
        self.keeper.handle(pb.CustodianTask(open_sum=task))

    def end(self, job: str, state: str = "finished") -> None:
        self.keeper.handle(pb.CustodianTask(job_end=pb.CustodyEnd(job=job, state=state)))

    def welcome(self, *, by: str = COORDINATOR) -> None:
        message = pb.CustodyWelcome(
            coordinator_certificate=self.consortium.parties[by].identity_pem.decode(),
            revocation_list=self.consortium.crl(at=self.clock()),
        )
        self.keeper.handle(pb.CustodianTask(welcome=message))

    def entries(self, kind: str) -> list[Entry]:
        return [entry for entry in self.party.read(lambda s: list(self.party.log().entries(s))) if entry.type == kind]


@dataclass(slots=True)
class JobWorld(World):
    """A round of a real job of the consortium."""

    consortium: Consortium | None = None
    job: str = ""
    stage: str = "statistics"
    round: int = 0
    broadcast: str = "first"

    @property
    def identities(self) -> dict[ClientId, IdentityKey]:
        assert self.consortium is not None
        return {name: self.consortium.parties[name].key for name in self.names}

    @property
    def parameters(self) -> RoundParameters:
        base = World.parameters.fget(self)  # type: ignore[attr-defined]  # a property of the base
        fields = {name: getattr(base, name) for name in base.__dataclass_fields__}
        changed = {
            "job_digest": Digest(self.job),
            "stage": self.stage,
            "round": self.round,
            "broadcast_digest": sha256_hex(self.broadcast.encode()),
        }
        return RoundParameters(**{**fields, **changed})


def world_of(house: House, job: str, **changed: object) -> JobWorld:
    """A round of the job, under the key that the custodian made for it."""
    fields: dict[str, object] = {
        "secret": house.vault.secret(job),
        "masked": False,
        "names": tuple(ClientId(name) for name in NODES),
        "consortium": house.consortium,
        "job": job,
    }
    return JobWorld(**{**fields, **changed})  # type: ignore[arg-type]  # a table of fields


def play(house: House, world: JobWorld, **keywords: object) -> Collected:
    """Play a round and give its ciphertexts to the coordinator."""
    collected = play_padded(world, **keywords)  # type: ignore[arg-type]  # handed on
    house.outbox.bundles = {str(name): bundle for name, bundle in collected.bundles.items()}
    return collected


def digest_of(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
