"""``fedseal method choose``: which methods suit a federation, and why."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedseal_cli.commands import JsonOption, command
from fedseal_cli.output import print_fields, print_json, say, wrapped

if TYPE_CHECKING:
    from fedseal.methods import Candidate, Choice, Situation

MOST_SHOWN = 4
"""Methods shown in full; the others by name."""

LevelOption = Annotated[
    str | None,
    typer.Option(
        "--may-learn",
        metavar="LEVEL",
        help="Most that every site lets the coordinator learn: SUM, GROUP_SUMS, SCALARS or INDIVIDUAL.",
    ),
]
TrustOption = Annotated[
    bool | None, typer.Option("--nodes-trusted/--nodes-untrusted", help="May a node try to spoil the model?")
]
ModelsOption = Annotated[
    bool | None, typer.Option("--models-alike/--models-differ", help="Do all nodes train one kind of model?")
]
BandwidthOption = Annotated[
    bool | None, typer.Option("--bandwidth-ample/--bandwidth-scarce", help="Is what goes over the wire a concern?")
]
DataOption = Annotated[
    bool | None, typer.Option("--data-alike/--data-differ", help="Do the nodes' distributions differ?")
]


@dataclass(frozen=True, slots=True)
class _Question:
    need: str
    text: str
    flags: str
    need_when: bool
    """The answer (yes is true) with which there is the need."""


QUESTIONS = (
    _Question("untrusted-nodes", "Might a node try to spoil the model?", "--nodes-trusted or --nodes-untrusted", True),
    _Question(
        "different-models", "Do all nodes train the same kind of model?", "--models-alike or --models-differ", False
    ),
    _Question("scarce-bandwidth", "Is bandwidth scarce?", "--bandwidth-ample or --bandwidth-scarce", True),
    _Question("different-data", "Do the data of the nodes differ much?", "--data-alike or --data-differ", True),
)


def can_ask() -> bool:
    """Whether a person sits at the terminal."""
    return sys.stdin.isatty()


def register(app: typer.Typer) -> None:
    """Add the command to the noun."""
    command(
        app,
        "choose",
        example=(
            "fedseal method choose --may-learn SUM --nodes-trusted --models-alike --bandwidth-ample --data-differ"
        ),
    )(choose)


def choose(
    may_learn: LevelOption = None,
    nodes_trusted: TrustOption = None,
    models_alike: ModelsOption = None,
    bandwidth_ample: BandwidthOption = None,
    data_alike: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer five questions, by flags or when asked, and learn which methods suit, why, at what cost.

    The answer follows from what each installed method declares of itself.
    """
    from fedseal.methods import Need, Situation
    from fedseal.methods import choose as chosen

    given = (nodes_trusted, models_alike, bandwidth_ample, data_alike)
    _require_answers((may_learn, *given), ask=not as_json and can_ask())
    level = _level(may_learn)
    needs = set()
    for question, favourable in zip(QUESTIONS, given, strict=True):
        present = _asked(question) if favourable is None else not favourable
        if present:
            needs.add(Need(question.need))
    choice = chosen(Situation(coordinator_may_learn=level, needs=frozenset(needs)))
    if as_json:
        print_json(_as_json(choice))
        return
    _print(choice)


def _require_answers(given: Sequence[object], *, ask: bool) -> None:
    flags = ("--may-learn LEVEL", *(question.flags for question in QUESTIONS))
    missing = [flag for flag, value in zip(flags, given, strict=True) if value is None]
    if missing and not ask:
        raise typer.BadParameter(f"nobody can be asked here, so answer by flags as well: {'; '.join(missing)}.")


def _level(given: str | None) -> Any:
    from fedseal_governance.vocabulary import Disclosure

    if given is None:
        for level in Disclosure:
            say(f"  {level.name:<11} {level.plain}")
        given = typer.prompt("What may the coordinator learn?", default=Disclosure.SUM.name, err=True)
    try:
        return Disclosure[given.strip().upper()]
    except KeyError:
        known = ", ".join(level.name for level in Disclosure)
        raise typer.BadParameter(f"{given} is not one of {known}.", param_hint="--may-learn") from None


def _asked(question: _Question) -> bool:
    return typer.confirm(question.text, err=True) is question.need_when


def _print(choice: "Choice") -> None:
    say(wrapped(_question_told(choice.situation)))
    if choice.fitting:
        _print_all("These suit, the plainest first:", choice.fitting)
    elif choice.nearest:
        _print_all("No installed method meets all of it. These meet most:", choice.nearest)
    else:
        say("")
        say("No installed method does that.")
    if choice.disclose_more:
        _print_all("These would meet more, and disclose more than you allow:", choice.disclose_more)
    if choice.undeclared:
        say("")
        say(wrapped(f"Installed, but nothing is declared about when to use them: {', '.join(choice.undeclared)}."))


def _question_told(situation: "Situation") -> str:
    from fedseal.methods import Need

    needs = [need.plain for need in Need if need in situation.needs]
    what = f"for {', and '.join(needs)}" if needs else "with no special need"
    return f"Asked: a method {what}; the coordinator may learn {situation.coordinator_may_learn.plain}."


def _print_all(heading: str, candidates: "Sequence[Candidate]") -> None:
    say("")
    say(heading)
    for item in candidates[:MOST_SHOWN]:
        say("")
        say(f"{item.method.name}: {item.method.title}")
        fields = {"  Why": " ".join(item.reasons), "  Cost": item.suits.cost}
        if item.open:
            fields["  Stays open"] = f"{', and '.join(need.plain for need in item.open)}."
        fields["  Coordinator"] = f"learns {item.level.plain}: {_quantities(item)}."
        print_fields(fields)
    rest = [item.method.name for item in candidates[MOST_SHOWN:]]
    if rest:
        say("")
        say(wrapped(f"Also: {', '.join(rest)}. See `fedseal method show NAME`."))


def _quantities(item: "Candidate") -> str:
    return ", ".join(one.name for one in item.method.statement.quantities if one.party == "coordinator")


def _as_json(choice: "Choice") -> dict[str, object]:
    from fedseal.methods import Need

    return {
        "coordinator_may_learn": choice.situation.coordinator_may_learn.name,
        "needs": [need.value for need in Need if need in choice.situation.needs],
        "fitting": [_candidate(item) for item in choice.fitting],
        "nearest": [_candidate(item) for item in choice.nearest],
        "disclose_more": [_candidate(item) for item in choice.disclose_more],
        "undeclared": list(choice.undeclared),
    }


def _candidate(item: "Candidate") -> dict[str, object]:
    return {
        "method": item.method.name,
        "title": item.method.title,
        "reasons": list(item.reasons),
        "cost": item.suits.cost,
        "open": [need.value for need in item.open],
        "coordinator_learns": item.level.name,
        "discloses": [
            {"name": one.name, "party": one.party, "description": one.description}
            for one in item.method.statement.quantities
        ],
    }
