"""Heart disease in four hospitals: trained alone, federated, and pooled, on the same held-out patients.

    make bench-heart            prints a table and writes benchmarks/out/heart.png
    make bench-heart JSON=FILE  also writes rows {case, metric, unit, ours, peer, floor}

``ours`` is the federated model (sums through the fixed-point encoding, as under masks), ``peer`` the mean of the
four models trained alone, each evaluated on the union of held-out patients, ``floor`` the pooled model: what nobody
may have. All three train with the same learner, settings, rounds and local epochs. Promised, over five seeds:
federated AUC within 0.01 of pooled and at least 0.05 above alone; the script exits 1 if that does not hold.
"""

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from rich.console import Console
from rich.table import Table

mpl.use("Agg")  # no display needed; must come before pyplot
from _rows import Row
from matplotlib import pyplot as plt

from fedseal.learning import JobData, LocalData, job_data, load_dataset, use_deterministic_torch
from fedseal.methods import run_in_process
from fedseal.methods.comparison import Comparison, compare, model_of
from fedseal_governance.datasets import DatasetSchema, load_schema
from fedseal_governance.jobs import Evaluation, JobDocument, load_job

EXAMPLE = Path(__file__).parents[1] / "examples" / "heart-disease"
OUT = Path(__file__).parent / "out"
SEEDS = (1, 2, 3, 4, 5)
KINDS = ("alone", "federated", "pooled")
METRICS = {"auc": "AUC", "accuracy": "accuracy", "calibration_error": "calibration error"}
TOLERANCE = 0.01
MARGIN = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One seed's comparison, and what federated training cost.

    Attributes:
        cpu_seconds: Of all parties of the federated job together.
    """

    seed: int
    comparison: Comparison
    cpu_seconds: float

    def figure(self, kind: str, metric: str) -> float:
        """On the union of held-out patients."""
        return float(getattr(getattr(self.comparison.overall, kind), metric))


def run_trial(seed: int, job: JobDocument, schema: DatasetSchema, hospitals: dict[str, LocalData]) -> Trial:
    """Train and compare with one seed for the split, the initial model and the order of rows."""
    job = job.model_copy(update={"seed": seed, "evaluation": Evaluation(holdout=0.3, seed=seed)})
    nodes: dict[str, JobData] = {name: job_data(data, job, None) for name, data in hospitals.items()}
    start = time.process_time()
    run = run_in_process(job, schema, nodes, encode=True)
    seconds = time.process_time() - start
    federated = model_of(job, schema, run)
    return Trial(seed=seed, comparison=compare(job, schema, nodes, federated), cpu_seconds=seconds)


def mean(trials: list[Trial], kind: str, metric: str) -> float:
    """Over the seeds."""
    return float(np.mean([trial.figure(kind, metric) for trial in trials]))


def table_of_seeds(trials: list[Trial]) -> Table:
    """AUC on the union, one row a seed, and the means of all figures."""
    table = Table(title="Union of held-out patients", caption="alone: mean of four models")
    for heading in ("seed", "alone", "federated", "pooled", "fed. - alone", "pooled - fed.", "CPU s"):
        table.add_column(heading, justify="right")
    for trial in trials:
        alone, federated, pooled = (trial.figure(kind, "auc") for kind in KINDS)
        cells = (f"{value:.3f}" for value in (alone, federated, pooled, federated - alone, pooled - federated))
        table.add_row(f"{trial.seed}", *cells, f"{trial.cpu_seconds:.2f}")
    table.add_section()
    for metric, label in METRICS.items():
        alone, federated, pooled = (mean(trials, kind, metric) for kind in KINDS)
        cells = (f"{value:.3f}" for value in (alone, federated, pooled, federated - alone, pooled - federated))
        table.add_row(f"mean {label}", *cells, "")
    return table


def table_of_hospitals(trials: list[Trial]) -> Table:
    """AUC of each hospital's own held-out patients, mean over the seeds."""
    table = Table(title="Each hospital's own held-out patients: mean AUC", caption="alone: the hospital's own model")
    for heading in ("hospital", "patients", *KINDS):
        table.add_column(heading, justify="left" if heading == "hospital" else "right")
    for position, row in enumerate(trials[0].comparison.nodes):
        rows = [trial.comparison.nodes[position] for trial in trials]
        aucs = [float(np.mean([getattr(one, kind).auc for one in rows])) for kind in KINDS]
        table.add_row(row.group, f"{row.patients}", *(f"{auc:.3f}" for auc in aucs))
    return table


def plot(trials: list[Trial], path: Path) -> None:
    """One dot a seed and kind; a bar for the mean."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for position, kind in enumerate(KINDS):
        values = [trial.figure(kind, "auc") for trial in trials]
        axes.plot([position] * len(values), values, "o", alpha=0.6)
        axes.hlines(float(np.mean(values)), position - 0.2, position + 0.2, colors="black")
    axes.set_xticks(range(len(KINDS)), ["alone (mean of four)", "federated", "pooled"])
    axes.set_ylabel("AUC, union of held-out patients")
    axes.set_title(f"Heart disease, four hospitals, {len(trials)} seeds")
    axes.grid(axis="y", alpha=0.3)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=150)


def json_rows(trials: list[Trial]) -> list[Row]:
    """The rows for JSON=FILE."""
    rows: list[Row] = []
    for metric, label in METRICS.items():
        cases = [(f"seed {trial.seed}", [trial]) for trial in trials] + [(f"mean of {len(trials)} seeds", trials)]
        for case, chosen in cases:
            alone, federated, pooled = (mean(chosen, kind, metric) for kind in KINDS)
            rows.append(Row(case=case, metric=label, unit="1", ours=federated, peer=alone, floor=pooled))
    seconds = float(np.mean([trial.cpu_seconds for trial in trials]))
    rows.append(Row(case="whole job, four nodes", metric="CPU time", unit="s", ours=seconds, peer=None, floor=None))
    return rows


def main() -> int:
    """Run five seeds; 0 when the promise holds."""
    use_deterministic_torch()
    schema = load_schema((EXAMPLE / "schema.yaml").read_bytes(), "schema.yaml")
    job = load_job((EXAMPLE / "job.yaml").read_bytes(), "job.yaml")
    hospitals = {name: load_dataset(EXAMPLE / f"{name}.csv", schema) for name in job.nodes}
    console = Console()
    trials = []
    for seed in SEEDS:
        with console.status(f"seed {seed}: federated, alone at four hospitals, pooled"):
            trials.append(run_trial(seed, job, schema, hospitals))
    console.print(table_of_seeds(trials), table_of_hospitals(trials))
    plot(trials, OUT / "heart.png")
    console.print(f"plot: {OUT / 'heart.png'}")
    if os.environ.get("JSON"):
        Path(os.environ["JSON"]).write_text(json.dumps(json_rows(trials), indent=2) + "\n", encoding="utf-8")
    alone, federated, pooled = (mean(trials, kind, "auc") for kind in KINDS)
    kept = federated >= pooled - TOLERANCE and federated >= alone + MARGIN
    console.print(f"promise (within {TOLERANCE} of pooled, {MARGIN} above alone): {'kept' if kept else 'BROKEN'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
