"""What every party of an attempt must agree on, and the digest that binds it into every key and signature.

Parties that were told anything different compute another context, so their signatures do not verify and their
masks do not cancel.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NewType, final

from fedseal_crypto.digests import Digest, DigestInvalid, parse_digest
from fedseal_crypto.encoding import LayoutInvalid, RingShape, WordRun
from fedseal_crypto.identity import NameInvalid, parse_federation_name, parse_party_name
from fedseal_crypto.masking._codec import Reader, Writer
from fedseal_crypto.masking._errors import MessageMalformed, ParametersInvalid
from fedseal_crypto.masking._labels import Usage, tagged_hash
from fedseal_crypto.masking._thresholds import LARGEST_ROSTER, check_size, smallest_sum

ClientId = NewType("ClientId", str)
"""A member of the roster: the party's name in the federation."""

MemberIndex = NewType("MemberIndex", int)
"""A member's position in the sorted roster, from 0; its shares have the evaluation point one higher."""

DIGEST_SIZE = 32
NAME_SIZE = 63
STAGE_SIZE = 64
MAXIMUM_ABANDONED = 64  # attempts of one round that an advertisement can name; a job gives up long before
_VERSION = 1
_MAXIMUM_COUNTER = 2**32 - 1
_MAXIMUM_WORDS = 2**40


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RoundParameters:
    """One attempt at one round of one stage of one job.

    Attributes:
        federation: The federation's name.
        job_digest: SHA-256 of the signed job document.
        stage: The stage of the job's programme, 1 to 64 printable ASCII characters.
        round: From 0.
        attempt: From 0; every attempt has fresh keys.
        roster: The members, sorted, distinct, at least 3.
        minimum_cohort: The sum must have at least this many contributions.
        corrupted: c: members that may collude with the server.
        threshold: t: shares that recover a secret.
        neighbours: k of the sparse graph, even, below n - 1; None for the complete graph.
        layout_digest: 32 bytes, the digest of the encoding's layout.
        words: The runs of the ring vector.
        broadcast_digest: SHA-256 of what every node received for this round, such as the model.
        plan_digest: SHA-256 of everything else the parties agreed on: policies, plan, learner.

    Raises:
        ParametersInvalid: One of these does not hold.
    """

    federation: str
    job_digest: Digest
    stage: str
    round: int
    attempt: int
    roster: tuple[ClientId, ...]
    minimum_cohort: int
    corrupted: int
    threshold: int
    neighbours: int | None
    layout_digest: bytes
    words: tuple[WordRun, ...]
    broadcast_digest: Digest
    plan_digest: Digest

    def __post_init__(self) -> None:
        try:
            parse_federation_name(self.federation)
            for member in self.roster:
                parse_party_name(member)
            for digest in (self.job_digest, self.broadcast_digest, self.plan_digest):
                parse_digest(digest)
            RingShape(layout_digest=self.layout_digest, runs=self.words)
        except (NameInvalid, DigestInvalid, LayoutInvalid) as error:
            raise ParametersInvalid(f"the parameters of a round are invalid: {error}") from error
        self._check_numbers()

    def _check_numbers(self) -> None:
        n = len(self.roster)
        check_size(n)
        if list(self.roster) != sorted(set(self.roster)):
            raise ParametersInvalid("the roster must be sorted and name each member once.")
        if not (0 < len(self.stage) <= STAGE_SIZE and self.stage.isascii() and self.stage.isprintable()):
            raise ParametersInvalid(f"a stage has 1 to {STAGE_SIZE} printable ASCII characters.")
        if not (0 <= self.round <= _MAXIMUM_COUNTER and 0 <= self.attempt <= _MAXIMUM_COUNTER):
            raise ParametersInvalid("round and attempt are numbers from 0 to 2^32 - 1.")
        for name, value in (
            ("minimum_cohort", self.minimum_cohort),
            ("corrupted", self.corrupted),
            ("threshold", self.threshold),
        ):
            if not 1 <= value <= n:
                raise ParametersInvalid(f"{name} is {value}; with {n} members it must be 1 to {n}.")
        if self.smallest_sum > n:
            raise ParametersInvalid(
                f"a sum must have {self.smallest_sum} contributions, but the roster has {n} members; lower the "
                "minimum cohort or the number of corrupted members."
            )
        k = self.neighbours
        if k is not None and (k % 2 or not 2 <= k < n - 1):
            raise ParametersInvalid(f"a sparse graph on {n} members has an even number of neighbours below {n - 1}.")

    @property
    def shape(self) -> RingShape:
        """The shape of the ring vector."""
        return RingShape(layout_digest=self.layout_digest, runs=self.words)

    @property
    def smallest_sum(self) -> int:
        """Contributions that a sum must have: threshold, minimum cohort, and two honest members at worst."""
        return smallest_sum(threshold=self.threshold, minimum_cohort=self.minimum_cohort, corrupted=self.corrupted)

    def index_of(self, member: ClientId) -> MemberIndex | None:
        """The member's position, or None."""
        try:
            return MemberIndex(self.roster.index(member))
        except ValueError:
            return None

    def context0(self) -> bytes:
        """32 bytes that stand for all of the above; the first context of the attempt."""
        return _context0(self)

    def encode(self) -> bytes:
        """The bytes that `decode` reads; equal parameters give equal bytes."""
        out = Writer()
        out.uint(_VERSION, 1)
        out.text(self.federation)
        out.fixed(bytes.fromhex(self.job_digest))
        out.text(self.stage)
        out.uint(self.round, 4)
        out.uint(self.attempt, 4)
        out.uint(len(self.roster), 2)
        for member in self.roster:
            out.text(member)
        for value in (self.minimum_cohort, self.corrupted, self.threshold, self.neighbours or 0):
            out.uint(value, 2)
        out.fixed(self.layout_digest)
        out.uint(len(self.words), 1)
        for run in self.words:
            out.uint(run.bits, 1)
            out.uint(run.count, 8)
        out.fixed(bytes.fromhex(self.broadcast_digest))
        out.fixed(bytes.fromhex(self.plan_digest))
        return out.finish()

    @classmethod
    def decode(cls, data: bytes) -> "RoundParameters":
        """Read what `encode` wrote.

        Raises:
            MessageMalformed: The bytes are not the parameters of a round.
        """
        source = Reader(data, "the parameters of a round")
        source.uint(1, "the version", most=_VERSION)
        try:
            parameters = cls(
                federation=source.text("the federation", most=NAME_SIZE),
                job_digest=_digest(source, "the job digest"),
                stage=source.text("the stage", most=STAGE_SIZE),
                round=source.uint(4, "the round", most=_MAXIMUM_COUNTER),
                attempt=source.uint(4, "the attempt", most=_MAXIMUM_COUNTER),
                roster=tuple(
                    ClientId(source.text("a member", most=NAME_SIZE))
                    for _ in range(source.uint(2, "the number of members", most=LARGEST_ROSTER))
                ),
                minimum_cohort=source.uint(2, "the minimum cohort", most=LARGEST_ROSTER),
                corrupted=source.uint(2, "the corrupted members", most=LARGEST_ROSTER),
                threshold=source.uint(2, "the threshold", most=LARGEST_ROSTER),
                neighbours=source.uint(2, "the neighbours", most=LARGEST_ROSTER) or None,
                layout_digest=source.fixed(DIGEST_SIZE, "the layout digest"),
                words=tuple(_run(source) for _ in range(source.uint(1, "the number of runs", most=4))),
                broadcast_digest=_digest(source, "the broadcast digest"),
                plan_digest=_digest(source, "the plan digest"),
            )
        except (ParametersInvalid, LayoutInvalid) as error:
            raise MessageMalformed(str(error)) from error
        source.finish()
        if parameters.encode() != data:
            raise source.malformed("it is not in the only form that encoding gives")
        return parameters


@lru_cache(maxsize=16)
def _context0(parameters: RoundParameters) -> bytes:
    """Kept, because every step of every party needs it and encoding a long roster takes a while."""
    return tagged_hash(Usage.CONTEXT0, parameters.encode())


def _digest(source: Reader, name: str) -> Digest:
    return Digest(source.fixed(DIGEST_SIZE, name).hex())


def _run(source: Reader) -> WordRun:
    return WordRun(bits=source.uint(1, "a word width", most=64), count=source.uint(8, "a run", most=_MAXIMUM_WORDS))
