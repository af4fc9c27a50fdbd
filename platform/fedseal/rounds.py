"""Where a message belongs: job, stage, round and attempt. Shared by coordinator and node."""

from dataclasses import dataclass

from fedseal.errors import PeerFault
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.digests import Digest, parse_digest

STAGE_CHARACTERS = 64
"""Of a stage's name, as in the parameters of a round."""

MOST = 2**31 - 1
"""The largest number of a round or an attempt: what a database column holds."""


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
            PeerFault: the stage's name or a number cannot be one.
            DigestInvalid: the job is not a digest.
        """
        stage = message.stage
        if not (0 < len(stage) <= STAGE_CHARACTERS and stage.isascii() and stage.isprintable()):
            sentence = "a message named no stage, or one that no stage can have"
            raise PeerFault(sentence)
        if max(message.round, message.attempt) > MOST:
            sentence = "a message named a round or an attempt that no job can reach"
            raise PeerFault(sentence)
        return cls(parse_digest(message.job), message.stage, message.round, message.attempt)
