"""A patient withdraws in the middle of a job: left out from the next round on, and told what was before."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedseal.local import open_party
from fedseal.trust import utc_now
from fedseal_cli.app import app
from fedseal_governance.consent import in_force
from tests.system import evidence
from tests.system.actors import Trap
from tests.system.federation import Federation, SmallJob
from tests.system.founding import DATASET, NODES
from tests.system.processes import context

pytestmark = pytest.mark.system

NODE = "hungary"
PURPOSE = "DUO:0000006"


def consent(folder: Path, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["consent", *arguments, "--dataset", DATASET, "--node", str(folder)])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_patient_withdraws_while_a_job_runs(idle: Federation, tmp_path: Path) -> None:
    hold = Trap(
        owner="connection",
        call=r"^report\|.*training round 1\|Unmasking",
        moment="before",
        action="hold",
        reached=context().Event(),
        released=context().Event(),
    )
    idle.start_coordinator()
    for node in NODES:
        idle.start_node(node, trap=hold if node == "cleveland" else None)
    idle.wait_present(*NODES)
    folder = idle.folder / NODE
    with open_party(folder) as party:
        patient = min(party.read(lambda session: in_force(session, dataset=DATASET, purpose=PURPOSE, now=utc_now())))
    job = idle.submit(SmallJob(rounds=2))
    assert hold.reached is not None
    assert hold.released is not None
    assert hold.reached.wait(30)
    consent(folder, "withdraw", patient)
    hold.released.set()

    detail = idle.wait_ended(job)
    evidence.assert_finished(idle, job, tmp_path)
    assert all(sorted(item.survivors) == sorted(NODES) for item in detail.rounds)
    found = json.loads(consent(folder, "impact", patient, "--json"))
    assert {use["stage"]: use["rounds"] for use in found["uses"]} == {"statistics": [1], "training": [1]}
    assert all(use["job"] == job and use["rounds_not_opened"] == [] for use in found["uses"])
    model = next(item.digest for item in detail.artefacts if item.kind == "model")
    assert {use["model"] for use in found["uses"]} == {model}
    assert found["withdrawn_at"] is not None
    assert "not unlearning" in found["meaning"]
    with open_party(folder) as party:
        written = json.dumps(
            [entry.details for entry in party.read(lambda session: tuple(evidence.log_entries(session, party)))],
            default=str,
        )
    assert patient not in written
    proof = json.loads(consent(folder, "prove", patient, "--job", job, "--stage", "training", "--round", "1", "--json"))
    assert f'"snapshot": "{proof["snapshot"]}"' in written
