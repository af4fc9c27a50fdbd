"""How policies appear on a terminal and in JSON."""

from typing import TYPE_CHECKING

from fedseal_cli.output import instant, note, print_table, say, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedseal_cli.policy_desk import Card, Changed
    from fedseal_governance.errors import DocumentError, Problem
    from fedseal_governance.policy import Change
    from fedseal_governance.policy.cases import Outcome
    from fedseal_governance.policy.remarks import Remark


def card_row(card: "Card") -> dict[str, object]:
    """A policy as every ``--json`` shows it."""
    return {
        "policy": card.document.policy,
        "version": card.document.version,
        "level": card.document.level.value,
        "digest": card.digest,
        "state": card.state.value,
        "proposer": card.proposer,
        "proposed_at": instant(card.proposed_at),
        "signers": list(card.signers),
        "signatures_missing": card.signatures_missing,
        "in_force_at": None if card.in_force_at is None else instant(card.in_force_at),
        "ended_at": None if card.ended_at is None else instant(card.ended_at),
        "reason": card.reason,
    }


def missing(card: "Card") -> str:
    """What still has to happen before a policy is in force, to follow a semicolon."""
    from fedseal_governance.policy import PolicyState

    if card.state is PolicyState.IN_FORCE:
        return "it is in force now"
    if card.state is PolicyState.APPROVED:
        return f"it is approved and comes into force on {card.document.valid.start}"
    if card.signatures_missing == 1:
        return "one more compliance officer must sign it"
    return f"{card.signatures_missing} more compliance officers must sign it"


def problem_row(problem: "Problem") -> dict[str, object]:
    """A problem of a file as ``--json`` shows it."""
    return {
        "line": problem.line,
        "column": problem.column,
        "field": problem.field,
        "value": problem.value,
        "fault": problem.fault,
        "remedy": problem.remedy,
    }


def say_problems(file: str, error: "DocumentError") -> None:
    """Every problem of a file, with where it is and what to do."""
    count = len(error.problems)
    note(f"{file} is not valid: {'one problem' if count == 1 else f'{count} problems'}.")
    for problem in error.problems:
        place = [problem.file]
        place += [] if problem.line is None else [f"line {problem.line}"]
        place += [] if problem.column is None else [f"column {problem.column}"]
        place += [f"field {problem.field}"] if problem.field else []
        note("")
        note(", ".join(place))
        stop = "" if problem.remedy.endswith("?") else "."
        note(wrapped(f"    {problem.fault};"))
        note(wrapped(f"    {problem.remedy}{stop}"))


def say_remarks(found: "Sequence[Remark]") -> None:
    """What is odd about a valid file."""
    for remark in found:
        note(wrapped(f"  - {remark.clause}: {remark.sentence}"))


def say_changes(changes: "list[Change]", *, to_stderr: bool = False) -> None:
    """A difference in words."""
    from fedseal_governance.policy import Direction

    headings = {
        Direction.ALLOWED: "What becomes allowed:",
        Direction.FORBIDDEN: "What becomes forbidden:",
        Direction.OTHER: "What else changes:",
    }
    if not changes:
        say_lines(["Nothing changes."], to_stderr=to_stderr)
    for kind, heading in headings.items():
        sentences = [item.sentence for item in changes if item.kind is kind]
        if sentences:
            say_lines([heading, *(f"  - {sentence}" for sentence in sentences)], to_stderr=to_stderr)


def say_text(text: str, *, to_stderr: bool = False) -> None:
    """Paragraphs folded at the width of a terminal."""
    say_lines(text.rstrip("\n").split("\n"), to_stderr=to_stderr)


def say_lines(lines: list[str], *, to_stderr: bool) -> None:
    """Lines, each folded."""
    for line in lines:
        (note if to_stderr else say)(wrapped(line))


def outcome_row(outcome: "Outcome") -> dict[str, object]:
    """The outcome of an example as ``--json`` shows it."""
    decision = outcome.decision
    return {
        "case": outcome.case.case,
        "expected": outcome.case.expect,
        "expected_clauses": list(outcome.case.clauses),
        "verdict": outcome.verdict,
        "clauses": list(outcome.clauses),
        "passed": outcome.passed,
        "fault": outcome.fault,
        "reasons": [
            {"clause": item.clause, "sentence": item.sentence}
            for item in (() if decision is None else decision.refusals)
        ],
    }


def say_outcomes(outcomes: "Sequence[Outcome]") -> None:
    """A table of the examples, and for those that differ what the policy says to them."""
    rows = [
        (number, "ok" if item.passed else "DIFFERS", item.case.expect, item.verdict, item.case.case)
        for number, item in enumerate(outcomes, start=1)
    ]
    print_table(("No", "", "Expected", "Verdict", "Case"), rows, empty="The file has no cases.")
    for number, outcome in enumerate(outcomes, start=1):
        if outcome.passed:
            continue
        say("")
        say(wrapped(f"{number}. {outcome.case.case}"))
        wanted = f", by {_and(outcome.case.clauses)}" if outcome.case.clauses else ""
        say(wrapped(f"  Expected: {outcome.case.expect}{wanted}."))
        decision = outcome.decision
        reasons = () if decision is None else decision.refusals
        if outcome.fault:
            say(wrapped(f"  The case itself is wrong: {outcome.fault}."))
        elif not reasons:
            say("  The policy allows the job; no clause refuses it.")
        else:
            say(f"  The policy refuses the job, by {len(reasons)} clause{'s' if len(reasons) > 1 else ''}:")
        for reason in reasons:
            say(wrapped(f"    - {reason.clause}: {reason.sentence}"))


def _and(words: "Sequence[str]") -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def changed_row(item: "Changed") -> dict[str, object]:
    """What a new version says to a past job, as ``--json`` shows it."""
    return {
        "job": item.name,
        "digest": item.job,
        "decided_at": instant(item.decided_at),
        "before": item.before,
        "after": item.after,
        "changed": item.before is not item.after,
        "reasons": [{"clause": clause, "sentence": sentence} for clause, sentence in item.reasons],
    }


def say_impact(jobs: "Sequence[Changed]", title: str) -> None:
    """Which verdicts change, by which clause."""
    changed = [item for item in jobs if item.before is not item.after]
    if not jobs:
        say("No job was decided on here yet.")
        return
    count = "one job" if len(jobs) == 1 else f"{len(jobs)} jobs"
    if not changed:
        verdicts = "no verdict changes"
    elif len(jobs) == 1:
        verdicts = "its verdict changes"
    else:
        verdicts = f"{len(changed)} of the verdicts change"
    say(wrapped(f"{count} of the past, judged again by the {title}: {verdicts}."))
    for after, heading in ((False, "Was allowed, would be refused:"), (True, "Was refused, would be allowed:")):
        of_this_kind = [item for item in changed if item.after is after]
        if of_this_kind:
            say("")
            say(heading)
        for item in of_this_kind:
            say(f"  {item.name} ({item.job[:12]}…, {item.decided_at:%Y-%m-%d})")
            for clause, sentence in item.reasons:
                say(wrapped(f"    - {clause}: {'until now: ' if after else ''}{sentence}"))
