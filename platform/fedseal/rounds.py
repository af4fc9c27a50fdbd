"""Where a message belongs: job, stage, round and attempt. Shared by coordinator and node."""

from dataclasses import dataclass

from fedseal.errors import PeerFault
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal.wire.limits import TEXT_CHARACTERS
from fedseal_crypto.digests import Digest, parse_digest


@dataclass(frozen=True, slots=True, order=True)
class RoundAddress:
    """One attempt of one round of one stage of one job; attempts and rounds count from 0."""

    job: Digest
    stage: str
    round: int
    attempt: int

    def __str__(self) -> str:
        suffix = f", attempt {self.attempt + 1}" if self.attempt else ""
        return f"job {self.job[:12]}, {self.stage} round {self.round + 1}{suffix}"

    def to_wire(self) -> pb.RoundAddress:
        """As a protobuf message."""
        return pb.RoundAddress(job=self.job, stage=self.stage, round=self.round, attempt=self.attempt)

    @classmethod
    def from_wire(cls, message: pb.RoundAddress) -> "RoundAddress":
        """Read and check a protobuf message.

        Raises:
            PeerFault: the stage name is empty or too long.
            DigestInvalid: the job is not a digest.
        """
        if not message.stage or len(message.stage) > TEXT_CHARACTERS:
            sentence = "a message named no stage, or one longer than any stage's name"
            raise PeerFault(sentence)
        return cls(parse_digest(message.job), message.stage, message.round, message.attempt)
