"""What custodians bring to the coordinator's engine, as frozen records."""

from dataclasses import dataclass
from pathlib import Path

from fedseal.coordinator.custody_roll import CustodianSession
from fedseal.rounds import RoundAddress
from fedseal_crypto.digests import Digest


@dataclass(frozen=True, slots=True)
class CustodianArrived:
    """A custodian opened its task stream."""

    session: CustodianSession


@dataclass(frozen=True, slots=True)
class CustodianLeft:
    """A custodian's task stream ended."""

    session: CustodianSession


@dataclass(frozen=True, slots=True, kw_only=True)
class CustodianDeclined:
    """A custodian does not serve a job (``address`` is None), or does not open a sum."""

    custodian: str
    job: Digest
    address: RoundAddress | None
    code: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPublished:
    """A custodian made a job's key; ``public`` is the file of its public part."""

    custodian: str
    job: Digest
    statement: bytes
    public: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class SumDelivered:
    """A custodian opened a sum; ``opened`` is the file of its words."""

    custodian: str
    job: Digest
    address: RoundAddress
    request: str
    statement: bytes
    opened: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalarsDelivered:
    """A custodian opened numbers about single contributions: a signed statement of each, and the rest's names."""

    custodian: str
    job: Digest
    address: RoundAddress
    statements: tuple[bytes, ...]
    roll: bytes


JobCustodyEvent = CustodianDeclined | KeyPublished | SumDelivered | ScalarsDelivered
"""What concerns one job."""
