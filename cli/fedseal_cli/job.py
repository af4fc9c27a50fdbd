"""``fedseal job``: check, submit and follow federated jobs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedseal_cli.authority_options import now
from fedseal_cli.commands import JsonOption, YesOption, command, noun
from fedseal_cli.job_output import follow, say_detail, say_verdict, verdict_row
from fedseal_cli.local_options import AsOption, OptionalAsOption, require_existing
from fedseal_cli.output import print_fields, print_json, print_table, say
from fedseal_cli.remote import CoordinatorOption, JobArgument, connected, summary_row
from fedseal_cli.secrets_input import PassphraseFile

if TYPE_CHECKING:
    from fedseal_cli.job_output import Verdict

app = noun("job", "Check, submit and follow federated jobs.", example="fedseal job submit job.yaml --as ada --watch")

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A job file (YAML).")]


@command(app, "check", example="fedseal job check job.yaml --policy cleveland-policy.yaml --as ada")
def check(
    file: FileArgument,
    policy: Annotated[
        list[Path] | None, typer.Option("--policy", metavar="FILE", help="A policy file to judge it by; repeatable.")
    ] = None,
    as_: OptionalAsOption = None,
    coordinator: CoordinatorOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Check a job file and say what each policy makes of it, before anybody submits it.

    With --policy it judges by files and assumes that the data is registered and unchanged, that enough records
    have consent, and that the operator agrees. With --as it asks the coordinator about every node of the job.
    It also says what a round of all nodes would withstand by these policies, or by the defaults without any.
    Exits with 3 if anybody would refuse.
    """
    from fedseal_cli.job_check import judge_by_files, judge_by_nodes, read_job_file, read_policies
    from fedseal_cli.protection import cohort_row, say_cohort
    from fedseal_crypto.digests import sha256_hex
    from fedseal_governance.errors import RefusedError

    content, job = read_job_file(file)
    rules = read_policies(policy or ())
    verdicts: list[Verdict] = judge_by_files(job, rules)
    if as_ is not None:
        with connected(as_, passphrase_file, coordinator) as client:
            verdicts += judge_by_nodes(client.check_job(content, str(file)))
    digest = sha256_hex(content)
    if as_json:
        print_json(
            {
                "job": job.job,
                "digest": digest,
                "allowed": all(item.allowed for item in verdicts),
                "cohort": cohort_row(job, [item for _, item in rules]),
                "verdicts": [verdict_row(item) for item in verdicts],
            }
        )
    else:
        say(f"{file} is a valid job: {job.job}, {job.kind.value} on {job.dataset} (digest {digest[:16]}…).")
        for verdict in verdicts:
            say_verdict(verdict)
        say_cohort(job, [item for _, item in rules])
    refusing = [item.who for item in verdicts if not item.allowed]
    if refusing:
        raise RefusedError(f"the job is refused by {', '.join(refusing)}; change it as the reasons say.")


@command(app, "submit", example="fedseal job submit job.yaml --as ada --watch")
def submit(
    file: FileArgument,
    as_: AsOption,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the job until it ends.")] = False,
    coordinator: CoordinatorOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Sign a job file as data scientist and submit it to the coordinator."""
    from fedseal_cli.job_check import read_job_file

    content, _ = read_job_file(file)
    with connected(as_, passphrase_file, coordinator) as client:
        summary = client.submit_job(content, str(file))
        if as_json and not watch:
            print_json(summary_row(summary))
        elif not as_json:
            say(f"{summary.name} is submitted (digest {summary.job[:16]}…): {summary.state}.")
        if watch:
            follow(client, summary.job, as_json=as_json)


@command(app, "list", example="fedseal job list --as ada")
def list_(
    as_: AsOption,
    coordinator: CoordinatorOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """List all jobs of the federation, newest first."""
    with connected(as_, passphrase_file, coordinator) as client:
        jobs = client.jobs().jobs
    if as_json:
        print_json({"jobs": [summary_row(item) for item in jobs]})
        return
    print_table(
        ("Job", "State", "Rounds", "Submitted (UTC)", "By", "Digest"),
        [
            (
                item.name,
                item.state,
                f"{item.rounds_done}/{item.rounds_planned}",
                item.submitted_at[:16].replace("T", " "),
                item.submitted_by,
                f"{item.job[:12]}…",
            )
            for item in jobs
        ],
        empty="No job was submitted yet.",
        folding=3,
    )


@command(app, "show", example="fedseal job show heart-risk --as ada")
def show(
    job: JobArgument,
    as_: AsOption,
    coordinator: CoordinatorOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Show one job: the nodes' answers, its rounds, and what it produced."""
    with connected(as_, passphrase_file, coordinator) as client:
        detail = client.show_job(job)
    say_detail(detail, as_json=as_json)


@command(app, "watch", example="fedseal job watch heart-risk --as ada")
def watch(
    job: JobArgument,
    as_: AsOption,
    coordinator: CoordinatorOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Follow a job until it ends; exits with 6 unless it finishes. With --json: one document a line."""
    with connected(as_, passphrase_file, coordinator) as client:
        follow(client, job, as_json=as_json)


@command(app, "stop", example="fedseal job stop heart-risk --reason 'wrong target' --as ada")
def stop(
    job: JobArgument,
    reason: Annotated[str, typer.Option("--reason", help="For the log and the job record; without personal data.")],
    as_: AsOption,
    yes: YesOption = False,
    coordinator: CoordinatorOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Stop a job; its last good model and its record stay."""
    if not yes:
        typer.confirm(f"Stop {job} for all nodes?", abort=True, err=True)
    with connected(as_, passphrase_file, coordinator) as client:
        summary = client.stop_job(job, reason)
    if as_json:
        print_json(summary_row(summary))
        return
    say(f"{summary.name} is {summary.state}: {summary.reason or reason}.")


@command(app, "report", example="fedseal job report heart-risk --out report.html --as ada")
def report(
    job: JobArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write the page (HTML).")],
    as_: AsOption,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", metavar="BUNDLE", help="The coordinator's exported audit log, to verify it too."),
    ] = None,
    coordinator: CoordinatorOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Write one self-contained page on a job: what was computed, for whom, under which rules, and what was verified."""
    from fedseal.files import write_atomic
    from fedseal.folders import PartyFolder
    from fedseal.report import FederationView, render_report
    from fedseal_governance.audit import AuditError, Verified, verify_bundle

    log: Verified | AuditError | None = None
    if bundle is not None:
        require_existing(bundle, what="an audit bundle")
        try:
            log = verify_bundle(bundle)
        except AuditError as error:
            log = error  # shown on the page: a reader must see that the evidence does not hold
    moment = now()
    party = PartyFolder.load(as_)
    with connected(as_, passphrase_file, coordinator) as client:
        detail = client.show_job(job)
        organisations = {item.node: item.organisation for item in client.nodes().nodes}
    view = FederationView(root=party.trust_root(), revocations=party.revocations(moment), organisations=organisations)
    page = render_report(detail, generated_at=moment, federation=view, log=log)
    write_atomic(out, page)
    if as_json:
        print_json({"report": str(out), "bytes": len(page), "state": detail.summary.state})
        return
    say(f"{out} is the report on {detail.summary.name} ({detail.summary.state}).")


@command(app, "statistics", example="fedseal job statistics heart-risk --as ada")
def statistics(
    job: JobArgument,
    as_: AsOption,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Also keep the file (JSON), checked by its digest.")
    ] = None,
    coordinator: CoordinatorOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Show the means, spreads and counts over all sites of a job that has ended."""
    import json
    import tempfile

    from fedseal.errors import SetupError

    with connected(as_, passphrase_file, coordinator) as client, tempfile.TemporaryDirectory() as temporary:
        detail = client.show_job(job)
        digests = [item.digest for item in detail.artefacts if item.kind == "statistics"]
        if not digests:
            raise SetupError(f"{detail.summary.name} has published no statistics; it is {detail.summary.state}")
        file = out or Path(temporary) / "statistics.json"
        client.download(detail.summary.job, digests[0], file)
        published = json.loads(file.read_bytes())
    if as_json:
        print_json(published)
        return
    print_fields({"Rows": published["rows"], "Rows with the outcome": published["rows_with_the_outcome"]})
    say("")
    print_table(
        ("Column", "Over all sites"),
        [(name, _column_words(column)) for name, column in published["columns"].items()],
        empty="The job names no columns.",
    )


def _column_words(column: "dict[str, Any]") -> str:
    if "mean" in column:
        unit = f" {column['unit']}" if column["unit"] else ""
        spread = column["standard_deviation"]
        return f"mean {column['mean']:.4g}, standard deviation {spread:.4g}{unit}, {column['measured']} measured"
    counts = ", ".join(f"{name} {count}" for name, count in column["counts"].items())
    return f"{counts}, missing {column['missing']}"
