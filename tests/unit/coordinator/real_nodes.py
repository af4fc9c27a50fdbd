"""Nodes with their own agent, database and data, connected to a coordinator without a network."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from fedseal.coordinator.intake import ContributionArrived, Event, MessageReported, RoundRefused, VerdictReported
from fedseal.rounds import RoundAddress
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal.wire.status import CallRefused
from tests.unit.coordinator.members import Member, Play
from tests.unit.node.site import SESSION, Site


@dataclass(slots=True)
class Line:
    """A node's connection; ``lie`` changes what the node sends."""

    play: Play
    node: str
    lie: Callable[[Event], Event] = field(default=lambda event: event)

    def report(self, report: pb.NodeReport) -> None:
        kind = report.WhichOneof("kind")
        if kind == "verdict":
            self._bring(VerdictReported(node=self.node, verdict=report.verdict))
        elif kind == "message":
            address, payload = RoundAddress.from_wire(report.message.address), report.message.payload
            self._bring(MessageReported(node=self.node, session=report.session, address=address, payload=payload))
        else:
            refusal = report.refusal
            self._bring(
                RoundRefused(
                    node=self.node,
                    session=report.session,
                    address=RoundAddress.from_wire(refusal.address),
                    code=refusal.code,
                    sentence=refusal.sentence,
                )
            )

    def contribute(self, header: pb.ContributionHeader, pieces: Callable[[], Iterator[bytes]]) -> None:
        address, file = RoundAddress.from_wire(header.address), self.play.process.incoming / f"{self.node}.part"
        file.write_bytes(b"".join(pieces()))
        assert self.play.process.engine.expected_bytes(address, self.node, header.session) == file.stat().st_size
        self._bring(
            ContributionArrived(
                node=self.node, session=header.session, address=address, payload=header.message, vector=file
            )
        )

    def download(self, *, digest: str, job: str, size: int, target: Path) -> None:
        path = self.play.process.views.artefact(job=job, digest=digest, for_node=self.node)
        target.write_bytes(path.read_bytes())
        assert target.stat().st_size == size

    def _bring(self, event: Event) -> None:
        refused = len(self.play.refusals)
        self.play.deliver(self.lie(event))
        if len(self.play.refusals) > refused:
            raise CallRefused(str(self.play.refusals[-1][1]), grpc.StatusCode.FAILED_PRECONDITION)


@dataclass(slots=True, kw_only=True)
class RealMember(Member):
    """A node's process by its own code."""

    site: Site

    def __post_init__(self) -> None:
        self.session = SESSION

    def answer(self, instruction: pb.Instruction) -> Event | None:
        """The agent answers through its own connection."""
        if not self.silent:
            self.site.agent.handle(instruction)
        return None

    def connect(self, play: Play) -> None:
        """Let the agent's messages go to a coordinator."""
        self.site.agent._outbox = Line(play, self.name)
        self.site.welcome()

    def forget(self) -> None:
        """The process dies and starts again, so quickly that nobody notices; what it had in memory is gone."""
        play = self.line.play
        self.site.restart()
        self.connect(play)

    @property
    def line(self) -> Line:
        """Its connection."""
        line = self.site.agent._outbox
        assert isinstance(line, Line)
        return line
