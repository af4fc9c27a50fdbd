"""Is a submitted job worth offering? Signature, method, protection, schema, and the policies known here.

The nodes decide; this check only spares everybody a job that cannot run. What the coordinator cannot know
(records with consent, the operator's agreement) is assumed in the job's favour and left to the node.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from fedseal.coordinator.attendance import Session
from fedseal.coordinator.job_run import SMALLEST_COHORT
from fedseal.coordinator.strictest import policy_for
from fedseal.documents import SignedJob, read_job
from fedseal.errors import PeerFault, RefusalError, SetupError
from fedseal.installed import AVAILABLE_PROTECTIONS, installed_offer
from fedseal.learning import choice_digest
from fedseal.methods import programme, programme_statement
from fedseal.protection.scalars import scalars_missing
from fedseal.trust import Trust
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.certificates import Party
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_governance.datasets import load_schema
from fedseal_governance.jobs import JobDocument
from fedseal_governance.policy import (
    Decision,
    FederationStanding,
    NodeFacts,
    PinnedPolicy,
    Rules,
    decide,
    decide_at_both_levels,
)
from fedseal_governance.policy.advice import Site, advise
from fedseal_governance.vocabulary import Disclosure

_log = structlog.get_logger(__name__)

_ASSUMED_RECORDS = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A job that may be offered.

    Attributes:
        signed: the verified job file.
        schema: the schema file that its nodes share.
        previews: what the policies known here say, by node.
        federation: the federation's own policies that allow it.
    """

    signed: SignedJob
    schema: bytes
    previews: Mapping[str, Decision]
    federation: tuple[PinnedPolicy, ...] = ()

    @property
    def digest(self) -> Digest:
        """The job's digest."""
        return self.signed.digest


class RefusedByFederation(RefusalError):
    """The federation's own policy refuses the job."""


class Admission:
    """Checks submitted jobs against what this coordinator knows.

    Args:
        trust: whom signatures are checked against.
        standing: what the federation's own policies say about a dataset at a time.
    """

    def __init__(self, trust: Trust, standing: Callable[[str, datetime], FederationStanding]) -> None:
        self._trust = trust
        self._standing = standing

    def admit(self, envelope: bytes, person: Party, present: Sequence[Session], *, now: datetime) -> Submission:
        """Check a job for submission.

        Raises:
            RefusedByFederation: the federation's own policy refuses it.
            RefusalError: too few nodes could accept it; the sentence names each refusing clause.
            PeerFault: it is signed by somebody else than the submitter.
        """
        signed = self._read(envelope, now)
        if signed.signer.name != person.name:
            sentence = f"the job is signed by {signed.signer.name} and was submitted by {person.name}; submit your own"
            raise PeerFault(sentence)
        standing = self._standing(signed.document.dataset, now)
        _require_federation(signed.document, standing, now)
        schema = self._common_schema(signed.document, present)
        previews = _previews(_sites(signed.document, present, standing, now), signed.document)
        self._require_enough(signed.document, previews, present)
        return Submission(signed=signed, schema=schema, previews=previews, federation=standing.policies)

    def preview(self, envelope: bytes, present: Sequence[Session], *, now: datetime) -> pb.JobVerdicts:
        """What ``admit`` would find, node by node."""
        signed = self._read(envelope, now)
        standing = self._standing(signed.document.dataset, now)
        sites = _sites(signed.document, present, standing, now)
        previews = _previews(sites, signed.document)
        federation = _federation_decision(signed.document, standing, now)
        attending = {session.node for session in present}
        nodes = [
            pb.NodeVerdict(
                node=node,
                known=node in previews,
                accepted=node in previews and previews[node].allowed,
                reasons=[
                    pb.Reason(clause=reason.label, sentence=reason.sentence, allowed=reason.allowed)
                    for reason in (previews[node].reasons if node in previews else ())
                ],
                attending=node in attending,
            )
            for node in signed.document.nodes
        ]
        possible = sum(1 for node in signed.document.nodes if node not in previews or previews[node].allowed)
        return pb.JobVerdicts(
            job=signed.digest,
            nodes=nodes,
            accepted=possible >= _minimum(signed.document) and (federation is None or federation.allowed),
            federation=_federation_verdict(federation, standing),
            advice=_advice(signed.document, sites, standing, now),
        )

    def _read(self, envelope: bytes, now: datetime) -> SignedJob:
        signed = read_job(envelope, root=self._trust.root, revocations=self._trust.revocations, now=now)
        document = signed.document
        if document.protection not in AVAILABLE_PROTECTIONS:
            sentence = (
                f"the protection {document.protection.value} is not available here; use masking, hybrid or homomorphic"
            )
            raise RefusalError(sentence)
        learned = _disclosed(document)
        _require_means(document)
        if learned > document.disclosure:
            sentence = (
                f"the job declares that the coordinator learns {document.disclosure.name}, but its method "
                f"discloses {learned.name}; declare that, if the policies allow it, or choose another method"
            )
            raise RefusalError(sentence)
        return signed

    def _common_schema(self, document: JobDocument, present: Sequence[Session]) -> bytes:
        offered = {
            session.node: session.datasets[document.dataset]
            for session in present
            if session.node in document.nodes and document.dataset in session.datasets
        }
        if not offered:
            sentence = (
                f"no node that is present has registered the dataset {document.dataset}; check the name, "
                "or register it at the nodes"
            )
            raise RefusalError(sentence)
        digests = {sha256_hex(schema): node for node, schema in offered.items()}
        if len(digests) > 1:
            names = " and ".join(sorted(digests.values()))
            sentence = (
                f"{names} registered the dataset {document.dataset} with different schema files; agree on one "
                "file and register it again"
            )
            raise RefusalError(sentence)
        schema = next(iter(offered.values()))
        load_schema(schema, f"schema of {document.dataset}")
        return schema

    def _require_enough(
        self, document: JobDocument, previews: Mapping[str, Decision], present: Sequence[Session]
    ) -> None:
        attending = {session.node for session in present} & set(document.nodes)
        without_policy = attending - set(previews)
        refusing = {node for node, decision in previews.items() if not decision.allowed} | without_policy
        left = len(document.nodes) - len(refusing)
        needed = _minimum(document)
        if left >= needed:
            return
        lines = [
            f"{node}: [{reason.clause}] {reason.sentence}"
            for node in sorted(previews)
            for reason in previews[node].refusals
        ]
        lines += [f"{node}: no policy for {document.dataset} is in force there" for node in sorted(without_policy)]
        sentence = f"{left} of {len(document.nodes)} nodes could accept this job and it needs {needed}. " + " ".join(
            lines
        )
        raise RefusalError(sentence)


def _facts(document: JobDocument, datasets: Collection[str], standing: FederationStanding, now: datetime) -> NodeFacts:
    """What the coordinator knows of a site; what only the site knows counts in the job's favour."""
    return NodeFacts(
        now=now,
        datasets=frozenset(datasets),
        usable_records=_ASSUMED_RECORDS,
        method_discloses=_disclosed(document),
        learner_digest=_learner_digest(document),
        operator_agreed=True,
        federation_policy=bool(standing.policies),
    )


def _sites(
    document: JobDocument, present: Sequence[Session], standing: FederationStanding, now: datetime
) -> tuple[Site, ...]:
    """The nodes of the job whose policy is known here, each with its own policy alone."""
    found = []
    for session in present:
        policy = policy_for(document.dataset, session)
        if session.node in document.nodes and policy is not None:
            facts = _facts(document, session.datasets, standing, now)
            found.append(Site(name=session.node, rules=Rules(node=policy), facts=facts))
    return tuple(found)


def _previews(sites: Sequence[Site], document: JobDocument) -> dict[str, Decision]:
    policies = ((site, site.rules.node) for site in sites)
    return {site.name: decide(document, policy, site.facts) for site, policy in policies if policy is not None}


def _federation_rules(standing: FederationStanding) -> Rules:
    documents = tuple(item.document for item in standing.policies)
    return Rules(node=None, federation=documents, missing=standing.missing)


def _federation_decision(document: JobDocument, standing: FederationStanding, now: datetime) -> Decision | None:
    """What the federation's level says; None in a federation that has no policy of its own."""
    if not standing.adopted:
        return None
    facts = _facts(document, {document.dataset}, standing, now)
    return decide_at_both_levels(document, _federation_rules(standing), facts)


def _require_federation(document: JobDocument, standing: FederationStanding, now: datetime) -> None:
    decision = _federation_decision(document, standing, now)
    if decision is not None and not decision.allowed:
        sentences = " ".join(f"[{reason.label}] {reason.sentence}" for reason in decision.refusals)
        sentence = f"the federation's own policy refuses this job. {sentences}"
        raise RefusedByFederation(sentence)


def _federation_verdict(decision: Decision | None, standing: FederationStanding) -> pb.FederationVerdict:
    if decision is None:
        return pb.FederationVerdict(adopted=False, accepted=True)
    return pb.FederationVerdict(
        adopted=True,
        accepted=decision.allowed,
        reasons=[
            pb.Reason(clause=item.label, sentence=item.sentence, allowed=item.allowed) for item in decision.reasons
        ],
        policies=[item.document.title for item in standing.policies],
    )


def _advice(document: JobDocument, sites: Sequence[Site], standing: FederationStanding, now: datetime) -> pb.JobAdvice:
    """What to change so that all policies known here allow the job."""
    places = list(sites)
    if standing.adopted:
        facts = _facts(document, {document.dataset}, standing, now)
        places.insert(0, Site(name="the federation", rules=_federation_rules(standing), facts=facts))
    advice = advise(document, places, installed_offer())
    return pb.JobAdvice(
        changes=[
            pb.JobChange(field=item.field, value=json.dumps(item.value), sentence=item.sentence)
            for item in advice.changes
        ],
        obstacles=advice.obstacles,
        sufficient=advice.sufficient,
    )


def _disclosed(document: JobDocument) -> Disclosure:
    """What the job's method discloses; a method or learner that cannot be run here is a refusal, not a fault."""
    try:
        return programme_statement(programme(document)).level
    except SetupError as error:
        raise RefusalError(str(error)) from error


def _require_means(document: JobDocument) -> None:
    """Scalars need a protection that can open them.

    Raises:
        RefusalError: the job's cannot.
    """
    reason = scalars_missing(document)
    if reason:
        raise RefusalError(reason)


def _minimum(document: JobDocument) -> int:
    return max(document.minimum_cohort, SMALLEST_COHORT)


def _learner_digest(document: JobDocument) -> str | None:
    return None if document.learner is None else choice_digest(document.learner)
