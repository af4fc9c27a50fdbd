"""``fedseal attack``: the attacks that a simulation can let nodes carry out."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedseal_cli.commands import JsonOption, command, noun
from fedseal_cli.output import print_fields, print_json, print_table, say, wrapped

if TYPE_CHECKING:
    from fedseal.simulation.attacks import Attack

app = noun(
    "attack",
    "The attacks that simulations know, as a test bench for defences; no federation runs them.",
    example="fedseal attack show badnet",
)


@command(app, "list", example="fedseal attack list")
def list_(as_json: JsonOption = False) -> None:
    """List the installed attacks; an experiment names one under `attack`."""
    from fedseal.simulation.attacks import attack_class, attack_names

    attacks = [attack_class(name) for name in attack_names()]
    if as_json:
        print_json({"attacks": [_row(item) for item in attacks]})
        return
    print_table(("Attack", "Title"), [(item.name, item.title) for item in attacks], empty="No attack is installed.")


@command(app, "show", example="fedseal attack show min-max")
def show(
    name: Annotated[str, typer.Argument(metavar="ATTACK", help="As `attack list` shows it.")],
    as_json: JsonOption = False,
) -> None:
    """Show an attack's formula, what its attackers are granted, and its settings."""
    from fedseal.simulation.attacks import attack_class

    attack = attack_class(name)
    if as_json:
        print_json({**_row(attack), "formula": formula(attack), "settings": _settings(attack)})
        return
    print_fields(
        {
            "Attack": f"{attack.name}: {attack.title}",
            "Paper": attack.reference,
            "Attackers know": attack.knows,
        }
    )
    for paragraph in formula(attack).split("\n\n"):
        say("")
        say(wrapped(" ".join(paragraph.split())))
    say("")
    print_table(
        ("Setting", "Default", "Meaning"),
        [
            (item["name"], "" if item["default"] is None else item["default"], item["meaning"])
            for item in _settings(attack)
        ],
        empty="It has no settings.",
        folding=2,
    )


def formula(attack: "type[Attack]") -> str:
    """The class's docstring, which has the formula."""
    import inspect

    return inspect.cleandoc(attack.__doc__ or "")


def _row(attack: "type[Attack]") -> dict[str, object]:
    return {"name": attack.name, "title": attack.title, "reference": attack.reference, "knows": attack.knows}


def _settings(attack: "type[Attack]") -> list[dict[str, Any]]:
    return [
        {"name": name, "default": field.default, "meaning": field.description or ""}
        for name, field in attack.settings_model.model_fields.items()
    ]
