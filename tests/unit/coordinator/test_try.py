from tests.unit.coordinator.members import Play
from tests.unit.node.papers import JobFile
def test_it(play: Play, consortium) -> None:
    job = play.submit(JobFile().signed(consortium).envelope)
    assert play.run(job) == "finished"
    print(play.operations, play.refusals)
    for e in play.process.audit(): print(e.type, e.details)
    print(play.process.artefacts(job).keys())
    play.process.assert_log_verifies()
def test_training(play: Play, consortium) -> None:
    job = play.submit(JobFile(training_rounds=2).signed(consortium).envelope)
    assert play.run(job) == "finished"
    print(play.operations, play.refusals)
    print(play.process.artefacts(job).keys())
