"""What the coordinator writes about keys and opened sums: each a transaction with its audit entry."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from fedseal.coordinator.ledger import Ledger, key_of
from fedseal.foreign import fitted, fitted_all
from fedseal.protection import JobKey, OpenedSum
from fedseal.rounds import RoundAddress
from fedseal_crypto.custody import SumRequest
from fedseal_crypto.digests import Digest
from fedseal_governance import custody, runs
from fedseal_governance.custody import JobKeyRow

PUBLIC_KEY = "public-key"


class CustodyLedger:
    """The coordinator's database as far as custodians are concerned."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def job_key(self, job: str) -> JobKeyRow | None:
        """The key of a job, if it has one."""
        return self._ledger.database.read(lambda session: custody.job_key(session, job))

    def public_key(self, file: str) -> bytes:
        """The public part of a key.

        Raises:
            SetupError: the file is missing or was changed.
        """
        return self._ledger.artefacts.get(file)

    def store_key(
        self, custodian: str, key: JobKey, statement: bytes, files: Sequence[bytes], *, now: datetime
    ) -> JobKeyRow:
        """Store the key of a job; storing it again changes nothing.

        Raises:
            KeyConflict: the job has another key.
        """
        stored = [(self._ledger.artefacts.put(item), len(item)) for item in files]
        envelope = self._ledger.artefacts.put(statement)

        def work(session: Session) -> None:
            row = JobKeyRow(job=key.job, custodian=custodian, digest=key.key, statement=statement, at=now)
            if not custody.store_job_key(session, row):
                return
            for digest, size in stored:
                runs.add_artefact(session, runs.ArtefactRow(job=key.job, kind=PUBLIC_KEY, digest=digest, size=size))
            details = {"key": key.key, "file": key.file, "parameters": key.parameters, "statement": envelope}
            if key.scalars is not None:
                details["scalar_key"] = key.scalars.key
            self._note(session, now, "key.received", f"custodian/{custodian}", key.job, details)

        self._ledger.database.run("custody.key", work)
        found = self.job_key(key.job)
        if found is None:
            raise LookupError(key.job)  # stored above, in the same database
        return found

    def declined(self, custodian: str, job: Digest, sentence: str, *, now: datetime) -> None:
        """Note that a custodian does not serve a job."""

        def work(session: Session) -> None:
            self._note(session, now, "custody.declined", f"custodian/{custodian}", job, {"sentence": fitted(sentence)})

        self._ledger.database.run("custody.decline", work)

    def sum_declined(self, custodian: str, address: RoundAddress, code: str, sentence: str, *, now: datetime) -> None:
        """Note that a custodian does not open a sum."""
        details = {**_where(address), "code": code, "sentence": fitted(sentence)}

        def work(session: Session) -> None:
            self._note(session, now, "sum.declined", f"custodian/{custodian}", address.job, details)

        self._ledger.database.run("custody.sum.decline", work)

    def sum_asked(self, address: RoundAddress, request: SumRequest, key: str, *, now: datetime) -> None:
        """Note that the custodian is asked to open a sum."""
        details = {
            **_where(address),
            "key": key,
            "request": request.digest().hex(),
            "sum": request.sum_digest.hex(),
            "members": [sealed.client for sealed in request.inputs],
        }

        def work(session: Session) -> None:
            runs.round_row(session, key_of(address))
            self._note(session, now, "sum.requested", self._ledger.member.label, address.job, details)

        self._ledger.database.run("custody.sum.ask", work)

    def sum_opened(
        self, custodian: str, address: RoundAddress, opened: OpenedSum, statement: bytes, *, now: datetime
    ) -> None:
        """Note what the custodian opened."""
        details = {
            **_where(address),
            "key": opened.key,
            "request": opened.request,
            "sum": opened.sum_digest,
            "count": opened.count,
            "opened": opened.opened,
            "statement": self._ledger.artefacts.put(statement),
        }

        def work(session: Session) -> None:
            self._note(session, now, "sum.opened", f"custodian/{custodian}", address.job, details)

        self._ledger.database.run("custody.sum.opened", work)

    def scalars_asked(self, address: RoundAddress, request: str, members: Sequence[str], *, now: datetime) -> None:
        """Note that the custodian is asked to open numbers about single contributions."""
        details = {**_where(address), "request": request, "members": list(members)}

        def work(session: Session) -> None:
            self._note(session, now, "scalars.requested", self._ledger.member.label, address.job, details)

        self._ledger.database.run("custody.scalars.ask", work)

    def scalars_opened(
        self, custodian: str, address: RoundAddress, opened: Mapping[str, bytes], *, now: datetime
    ) -> None:
        """Note what the custodian opened: the digest of its signed statement about each node."""
        statements = {node: self._ledger.artefacts.put(statement) for node, statement in sorted(opened.items())}
        details = {**_where(address), "statements": statements}

        def work(session: Session) -> None:
            self._note(session, now, "scalars.opened", f"custodian/{custodian}", address.job, details)

        self._ledger.database.run("custody.scalars.opened", work)

    def judged(self, address: RoundAddress, reasons: Mapping[str, str], *, now: datetime) -> None:
        """Note whom the method leaves out of the sum, and why."""
        details = {**_where(address), "left_out": {node: fitted(text) for node, text in sorted(reasons.items())}}

        def work(session: Session) -> None:
            self._note(session, now, "contributions.judged", self._ledger.member.label, address.job, details)

        self._ledger.database.run("custody.judged", work)

    def _note(
        self, session: Session, now: datetime, kind: str, actor: str, job: str, details: Mapping[str, object]
    ) -> None:
        self._ledger.log.append(
            session, time=now, type=kind, actor=actor, subject=f"job/{job}", details=fitted_all(details)
        )


def _where(address: RoundAddress) -> dict[str, object]:
    return {"stage": address.stage, "round": address.round, "attempt": address.attempt}
