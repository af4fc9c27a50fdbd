"""``fedseal method``: the federated methods and learners installed here, and what each discloses."""

from typing import TYPE_CHECKING, Annotated

import typer

from fedseal_cli import method_choice
from fedseal_cli.commands import JsonOption, command, noun
from fedseal_cli.output import print_fields, print_json, print_table, say, wrapped

if TYPE_CHECKING:
    from fedseal.methods import Method

app = noun(
    "method",
    "The federated methods and learners installed here, and what each discloses.",
    example="fedseal method show fedavg",
)


@command(app, "list", example="fedseal method list")
def list_(as_json: JsonOption = False) -> None:
    """List the installed methods with their disclosure, and the installed learners."""
    from fedseal.learning.plugins import learner_names
    from fedseal.methods import method_class, method_names

    methods = [method_class(name) for name in method_names()]
    learners = learner_names()
    if as_json:
        print_json({"methods": [_row(item) for item in methods], "learners": list(learners)})
        return
    print_table(
        ("Method", "Coordinator learns", "Title"),
        [(item.name, item.statement.level.name, item.title) for item in methods],
        empty="No method is installed.",
    )
    say(f"Learners: {', '.join(learners) or 'none'}")


@command(app, "show", example="fedseal method show fedavg")
def show(
    name: Annotated[str, typer.Argument(metavar="METHOD", help="As `method list` shows it.")],
    as_json: JsonOption = False,
) -> None:
    """Show what a method does and exactly what each party sees of it."""
    from fedseal.methods import method_class

    method = method_class(name)
    statement = method.statement
    if as_json:
        print_json(
            {
                **_row(method),
                "paragraph": statement.paragraph,
                "quantities": [
                    {"name": item.name, "party": item.party, "description": item.description}
                    for item in statement.quantities
                ],
            }
        )
        return
    print_fields({"Method": f"{method.name}: {method.title}", "Reference": method.reference})
    say("")
    say(wrapped(statement.paragraph))
    say("")
    print_table(
        ("Who sees it", "Name", "What it is"),
        [(item.party, item.name, item.description) for item in statement.quantities],
        empty="No party sees anything.",
    )


method_choice.register(app)


def _row(method: "type[Method]") -> dict[str, object]:
    return {
        "name": method.name,
        "title": method.title,
        "reference": method.reference,
        "coordinator_learns": method.statement.level.name,
    }
