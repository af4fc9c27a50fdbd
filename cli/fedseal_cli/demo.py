"""``fedseal demo``: four hospitals train one model, from the first key to the verified audit log."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedseal_cli.output import note, print_json, say

if TYPE_CHECKING:
    from fedseal_cli.demonstration import Summary

FolderOption = Annotated[Path, typer.Option("--folder", metavar="DIR", help="Where everything is made; it stays.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace an earlier demonstration in that folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print summary.json, and the story to stderr.")]


ProtectionOption = Annotated[
    str,
    typer.Option("--protection", metavar="NAME", help="masking, or with a custodian's process: homomorphic or hybrid."),
]


def demo(
    folder: FolderOption = Path("demo"),
    force: ForceOption = False,
    protection: ProtectionOption = "masking",
    as_json: JsonOption = False,
) -> None:
    """Watch four hospitals train one model that none could train alone.

    Founds a federation on this machine with real processes, mutual TLS and databases: policies approved by
    two officers each, consents with withdrawals, a job refused for its purpose, a job run under masks while
    a hospital is killed and returns, model, signed record, report, and the audit log verified. Takes under
    two minutes. Everything stays in the folder for inspection.
    """
    from rich.console import Console

    from fedseal.errors import SetupError
    from fedseal_cli.demonstration import Demonstration
    from fedseal_cli.demonstration.screen import Screen
    from fedseal_governance.vocabulary import Protection

    names = [item.value for item in Protection if item is not Protection.NONE]
    if protection not in names:
        raise SetupError(f"--protection is {protection}; choose {', '.join(names[:-1])} or {names[-1]}.")
    screen = Screen(Console(stderr=as_json, highlight=False))
    summary = Demonstration(folder, force=force, screen=screen, protection=Protection(protection)).play()
    if as_json:
        print_json(summary.model_dump(mode="json"))
    else:
        _conclude(summary, folder)
    if not summary.succeeded:
        note(f"Not everything went as it should; see {folder / 'summary.json'}.")
        raise typer.Exit(1)


def _conclude(summary: "Summary", folder: Path) -> None:
    say("")
    say(
        f"Held-out AUC: alone {summary.auc.alone_mean:.3f} (mean), federated {summary.auc.federated:.3f}, "
        f"pooled {summary.auc.pooled:.3f}."
    )
    say(
        f"{summary.rounds} rounds, {summary.bytes_up_per_node / 1e6:.2f} MB sent by each hospital, "
        f"{summary.seconds:.0f} seconds."
    )
    say("Privacy: the coordinator saw sums over at least three hospitals and nothing else. No noise was added, so")
    say("what the final model remembers of single patients is not bounded.")
    say("")
    say(f"Model        {summary.model}")
    say(f"Job record   {summary.job_record}")
    say(f"Report       {summary.report}")
    say(f"Audit log    {summary.audit.bundle}")
    say(f"All of it    {folder.resolve()}  (process logs in logs/, figures in summary.json)")
