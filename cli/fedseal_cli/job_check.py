"""Verdicts on a job before it is submitted: by policy files, and by the nodes as far as the coordinator knows."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedseal.files import read_limited
from fedseal.installed import installed_offer
from fedseal.learning.plugins import learner_digest
from fedseal.methods import programme, programme_statement
from fedseal_cli.authority_options import now
from fedseal_cli.job_output import Ground, Verdict
from fedseal_governance.documents import MAX_BYTES
from fedseal_governance.jobs import JobDocument, load_job
from fedseal_governance.policy import NodeFacts, PolicyDocument, Rules, decide, load_policy
from fedseal_governance.policy.advice import Advice, JobChange, Site, advise
from fedseal_governance.vocabulary import PolicyLevel

if TYPE_CHECKING:
    from fedseal.wire._generated import coordination_pb2 as pb


def read_job_file(file: Path) -> tuple[bytes, JobDocument]:
    """The exact bytes of a job file and what they say."""
    content = read_limited(file, max_bytes=MAX_BYTES, what="a job file")
    return content, load_job(content, str(file))


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What all policies that were asked make of a job, and what to change in it."""

    verdicts: list[Verdict]
    advice: Advice | None


def read_policies(paths: Sequence[Path]) -> list[tuple[Path, PolicyDocument]]:
    """Policy files and what they say."""
    return [
        (path, load_policy(read_limited(path, max_bytes=MAX_BYTES, what="a policy file"), str(path))) for path in paths
    ]


def judge_by_files(job: JobDocument, policies: Sequence[tuple[Path, PolicyDocument]]) -> Judged:
    """What each policy file makes of the job, with the facts that only a node knows assumed to be good."""
    sites = [_site(job, path, policy) for path, policy in policies]
    return Judged(
        verdicts=[_verdict(job, site) for site in sites],
        advice=advise(job, sites, installed_offer()) if sites else None,
    )


def judge_by_nodes(verdicts: "pb.JobVerdicts") -> Judged:
    """What the coordinator says that the federation and each node would answer; what it does not know counts as no."""
    found = [_by_federation(verdicts.federation)]
    for node in verdicts.nodes:
        grounds = _grounds(node.reasons)
        if not node.known:
            sentence = "The coordinator does not know this node's policy; the node has to be present once."
            grounds = (Ground(clause="policy", sentence=sentence, allowed=False),)
        where = "present" if node.attending else "not present"
        found.append(
            Verdict(who=f"node/{node.node}", note=where, allowed=node.known and node.accepted, grounds=grounds)
        )
    return Judged(verdicts=found, advice=_advice(verdicts.advice))


def _by_federation(verdict: "pb.FederationVerdict") -> Verdict:
    if not verdict.adopted:
        sentence = "The federation has no policy of its own; each node's policy decides alone."
        grounds = (Ground(clause="policy", sentence=sentence, allowed=True),)
        return Verdict(who="federation", note="no policy of its own", allowed=True, grounds=grounds)
    return Verdict(
        who="federation",
        note=", ".join(verdict.policies) or "no policy in force",
        allowed=verdict.accepted,
        grounds=_grounds(verdict.reasons),
    )


def _grounds(reasons: "Iterable[pb.Reason]") -> tuple[Ground, ...]:
    # The heading of a verdict says whose it is.
    prefix = f"{PolicyLevel.FEDERATION.value}: "
    return tuple(
        Ground(clause=item.clause.removeprefix(prefix), sentence=item.sentence, allowed=item.allowed)
        for item in reasons
    )


def _advice(advice: "pb.JobAdvice") -> Advice:
    return Advice(
        changes=tuple(
            JobChange(field=item.field, value=json.loads(item.value), sentence=item.sentence) for item in advice.changes
        ),
        obstacles=tuple(advice.obstacles),
        sufficient=advice.sufficient,
    )


def _site(job: JobDocument, path: Path, policy: PolicyDocument) -> Site:
    of_federation = policy.level is PolicyLevel.FEDERATION
    rules = Rules(node=None if of_federation else policy, federation=(policy,) if of_federation else ())
    return Site(name=str(path), rules=rules, facts=_assumed_facts(job, policy))


def _verdict(job: JobDocument, site: Site) -> Verdict:
    (policy,) = site.rules.documents
    decision = decide(job, policy, site.facts)
    note = f"{policy.owner}, version {policy.version}"
    return Verdict(
        who=site.name,
        note=note,
        allowed=decision.allowed,
        grounds=tuple(
            Ground(clause=item.clause, sentence=item.sentence, allowed=item.allowed) for item in decision.reasons
        ),
    )


def _assumed_facts(job: JobDocument, rules: PolicyDocument) -> NodeFacts:
    return NodeFacts(
        now=now(),
        datasets=frozenset({job.dataset, *rules.datasets}),
        usable_records=max(1, rules.consent.minimum_records),
        method_discloses=programme_statement(programme(job)).level,
        learner_digest=None if job.learner is None else learner_digest(job.learner.name),
        operator_agreed=True,
        federation_policy=True,
    )
