"""The coordinator's clock is set back: nobody is believed by a wrong clock, no job is lost, and the log tells."""

from collections.abc import Callable

import grpc
import pytest

from fedseal.coordinator.service import AdministrationService
from fedseal.errors import ClockBehind
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.masking import Step
from tests.unit.coordinator.members import Play
from tests.unit.coordinator.test_services import Aborted, Call
from tests.unit.node.papers import JobFile
from tests.unit.node.parties import Consortium

Plays = Callable[..., Play]
THREE = JobFile(nodes=("basel", "cleveland", "hungary"))


def test_a_few_minutes_are_written_down_and_the_job_goes_on(plays: Plays, consortium: Consortium) -> None:
    play = plays(*THREE.nodes)
    job = play.submit(THREE.signed(consortium).envelope)
    for step in (Step.SHARE, Step.UNMASK):
        play.until(lambda step=step: play.step_of(job) is step)  # type: ignore[misc]  # bound per loop
        play.process.clock.forward(minutes=-2)
    assert play.run(job) == "finished"
    assert len(play.process.audit("log.clock_set_back")) >= 1
    play.process.assert_log_verifies()


def test_nobody_is_believed_by_a_clock_before_the_newest_list(plays: Plays, consortium: Consortium) -> None:
    """Otherwise a certificate that was revoked this morning would count again, for as long as the clock is wrong."""
    play = plays(*THREE.nodes)
    process = play.process
    people = AdministrationService(engine=process.engine, trust=process.trust, views=process.views)
    job = play.submit(THREE.signed(consortium).envelope)
    play.until(lambda: play.step_of(job) is Step.MASK)
    consortium.revoke("katherine", at=process.clock())
    process.engine.take_revocations(consortium.crl(at=process.clock()))

    process.clock.forward(hours=-2)
    for name in ("ada", "katherine"):
        with pytest.raises(Aborted, match="correct the clock") as caught:
            people.ListJobs(pb.ListRequest(), Call(consortium.parties[name].tls_pem))  # type: ignore[arg-type]
        assert caught.value.code is grpc.StatusCode.ABORTED, "the caller may try again"
    with pytest.raises(ClockBehind):
        process.submit(JobFile(name="other", nodes=THREE.nodes).signed(consortium).envelope)
    assert process.state(job) == "running"

    process.clock.forward(hours=2)
    assert play.run(job) == "finished"
    play.process.assert_log_verifies()


def test_a_job_loaded_by_a_wrong_clock_is_not_given_up(plays: Plays, consortium: Consortium) -> None:
    play = plays(*THREE.nodes)
    job = play.submit(THREE.signed(consortium).envelope)
    play.until(lambda: play.step_of(job) is Step.MASK)
    play.process.clock.forward(hours=-2)
    play.process.engine._desks.clear()
    play.process.engine._load_active()
    assert play.process.state(job) == "running"
    play.process.clock.forward(hours=2)
    assert play.run(job) == "finished"
    play.process.assert_log_verifies()
