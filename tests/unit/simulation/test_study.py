"""Studies of many methods: what is run, what is run again, and what the report says of it."""

import re
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from fedseal.methods.choosing import training_methods
from fedseal.simulation.study import StudyRuns
from fedseal.simulation.study_report import lines_of, write_report
from fedseal_cli.app import app
from fedseal_governance.errors import DocumentError

HEART = Path(__file__).parents[3] / "examples" / "heart-disease"
STUDY = """\
study: small
seeds: [1]
rounds: 1
data:
  source: files
  folder: FOLDER
  schema_file: schema.yaml
  files: {cleveland: cleveland.csv, hungary: hungary.csv}
  features: [age, sex, chol]
skews: {alike: {kind: iid, nodes: 4}}
attacks: {nobody: null, flips: {name: label-flip, nodes: 1}}
learner: {name: logistic-regression, settings: {learning_rate: 0.1}}
measures: {every: 1, own_rows: true}
settings: {local_epochs: 1}
methods:
  fedavg: {}
  fedavg-topk: {settings: {top: 2}}
  ditto: {left_out: Two models a node.}
others: false
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY.replace("FOLDER", str(HEART)))
    return path


def test_a_study_runs_every_cell_and_reports_it(file: Path, tmp_path: Path) -> None:
    runs = StudyRuns(file, tmp_path / "out")
    assert [(cell.method, cell.attack) for cell in runs.cells] == [
        ("fedavg", "nobody"), ("fedavg-topk", "nobody"), ("fedavg", "flips"), ("fedavg-topk", "flips"),
    ]  # fmt: skip
    assert sum(step.rounds for step in runs.run()) == 4
    page, table = write_report(runs)
    frame = pd.read_csv(table).set_index(["method", "attack"])
    assert frame["accuracy"].between(0, 1).all()
    assert (frame["own_accuracy_worst"] <= frame["own_accuracy_mean"]).all()
    assert (frame[["calibration_error", "cpu", "kilobytes"]] > 0).all(axis=None)
    assert frame.loc[("fedavg-topk", "nobody"), "disclosure"] == "individual"
    assert frame.loc[("fedavg", "nobody"), "disclosure"] == "sum"
    text = page.read_text()
    assert "Two models a node." in text
    assert text.count("<svg") == 5
    assert not re.search(r'(src|href)="(?!#)', text), "the page loads nothing from elsewhere"


def test_an_interrupted_study_goes_on_and_a_changed_method_alone_is_run_again(file: Path, tmp_path: Path) -> None:
    interrupted = StudyRuns(file, tmp_path / "out").run()
    next(interrupted)
    next(interrupted)
    interrupted.close()
    again = StudyRuns(file, tmp_path / "out")
    done = {cell.folder: (cell.folder / "results.csv").stat().st_mtime_ns for cell in again.cells if cell.is_done}
    assert len(done) == 1, "the second cell was left in the middle"
    assert {step.cell.folder for step in again.run()} <= {cell.folder for cell in again.cells} - set(done)
    assert all(cell.is_done for cell in again.cells)
    assert list(StudyRuns(file, tmp_path / "out").run()) == []

    file.write_text(file.read_text().replace("{top: 2}", "{top: 3}"))
    changed = StudyRuns(file, tmp_path / "out")
    assert {step.cell.method for step in changed.run()} == {"fedavg-topk"}
    assert all((folder / "results.csv").stat().st_mtime_ns == time for folder, time in done.items())


def test_a_failed_cell_is_shown_with_its_reason_and_tried_again(file: Path, tmp_path: Path) -> None:
    good = file.read_text()
    file.write_text(good.replace("fedavg: {}", "fedavg: {settings: {nonsense: 1}}"))
    result = CliRunner().invoke(app, ["simulate", "study", str(file), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "2 of 4 runs done" in result.output
    runs = StudyRuns(file, tmp_path / "out")
    failed = [line for line in lines_of(runs) if line.failures]
    assert {line.method for line in failed} == {"fedavg"}
    assert "nonsense" in failed[0].failures[0]
    assert "nonsense" in (tmp_path / "out" / "report.html").read_text()
    file.write_text(good)
    assert {step.cell.method for step in StudyRuns(file, tmp_path / "out").run()} == {"fedavg"}


def test_installed_methods_take_part_unless_left_out(file: Path, tmp_path: Path) -> None:
    file.write_text(file.read_text().replace("others: false", "others: true"))
    runs = StudyRuns(file, tmp_path / "out")
    assert set(runs.methods) == {method.name for method in training_methods()} - {"ditto"}
    assert "not run yet" in write_report(runs)[0].read_text()


def test_a_method_that_is_not_installed_is_named(file: Path, tmp_path: Path) -> None:
    file.write_text(file.read_text().replace("ditto:", "dito:"))
    with pytest.raises(DocumentError, match="dito"):
        StudyRuns(file, tmp_path / "out")


@pytest.mark.parametrize(
    "name", ["fashion-mnist/study.yaml", "fashion-mnist/study-short.yaml", "heart-disease/study.yaml"]
)
def test_the_studies_of_the_examples_can_be_read(name: str, tmp_path: Path) -> None:
    assert StudyRuns(HEART.parent / name, tmp_path).cells
