"""The coordinator's process: opens folder, database and port, runs the engine, shuts down in order."""

import shutil
import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from fedseal.coordinator.admission import Admission
from fedseal.coordinator.attendance import Attendance
from fedseal.coordinator.config import CoordinatorSettings
from fedseal.coordinator.custody_service import CustodyService
from fedseal.coordinator.desk import Surroundings
from fedseal.coordinator.engine import Engine
from fedseal.coordinator.hub import EventHub
from fedseal.coordinator.ledger import Ledger
from fedseal.coordinator.policies import FederationPolicies
from fedseal.coordinator.renewal import Upkeep, note_key
from fedseal.coordinator.service import AdministrationService, CoordinationService
from fedseal.coordinator.views import Views
from fedseal.credentials import Credentials, CredentialWatch, load_credentials
from fedseal.errors import PortUnavailable, SetupError
from fedseal.files import make_folder
from fedseal.folders import PartyFolder
from fedseal.learning.public_rows import PublicRows, use_public_rows
from fedseal.learning.sandbox import LearnerFiles, use_learner_files
from fedseal.local import existing_database_url, load_settings, require_untouched
from fedseal.processes import stop_on_signals, wait_for
from fedseal.trust import Trust, utc_now
from fedseal.wire import tls
from fedseal.wire._generated import coordination_pb2_grpc as rpc
from fedseal.wire._generated import custody_pb2_grpc as custody_rpc
from fedseal_crypto.identity import PartyKind
from fedseal_governance.claims import ServiceClaim
from fedseal_governance.database import Database
from fedseal_migrations import require_current

_log = structlog.get_logger(__name__)

_SPARE_THREADS = 32
_SHUTDOWN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Running:
    """A started coordinator.

    Attributes:
        port: on which it listens.
        stop: ends it in order; raises what its engine died of, if it did.
        wait: returns when it shall stop.
    """

    port: int
    stop: Callable[[], None]
    wait: Callable[[], None]


def run_coordinator(path: Path, *, listen: str | None = None, ready: Callable[[str], None] | None = None) -> None:
    """Run the coordinator of the folder ``path`` until SIGINT or SIGTERM.

    Args:
        path: a coordinator's folder, as ``fedseal coordinator enrol`` makes it.
        listen: overrides the configured ``host:port``.
        ready: called with the address once the port is open.

    Raises:
        SetupError: folder, keys, port or configuration are not usable.
        StorageError: the database is missing or of another schema.
    """
    folder = PartyFolder.load(path)
    _require_coordinator(folder)
    settings = load_settings(folder, CoordinatorSettings)
    if listen is not None:
        settings = settings.model_copy(update={"listen": listen})
    stopping = threading.Event()
    stop_on_signals(stopping)
    running = start_coordinator(folder, settings, stopping=stopping)
    host = settings.listen.rpartition(":")[0]
    if ready is not None:
        ready(f"{host}:{running.port}")
    running.wait()
    running.stop()


def start_coordinator(folder: PartyFolder, settings: CoordinatorSettings, *, stopping: threading.Event) -> Running:
    """Open everything and begin to serve; see ``run_coordinator``."""
    _require_coordinator(folder)
    use_public_rows(PublicRows.of_party(folder.path))
    use_learner_files(LearnerFiles.of_party(folder.path))
    own = load_credentials(folder, utc_now)
    database = Database(settings.database or existing_database_url(folder))
    require_current(database.engine)
    claim = ServiceClaim.take(database)
    trust = Trust(folder)
    ledger = _open_ledger(folder, own, database, trust)
    attendance = Attendance()
    spool = folder.path / "spool"
    make_folder(folder.path / "artefacts")
    make_folder(spool)
    _clear(spool, ledger.active_jobs())
    make_folder(spool / "incoming")
    policies = FederationPolicies(
        database, ledger.log, member=own.member, trust=trust, artefacts=folder.path / "artefacts"
    )
    surroundings = Surroundings(
        federation=str(own.member.federation),
        ledger=ledger,
        attendance=attendance,
        hub=EventHub(),
        trust=trust,
        settings=settings,
        spool=spool,
        later=_later,
        common_policies=lambda dataset: policies.documents(dataset, utc_now()),
    )
    engine = Engine(
        ledger=ledger,
        attendance=attendance,
        admission=Admission(trust, policies.standing),
        policies=policies,
        trust=trust,
        surroundings=surroundings,
        clock=utc_now,
    )
    views = Views(ledger, attendance, utc_now)
    shown = tls.ShownCertificate(own.tls)
    server, port = _serve(folder, settings, engine, attendance, views, trust, shown)
    failures: list[BaseException] = []
    thread = threading.Thread(target=_run_engine, args=(engine, stopping, failures), name="engine")
    thread.start()
    watch = CredentialWatch(folder, own, utc_now)
    upkeep = Upkeep(watch=watch, ledger=ledger, engine=engine, shown=shown, claim=claim, trust=trust)
    threading.Thread(target=upkeep.run, args=(stopping, failures), name="upkeep", daemon=True).start()
    server.start()
    _log.info("coordinator ready", port=port, federation=str(own.member.federation))

    def stop() -> None:
        stopping.set()
        engine.stop()
        surroundings.hub.close()
        attendance.close_all()
        surroundings.custodians.close_all()
        server.stop(_SHUTDOWN_SECONDS).wait()
        thread.join()
        claim.release()
        database.close()
        _log.info("coordinator stopped")
        for failure in failures:
            raise failure

    return Running(port=port, stop=stop, wait=lambda: wait_for(stopping))


def _open_ledger(folder: PartyFolder, own: Credentials, database: Database, trust: Trust) -> Ledger:
    """The ledger, with every entry of its log checked before anything is added to it."""
    ledger = Ledger(
        database,
        member=own.member,
        key=own.key,
        folder=folder.path / "artefacts",
        certificate=own.certificate,
        trust=trust,
    )
    require_untouched(database, ledger.log.origin)
    note_key(ledger, now=utc_now())
    return ledger


def _require_coordinator(folder: PartyFolder) -> None:
    record = folder.record
    if record.kind is not PartyKind.COORDINATOR:
        sentence = f"{folder.path} is the folder of {record.kind.value}/{record.name}; give a coordinator's folder"
        raise SetupError(sentence)


def _clear(spool: Path, active: Collection[str]) -> None:
    """Remove what a killed process left: half-arrived vectors, and the vectors of jobs that have ended."""
    for left in spool.iterdir():
        if left.name not in active:
            shutil.rmtree(left)


def _run_engine(engine: Engine, stopping: threading.Event, failures: list[BaseException]) -> None:
    try:
        engine.run()
    except BaseException as error:  # noqa: BLE001 - carried to the main thread, which raises it
        failures.append(error)
    finally:
        # whatever ended the engine ends the process: a coordinator that answers but does not work is worse
        stopping.set()


def _later(action: Callable[[], None]) -> None:
    timer = threading.Timer(1.0, action)
    timer.daemon = True
    timer.start()


def _serve(
    folder: PartyFolder,
    settings: CoordinatorSettings,
    engine: Engine,
    attendance: Attendance,
    views: Views,
    trust: Trust,
    shown: tls.ShownCertificate,
) -> tuple[grpc.Server, int]:
    incoming = folder.path / "spool" / "incoming"
    workers = ThreadPoolExecutor(settings.maximum_nodes + _SPARE_THREADS, thread_name_prefix="rpc")
    server = grpc.server(workers, options=list(tls.SERVER_OPTIONS))
    rpc.add_CoordinationServicer_to_server(
        CoordinationService(engine=engine, attendance=attendance, trust=trust, views=views, incoming=incoming),
        server,
    )
    custody_rpc.add_CustodyServicer_to_server(
        CustodyService(engine=engine, trust=trust, views=views, incoming=incoming), server
    )
    rpc.add_AdministrationServicer_to_server(AdministrationService(engine=engine, trust=trust, views=views), server)
    servicer = health.HealthServicer()
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    try:
        port = server.add_secure_port(settings.listen, shown.server_credentials())
    except RuntimeError as error:
        sentence = (
            f"{settings.listen} cannot be opened: another program uses the port, or the host name is not this "
            f"machine's; free it or set `listen` in {folder.config_path}"
        )
        raise PortUnavailable(sentence) from error
    return server, port
