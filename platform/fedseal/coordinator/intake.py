"""What can happen to the coordinator's engine, as frozen records."""

from dataclasses import dataclass
from pathlib import Path

from fedseal.coordinator.attendance import Session
from fedseal.coordinator.custody_events import CustodianArrived, CustodianLeft, JobCustodyEvent
from fedseal.rounds import RoundAddress
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.digests import Digest


@dataclass(frozen=True, slots=True)
class NodeArrived:
    """A node opened its instruction stream."""

    session: Session


@dataclass(frozen=True, slots=True)
class NodeLeft:
    """A node's instruction stream ended."""

    session: Session


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictReported:
    """A node accepted or refused a job."""

    node: str
    verdict: pb.JobVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageReported:
    """A node sent a masking message other than its masked vector."""

    node: str
    session: bytes
    address: RoundAddress
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ContributionArrived:
    """A node's masked vector arrived whole, in the file ``vector``."""

    node: str
    session: bytes
    address: RoundAddress
    payload: bytes
    vector: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRefused:
    """A node's own rules keep it out of this attempt."""

    node: str
    session: bytes
    address: RoundAddress
    code: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAsked:
    """A person asked for a job to end."""

    job: Digest
    person: str
    reason: str


Event = (
    NodeArrived
    | NodeLeft
    | VerdictReported
    | MessageReported
    | ContributionArrived
    | RoundRefused
    | StopAsked
    | CustodianArrived
    | CustodianLeft
    | JobCustodyEvent
)
