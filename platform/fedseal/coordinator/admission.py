"""Is a submitted job worth offering? Signature, method, protection, schema, and the policies known here.

The nodes decide; this check only spares everybody a job that cannot run. What the coordinator cannot know
(records with consent, the operator's agreement) is assumed in the job's favour and left to the node.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from fedseal.coordinator.attendance import Session
from fedseal.coordinator.job_run import SMALLEST_COHORT
from fedseal.coordinator.strictest import policy_for
from fedseal.documents import SignedJob, read_job
from fedseal.errors import PeerFault, RefusalError
from fedseal.learning import learner_digest
from fedseal.methods import MethodUnsuitable, programme, programme_statement
from fedseal.trust import Trust
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.certificates import Party
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_governance.datasets import load_schema
from fedseal_governance.jobs import JobDocument
from fedseal_governance.policy import Decision, NodeFacts, decide
from fedseal_governance.vocabulary import Protection

_log = structlog.get_logger(__name__)

_ASSUMED_RECORDS = 2**31
AVAILABLE_PROTECTIONS = frozenset({Protection.MASKING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A job that may be offered.

    Attributes:
        signed: the verified job file.
        schema: the schema file that its nodes share.
        previews: what the policies known here say, by node.
    """

    signed: SignedJob
    schema: bytes
    previews: Mapping[str, Decision]

    @property
    def digest(self) -> Digest:
        """The job's digest."""
        return self.signed.digest


class Admission:
    """Checks submitted jobs against what this coordinator knows."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust

    def admit(self, envelope: bytes, person: Party, present: Sequence[Session], *, now: datetime) -> Submission:
        """Check a job for submission.

        Raises:
            RefusalError: too few nodes could accept it; the sentence names each refusing clause.
            PeerFault: it is signed by somebody else than the submitter.
        """
        signed = self._read(envelope, now)
        if signed.signer.name != person.name:
            sentence = f"the job is signed by {signed.signer.name} and was submitted by {person.name}; submit your own"
            raise PeerFault(sentence)
        schema = self._common_schema(signed.document, present)
        previews = self._previews(signed.document, present, now)
        self._require_enough(signed.document, previews, present)
        return Submission(signed=signed, schema=schema, previews=previews)

    def preview(self, envelope: bytes, present: Sequence[Session], *, now: datetime) -> pb.JobVerdicts:
        """What ``admit`` would find, node by node."""
        signed = self._read(envelope, now)
        previews = self._previews(signed.document, present, now)
        attending = {session.node for session in present}
        nodes = [
            pb.NodeVerdict(
                node=node,
                known=node in previews,
                accepted=node in previews and previews[node].allowed,
                reasons=[
                    pb.Reason(clause=reason.clause, sentence=reason.sentence, allowed=reason.allowed)
                    for reason in (previews[node].reasons if node in previews else ())
                ],
                attending=node in attending,
            )
            for node in signed.document.nodes
        ]
        possible = sum(1 for node in signed.document.nodes if node not in previews or previews[node].allowed)
        return pb.JobVerdicts(job=signed.digest, nodes=nodes, accepted=possible >= _minimum(signed.document))

    def _read(self, envelope: bytes, now: datetime) -> SignedJob:
        signed = read_job(envelope, root=self._trust.root, revocations=self._trust.revocations, now=now)
        document = signed.document
        if document.protection not in AVAILABLE_PROTECTIONS:
            sentence = f"the protection {document.protection.value} is not available here; use masking"
            raise RefusalError(sentence)
        try:
            learned = programme_statement(programme(document)).level
        except MethodUnsuitable as error:
            raise RefusalError(str(error)) from None
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

    def _previews(self, document: JobDocument, present: Sequence[Session], now: datetime) -> dict[str, Decision]:
        found: dict[str, Decision] = {}
        for session in present:
            policy = policy_for(document.dataset, session)
            if session.node in document.nodes and policy is not None:
                facts = NodeFacts(
                    now=now,
                    datasets=frozenset(session.datasets),
                    usable_records=_ASSUMED_RECORDS,
                    method_discloses=programme_statement(programme(document)).level,
                    learner_digest=_learner_digest(document),
                    operator_agreed=True,
                )
                found[session.node] = decide(document, policy, facts)
        return found

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


def _minimum(document: JobDocument) -> int:
    return max(document.minimum_cohort, SMALLEST_COHORT)


def _learner_digest(document: JobDocument) -> str | None:
    return None if document.learner is None else learner_digest(document.learner.name)
