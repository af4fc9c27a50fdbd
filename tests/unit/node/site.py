"""One real node without a network: its folder, database, dataset, policy and agent, and a record of what leaves it."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import grpc
from sqlalchemy import event

from fedseal.errors import RemoteError
from fedseal.folders import PartyFolder
from fedseal.learning import load_dataset, use_deterministic_torch
from fedseal.node.agent import Agent
from fedseal.node.data import DataRoom
from fedseal.node.ledger import NodeLedger
from fedseal.node.local_state import LocalStates
from fedseal.node.opening import NodeSelf
from fedseal.node.witness import Witness
from fedseal.profiles import dataset_facts
from fedseal.trust import Trust
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal.wire.status import CallRefused
from fedseal_crypto.dsse import sign_document
from fedseal_crypto.masking import ClientMessage, WireMessage, decode_message
from fedseal_crypto.notes import log_origin
from fedseal_crypto.secret import SecretBytes
from fedseal_governance.acts import Act
from fedseal_governance.audit import Entry
from fedseal_governance.consent import RecordKey, Register, import_consents
from fedseal_governance.database import Database
from fedseal_governance.datasets import load_schema, register
from fedseal_governance.errors import TamperError
from fedseal_governance.participation import AttemptRow, attempts_of
from fedseal_governance.policy import Owner, StoredPolicy, approve, propose
from fedseal_governance.policy.store import POLICY_TYPE
from fedseal_governance.trust import Trust as DocumentTrust
from fedseal_governance.vocabulary import PolicyLevel
from fedseal_migrations import upgrade
from tests.unit.node.papers import DATASET, ROWS, SCHEMA, consents_of, policy_with, table_of
from tests.unit.node.parties import COORDINATOR, OFFICERS, ORGANISATION, Consortium, SettableClock

T = TypeVar("T")

SESSION = bytes(range(16))

RECORD_KEY = RecordKey(SecretBytes(bytes(32)))
REGISTER = Register(dataset=DATASET, key=RECORD_KEY)


@dataclass(slots=True)
class RecordingOutbox:
    """Where a node's messages go: remembers all of them.

    Attributes:
        artefacts: what a download gives, by the digest that was asked for; a hostile coordinator stores lies here.
        answer: called with each report, and may refuse it.
        turns_away: how many vectors are received and not taken.
    """

    reports: list[pb.NodeReport] = field(default_factory=list)
    vectors: list[tuple[pb.ContributionHeader, bytes]] = field(default_factory=list)
    artefacts: dict[str, bytes] = field(default_factory=dict)
    downloads: list[tuple[str, str, int]] = field(default_factory=list)
    answer: Callable[[pb.NodeReport], None] = field(default=lambda _report: None)
    turns_away: int = 0

    def report(self, report: pb.NodeReport) -> None:
        self.reports.append(report)
        self.answer(report)

    def contribute(self, header: pb.ContributionHeader, pieces: Callable[[], Iterator[bytes]]) -> None:
        self.vectors.append((header, b"".join(pieces())))
        if self.turns_away:
            self.turns_away -= 1
            message = "not now"
            raise CallRefused(message, grpc.StatusCode.ABORTED)

    def download(self, *, digest: str, job: str, size: int, target: Path) -> None:
        self.downloads.append((digest, job, size))
        if digest not in self.artefacts:
            message = "the job has no such artefact"
            raise CallRefused(message, grpc.StatusCode.FAILED_PRECONDITION)
        target.write_bytes(self.artefacts[digest])


@dataclass(slots=True)
class QuietLog:
    """The coordinator's log as a witness sees it: not there, until a test sets a checkpoint."""

    reply: pb.CheckpointReply | None = None
    cosigned: list[pb.Cosignature] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    refuses_cosignatures: bool = False
    welcomes_asked: int = 0

    def fetch_checkpoint(self, known_size: int) -> pb.CheckpointReply:
        self.asked.append(known_size)
        if self.reply is None:
            message = "the coordinator cannot be reached"
            raise RemoteError(message)
        return self.reply

    def cosign(self, cosignature: pb.Cosignature) -> None:
        if self.refuses_cosignatures:
            message = "attend first, then cosign"
            raise RemoteError(message)
        self.cosigned.append(cosignature)

    def attend_again(self) -> None:
        self.welcomes_asked += 1


@dataclass(slots=True)
class Left:
    """What left the node since a moment."""

    messages: list[WireMessage]
    vectors: list[tuple[pb.ContributionHeader, bytes]]
    refusals: list[pb.RoundRefusal]
    verdicts: list[pb.JobVerdict]


class Site:
    """A node as its process builds it, and the hands of its operator."""

    def __init__(
        self,
        folder: PartyFolder,
        clock: SettableClock,
        consortium: Consortium,
        *,
        data: Path,
        database_url: str | None = None,
    ) -> None:
        self.folder = folder
        self.name = folder.record.name
        self.clock = clock
        self.consortium = consortium
        self.data = data
        self.outbox = RecordingOutbox()
        self.log = QuietLog()
        self.alarms: list[TamperError] = []
        self._url = database_url or folder.database_url
        self.start()

    # -- the process -----------------------------------------------------------------------------------

    def start(self) -> None:
        """What `fedseal node run` joins together, with another clock and no connection."""
        self.database = open_quickly(self._url)
        member = self.folder.verify(self.clock())
        key, trust = self.folder.identity_key(), Trust(self.folder, clock=self.clock)
        room = DataRoom(self.database)
        self.ledger = NodeLedger(self.database, member=member, key=key, trust=trust, data=room, record_key=RECORD_KEY)
        for needed in ("state", "incoming"):
            (self.folder.path / needed).mkdir(exist_ok=True)
        self.me = NodeSelf(
            name=str(member.name),
            federation=str(member.federation),
            key=key,
            trust=trust,
            ledger=self.ledger,
            data=room,
            local_states=LocalStates(self.folder.path / "state"),
            clock=self.clock,
        )
        origin = log_origin(member.federation, member.name)
        self.witness = Witness(
            self.database, self.log, name=origin, key=key, clock=self.clock, alarm=self.alarms.append
        )
        self.agent = Agent(self.me, self.outbox, self.witness, session=SESSION, workspace=self.folder.path / "incoming")

    def restart(self) -> None:
        """The process ends at once and another one starts in its folder."""
        self.database.close()
        self.start()

    def close(self) -> None:
        self.database.close()

    def tell(self, **instruction: object) -> None:
        """Hand the agent one instruction, as if it came down the stream."""
        self.agent.handle(pb.Instruction(**instruction))  # type: ignore[arg-type]  # one field by name

    def welcome(self) -> None:
        certificate = self.consortium.parties[COORDINATOR].identity_pem.decode()
        self.tell(
            welcome=pb.Welcome(coordinator_certificate=certificate, revocation_list=self.folder.revocations_pem())
        )

    # -- the operator ----------------------------------------------------------------------------------

    def act(self, work: Callable[[Act], T], *, actor: str = "node/operator") -> T:
        """Change something in the node's database, as a command beside the process does."""
        return self.database.run(
            "test", lambda session: work(Act(session=session, journal=self.ledger.log, actor=actor, now=self.clock()))
        )

    def register_dataset(self) -> None:
        loaded = load_dataset(self.data, load_schema(SCHEMA, "schema.yaml"))
        facts = dataset_facts(loaded, SCHEMA)
        self.act(lambda act: register(act, facts, filename="schema.yaml", source=str(self.data)))

    def import_consents(self, content: bytes) -> None:
        path = self.folder.path / "consents.csv"
        path.write_bytes(content)
        self.act(lambda act: import_consents(act, REGISTER, path))

    def approve_policy(self, content: bytes) -> StoredPolicy:
        """Propose a policy and let both officers sign it."""
        owner = Owner(level=PolicyLevel.NODE, name=ORGANISATION)
        proposer = self.consortium.parties[OFFICERS[0]].member
        stored = self.act(
            lambda act: propose(act, content, filename="policy.yaml", owner=owner, proposer=proposer),
            actor=proposer.label,
        )
        trust, digest = self.trust(), stored.digest
        for name in OFFICERS:
            officer = self.consortium.parties[name]
            signature = sign_document(POLICY_TYPE, content, key=officer.key, certificate_pem=officer.identity_pem)
            stored = self.act(lambda act, signature=signature: approve(act, digest, signature, trust))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        return stored

    def trust(self) -> DocumentTrust:
        return DocumentTrust(root=self.me.trust.root, revocations=self.me.trust.revocations)

    # -- what can be seen ------------------------------------------------------------------------------

    def audit(self, kind: str | None = None) -> list[Entry]:
        """The entries of the node's own log, or those of one type."""
        entries = self.database.read(lambda session: list(self.ledger.log.entries(session)))
        return [entry for entry in entries if kind in (None, entry.type)]

    def attempts(self, job: str) -> tuple[AttemptRow, ...]:
        return self.database.read(lambda session: attempts_of(session, job))

    def left_since(self, mark: tuple[int, int]) -> Left:
        """What was sent since ``mark`` was taken."""
        reports, vectors = self.outbox.reports[mark[0] :], self.outbox.vectors[mark[1] :]
        return Left(
            messages=[decode_message(r.message.payload) for r in reports if r.WhichOneof("kind") == "message"],
            vectors=list(vectors),
            refusals=[r.refusal for r in reports if r.WhichOneof("kind") == "refusal"],
            verdicts=[r.verdict for r in reports if r.WhichOneof("kind") == "verdict"],
        )

    def mark(self) -> tuple[int, int]:
        return len(self.outbox.reports), len(self.outbox.vectors)

    def last_message(self) -> ClientMessage:
        """The newest masking message that the node sent."""
        message = self.left_since((0, 0)).messages[-1]
        assert isinstance(message, ClientMessage)
        return message


@dataclass(slots=True, kw_only=True)
class SiteMaker:
    """Builds sites in a folder of the test; the usual one is copied from a template."""

    folder: Path
    consortium: Consortium
    clock: SettableClock
    template: Path | None
    made: list[Site] = field(default_factory=list)

    def usual(self, name: str = "cleveland") -> Site:
        """The template's node: dataset registered, all consents, policy in force."""
        assert self.template is not None
        shutil.copytree(self.template / name, self.folder / name)
        self.consortium.lists = max(self.consortium.lists, 1)
        return self._keep(
            Site(PartyFolder.load(self.folder / name), self.clock, self.consortium, data=self.template / f"{name}.csv")
        )

    def with_own_data(self) -> Site:
        """The usual node, with a data file that the test may change."""
        site = self.usual()
        data = self.folder / f"{site.name}.csv"
        shutil.copy(site.data, data)
        site.data = data
        site.register_dataset()
        return site

    def fresh(
        self,
        name: str = "cleveland",
        *,
        policy: Mapping[str, str] | None = None,
        rows: int = ROWS,
        consents: int | None = None,
        database_url: str | None = None,
    ) -> Site:
        """A node with a data file of its own and some of the policy's text replaced."""
        data = self.folder / f"{name}.csv"
        data.write_bytes(table_of(name, rows))
        folder = self.consortium.make_folder(self.folder / name, name)
        database = open_quickly(database_url or folder.database_url)
        upgrade(database.engine)
        database.close()
        site = Site(folder, self.clock, self.consortium, data=data, database_url=database_url)
        site.register_dataset()
        site.import_consents(consents_of(name, rows if consents is None else consents))
        site.approve_policy(policy_with(policy))
        return self._keep(site)

    def _keep(self, site: Site) -> Site:
        self.made.append(site)
        return site

    def close(self) -> None:
        for site in self.made:
            site.close()


def open_quickly(url: str) -> Database:
    """A database whose commits need not survive a power cut; the tests restart processes, never the machine."""
    database = Database(url, pause=lambda _seconds: None)
    if database.is_sqlite:
        event.listen(database.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
    return database


def prepare() -> None:
    """What the process does before anything else."""
    use_deterministic_torch()
