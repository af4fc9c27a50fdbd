"""`make bench-simulator`: the simulator's own processor time beside that of local training.

A hundred nodes with 600 Fashion-MNIST images each train a network of 202,738 parameters, through the folder that
`fedseal simulate` writes. Two readings of overhead, as shares of local training:

- *rounds*: everything in the simulating process but the nodes' methods and evaluation: broadcast, sum, step;
- *whole*: everything from the experiment file to results.csv but the learner's gradient descent and evaluation. Reading
  the data, dealing it out, what a node does around its training (encode rows, clip, check) and saved states count, too.
"""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedseal.learning import use_deterministic_torch
from fedseal.learning.learner import FitRequest, FitResult
from fedseal.learning.small_cnn import SmallCnn
from fedseal.simulation import engine
from fedseal.simulation.runs import Runs
from fedseal.simulation.workers import Serial

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


class Stopwatch:
    """Processor seconds of this process that were spent in some functions."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what happens inside."""
        begun = time.process_time()
        try:
            yield
        finally:
            self.seconds += time.process_time() - begun


def watch(training: Stopwatch, evaluation: Stopwatch) -> None:
    """Count the learner's own training and the evaluation of models."""
    fit, measure = SmallCnn.fit, engine.measure

    def timed_fit(self: SmallCnn, request: FitRequest) -> FitResult:
        with training.running():
            return fit(self, request)

    def timed_measure(*arguments: object) -> dict[str, float]:
        with evaluation.running():
            return measure(*arguments)  # type: ignore[arg-type]

    SmallCnn.fit = timed_fit  # type: ignore[method-assign]
    engine.measure = timed_measure


def main() -> None:
    use_deterministic_torch()
    training, evaluation = Stopwatch(), Stopwatch()
    watch(training, evaluation)
    figures = {}
    for protection in ("none", "encoded"):
        training.seconds = evaluation.seconds = 0.0
        begun = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "overhead.yaml"
            file.write_text(f"{EXPERIMENT}protection: {protection}\n")
            results = [step.result for step in Runs(file, Path(folder) / "out").run(Serial())]
        whole = time.process_time() - begun - training.seconds - evaluation.seconds
        state = results[-1].state.coordinator
        size = sum(value.size for name, value in state.items() if name.startswith("model/"))
        rounds = sum(item.overhead_seconds for item in results)
        figures[protection] = {
            "parameters": size,
            "training_seconds": round(training.seconds, 2),
            "rounds_overhead_seconds": round(rounds, 2),
            "rounds_overhead_share": round(rounds / training.seconds, 4),
            "whole_overhead_seconds": round(whole, 2),
            "whole_overhead_share": round(whole / training.seconds, 4),
        }
        print(
            f"{protection:8} {size} parameters, training {training.seconds:.1f} s, overhead of the rounds "
            f"{rounds:.2f} s ({rounds / training.seconds:.1%}), of the whole command "
            f"{whole:.2f} s ({whole / training.seconds:.1%})"
        )
    if target := os.environ.get("JSON"):
        Path(target).write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
