"""Verdicts on a job before it is submitted: by policy files, and by the nodes as far as the coordinator knows."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedseal.files import read_limited
from fedseal.learning.plugins import learner_digest
from fedseal.methods import programme, programme_statement
from fedseal_cli.authority_options import now
from fedseal_cli.job_output import Ground, Verdict
from fedseal_governance.documents import MAX_BYTES
from fedseal_governance.jobs import JobDocument, load_job
from fedseal_governance.policy import NodeFacts, PolicyDocument, decide, load_policy

if TYPE_CHECKING:
    from fedseal.wire._generated import coordination_pb2 as pb


def read_job_file(file: Path) -> tuple[bytes, JobDocument]:
    """The exact bytes of a job file and what they say."""
    content = read_limited(file, max_bytes=MAX_BYTES, what="a job file")
    return content, load_job(content, str(file))


def read_policies(paths: Sequence[Path]) -> list[tuple[Path, PolicyDocument]]:
    """Policy files and what they say."""
    return [
        (path, load_policy(read_limited(path, max_bytes=MAX_BYTES, what="a policy file"), str(path))) for path in paths
    ]


def judge_by_files(job: JobDocument, policies: Sequence[tuple[Path, PolicyDocument]]) -> list[Verdict]:
    """What each policy file makes of the job, with the facts that only a node knows assumed to be good."""
    return [_by_file(job, path, rules) for path, rules in policies]


def judge_by_nodes(verdicts: "pb.JobVerdicts") -> list[Verdict]:
    """What the coordinator says that each node of the job would answer; what it does not know counts as no."""
    found = []
    for node in verdicts.nodes:
        grounds = tuple(
            Ground(clause=item.clause, sentence=item.sentence, allowed=item.allowed) for item in node.reasons
        )
        if not node.known:
            sentence = "The coordinator does not know this node's policy; the node has to be present once."
            grounds = (Ground(clause="policy", sentence=sentence, allowed=False),)
        where = "present" if node.attending else "not present"
        found.append(
            Verdict(who=f"node/{node.node}", note=where, allowed=node.known and node.accepted, grounds=grounds)
        )
    return found


def _by_file(job: JobDocument, path: Path, rules: PolicyDocument) -> Verdict:
    decision = decide(job, rules, _assumed_facts(job, rules))
    grounds = tuple(
        Ground(clause=item.clause, sentence=item.sentence, allowed=item.allowed) for item in decision.reasons
    )
    note = f"{rules.owner}, version {rules.version}"
    return Verdict(who=str(path), note=note, allowed=decision.allowed, grounds=grounds)


def _assumed_facts(job: JobDocument, rules: PolicyDocument) -> NodeFacts:
    return NodeFacts(
        now=now(),
        datasets=frozenset({job.dataset}),
        usable_records=max(1, rules.consent.minimum_records),
        method_discloses=programme_statement(programme(job)).level,
        learner_digest=None if job.learner is None else learner_digest(job.learner.name),
        operator_agreed=True,
    )
