"""What federation was worth: alone, federated and pooled on the same held-out patients.

Only the demonstration can do this, because it holds the example files of all four hospitals; in a federation
nobody does.
"""

from rich import box
from rich.table import Table

from fedseal.learning import JobData, Model, job_data, load_dataset, use_deterministic_torch
from fedseal.local import open_party
from fedseal.methods.comparison import Comparison, ComparisonRow, compare
from fedseal_cli.demonstration.founding import now
from fedseal_cli.demonstration.setting import DATASET, HOSPITALS, Setting
from fedseal_governance.consent import in_force
from fedseal_governance.datasets import load_schema
from fedseal_governance.jobs import JobDocument


def compare_all(setting: Setting, job: JobDocument, federated: Model) -> Comparison:
    """Train alone and pooled on the rows that have a consent, and set them beside the federated model."""
    use_deterministic_torch()
    file = setting.example("schema.yaml")
    schema = load_schema(file.read_bytes(), str(file))
    parts: dict[str, JobData] = {}
    for hospital in HOSPITALS:
        with open_party(setting.party(hospital)) as node:
            consented = node.read(lambda session: in_force(session, dataset=DATASET, purpose=job.purpose, now=now()))
        rows = load_dataset(setting.example(f"{hospital}.csv"), schema)
        parts[hospital] = job_data(rows, job, consented)
    return compare(job, schema, parts, federated)


def comparison_table(comparison: Comparison) -> Table:
    """Per hospital and overall: AUC, accuracy and calibration error of the three ways to train."""
    caption = "Held-out patients. Alone, in the row of all: the mean of the four models trained alone."
    table = Table(caption=caption, caption_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("hospital", no_wrap=True)
    table.add_column("n", justify="right")
    for figure in ("AUC", "accuracy", "calibr. error"):
        table.add_column(f"{figure}\nalone fed. pool.", justify="right", no_wrap=True)
    for row in (*comparison.nodes, comparison.overall):
        style = "bold" if row.group == "all" else ""
        table.add_row(row.group, str(row.patients), *_figures(row), style=style)
    return table


def _figures(row: ComparisonRow) -> list[str]:
    three = (row.alone, row.federated, row.pooled)
    return [
        "  ".join(f"{getattr(one, name):.3f}".lstrip("0") for one in three)
        for name in ("auc", "accuracy", "calibration_error")
    ]
