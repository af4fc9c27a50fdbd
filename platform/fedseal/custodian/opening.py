"""Everything a custodian checks before it opens a sum.

(1) it serves the job, whose signer is not revoked, and its own policy, the version that accepted the job, is still
    in force and allows it now;
(2) the round is of the job's programme, and the request is for exactly that round;
(3) every member is a certified node that the job names, of the round's group where the method sums over groups; every
    ciphertext is signed by one of them, for this attempt and key, committed to before any was sent (or masked inside);
    they are at least the minimum cohort;
(4) no other sum of the round was opened, no limit is reached, and no earlier sum differs by only a few members;
(5) the layout is the one that the members signed;
(6) the sum of the signed ciphertexts, added here, is the one that the coordinator made.

The coordinator's addition is not trusted: the ciphertexts are added again. The custodian could decrypt each of
them, and would see uniform words, because pads or masks are inside.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedseal.custodian.ledger import CustodianLedger
from fedseal.documents import SignedJob, read_job
from fedseal.errors import PeerFault, RefusalError
from fedseal.methods import Stage, asked_nodes, programme
from fedseal.rounds import RoundAddress
from fedseal.trust import Clock, Trust
from fedseal.wire._generated import custody_pb2 as pb
from fedseal.wire.custody import address_from_wire
from fedseal.wire.limits import CERTIFICATE_BYTES, ROSTER_MEMBERS, SUM_REQUEST_BYTES
from fedseal_crypto.custody import Expected, SumRequest, check_request
from fedseal_crypto.homomorphic import Adder, PublicContext, SlotPlan, plan_slots
from fedseal_crypto.identity import PartyKind, PublicIdentity
from fedseal_crypto.masking import ClientId
from fedseal_governance.custody import ServedJobRow, ServedState, SumAsked
from fedseal_governance.policy.model import ProtectionRules
from fedseal_governance.runs import RoundKey
from fedseal_governance.vocabulary import Protection

Fetch = Callable[[RoundAddress, str, int], Path]
"""(address, member, size) -> file of that member's ciphertext, which the caller removes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request to open a sum, parsed; nothing in it is trusted yet."""

    address: RoundAddress
    request: SumRequest
    certificates: tuple[bytes, ...]

    @classmethod
    def from_wire(cls, task: pb.OpenSum) -> "Asked":
        """Parse within limits.

        Raises:
            PeerFault: a field is outside its limits.
            PeerError: the request cannot be read.
        """
        if not 0 < len(task.member_certificates) <= ROSTER_MEMBERS or len(task.request) > SUM_REQUEST_BYTES:
            sentence = "a request to open a sum is larger than any can be, or names no members"
            raise PeerFault(sentence)
        certificates = tuple(item.encode() for item in task.member_certificates)
        if max(map(len, certificates)) > CERTIFICATE_BYTES:
            sentence = "a certificate is larger than any can be"
            raise PeerFault(sentence)
        request = SumRequest.decode(task.request, members=len(certificates))
        return cls(address=address_from_wire(task.address), request=request, certificates=certificates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What this custodian checks by."""

    federation: str
    trust: Trust
    ledger: CustodianLedger
    clock: Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Openable:
    """A sum that may be opened.

    Attributes:
        members: who is in it.
        dataset: of the job.
        protection: what this custodian's policy says of sums.
        plan: how words lie in its ciphertexts.
        group: members of the group that it is of; empty where it is over all.
    """

    asked: Asked
    members: tuple[ClientId, ...]
    dataset: str
    protection: ProtectionRules
    plan: SlotPlan
    group: frozenset[str] = frozenset()

    @property
    def count(self) -> int:
        """Contributions in the sum."""
        return len(self.members)

    def as_stored(self) -> SumAsked:
        """As the database takes it."""
        address, request = self.asked.address, self.asked.request
        return SumAsked(
            key=RoundKey(job=address.job, stage=address.stage, round=address.round, attempt=address.attempt),
            request=request.digest().hex(),
            dataset=self.dataset,
            broadcast=request.parameters.broadcast_digest,
            members=[str(member) for member in self.members],
            sum_digest=request.sum_digest.hex(),
            group=self.group,
        )


def served_job(job: str, rules: Rules) -> tuple[SignedJob, ServedJobRow, ProtectionRules]:
    """(1): the job, its row, and what the policy says of sums.

    Raises:
        RefusalError: it is not served, or the policy refuses it now.
        PeerError: its signer has been revoked since.
    """
    row = rules.ledger.served(job)
    if row is None or row.state is not ServedState.SERVED:
        sentence = f"this custodian does not serve job {job[:12]}, or its key is destroyed"
        raise RefusalError(sentence)
    now = rules.clock()
    signed = read_job(row.envelope, root=rules.trust.root, revocations=rules.trust.revocations, now=now)
    judgement = rules.ledger.judge(signed, now=now)
    if judgement.refusals or judgement.policy is None:
        sentence = " ".join(f"[{reason.clause}] {reason.sentence}" for reason in judgement.refusals)
        raise RefusalError(sentence)
    if judgement.policy.digest != row.policy:
        sentence = (
            "another version of this custodian's policy has come into force since it accepted the job; the job must "
            "be submitted again so that the new version can decide"
        )
        raise RefusalError(sentence)
    return signed, row, judgement.policy.document.protection


def check_asked(asked: Asked, public: PublicContext, rules: Rules) -> Openable:
    """(1) to (5); what is left is to add the ciphertexts.

    Raises:
        RefusalError, GovernanceError: this custodian's own rules forbid it; the sentence says which.
        PeerFault, PeerError: the request fails a check.
    """
    openable, _ = require_checked(asked, public, rules)
    rules.ledger.require_openable(openable.as_stored(), openable.protection, now=rules.clock())  # (4)
    return openable


def require_checked(asked: Asked, public: PublicContext, rules: Rules) -> tuple[Openable, SignedJob]:
    """(1), (2), (3) and (5), and the job.

    Raises:
        RefusalError, GovernanceError: this custodian's own rules forbid it; the sentence says which.
        PeerFault, PeerError: the request fails a check.
    """
    address, request = asked.address, asked.request
    signed, row, protection = served_job(address.job, rules)  # (1)
    stage = _check_round(asked, signed)  # (2)
    identities = _check_members(asked, signed, stage, rules)  # (3)
    expected = Expected(
        federation=rules.federation,
        job_digest=signed.digest,
        key=bytes.fromhex(row.key_digest),
        masked=signed.document.protection is Protection.HYBRID,
        minimum_cohort=max(protection.minimum_cohort, signed.document.minimum_cohort),
    )
    members = check_request(request, expected, identities)  # (3)
    group = asked_nodes(stage.method, signed.document, address.round)
    openable = Openable(
        asked=asked,
        members=members,
        dataset=signed.document.dataset,
        protection=protection,
        plan=_check_layout(request, public),
        group=group if group < frozenset(signed.document.nodes) else frozenset(),
    )  # (5)
    return openable, signed


def add_signed(openable: Openable, public: PublicContext, fetch: Fetch) -> bytes:
    """(6): the encrypted sum, added from the ciphertexts that the members signed.

    Raises:
        PeerFault, PeerError: a ciphertext is not the signed one, or the coordinator's sum is another.
    """
    request, address = openable.asked.request, openable.asked.address
    adder = Adder(openable.plan, public)
    for sealed in request.inputs:
        path = fetch(address, sealed.client, openable.plan.bundle_bytes)
        try:
            bundle = path.read_bytes()
        finally:
            path.unlink(missing_ok=True)
        if hashlib.sha256(bundle).digest() != sealed.digest:
            sentence = f"{address}: the coordinator sent another ciphertext of {sealed.client} than that node signed"
            raise PeerFault(sentence)
        adder.add(bundle)
    total = adder.to_bytes()
    if hashlib.sha256(total).digest() != request.sum_digest:
        sentence = (
            f"{address}: the coordinator's sum is not the sum of the {openable.count} ciphertexts that nodes signed"
        )
        raise PeerFault(sentence)
    return total


def stage_of(address: RoundAddress, signed: SignedJob) -> Stage:
    """The stage of a round of the job.

    Raises:
        PeerFault: there is no such round.
    """
    stages = {stage.name: stage for stage in programme(signed.document)}
    stage = stages.get(address.stage)
    if stage is None or address.round >= stage.rounds:
        sentence = f"{address} is not part of the job's programme"
        raise PeerFault(sentence)
    return stage


def _check_round(asked: Asked, signed: SignedJob) -> Stage:
    address, parameters = asked.address, asked.request.parameters
    stage = stage_of(address, signed)
    named = (parameters.job_digest, parameters.stage, parameters.round, parameters.attempt)
    if named != (address.job, address.stage, address.round, address.attempt):
        sentence = f"{address}: the request is for the parameters of another round"
        raise PeerFault(sentence)
    return stage


def _check_members(asked: Asked, signed: SignedJob, stage: Stage, rules: Rules) -> dict[ClientId, PublicIdentity]:
    roster = asked.request.parameters.roster
    group = asked_nodes(stage.method, signed.document, asked.address.round)
    if not group.issuperset(roster):
        sentence = f"{asked.address}: {', '.join(sorted(set(roster) - group))} is not of the group that this round sums"
        raise PeerFault(sentence)
    if len(roster) != len(asked.certificates):
        sentence = f"{asked.address}: {len(roster)} members and {len(asked.certificates)} certificates"
        raise PeerFault(sentence)
    members: dict[ClientId, PublicIdentity] = {}
    for client, pem in zip(roster, asked.certificates, strict=True):
        member = rules.trust.identity(pem)
        if member.kind is not PartyKind.NODE or str(member.name) != client or client not in signed.document.nodes:
            sentence = f"{asked.address}: {client} is not a node of this job with that certificate"
            raise PeerFault(sentence)
        members[client] = member.public
    return members


def _check_layout(request: SumRequest, public: PublicContext) -> SlotPlan:
    parameters = request.parameters
    layout, plan = plan_slots(request.specs, cohort=len(parameters.roster), parameters=public.parameters, masked=True)
    if layout.digest != parameters.layout_digest or layout.shape.runs != parameters.words:
        sentence = "the vectors of the request are not those that the members signed"
        raise PeerFault(sentence)
    return plan
