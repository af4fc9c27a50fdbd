"""The example's job and policies with another method than the one they were written for."""

from pathlib import Path

import yaml

from fedseal.errors import SetupError
from fedseal.learning import JobData, job_data, load_dataset, use_deterministic_torch
from fedseal.methods import MethodUnsuitable, method_class, run_in_process
from fedseal_governance.datasets import load_schema
from fedseal_governance.jobs import JobDocument, MethodChoice, load_job

EPOCHS = "local_epochs"
PLAIN = {"momentum": 0.0, "learning_rate": 0.1}
"""Learner settings for methods that are only defined for plain gradient descent."""


def changed_files(examples: Path, hospitals: tuple[str, ...], method: str) -> dict[str, bytes]:
    """``job.yaml``, every hospital's policy and the custodian's, changed so that ``method`` trains and is allowed.

    The method keeps its own defaults, but trains as many local epochs as the example's job says.

    Raises:
        UnknownPlugin: The method is not installed.
        SetupError: It cannot train the example's learner.
    """
    content = yaml.safe_load((examples / "job.yaml").read_bytes())
    known = method_class(method).settings_model.model_fields
    settings = {key: value for key, value in content["method"]["settings"].items() if key == EPOCHS and key in known}
    content["method"].update(name=method, settings=settings)
    content["description"] = f"The example's job, trained by {method}."
    job = _packed(content)
    try:
        _try_one_round(examples, hospitals, job)
    except MethodUnsuitable:
        content["learner"]["settings"].update(PLAIN)
        job = _packed(content)
        _try_one_round(examples, hospitals, job)
    owners = (*hospitals, "custodian")
    return {"job.yaml": job, **{f"policy-{owner}.yaml": _policy(examples, owner, method) for owner in owners}}


def _packed(content: dict[str, object]) -> bytes:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode()


def _policy(examples: Path, owner: str, method: str) -> bytes:
    file = examples / f"policy-{owner}.yaml"
    before, after = "  methods: [fedavg", f"  methods: [{method}, fedavg"
    text = file.read_text()
    if before not in text:
        raise SetupError(f"{file} does not list its methods as the demonstration expects; install fedseal again.")
    return text.replace(before, after).encode()


def _try_one_round(examples: Path, hospitals: tuple[str, ...], job: bytes) -> None:
    use_deterministic_torch()
    document = load_job(job, "job.yaml")
    if document.method is None:
        raise SetupError("The example's job trains nothing; install fedseal again.")
    once = MethodChoice(name=document.method.name, rounds=1, settings=document.method.settings)
    short: JobDocument = document.model_copy(update={"method": once})
    file = examples / "schema.yaml"
    schema = load_schema(file.read_bytes(), str(file))
    rows: dict[str, JobData] = {
        name: job_data(load_dataset(examples / f"{name}.csv", schema), short, None) for name in hospitals
    }
    run_in_process(short, schema, rows)
