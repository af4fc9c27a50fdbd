"""A node watches the coordinator's log: what only grew is cosigned, and everything else raises the alarm.

The log is a real one in a database of its own, so that checkpoints and proofs are what a coordinator would serve; the
lies are told with the coordinator's own key.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.identity import IdentityKey, PartyKind
from fedseal_crypto.notes import NoteKind, NoteVerifier, log_origin, open_note
from fedseal_governance.audit import AuditLog, CheckpointWrong, ForkDetected, LogLink, RolledBack
from fedseal_governance.database import Database
from fedseal_migrations import upgrade
from tests.unit.node.attempts import Coordinator
from tests.unit.node.parties import COORDINATOR, FEDERATION, NOW, Consortium
from tests.unit.node.site import Site, open_quickly

ORIGIN = log_origin(FEDERATION, COORDINATOR)  # type: ignore[arg-type]  # both are well-formed names


class CoordinatorLog:
    """A coordinator's log that can be rewritten."""

    def __init__(self, url: str, key: IdentityKey) -> None:
        self.database: Database = open_quickly(url)
        upgrade(self.database.engine)
        self.log = AuditLog(ORIGIN, key)

    def note(self, *subjects: str) -> None:
        for subject in subjects:
            self.database.run(
                "test",
                lambda session, subject=subject: self.log.append(  # type: ignore[misc]  # bound per loop
                    session, time=NOW, type="job.submitted", actor="person/ada", subject=subject, details={}
                ),
            )

    def serve(self, known: int) -> pb.CheckpointReply:
        """What an honest coordinator answers."""
        note = self.database.run("test", lambda session: self.log.checkpoint(session, NOW))
        size = self.database.read(self.log.size)
        proof = self.database.read(lambda session: self.log.consistency(session, known, size))
        return pb.CheckpointReply(checkpoint=note.encode(), consistency=list(proof))


@pytest.fixture
def logs(tmp_path: Path, consortium: Consortium) -> Iterator[Callable[[], CoordinatorLog]]:
    made: list[CoordinatorLog] = []

    def make() -> CoordinatorLog:
        url = f"sqlite:///{tmp_path / f'log-{len(made)}.db'}"
        made.append(CoordinatorLog(url, consortium.parties[COORDINATOR].key))
        return made[-1]

    yield make
    for log in made:
        log.database.close()


Logs = Callable[[], CoordinatorLog]


def look(site: Site, reply: pb.CheckpointReply) -> None:
    site.log.reply = reply
    site.witness.look()


def test_a_log_that_grows_is_cosigned(site: Site, logs: Logs) -> None:
    log = logs()
    for entries in (3, 0, 5):
        log.note(*(f"job/{number}" for number in range(entries)))
        look(site, _next(site, log))
    assert site.alarms == []
    assert len(site.log.cosigned) == 3
    assert site.log.asked == [0, 3, 3]
    verifier = NoteVerifier(
        name=log_origin(site.me.trust.root.federation, site.ledger.member.name),
        public=site.ledger.member.public,
        kind=NoteKind.COSIGNATURE,
    )
    last = site.log.cosigned[-1]
    signed = last.checkpoint.decode() + last.cosignature.decode()
    assert open_note(signed, [verifier])


def _next(site: Site, log: CoordinatorLog) -> pb.CheckpointReply:
    seen = site.database.read(lambda session: site.witness._witness.last_seen(session, ORIGIN))
    return log.serve(0 if seen is None else seen.checkpoint.size)


def test_a_log_that_was_rewritten(site: Site, logs: Logs) -> None:
    """Same length and same key, other content; and a longer one that does not contain what was seen."""
    honest, forked = logs(), logs()
    honest.note("job/1", "job/2")
    forked.note("job/1", "job/3")
    look(site, honest.serve(0))
    look(site, forked.serve(2))
    forked.note("job/4")
    look(site, forked.serve(2))
    assert [type(alarm) for alarm in site.alarms] == [ForkDetected, ForkDetected]
    assert len(site.log.cosigned) == 1
    # Nothing was remembered of the fork: the honest log still extends what was seen.
    honest.note("job/3")
    look(site, honest.serve(2))
    assert len(site.log.cosigned) == 2


def test_a_log_that_was_cut_short(site: Site, logs: Logs) -> None:
    long, short = logs(), logs()
    long.note("job/1", "job/2", "job/3")
    short.note("job/1")
    look(site, long.serve(0))
    look(site, short.serve(0))
    assert [type(alarm) for alarm in site.alarms] == [RolledBack]


def test_another_partys_log(site: Site, logs: Logs, consortium: Consortium) -> None:
    """An unknown signature may be that of a new key: the certificate is asked for, twice, and then it is the alarm."""
    log = logs()
    log.log = AuditLog(ORIGIN, consortium.parties["zurich"].key)
    log.note("job/1")
    look(site, log.serve(0))
    assert (site.alarms, site.log.welcomes_asked) == ([], 1)
    site.welcome()  # the same certificate as before, and the log is looked at again
    assert (site.alarms, site.log.welcomes_asked) == ([], 2)
    site.welcome()
    assert [type(alarm) for alarm in site.alarms] == [CheckpointWrong]
    assert site.log.cosigned == []


def test_a_coordinator_that_changed_its_key(site: Site, logs: Logs, consortium: Consortium) -> None:
    log = logs()
    log.note("job/1")
    look(site, log.serve(0))
    renewed = consortium.enrol(PartyKind.COORDINATOR, COORDINATOR)
    log.log = AuditLog(ORIGIN, renewed.key)
    log.note("job/2")
    look(site, log.serve(1))
    assert (site.alarms, site.log.welcomes_asked, len(site.log.cosigned)) == ([], 1, 1)
    site.welcome()
    assert (site.alarms, len(site.log.cosigned)) == ([], 2)
    # Doubts do not add up over the years.
    log.log = AuditLog(ORIGIN, consortium.enrol(PartyKind.COORDINATOR, COORDINATOR).key)
    log.note("job/3")
    look(site, log.serve(2))
    site.welcome()
    assert (site.alarms, len(site.log.cosigned)) == ([], 3)


def test_a_node_that_changed_its_key_cosigns_with_it(site: Site, logs: Logs, consortium: Consortium) -> None:
    log = logs()
    log.note("job/1")
    look(site, log.serve(0))
    key = consortium.parties["zurich"].key
    site.witness.renew(key)
    log.note("job/2")
    look(site, log.serve(1))
    name = log_origin(site.me.trust.root.federation, site.ledger.member.name)
    verifier = NoteVerifier(name=name, public=key.public, kind=NoteKind.COSIGNATURE)
    last = site.log.cosigned[-1]
    assert open_note(last.checkpoint.decode() + last.cosignature.decode(), [verifier])


def test_a_restart_forgets_nothing(site: Site, logs: Logs) -> None:
    """What a witness saw is in its database: another process notices the fork too."""
    honest, forked = logs(), logs()
    honest.note("job/1", "job/2")
    look(site, honest.serve(0))
    site.restart()
    site.welcome()
    forked.note("job/9", "job/8", "job/7")
    look(site, forked.serve(2))
    assert [type(alarm) for alarm in site.alarms] == [ForkDetected]


@given(checkpoint=st.binary(max_size=300), proof=st.lists(st.binary(max_size=40), max_size=4))
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_that_are_no_checkpoint(site: Site, checkpoint: bytes, proof: list[bytes]) -> None:
    site.alarms.clear()
    look(site, pb.CheckpointReply(checkpoint=checkpoint, consistency=proof))
    assert [type(alarm) for alarm in site.alarms] == [CheckpointWrong]
    assert site.log.cosigned == []


@pytest.mark.parametrize("proof", [[], [b""], [b"x" * 32], [b"x" * 33] * 3, [b"x" * 32] * 70])
def test_a_proof_that_proves_nothing(site: Site, logs: Logs, proof: list[bytes]) -> None:
    log = logs()
    log.note("job/1", "job/2", "job/3")
    look(site, log.serve(0))
    log.note("job/4", "job/5")
    reply = log.serve(3)
    look(site, pb.CheckpointReply(checkpoint=reply.checkpoint, consistency=proof))
    assert [type(alarm) for alarm in site.alarms] == [ForkDetected]
    assert len(site.log.cosigned) == 1


def test_a_log_out_of_reach_is_no_alarm(site: Site, logs: Logs) -> None:
    site.witness.look()
    log = logs()
    log.note("job/1")
    site.log.refuses_cosignatures = True
    look(site, log.serve(0))
    assert site.alarms == []


def test_the_log_is_looked_at_after_each_round_and_job(coordinator: Coordinator) -> None:
    site = coordinator.site
    coordinator.attempt().finish()
    coordinator.end()
    assert len(site.log.asked) == 2


def test_what_was_cosigned_is_noted_with_the_state_of_the_own_log(site: Site, logs: Logs) -> None:
    log = logs()
    log.note("job/1", "job/2")
    look(site, log.serve(0))
    [entry] = site.audit("witness.cosigned")
    link = LogLink.from_details(entry.log, entry.details["own_log"])
    assert link is not None
    assert (link.size, entry.subject, entry.details["size"]) == (entry.seq, ORIGIN, 2)
    assert site.log.cosigned[-1].log_link.hex() == link.commitment
    assert link.root.encode() not in site.log.cosigned[-1].SerializeToString()
    look(site, log.serve(2))  # nothing new: cosigned again, and there is nothing to note
    assert len(site.audit("witness.cosigned")) == 1
    assert site.log.cosigned[-1].log_link == b""
    log.note("job/3")
    look(site, log.serve(2))
    assert len({item.log_link for item in site.log.cosigned}) == 3


def test_an_alarm_is_noted(site: Site) -> None:
    site.ledger.alarm("the log was rewritten: " + "A" * 5_000, now=NOW)
    [entry] = site.audit("witness.alarm")
    assert str(entry.details["sentence"]).startswith("the log was rewritten: AAA")
