"""``fedseal dataset``: register, approve, list and describe the data that a node holds; it stays where it is."""

from pathlib import Path
from typing import Annotated

import typer

from fedseal_cli.authority_options import now
from fedseal_cli.commands import JsonOption, YesOption, command, noun
from fedseal_cli.local_options import NodeOption, OptionalAsOption, open_node, optional_person
from fedseal_cli.output import day, instant, note, print_fields, print_json, print_table, say, wrapped
from fedseal_cli.secrets_input import PassphraseFile

app = noun(
    "dataset",
    "Register, approve, list and describe the data that a node holds.",
    example="fedseal dataset register --schema heart-disease.yaml --source cleveland.csv --node cleveland",
)


@command(
    app,
    "register",
    example="fedseal dataset register --schema heart-disease.yaml --source cleveland.csv --node cleveland",
)
def register(
    schema: Annotated[Path, typer.Option("--schema", metavar="FILE", help="The dataset's schema (YAML).")],
    source: Annotated[Path, typer.Option("--source", metavar="FILE", help="The data (CSV); it is not copied.")],
    node: NodeOption,
    as_: OptionalAsOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Register a dataset: schema, row count and content digest are pinned, and compared before each job."""
    from fedseal.files import read_limited
    from fedseal.learning import load_dataset
    from fedseal.profiles import dataset_facts
    from fedseal_governance import datasets
    from fedseal_governance.documents import MAX_BYTES

    content = read_limited(schema, max_bytes=MAX_BYTES, what="a dataset's schema")
    document = datasets.load_schema(content, str(schema))
    data = load_dataset(source, document)
    facts = dataset_facts(data, content)
    with open_node(node) as party:
        person = optional_person(as_, passphrase_file)
        done = party.run(
            "dataset.register",
            lambda act: datasets.register(act, facts, filename=str(schema), source=str(source.resolve())),
            now=now(),
            person=person,
        )
    if as_json:
        print_json({"dataset": done.name, "rows": done.facts.row_count, "content_digest": done.facts.content_digest})
        return
    say(
        f"The dataset {done.name} is registered: {done.facts.row_count} rows, digest {done.facts.content_digest[:16]}…."
    )


@command(app, "list", example="fedseal dataset list --node cleveland")
def list_(node: NodeOption, as_json: JsonOption = False) -> None:
    """List the datasets that are registered at a node."""
    from fedseal_governance import datasets

    with open_node(node) as party:
        rows = party.read(datasets.list_registered)
    if as_json:
        print_json(
            {
                "datasets": [
                    {
                        "dataset": row.name,
                        "rows": row.facts.row_count,
                        "schema_digest": row.schema_digest,
                        "content_digest": row.facts.content_digest,
                        "source": row.source,
                        "registered_at": instant(row.registered_at),
                        "registered_by": row.registered_by,
                    }
                    for row in rows
                ]
            }
        )
        return
    print_table(
        ("Dataset", "Rows", "Registered (UTC)", "By", "Content"),
        [
            (
                row.name,
                row.facts.row_count,
                day(row.registered_at),
                row.registered_by,
                f"{row.facts.content_digest[:12]}…",
            )
            for row in rows
        ],
        empty="No dataset is registered here yet; use `fedseal dataset register`.",
    )


@command(app, "approve", example="fedseal dataset approve heart-disease --node cleveland")
def approve(
    name: Annotated[str, typer.Argument(metavar="DATASET", help="As `dataset list` shows it.")],
    node: NodeOption,
    yes: YesOption = False,
    as_: OptionalAsOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Show what changed in a dataset since it was approved, and approve it as it is now."""
    from fedseal.profiles import changes_since
    from fedseal_governance import datasets

    with open_node(node) as party:
        facts, drift = changes_since(party, name)
        for change in drift.sentences:
            note(wrapped(change))
        if drift.sentences and not yes:
            typer.confirm("Approve the dataset as it is now?", abort=True, err=True)
        person = optional_person(as_, passphrase_file)
        done = party.run("dataset.approve", lambda act: datasets.approve(act, name, facts), now=now(), person=person)
    if as_json:
        changes = drift.rows
        print_json(
            {
                "dataset": done.name,
                "rows": done.facts.row_count,
                "content_digest": done.facts.content_digest,
                "rows_added": None if changes is None else changes.added,
                "rows_removed": None if changes is None else changes.removed,
                "rows_edited": None if changes is None else changes.edited,
                "changes": list(drift.sentences),
            }
        )
        return
    say(
        f"The dataset {done.name} is approved as it is: {done.facts.row_count} rows; it is used from the next round on."
    )


@command(app, "profile", example="fedseal dataset profile heart-disease --node cleveland")
def profile(
    name: Annotated[str, typer.Argument(metavar="DATASET", help="As `dataset list` shows it.")],
    node: NodeOption,
    minimum_cell: Annotated[
        int, typer.Option("--minimum-cell", min=3, max=1000, help="Groups of fewer records are not shown.")
    ] = 10,
    as_json: JsonOption = False,
) -> None:
    """Describe a registered dataset column by column; small groups, and what would give them away, are not shown."""
    from fedseal.profiles import profile_registered

    with open_node(node) as party:
        view = profile_registered(party, name, minimum_cell=minimum_cell)
    if as_json:
        print_json(
            {
                "dataset": view.dataset,
                "rows": view.rows,
                "unchanged": not view.changes,
                "changes": list(view.changes),
                "minimum_cell": view.minimum_cell,
                "columns": [
                    {"name": column.name, "type": column.type, "missing": column.missing, "summary": column.summary}
                    for column in view.columns
                ],
            }
        )
        return
    rows = f"fewer than {view.minimum_cell}" if view.rows is None else view.rows
    print_fields({"Dataset": view.dataset, "Rows": rows})
    print_table(
        ("Column", "Type", "Missing", "Summary"),
        [(column.name, column.type, column.missing, column.summary) for column in view.columns],
        empty="The dataset has no columns.",
    )
    for change in view.changes:
        say(wrapped(change))
    if view.changes:
        say("It is approved as it is now with `fedseal dataset approve`.")


@command(app, "admit-public", example="fedseal dataset admit-public public.safetensors --folder cleveland")
def admit_public(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="safetensors with `inputs` and `labels`, both float32.")],
    folder: Annotated[Path, typer.Option("--folder", metavar="DIR", help="Folder of the node or coordinator.")],
    as_json: JsonOption = False,
) -> None:
    """Keep a copy of public rows under their digest, for methods that train on them, such as pfedhr.

    The coordinator and every node of a job admit the same file; the job names its digest.
    """
    from fedseal.folders import PartyFolder
    from fedseal.learning.public_rows import PublicRows

    digest = PublicRows.of_party(PartyFolder.load(folder).path).admit(file)
    if as_json:
        print_json({"file": str(file), "digest": digest})
        return
    say(f"{file} is admitted at {folder} with the digest {digest}")
