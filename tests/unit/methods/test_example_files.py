"""The example's files agree with each other and with the scripts that made them."""

import csv
import importlib.util
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest

from fedseal.learning import LocalData, job_data
from fedseal.methods import programme, programme_statement
from fedseal_governance.jobs import JobDocument, load_job
from fedseal_governance.policy import NodeFacts, decide, load_policy

EXAMPLE = Path(__file__).parents[3] / "examples" / "heart-disease"
NOW = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def consent_maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_consents", EXAMPLE / "make_consents.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def csv_rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_the_consents_are_what_the_script_makes(consent_maker: ModuleType, tmp_path: Path) -> None:
    consent_maker.write(tmp_path)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_bytes() for path in (EXAMPLE / "consents").iterdir()}
    assert made == kept


def test_every_consent_says_that_it_is_generated_and_belongs_to_a_patient(
    hospitals: dict[str, LocalData],
) -> None:
    for name, data in hospitals.items():
        rows = csv_rows(EXAMPLE / "consents" / f"{name}.csv")
        assert {row["form_version"] for row in rows} == {"generated-for-demo-1"}
        patients = [row["pseudonym"] for row in rows]
        assert len(set(patients)) == len(patients) < data.row_count
        assert set(patients) <= set(data.record_ids)


def test_each_hospital_has_withdrawals_and_enough_patients_left(
    hospitals: dict[str, LocalData], heart_job: JobDocument
) -> None:
    withdrawn = csv_rows(EXAMPLE / "consents" / "withdrawn.csv")
    for name, data in hospitals.items():
        gone = {row["pseudonym"] for row in withdrawn if row["hospital"] == name}
        usable = {
            row["pseudonym"]
            for row in csv_rows(EXAMPLE / "consents" / f"{name}.csv")
            if row["purpose"] != "DUO:0000011" and row["valid_until"] > NOW.date().isoformat()
        }
        assert gone < usable
        assert gone
        policy = load_policy((EXAMPLE / f"policy-{name}.yaml").read_bytes(), f"policy-{name}.yaml")
        assert job_data(data, heart_job, usable - gone).record_count > policy.consent.minimum_records


@pytest.mark.parametrize(("filename", "refused"), [("job.yaml", ()), ("job-forbidden.yaml", ("purposes",))])
def test_every_hospital_allows_the_one_job_and_refuses_the_other(filename: str, refused: tuple[str, ...]) -> None:
    job = load_job((EXAMPLE / filename).read_bytes(), filename)
    facts = NodeFacts(
        now=NOW,
        datasets=frozenset({"heart-disease"}),
        usable_records=100,
        method_discloses=programme_statement(programme(job)).level,
    )
    for name in job.nodes:
        policy = load_policy((EXAMPLE / f"policy-{name}.yaml").read_bytes(), f"policy-{name}.yaml")
        assert tuple(reason.clause for reason in decide(job, policy, facts).refusals) == refused
