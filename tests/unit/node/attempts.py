"""The coordinator's side of a round against one real node; the other members are played here too.

Everything is honest until a test changes a message on its way. The others' vectors are zero, so that the sum of an
honest round is exactly what the real node contributed.
"""

import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from fedseal.coordinator.attendance import Session
from fedseal.coordinator.job_run import JobRun, OpenedRound
from fedseal.documents import SignedJob
from fedseal.learning import NamedTensors
from fedseal.rounds import RoundAddress
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.encoding import RingVector
from fedseal_crypto.identity import PublicIdentity
from fedseal_crypto.masking import (
    ClientId,
    ClientLimits,
    MaskedInputHeader,
    MaskingClient,
    MaskingServer,
    RoundParameters,
    ServerMessage,
    Step,
    decode_message,
)
from fedseal_governance.datasets import load_schema
from tests.unit.node.papers import SCHEMA
from tests.unit.node.parties import FEDERATION, NODES, Consortium, Enrolled
from tests.unit.node.site import Site

NOBODY: Mapping[Step, Collection[str]] = {}


def session_of(party: Enrolled) -> Session:
    """A member as the coordinator's code wants it."""
    return Session(
        member=party.member,
        identity_pem=party.identity_pem,
        session=party.name.encode().ljust(16, b"."),
        since=party.member.not_after,
        policies=(),
        datasets={},
        software="test",
    )


@dataclass(slots=True)
class Coordinator:
    """What a coordinator knows of one job that the node ``site`` takes part in."""

    site: Site
    job: SignedJob
    run: JobRun = field(init=False)

    def __post_init__(self) -> None:
        self.run = JobRun(
            digest=self.job.digest,
            federation=str(FEDERATION),
            document=self.job.document,
            schema=load_schema(SCHEMA, "schema.yaml"),
            schema_digest=sha256_hex(SCHEMA),
        )

    @property
    def consortium(self) -> Consortium:
        return self.site.consortium

    def offer(self) -> pb.JobVerdict:
        """Offer the job; the node's verdict."""
        mark = self.site.mark()
        self.site.tell(job_offer=pb.JobOffer(job=self.job.digest, document=self.job.envelope))
        [verdict] = self.site.left_since(mark).verdicts
        return verdict

    def attempt(
        self,
        number: int = 0,
        *,
        roster: Collection[str] = NODES,
        abandoned: Mapping[str, tuple[bytes, ...]] | None = None,
        **changed: object,
    ) -> "Attempt":
        """An attempt at the job's next round, with some of its parameters changed by name."""
        self.run.progress = replace(self.run.progress, attempt=number)
        sessions = [session_of(self.consortium.parties[name]) for name in sorted(roster)]
        opened = self.run.open_round(sessions, step_seconds=60)
        parameters = replace(opened.plan.parameters, **changed)  # type: ignore[arg-type]  # fields by name
        return Attempt(self, opened, parameters, dict(abandoned or {}))

    def end(self, state: str = "finished", reason: str = "") -> None:
        """Tell the node that the job is over."""
        self.site.tell(job_end=pb.JobEnd(job=self.job.digest, state=state, reason=reason, job_record=b"record"))


class Attempt:
    """One attempt, step by step."""

    def __init__(
        self,
        coordinator: Coordinator,
        opened: OpenedRound,
        parameters: RoundParameters,
        abandoned: Mapping[str, tuple[bytes, ...]],
    ) -> None:
        self.coordinator = coordinator
        self.site = coordinator.site
        self.parameters = parameters
        self.opened = opened
        self.broadcast = opened.broadcast
        self.address: RoundAddress = opened.plan.address
        self.abandoned = abandoned
        self.server = MaskingServer(parameters, self._members())
        self._others: dict[ClientId, MaskingClient] = {}

    @property
    def me(self) -> ClientId:
        return ClientId(self.site.name)

    @property
    def context(self) -> bytes:
        """First context: how members name this attempt when they give it up."""
        return self.parameters.context0()

    @property
    def others(self) -> dict[ClientId, MaskingClient]:
        """The other members' real clients, made when first needed."""
        if not self._others:
            members = self._members()
            for name in self.parameters.roster:
                if name != self.me:
                    key = self.coordinator.consortium.parties[name].key
                    self._others[name] = MaskingClient(self.parameters, key, members, ClientLimits(), os.urandom)
        return self._others

    # -- messages for the node -------------------------------------------------------------------------

    def start(self, **changed: object) -> pb.RoundStart:
        """The honest beginning, with fields changed by name."""
        parties = self.coordinator.consortium.parties
        fields: dict[str, object] = {
            "address": self.address.to_wire(),
            "parameters": self.parameters.encode(),
            "broadcast_digest": self.parameters.broadcast_digest,
            "broadcast_size": len(self.broadcast),
            "member_certificates": [
                parties[name].identity_pem.decode() for name in self.parameters.roster if name in parties
            ],
            "revocation_list": self.site.folder.revocations_pem(),
            "log_size": 7,
        }
        return pb.RoundStart(**{**fields, **changed})  # type: ignore[arg-type]  # fields by name

    def begin(self, **changed: object) -> None:
        """Send the beginning; what a download of the broadcast gives is ``self.broadcast``."""
        self.site.outbox.artefacts[self.parameters.broadcast_digest] = self.broadcast
        self.site.tell(round_start=self.start(**changed))

    def instruct(self, message: ServerMessage | bytes, address: RoundAddress | None = None) -> None:
        """Send a step's instruction."""
        payload = message if isinstance(message, bytes) else message.encode()
        self.site.tell(masking_step=pb.MaskingStep(address=(address or self.address).to_wire(), payload=payload))

    def end(self, *, completed: bool, survivors: Collection[str] = ()) -> None:
        """Tell the node how the attempt ended."""
        end = pb.RoundEnd(address=self.address.to_wire(), completed=completed, reason="" if completed else "test")
        end.survivors.extend(survivors)
        self.site.tell(round_end=end)

    # -- an honest course ------------------------------------------------------------------------------

    def reach(self, step: Step, *, leaves: Mapping[Step, Collection[str]] = NOBODY) -> ServerMessage | None:
        """Play honestly up to ``step``; gives the instruction that the node would get now, not yet sent.

        Args:
            step: where to stop.
            leaves: at each step, the other members who do not answer from there on.
        """
        gone: set[str] = set()
        while self.server.step is not step:
            gone |= set(leaves.get(self.server.step, ()))
            self.play_step(gone)
            self.server.close_step()
        return self.server.instruction_for(self.me) if step not in (Step.DONE, Step.FAILED) else None

    def play_step(self, gone: Collection[str] = ()) -> None:
        """Everybody who is there answers the current step honestly."""
        for name, client in self.others.items():
            if name in gone or name not in self.server.expected:
                continue
            instruction = self.server.instruction_for(name)
            if instruction is None:
                self.server.receive(client.advertise(self.abandoned.get(name, ())))
            else:
                self.server.receive(client.answer(instruction, self.nothing()))
        self.play_own_step()

    def play_own_step(self) -> None:
        """The real node answers the current step."""
        mark = self.site.mark()
        instruction = self.server.instruction_for(self.me)
        if instruction is None:
            self.begin()
        else:
            self.instruct(instruction)
        left = self.site.left_since(mark)
        assert not left.refusals, left.refusals
        for header, data in left.vectors:
            message = decode_message(header.message)
            assert isinstance(message, MaskedInputHeader)
            self.server.receive(message.with_words(RingVector.from_bytes(self.parameters, data)))
        for message in left.messages:
            self.server.receive(message)  # type: ignore[arg-type]  # the server checks what it is

    def finish(self, *, leaves: Mapping[Step, Collection[str]] = NOBODY) -> NamedTensors:
        """Play the whole attempt honestly, and tell the node its end; gives the sum."""
        self.reach(Step.DONE, leaves=leaves)
        result = self.server.result
        self.end(completed=True, survivors=[str(name) for name in result.survivors])
        return self.opened.layout.decode(result.words, count=len(result.survivors))

    def nothing(self) -> RingVector:
        """A contribution of zeros."""
        layout = self.opened.layout
        zeros = {spec.name: np.zeros(spec.length) for spec in layout.specs}
        return layout.encode(zeros, generator=np.random.default_rng(0)).words

    def _members(self) -> dict[ClientId, PublicIdentity]:
        parties = self.coordinator.consortium.parties
        return {ClientId(name): parties[name].member.public for name in self.parameters.roster}


def assert_refused(site: Site, act: Callable[[], object], *, code: str, says: str) -> None:
    """``act`` makes the node refuse the attempt, in its log and to the coordinator, and nothing else leaves it."""
    mark, before = site.mark(), len(site.audit("round.refused"))
    act()
    left = site.left_since(mark)
    assert left.messages == []
    assert left.vectors == []
    entries = site.audit("round.refused")[before:]
    [entry], [refusal] = entries, left.refusals
    assert re.fullmatch(code, refusal.code), (refusal.code, refusal.sentence)
    assert re.search(says, refusal.sentence), refusal.sentence
    assert entry.details["code"] == refusal.code
    assert entry.details["sentence"] == refusal.sentence
    assert entry.subject == f"job/{refusal.address.job}"
    assert entry.actor == f"node/{site.name}"


def assert_ignored(site: Site, act: Callable[[], object]) -> None:
    """``act`` makes nothing leave the node."""
    mark = site.mark()
    act()
    left = site.left_since(mark)
    assert (left.messages, left.vectors, left.refusals, left.verdicts) == ([], [], [], [])


def assert_counts(values: NamedTensors, rows: int) -> None:
    """The sum of a statistics round is over ``rows`` records."""
    assert float(values["rows"][0]) == rows
    assert float(np.max(values["present"])) <= rows
