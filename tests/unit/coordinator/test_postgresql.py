"""A coordinator on either database: a job with a restart in each step, and texts that a database may not take."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, text

from fedseal.coordinator.intake import RoundRefused, VerdictReported
from fedseal.rounds import MOST, RoundAddress
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.digests import Digest
from fedseal_crypto.masking import Step
from fedseal_governance.database import Database
from tests.unit.coordinator.members import Play
from tests.unit.node.papers import JobFile
from tests.unit.node.parties import NODES, Consortium

Plays = Callable[..., Play]


@pytest.fixture
def elsewhere(plays: Plays, database_url: str) -> Play:
    """A coordinator whose database is not the one in its folder."""
    return plays(database_url=database_url)


def test_a_job_with_a_restart_in_each_step(elsewhere: Play, consortium: Consortium) -> None:
    play = elsewhere
    job = play.submit(JobFile().signed(consortium).envelope)
    for step in (Step.ADVERTISE, Step.SHARE, Step.MASK, Step.CONFIRM, Step.UNMASK):
        play.until(lambda step=step: play.step_of(job) is step)  # type: ignore[misc]  # bound per loop
        play.restart()
    assert play.run(job) == "finished"
    [only] = play.process.detail(job).rounds
    assert (only.state, list(only.survivors)) == ("completed", list(NODES))
    play.process.assert_log_verifies()


def test_whatever_nodes_write_is_stored(elsewhere: Play, consortium: Consortium) -> None:
    play = elsewhere
    job = play.submit(JobFile().signed(consortium).envelope)
    reason = pb.Reason(clause="a\x00b", sentence="\x00" * 50, allowed=False)
    verdict = pb.JobVerdict(job=job, accepted=False, reasons=[reason])
    play.process.engine.call(VerdictReported(node="zurich", verdict=verdict))
    play.until(lambda: play.step_of(job) is Step.ADVERTISE)
    play.process.engine.call(
        RoundRefused(
            node="hungary",
            session=play.members["hungary"].session,
            address=RoundAddress(Digest(job), "statistics", 0, 0),
            code="\x00",
            sentence="no\x00\ud7ff",
        )
    )
    assert play.run(job) in ("finished", "failed")
    play.process.assert_log_verifies()


def test_an_address_at_the_end_of_all_numbers(elsewhere: Play, consortium: Consortium) -> None:
    play = elsewhere
    job = play.submit(JobFile().signed(consortium).envelope)
    play.until(lambda: play.step_of(job) is Step.ADVERTISE)
    for address in (
        RoundAddress(Digest(job), "statistics", MOST, 0),
        RoundAddress(Digest(job), "statistics", 0, MOST),
        RoundAddress(Digest(job), "s" * 64, 0, 0),
    ):
        refusal = RoundRefused(node="zurich", session=b"", address=address, code="x", sentence="y")
        with pytest.raises(Exception, match="is not under way"):
            play.process.engine.call(refusal)
    assert play.run(job) == "finished"


@pytest.mark.postgresql
def test_connections_cut_in_the_middle_of_transactions(
    plays: Plays, postgresql_url: str, consortium: Consortium
) -> None:
    """As in a failover: the server ends the connection between two statements, again and again, through a whole job."""
    play = plays(database_url=postgresql_url)
    engine = play.process.database.engine
    surgeon = Database(postgresql_url)
    statements = 0
    cut: list[str] = []

    def end_the_connection(connection: Any, _cursor: object, statement: str, *_rest: object) -> None:
        nonlocal statements
        statements += 1
        # A prime, so that the cuts wander through the transactions of different lengths.
        if statements % 29 == 0:
            pid = connection.connection.dbapi_connection._backend_key_data[:4]
            cut.append(statement)
            with surgeon.engine.connect() as other:
                other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": int.from_bytes(pid, "big")})

    event.listen(engine, "before_cursor_execute", end_the_connection)
    try:
        job = play.submit(JobFile().signed(consortium).envelope)
        assert play.run(job) == "finished"
    finally:
        event.remove(engine, "before_cursor_execute", end_the_connection)
        surgeon.close()
    assert len(cut) > 8
    assert any(statement.startswith("INSERT") for statement in cut)
    [only] = play.process.detail(job).rounds
    assert (only.state, list(only.survivors)) == ("completed", list(NODES))
    play.process.assert_log_verifies()
