"""FedSep on Fashion-MNIST: training through a decoder at equal bytes, and nodes that cannot train the whole model.

    make bench-fedsep            runs what has not run yet, prints tables, draws benchmarks/out/fedsep.png
    make bench-fedsep JSON=FILE  also writes rows {case, metric, unit, ours, peer, floor}

A network of 11,274 parameters, 9,000 training images at six nodes, 4,000 test images, one local epoch a round.
- Compression, Dirichlet 0.5, 20 rounds: a tenth and a fiftieth of the numbers, trained through the decoder with a
  moving and with a fixed anchor; the same numbers when the whole model is trained and compressed afterwards; a random
  subspace with error feedback; top-k, whose messages do not add up.
- Models of different size, three strong and three weak nodes: Dirichlet 0.3, 20 rounds; and a stress split where
  strong nodes have classes 0 to 6 and weak ones 3 to 9, 16 rounds. Controls: everyone full, everyone small, weak nodes
  excluded.
In the rows ``ours`` is the line, ``peer`` its control (compressed afterwards; everyone small; weak nodes excluded),
``floor`` FedAvg on the whole model.

Runs are ordinary simulations in benchmarks/out/fedsep; they go on where they were interrupted, and a finished one is
not run again. Needs the Debian package dataset-fashion-mnist and about half an hour of one processor. Exits 1 if a
check fails; each holds only if it does with every seed.
"""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from _fedsep_arms import ARMS, SEEDS, TEST_ROWS, WEAK, WEAK_DEALT, Arm, write_experiment, write_sites
from _rows import Row
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

mpl.use("Agg")  # no display needed; must come before pyplot
from matplotlib import pyplot as plt

from fedseal.learning import use_deterministic_torch
from fedseal.learning.metrics import evaluate
from fedseal.methods.averaging import Averaging
from fedseal.simulation.comparing import read_results
from fedseal.simulation.experiment import Data
from fedseal.simulation.runs import Runs
from fedseal.simulation.setting import make_setting
from fedseal.simulation.sources import load_source
from fedseal.simulation.workers import Serial

OUT = Path(__file__).parent / "out"
FOLDER = OUT / "fedsep"
BETTER, WEAK_BETTER = 5, 5  # points
PARTS = {
    "compression": "Compression, 20 rounds, Dirichlet 0.5",
    "stress": "Models of two sizes, 16 rounds, strong nodes have classes 0-6, weak ones 3-9",
    "mild": "Models of two sizes, 20 rounds, Dirichlet 0.3",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One run's end.

    Attributes:
        whole: Accuracy of the common model.
        weak: Of what weak nodes decode from it; NaN where nobody is weak.
        numbers_up: Numbers of an update.
        numbers_down: Numbers of a broadcast.
        bytes_up: That a node sends a round.
    """

    whole: float
    weak: float
    numbers_up: int
    numbers_down: int
    bytes_up: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One promise, with its figures by seed."""

    what: str
    measured: tuple[float, ...]
    holds: bool


def run_all(console: Console) -> dict[str, list[Runs]]:
    """Every arm's runs, part by part and in each seed by seed, so that an interrupted benchmark has whole tables."""
    if not (FOLDER / "data" / "schema.yaml").exists():
        write_sites(FOLDER / "data")
    jobs = [(arm, seed) for part in PARTS for seed in SEEDS for arm in ARMS if arm.part == part]
    found: dict[str, list[Runs]] = {arm.name: [] for arm in ARMS}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("rounds", total=sum(arm.rounds for arm, _ in jobs))
        for arm, seed in jobs:
            runs = Runs(*write_experiment(arm, seed, FOLDER))
            bar.update(task, advance=runs.done(), description=f"{arm.name}, seed {seed}")
            for _ in runs.run(Serial()):
                bar.update(task, advance=1)
            found[arm.name].append(runs)
    return found


def outcome_of(arm: Arm, runs: Runs) -> Outcome:
    """Measure the saved end of a run, the common model and that of weak nodes, on the same test images."""
    source = load_source(runs.experiment.data, runs.folder.parent)
    setting = make_setting(runs.experiment, source, runs.experiment.seeds[0])
    state = runs.state(runs.experiment.seeds[0])
    if state is None or not isinstance(setting.method, Averaging):
        raise SystemExit(f"{runs.folder} has no saved state; remove it and run again.")
    plan = setting.plan.for_round(state.rounds - 1)
    test = load_source(Data(source="fashion-mnist", training_rows=1, test_rows=TEST_ROWS), Path()).test["all"]
    examples, exported = plan.examples(test), setting.method.export(plan, state.coordinator)

    def accuracy(local_state: Mapping[str, "np.ndarray[tuple[int, ...], np.dtype[np.float64]]"]) -> float:
        model = setting.method.node_model(exported, local_state)
        return evaluate(plan.require_learner().predict(model, examples.inputs), examples.labels).accuracy

    weak = [
        accuracy(state.nodes[name]) for name in (*WEAK, *WEAK_DEALT) if arm.method == "fedsep" and name in state.nodes
    ]
    broadcast = setting.method.broadcast(plan, state.coordinator)
    return Outcome(
        whole=accuracy({}),
        weak=float(np.mean(weak)) if weak and arm.part != "compression" else float("nan"),
        numbers_up=sum(spec.length for spec in setting.method.update_vectors(plan)),
        numbers_down=sum(tensor.size for tensor in broadcast.values()),
        bytes_up=float(read_results(runs.folder)["bytes_up"].mean()),
    )


def table_of(part: str, outcomes: dict[str, list[Outcome]]) -> Table:
    """One line an arm."""
    table = Table(title=PARTS[part], box=None, padding=(0, 1, 0, 0), caption="per cent: mean (least-greatest) of seeds")
    columns = ("numbers up", "down", "bytes up") if part == "compression" else ("weak nodes' model",)
    for heading in ("", *columns, "accuracy" if part == "compression" else "common model"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for arm in (arm for arm in ARMS if arm.part == part):
        of = outcomes[arm.name]
        sizes = [f"{of[0].numbers_up:,}", f"{of[0].numbers_down:,}", f"{of[0].bytes_up:,.0f}"]
        told = sizes if part == "compression" else [spread([one.weak for one in of])]
        table.add_row(arm.title, *told, spread([one.whole for one in of]))
    return table


def spread(values: list[float]) -> str:
    """Mean, least and greatest, in per cent."""
    if np.isnan(values).any():
        return ""
    low, high = 100 * min(values), 100 * max(values)
    return f"{100 * float(np.mean(values)):.1f} ({low:.1f}-{high:.1f})"


def checks(outcomes: dict[str, list[Outcome]]) -> list[Check]:
    """Every promise; it holds only if it does with each seed."""

    def points(ours: str, other: str, *, weak: bool = False) -> tuple[float, ...]:
        pairs = zip(outcomes[ours], outcomes[other], strict=True)
        return tuple(100 * ((one.weak if weak else one.whole) - two.whole) for one, two in pairs)

    gained, lower = points("moving", "afterwards"), points("moving-2", "afterwards-2")
    still = points("fixed", "fixed-afterwards")
    excluded = points("stress-sparse", "stress-strong", weak=True)
    bytes_up = tuple(outcomes[name][0].bytes_up for name in ("moving", "afterwards"))
    fixed, whole = outcomes["fixed"][0], outcomes["fedavg"][0]
    small = fixed.numbers_up == fixed.numbers_down < 0.11 * whole.numbers_up
    found = (
        (f"10 %, moving: through the decoder above afterwards: {BETTER} points or more", gained, BETTER),
        (f"10 %, fixed: through the decoder above afterwards: {BETTER} points or more", still, BETTER),
        ("2 %, moving: through the decoder above afterwards: 0 points or more", lower, 0),
        (f"stress: weak nodes' sparse model above exclusion: {WEAK_BETTER} points or more", excluded, WEAK_BETTER),
    )
    sizes = (float(fixed.numbers_up), float(fixed.numbers_down))
    return [
        *(Check(what=what, measured=values, holds=min(values) >= least) for what, values, least in found),
        Check(what="10 %: a run sends as many bytes either way", measured=bytes_up, holds=len(set(bytes_up)) == 1),
        Check(what="fixed anchor: a tenth of the numbers, up and down", measured=sizes, holds=small),
    ]


def plot(results: dict[str, list[Runs]], path: Path) -> None:
    """Accuracy of compression over rounds; bands from least to greatest seed."""
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    for arm in (arm for arm in ARMS if arm.part == "compression"):
        frames = [read_results(runs.folder).dropna(subset=["accuracy"]) for runs in results[arm.name]]
        values, rounds = 100 * np.array([frame["accuracy"] for frame in frames]), frames[0]["round"]
        style = "--" if "afterwards" in arm.name else "-"
        (line,) = axis.plot(rounds, values.mean(axis=0), style, label=arm.title)
        axis.fill_between(rounds, values.min(axis=0), values.max(axis=0), color=line.get_color(), alpha=0.15)
    axis.set_xlabel("round")
    axis.set_ylabel("accuracy on 4,000 test images, per cent")
    axis.grid(alpha=0.3)
    axis.set_title("Fashion-MNIST, six nodes, Dirichlet 0.5", loc="left", fontsize=11)
    axis.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def json_rows(outcomes: dict[str, list[Outcome]]) -> list[Row]:
    """The rows for JSON=FILE."""
    controls = {"compression": "afterwards", "mild": "mild-small", "stress": "stress-strong"}
    floors = {"compression": "fedavg", "mild": "mild-full", "stress": "stress-full"}
    rows = list[Row]()
    for arm in ARMS:
        for place, seed in enumerate(SEEDS):
            one, peer, floor = (outcomes[name][place] for name in (arm.name, controls[arm.part], floors[arm.part]))
            case = f"{arm.part}: {arm.title}, seed {seed}"
            rows.append(Row(case=case, metric="accuracy", unit="1", ours=one.whole, peer=peer.whole, floor=floor.whole))
            if not np.isnan(one.weak):
                metric = "accuracy of the weak nodes' model"
                rows.append(Row(case=case, metric=metric, unit="1", ours=one.weak, peer=peer.whole, floor=floor.whole))
    return rows


def main() -> int:
    """Run, print, draw; 0 when every check holds."""
    use_deterministic_torch()
    console = Console()
    results = run_all(console)
    outcomes = {arm.name: [outcome_of(arm, runs) for runs in results[arm.name]] for arm in ARMS}
    for part in PARTS:
        console.print(table_of(part, outcomes))
    found = checks(outcomes)
    for check in found:
        figures = ", ".join(f"{value:,.1f}" for value in check.measured)
        console.print(f"{'kept  ' if check.holds else 'BROKEN'} {check.what}: {figures}", highlight=False)
    plot(results, OUT / "fedsep.png")
    console.print(f"plot: {OUT / 'fedsep.png'}")
    if os.environ.get("JSON"):
        Path(os.environ["JSON"]).write_text(json.dumps(json_rows(outcomes), indent=2) + "\n", encoding="utf-8")
    return 0 if all(check.holds for check in found) else 1


if __name__ == "__main__":
    sys.exit(main())
