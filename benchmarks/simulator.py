"""`make bench-simulator`: the simulator's own processor time beside that of local training.

A hundred nodes with 600 Fashion-MNIST images each train a network of 202,738 parameters. Overhead is everything in the
simulating process but local training and evaluation: broadcast, sum, step.
"""

import json
import os
from pathlib import Path

from fedseal.learning import use_deterministic_torch
from fedseal.simulation.engine import Simulation
from fedseal.simulation.experiment import load_experiment
from fedseal.simulation.setting import make_setting
from fedseal.simulation.sources import load_source

EXPERIMENT = """
experiment: overhead
seeds: [1]
data: {source: fashion-mnist, test_rows: 500}
partition: {kind: iid, nodes: 100}
method: {name: fedavg, rounds: 2, settings: {local_epochs: 1}}
learner:
  name: small-cnn
  settings: {filters: [16, 32], hidden_width: 120, classes: 10, batch_size: 50}
measures: {every: 1000}
"""


def main() -> None:
    use_deterministic_torch()
    figures = {}
    for protection in ("none", "encoded"):
        experiment = load_experiment(f"{EXPERIMENT}protection: {protection}\n".encode(), "overhead.yaml")
        simulation = Simulation(setting=make_setting(experiment, load_source(experiment.data, Path()), 1))
        results = list(simulation.rounds())
        state = results[-1].state.coordinator
        size = sum(value.size for name, value in state.items() if name.startswith("model/"))
        training = sum(item.training_seconds for item in results)
        overhead = sum(item.overhead_seconds for item in results)
        figures[protection] = {
            "parameters": size,
            "training_seconds": round(training, 2),
            "overhead_seconds": round(overhead, 2),
            "overhead_share": round(overhead / training, 4),
        }
        print(
            f"{protection:8} {size} parameters, training {training:.1f} s, overhead {overhead:.2f} s: "
            f"{overhead / training:.1%}"
        )
    if target := os.environ.get("JSON"):
        Path(target).write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
