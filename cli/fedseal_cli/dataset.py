"""``fedseal dataset``: register, list and describe the data that a node holds. The data itself stays where it is."""

from pathlib import Path
from typing import Annotated

import typer

from fedseal_cli.authority_options import now
from fedseal_cli.commands import JsonOption, command, noun
from fedseal_cli.local_options import NodeOption, OptionalAsOption, open_node, optional_person
from fedseal_cli.output import day, instant, print_fields, print_json, print_table, say
from fedseal_cli.secrets_input import PassphraseFile

app = noun(
    "dataset",
    "Register, list and describe the data that a node holds.",
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
    from fedseal.learning import content_digest, load_dataset
    from fedseal_governance import datasets
    from fedseal_governance.documents import MAX_BYTES

    content = read_limited(schema, max_bytes=MAX_BYTES, what="a dataset's schema")
    document = datasets.load_schema(content, str(schema))
    data = load_dataset(source, document)
    facts = datasets.DatasetFacts(schema_content=content, row_count=data.row_count, content_digest=content_digest(data))
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


@command(app, "profile", example="fedseal dataset profile heart-disease --node cleveland")
def profile(
    name: Annotated[str, typer.Argument(metavar="DATASET", help="As `dataset list` shows it.")],
    node: NodeOption,
    as_json: JsonOption = False,
) -> None:
    """Describe a registered dataset column by column; groups of fewer than 10 records are not shown."""
    from fedseal.profiles import MINIMUM_CELL, profile_registered

    with open_node(node) as party:
        view = profile_registered(party, name)
    if as_json:
        print_json(
            {
                "dataset": view.dataset,
                "rows": view.rows,
                "unchanged": not view.changes,
                "changes": list(view.changes),
                "minimum_cell": MINIMUM_CELL,
                "columns": [
                    {"name": column.name, "type": column.type, "missing": column.missing, "summary": column.summary}
                    for column in view.columns
                ],
            }
        )
        return
    print_fields({"Dataset": view.dataset, "Rows": view.rows})
    print_table(
        ("Column", "Type", "Missing", "Summary"),
        [(column.name, column.type, column.missing, column.summary) for column in view.columns],
        empty="The dataset has no columns.",
    )
    for change in view.changes:
        say(change)
