"""``fedseal model``: the models that jobs produced."""

from pathlib import Path
from typing import Annotated

import typer

from fedseal_cli.commands import JsonOption, command, noun
from fedseal_cli.output import print_fields, print_json

app = noun("model", "The models that jobs produced.", example="fedseal model verify model.safetensors")


@command(app, "verify", example="fedseal model verify model.safetensors --record record.json --root authority.pem")
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A model file (safetensors).")],
    as_json: JsonOption = False,
) -> None:
    """Check that a model file is whole, strictly formed, and what its own description says."""
    from fedseal.learning import load_model
    from fedseal_crypto.digests import sha256_hex

    model = load_model(file)
    digest = sha256_hex(file.read_bytes())
    description = model.description
    if as_json:
        print_json(
            {
                "file": str(file),
                "digest": digest,
                "job": description.job,
                "job_digest": description.job_digest,
                "dataset": description.dataset,
                "learner": description.learner,
            }
        )
        return
    print_fields(
        {
            "Model": str(file),
            "Digest": digest,
            "Job": f"{description.job} ({description.job_digest})",
            "Dataset": description.dataset,
            "Learner": description.learner,
        }
    )
