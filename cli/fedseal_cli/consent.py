"""``fedseal consent``: import, record, withdraw and look up consents at a node. They never leave it."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedseal_cli.authority_options import now
from fedseal_cli.commands import JsonOption, command, noun
from fedseal_cli.consent_options import DatasetOption, PseudonymArgument, typed_pseudonym
from fedseal_cli.consent_past import history, impact, prove
from fedseal_cli.local_options import NodeOption, OptionalAsOption, open_node, optional_person
from fedseal_cli.output import day, instant, note, print_json, print_table, say
from fedseal_cli.secrets_input import PassphraseFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fedseal.local import LocalParty
    from fedseal_governance.consent import RecordedConsent

app = noun(
    "consent",
    "Import, record, withdraw and look up consents at a node, and what a record has entered. They never leave it.",
    example="fedseal consent withdraw P-00042 --dataset heart-disease --node cleveland",
)


@command(app, "import", example="fedseal consent import consents.csv --dataset heart-disease --node cleveland")
def import_(  # noqa: PLR0913, PLR0917 - Typer declares one parameter per option
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV, or HL7 FHIR R4 Consents: a Bundle (JSON) or NDJSON.")
    ],
    dataset: DatasetOption,
    node: NodeOption,
    form: Annotated[
        str | None, typer.Option("--format", metavar="csv|fhir", help="By default told from its first character.")
    ] = None,
    report_file: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write every bad row to this CSV file.")
    ] = None,
    form_version: Annotated[
        str | None, typer.Option("--form-version", help="FHIR: the form signed, where a Consent names none.")
    ] = None,
    identifier_system: Annotated[
        str | None,
        typer.Option("--identifier-system", metavar="URI", help="FHIR: the patient identifier that is the pseudonym."),
    ] = None,
    as_: OptionalAsOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Import consents: all rows of a file, or none and a report of the bad ones."""
    from dataclasses import asdict

    from fedseal_cli.consent_import import format_of, watching
    from fedseal_governance import consent

    moment = now()
    with open_node(node) as party, watching(file, report_file, quiet=as_json) as watch:
        person = optional_person(as_, passphrase_file)
        _note_unregistered(party, dataset)
        options = consent.ImportOptions(
            form=format_of(form),
            purpose_codes=_policys_codes(party, dataset),
            form_version=form_version,
            identifier_system=identifier_system,
        )
        register = party.register(dataset)
        done = party.run(
            "consent.import",
            lambda act: consent.import_consents(act, register, file, options=options, watch=watch),
            now=moment,
            person=person,
        )
    if as_json:
        print_json(asdict(done))
        return
    say(f"{done.rows} rows: {done.added} consents added, {done.known} were known.")
    if done.withdrawn:
        say(f"{done.withdrawn} consents were left out, because the person has withdrawn since.")
    if done.denials:
        say(f"{done.denials} refusals or withdrawals are new; they ended {done.ended} consents.")
    if done.rows and not done.consents and not done.denials:
        say("None of them permits research, or is active.")


def _policys_codes(party: "LocalParty", dataset: str) -> "Mapping[str, str]":
    """What the policy in force for the dataset says of foreign codes; nothing without one."""
    from fedseal_governance.policy import in_force

    moment = now()
    trust = party.trust(moment)
    stored = party.read(lambda session: in_force(session, dataset, trust=trust, now=moment))
    return {} if stored is None else stored.document.consent.purpose_codes


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
    valid_from: Annotated[
        datetime | None, typer.Option("--valid-from", formats=["%Y-%m-%d"], help="First day; none: --given-on.")
    ] = None,
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
            pseudonym=typed_pseudonym(pseudonym),
            purpose=purpose,
            given_on=given_on.date(),
            valid_from=None if valid_from is None else valid_from.date(),
            valid_until=None if valid_until is None else valid_until.date(),
            form_version=form_version,
            recorded_by=party.label if person is None else person.label,
        )
        register = party.register(dataset)
        party.run("consent.record", lambda act: consent.record(act, register, given), now=now(), person=person)
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

    whose = typed_pseudonym(pseudonym)
    with open_node(node) as party:
        person = optional_person(as_, passphrase_file)
        register = party.register(dataset)
        ended = party.run(
            "consent.withdraw",
            lambda act: consent.withdraw(act, register, whose, purpose=purpose, even_if_unknown=even_if_unknown),
            now=now(),
            person=person,
        )
    if as_json:
        print_json({"ended": ended})
        return
    say(f"Withdrawn: {ended} consent(s) ended in {dataset}; the record is left out from the next round on.")
    say("What it entered before: `fedseal consent impact`.")


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
            whose = typed_pseudonym(pseudonym)
            register = party.register(dataset)
            _show_person(party.read(lambda session: consent.status(session, register, whose, now=moment)), as_json)
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
        print_json({"consents": [_as_json(item) for item in consents]})
        return
    print_table(
        ("Purpose", "State", "From", "Until", "Withdrawn (UTC)", "Form"),
        [
            (
                item.purpose,
                item.state,
                "erased" if item.consent is None else item.consent.first_day,
                "" if item.consent is None else item.consent.valid_until or "no end",
                "" if item.withdrawn_at is None else day(item.withdrawn_at),
                "" if item.consent is None else item.consent.form_version,
            )
            for item in consents
        ],
        empty="No consent is recorded under this pseudonym.",
    )


def _as_json(item: "RecordedConsent") -> dict[str, object]:
    given = item.consent
    until = None if given is None or given.valid_until is None else given.valid_until.isoformat()
    return {
        "purpose": item.purpose,
        "state": item.state,
        "given_on": None if given is None else given.given_on.isoformat(),
        "valid_from": None if given is None else given.first_day.isoformat(),
        "valid_until": until,
        "recorded_at": instant(item.recorded_at),
        "withdrawn_at": None if item.withdrawn_at is None else instant(item.withdrawn_at),
        "form_version": None if given is None else given.form_version,
        "recorded_by": None if given is None else given.recorded_by,
        "source_digest": item.source,
        "content_digest": item.digest,
    }


command(app, "history", example="fedseal consent history P-00042 --dataset heart-disease --node cleveland")(history)
command(app, "impact", example="fedseal consent impact P-00042 --dataset heart-disease --node cleveland")(impact)
command(
    app,
    "prove",
    example="fedseal consent prove P-00042 --job 3f2a… --stage training --round 7 --dataset heart-disease "
    "--node cleveland",
)(prove)
