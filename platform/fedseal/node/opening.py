"""Everything a node checks before it contributes to a round, in the order of the threat model.

The numbers stand again beside the code:

(1) the job is the one this node accepted, still signed by a data scientist who is not revoked;
(2) its own policy and the federation's, the versions that accepted the job, are still in force and allow it now;
(3) the dataset is what was registered;
(4) enough records have a consent in force for the job's purpose now, and only those are used;
(5) the privacy budget covers the round (policies with a budget refuse every job that adds no noise, in (2));
(6) the parameters are this node's own: federation, job, stage and round of the programme, layout, plan, cohort
    and threshold, and every member's certificate is the authority's and not revoked;
(7) the broadcast is what the parameters say, and this attempt was never begun before;
(8) an earlier attempt of the same round, in which this node already sent its masked vector, can never be
    opened any more;
(9) the members are those of an earlier sum that counts, or differ from them by enough: the policy's
    ``protection.history``. The list of survivors is compared again before this node confirms it.

(8) is checked when the members' advertisements have arrived, because they carry the declarations it needs; the
records of (4) are chosen again right before the vector is made. What unmasking may reveal is the protocol's own
rule (``fedseal_crypto.masking``).
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from fedseal.documents import SignedJob, read_job
from fedseal.errors import PeerFault, RefusalError
from fedseal.learning import NamedTensors
from fedseal.methods import (
    Contribution,
    NodeContext,
    Plan,
    ReceivedBroadcast,
    Stage,
    asked_nodes,
    contribute,
    largest_broadcast,
    node_seed,
    programme,
    stage_plan,
    unpack_broadcast,
)
from fedseal.methods.judging import ScalarsAsked
from fedseal.node.attempts import EarlierAttempt
from fedseal.node.data import DataRoom
from fedseal.node.ledger import NodeLedger
from fedseal.node.local_state import KeptVector, LocalStates
from fedseal.node.own_models import OwnModels, personal_model
from fedseal.node.sealed import CheckedKey, KeyChecks, KeyOffer, KeyRing, OwnScalars, Seal, check_key, scalar_terms
from fedseal.plans import plan_digest
from fedseal.protection import RoundLayout, ScalarKey, round_layout
from fedseal.protection.scalars import ScalarTerms
from fedseal.rounds import RoundAddress
from fedseal.trust import Clock, Trust
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal.wire.limits import ARTEFACT_BYTES, CERTIFICATE_BYTES, ROSTER_MEMBERS
from fedseal_crypto.custody import SealedClient
from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.encoding import Layout, RingVector
from fedseal_crypto.identity import IdentityKey, PartyKind, PublicIdentity
from fedseal_crypto.masking import (
    ClientId,
    ClientLimits,
    MaskingClient,
    RoundParameters,
    attempt_is_dead,
    least_difference,
)
from fedseal_governance.history import ComparedSums
from fedseal_governance.jobs import SMALLEST_PROTECTED_COHORT
from fedseal_governance.policy import Rules
from fedseal_governance.policy.model import ProtectionRules
from fedseal_governance.vocabulary import Protection


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSelf:
    """Who this node is and what it works with."""

    name: str
    federation: str
    key: IdentityKey
    trust: Trust
    ledger: NodeLedger
    data: DataRoom
    local_states: LocalStates
    own_models: OwnModels
    clock: Clock
    keys: KeyRing = field(default_factory=KeyRing)
    former_key: IdentityKey | None = None
    """The key before the last rotation: a round that was called meanwhile still names it."""

    def key_named(self, public: PublicIdentity | None) -> IdentityKey:
        """The key of this node that a roster names; the present one if it names none of ours."""
        if self.former_key is not None and self.former_key.public == public:
            return self.former_key
        return self.key


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundOffer:
    """What the coordinator sent to begin a round, parsed; nothing in it is trusted yet."""

    address: RoundAddress
    parameters: RoundParameters
    certificates: tuple[bytes, ...]
    broadcast_size: int
    log_size: int
    key: KeyOffer | None = None

    @classmethod
    def from_wire(cls, start: pb.RoundStart) -> "RoundOffer":
        """Parse within limits.

        Raises:
            PeerFault: a field is outside its limits.
            PeerError: the parameters cannot be read.
        """
        if not 0 < len(start.member_certificates) <= ROSTER_MEMBERS:
            sentence = f"a round names 1 to {ROSTER_MEMBERS} members, this one {len(start.member_certificates)}"
            raise PeerFault(sentence)
        certificates = tuple(item.encode() for item in start.member_certificates)
        if max(map(len, certificates)) > CERTIFICATE_BYTES or not 0 < start.broadcast_size <= ARTEFACT_BYTES:
            sentence = "a certificate or the broadcast of the round is larger than any can be"
            raise PeerFault(sentence)
        return cls(
            address=RoundAddress.from_wire(start.address),
            parameters=RoundParameters.decode(start.parameters),
            certificates=certificates,
            broadcast_size=start.broadcast_size,
            log_size=start.log_size,
            key=KeyOffer.from_wire(start),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedAttempt:
    """An attempt that passed every check up to its advertisement.

    Attributes:
        client: the protocol's state machine; its advertisement has been made.
        advertisement: encoded, ready to send.
        earlier: older attempts of the round that might still be opened, for check (8).
        work: trains, encodes and stores that the vector is about to leave; called once.
        rules: the policies under which this node contributes.
        compared: with which earlier sums the survivors are compared, for check (9).
        seal: encrypts what leaves; None without a custodian's key.
        ciphertext: what this node committed to, where it commits before it sends.
        scalars: the numbers about its contribution that this node agreed to have opened.
    """

    offer: RoundOffer
    client: MaskingClient | SealedClient
    advertisement: bytes
    earlier: tuple[EarlierAttempt, ...]
    work: Callable[[], RingVector]
    rules: Rules
    compared: ComparedSums
    seal: Seal | None = None
    ciphertext: bytes = b""
    scalars: OwnScalars | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetching:
    """Gets the files of a round from the coordinator.

    Attributes:
        broadcast: gets the broadcast. It is called only when everything else is right and the announced size is
            one that this round's broadcast can have.
        key: gets the public key of the job.
        scalar_key: gets its second public key, where its method has scalars.
    """

    broadcast: Callable[[], bytes]
    key: Callable[[], bytes]
    scalar_key: Callable[[ScalarKey], bytes]


def open_attempt(offer: RoundOffer, fetch: Fetching, me: NodeSelf) -> OpenedAttempt:
    """Check a round and enter it; the advertisement may be sent when this returns.

    Raises:
        RefusalError, GovernanceError: this node's own rules keep it out; the sentence says which.
        PeerFault, PeerError: the coordinator's message fails a check.
    """
    now = me.clock()
    signed = accepted_job(offer.address.job, me)  # (1)
    rules = me.ledger.require_allowed(signed, now=now)  # (2) (3) (4) (5)
    key = check_key(offer.key, signed, KeyChecks(federation=me.federation, trust=me.trust, clock=me.clock))  # (6)
    stage = _check_address(offer, signed, key, me)  # (6)
    members = _check_members(offer, signed, stage, me)  # (6)
    _check_history(offer, rules.protection, signed, stage, me)  # (9)
    schema = me.data.schema(signed.document.dataset)
    plan = stage_plan(signed.document, schema, stage, round=offer.address.round)
    received = _receive(offer, fetch.broadcast, plan, programme(signed.document))  # (7)
    layout = _check_layout(offer, stage, received.plan)  # (6)
    agreed = _agreed_scalars(offer, stage, received, key, me)
    seal = None if key is None else _seal(offer, signed, key, fetch.key, layout, members, me)
    limits, identity = limits_of(rules.protection), me.key_named(members.get(ClientId(me.name)))
    client: MaskingClient | SealedClient
    if signed.document.protection is Protection.HOMOMORPHIC and key is not None:
        client = SealedClient(offer.parameters, identity, members, limits, bytes.fromhex(key.digest))
    else:
        client = MaskingClient(offer.parameters, identity, members, limits, os.urandom)
    earlier, abandoned = me.ledger.attempts.begin(
        offer.address, offer.parameters, dataset=signed.document.dataset, log_size=offer.log_size, now=now
    )  # (7)

    def work() -> RingVector:
        return _contribution(offer, signed, stage, received, layout.layout, rules, me)[0]

    ciphertext, scalars = b"", None
    if isinstance(client, SealedClient):
        # The custodian opens one sum of a round, whatever the attempt: (8) has nothing to check here.
        words, values = _contribution(offer, signed, stage, received, layout.layout, rules, me)
        if agreed is None or key is None:
            commitment, ciphertext = _require_seal(seal).padded(client, words)
        else:
            asked, terms = agreed
            second = me.keys.get_scalars(key, fetch.scalar_key)
            kept = _earlier_vector(offer.address, me) if asked.paired else None
            scalars = OwnScalars(asked=asked, terms=terms, public=second, vector=values[asked.vector], earlier=kept)
            commitment, ciphertext = _require_seal(seal).with_second(client, words, scalars)
        advertisement, earlier = commitment.encode(), ()
    else:
        advertisement = client.advertise(abandoned).encode()
    return OpenedAttempt(
        offer=offer,
        client=client,
        advertisement=advertisement,
        earlier=earlier,
        work=work,
        rules=rules,
        compared=compared_sums(offer, rules.protection, signed, stage),
        seal=seal,
        ciphertext=ciphertext,
        scalars=scalars,
    )


def _earlier_vector(address: RoundAddress, me: NodeSelf) -> KeptVector | None:
    """This node's vector of the round before, if it was kept."""
    return me.local_states.vector_of(address.job, address.stage, address.round - 1)


def _agreed_scalars(
    offer: RoundOffer, stage: Stage, received: ReceivedBroadcast, key: CheckedKey | None, me: NodeSelf
) -> tuple[ScalarsAsked, ScalarTerms] | None:
    """The numbers of the round; none about a vector that has left this node and that it cannot compare any more."""
    agreed = scalar_terms(stage, received.plan, received.tensors, key)
    if agreed is None or not agreed[0].paired:
        return agreed
    address, before = offer.address, offer.address.round - 1
    settled = me.local_states.settled(address.job, address.stage, before)
    if not settled and me.ledger.attempts.released(address.job, address.stage, before):
        sentence = (
            f"{address}: numbers about this node's vector of the round before are asked, and it was not told which "
            "were opened then, or was restarted before it could compare; it takes part again from the next round on"
        )
        raise RefusalError(sentence)
    return agreed


def _seal(
    offer: RoundOffer,
    signed: SignedJob,
    key: CheckedKey,
    fetch: Callable[[], bytes],
    layout: RoundLayout,
    members: Mapping[ClientId, PublicIdentity],
    me: NodeSelf,
) -> Seal:
    """Accept the job's key for good, fetch it, and make ready to encrypt with it."""
    me.ledger.accept_key(signed, key, now=me.clock())
    if layout.slots is None:
        sentence = f"{offer.address}: the round has no layout for ciphertexts"
        raise PeerFault(sentence)
    public = me.keys.get(key, signed, fetch)
    identity = me.key_named(members.get(ClientId(me.name)))
    return Seal(public=public, slots=layout.slots, parameters=offer.parameters, identity=identity, name=me.name)


def _require_seal(seal: Seal | None) -> Seal:
    if seal is None:
        sentence = "a round under a custodian's key without a key"
        raise PeerFault(sentence)
    return seal


def limits_of(rules: ProtectionRules) -> ClientLimits:
    """What a policy demands of a round's parameters."""
    return ClientLimits(
        minimum_cohort=max(rules.minimum_cohort, SMALLEST_PROTECTED_COHORT),
        corrupted_fraction=rules.corrupted_fraction,
        dropout_fraction=rules.dropout_fraction,
        minimum_difference=rules.minimum_difference,
    )


def compared_sums(offer: RoundOffer, rules: ProtectionRules, signed: SignedJob, stage: Stage) -> ComparedSums:
    """With which earlier sums a sum of this attempt is compared."""
    asked = asked_nodes(stage.method, signed.document, offer.address.round)
    return ComparedSums(
        scope=rules.history.scope,
        dataset=signed.document.dataset,
        broadcast=offer.parameters.broadcast_digest,
        group=asked if asked < frozenset(signed.document.nodes) else frozenset(),
    )


def _check_history(offer: RoundOffer, rules: ProtectionRules, signed: SignedJob, stage: Stage, me: NodeSelf) -> None:
    """Refuse a roster whose own sum would be refused in the end, before anybody works for it.

    Earlier attempts of the same round are left out: they may turn out to be dead.
    """
    roster = frozenset(offer.parameters.roster)
    least = least_difference(minimum_difference=rules.minimum_difference, corrupted=offer.parameters.corrupted)
    compared = compared_sums(offer, rules, signed, stage)
    for before in me.ledger.attempts.earlier_sums(offer.address, compared, this_round=False):
        apart = roster ^ before
        if 0 < len(apart) < least:
            sentence = (
                f"{offer.address}: its members and those of an earlier sum differ by {', '.join(sorted(apart))} only, "
                "so that subtracting the sums would show what they contributed; this node asks for the same members "
                f"or at least {least} different ones (`protection.history`, scope {compared.scope.value})"
            )
            raise RefusalError(sentence)


def _receive(offer: RoundOffer, fetch: Callable[[], bytes], plan: Plan, stages: tuple[Stage, ...]) -> ReceivedBroadcast:
    limit = largest_broadcast(plan, stages)
    if offer.broadcast_size > limit:
        sentence = f"{offer.address}: a broadcast of {offer.broadcast_size} bytes is announced, {limit} is the most"
        raise PeerFault(sentence)
    broadcast = fetch()
    if sha256_hex(broadcast) != offer.parameters.broadcast_digest:
        sentence = f"{offer.address}: the broadcast is not the one that the round's parameters name"
        raise PeerFault(sentence)
    return unpack_broadcast(broadcast, plan=plan, stages=stages)


def accepted_job(digest: str, me: NodeSelf) -> SignedJob:
    """The accepted job with that digest, its signature verified again now.

    Raises:
        RefusalError: it was never offered to this node.
        PeerError: its signer has been revoked since, or the stored file was changed.
    """
    row = me.ledger.known_job(digest)
    if row is None:
        sentence = f"job {digest[:12]} was never offered to this node"
        raise RefusalError(sentence)
    signed = read_job(row.envelope, root=me.trust.root, revocations=me.trust.revocations, now=me.clock())
    if signed.digest != digest:
        sentence = f"the stored file of job {digest[:12]} is another job; restore the database from a backup"
        raise RefusalError(sentence)
    return signed


def check_earlier_attempts(opened: OpenedAttempt, me: NodeSelf) -> None:
    """Check (8): no older attempt in which this node's vector is out can still be opened.

    What has been proven is stored: a sum that was never opened and never will be is compared with no other.

    Raises:
        RefusalError: too few members have declared that they will never open it.
    """
    client = opened.client
    if not isinstance(client, MaskingClient):
        return
    for attempt in opened.earlier:
        declared = client.roster_abandonments(attempt.context)
        # Of an attempt whose members an older release did not note, nothing can be proven.
        dead = bool(attempt.roster) and attempt_is_dead(
            declared, holders=attempt.roster, corrupted=attempt.corrupted, threshold=attempt.threshold
        )
        if not dead:
            silent, holders = len(declared & attempt.roster), len(attempt.roster)
            sentence = (
                f"{opened.offer.address}: this node's vector of attempt {attempt.key.attempt + 1} may still be opened "
                f"({silent} of {holders} members have given that attempt up); a second sum could "
                "isolate a member, so this node does not contribute to the round again"
            )
            raise RefusalError(sentence)
    if opened.earlier:
        me.ledger.attempts.proven_dead(opened.earlier)


def _check_address(offer: RoundOffer, signed: SignedJob, key: CheckedKey | None, me: NodeSelf) -> Stage:
    """Federation, job, stage, round and plan must be this node's own; gives the stage."""
    parameters, address = offer.parameters, offer.address
    stages = {stage.name: stage for stage in programme(signed.document)}
    stage = stages.get(address.stage)
    if stage is None or address.round >= stage.rounds:
        sentence = f"{address} is not part of the job's programme"
        raise PeerFault(sentence)
    registration = me.data.registration(signed.document.dataset)
    expected = {
        "federation": me.federation,
        "job_digest": signed.digest,
        "stage": address.stage,
        "round": address.round,
        "attempt": address.attempt,
        "plan_digest": plan_digest(
            signed.document,
            job=signed.digest,
            schema=registration.schema_digest,
            key=None if key is None else key.digest,
        ),
    }
    for name, value in expected.items():
        if getattr(parameters, name) != value:
            sentence = f"{address}: the round's parameters name another {name.replace('_', ' ')} than this node's"
            raise PeerFault(sentence)
    return stage


def _check_members(offer: RoundOffer, signed: SignedJob, stage: Stage, me: NodeSelf) -> dict[ClientId, PublicIdentity]:
    """Every member is a node of this federation, of the round's group, certified and not revoked."""
    roster = offer.parameters.roster
    if len(roster) != len(offer.certificates):
        sentence = f"{offer.address}: {len(roster)} members and {len(offer.certificates)} certificates"
        raise PeerFault(sentence)
    if offer.parameters.minimum_cohort < signed.document.minimum_cohort:
        sentence = (
            f"{offer.address}: the round would release a sum of {offer.parameters.minimum_cohort} and the job asks "
            f"for at least {signed.document.minimum_cohort}"
        )
        raise PeerFault(sentence)
    asked = asked_nodes(stage.method, signed.document, offer.address.round)
    strangers = sorted(set(roster).intersection(signed.document.nodes) - asked)  # others are refused below
    if strangers:
        sentence = (
            f"{offer.address}: {', '.join(strangers)} is not asked in this round, which sums over "
            f"{', '.join(sorted(asked))} only"
        )
        raise PeerFault(sentence)
    members: dict[ClientId, PublicIdentity] = {}
    for client, pem in zip(roster, offer.certificates, strict=True):
        member = me.trust.identity(pem)
        if member.kind is not PartyKind.NODE or str(member.name) != client or client not in signed.document.nodes:
            sentence = f"{offer.address}: {client} is not a node of this job with that certificate"
            raise PeerFault(sentence)
        members[client] = member.public
    return members


def _check_layout(offer: RoundOffer, stage: Stage, plan: Plan) -> RoundLayout:
    made = round_layout(plan.job, stage.method.vectors(plan), cohort=len(offer.parameters.roster))
    layout = made.layout
    if layout.digest != offer.parameters.layout_digest or layout.shape.runs != offer.parameters.words:
        sentence = f"{offer.address}: the vector's layout is not the one this node computes"
        raise PeerFault(sentence)
    return made


def _contribution(
    offer: RoundOffer,
    signed: SignedJob,
    stage: Stage,
    received: ReceivedBroadcast,
    layout: Layout,
    rules: Rules,
    me: NodeSelf,
) -> tuple[RingVector, NamedTensors]:
    """Choose the records of this moment, let the method work, encode, and store that the vector will leave."""
    now = me.clock()
    me.ledger.require_allowed(signed, now=now)
    data = me.ledger.usable(signed, rules, now=now)
    job = str(signed.digest)
    kept = _earlier_vector(offer.address, me)
    context = NodeContext(
        plan=received.plan,
        broadcast=received.tensors,
        data=data,
        local_state=me.local_states.get(job),
        seed=node_seed(signed.document.seed, me.name, stage.name, offer.address.round),
        node=me.name,
        earlier=None if kept is None else kept.values,
    )
    made: Contribution = contribute(stage.method, context)
    encoded = layout.encode(made.values, generator=np.random.default_rng())
    if made.local_state is not None:
        me.local_states.stage(offer.address, made.local_state)
    own = personal_model(
        signed,
        stage,
        context,
        schema_digest=me.data.registration(signed.document.dataset).schema_digest,
    )
    if own is not None:
        me.ledger.model_kept(job, me.own_models.keep(job, own), now=me.clock())
    me.ledger.attempts.input_sent(offer.address, data, now=me.clock())
    return encoded.words, made.values
