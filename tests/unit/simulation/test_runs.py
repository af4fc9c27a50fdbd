"""The folder of an experiment: interrupted anywhere, it ends with the same bytes; bad files are named."""

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from fedseal.errors import SetupError
from fedseal.files import write_atomic
from fedseal.simulation import runs as runs_module
from fedseal.simulation.errors import ExperimentUnsuitable
from fedseal.simulation.runs import Runs
from fedseal.simulation.workers import Serial
from fedseal_cli.app import app
from fedseal_governance.errors import DocumentError
from tests.unit.simulation.conftest import text

SCAFFOLD = "{name: scaffold, rounds: 4, settings: {local_epochs: 1}}"
ROUGH = "{participation: 0.8, dropouts: 0.25}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(text(method=SCAFFOLD, circumstances=ROUGH))
    return path


def finish(file: Path, folder: Path) -> bytes:
    list(Runs(file, folder).run(Serial()))
    return (folder / "results.csv").read_bytes()


@pytest.fixture
def whole(file: Path, tmp_path: Path) -> bytes:
    return finish(file, tmp_path / "whole")


@pytest.mark.parametrize("kept_every", [1, 3])  # rounds between saved states
def test_interrupted_at_any_round_it_ends_the_same(
    file: Path, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_every: int
) -> None:
    monkeypatch.setattr(runs_module, "KEPT_EVERY", kept_every)
    for stop in (1, 3, 4, 6):
        folder = tmp_path / f"stopped-{stop}"
        steps = Runs(file, folder).run(Serial())
        for _ in range(stop):
            next(steps)
        steps.close()
        assert not (folder / "results.csv").exists()
        assert finish(file, folder) == whole, f"stopped after {stop} rounds"


def test_interrupted_between_two_files_it_ends_the_same(
    file: Path, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash right before each single replacement of a file."""
    monkeypatch.setattr(runs_module, "KEPT_EVERY", 1)
    real = write_atomic
    for stop in (2, 4, 6, 9, 19):
        folder, left = tmp_path / f"crash-{stop}", [stop]

        def fails(path: Path, data: bytes, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
            real(path, data)

        monkeypatch.setattr(runs_module, "write_atomic", fails)
        with pytest.raises(KeyboardInterrupt):
            finish(file, folder)
        monkeypatch.setattr(runs_module, "write_atomic", real)
        assert finish(file, folder) == whole, f"crashed at write {stop}"


def test_a_finished_experiment_is_not_run_again(file: Path, whole: bytes, tmp_path: Path) -> None:
    again = Runs(file, tmp_path / "whole")
    assert again.done() == 8
    assert list(again.run(Serial())) == []
    assert (tmp_path / "whole" / "results.csv").read_bytes() == whole


def test_results_say_seed_round_and_figures(whole: bytes, tmp_path: Path) -> None:
    frame = pd.read_csv(tmp_path / "whole" / "results.csv")
    assert list(frame["seed"]) == [1] * 4 + [2] * 4
    assert list(frame["round"]) == [1, 2, 3, 4] * 2
    assert frame["accuracy"].notna().sum() == 4, "every second round is evaluated"
    timings = pd.read_csv(tmp_path / "whole" / "timings.csv")
    assert (timings["training_seconds"] > 0).all()


def test_parquet_holds_the_same_table(file: Path, whole: bytes, tmp_path: Path) -> None:
    path = Runs(file, tmp_path / "whole").write_parquet()
    pd.testing.assert_frame_equal(pd.read_parquet(path), pd.read_csv(tmp_path / "whole" / "results.csv"))


@pytest.mark.parametrize("name", ["state.json", "rounds.jsonl", "4.state.safetensors"])
def test_damaged_files_are_named(file: Path, whole: bytes, tmp_path: Path, name: str) -> None:
    path = tmp_path / "whole" / "seed-1" / name
    path.write_bytes(b"{")
    if name == "4.state.safetensors":  # only read when there is something left to do
        runs = Runs(file, tmp_path / "whole")
        with pytest.raises(ExperimentUnsuitable, match=r"damaged; remove .*seed-1"):
            runs.state(1)
        return
    with pytest.raises(ExperimentUnsuitable, match=r"damaged; remove .*seed-1"):
        finish(file, tmp_path / "whole")


def test_lost_figures_are_noticed(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_module, "KEPT_EVERY", 1)
    folder = tmp_path / "lost"
    steps = Runs(file, folder).run(Serial())
    next(steps), next(steps)
    steps.close()
    (folder / "seed-1" / "rounds.jsonl").unlink()
    with pytest.raises(ExperimentUnsuitable, match="damaged"):
        finish(file, folder)


def test_another_experiment_does_not_mix_in(file: Path, whole: bytes, tmp_path: Path) -> None:
    file.write_text(file.read_text() + "description: changed\n")
    with pytest.raises(ExperimentUnsuitable, match="choose another folder with --out"):
        Runs(file, tmp_path / "whole")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"seeds": "[1, 1]"}, "listed twice"),
        ({"partition": "{kind: iid}"}, "how many nodes"),
        ({"partition": "{kind: natural, nodes: 3}"}, "remove `nodes`"),
        ({"partition": "{kind: natural, rows_per_node: 3}"}, "rows_per_node"),
        ({"data": "{source: files}"}, "schema_file"),
        ({"data": "{source: fashion-mnist, features: [image]}"}, "remove it"),
        ({"protection": "mask"}, "masking"),
        ({"circumstances": "{dropout: 0.1}"}, "dropouts"),
        ({"seeds": "[]"}, "`seeds` is empty; write at least 1"),
        ({"partition": "{kind: iid, nodes: 3, alpha: 0.1}"}, "`alpha` is only read with `kind: dirichlet`"),
        ({"partition": "{kind: dirichlet, nodes: 3, classes_per_node: 1}"}, "only read with `kind: classes`"),
        ({"data": "{source: fashion-mnist, test_share: 0.2}"}, "`test_share` is only read"),
        ({"attack": "{name: lie, nodes: 1, from_round: 2, until_round: 2}"}, "`until_round`"),
        ({"attack": "{name: lie, nodes: 1, from_round: 4}"}, "lower `from_round`"),
    ],
)
def test_faults_of_the_file_are_named(tmp_path: Path, changes: dict[str, str], word: str) -> None:
    path = tmp_path / "faulty.yaml"
    lines = text(**changes)
    if "data" in changes:
        lines = "\n".join(line for line in lines.splitlines() if not line.startswith("  "))
    path.write_text(lines)
    with pytest.raises(DocumentError, match=word):
        Runs(path, tmp_path / "out")
    assert not (tmp_path / "out").exists(), "nothing is half-written"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learner": "{name: tabular-mpl}"}, "did you mean"),
        ({"learner": "{name: tabular-mlp, settings: {learning_rate: .nan}}"}, '"learning_rate" is .nan: '),
        ({"method": "{name: pfedhr, rounds: 2}"}, '"public_rows" is missing; add it'),
        ({"method": "{name: statistics, rounds: 2}"}, "trains nothing"),
        ({"method": "{name: evaluation, rounds: 2}"}, "trains nothing"),
        ({"attack": "{name: label-flip, nodes: 1, settings: {target: 1}}"}, '"label-flip": write source and target'),
        ({"attack": "{name: lie, nodes: 5}"}, "attack.nodes"),
        ({"partition": "{kind: dirichlet, nodes: 300, alpha: 0.001}"}, "lower one of them"),
    ],
)
def test_what_cannot_run_is_refused_with_its_file_and_leaves_nothing(
    tmp_path: Path, changes: dict[str, str], words: str
) -> None:
    path = tmp_path / "faulty.yaml"
    path.write_text(text(**changes))
    with pytest.raises(ExperimentUnsuitable) as refused:
        list(Runs(path, tmp_path / "out").run(Serial()))
    assert str(refused.value).startswith("faulty.yaml: ")
    assert words in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_file_may_be_corrected_until_a_state_is_saved(file: Path, whole: bytes, tmp_path: Path) -> None:
    wrong = file.with_name("wrong.yaml")
    wrong.write_text(text())
    steps = Runs(wrong, tmp_path / "out").run(Serial())
    next(steps)  # the first round is done, and nothing saved to go on from
    steps.close()
    assert finish(file, tmp_path / "out") == whole
    assert (tmp_path / "out" / "experiment.yaml").read_bytes() == file.read_bytes()


def test_a_folder_below_a_file_is_refused_before_anything_runs(file: Path) -> None:
    with pytest.raises(SetupError, match=r"small\.yaml is a file, and a folder is needed there"):
        Runs(file, file / "out")


def test_commands_run_go_on_and_compare(file: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    other = file.with_name("other.yaml")
    other.write_text(text())
    for path in (file, other):
        done = runner.invoke(app, ["simulate", str(path), "--json"])
        assert done.exit_code == 0, done.output
        told = json.loads(done.stdout)
        assert told["seeds"] == [1, 2]
        assert {"results.csv", "timings.csv", "results.png"} == set(told["files"])
        picture = path.with_suffix("") / "results.png"
        assert picture.read_bytes().startswith(b"\x89PNG")
    plot = tmp_path / "both.svg"
    arguments = ["simulate", "compare", str(tmp_path / "small"), str(tmp_path / "other"), "--plot", str(plot)]
    done = runner.invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "95% interval" in done.stdout
    assert plot.read_text().lstrip().startswith("<?xml")
    absent = runner.invoke(app, ["simulate", "compare", str(tmp_path / "small"), str(tmp_path)])
    assert absent.exit_code == 2
    assert "written when all seeds have run" in absent.stderr
