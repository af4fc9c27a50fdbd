"""``fedseal model``: the models that jobs produced, and whether a file is one of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedseal_cli.commands import JsonOption, command, noun
from fedseal_cli.local_options import AsOption, NodeOption, open_node
from fedseal_cli.output import note, print_fields, print_json, print_table, say
from fedseal_cli.remote import CoordinatorOption, JobArgument, connected
from fedseal_cli.secrets_input import PassphraseFile

if TYPE_CHECKING:
    from fedseal.wire._generated import coordination_pb2 as pb
    from fedseal_governance.records import VerifiedRecord

app = noun(
    "model",
    "The models that jobs produced, and whether a file is one of them.",
    example="fedseal model export heart-risk --out model.safetensors --as ada",
)


@command(app, "list", example="fedseal model list --as ada")
def list_(
    as_: AsOption,
    coordinator: CoordinatorOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """List the models that the coordinator keeps, by job."""
    with connected(as_, passphrase_file, coordinator) as client:
        details = [client.show_job(item.job) for item in client.jobs().jobs if item.finished_at]
    models = [(detail.summary, item) for detail in details for item in detail.artefacts if item.kind == "model"]
    if as_json:
        print_json(
            {
                "models": [
                    {"job": summary.name, "job_digest": summary.job, "digest": item.digest, "size": item.size}
                    for summary, item in models
                ]
            }
        )
        return
    print_table(
        ("Job", "State", "Bytes", "Digest"),
        [(summary.name, summary.state, item.size, item.digest) for summary, item in models],
        empty="No job has produced a model yet.",
    )


@command(app, "export", example="fedseal model export heart-risk --out model.safetensors --as ada")
def export(  # noqa: PLR0913, PLR0917 - Typer declares one parameter per option
    job: JobArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write the model.")],
    as_: AsOption,
    kind: Annotated[
        str, typer.Option("--kind", help="What to fetch; a statistics job produces `statistics` instead of a model.")
    ] = "model",
    record: Annotated[
        Path | None, typer.Option("--record", metavar="FILE", help="Also write the signed job record here.")
    ] = None,
    coordinator: CoordinatorOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch a job's model; it is kept only if its digest is the one that was announced."""
    from fedseal.errors import SetupError
    from fedseal.files import write_atomic

    for target in (out, record):
        if target is not None and target.exists():
            raise SetupError(f"{target} already exists; choose another name.")
    with connected(as_, passphrase_file, coordinator) as client:
        detail = client.show_job(job)
        model = _artefact_of(detail, kind)
        client.download(detail.summary.job, model.digest, out)
    if record is not None:
        write_atomic(record, detail.job_record)
    if as_json:
        print_json({"file": str(out), "digest": model.digest, "record": None if record is None else str(record)})
        return
    say(f"{out} is the {kind} of {detail.summary.name} ({model.size} bytes, digest {model.digest[:16]}…).")


@command(app, "own", example="fedseal model own --node cleveland")
def own(
    node: NodeOption,
    job: Annotated[
        str | None, typer.Argument(metavar="[JOB]", help="Name or digest of a job, to write its model with --out.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where to write the model.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the models of a node alone, which personal methods left there and which are never sent; or write one."""
    from fedseal.errors import SetupError
    from fedseal.files import write_atomic
    from fedseal.node.own_models import FOLDER, OwnModels

    if (job is None) != (out is None):
        raise SetupError("give JOB and --out together to write a model, or neither to list all.")
    with open_node(node) as party:
        models = OwnModels(party.folder.path / FOLDER)
    found = [item for item in models.listed() if job is None or item.name == job or item.job.startswith(job)]
    if job is not None and out is not None:
        if len(found) != 1:
            raise SetupError(
                f"{len(found) or 'no'} models of this node are of a job {job}; give its digest as `model own` shows it."
            )
        if out.exists():
            raise SetupError(f"{out} already exists; choose another name.")
        write_atomic(out, models.read(found[0].job), private=True)
        if not as_json:
            say(f"{out} is this node's own model of {found[0].name} (digest {found[0].digest[:16]}…). Do not send it.")
            return
    if as_json:
        print_json(
            {
                "models": [
                    {"job": item.name, "job_digest": item.job, "digest": item.digest, "size": item.size}
                    for item in found
                ]
            }
        )
        return
    print_table(
        ("Job", "Bytes", "Job's digest"),
        [(item.name, item.size, f"{item.job[:16]}…") for item in found],
        empty="No job has left a model of its own at this node; only personal methods do.",
    )


@command(
    app,
    "verify",
    example="fedseal model verify model.safetensors --record job-record.json --root authority.pem",
)
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A model file (safetensors).")],
    record: Annotated[
        Path | None, typer.Option("--record", metavar="FILE", help="The signed job record that must name it.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", metavar="FILE", help="The federation's root certificate.")
    ] = None,
    revocations: Annotated[
        Path | None, typer.Option("--revocations", metavar="FILE", help="A revocation list of the federation.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check offline that a model file is whole and, with a job record, that it is the model of that job."""
    from fedseal.errors import SetupError
    from fedseal.learning.model_file import MODEL_BYTES, read_model
    from fedseal_crypto.digests import sha256_hex

    if (record is None) != (root is None):
        raise SetupError("give --record and --root together; a job record is not verified without the root.")
    from fedseal.files import read_limited

    data = read_limited(file, max_bytes=MODEL_BYTES, what="a model")
    description = read_model(data, what=str(file)).description
    verified = None
    if record is not None and root is not None:
        verified = _verify_record(data, record, root, revocations)
    if as_json:
        print_json(
            {
                "file": str(file),
                "digest": sha256_hex(data),
                "job": description.job,
                "job_digest": description.job_digest,
                "dataset": description.dataset,
                "learner": description.learner,
                "signed_by": None if verified is None else verified.signer,
                "revocations_checked": verified is not None and revocations is not None,
            }
        )
        return
    print_fields(
        {
            "Model": str(file),
            "Digest": sha256_hex(data),
            "Job": f"{description.job} ({description.job_digest})",
            "Dataset": description.dataset,
            "Learner": description.learner,
            "Job record": "not checked (give --record and --root)"
            if verified is None
            else f"names this file; signed by {verified.signer}",
        }
    )
    if verified is not None and revocations is None:
        note("Whether the signer's certificate had been revoked was not checked; give --revocations.")


def _verify_record(model: bytes, record: Path, root: Path, revocations: Path | None) -> "VerifiedRecord":
    from fedseal.authority.inspection import historic_trust
    from fedseal.files import read_limited
    from fedseal.folders import MAX_PEM_BYTES, MAX_REVOCATIONS_BYTES
    from fedseal_governance.records import MAX_RECORD_BYTES, verify_record

    trust, listed = historic_trust(
        read_limited(root, max_bytes=MAX_PEM_BYTES, what="a root certificate"),
        None
        if revocations is None
        else read_limited(revocations, max_bytes=MAX_REVOCATIONS_BYTES, what="a revocation list"),
    )
    data = read_limited(record, max_bytes=MAX_RECORD_BYTES, what="a job record")
    return verify_record(data, root=trust, revocations=listed, model=model)


def _artefact_of(detail: "pb.JobDetail", kind: str) -> "pb.Artefact":
    from fedseal_governance.errors import NotFound

    for item in detail.artefacts:
        if item.kind == kind:
            return item
    raise NotFound(
        f"the job {detail.summary.name} ({detail.summary.state}) has produced no {kind}; see `fedseal job show`."
    )
