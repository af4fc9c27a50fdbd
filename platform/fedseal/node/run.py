"""The node's process: opens folder and database, keeps the instruction stream open, shuts down in order."""

import queue
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from fedseal import __version__
from fedseal.authority.names import service_name
from fedseal.credentials import Credentials, CredentialWatch, load_credentials
from fedseal.deadlines import DailyReminder
from fedseal.errors import SetupError
from fedseal.files import make_folder, write_atomic
from fedseal.folders import PartyFolder
from fedseal.learning import use_deterministic_torch
from fedseal.learning.public_rows import PublicRows, use_public_rows
from fedseal.learning.sandbox import LearnerFiles, Limits, use_learner_files
from fedseal.local import existing_database_url, load_settings, record_key, require_untouched
from fedseal.node.agent import Agent
from fedseal.node.config import NodeSettings
from fedseal.node.connection import CoordinatorConnection
from fedseal.node.data import DataRoom
from fedseal.node.ledger import NodeLedger
from fedseal.node.local_state import LocalStates
from fedseal.node.opening import NodeSelf
from fedseal.node.own_models import FOLDER as OWN_MODELS
from fedseal.node.own_models import OwnModels
from fedseal.node.witness import Witness
from fedseal.processes import stop_on_signals
from fedseal.trust import Trust, utc_now
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal.wire.limits import OPEN_JOBS
from fedseal.wire.listening import POLL_SECONDS, Stream, listen
from fedseal.wire.status import CallRefused
from fedseal_crypto.identity import PartyKind
from fedseal_crypto.notes import log_origin
from fedseal_governance.claims import ServiceClaim
from fedseal_governance.consent import require_key
from fedseal_governance.database import Database
from fedseal_governance.errors import StorageError, TamperError
from fedseal_migrations import require_current

_log = structlog.get_logger(__name__)

PROTOCOL_VERSION = 1
_SESSION_BYTES = 16
_WAITING_INSTRUCTIONS = 1_000
ALARM_FILE = "ALARM.txt"
_OWN_RULES_SECONDS = 2.0


@dataclass(slots=True)
class Node:
    """A node's process, ready to run."""

    me: NodeSelf
    watch: CredentialWatch
    connection: CoordinatorConnection
    agent: Agent
    identity_pem: bytes
    session: bytes
    stopping: threading.Event
    instructions: "queue.Queue[pb.Instruction]" = field(default_factory=lambda: queue.Queue(_WAITING_INSTRUCTIONS))
    renewal: Credentials | None = None
    """Keys and certificates that were replaced and that the worker has not taken over yet."""
    failure: BaseException | None = None
    met: bool = False
    """Whether the coordinator has answered since this process began."""

    def fail(self, error: BaseException) -> None:
        """End the process with ``error``."""
        self.failure = self.failure or error
        self.stopping.set()


def run_node(path: Path, *, coordinator: str | None = None, ready: Callable[[str], None] | None = None) -> None:
    """Run the node of the folder ``path`` until SIGINT or SIGTERM.

    Args:
        path: a node's folder, as ``fedseal node enrol`` makes it.
        coordinator: overrides the configured ``host:port``.
        ready: called with the coordinator's address once everything local is open.

    Raises:
        SetupError: folder, keys or configuration are not usable, or the coordinator shut this node out.
        StorageError: the database is missing, of another schema, or can no longer be written.
    """
    stopping = threading.Event()
    stop_on_signals(stopping)
    folder = PartyFolder.load(path)
    _require_node(folder)
    settings = load_settings(folder, NodeSettings)
    address = coordinator or settings.coordinator or folder.record.coordinator
    if address is None:
        sentence = f"no coordinator address: set `coordinator: host:port` in {folder.config_path}"
        raise SetupError(sentence)
    limits = Limits(seconds=settings.learner_seconds, memory_bytes=settings.learner_memory_mb << 20)
    use_public_rows(PublicRows.of_party(folder.path))
    use_learner_files(LearnerFiles.of_party(folder.path, limits=limits, unisolated=settings.learner_unisolated))
    database = Database(settings.database or existing_database_url(folder))
    try:
        require_current(database.engine)
        claim = ServiceClaim.take(database)
        require_untouched(database, log_origin(folder.federation, folder.name))
        node = build_node(folder, settings, address=address, database=database, stopping=stopping)
        if ready is not None:
            ready(address)
        _run(node, claim)
        claim.release()
    finally:
        database.close()


def _require_node(folder: PartyFolder) -> None:
    record = folder.record
    if record.kind is not PartyKind.NODE:
        sentence = f"{folder.path} is the folder of {record.kind.value}/{record.name}; give a node's folder"
        raise SetupError(sentence)


def build_node(
    folder: PartyFolder,
    settings: NodeSettings,
    *,
    address: str,
    database: Database,
    stopping: threading.Event,
) -> Node:
    """Verify folder and database and join the node's parts."""
    _require_node(folder)
    own = load_credentials(folder, utc_now)
    member, key = own.member, own.key
    _require_no_alarm(folder.path / ALARM_FILE)
    use_deterministic_torch()
    trust = Trust(folder)
    data = DataRoom(database)
    for needed in (folder.path / "state", folder.path / "incoming"):
        make_folder(needed)
    own_key = record_key(folder)
    database.read(lambda session: require_key(session, own_key))
    ledger = NodeLedger(database, member=member, key=key, trust=trust, data=data, record_key=own_key)
    me = NodeSelf(
        name=str(member.name),
        federation=str(member.federation),
        key=key,
        trust=trust,
        ledger=ledger,
        data=data,
        local_states=LocalStates(folder.path / "state"),
        own_models=OwnModels(folder.path / OWN_MODELS),
        clock=utc_now,
    )
    connection = CoordinatorConnection(
        address=address,
        service_name=service_name(str(member.federation), PartyKind.COORDINATOR, settings.coordinator_name),
        material=own.tls,
        stopping=stopping,
    )

    def alarm(error: TamperError) -> None:
        ledger.alarm(str(error), now=utc_now())
        write_atomic(folder.path / ALARM_FILE, f"{error}\n".encode(), private=True)
        raise error

    witness = Witness(
        database,
        connection,
        name=log_origin(member.federation, member.name),
        key=key,
        clock=utc_now,
        alarm=alarm,
    )
    session = secrets.token_bytes(_SESSION_BYTES)
    agent = Agent(me, connection, witness, session=session, workspace=folder.path / "incoming")
    return Node(
        me=me,
        watch=CredentialWatch(folder, own, utc_now),
        connection=connection,
        agent=agent,
        identity_pem=own.certificate,
        session=session,
        stopping=stopping,
    )


def _require_no_alarm(path: Path) -> None:
    """Refuse to take part while nobody has looked at what a witness alarm said."""
    if path.exists():
        sentence = (
            f"this node raised an alarm about the coordinator's audit log and takes part in nothing until its operator "
            f"has looked: read {path}, talk to the other sites, and remove the file to take part again"
        )
        raise SetupError(sentence)


def _run(node: Node, claim: ServiceClaim) -> None:
    stream = Stream(
        attend=lambda: node.connection.attend(_asking_for_ends(node, _attendance(node))),
        waiting=node.instructions,
        who="node",
    )
    listener = threading.Thread(target=listen, args=(node, stream), name="instructions", daemon=True)
    listener.start()
    worker = threading.Thread(target=_work, args=(node,), name="worker", daemon=True)
    worker.start()
    _watch_own_rules(node, claim)
    node.connection.close()
    worker.join(timeout=10.0)
    _log.info("node stopped", node=node.me.name)
    if node.failure is not None:
        raise node.failure


def _watch_own_rules(node: Node, claim: ServiceClaim) -> None:
    """Until the end: keep the claim on the database, settle policies, warn of dates, notice a rotation and changes."""
    attended, reminder = None, DailyReminder()
    while not node.stopping.wait(_OWN_RULES_SECONDS):
        try:
            claim.require()
        except StorageError as error:
            node.fail(error)
            return
        node.renewal = node.watch.newer() or node.renewal
        node.me.ledger.settle_policies(now=node.me.clock())
        reminder.remind(node.me.ledger.member, node.me.trust.revocations, node.me.clock())
        facts = _attendance(node).SerializeToString(deterministic=True)
        if attended is not None and facts != attended:
            _log.info("policies or datasets changed; attending again")
            node.connection.attend_again()
        attended = facts


def _work(node: Node) -> None:
    """Answer instructions one by one; a failing database or a detected fork ends the process."""
    try:
        while not node.stopping.is_set():
            _renew(node)
            with suppress(queue.Empty):
                _answer(node, node.instructions.get(timeout=POLL_SECONDS))
    except BaseException as error:  # noqa: BLE001 - carried to the main thread, which raises it
        if not node.stopping.is_set():
            node.failure = error
    finally:
        node.stopping.set()


def _renew(node: Node) -> None:
    """Take replaced keys and certificates over, between two instructions; the session stays the same."""
    fresh, node.renewal = node.renewal, None
    if fresh is None:
        return
    node.me = replace(node.me, key=fresh.key, former_key=node.me.key)
    node.identity_pem = fresh.certificate
    node.me.ledger.renew(fresh.member, fresh.key)
    node.agent.renew(node.me)
    node.connection.renew(fresh.tls)


def _answer(node: Node, instruction: pb.Instruction) -> None:
    try:
        node.agent.handle(instruction)
    except (StorageError, TamperError):
        raise
    except CallRefused as error:
        _log.info("the coordinator refused", sentence=str(error))


def _asking_for_ends(node: Node, attendance: pb.Attendance) -> pb.Attendance:
    """Jobs may have ended while this node was away: ask for their ends."""
    newest = node.me.ledger.accepted_jobs()[-OPEN_JOBS:]
    attendance.open_jobs.extend(row.digest for row in newest)
    return attendance


def _attendance(node: Node) -> pb.Attendance:
    ledger = node.me.ledger
    return pb.Attendance(
        protocol_version=PROTOCOL_VERSION,
        session=node.session,
        identity_certificate=node.identity_pem.decode(),
        policies=[
            policy.signed.to_json() for policy in ledger.policies_in_force(node.me.clock()) if policy.signed is not None
        ],
        datasets=[
            pb.DatasetOffer(name=item.name, schema=item.facts.schema_content) for item in node.me.data.registrations()
        ],
        software=f"fedseal {__version__}",
    )
