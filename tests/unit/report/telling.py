"""Jobs as a coordinator would tell of them, signed by parties of a small federation."""

import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from fedseal.documents import sign_job
from fedseal.report import FederationView
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.certificates import (
    Authority,
    P256Key,
    PartyClaim,
    Subject,
    create_authority,
    new_request,
)
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.identity import FederationName, IdentityKey, PartyKind, PartyName, Role
from fedseal_governance.records import (
    DisclosureRecord,
    JobRecord,
    NodeAnswer,
    PrivacyRecord,
    Refusal,
    RoundRecord,
    sign_record,
)

START = datetime(2026, 5, 4, 9, 30, tzinfo=UTC)
MADE = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
MODEL_DIGEST = Digest("ab" * 32)
NODES = ("cleveland", "hungary", "switzerland", "va-long-beach")

TRAINING = """\
job: heart-risk
description: Predict heart disease without moving a record.
purpose: "DUO:0000006"
dataset: heart-disease
kind: training
method: {name: fedavg, rounds: 4, settings: {local_epochs: 2}}
learner: {name: tabular-mlp, settings: {hidden_width: 16}}
features: [age, sex, chol]
target: num
evaluation: {holdout: 0.3, seed: 7}
protection: masking
disclosure: SUM
nodes: [cleveland, hungary, switzerland, va-long-beach]
minimum_cohort: 3
"""

STATISTICS = """\
job: heart-statistics
purpose: "DUO:0000006"
dataset: heart-disease
kind: statistics
features: [age, chol]
protection: masking
disclosure: SUM
nodes: [cleveland, hungary, switzerland, va-long-beach]
minimum_cohort: 3
"""

SCHEMA = b"""\
dataset: heart-disease
description: Patients of four hospitals.
columns:
  - {name: pseudonym, role: record_id}
  - {name: age, type: number, range: [18, 110], unit: years}
  - {name: sex, type: category, categories: [Female, Male]}
  - {name: chol, type: number, range: [50, 700], missing_values: [0]}
  - {name: num, type: category, categories: ["0", "1"], positive: ["1"], role: target}
"""


def round_of(stage: str, number: int = 0, **changes: object) -> RoundRecord:
    """A round that went well, or what ``changes`` make of it."""
    known: dict[str, dict[str, float]] = {
        "statistics": {"rows": 600.0, "measured_share": 0.85},
        "training": {"loss": 0.7 / (number + 1), "rows": 600.0, "clipped_share": 0.0, "bytes_up_per_node": 1000.0},
        "evaluation": {"patients": 250.0, "auc": 0.9, "auc_uncertainty": 0.004, "accuracy": 0.83, "brier": 0.12},
    }
    begun = START + timedelta(seconds=60 + 10 * number)
    plain: dict[str, object] = {
        "stage": stage,
        "round": number,
        "attempt": 0,
        "state": "completed",
        "roster": NODES,
        "cohort": len(NODES),
        "recovered": (),
        "threshold": 3,
        "minimum_cohort": 3,
        "broadcast": "cd" * 32,
        "started_at": begun.isoformat(timespec="milliseconds"),
        "ended_at": (begun + timedelta(seconds=2)).isoformat(timespec="milliseconds"),
        "figures": known[stage],
    }
    return RoundRecord.model_validate(plain | changes)


def good_rounds() -> tuple[RoundRecord, ...]:
    return (
        round_of("statistics"),
        *(round_of("training", number) for number in range(4)),
        round_of("evaluation"),
    )


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What is to be told of a job; the default is one that finished without a hitch."""

    job: str = TRAINING
    state: str = "finished"
    reason: str = ""
    rounds: tuple[RoundRecord, ...] = field(default_factory=good_rounds)
    refusals: dict[str, tuple[Refusal, ...]] = field(default_factory=dict)
    silent: tuple[str, ...] = ()
    model: Digest | None = MODEL_DIGEST
    recorded: bool = True
    submitted_by: str = "ada"
    changes: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Signer:
    """A party with its key and certificate."""

    key: IdentityKey
    certificate: bytes


@dataclass
class Teller:
    """A federation whose coordinator tells of jobs."""

    authority: Authority
    coordinator: Signer
    scientist: Signer

    @property
    def view(self) -> FederationView:
        root = self.authority.trust_root
        pem = self.authority.revocation_list([], number=1, now=START, next_update=START + timedelta(days=30))
        organisations = {"cleveland": "Cleveland Clinic", "hungary": "Institute of Cardiology"}
        return FederationView(root=root, revocations=root.load_revocations(pem, now=START), organisations=organisations)

    def tell(self, scenario: Scenario) -> pb.JobDetail:
        """The coordinator's answer, with a signed record if the job has ended."""
        content = scenario.job.encode()
        document = sign_job(content, key=self.scientist.key, certificate_pem=self.scientist.certificate)
        record = self._record(scenario, sha256_hex(content), sha256_hex(document))
        signed = b""
        if scenario.recorded:
            key, certificate = self.coordinator.key, self.coordinator.certificate
            signed = sign_record(record, model_digest=scenario.model, key=key, certificate_pem=certificate)
        artefacts = [] if scenario.model is None else [pb.Artefact(kind="model", digest=scenario.model, size=5_884)]
        return pb.JobDetail(
            summary=pb.JobSummary(
                job=sha256_hex(content),
                name=record.name,
                state=scenario.state,
                reason=scenario.reason,
                submitted_by=scenario.submitted_by,
                submitted_at=record.submitted_at,
                finished_at=record.ended_at if scenario.recorded else "",
                rounds_done=len({(item.stage, item.round) for item in scenario.rounds if item.state == "completed"}),
                rounds_planned=6 if scenario.job == TRAINING else 1,
            ),
            rounds=[_shown(item) for item in scenario.rounds],
            artefacts=artefacts,
            answers=[_answer(item) for item in record.answers],
            document=document,
            job_record=signed,
            schema=SCHEMA,
        )

    def _record(self, scenario: Scenario, job: Digest, envelope: Digest) -> JobRecord:
        plain: dict[str, object] = {
            "name": "heart-risk",
            "job": job,
            "envelope": envelope,
            "submitted_by": scenario.submitted_by,
            "submitted_at": START.isoformat(timespec="milliseconds"),
            "ended_at": (START + timedelta(minutes=3)).isoformat(timespec="milliseconds"),
            "state": scenario.state if scenario.recorded else "failed",
            "reason": scenario.reason,
            "kind": "training" if "kind: training" in scenario.job else "statistics",
            "purpose": "DUO:0000006",
            "dataset": "heart-disease",
            "schema": sha256_hex(SCHEMA),
            "method": "fedavg",
            "learner": "tabular-mlp",
            "learner_digest": "ef" * 32,
            "protection": "masking",
            "disclosure": DisclosureRecord(
                level="SUM",
                paragraph="Federated averaging: Every node trains. Only sums are seen.\n\nFigures: Every node counts.",
                quantities=("coordinator: update - sum of the changes", "every node: model - the averaged model"),
            ),
            "privacy": PrivacyRecord(mechanism="none", statement="No differential privacy."),
            "answers": tuple(
                NodeAnswer(
                    node=node,
                    accepted=node not in scenario.refusals,
                    policy="12" * 32,
                    refusals=scenario.refusals.get(node, ()),
                )
                for node in NODES
                if node not in scenario.silent
            ),
            "rounds": scenario.rounds,
            "records_used": 600.0 if scenario.rounds else None,
            "software": {"fedseal": "0.1.0", "python": "3.11.7"},
            "federation": "heart",
            "log_origin": "fedseal/heart/coordinator",
            "log_position": 41,
        }
        return JobRecord.model_validate(plain | scenario.changes)


def _shown(item: RoundRecord) -> pb.RoundSummary:
    return pb.RoundSummary(
        address=pb.RoundAddress(job="", stage=item.stage, round=item.round, attempt=item.attempt),
        state=item.state,
        roster=item.roster,
        survivors=[node for node in item.roster if node not in item.recovered] if item.cohort else [],
        recovered=item.recovered,
        threshold=max(0, min(item.threshold, 2**32 - 1)),
        metrics=json.dumps(dict(item.figures)),
        reason=item.reason,
        started_at=item.started_at,
        ended_at=item.ended_at,
    )


def _answer(item: NodeAnswer) -> pb.NodeAnswer:
    reasons = [pb.Reason(clause="datasets", sentence="The policy covers the dataset.", allowed=True)]
    reasons += [pb.Reason(clause=found.clause, sentence=found.sentence, allowed=False) for found in item.refusals]
    return pb.NodeAnswer(node=item.node, answer="accepted" if item.accepted else "refused", reasons=reasons)


def _enrolled(authority: Authority, subject: Subject) -> Signer:
    key = IdentityKey.generate(os.urandom)
    claim = PartyClaim(federation=subject.federation, kind=subject.kind, name=subject.name)
    request = new_request(claim, P256Key.generate(os.urandom), key)
    issued = authority.issue(request, subject, now=START - timedelta(days=1), lifetime=timedelta(days=90))
    return Signer(key, issued.identity_pem)


def found_teller() -> Teller:
    """A coordinator and a data scientist of the federation heart."""
    federation = FederationName("heart")
    authority = create_authority(federation, now=START - timedelta(days=2))
    coordinator = Subject(
        federation=federation, kind=PartyKind.COORDINATOR, name=PartyName("coordinator"), organisation="Consortium"
    )
    scientist = Subject(
        federation=federation,
        kind=PartyKind.PERSON,
        name=PartyName("ada"),
        organisation="Consortium",
        roles=frozenset({Role.DATA_SCIENTIST}),
    )
    return Teller(authority, _enrolled(authority, coordinator), _enrolled(authority, scientist))
