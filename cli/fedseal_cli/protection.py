"""``fedseal protection``: what the masks of a round withstand, computed as every node computes it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedseal_cli.commands import JsonOption, command, noun
from fedseal_cli.output import print_fields, print_json, print_table, say, wrapped

if TYPE_CHECKING:
    from fedseal_crypto.masking import Chosen, CohortRequest
    from fedseal_governance.jobs import JobDocument
    from fedseal_governance.policy import PolicyDocument

app = noun(
    "protection",
    "What the masks of a round withstand, and what they cost.",
    example="fedseal protection plan --nodes 20 --parameters 1000000",
)

Fraction = float | None


@command(app, "plan", example="fedseal protection plan --nodes 20 --parameters 1000000 --corrupted 0.1")
def plan(
    nodes: Annotated[int, typer.Option("--nodes", metavar="NUMBER", help="Nodes in the round, 3 to 65535.")],
    parameters: Annotated[
        int, typer.Option("--parameters", metavar="NUMBER", min=1, help="Values that each node contributes.")
    ],
    bits: Annotated[int, typer.Option("--bits", min=2, max=52, help="Resolution of a value, its sign included.")] = 16,
    corrupted: Annotated[
        Fraction, typer.Option("--corrupted", help="Share of nodes that may collude with the coordinator.")
    ] = None,
    dropout: Annotated[Fraction, typer.Option("--dropout", help="Share of nodes that may leave.")] = None,
    policy: Annotated[
        list[Path] | None,
        typer.Option("--policy", metavar="FILE", help="Use this policy's figures; repeatable, the strictest count."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show ring, threshold, neighbours and upload for a cohort, each figure with its reason.

    Without --corrupted, --dropout and --policy the defaults of a policy apply. An option beside a policy counts where
    it is stricter, as another node's policy would.
    """
    from fedseal_cli.job_check import read_policies
    from fedseal_crypto.encoding import Layout, VectorSpec
    from fedseal_crypto.masking import CohortRequest, describe_parameters
    from fedseal_governance.jobs import SMALLEST_PROTECTED_COHORT

    # A method states its own clip and its resolution as a share of it; 1 stands for every clip.
    vector = VectorSpec(name="update", length=parameters, bound=1.0, resolution=1 / (1 << (bits - 1)))
    rules = [found for _, found in read_policies(policy or ())]
    asked = _asked(rules, corrupted=corrupted, dropout=dropout, cohort=SMALLEST_PROTECTED_COHORT)
    request = CohortRequest(members=nodes, vector=vector, **asked)  # type: ignore[arg-type]  # figures by name
    chosen = describe_parameters(request)
    upload = Layout.plan([vector], cohort=nodes).wire_bytes
    if as_json:
        print_json(_document(request, chosen, upload))
        return
    print_fields(
        {
            "Nodes": f"{nodes}, sums of at least {request.minimum_cohort}",
            "Assumed": f"{_percent(request.corrupted_fraction)} collude, {_percent(request.dropout_fraction)} leave",
            "Contribution": f"{parameters} values of {bits} bits each, relative to the method's clip",
            "Upload": f"{upload} bytes a node and round, besides keys and shares",
        }
    )
    say("")
    print_table(
        ("Figure", "Value", "Why"),
        [
            (_name(item), f"{_number(item.value)} {item.unit}".strip(), f"{item.formula} ({item.source})")
            for item in chosen
        ],
        empty="",
    )


def say_cohort(job: "JobDocument", policies: Sequence["PolicyDocument"]) -> None:
    """What a round of all nodes of a job would withstand."""
    found = cohort_row(job, policies)
    say("")
    if "problem" in found:
        say(wrapped(f"No round of all {len(job.nodes)} nodes is possible: {found['problem']}"))
        return
    neighbours = "all others" if found["neighbours"] == "all" else f"{found['neighbours']} others"
    say(
        wrapped(
            f"A round of all {len(job.nodes)} nodes: {found['corrupted']} may collude with the coordinator, "
            f"{found['may_leave']} may leave; each shares its secrets with {neighbours}, {found['threshold']} shares "
            f"open one; a sum has at least {found['smallest_sum']} contributions. `fedseal protection plan` says why."
        )
    )


def cohort_row(job: "JobDocument", policies: Sequence["PolicyDocument"]) -> dict[str, object]:
    """The same as ``--json`` shows it."""
    from fedseal_crypto.masking import ParametersInvalid, choose_parameters

    asked = _asked(policies, corrupted=None, dropout=None, cohort=job.minimum_cohort)
    gamma, delta = asked["corrupted_fraction"], asked["dropout_fraction"]
    try:
        group = choose_parameters(len(job.nodes), corrupted_fraction=gamma, dropout_fraction=delta)
    except ParametersInvalid as error:
        return {"nodes": len(job.nodes), "problem": str(error)}
    return {
        "nodes": len(job.nodes),
        "corrupted_fraction": gamma,
        "dropout_fraction": delta,
        "corrupted": group.corrupted,
        "neighbours": "all" if group.neighbours is None else group.neighbours,
        "threshold": group.threshold,
        "may_leave": group.tolerated_dropouts,
        "smallest_sum": max(group.threshold, int(asked["minimum_cohort"]), group.corrupted + 2),
    }


def _asked(
    policies: Sequence["PolicyDocument"], *, corrupted: Fraction, dropout: Fraction, cohort: int
) -> dict[str, float]:
    """The strictest of what policies and options ask."""
    from fedseal_governance.policy import DEFAULT_CORRUPTED_FRACTION, DEFAULT_DROPOUT_FRACTION

    rules = [policy.protection for policy in policies]
    collude = [item.corrupted_fraction for item in rules] + ([] if corrupted is None else [corrupted])
    leave = [item.dropout_fraction for item in rules] + ([] if dropout is None else [dropout])
    return {
        "corrupted_fraction": max(collude, default=DEFAULT_CORRUPTED_FRACTION),
        "dropout_fraction": max(leave, default=DEFAULT_DROPOUT_FRACTION),
        "minimum_cohort": max([item.minimum_cohort for item in rules] + [cohort]),
    }


def _document(request: "CohortRequest", chosen: Sequence["Chosen"], upload: int) -> dict[str, object]:
    return {
        "nodes": request.members,
        "parameters": request.vector.length,
        "corrupted_fraction": request.corrupted_fraction,
        "dropout_fraction": request.dropout_fraction,
        "minimum_cohort": request.minimum_cohort,
        "upload_bytes": upload,
        "figures": [
            {
                "name": item.name,
                "symbol": item.symbol,
                "value": item.value,
                "unit": item.unit,
                "formula": item.formula,
                "source": item.source,
            }
            for item in chosen
        ],
    }


def _name(item: "Chosen") -> str:
    return f"{item.name} ({item.symbol})" if item.symbol else item.name


def _number(value: float | str) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.10g} %"
