"""``fedseal job``: check, submit and follow federated jobs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedseal_cli.authority_options import now
from fedseal_cli.commands import JsonOption, command, noun
from fedseal_cli.output import print_json, say, wrapped

if TYPE_CHECKING:
    from fedseal_governance.jobs import JobDocument
    from fedseal_governance.policy import Decision, PolicyDocument

app = noun("job", "Check, submit and follow federated jobs.", example="fedseal job check job.yaml --policy policy.yaml")

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A job file (YAML).")]


@command(app, "check", example="fedseal job check job.yaml --policy cleveland-policy.yaml --policy va-policy.yaml")
def check(
    file: FileArgument,
    policy: Annotated[
        list[Path] | None, typer.Option("--policy", metavar="FILE", help="A policy file to judge it by; repeatable.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a job file and say what each policy makes of it, before anybody submits it.

    It assumes that the data is registered and unchanged, that enough records have consent, and that the
    node's operator agrees; the nodes establish these themselves. Exits with 3 if a policy refuses.
    """
    from fedseal.files import read_limited
    from fedseal_crypto.digests import sha256_hex
    from fedseal_governance.documents import MAX_BYTES
    from fedseal_governance.errors import RefusedError
    from fedseal_governance.jobs import load_job
    from fedseal_governance.policy import load_policy

    content = read_limited(file, max_bytes=MAX_BYTES, what="a job file")
    job = load_job(content, str(file))
    verdicts = []
    for path in policy or ():
        rules = load_policy(read_limited(path, max_bytes=MAX_BYTES, what="a policy file"), str(path))
        verdicts.append((path, rules, _judge(job, rules)))
    if as_json:
        print_json(
            {
                "job": job.job,
                "digest": sha256_hex(content),
                "allowed": all(decision.allowed for _, _, decision in verdicts),
                "policies": [_verdict(path, rules, decision) for path, rules, decision in verdicts],
            }
        )
    else:
        say(
            f"{file} is a valid job: {job.job}, {job.kind.value} on {job.dataset} (digest {sha256_hex(content)[:16]}…)."
        )
        for path, rules, decision in verdicts:
            _say_verdict(path, rules, decision)
    refusing = [str(path) for path, _, decision in verdicts if not decision.allowed]
    if refusing:
        raise RefusedError(f"the job is refused by {', '.join(refusing)}; change the job as the reasons say.")


def _judge(job: "JobDocument", rules: "PolicyDocument") -> "Decision":
    from fedseal.learning.plugins import learner_digest
    from fedseal.methods import programme, programme_statement
    from fedseal_governance.policy import NodeFacts, decide

    facts = NodeFacts(
        now=now(),
        datasets=frozenset({job.dataset}),
        usable_records=max(1, rules.consent.minimum_records),
        method_discloses=programme_statement(programme(job)).level,
        learner_digest=None if job.learner is None else learner_digest(job.learner.name),
        operator_agreed=True,
    )
    return decide(job, rules, facts)


def _verdict(path: Path, rules: "PolicyDocument", decision: "Decision") -> dict[str, object]:
    return {
        "file": str(path),
        "policy": rules.policy,
        "version": rules.version,
        "owner": rules.owner,
        "allowed": decision.allowed,
        "reasons": [
            {"clause": item.clause, "allowed": item.allowed, "sentence": item.sentence} for item in decision.reasons
        ],
    }


def _say_verdict(path: Path, rules: "PolicyDocument", decision: "Decision") -> None:
    say("")
    say(f"{rules.owner} ({path}, version {rules.version}): {'allowed' if decision.allowed else 'REFUSED'}")
    for item in decision.reasons:
        say(wrapped(f"  {'+' if item.allowed else '-'} {item.clause}: {item.sentence}"))
