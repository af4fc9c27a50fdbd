"""``fedseal consent history|impact|prove``: what happened to one person's consents, and what the record has entered."""

from typing import TYPE_CHECKING, Annotated

import typer

from fedseal_cli.commands import JsonOption
from fedseal_cli.consent_options import DatasetOption, PseudonymArgument, typed_pseudonym
from fedseal_cli.local_options import NodeOption, open_node
from fedseal_cli.output import day, instant, print_fields, print_json, print_table, say, wrapped

if TYPE_CHECKING:
    from fedseal_governance.consent import Impact, StageUse


def history(
    pseudonym: PseudonymArgument, dataset: DatasetOption, node: NodeOption, as_json: JsonOption = False
) -> None:
    """Show what happened to one person's consents; of withdrawn ones only when and for what."""
    from fedseal_governance import consent

    whose = typed_pseudonym(pseudonym)
    with open_node(node) as party:
        register = party.register(dataset)
        events = party.read(lambda session: consent.history(session, register, whose))
    if as_json:
        listed = [
            {
                "at": instant(event.at),
                "what": event.what,
                "purpose": event.purpose,
                "by": event.by or None,
                "detail": event.detail or None,
            }
            for event in events
        ]
        print_json({"events": listed})
        return
    print_table(
        ("When (UTC)", "What", "Purpose", "By", "Details"),
        [(day(event.at), event.what, event.purpose or "all", event.by or "erased", event.detail) for event in events],
        empty="Nothing is recorded under this pseudonym.",
    )


def impact(pseudonym: PseudonymArgument, dataset: DatasetOption, node: NodeOption, as_json: JsonOption = False) -> None:
    """List each job, round and model that one record has entered, also after its consent was withdrawn."""
    from fedseal_governance import consent
    from fedseal_governance.consent.impact import MEANING

    whose = typed_pseudonym(pseudonym)
    with open_node(node) as party:
        register = party.register(dataset)
        found = party.read(lambda session: consent.impact(session, register, whose))
    if as_json:
        print_json(
            {
                "withdrawn_at": None if found.withdrawn_at is None else instant(found.withdrawn_at),
                "uses": [_use_as_json(use) for use in found.uses],
                "meaning": MEANING,
            }
        )
        return
    _show_impact(found, MEANING)


def _use_as_json(use: "StageUse") -> dict[str, object]:
    return {
        "job": use.job,
        "name": use.name,
        "purpose": use.purpose,
        "state": use.state,
        "outcome": use.outcome or None,
        "stage": use.stage,
        "rounds": list(use.opened),
        "rounds_not_opened": list(use.unopened),
        "first": instant(use.first),
        "last": instant(use.last),
        "model": use.model,
    }


def _show_impact(found: "Impact", meaning: str) -> None:
    from itertools import groupby

    if found.withdrawn_at is not None:
        say(f"The person withdrew; last on {day(found.withdrawn_at)} UTC.")
    if not found.uses:
        say("The record has entered no round of any job at this node.")
        return
    for _, uses in groupby(found.uses, lambda use: use.job):
        say("")
        _show_job(list(uses))
    say("")
    say(wrapped(meaning))


def _show_job(uses: "list[StageUse]") -> None:
    from fedseal_governance.consent.impact import rounds_in_words
    from fedseal_governance.purposes import label_of

    first = uses[0]
    print_fields(
        {
            "Job": first.name,
            "Digest": first.job,
            "Purpose": f"{label_of(first.purpose)} ({first.purpose})",
            "Outcome": first.outcome or "still running",
            "Model": first.model or "none",
        }
    )
    print_table(
        ("Stage", "Rounds", "Not opened", "First (UTC)", "Last (UTC)"),
        [
            (
                use.stage,
                rounds_in_words(use.opened) or "none",
                rounds_in_words(use.unopened),
                day(use.first),
                day(use.last),
            )
            for use in uses
        ],
        empty="",
        folding=4,
    )
    if any(use.unopened for use in uses):
        say("Not opened: the masked contribution left, but this site did not help to open a sum with it.")


def prove(  # noqa: PLR0913, PLR0917 - Typer declares one parameter per option
    pseudonym: PseudonymArgument,
    job: Annotated[str, typer.Option("--job", metavar="DIGEST", help="The job, as `consent impact --json` names it.")],
    stage: Annotated[str, typer.Option("--stage", help="statistics, training or evaluation.")],
    round_: Annotated[int, typer.Option("--round", min=1, help="The round, counted from 1.")],
    dataset: DatasetOption,
    node: NodeOption,
    attempt: Annotated[int, typer.Option("--attempt", min=1, help="The attempt of the round, counted from 1.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Prove that one record was in the set of records that the log's entry on a round names."""
    from dataclasses import asdict

    from fedseal_governance import consent
    from fedseal_governance.runs import RoundKey

    whose = typed_pseudonym(pseudonym)
    key = RoundKey(job=job, stage=stage, round=round_ - 1, attempt=attempt - 1)
    with open_node(node) as party:
        register = party.register(dataset)
        proof = party.read(lambda session: consent.prove(session, register, whose, key))
    if as_json:
        print_json({**asdict(proof), "path": list(proof.path)})
        return
    print_fields(
        {
            "Leaf": proof.leaf,
            "Place": f"{proof.index} of {proof.size}, counted from 0",
            "Snapshot": proof.snapshot,
            **{f"Path {number}": step for number, step in enumerate(proof.path)},
        }
    )
    say("The record is among those of the snapshot. The log's entry round.contributed names the same snapshot.")
