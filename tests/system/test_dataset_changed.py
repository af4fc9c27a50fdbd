"""The data file of a node no longer has the columns that were registered: the node refuses and says which, at home."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from fedseal.local import open_party
from tests.system import evidence, founding
from tests.system.actors import Trap
from tests.system.federation import Federation, SmallJob
from tests.system.founding import EXAMPLES, NODES
from tests.system.processes import context

pytestmark = pytest.mark.system

NODE = "hungary"
OTHERS = ["cleveland", "switzerland", "va-long-beach"]


@pytest.fixture
def data(idle: Federation, tmp_path: Path) -> Path:
    """The node's data file, registered where the test may change it."""
    path = tmp_path / "hungary.csv"
    shutil.copy(EXAMPLES / "hungary.csv", path)
    with open_party(idle.folder / NODE) as party:
        founding.register_dataset(party, path)
    return path


def drop_column(path: Path) -> None:
    pd.read_csv(path, dtype=str, keep_default_na=False).drop(columns="chol").to_csv(path, index=False)


def assert_says_which_column_at_home_only(federation: Federation, seen_by_others: str) -> None:
    line = federation.nodes[NODE].wait_for_line("dataset changed since it was registered")
    assert "chol" in line
    for private in ("chol", "hungary.csv", "293", "294"):
        assert private not in seen_by_others
    assert federation.nodes[NODE].running


def test_node_refuses_a_job_on_changed_columns(idle: Federation, data: Path, tmp_path: Path) -> None:
    drop_column(data)
    idle.start()
    detail = idle.run(SmallJob(rounds=1))
    evidence.assert_finished(idle, detail.summary.job, tmp_path)
    refusal = next(answer for answer in detail.answers if answer.node == NODE)
    assert refusal.answer == "refused"
    refused = [reason for reason in refusal.reasons if not reason.allowed]
    assert "datasets" in {reason.clause for reason in refused}
    assert_says_which_column_at_home_only(idle, " ".join(reason.sentence for reason in refused))
    assert all(sorted(item.survivors) == OTHERS for item in detail.rounds)


def test_columns_change_while_the_job_runs(idle: Federation, data: Path, tmp_path: Path) -> None:
    """The node is out from the next round on; the others finish."""
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
    job = idle.submit(SmallJob(rounds=1))
    assert hold.reached is not None
    assert hold.released is not None
    assert hold.reached.wait(30)
    drop_column(data)
    hold.released.set()

    detail = idle.wait_ended(job)
    evidence.assert_finished(idle, job, tmp_path)
    survivors = {item.address.stage: sorted(item.survivors) for item in detail.rounds}
    assert survivors == {"statistics": sorted(NODES), "training": sorted(NODES), "evaluation": OTHERS}
    with open_party(idle.folder / "coordinator") as party:
        told = [
            str(entry.details["sentence"])
            for entry in party.read(lambda session: tuple(evidence.log_entries(session, party)))
            if entry.type == "round.declined"
        ]
    assert len(told) == 1
    assert_says_which_column_at_home_only(idle, told[0])
