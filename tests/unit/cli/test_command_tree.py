"""Every command explains itself, every list has --json, and asking for help loads nothing heavy."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from fedseal_cli.app import app

SHOWING = {
    "list",
    "show",
    "status",
    "explain",
    "diff",
    "check",
    "verify",
    "profile",
    "validate",
    "watch",
    "invitations",
}
# Long-running services print one line when they are ready; what they say afterwards is their log.
# Four run until stopped; a stream has a format of its own, whose default is JSON lines.
WITHOUT_JSON = {"federation serve", "coordinator run", "custodian run", "node run", "policy new", "audit stream"}


def _walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if hasattr(command, "commands"):
        for name, child in command.commands.items():
            yield from _walk(child, (*path, name))
    else:
        yield path, command


COMMANDS = dict(_walk(typer.main.get_command(app)))


def _options(command: Any) -> set[str]:
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


def test_the_command_map_is_complete() -> None:
    wanted = """
        demo; federation init; federation show; federation invite; federation serve; federation sign;
        coordinator invite; coordinator enrol; coordinator run; node invite; node enrol; node enroll; node run;
        node status; node list; node agree; custodian enrol; user add; user enrol; user list; user revoke;
        certificate list; certificate show; certificate revoke; certificate publish; certificate update;
        dataset register; dataset list; dataset profile; dataset approve; dataset admit-public;
        policy new; policy validate; policy explain;
        policy diff; policy test; policy impact; policy history;
        policy propose; policy approve; policy revoke; policy list; policy show; consent import; consent record;
        consent withdraw; consent status; consent history; consent impact; consent prove; job check; job submit;
        job list; job show; job watch; job stop; job report; protection plan; method list; method show;
        method choose; model list;
        model export; model verify; audit list; audit checkpoint;
        audit export; audit verify; audit prove; audit reconcile; audit stream; audit verifier; retention list;
        retention apply; retention hold; retention release; retention holds; record export; record verify; db upgrade;
        db status; attack list; attack show
    """
    for command in wanted.split(";"):
        assert tuple(command.split()) in COMMANDS, command


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_says_what_it_does_and_gives_an_example(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    assert command.help, path
    assert command.help.split("\n")[0].rstrip().endswith((".", ";", ",")) or "\n" in command.help, command.help
    assert command.epilog, path
    assert command.epilog.startswith("Example: fedseal ")
    result = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    assert "Example:" in result.output
    assert max(map(len, result.output.splitlines())) <= 80


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_examples_use_options_that_exist(path: tuple[str, ...]) -> None:
    words = COMMANDS[path].epilog.removeprefix("Example: fedseal ").split()
    name = tuple(words[: len(path)])
    # An alias shares its example with the spelling that is listed.
    assert COMMANDS[name].callback.__module__ == COMMANDS[path].callback.__module__
    assert COMMANDS[name].callback.__qualname__ == COMMANDS[path].callback.__qualname__
    used = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert used <= _options(COMMANDS[path]), path


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_what_shows_something_has_json(path: tuple[str, ...]) -> None:
    if " ".join(path) in WITHOUT_JSON:
        return
    assert "--json" in _options(COMMANDS[path]), path


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_no_option_takes_a_secret_and_all_are_explained(path: tuple[str, ...]) -> None:
    for parameter in COMMANDS[path].params:
        assert parameter.help or parameter.name == "help", (path, parameter.name)
        for option in parameter.opts:
            assert option not in {"--passphrase", "--password", "--token", "--key-file"}, (path, option)


@pytest.mark.parametrize("noun", sorted({path[0] for path in COMMANDS if len(path) > 1}))
def test_each_noun_explains_itself(noun: str) -> None:
    result = CliRunner().invoke(app, [noun, "--help"])
    assert result.exit_code == 0
    assert f"Example: fedseal {noun}" in " ".join(result.output.split())


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from fedseal_cli.app import app\n"
        "for arguments in (['--help'], ['node', 'enrol', '--help'], ['job', 'submit', '--help']):\n"
        "    assert CliRunner().invoke(app, arguments).exit_code == 0\n"
        "heavy = {'torch', 'grpc', 'pandas', 'numpy', 'sklearn', 'sqlalchemy', 'cryptography', 'alembic', 'jinja2'}\n"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_completion_is_kept() -> None:
    assert "--install-completion" in CliRunner().invoke(app, ["--help"]).output


def test_the_version_is_the_packages() -> None:
    import fedseal

    assert CliRunner().invoke(app, ["--version"]).output == f"fedseal {fedseal.__version__}\n"
