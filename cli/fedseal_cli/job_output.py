"""How jobs appear on a terminal and in JSON."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedseal.errors import PlatformError
from fedseal_cli.output import print_fields, print_json, print_table, say, wrapped
from fedseal_cli.remote import summary_row

if TYPE_CHECKING:
    from fedseal.client import Client
    from fedseal.wire._generated import coordination_pb2 as pb
    from fedseal_governance.policy.advice import Advice


class JobNotFinished(PlatformError):
    """A job that was followed ended without finishing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What one clause says."""

    clause: str
    sentence: str
    allowed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one policy or node makes of a job."""

    who: str
    note: str
    allowed: bool
    grounds: tuple[Ground, ...]


def verdict_row(verdict: Verdict) -> dict[str, object]:
    """A verdict as ``--json`` shows it."""
    return {
        "by": verdict.who,
        "note": verdict.note,
        "allowed": verdict.allowed,
        "reasons": [
            {"clause": item.clause, "allowed": item.allowed, "sentence": item.sentence} for item in verdict.grounds
        ],
    }


def say_verdict(verdict: Verdict) -> None:
    """A verdict with a line for each clause."""
    say("")
    say(f"{verdict.who} ({verdict.note}): {'allowed' if verdict.allowed else 'REFUSED'}")
    for item in verdict.grounds:
        say(wrapped(f"  {'+' if item.allowed else '-'} {item.clause}: {item.sentence}"))


def advice_row(advice: "Advice | None") -> dict[str, object] | None:
    """What to change, as ``--json`` shows it; None where nobody was asked."""
    if advice is None:
        return None
    return {
        "changes": [{"field": item.field, "value": item.value, "sentence": item.sentence} for item in advice.changes],
        "obstacles": list(advice.obstacles),
        "sufficient": advice.sufficient,
    }


def say_advice(advice: "Advice", file: str) -> None:
    """What to write into which field, or that nothing there helps."""
    if not advice.changes and not advice.obstacles:
        return
    say("")
    if advice.changes:
        say(f"What to change in {file}:")
    for item in advice.changes:
        line = f"remove {item.field}" if item.value is None else f"{item.field}: {json.dumps(item.value)}"
        say(f"  {line}")
        say(wrapped(f"      {item.sentence}"))
    if advice.obstacles:
        say("What no change of the job file mends:")
    for obstacle in advice.obstacles:
        say(wrapped(f"  - {obstacle}"))
    if advice.sufficient:
        say("With these changes every policy that was asked allows the job.")
    else:
        say("No change of the job file satisfies every policy that was asked.")


def follow(client: "Client", job: str, *, as_json: bool) -> None:
    """Print a job's events until it ends.

    Raises:
        JobNotFinished: It was refused, failed or was stopped.
    """
    for event in client.watch_job(job):
        if as_json:
            print_json(_event_row(event))
        else:
            line = _event_line(event)
            if line:
                say(line)
    summary = client.show_job(job).summary
    if summary.state != "finished":
        reason = summary.reason or "see `fedseal job show`"
        raise JobNotFinished(f"the job {summary.name} ended as {summary.state}: {reason}")


def say_detail(detail: "pb.JobDetail", *, as_json: bool) -> None:
    """One job with answers, rounds and artefacts."""
    if as_json:
        print_json(_detail_row(detail))
        return
    summary = detail.summary
    print_fields(
        {
            "Job": summary.name,
            "Digest": summary.job,
            "State": f"{summary.state}{f': {summary.reason}' if summary.reason else ''}",
            "Submitted": f"{summary.submitted_at} by {summary.submitted_by}",
            "Finished": summary.finished_at or "not yet",
            "Rounds": f"{summary.rounds_done} of {summary.rounds_planned}",
        }
    )
    _say_answers(detail)
    _say_rounds(detail)
    say("")
    for artefact in detail.artefacts:
        say(f"{artefact.kind}, {artefact.size} bytes:")
        say(f"  {artefact.digest}")


def _say_answers(detail: "pb.JobDetail") -> None:
    say("")
    rows = []
    for item in detail.answers:
        refusals = [f"{reason.clause}: {reason.sentence}" for reason in item.reasons if not reason.allowed]
        rows.append((item.node, item.answer, " ".join(refusals)))
    print_table(("Node", "Answer", "Why"), rows, empty="No node has answered yet.")


def _say_rounds(detail: "pb.JobDetail") -> None:
    say("")
    print_table(
        ("Stage", "Round", "State", "In the sum", "Recovered", "Figures"),
        [
            (
                item.address.stage,
                _round_number(item.address),
                item.state,
                f"{len(item.survivors)} of {len(item.roster)}",
                ", ".join(item.recovered) or "-",
                item.reason or _figures(item.metrics),
            )
            for item in detail.rounds
        ],
        empty="No round has begun yet.",
        folding=2,
    )


def _round_number(address: "pb.RoundAddress") -> str:
    again = f" (attempt {address.attempt + 1})" if address.attempt else ""
    return f"{address.round + 1}{again}"


def _figures(text: str) -> str:
    figures = _parsed(text)
    return ", ".join(f"{name} {_number(value)}" for name, value in figures.items() if isinstance(value, int | float))


def _number(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.4g}"


def _parsed(text: str) -> dict[str, object]:
    """Published figures; the coordinator is not trusted to send JSON."""
    try:
        figures = json.loads(text or "{}")
    except ValueError:
        return {}
    return figures if isinstance(figures, dict) else {}


def _event_line(event: "pb.JobEvent") -> str:
    """One event for a person; single messages of a round are left out."""
    if event.kind == "message":
        return ""
    place = f"{event.address.stage} {_round_number(event.address)}" if event.address.stage else ""
    parts = [event.kind, place, event.step, event.text, _figures(event.metrics)]
    return "  ".join(part for part in parts if part)


def _event_row(event: "pb.JobEvent") -> dict[str, object]:
    return {
        "job": event.job,
        "kind": event.kind,
        "stage": event.address.stage or None,
        "round": event.address.round if event.address.stage else None,
        "attempt": event.address.attempt if event.address.stage else None,
        "step": event.step or None,
        "node": event.node or None,
        "text": event.text,
        "figures": _parsed(event.metrics),
    }


def _detail_row(detail: "pb.JobDetail") -> dict[str, object]:
    return {
        **summary_row(detail.summary),
        "answers": [
            {
                "node": item.node,
                "answer": item.answer,
                "reasons": [
                    {"clause": reason.clause, "allowed": reason.allowed, "sentence": reason.sentence}
                    for reason in item.reasons
                ],
            }
            for item in detail.answers
        ],
        "rounds": [
            {
                "stage": item.address.stage,
                "round": item.address.round,
                "attempt": item.address.attempt,
                "state": item.state,
                "roster": list(item.roster),
                "survivors": list(item.survivors),
                "recovered": list(item.recovered),
                "threshold": item.threshold,
                "figures": _parsed(item.metrics),
                "reason": item.reason,
                "started_at": item.started_at,
                "ended_at": item.ended_at or None,
            }
            for item in detail.rounds
        ],
        "artefacts": [{"kind": item.kind, "digest": item.digest, "size": item.size} for item in detail.artefacts],
    }
