"""A federation of real processes, and what a person sees of it through the ordinary client."""

import queue
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from fedseal.authority.names import service_name
from fedseal.client import Client
from fedseal.folders import PartyFolder
from fedseal.wire import tls
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal.wire._generated.coordination_pb2_grpc import AdministrationStub
from fedseal_crypto.identity import PartyKind
from tests.system.actors import Launch, Trap
from tests.system.founding import CUSTODIAN, DATASET, NODES, PASSPHRASE, SCIENTIST
from tests.system.processes import PATIENCE_SECONDS, PartyProcess, TooLate, free_port

ROUNDS = 2
"""Training rounds of the small job; with statistics and evaluation it has four rounds."""

_SETTINGS: dict[str, object] = {
    "offer_seconds": 20,
    "gather_seconds": 10,
    "return_seconds": 2,
    "patience_seconds": 20,
    "reconnect_grace_seconds": 0.5,
    "retry_pause_seconds": 0.2,
    "maximum_attempts": 4,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallJob:
    """A job that takes a second or two."""

    name: str = "small"
    method: str = "fedavg"
    learner: str = "{name: logistic-regression, settings: {learning_rate: 0.1, batch_size: 32}}"
    rounds: int = ROUNDS
    settings: str = "local_epochs: 1, clip: 1.0"
    nodes: tuple[str, ...] = NODES
    step_seconds: int = 15
    seed: int = 1
    kind: str = "training"
    dataset: str = DATASET
    features: tuple[str, ...] = ("age", "sex", "chol", "exang")
    protection: str = "masking"
    disclosure: str = "SUM"

    def to_yaml(self) -> bytes:
        training = f"""\
method: {{name: {self.method}, rounds: {self.rounds}, settings: {{{self.settings}}}}}
learner: {self.learner}
evaluation: {{holdout: 0.3, seed: 1}}
target: num
"""
        custodian = "" if self.protection == "masking" else f"\ncustodian: {CUSTODIAN}"
        return f"""\
job: {self.name}
version: 1
description: A small job for the system tests.
purpose: "DUO:0000006"
dataset: {self.dataset}
kind: {self.kind}
{training if self.kind == "training" else ""}\
features: [{", ".join(self.features)}]
protection: {self.protection}{custodian}
disclosure: {self.disclosure}
nodes: [{", ".join(self.nodes)}]
minimum_cohort: 3
step_timeout_seconds: {self.step_seconds}
seed: {self.seed}
weights: {{maximum_rows: 1000}}
""".encode()


@dataclass(slots=True)
class Federation:
    """Folders of all parties, and the processes that run now; ``retired`` are those that ended."""

    folder: Path
    port: int
    coordinator: PartyProcess | None = None
    custodian: PartyProcess | None = None
    nodes: dict[str, PartyProcess] = field(default_factory=dict)
    retired: list[PartyProcess] = field(default_factory=list)

    @classmethod
    def copied(cls, template: Path, folder: Path) -> "Federation":
        """A copy of a founded federation, on a port of its own, with a coordinator that is quick to notice things."""
        shutil.copytree(template, folder)
        return cls.of_folder(folder)

    @classmethod
    def of_folder(cls, folder: Path) -> "Federation":
        """A founded federation as it is, on a port of its own."""
        found = cls(folder, free_port())
        found.configure_coordinator()
        return found

    def configure_coordinator(self, **settings: object) -> None:
        """Write the coordinator's configuration file."""
        lines = [f"{key}: {value}" for key, value in {**_SETTINGS, **settings}.items()]
        (self.folder / "coordinator" / "coordinator.yaml").write_text("\n".join(lines) + "\n")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def running(self) -> tuple[PartyProcess, ...]:
        services = [process for process in (self.custodian, self.coordinator) if process is not None]
        everyone = (*self.nodes.values(), *services)
        return tuple(process for process in everyone if process.running)

    # -- processes -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the coordinator and every node, and wait until all are present."""
        self.start_coordinator()
        for node in NODES:
            self.start_node(node)
        self.wait_present(*NODES)

    def start_coordinator(self, *, trap: Trap | None = None, file_bytes: int | None = None) -> PartyProcess:
        """Start the coordinator and wait until it listens."""
        self._retire(self.coordinator)
        arguments = ("coordinator", "run", "--folder", str(self.folder / "coordinator"), "--listen", self.address)
        self.coordinator = PartyProcess("coordinator", Launch(arguments=arguments, trap=trap, file_bytes=file_bytes))
        self.coordinator.wait_for_line(r"The coordinator listens on 127\.0\.0\.1:\d+")
        return self.coordinator

    def start_node(
        self,
        name: str,
        *,
        trap: Trap | None = None,
        file_bytes: int | None = None,
        clock_offset: float = 0.0,
    ) -> PartyProcess:
        """Start a node; it connects when it can."""
        self._retire(self.nodes.get(name))
        arguments = ("node", "run", "--folder", str(self.folder / name), "--coordinator", self.address)
        launch = Launch(arguments=arguments, trap=trap, file_bytes=file_bytes, clock_offset=clock_offset)
        self.nodes[name] = PartyProcess(name, launch)
        return self.nodes[name]

    def start_custodian(self, *, trap: Trap | None = None) -> PartyProcess:
        """Start the custodian; it connects when it can."""
        self._retire(self.custodian)
        arguments = ("custodian", "run", "--folder", str(self.folder / CUSTODIAN), "--coordinator", self.address)
        self.custodian = PartyProcess(CUSTODIAN, Launch(arguments=arguments, trap=trap))
        return self.custodian

    def wait_present(self, *names: str) -> None:
        """Wait until the running coordinator has seen these nodes, each since its present start."""
        coordinator = self.require_coordinator()
        for name in names:
            try:
                coordinator.wait_for_line(rf'"node": "{name}".*"node present"')
            except TooLate as error:
                message = f"{name} did not come; everything that was printed:\n{self.output}"
                raise TooLate(message) from error

    def require_coordinator(self) -> PartyProcess:
        if self.coordinator is None:
            message = "the coordinator was never started"
            raise RuntimeError(message)
        return self.coordinator

    def stop(self) -> None:
        """End what still runs, in order if it will."""
        for process in self.running:
            process.stop()

    def _retire(self, process: PartyProcess | None) -> None:
        if process is not None:
            process.kill()
            self.retired.append(process)

    # -- what a person sees ----------------------------------------------------------------------------

    def party(self, name: str) -> PartyFolder:
        return PartyFolder.load(self.folder / name)

    @contextmanager
    def client(self, person: str = SCIENTIST) -> Iterator[Client]:
        with Client(self.party(person), address=self.address, passphrase=PASSPHRASE) as client:
            yield client

    def submit(self, job: SmallJob | None = None) -> str:
        """Submit a job; its digest."""
        with self.client() as client:
            return client.submit_job((job or SmallJob()).to_yaml(), "job.yaml").job

    def detail(self, job: str) -> pb.JobDetail:
        with self.client() as client:
            return client.show_job(job)

    @contextmanager
    def watching(self, job: str, *, person: str = SCIENTIST) -> "Iterator[JobWatch]":
        """The job's events, also across restarts of the coordinator."""
        watch = JobWatch(self, job, person)
        try:
            yield watch
        finally:
            watch.close()

    def wait_ended(self, job: str, *, seconds: float = PATIENCE_SECONDS) -> pb.JobDetail:
        """Wait until the job has ended; what is then known of it."""
        with self.watching(job) as watch:
            watch.wait(lambda event: event.kind == "done", "the end of the job", seconds=seconds)
        return self.detail(job)

    def run(self, job: SmallJob | None = None) -> pb.JobDetail:
        """Submit a job and wait for its end."""
        return self.wait_ended(self.submit(job))

    @property
    def output(self) -> str:
        services = [process for process in (self.custodian, self.coordinator) if process is not None]
        everyone = [*self.retired, *self.nodes.values(), *services]
        return "\n".join(f"--- {process.name}\n{process.output}" for process in everyone)

    def assert_no_traceback(self) -> None:
        """No process may have printed a traceback, whatever happened to it."""
        found = re.search(r"Traceback \(most recent call last\)[\s\S]{0,3000}", self.output)
        assert found is None, found.group()


class JobWatch:
    """Reads the events of one job on a thread of its own, and connects again when the coordinator comes back."""

    def __init__(self, federation: Federation, job: str, person: str) -> None:
        self._job = job
        self.events: list[pb.JobEvent] = []
        self._arrived: queue.Queue[pb.JobEvent] = queue.Queue()
        folder = federation.party(person)
        name = service_name(folder.record.federation, PartyKind.COORDINATOR, "coordinator")
        options = (("grpc.max_reconnect_backoff_ms", 200),)
        self._federation = federation
        self._channel = tls.open_channel(federation.address, folder.tls(PASSPHRASE), service_name=name, options=options)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait(
        self, wanted: Callable[[pb.JobEvent], bool], what: str, *, seconds: float = PATIENCE_SECONDS
    ) -> pb.JobEvent:
        """The first event not seen by an earlier call for which ``wanted`` is true."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                event = self._arrived.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                message = f"{what} did not come within {seconds:.0f} seconds;\n{self._federation.output}"
                raise TooLate(message) from None
            self.events.append(event)
            if wanted(event):
                return event

    def close(self) -> None:
        self._closed.set()
        self._channel.close()
        self._thread.join()

    def _read(self) -> None:
        stub = AdministrationStub(self._channel)
        while not self._closed.is_set():
            try:
                for event in stub.WatchJob(pb.JobRequest(job=self._job), wait_for_ready=True):
                    self._arrived.put(event)
                    if event.kind == "done":
                        return
            except (grpc.RpcError, ValueError):
                continue  # the coordinator went away, or this channel was closed
