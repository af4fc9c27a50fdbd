"""``fedseal policy``: write, read, compare and test rules; what is done with them is in ``policy_keeping``."""

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedseal_cli.authority_options import now
from fedseal_cli.commands import JsonOption, command, noun
from fedseal_cli.output import note, print_json, say
from fedseal_cli.policy_files import FileArgument, read_policy
from fedseal_cli.policy_keeping import keeping
from fedseal_cli.policy_output import (
    outcome_row,
    problem_row,
    say_changes,
    say_outcomes,
    say_problems,
    say_remarks,
    say_text,
)

if TYPE_CHECKING:
    from fedseal_governance.policy import PolicyDocument
    from fedseal_governance.policy.remarks import Remark

app = noun(
    "policy",
    "Write, read, compare, test, propose, sign and end the rules of a data holder or of the federation.",
    example="fedseal policy explain cleveland-policy.yaml",
)


@command(app, "new", example="fedseal policy new --template hospital --out policy.yaml")
def new(
    template: Annotated[str, typer.Option("--template", metavar="NAME", help="hospital, bank or research.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where to write it; otherwise it is printed.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the policy.")] = None,
    owner: Annotated[str | None, typer.Option("--owner", help="Your organisation, as in its certificate.")] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="The registered dataset it speaks for.")] = None,
    start: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], metavar="DATE", help="First day.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--until", formats=["%Y-%m-%d"], metavar="DATE", help="Last day.")
    ] = None,
) -> None:
    """Write a policy file with comments to start from; what is not given as an option is asked for."""
    from fedseal.errors import SetupError
    from fedseal.files import write_atomic
    from fedseal_governance.documents import suggestion
    from fedseal_governance.policy.templates import Blanks, TemplateName, fill

    words = [item.value for item in TemplateName]
    if template not in words:
        near = suggestion(template, words)
        raise SetupError(
            f"there is no template {template!r}; " + (f"did you mean {near}?" if near else ", ".join(words))
        )
    if out is not None and out.exists():
        raise SetupError(f"{out} exists and is not overwritten; choose another name or move it away.")
    today = now().date()
    blanks = Blanks(
        policy=name or typer.prompt("Name of the policy (a-z, 0-9, -)", default=f"{template}-policy", err=True),
        owner=owner or typer.prompt("Your organisation, exactly as in its certificate", err=True),
        dataset=dataset or typer.prompt("Name of the dataset", err=True),
        start=start.date() if start else _asked_day("First day", today.isoformat()),
        until=until.date() if until else _asked_day("Last day", today.replace(year=today.year + 1, day=1).isoformat()),
    )
    content, document = fill(TemplateName(template), blanks, filename=str(out or f"{template} template"))
    if out is None:
        typer.echo(content.decode("utf-8"), nl=False)
        return
    write_atomic(out, content)
    say(f"{out} is written: {document.title} of {document.owner}.")
    say("Read it in an editor and change what does not fit. Then:")
    say(f"  fedseal policy validate {out}")


@command(app, "validate", example="fedseal policy validate cleveland-policy.yaml")
def validate(file: FileArgument, as_json: JsonOption = False) -> None:
    """Check a policy file; each problem is named with line, column, field and the nearest valid word.

    Also says what is odd without being wrong: methods that are not installed, a period that has passed, a budget
    that nothing can keep. That does not fail.
    """
    from fedseal_governance.errors import DocumentError

    try:
        document, digest = read_policy(file)
    except DocumentError as error:
        if as_json:
            print_json({"file": str(file), "valid": False, "problems": [problem_row(item) for item in error.problems]})
        else:
            say_problems(str(file), error)
        raise typer.Exit(2) from None
    odd = _remarks(document)
    if as_json:
        print_json(
            {
                "file": str(file),
                "valid": True,
                "policy": document.policy,
                "version": document.version,
                "digest": digest,
                "remarks": [{"clause": item.clause, "sentence": item.sentence} for item in odd],
            }
        )
        return
    say(f"{file} is valid: {document.title} of {document.owner}.")
    if odd:
        note("It is odd, though:")
        say_remarks(odd)


@command(app, "explain", example="fedseal policy explain cleveland-policy.yaml")
def explain(file: FileArgument, as_json: JsonOption = False) -> None:
    """Say in plain English what a policy allows and forbids, field by field."""
    from fedseal_governance import policy as library

    document, digest = read_policy(file)
    text = library.explain(document)
    if as_json:
        print_json({"policy": document.policy, "version": document.version, "digest": digest, "explanation": text})
        return
    say_text(text)


@command(app, "diff", example="fedseal policy diff policy-v1.yaml policy-v2.yaml")
def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The earlier version.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The later version.")],
    as_json: JsonOption = False,
) -> None:
    """Say in words what a new version allows and forbids that the old one did not."""
    from fedseal_governance import policy as library

    changes = library.diff(read_policy(old)[0], read_policy(new)[0])
    if as_json:
        print_json(
            {
                "changes": [
                    {"kind": item.kind.value, "clause": item.clause, "sentence": item.sentence} for item in changes
                ]
            }
        )
        return
    say_changes(changes)


@command(app, "test", example="fedseal policy test policy-tests.yaml --policy cleveland-policy.yaml")
def examples(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Example jobs with expected verdicts (YAML).")],
    policy: Annotated[
        Path | None, typer.Option("--policy", metavar="FILE", help="The policy to test; otherwise as the file says.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare what a policy says to example jobs with what it ought to say; exits with 1 if one differs."""
    from fedseal_cli.policy_cases import run_cases

    outcomes = run_cases(file, policy)
    failed = sum(not item.passed for item in outcomes)
    if as_json:
        print_json({"passed": failed == 0, "cases": [outcome_row(item) for item in outcomes]})
    else:
        say_outcomes(outcomes)
        say("")
        say("All cases are as expected." if not failed else f"{failed} of {len(outcomes)} cases differ.")
    if failed:
        raise typer.Exit(1)


def _asked_day(what: str, default: str) -> date:
    from fedseal.errors import SetupError

    text = typer.prompt(f"{what} (UTC, as 2026-12-31)", default=default, err=True)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise SetupError(f"{text!r} is no date; write it as 2026-12-31.") from None


def _remarks(document: "PolicyDocument") -> "tuple[Remark, ...]":
    from fedseal.installed import installed_offer
    from fedseal_governance.policy.remarks import Installed, remarks

    offer = installed_offer()
    installed = Installed(methods=tuple(offer.methods), learners=offer.learners, protections=offer.protections)
    return remarks(document, installed, today=now().date())


keeping(app)
