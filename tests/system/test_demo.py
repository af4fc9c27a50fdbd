"""The demonstration as a newcomer runs it: one command, real processes, and what it promises in summary.json."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]


def run_demo(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fedseal_cli.main", "demo", "--folder", str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def test_four_hospitals_train_one_model(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = run_demo(folder, "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    printed = json.loads(done.stdout)
    summary = json.loads((folder / "summary.json").read_text())
    assert printed == summary

    assert summary["rounds"] == 22
    assert summary["dropout_recovered"] is True
    assert summary["refused_clause"] == "purposes"
    assert summary["withdrawn_patient_excluded"] is True
    assert summary["audit"]["verified"] is True
    assert summary["audit"]["tampered_entry_found"] is True
    auc = summary["auc"]
    assert auc["federated"] > auc["pooled"] - 0.01
    assert auc["federated"] > auc["alone_mean"] + 0.05
    for key in ("model", "job_record", "report"):
        assert Path(summary[key]).stat().st_size > 1000
    assert 10_000 < summary["bytes_up_per_node"] < 1_000_000
    assert "Traceback" not in done.stderr

    logs = "".join(path.read_text() for path in (folder / "logs").glob("*.log"))
    assert "Traceback" not in logs
    passphrase = (folder / "passphrase.txt").read_text()
    assert passphrase not in logs

    again = run_demo(folder)
    assert again.returncode != 0
    assert "--force" in again.stderr
    assert (folder / "summary.json").exists(), "an earlier demonstration is not harmed"


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("ten years of work")
    done = run_demo(tmp_path, "--force")
    assert done.returncode != 0
    assert "not an earlier demonstration" in done.stderr
    assert (tmp_path / "thesis.txt").read_text() == "ten years of work"
