"""An experiment's folder: what was run, every round's figures, and where to go on after an interruption.

    experiment.yaml        the exact bytes; another experiment may not use the folder
    seed-<n>/rounds.jsonl  one line of figures a round
    seed-<n>/state.json, seed-<n>/<round>.state.safetensors   where the run stands
    results.csv            all seeds' rounds; with ``--parquet`` results.parquet as well (needs the extra ``parquet``)
    timings.csv            CPU seconds, which differ between runs of the same seed

Rules this module keeps:
- Files are replaced in one step; after a crash the figures never run ahead of the state, since lines beyond the
  state are cut off when a run goes on.
- A finished seed is not run again.
- Nothing is written before a first round is done, so that an experiment that cannot run leaves nothing; and a file
  may be corrected as long as no state was saved.
"""

import json
import os
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors

from fedseal.errors import SetupError
from fedseal.files import make_folder, read_limited, write_atomic
from fedseal.learning.tensors import group_of, grouped, pack_tensors
from fedseal.simulation.engine import RoundResult, Simulation, State
from fedseal.simulation.errors import ExperimentUnsuitable
from fedseal.simulation.experiment import Experiment, load_experiment
from fedseal.simulation.setting import Setting, make_setting
from fedseal.simulation.sources import Source, load_source
from fedseal.simulation.workers import Workers

EXPERIMENT, LINES, TENSORS, STANDING = "experiment.yaml", "rounds.jsonl", "state.safetensors", "state.json"
RESULTS, TIMINGS, PARQUET = "results.csv", "timings.csv", "results.parquet"
MOST_BYTES = 8 << 30
TIMING_COLUMNS = ("training_seconds", "overhead_seconds")
KEPT_EVERY = 10
"""Rounds between saved states: an interruption costs at most as many."""
SLOW_SECONDS = 20.0
"""A round of more CPU time than this is saved at once; saving costs little beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What is told of a round while an experiment runs."""

    seed: int
    result: RoundResult


class Runs:
    """The runs of one experiment in one folder."""

    def __init__(self, file: Path, folder: Path) -> None:
        """Read the experiment, and see that the folder can take its results.

        Raises:
            DocumentError: The experiment file has faults.
            ExperimentUnsuitable: The folder holds another experiment.
            SetupError: A file cannot be read, or the folder not be written.
        """
        self._content = read_limited(file, max_bytes=1 << 18, what="an experiment file")
        self.experiment: Experiment = load_experiment(self._content, file.name)
        self.folder, self._file = folder, file
        kept = folder / EXPERIMENT
        if kept.exists() and kept.read_bytes() != self._content and any(folder.glob(f"seed-*/{STANDING}")):
            raise ExperimentUnsuitable(
                f"The folder {folder} holds results of another experiment file; choose another folder with --out."
            )
        _require_room(folder)

    def write_parquet(self) -> Path:
        """The results as Parquet, too.

        Raises:
            SetupError: pyarrow is not installed.
        """
        try:
            data = pd.read_csv(self.folder / RESULTS).to_parquet(index=False)
        except ImportError:
            raise SetupError(
                "Parquet needs pyarrow, which is not installed; pip install 'fedseal[parquet]', or use results.csv."
            ) from None
        write_atomic(self.folder / PARQUET, data)
        return self.folder / PARQUET

    def run(self, workers: Workers) -> Generator[Progress, None, None]:
        """Run what is still to be run, seed by seed, and write the results."""
        source: Source | None = None
        for seed in self.experiment.seeds:
            if self._rounds_done(seed) < self.experiment.method.rounds:
                source = source or load_source(self.experiment.data, self._file.parent)
                yield from self._run_seed(source, seed, workers)
        self._write_results()

    def done(self) -> int:
        """Rounds of all seeds that need not be run again."""
        return sum(self._rounds_done(seed) for seed in self.experiment.seeds)

    def state(self, seed: int) -> State | None:
        """Where a seed's run stands, of a finished one its end; None if it has not been saved yet."""
        rounds = self._rounds_done(seed)
        if not rounds:
            return None
        path = self._place(seed) / f"{rounds}.{TENSORS}"
        try:
            tensors = load_safetensors(read_limited(path, max_bytes=MOST_BYTES, what="a saved state"))
        except SafetensorError:
            raise self._damaged(seed, path) from None
        names = {key.split("/")[1] for key in tensors if key.startswith("node/")}
        return State(
            rounds=rounds,
            coordinator=group_of("coordinator", tensors),
            nodes={name: group_of(f"node/{name}", tensors) for name in sorted(names)},
        )

    def _run_seed(self, source: Source, seed: int, workers: Workers) -> Generator[Progress, None, None]:
        place = self._place(seed)
        simulation = Simulation(setting=self._setting(source, seed), workers=workers)
        state = self.state(seed)
        lines = self._lines(seed)[: 0 if state is None else state.rounds]
        if state is not None and len(lines) != state.rounds:
            raise self._damaged(seed, place / LINES)
        for result in simulation.rounds(state):
            if not place.exists():
                self._claim(place)
            lines.append(_line(seed, result))
            if self._is_worth_keeping(result):
                write_atomic(place / LINES, "".join(json.dumps(line) + "\n" for line in lines).encode())
                _save(place, result.state)
            yield Progress(seed=seed, result=result)

    def _setting(self, source: Source, seed: int) -> Setting:
        """The seed's setting; what the file asks for and cannot be had is said with the file's name."""
        try:
            setting = make_setting(self.experiment, source, seed)
            _ = setting.plan
        except SetupError as error:
            raise ExperimentUnsuitable(f"{self._file.name}: {error}") from error
        return setting

    def _claim(self, place: Path) -> None:
        """Make a seed's folder, and first the experiment's, which is this experiment's from now on."""
        make_folder(self.folder, private=False)
        write_atomic(self.folder / EXPERIMENT, self._content)
        place.mkdir()

    def _is_worth_keeping(self, result: RoundResult) -> bool:
        last = result.round == self.experiment.method.rounds
        return last or result.round % KEPT_EVERY == 0 or result.training_seconds > SLOW_SECONDS

    def _place(self, seed: int) -> Path:
        return self.folder / f"seed-{seed}"

    def _rounds_done(self, seed: int) -> int:
        standing = self._place(seed) / STANDING
        if not standing.exists():
            return 0
        try:
            return int(json.loads(standing.read_text())["rounds"])
        except (ValueError, KeyError, TypeError):
            raise self._damaged(seed, standing) from None

    def _lines(self, seed: int) -> list[dict[str, float]]:
        path = self._place(seed) / LINES
        try:
            return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        except ValueError:
            raise self._damaged(seed, path) from None

    def _damaged(self, seed: int, path: Path) -> ExperimentUnsuitable:
        return ExperimentUnsuitable(f"{path} is damaged; remove {self._place(seed)}, and seed {seed} is run again.")

    def _write_results(self) -> None:
        lines = [line for seed in self.experiment.seeds for line in self._lines(seed)]
        frame = pd.DataFrame(lines)
        keys, timings = ["seed", "round"], [name for name in TIMING_COLUMNS if name in frame]
        results = frame.drop(columns=timings)
        write_atomic(self.folder / RESULTS, results.to_csv(index=False).encode())
        write_atomic(self.folder / TIMINGS, frame[keys + timings].to_csv(index=False).encode())


def _require_room(folder: Path) -> None:
    """Refuse a place that cannot be written, before hours are spent."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise SetupError(f"{there} is a file, and a folder is needed there; choose another with --out.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise SetupError(f"{there} may not be written by this user; choose another folder with --out.")


def _line(seed: int, result: RoundResult) -> dict[str, float]:
    return {
        "seed": seed,
        "round": result.round,
        "cohort": result.cohort,
        "bytes_up": result.bytes_up,
        **{f"training_{name}": value for name, value in result.summary.items()},
        **result.figures,
        "training_seconds": round(result.training_seconds, 6),
        "overhead_seconds": round(result.overhead_seconds, 6),
    }


def _save(place: Path, state: State) -> None:
    """The tensors first, under the round's name; then the one small file that makes them count."""
    everything = grouped("coordinator", state.coordinator)
    for name, tensors in state.nodes.items():
        everything.update(grouped(f"node/{name}", tensors))
    write_atomic(place / f"{state.rounds}.{TENSORS}", pack_tensors(everything))
    write_atomic(place / STANDING, json.dumps({"rounds": state.rounds}).encode())
    for old in place.glob(f"*.{TENSORS}"):
        if old.name != f"{state.rounds}.{TENSORS}":
            old.unlink()
