"""``fedseal audit reconcile`` and ``verifier``: what an auditor does with bundles of several parties."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedseal_cli.audit import KeyOption, app, trusted_keys
from fedseal_cli.commands import JsonOption, command
from fedseal_cli.local_options import require_existing
from fedseal_cli.output import note, print_fields, print_json, print_table, say, wrapped

if TYPE_CHECKING:
    from fedseal_governance.audit import Reconciliation


@command(app, "reconcile", example="fedseal audit reconcile coordinator-audit.zip cleveland-audit.zip")
def reconcile(
    first: Annotated[Path, typer.Argument(metavar="BUNDLE", help="One party's bundle.")],
    second: Annotated[Path, typer.Argument(metavar="OTHER", help="Another party's bundle.")],
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two parties' logs: what one says and the other lacks or contradicts; exits with 1 on a contradiction."""
    from fedseal_cli.exit_codes import ExitCode
    from fedseal_governance.audit import reconcile as compare

    for bundle in (first, second):
        require_existing(bundle, what="a bundle of `audit export`")
    result = compare(first, second, keys=trusted_keys(key))
    if as_json:
        print_json(_as_json(result))
    else:
        _show(result)
    if result.contradictions:
        raise typer.Exit(ExitCode.VERIFICATION_FAILED)


@command(app, "verifier", example="fedseal audit verifier --out verify.py")
def verifier(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write the script.")],
    as_json: JsonOption = False,
) -> None:
    """Write the verifier that is also in each bundle, a single Python file, for an auditor who has no fedseal."""
    from fedseal.errors import SetupError
    from fedseal.files import write_atomic
    from fedseal_crypto.digests import sha256_hex
    from fedseal_governance.audit import verifier_source

    if out.exists():
        raise SetupError(f"{out} already exists; choose another name.")
    source = verifier_source()
    write_atomic(out, source)
    if as_json:
        print_json({"verifier": str(out), "sha256": sha256_hex(source)})
        return
    say(f"{out} has the SHA-256 {sha256_hex(source)}; run: python {out} BUNDLE")


def _show(result: "Reconciliation") -> None:
    from fedseal_governance.audit.reconcile import LIMITS

    names = [item.origin.rpartition("/")[2] for item in (result.first, result.second)]
    print_fields(
        {
            "First": f"{result.first.origin}, {result.first.size} entries",
            "Second": f"{result.second.origin}, {result.second.size} entries",
            "Agree": f"{result.agreed} claims and links",
            "Contradict": result.contradictions,
            "In one only": len(result.findings) - result.contradictions,
            "Linked": "; ".join(
                f"{name} up to entry {size - 1}, as the other log knew it" if size else f"{name} not at all"
                for name, size in zip(names, result.linked, strict=True)
            ),
        }
    )
    if result.findings:
        say("")
        print_table(
            ("What", names[0].capitalize(), names[1].capitalize(), "Finding"),
            [(item.kind.value, _entry(item.first), _entry(item.second), item.sentence) for item in result.findings],
            folding=1,
            empty="",
        )
    note(wrapped(LIMITS))


def _entry(seq: int | None) -> str:
    return "" if seq is None else f"entry {seq}"


def _as_json(result: "Reconciliation") -> dict[str, object]:
    return {
        "first": result.first.origin,
        "second": result.second.origin,
        "agreed": result.agreed,
        "contradictions": result.contradictions,
        "linked": list(result.linked),
        "findings": [
            {"kind": item.kind.value, "first": item.first, "second": item.second, "sentence": item.sentence}
            for item in result.findings
        ],
    }
