"""A job's submission, killed before each SQL statement: it is stored with its log entry, or not at all."""

from fedseal.coordinator.ledger import Ledger
from fedseal_governance.database import Database
from tests.unit.coordinator.members import Play
from tests.unit.killing import assert_all_or_nothing
from tests.unit.node.papers import JobFile
from tests.unit.node.parties import Consortium


def test_a_submission(play: Play, consortium: Consortium) -> None:
    process = play.process
    envelope = JobFile().signed(consortium).envelope
    person = consortium.parties["ada"].member
    now = process.clock()
    submission = process.engine._admission.admit(envelope, person, process.attendance.all(), now=now)
    process.database.close()

    def work(database: Database) -> None:
        ledger = Ledger(
            database,
            member=process.ledger.member,
            key=process.folder.identity_key(),
            certificate=process.ledger.certificate,
            folder=process.folder.path / "artefacts",
            trust=process.trust,
        )
        ledger.submit(submission, now=now)

    assert assert_all_or_nothing(process.folder.database_path, work, origin=process.ledger.log.origin) >= 6
    process.restart()
    assert process.state(str(submission.digest)) == "offered"
