"""``fedseal consent``: import, record, withdraw and look up consents at a node. They never leave it."""

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedseal_cli.authority_options import now
from fedseal_cli.commands import JsonOption, command, noun
from fedseal_cli.local_options import NodeOption, OptionalAsOption, open_node, optional_person
from fedseal_cli.output import day, instant, note, print_json, print_table, say
from fedseal_cli.secrets_input import PassphraseFile

if TYPE_CHECKING:
    from fedseal.local import LocalParty
    from fedseal_governance.consent import RecordedConsent

app = noun(
    "consent",
    "Import, record, withdraw and look up consents at a node. They never leave it.",
    example="fedseal consent withdraw P-00042 --dataset heart-disease --node cleveland",
)

DatasetOption = Annotated[str, typer.Option("--dataset", help="The dataset whose records the pseudonyms are.")]
PseudonymArgument = Annotated[
    str, typer.Argument(metavar="PSEUDONYM", help="The record's pseudonym, or - to read it from standard input.")
]


@command(app, "import", example="fedseal consent import consents.csv --dataset heart-disease --node cleveland")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV: one row a pseudonym and purpose.")],
    dataset: DatasetOption,
    node: NodeOption,
    as_: OptionalAsOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Import consents from a CSV file: all rows, or none and a report of the bad ones."""
    from fedseal_governance import consent

    with open_node(node) as party:
        person = optional_person(as_, passphrase_file)
        _note_unregistered(party, dataset)
        report = party.run(
            "consent.import", lambda act: consent.import_consents(act, dataset, file), now=now(), person=person
        )
    if as_json:
        print_json(
            {
                "rows": report.rows,
                "added": report.added,
                "known": report.known,
                "withdrawn": report.withdrawn,
                "digest": report.digest,
            }
        )
        return
    say(f"{report.rows} rows: {report.added} consents added, {report.known} were known.")
    if report.withdrawn:
        say(f"{report.withdrawn} rows were left out, because the person has withdrawn since.")


def _note_unregistered(party: "LocalParty", dataset: str) -> None:
    """Warn about a misspelt dataset: consents may be imported before the data, but hardly ever are."""
    from fedseal_governance.datasets import list_registered
    from fedseal_governance.documents import suggestion

    known = [item.name for item in party.read(list_registered)]
    if dataset not in known:
        near = suggestion(dataset, known)
        hint = f"; did you mean {near}?" if near else "; check its name."
        note(f"No dataset {dataset} is registered at this node{hint}")


@command(
    app,
    "record",
    example="fedseal consent record P-00042 --purpose DUO:0000006 --given-on 2026-03-01 --form-version 2.1 "
    "--dataset heart-disease --node cleveland",
)
def record(  # noqa: PLR0913, PLR0917 - Typer declares one parameter per option
    pseudonym: PseudonymArgument,
    purpose: Annotated[str, typer.Option("--purpose", metavar="CODE", help="A Data Use Ontology code.")],
    given_on: Annotated[datetime, typer.Option("--given-on", formats=["%Y-%m-%d"], help="Day of the signature.")],
    form_version: Annotated[str, typer.Option("--form-version", help="Which form was signed.")],
    dataset: DatasetOption,
    node: NodeOption,
    valid_until: Annotated[
        datetime | None, typer.Option("--valid-until", formats=["%Y-%m-%d"], help="Last day; none means no end.")
    ] = None,
    as_: OptionalAsOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Record one person's consent for one purpose."""
    from fedseal_governance import consent

    with open_node(node) as party:
        person = optional_person(as_, passphrase_file)
        given = consent.Consent(
            pseudonym=_pseudonym(pseudonym),
            purpose=purpose,
            given_on=given_on.date(),
            valid_until=None if valid_until is None else valid_until.date(),
            form_version=form_version,
            recorded_by=party.label if person is None else person.label,
        )
        party.run("consent.record", lambda act: consent.record(act, dataset, given), now=now(), person=person)
    if as_json:
        print_json({"recorded": True, "purpose": purpose})
        return
    say(f"Recorded: one consent for {purpose} in {dataset}.")


@command(app, "withdraw", example="fedseal consent withdraw P-00042 --dataset heart-disease --node cleveland")
def withdraw(  # noqa: PLR0913, PLR0917 - Typer declares one parameter per option
    pseudonym: PseudonymArgument,
    dataset: DatasetOption,
    node: NodeOption,
    purpose: Annotated[
        str | None, typer.Option("--purpose", metavar="CODE", help="Only for this purpose; otherwise for all.")
    ] = None,
    even_if_unknown: Annotated[
        bool, typer.Option("--even-if-unknown", help="Keep the withdrawal for consents that come later.")
    ] = False,
    as_: OptionalAsOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Withdraw a person's consent; it takes effect at once, in running jobs from the next round on."""
    from fedseal_governance import consent

    whose = _pseudonym(pseudonym)
    with open_node(node) as party:
        person = optional_person(as_, passphrase_file)
        ended = party.run(
            "consent.withdraw",
            lambda act: consent.withdraw(act, dataset, whose, purpose=purpose, even_if_unknown=even_if_unknown),
            now=now(),
            person=person,
        )
    if as_json:
        print_json({"ended": ended})
        return
    say(f"Withdrawn: {ended} consent(s) ended in {dataset}; the record is left out from the next round on.")


@command(app, "status", example="fedseal consent status --dataset heart-disease --node cleveland")
def status(
    dataset: DatasetOption,
    node: NodeOption,
    pseudonym: Annotated[
        str | None, typer.Option("--pseudonym", help="One person's consents, or - to read it from standard input.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how many consents are in force for each purpose, or everything about one person."""
    from fedseal_governance import consent

    moment = now()
    with open_node(node) as party:
        if pseudonym is not None:
            whose = _pseudonym(pseudonym)
            _show_person(party.read(lambda session: consent.status(session, dataset, whose, now=moment)), as_json)
            return
        counts = party.read(lambda session: consent.summary(session, dataset, now=moment))
    if as_json:
        print_json(
            {
                "dataset": dataset,
                "purposes": [
                    {
                        "purpose": count.purpose,
                        "in_force": count.in_force,
                        "withdrawn": count.withdrawn,
                        "expired": count.expired,
                    }
                    for count in counts
                ],
            }
        )
        return
    if not counts:
        say(f"No consent is recorded for {dataset}; a policy that requires consent lets no record be used.")
    for count in counts:
        say(consent.describe(count))


def _show_person(consents: "tuple[RecordedConsent, ...]", as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "consents": [
                    {
                        "purpose": item.consent.purpose,
                        "state": item.state,
                        "given_on": item.consent.given_on.isoformat(),
                        "valid_until": None
                        if item.consent.valid_until is None
                        else item.consent.valid_until.isoformat(),
                        "withdrawn_at": None if item.withdrawn_at is None else instant(item.withdrawn_at),
                        "form_version": item.consent.form_version,
                        "recorded_by": item.consent.recorded_by,
                    }
                    for item in consents
                ]
            }
        )
        return
    print_table(
        ("Purpose", "State", "Given on", "Until", "Withdrawn (UTC)", "Form"),
        [
            (
                item.consent.purpose,
                item.state,
                item.consent.given_on,
                item.consent.valid_until or "no end",
                "" if item.withdrawn_at is None else day(item.withdrawn_at),
                item.consent.form_version,
            )
            for item in consents
        ],
        empty="No consent is recorded under this pseudonym.",
    )


def _pseudonym(given: str) -> str:
    # Arguments can be seen by other users of the machine; standard input cannot.
    return sys.stdin.readline(1024).strip() if given == "-" else given
