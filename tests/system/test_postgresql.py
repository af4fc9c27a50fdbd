"""The same with PostgreSQL: a coordinator and a node on a server, the coordinator killed on the way."""

import json
from pathlib import Path

import pytest

from fedseal_governance.database import Database
from fedseal_migrations import upgrade
from tests.system import evidence
from tests.system.actors import Trap
from tests.system.federation import Federation, SmallJob
from tests.system.founding import NODES, prepare_node

pytestmark = [pytest.mark.system, pytest.mark.postgresql]

NODE = "hungary"


@pytest.fixture
def second_postgresql_url(postgresql_url: str, request: pytest.FixtureRequest) -> str:
    """Another fresh database on the same server."""
    database = Database(postgresql_url)
    try:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("CREATE DATABASE fedseal_second")
    finally:
        database.close()
    name = postgresql_url.partition("?")[0].rpartition("/")[2]
    second = postgresql_url.replace(f"/{name}?", "/fedseal_second?")

    def drop() -> None:
        again = Database(postgresql_url)
        with again.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("DROP DATABASE fedseal_second WITH (FORCE)")
        again.close()

    request.addfinalizer(drop)  # noqa: PT021 - needs to run before the first database is dropped
    return second


def test_coordinator_and_node_on_postgresql(
    idle: Federation, postgresql_url: str, second_postgresql_url: str, tmp_path: Path
) -> None:
    for url in (postgresql_url, second_postgresql_url):
        database = Database(url)
        upgrade(database.engine)
        database.close()
    idle.configure_coordinator(database=json.dumps(postgresql_url))
    (idle.folder / NODE / "node.yaml").write_text(f"database: {json.dumps(second_postgresql_url)}\n")
    prepare_node(idle.folder, NODE)

    idle.start_coordinator(trap=Trap(owner="coordinator", call=r"^message\|.*training round 1\|mask", moment="after"))
    for node in NODES:
        idle.start_node(node)
    idle.wait_present(*NODES)
    job = idle.submit(SmallJob(rounds=1))
    assert idle.require_coordinator().wait() == -9
    idle.start_coordinator()
    idle.wait_ended(job)
    evidence.assert_finished(idle, job, tmp_path)
    assert all(item.address.attempt == 0 for item in idle.detail(job).rounds)
