"""A study: every method under every skew, with and without attackers, from every seed; one small experiment each.

Rules this module keeps:
- A cell (method, skew, attack, seed) is one experiment folder of its own. A killed study goes on where it was; a cell
  whose experiment has changed is run again, and no other.
- A cell that fails leaves its reason, the study goes on with the next, and a later run tries it again.
- Installed training methods that the file does not name take part with their defaults, unless it says otherwise.
"""

import json
import os
import shutil
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import Field, model_validator

from fedseal.errors import PlatformError
from fedseal.files import make_folder, read_limited, write_atomic
from fedseal.methods.choosing import training_methods
from fedseal.methods.contract import IndividualMethod, Method
from fedseal.simulation.errors import ExperimentUnsuitable
from fedseal.simulation.experiment import MAX_SEEDS, AttackChoice, Data, Measures, Partition, Protection
from fedseal.simulation.runs import EXPERIMENT, RESULTS, Runs
from fedseal.simulation.workers import Serial, Workers
from fedseal_crypto.errors import CryptoError
from fedseal_governance.documents import Document, fault, load_yaml
from fedseal_governance.errors import GovernanceError
from fedseal_governance.jobs import MAX_SEED, LearnerChoice
from fedseal_governance.vocabulary import Name, Settings

FAILURE, CELLS = "failure.json", "cells"
MAX_STUDY_BYTES = 1 << 18


class MethodRow(Document):
    """What one method needs that the others do not.

    Attributes:
        settings: its own, over those of the study.
        rounds: 0 for the study's.
        learner: instead of the study's.
        left_out: why the method does not take part; shown in the report.
        note: shown beside its name.
    """

    settings: Settings = Field(default_factory=dict)
    rounds: Annotated[int, Field(ge=0, le=10_000)] = 0
    learner: LearnerChoice | None = None
    left_out: str = ""
    note: str = ""


class Study(Document):
    """One study.

    Attributes:
        settings: of every method that has them.
        skews: how rows are dealt, by name.
        attacks: by name; ``null`` for nobody.
        others: whether installed training methods that are not listed take part.
    """

    study: Name
    version: Literal[1] = 1
    description: str = ""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, le=MAX_SEED)], ...], Field(min_length=1, max_length=MAX_SEEDS)]
    rounds: Annotated[int, Field(ge=1, le=10_000)]
    data: Data
    skews: Annotated[dict[Name, Partition], Field(min_length=1, max_length=20)]
    attacks: Annotated[dict[Name, AttackChoice | None], Field(min_length=1, max_length=20)]
    learner: LearnerChoice
    protection: Protection = Protection.ENCODED
    measures: Measures = Measures(every=5, own_rows=True)
    settings: Settings = Field(default_factory=dict)
    methods: dict[Name, MethodRow]
    others: bool = True

    @model_validator(mode="after")
    def _methods_are_installed(self) -> Self:
        known = {method.name for method in training_methods()}
        for name in self.methods:
            if name not in known:
                raise fault(f'no training method "{name}" is installed', "see `fedseal method list`", key="methods")
        if len(set(self.seeds)) != len(self.seeds):
            raise fault("a seed is listed twice", "keep one", key="seeds")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run of the study: its place in it and its experiment file."""

    method: str
    skew: str
    attack: str
    seed: int
    rounds: int
    folder: Path
    content: bytes

    @property
    def failure(self) -> str:
        """Why the last attempt failed; empty if it did not."""
        path = self.folder / FAILURE
        try:
            return str(json.loads(path.read_text())["reason"]) if path.exists() else ""
        except (ValueError, KeyError, TypeError):
            raise ExperimentUnsuitable(f"{path} is damaged; remove it, and the cell is run again.") from None

    @property
    def is_current(self) -> bool:
        """Whether what the folder holds is of this very experiment."""
        kept = self.folder / EXPERIMENT
        return kept.exists() and kept.read_bytes() == self.content

    @property
    def is_done(self) -> bool:
        """Whether its results are there."""
        return self.is_current and (self.folder / RESULTS).exists()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is told while a study runs; rounds are 0 when a cell failed."""

    cell: Cell
    rounds: int


def load_study(file: Path) -> Study:
    """Read a study file.

    Raises:
        DocumentError: Naming line, field, value and remedy of every fault.
        SetupError: The file cannot be read.
    """
    return load_yaml(read_limited(file, max_bytes=MAX_STUDY_BYTES, what="a study file"), file.name, Study)


class StudyRuns:
    """The cells of a study in one folder.

    Args:
        file: The study; its data's paths are relative to it.
        folder: Where results go; made if it is not there.
    """

    def __init__(self, file: Path, folder: Path) -> None:
        self.study, self.folder = load_study(file), folder
        make_folder(folder, private=False)
        self.methods = _taking_part(self.study)
        self.cells = tuple(self._cells(file.parent))

    def run(self, workers: Workers | None = None) -> Generator[Step, None, None]:
        """Run what is still to be run, one step a round; a failure is kept beside its cell and stops nothing else."""
        for cell in self.cells:
            if cell.is_done:
                continue
            try:
                for _ in _opened(cell).run(workers or Serial()):
                    yield Step(cell=cell, rounds=1)
            except (PlatformError, GovernanceError, CryptoError) as error:
                write_atomic(cell.folder / FAILURE, json.dumps({"reason": str(error)}).encode())
                yield Step(cell=cell, rounds=0)

    def rounds(self) -> tuple[int, int]:
        """Rounds of finished cells, and of all."""
        done = sum(cell.rounds for cell in self.cells if cell.is_done)
        return done, sum(cell.rounds for cell in self.cells)

    def _cells(self, base: Path) -> Iterator[Cell]:
        # seeds outermost: after the first, every method has been seen once under everything
        for seed in self.study.seeds:
            for skew in self.study.skews:
                for attack in self.study.attacks:
                    for name, method in self.methods.items():
                        yield self._cell(method, (name, skew, attack, seed), base)

    def _cell(self, method: type[Method], key: tuple[str, str, str, int], base: Path) -> Cell:
        name, skew, attack, seed = key
        folder = self.folder / CELLS / name / skew / attack / str(seed)
        study, row = self.study, self.study.methods.get(name, MethodRow())
        rounds = row.rounds or study.rounds
        known = method.settings_model.model_fields
        common = {setting: value for setting, value in study.settings.items() if setting in known}
        individual = hasattr(method, IndividualMethod.aggregate_each.__name__)
        data = study.data.model_dump(mode="json", exclude_defaults=True)
        if study.data.source == "files" or study.data.folder:
            # relative to the cell's own file, so that study and data may move together
            data["folder"] = os.path.relpath(base / study.data.folder, folder)
        content = {
            "experiment": f"{name[:40]}-{seed}",
            "seeds": [seed],
            "data": data,
            "partition": study.skews[skew].model_dump(mode="json", exclude_defaults=True),
            "method": {"name": name, "rounds": rounds, "settings": {**common, **row.settings}},
            "learner": (row.learner or study.learner).model_dump(mode="json"),
            "protection": Protection.NONE.value if individual else study.protection.value,
            "measures": study.measures.model_dump(mode="json"),
        }
        chosen = study.attacks[attack]
        if chosen is not None:
            content["attack"] = chosen.model_dump(mode="json", exclude_defaults=True)
        text = yaml.safe_dump(content, sort_keys=False).encode()
        return Cell(method=name, skew=skew, attack=attack, seed=seed, rounds=rounds, folder=folder, content=text)


def _taking_part(study: Study) -> Mapping[str, type[Method]]:
    """The methods by name: those that the file lists, then the others that are installed."""
    known = {method.name: method for method in training_methods()}
    names = [*study.methods, *(name for name in known if name not in study.methods and study.others)]
    return {name: known[name] for name in names if name not in study.methods or not study.methods[name].left_out}


def _opened(cell: Cell) -> Runs:
    """The cell's folder, without what another experiment left there."""
    if cell.folder.exists() and not cell.is_current:
        shutil.rmtree(cell.folder)
    make_folder(cell.folder, private=False)
    (cell.folder / FAILURE).unlink(missing_ok=True)
    file = cell.folder / EXPERIMENT
    write_atomic(file, cell.content)
    return Runs(file, cell.folder)
