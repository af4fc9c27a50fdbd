"""The coordinator's process without sockets and threads: real engine, ledger and views on a real database.

It can die between any two events, and start again on what it left on disk.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fedseal.coordinator.admission import Admission
from fedseal.coordinator.attendance import Attendance
from fedseal.coordinator.config import CoordinatorSettings
from fedseal.coordinator.desk import Surroundings
from fedseal.coordinator.engine import Engine
from fedseal.coordinator.hub import EventHub
from fedseal.coordinator.intake import Event
from fedseal.coordinator.ledger import Ledger
from fedseal.coordinator.policies import FederationPolicies
from fedseal.coordinator.server import _clear
from fedseal.coordinator.views import Views
from fedseal.folders import PartyFolder
from fedseal.trust import Trust
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_governance import runs
from fedseal_governance.audit import Entry, check_log
from fedseal_governance.errors import StorageError
from tests.unit.node.parties import FEDERATION, Consortium, SettableClock
from tests.unit.node.site import open_quickly

SETTINGS = CoordinatorSettings(
    offer_seconds=30,
    gather_seconds=5,
    return_seconds=5,
    patience_seconds=60,
    reconnect_grace_seconds=2,
    retry_pause_seconds=1,
    maximum_attempts=3,
)


class InlineEngine(Engine):
    """An engine without its thread: whoever asks does the work, as between two events."""

    def put(self, event: Event) -> None:
        self._handle(event)

    def _ask(self, work: Callable[[], Any]) -> Any:
        return work()

    def drain(self) -> None:
        """Handle what was queued for later."""
        while not self._queue.empty():
            self._next_item()


@dataclass(slots=True)
class Failing:
    """Lets chosen calls of a ledger fail, as a full disk or a lost connection would.

    Attributes:
        fails: given the number of the call and the method's name, whether it fails before or after its work.
    """

    ledger: Ledger
    fails: Callable[[int, str], str]
    calls: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.ledger, name)
        if not callable(value) or name.startswith("_"):
            return value

        def call(*args: Any, **keywords: Any) -> Any:
            number = len(self.calls)
            self.calls.append(name)
            moment = self.fails(number, name)
            if moment == "before":
                raise StorageError("the disk is full")
            answer = value(*args, **keywords)
            if moment == "after":
                raise StorageError("the connection was lost")
            return answer

        return call


class Process:
    """A coordinator on the folder ``folder``."""

    def __init__(
        self,
        folder: PartyFolder,
        clock: SettableClock,
        consortium: Consortium,
        *,
        database_url: str | None = None,
        settings: CoordinatorSettings = SETTINGS,
        fails: Callable[[int, str], str] | None = None,
    ) -> None:
        self.folder = folder
        self.clock = clock
        self.consortium = consortium
        self.settings = settings
        self.events: list[pb.JobEvent] = []
        self._url = database_url or folder.database_url
        self._fails = fails
        self._postponed: list[Callable[[], None]] = []
        self.start()

    # -- its life --------------------------------------------------------------------------------------

    def start(self) -> None:
        """What `fedseal coordinator run` joins together, up to the port, and the engine's start."""
        self.database = open_quickly(self._url)
        member = self.folder.verify(self.clock())
        self.trust = Trust(self.folder, clock=self.clock)
        self.ledger = Ledger(
            self.database,
            member=member,
            key=self.folder.identity_key(),
            certificate=self.folder.identity_certificate(),
            folder=self.folder.path / "artefacts",
            trust=self.trust,
        )
        spool = self.folder.path / "spool"
        for needed in (self.folder.path / "artefacts", spool):
            needed.mkdir(exist_ok=True)
        _clear(spool, self.ledger.active_jobs())
        self.incoming = spool / "incoming"
        self.incoming.mkdir()
        self.attendance = Attendance()
        self.failing = Failing(self.ledger, self._fails or (lambda _number, _name: ""))
        policies = FederationPolicies(
            self.database,
            self.ledger.log,
            member=self.ledger.member,
            trust=self.trust,
            artefacts=self.folder.path / "artefacts",
        )
        surroundings = Surroundings(
            federation=str(FEDERATION),
            ledger=self.failing,  # type: ignore[arg-type]  # a stand-in that hands every call on
            attendance=self.attendance,
            hub=_Recorder(self.events),
            trust=self.trust,
            settings=self.settings,
            spool=spool,
            later=self._postponed.append,
            common_policies=lambda dataset: policies.documents(dataset, self.clock()),
        )
        self.engine = InlineEngine(
            ledger=self.failing,  # type: ignore[arg-type]  # a stand-in that hands every call on
            attendance=self.attendance,
            admission=Admission(self.trust, policies.standing),
            policies=policies,
            trust=self.trust,
            surroundings=surroundings,
            clock=self.clock,
        )
        self.views = Views(self.ledger, self.attendance, self.clock)
        self.engine._load_active()

    def die(self) -> None:
        """Everything in memory is gone; every stream breaks."""
        self.attendance.close_all()
        self._postponed.clear()
        self.database.close()

    def restart(self) -> None:
        self.die()
        self.start()

    def tick(self, **span: float) -> None:
        """Let time pass, then do what the engine's thread does between two events."""
        self.clock.forward(milliseconds=1)
        self.clock.forward(**span)
        postponed, self._postponed[:] = list(self._postponed), []
        for action in postponed:
            action()
        self.engine.drain()
        self.engine._tick(self.clock())

    # -- what can be seen ------------------------------------------------------------------------------

    def submit(self, envelope: bytes, *, by: str = "ada") -> str:
        return str(self.engine.submit(envelope, self.consortium.parties[by].member))

    def state(self, job: str) -> str:
        """The job's state as it is stored."""
        return self.database.read(lambda session: runs.job(session, job).state.value)

    def detail(self, job: str) -> pb.JobDetail:
        return self.views.detail(self.views.resolve(job))

    def artefacts(self, job: str) -> dict[str, bytes]:
        """What the job left behind, by kind."""
        return {item.kind: self.ledger.artefacts.get(item.digest) for item in self.detail(job).artefacts}

    def audit(self, kind: str | None = None) -> list[Entry]:
        entries = self.database.read(lambda session: list(self.ledger.log.entries(session)))
        return [entry for entry in entries if kind in (None, entry.type)]

    def assert_log_verifies(self) -> None:
        self.database.run("test", lambda session: self.ledger.log.checkpoint(session, self.clock()))
        self.database.read(lambda session: check_log(session, self.ledger.log.origin))


class _Recorder(EventHub):
    """Keeps every event, whether anybody watches or not."""

    def __init__(self, events: list[pb.JobEvent]) -> None:
        super().__init__()
        self._events = events

    def publish(self, event: pb.JobEvent) -> None:
        self._events.append(event)
        super().publish(event)
