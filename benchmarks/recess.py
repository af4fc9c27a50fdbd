"""RECESS on Fashion-MNIST: who is removed, and how accurate the model is, beside rules that it is compared with.

    make bench-recess            runs what is missing, prints tables, writes benchmarks/out/recess.png
    make bench-recess JSON=FILE  also writes rows {case, metric, unit, ours, peer, floor}

Twenty nodes, 300 images each, Dirichlet 0.5; a network of 101,770 parameters, one local epoch at a rate of 0.1; three
seeds; 30 steps of the model (59 rounds for RECESS, 29 of them probes). Attacks, of 4 or 8 nodes: ``reverse`` sends 5
times the honest length against the aggregate as it was received, ``min-max-reverse`` (below: min-max) as far as
honest updates are apart in that direction; two that RECESS does not see, ``sign-flip`` and ``lie``. RECESS judges by
probes alone here (`norm_factor: 0`; b = 0.7, c = 0.1); further rows show the published scale (`unit_norm: 1`)
and the settings that are the default. Trimmed mean, median, Multi-Krum and norm bounding must see every update by
itself: such disclosure exists in simulations only. In the rows ``ours`` is the rule, ``peer`` the plain mean under the
same attack. An interrupted benchmark goes on where it was (benchmarks/out/recess); STEPS=8 SEEDS=1 makes a short one.

Promised, in every seed unless means are said; the script exits 1 if one does not hold:
- RECESS removes every attacker of ``reverse`` and ``min-max-reverse``, and never an honest node;
- its accuracy is at most 2 points below that without attackers, means over seeds, with 4 attackers;
- under ``reverse`` it is at least 8 points above the plain mean, means over seeds;
- the mean cosine of honest nodes is above 0.3, that of every attacker of ``reverse`` below -0.7;
- a constant turning of signs and "a little is enough" are not removed: a limit, and no defence is claimed.
"""

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from _rows import Row
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

mpl.use("Agg")  # no display needed; must come before pyplot
from matplotlib import pyplot as plt

from fedseal.learning import use_deterministic_torch
from fedseal.learning.tensors import group_of
from fedseal.methods.trust import Trust
from fedseal.simulation.comparing import read_results
from fedseal.simulation.runs import Runs
from fedseal.simulation.workers import Serial

OUT = Path(__file__).parent / "out"
STEPS, SEEDS = int(os.environ.get("STEPS", "30")), int(os.environ.get("SEEDS", "3"))
FOLDER = OUT / ("recess" if (STEPS, SEEDS) == (30, 3) else f"recess-{STEPS}-{SEEDS}")
NODES, EVERY = 20, 3
MAIN = "recess-median"
RULES = {
    "mean": ("plain mean", "robust-rules", "{rule: trimmed-mean, poisoned: 0}"),
    "trimmed-mean": ("trimmed mean*", "robust-rules", "{rule: trimmed-mean, poisoned: ATTACKERS}"),
    "median": ("median*", "robust-rules", "{rule: median}"),
    "multi-krum": ("Multi-Krum*", "robust-rules", "{rule: multi-krum, poisoned: ATTACKERS}"),
    "norm-bounding": ("norm bounding*", "robust-rules", "{rule: norm-bounding}"),
    MAIN: ("RECESS, probes alone", "recess", "{norm_factor: 0}"),
    "recess": ("same, published scale", "recess", "{norm_factor: 0, unit_norm: 1.0, decrease: 0.5}"),
    "recess-default": ("RECESS, defaults", "recess", "{}"),
}
"""Label, method, settings. The plain mean is a trimmed mean that trims nothing: nodes weigh alike, as in RECESS."""
ATTACKS = {
    "none": ("no attack", "", 0, "{}"),
    "reverse-4": ("reverse, 4", "reverse", 4, "{factor: 5.0}"),
    "min-max-4": ("min-max, 4", "min-max-reverse", 4, "{}"),
    "reverse-8": ("reverse, 8", "reverse", 8, "{factor: 5.0}"),
    "min-max-8": ("min-max, 8", "min-max-reverse", 8, "{}"),
    "sign-flip-4": ("sign-flip, 4", "sign-flip", 4, "{}"),
    "lie-4": ("lie, 4", "lie", 4, "{}"),
}
FOUND, UNSEEN = ("reverse-4", "min-max-4", "reverse-8", "min-max-8"), ("sign-flip-4", "lie-4")
ALL_RULES = ("none", "reverse-4", "min-max-4")
"""Attacks under which every rule is run; the plain mean and RECESS under all."""
BAND, ABOVE, HONEST, REVERSED = 0.02, 0.08, 0.3, -0.7
NOTE = "* the coordinator must see every update by itself: in simulations only"
EXPERIMENT = """
experiment: recess-{name}
seeds: {seeds}
data: {{source: fashion-mnist, training_rows: 12000, test_rows: 10000}}
partition: {{kind: dirichlet, alpha: 0.5, nodes: {nodes}, rows_per_node: 300}}
method: {{name: {method}, rounds: {rounds}, settings: {settings}}}
learner:
  name: tabular-mlp
  settings: {{hidden_width: 128, classes: 10, learning_rate: 0.1, momentum: 0.0, weight_decay: 0.0, batch_size: 32}}
protection: none
measures: {{every: {every}}}
{attack}
"""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One rule under one attack.

    Attributes:
        rule: Of `RULES`.
        attack: Of `ATTACKS`.
        results: One line a seed and round.
        trusts: By seed, at the end; of RECESS alone.
    """

    rule: str
    attack: str
    results: pd.DataFrame
    trusts: tuple[Trust, ...] = field(default_factory=tuple)

    @cached_property
    def accuracies(self) -> "pd.Series[float]":
        """Of each seed, at the end."""
        known = self.results.dropna(subset=["accuracy"]).sort_values("round")
        return known.groupby("seed")["accuracy"].last()

    @property
    def accuracy(self) -> float:
        """Mean over seeds."""
        return float(self.accuracies.mean())

    @property
    def attackers(self) -> int:
        return ATTACKS[self.attack][2]

    @property
    def removed(self) -> list[tuple[int, int]]:
        """Attackers and honest nodes that were removed, by seed."""
        gone = [~trust.alive for trust in self.trusts]
        return [(int(one[: self.attackers].sum()), int(one[self.attackers :].sum())) for one in gone]

    @property
    def last_removal(self) -> int:
        """After how many probes the last attacker was removed, in the slowest seed."""
        return int(max((trust.removed.max() for trust in self.trusts), default=0))

    @property
    def honest_cosine(self) -> float:
        """Mean over probes and honest nodes, least of the seeds."""
        return min(float(_cosines(trust)[self.attackers :].mean()) for trust in self.trusts)

    @property
    def attackers_cosine(self) -> float:
        """Mean over probes, greatest of the attackers and seeds."""
        return max(float(_cosines(trust)[: self.attackers].max()) for trust in self.trusts)


def _cosines(trust: Trust) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    return np.asarray(trust.consistency / np.maximum(trust.answers, 1))


def cases() -> Iterable[tuple[str, str]]:
    """What is run, rule and attack; what promises are about first."""
    for rule in sorted(RULES, key=lambda rule: rule not in (MAIN, "mean")):
        for attack in ATTACKS:
            if attack in ALL_RULES or rule == MAIN or (rule == "mean" and attack in FOUND):
                yield rule, attack


def run(rule: str, attack: str, console: Console) -> Outcome:
    """Run what is missing of one case."""
    name = f"{rule}-{attack}"
    _, method, settings = RULES[rule]
    _, kind, count, options = ATTACKS[attack]
    probing = method == "recess"
    text = EXPERIMENT.format(
        name=name,
        seeds=list(range(1, SEEDS + 1)),
        nodes=NODES,
        method=method,
        rounds=2 * STEPS - 1 if probing else STEPS,
        settings=settings.replace("ATTACKERS", str(count)),
        every=2 * EVERY if probing else EVERY,
        attack=f"attack: {{name: {kind}, nodes: {count}, settings: {options}}}" if kind else "",
    )
    file = FOLDER / f"{name}.yaml"
    file.write_text(text, encoding="utf-8")
    runs = Runs(file, FOLDER / name)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        total = len(runs.experiment.seeds) * runs.experiment.method.rounds
        task = bar.add_task(name, total=total, completed=runs.done())
        for _ in runs.run(Serial()):
            bar.advance(task)
    states = [runs.state(seed) for seed in runs.experiment.seeds] if probing else []
    trusts = tuple(Trust.of(group_of("trust", state.coordinator)) for state in states if state is not None)
    return Outcome(rule=rule, attack=attack, results=read_results(runs.folder), trusts=trusts)


Outcomes = dict[tuple[str, str], Outcome]


def accuracy_table(outcomes: Outcomes) -> Table:
    """Rules by attacks: mean over seeds, least to greatest below it."""
    title = f"Fashion-MNIST, {NODES} nodes, {STEPS} steps, {SEEDS} seeds: accuracy in %"
    shown = Table(title=title, box=None, padding=(0, 1, 0, 0))
    shown.add_column("rule", no_wrap=True)
    for attack in FOUND:
        if attack == FOUND[0]:
            shown.add_column(ATTACKS["none"][0], justify="right")
        shown.add_column(ATTACKS[attack][0], justify="right")
    for rule, (label, _, _) in RULES.items():
        cells = [outcomes.get((rule, attack)) for attack in ("none", *FOUND)]
        shown.add_row(label, *("" if one is None else f"{one.accuracy:.1%}\n{spread(one)}" for one in cells))
    return shown


def spread(one: Outcome) -> str:
    return f"{100 * one.accuracies.min():.1f}-{100 * one.accuracies.max():.1f}"


def trust_table(outcomes: Outcomes) -> Table:
    """Who was removed, and the cosines."""
    shown = Table(title="RECESS, probes alone", box=None, padding=(0, 1, 0, 0))
    for heading in ("attack", "attackers removed", "honest removed", "last at", "cosine", "attackers'"):
        shown.add_column(heading, justify="left" if heading == "attack" else "right")
    for attack, (label, _, count, _) in ATTACKS.items():
        one = outcomes[MAIN, attack]
        attackers, honest = (sum(pair[side] for pair in one.removed) for side in (0, 1))
        shown.add_row(
            label,
            f"{attackers} of {count * len(one.trusts)}",
            f"{honest} of {(NODES - count) * len(one.trusts)}",
            f"probe {one.last_removal}" if one.last_removal else "",
            f"{one.honest_cosine:.2f}",
            f"{one.attackers_cosine:.2f}" if count else "",
        )
    return shown


def promises(outcomes: Outcomes) -> list[tuple[str, bool]]:
    """Each promise with its figures, and whether it is kept."""
    base, found = outcomes[MAIN, "none"], list[tuple[str, bool]]()
    for attack in FOUND:
        label, _, count, _ = ATTACKS[attack]
        one, mean = outcomes[MAIN, attack], outcomes["mean", attack]
        pairs = ", ".join(f"{attackers}+{honest}" for attackers, honest in one.removed)
        kept = all(pair == (count, 0) for pair in one.removed)
        found.append((f"{label}: removed by seed, attackers + honest: {pairs} ({count}+0 each)", kept))
        if count < 8:
            lost = base.accuracy - one.accuracy
            found.append((f"{label}: {lost:.3f} below no attack (at most {BAND})", lost <= BAND))
        if attack.startswith("reverse"):
            gain, cosine = one.accuracy - mean.accuracy, one.attackers_cosine
            found.append((f"{label}: {gain:.3f} above the plain mean (at least {ABOVE})", gain >= ABOVE))
            found.append((f"{label}: cosine of attackers {cosine:.2f} (below {REVERSED})", cosine < REVERSED))
    honest = min(one.honest_cosine for (rule, _), one in outcomes.items() if rule == MAIN)
    found.append((f"mean cosine of honest nodes at least {honest:.2f} (above {HONEST})", honest > HONEST))
    for attack in ("none", *UNSEEN):
        pairs = ", ".join(f"{attackers}+{good}" for attackers, good in outcomes[MAIN, attack].removed)
        kept = all(pair == (0, 0) for pair in outcomes[MAIN, attack].removed)
        found.append((f"{ATTACKS[attack][0]}: removed by seed {pairs} (nobody: not seen)", kept))
    return found


def plot(outcomes: Outcomes, path: Path) -> None:
    """Accuracy by step under `reverse` of 4; lines are means over seeds, bands from least to greatest."""
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for rule, (label, method, _) in RULES.items():
        known = outcomes[rule, "reverse-4"].results.dropna(subset=["accuracy"]).groupby("round")["accuracy"]
        mean = known.mean()
        steps = mean.index.to_numpy() / (2 if method == "recess" else 1)
        (line,) = axes.plot(steps, mean.to_numpy(), label=label, linewidth=2 if method == "recess" else 1)
        axes.fill_between(steps, known.min().to_numpy(), known.max().to_numpy(), color=line.get_color(), alpha=0.12)
    axes.set_xlabel("steps of the model (RECESS: and as many probes)")
    axes.set_ylabel("accuracy on 10,000 test images")
    axes.set_title("Four of twenty nodes steer against the aggregate, five times as long", loc="left", fontsize=11)
    axes.text(0.01, 0.01, NOTE, transform=axes.transAxes, fontsize=6.5, color="#555555")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False, loc="upper left")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def json_rows(outcomes: Outcomes) -> list[Row]:
    """The rows for JSON=FILE."""
    rows = []
    for (rule, attack), one in outcomes.items():
        mean = outcomes.get(("mean", attack))
        peer = None if mean is None else mean.accuracy
        case = f"{RULES[rule][0]}, {ATTACKS[attack][0]}"
        rows.append(Row(case=case, metric="accuracy", unit="1", ours=one.accuracy, peer=peer, floor=None))
        for side, who in enumerate(("attackers", "honest nodes")):
            if one.trusts:
                gone = float(sum(pair[side] for pair in one.removed))
                rows.append(Row(case=case, metric=f"{who} removed", unit="nodes", ours=gone, peer=None, floor=None))
    return rows


def main() -> int:
    """Run every case; 0 when every promise is kept."""
    use_deterministic_torch()
    console = Console()
    FOLDER.mkdir(parents=True, exist_ok=True)
    outcomes = {(rule, attack): run(rule, attack, console) for rule, attack in cases()}
    console.print(accuracy_table(outcomes))
    console.print(NOTE)
    console.print(trust_table(outcomes))
    plot(outcomes, OUT / "recess.png")
    console.print(f"plot: {OUT / 'recess.png'}")
    if os.environ.get("JSON"):
        Path(os.environ["JSON"]).write_text(json.dumps(json_rows(outcomes), indent=2) + "\n", encoding="utf-8")
    found = promises(outcomes)
    for sentence, kept in found:
        console.print(f"{'kept  ' if kept else 'BROKEN'} {sentence}")
    return 0 if all(kept for _, kept in found) else 1


if __name__ == "__main__":
    sys.exit(main())
