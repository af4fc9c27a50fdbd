"""What people and nodes may read of the coordinator; changes nothing but cosignatures and notes of what was denied."""

import json
from collections import Counter
from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from fedseal.coordinator.attendance import Attendance
from fedseal.coordinator.job_run import rounds_planned
from fedseal.coordinator.ledger import Ledger
from fedseal.errors import PeerFault, RefusalError
from fedseal.foreign import fitted_all
from fedseal.rounds import RoundAddress
from fedseal.trust import Clock
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.certificates import Party
from fedseal_crypto.digests import Digest
from fedseal_crypto.dsse import SignedDocument
from fedseal_crypto.masking import RoundParameters
from fedseal_crypto.merkle import HASH_SIZE
from fedseal_governance import runs
from fedseal_governance.jobs import load_job
from fedseal_governance.runs import JobState, RoundState

_NOTED_DENIALS = 100
"""Of one caller at one operation, while the process runs."""


class Views:
    """Read access to jobs, artefacts, nodes and the log."""

    def __init__(self, ledger: Ledger, attendance: Attendance, clock: Clock) -> None:
        self._ledger = ledger
        self._attendance = attendance
        self._clock = clock
        self._denials: Counter[tuple[str, str]] = Counter()

    def note_denied(self, caller: str, operation: str, sentence: str) -> None:
        """Note in the audit log that somebody tried what they may not.

        Only the first hundred attempts of a caller at one operation since the process began: otherwise a member
        could make the log grow at will. The service's own log has all of them.
        """
        self._denials[caller, operation] += 1
        if self._denials[caller, operation] <= _NOTED_DENIALS:
            log, details = self._ledger.log, fitted_all({"reason": sentence})
            self._ledger.database.run(
                "permission.deny",
                lambda session: log.append(
                    session,
                    time=self._clock(),
                    type="permission.denied",
                    actor=caller,
                    subject=f"operation/{operation}",
                    details=details,
                ),
            )

    def resolve(self, wanted: str) -> Digest:
        """The digest of the job that ``wanted`` names: a digest's beginning, or a name.

        Raises:
            NotFound: none or several match.
        """
        row = self._ledger.database.read(lambda session: runs.find_job(session, wanted))
        return Digest(row.digest)

    def has_ended(self, digest: Digest) -> bool:
        """Whether the job is in a final state."""
        row = self._ledger.database.read(lambda session: runs.job(session, digest))
        return row.state in JobState.final()

    def jobs(self) -> pb.JobList:
        """All jobs, newest first."""

        def work(session: Session) -> pb.JobList:
            rows = session.query(runs.JobRow).order_by(runs.JobRow.submitted_at.desc()).all()
            return pb.JobList(jobs=[_summary(session, row) for row in rows])

        return self._ledger.database.read(work)

    def summary(self, digest: Digest) -> pb.JobSummary:
        """One job in a line."""
        return self._ledger.database.read(lambda session: _summary(session, runs.job(session, digest)))

    def detail(self, digest: Digest) -> pb.JobDetail:
        """One job with its rounds, answers and artefacts."""

        def work(session: Session) -> pb.JobDetail:
            row = runs.job(session, digest)
            return pb.JobDetail(
                summary=_summary(session, row),
                rounds=[_round(item) for item in runs.rounds(session, digest)],
                artefacts=[
                    pb.Artefact(kind=item.kind, digest=item.digest, size=item.size)
                    for item in runs.artefacts(session, digest)
                    if item.kind in _SHOWN_ARTEFACTS
                ],
                answers=[_answer(item) for item in runs.answers(session, digest)],
                document=row.envelope,
                job_record=row.record or b"",
                schema=row.schema,
            )

        return self._ledger.database.read(work)

    def nodes(self) -> pb.NodeList:
        """The nodes that are present."""
        return pb.NodeList(
            nodes=[
                pb.NodeStatus(
                    node=session.node,
                    organisation=session.member.organisation,
                    attending=True,
                    since=_time(session.since),
                    datasets=sorted(session.datasets),
                    certificate_expires=_time(session.member.not_after),
                )
                for session in self._attendance.all()
            ]
        )

    def artefact(self, *, job: str, digest: str, for_node: str | None = None) -> Path:
        """The file of an artefact that belongs to ``job``.

        Args:
            job: digest of the job.
            digest: digest of the artefact.
            for_node: a node, which may have only the broadcasts and the public key of jobs that name it; None for a
                person, who may have what ``detail`` lists.

        Raises:
            RefusalError: the job has no such artefact, or it is not for this caller.
        """

        def work(session: Session) -> bool:
            row = runs.job(session, job)
            kinds = {item.kind for item in runs.artefacts(session, job) if item.digest == digest}
            if for_node is None:
                return bool(kinds & _SHOWN_ARTEFACTS)
            document = load_job(SignedDocument.from_json(row.envelope).payload, "job")
            return bool(kinds & {"broadcast", "public-key"}) and for_node in document.nodes

        if not self._ledger.database.read(work):
            sentence = f"job {job[:12]} has no such artefact for you; `fedseal job show` lists what there is"
            raise RefusalError(sentence)
        return self._ledger.artefacts.path(digest)

    def checkpoint(self, known_size: int) -> pb.CheckpointReply:
        """A fresh checkpoint with the consistency proof from ``known_size`` entries."""
        note, proof = self._ledger.checkpoint(known_size, now=self._clock())
        return pb.CheckpointReply(checkpoint=note.encode(), consistency=list(proof))

    def add_cosignature(self, witness: Party, message: pb.Cosignature) -> None:
        """Store a node's cosignature of one of this log's checkpoints."""
        session = self._attendance.get(str(witness.name))
        if session is None:
            sentence = f"{witness.name} is not present; attend first, then cosign"
            raise RefusalError(sentence)
        if len(message.log_link) not in (0, HASH_SIZE):
            sentence = f"a commitment to a log has {HASH_SIZE} bytes, this one {len(message.log_link)}"
            raise PeerFault(sentence)
        self._ledger.add_cosignature(
            session.member,
            checkpoint=message.checkpoint.decode(),
            line=message.cosignature.decode(),
            link=message.log_link,
            now=self._clock(),
        )


_SHOWN_ARTEFACTS = frozenset({"model", "statistics", "job-record"})


def _summary(session: Session, row: runs.JobRow) -> pb.JobSummary:
    document = load_job(SignedDocument.from_json(row.envelope).payload, "job")
    done = {(item.stage, item.round) for item in runs.rounds(session, row.digest) if item.state is RoundState.COMPLETED}
    return pb.JobSummary(
        job=row.digest,
        name=row.name,
        state=row.state.value,
        reason=row.reason,
        submitted_by=row.submitted_by,
        submitted_at=_time(row.submitted_at),
        finished_at=_time(row.finished_at),
        rounds_done=len(done),
        rounds_planned=rounds_planned(document),
    )


def _round(row: runs.RoundRow) -> pb.RoundSummary:
    address = RoundAddress(Digest(row.job), row.stage, row.round, row.attempt)
    return pb.RoundSummary(
        address=address.to_wire(),
        state=row.state.value,
        roster=[item["node"] for item in json.loads(row.roster)],
        survivors=json.loads(row.survivors),
        recovered=json.loads(row.recovered),
        threshold=RoundParameters.decode(row.parameters).threshold,
        metrics=row.figures,
        reason=row.reason,
        started_at=_time(row.started_at),
        ended_at=_time(row.ended_at),
    )


def _answer(row: runs.AnswerRow) -> pb.NodeAnswer:
    return pb.NodeAnswer(
        node=row.node,
        answer="accepted" if row.accepted else "refused",
        reasons=[pb.Reason(**item) for item in json.loads(row.reasons)],
    )


def _time(value: datetime | None) -> str:
    return "" if value is None else value.isoformat(timespec="seconds")
