"""The custodian's process: opens folder, database and vault, keeps the task stream open, shuts down in order."""

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
from fedseal.credentials import LOOK_SECONDS, Credentials, CredentialWatch, load_credentials
from fedseal.custodian.config import CustodianSettings
from fedseal.custodian.connection import CustodyConnection
from fedseal.custodian.keeper import CustodianSelf, Keeper
from fedseal.custodian.ledger import CustodianLedger
from fedseal.custodian.vault import Vault, has_sealed_keys, lock_of
from fedseal.deadlines import DailyReminder
from fedseal.errors import SetupError
from fedseal.files import make_folder
from fedseal.folders import PartyFolder
from fedseal.local import existing_database_url, load_settings, require_untouched
from fedseal.processes import stop_on_signals
from fedseal.trust import Trust, utc_now
from fedseal.wire._generated import custody_pb2 as pb
from fedseal.wire.limits import OPEN_JOBS
from fedseal.wire.listening import POLL_SECONDS, Stream, listen
from fedseal.wire.status import CallRefused
from fedseal_crypto.identity import PartyKind
from fedseal_crypto.notes import log_origin
from fedseal_crypto.secret import SecretBytes
from fedseal_governance.claims import ServiceClaim
from fedseal_governance.database import Database
from fedseal_governance.errors import StorageError
from fedseal_migrations import require_current

_log = structlog.get_logger(__name__)

PROTOCOL_VERSION = 1
VAULT = "vault"
KEY_FILE = "keys/vault.key"
_SESSION_BYTES = 16
_WAITING_TASKS = 1_000


@dataclass(slots=True)
class Custodian:
    """A custodian's process, ready to run."""

    me: CustodianSelf
    watch: CredentialWatch
    connection: CustodyConnection
    keeper: Keeper
    session: bytes
    stopping: threading.Event
    tasks: "queue.Queue[pb.CustodianTask]" = field(default_factory=lambda: queue.Queue(_WAITING_TASKS))
    renewal: Credentials | None = None
    """Keys and certificates that were replaced and that the worker has not taken over yet."""
    failure: BaseException | None = None
    met: bool = False
    """Whether the coordinator has answered since this process began."""

    def fail(self, error: BaseException) -> None:
        """End the process with ``error``."""
        self.failure = self.failure or error
        self.stopping.set()


def open_vault(folder: PartyFolder, settings: CustodianSettings, passphrase: SecretBytes | None) -> Vault:
    """The sealed keys of the custodian of a folder.

    Raises:
        SetupError: the key file is not usable, or is missing although keys were sealed before.
    """
    key_file = folder.path / KEY_FILE if settings.key_file is None else Path(settings.key_file)
    if passphrase is None and not key_file.exists() and has_sealed_keys(folder.path / VAULT):
        sentence = (
            f"{folder.path / VAULT} holds sealed keys and the key file {key_file} does not exist; restore it, or give "
            "the passphrase that sealed them with --seal-passphrase-file"
        )
        raise SetupError(sentence)
    return Vault(folder.path / VAULT, lock_of(passphrase, key_file))


def run_custodian(
    path: Path,
    *,
    passphrase: SecretBytes | None,
    coordinator: str | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Run the custodian of the folder ``path`` until SIGINT or SIGTERM.

    Args:
        path: a custodian's folder, as ``fedseal custodian enrol`` makes it.
        passphrase: seals secret keys at rest; None for the key file.
        coordinator: overrides the configured ``host:port``.
        ready: called with the coordinator's address once everything local is open.

    Raises:
        SetupError: folder, keys or configuration are not usable, or the coordinator shut this custodian out.
        StorageError: the database is missing, of another schema, or can no longer be written.
    """
    stopping = threading.Event()
    stop_on_signals(stopping)
    folder = PartyFolder.load(path)
    require_custodian(folder)
    settings = load_settings(folder, CustodianSettings)
    address = coordinator or settings.coordinator or folder.record.coordinator
    if address is None:
        sentence = f"no coordinator address: set `coordinator: host:port` in {folder.config_path}"
        raise SetupError(sentence)
    database = Database(settings.database or existing_database_url(folder))
    try:
        require_current(database.engine)
        claim = ServiceClaim.take(database)
        require_untouched(database, log_origin(folder.federation, folder.name))
        vault = open_vault(folder, settings, passphrase)
        custodian = build_custodian(folder, settings, vault, database, address=address, stopping=stopping)
        custodian.keeper.tidy()
        vault.require_lock(row.digest for row in custodian.me.ledger.live_jobs())
        if ready is not None:
            ready(address)
        _run(custodian, claim)
        claim.release()
    finally:
        database.close()


def require_custodian(folder: PartyFolder) -> None:
    """Refuse another party's folder.

    Raises:
        SetupError: it is one.
    """
    record = folder.record
    if record.kind is not PartyKind.CUSTODIAN:
        sentence = f"{folder.path} is the folder of {record.kind.value}/{record.name}; give a custodian's folder"
        raise SetupError(sentence)


def build_custodian(
    folder: PartyFolder,
    settings: CustodianSettings,
    vault: Vault,
    database: Database,
    *,
    address: str,
    stopping: threading.Event,
) -> Custodian:
    """Verify the folder and join the custodian's parts."""
    own = load_credentials(folder, utc_now)
    member, key, trust = own.member, own.key, Trust(folder)
    workspace = folder.path / "incoming"
    make_folder(workspace)
    me = CustodianSelf(
        name=str(member.name),
        federation=str(member.federation),
        key=key,
        certificate=own.certificate,
        trust=trust,
        ledger=CustodianLedger(database, member=member, key=key, trust=trust, settings=settings),
        vault=vault,
        settings=settings,
        workspace=workspace,
        clock=utc_now,
    )
    connection = CustodyConnection(
        address=address,
        service_name=service_name(str(member.federation), PartyKind.COORDINATOR, settings.coordinator_name),
        material=own.tls,
        stopping=stopping,
    )
    return Custodian(
        me=me,
        watch=CredentialWatch(folder, own, utc_now),
        connection=connection,
        keeper=Keeper(me, connection),
        session=secrets.token_bytes(_SESSION_BYTES),
        stopping=stopping,
    )


def _run(custodian: Custodian, claim: ServiceClaim) -> None:
    stream = Stream(
        attend=lambda: custodian.connection.attend(_attendance(custodian)), waiting=custodian.tasks, who="custodian"
    )
    listener = threading.Thread(target=listen, args=(custodian, stream), name="tasks", daemon=True)
    listener.start()
    worker = threading.Thread(target=_work, args=(custodian,), name="worker", daemon=True)
    worker.start()
    _watch_own_rules(custodian, claim)
    custodian.connection.close()
    worker.join(timeout=10.0)
    _log.info("custodian stopped", custodian=custodian.me.name)
    if custodian.failure is not None:
        raise custodian.failure


def _watch_own_rules(custodian: Custodian, claim: ServiceClaim) -> None:
    """Until the end: keep the claim on the database, settle policies, warn of dates, notice a rotation."""
    reminder = DailyReminder()
    while not custodian.stopping.wait(LOOK_SECONDS):
        try:
            claim.require()
        except StorageError as error:
            custodian.fail(error)
            return
        custodian.renewal = custodian.watch.newer() or custodian.renewal
        ledger, trust, now = custodian.me.ledger, custodian.me.trust, custodian.me.clock()
        ledger.settle_policies(now=now)
        reminder.remind(ledger.member, trust.revocations, now)


def _work(custodian: Custodian) -> None:
    """Answer tasks one by one; a failing database ends the process."""
    try:
        while not custodian.stopping.is_set():
            _renew(custodian)
            with suppress(queue.Empty):
                _answer(custodian, custodian.tasks.get(timeout=POLL_SECONDS))
            custodian.keeper.tidy()
    except BaseException as error:  # noqa: BLE001 - carried to the main thread, which raises it
        if not custodian.stopping.is_set():
            custodian.failure = error
    finally:
        custodian.stopping.set()


def _renew(custodian: Custodian) -> None:
    """Take replaced keys and certificates over, between two tasks; what was stated before keeps its signature."""
    fresh, custodian.renewal = custodian.renewal, None
    if fresh is None:
        return
    custodian.me = replace(custodian.me, key=fresh.key, certificate=fresh.certificate)
    custodian.me.ledger.renew(fresh.member, fresh.key)
    custodian.keeper.renew(custodian.me)
    custodian.connection.renew(fresh.tls)


def _answer(custodian: Custodian, task: pb.CustodianTask) -> None:
    try:
        custodian.keeper.handle(task)
    except CallRefused as error:
        _log.info("the coordinator refused", sentence=str(error))


def _attendance(custodian: Custodian) -> pb.CustodianAttendance:
    """Who this is, and of which jobs it still holds a key: they may have ended while it was away."""
    live = custodian.me.ledger.live_jobs()[:OPEN_JOBS]
    return pb.CustodianAttendance(
        protocol_version=PROTOCOL_VERSION,
        session=custodian.session,
        identity_certificate=custodian.me.certificate.decode(),
        software=f"fedseal {__version__}",
        open_jobs=[row.digest for row in live],
    )
