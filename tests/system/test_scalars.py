"""A job whose method judges single nodes, with real processes; the custodian is killed around the opening."""

from pathlib import Path
from typing import Literal

import pytest

from fedseal.local import open_party
from fedseal.wire.status import CallRefused
from fedseal_governance.audit import Entry
from tests.system import evidence
from tests.system.actors import Trap
from tests.system.federation import Federation, SmallJob
from tests.system.founding import CUSTODIAN, NODES, approve_policy, policy_for
from tests.system.test_custodian import wait_destroyed

pytestmark = pytest.mark.system

JOB = SmallJob(rounds=2, protection="homomorphic", method="screening", disclosure="SCALARS")


def entries(federation: Federation, party: str, kind: str) -> list[Entry]:
    with open_party(federation.folder / party) as opened:
        return opened.read(
            lambda session: [item for item in evidence.log_entries(session, opened) if item.type == kind]
        )


def allow_screening(federation: Federation, *, level: str = "SCALARS") -> None:
    for name in (*NODES, CUSTODIAN):
        with open_party(federation.folder / name) as party:
            own = "custodian" if name == CUSTODIAN else name
            changes = {"version: 1": "version: 2"}
            scalars = {"coordinator_may_learn: SUM": "coordinator_may_learn: SCALARS"} if level == "SCALARS" else {}
            approve_policy(party, policy_for(own, {**changes, **scalars}), federation.folder)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_numbers_are_opened_once_a_round_and_each_node_compares_them(
    idle: Federation, tmp_path: Path, moment: Literal["before", "after"]
) -> None:
    allow_screening(idle)
    idle.start()
    killed = idle.start_custodian(trap=Trap(owner="custodian", call=r"^note_scalars", moment=moment))
    job = idle.submit(JOB)
    assert killed.wait() == -9
    idle.start_custodian()
    idle.wait_ended(job)
    detail = idle.detail(job)
    assert detail.summary.state == "finished", detail.summary.reason
    wait_destroyed(idle, job)
    evidence.assert_sound(idle, job, tmp_path)
    first, second = entries(idle, CUSTODIAN, "scalars.opened")
    assert (first.details["names"], first.details["numbers"]) == (["squared_norm"], len(NODES))
    assert (second.details["names"], second.details["numbers"]) == (["direction", "squared_norm"], 2 * len(NODES))
    for node in NODES:
        compared = entries(idle, node, "scalars.compared")
        signed = [entry.details["statements"] for entry in entries(idle, "coordinator", "scalars.opened")]
        assert [entry.details["statement"] for entry in compared] == [item[node] for item in signed]  # type: ignore[index]
        assert entries(idle, node, "scalars.wrong") == []
    assert not list((idle.folder / CUSTODIAN / "vault").iterdir())


def test_a_policy_that_allows_sums_only_refuses(idle: Federation) -> None:
    allow_screening(idle, level="SUM")
    idle.start()
    with pytest.raises(CallRefused, match="coordinator_may_learn"):
        idle.submit(JOB)
