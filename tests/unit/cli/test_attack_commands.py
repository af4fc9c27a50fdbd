"""``fedseal attack``: every installed attack is listed, and explained with what its attackers know."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from fedseal.simulation.attacks import attack_class, attack_names
from fedseal_cli.app import app


def shown(*arguments: str) -> Any:
    result = CliRunner().invoke(app, ["attack", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_all_attacks_are_listed() -> None:
    rows = shown("list")["attacks"]
    assert [row["name"] for row in rows] == list(attack_names())
    assert all(row["knows"] and row["reference"] for row in rows)
    text = CliRunner().invoke(app, ["attack", "list"]).stdout
    assert all(name in text for name in attack_names())


@pytest.mark.parametrize("name", attack_names())
def test_an_attack_is_shown_with_its_formula_and_settings(name: str) -> None:
    found = shown("show", name)
    assert found["formula"]
    assert {item["name"] for item in found["settings"]} == set(attack_class(name).settings_model.model_fields)
    assert all(item["meaning"] for item in found["settings"])
    text = CliRunner().invoke(app, ["attack", "show", name]).stdout
    assert "Attackers know" in text
    assert attack_class(name).reference.split(",", maxsplit=1)[0] in text


def test_an_unknown_attack_is_refused_with_the_nearest() -> None:
    result = CliRunner().invoke(app, ["attack", "show", "badnett"])
    assert result.exit_code == 2
    assert 'did you mean "badnet"' in result.stderr
