"""What the node stores of its attempts, before anything of them leaves: beginnings, vectors, survivors, shares.

Every method that changes something is one transaction; what others may ask about later is an audit entry in it. No
entry holds a pseudonym: records appear as counts and as the digest of their sorted list.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from fedseal.errors import RefusalError
from fedseal.foreign import fitted, hex_lines
from fedseal.learning import JobData
from fedseal.rounds import RoundAddress
from fedseal_crypto.custody import SealedInput
from fedseal_crypto.digests import Digest
from fedseal_crypto.masking import ClientId, EquivocationDetected, RoundParameters
from fedseal_governance import consent, history, participation
from fedseal_governance.audit import AuditLog
from fedseal_governance.consent import RecordKey
from fedseal_governance.database import Database
from fedseal_governance.history import ComparedSums
from fedseal_governance.participation import AttemptRow, AttemptState
from fedseal_governance.runs import RoundKey

MOST_ABANDONED = 64
"""Attempts of one round that an advertisement can declare abandoned; a node takes part in no more of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierAttempt:
    """An older attempt of a round in which this node's masked vector may be out.

    Attributes:
        context: by which members name it when they give it up.
        roster: the members that hold shares; empty where an older release did not note them.
    """

    key: RoundKey
    context: bytes
    roster: frozenset[ClientId]
    corrupted: int
    threshold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Used:
    record_ids: tuple[str, ...]
    leaves: tuple[bytes, ...]
    digest: Digest


class AttemptLedger:
    """A node's own record of its attempts."""

    def __init__(self, database: Database, log: AuditLog, *, actor: str, record_key: RecordKey) -> None:
        self._database = database
        self._log = log
        self._actor = actor
        self._record_key = record_key
        self._last_used = _Used(record_ids=(), leaves=(), digest=consent.root_of(()))

    def begin(
        self, address: RoundAddress, parameters: RoundParameters, *, dataset: str, log_size: int, now: datetime
    ) -> tuple[tuple[EarlierAttempt, ...], tuple[bytes, ...]]:
        """Store the beginning of an attempt, before anything of it is sent.

        Returns:
            Older attempts of the round whose sum might still be opened, and the contexts this node abandons.

        Raises:
            AlreadyDone: the attempt was begun before, or the round is over for this node.
            RefusalError: the round was tried so often that a declaration cannot name all its dead attempts.
        """
        key = key_of(address)
        beginning = participation.Beginning(
            key=key,
            context=parameters.context0().hex(),
            broadcast=parameters.broadcast_digest,
            holders=len(parameters.roster),
            corrupted=parameters.corrupted,
            threshold=parameters.threshold,
        )
        details = {
            "roster": list(parameters.roster),
            "threshold": parameters.threshold,
            "broadcast": parameters.broadcast_digest,
            "context": beginning.context,
            "coordinator_log_size": log_size,
        }

        def work(session: Session) -> tuple[tuple[EarlierAttempt, ...], tuple[bytes, ...]]:
            rows = participation.begin(session, beginning, now)
            history.note_sum(session, key, dataset=dataset, roster=parameters.roster)
            abandoned = tuple(bytes.fromhex(item) for item in participation.abandoned(session, key))
            if len(abandoned) > MOST_ABANDONED:
                sentence = (
                    f"{address}: this node has given up {len(abandoned)} attempts at the round and can declare "
                    f"{MOST_ABANDONED}; the job must be submitted again"
                )
                raise RefusalError(sentence)
            self._note(session, now, "round.entered", address, details)
            return tuple(_earlier(session, row) for row in rows), abandoned

        return self._database.run("node.round.begin", work)

    def proven_dead(self, attempts: Sequence[EarlierAttempt]) -> None:
        """Store that enough members have signed that they will never open these attempts."""

        def work(session: Session) -> None:
            for attempt in attempts:
                history.note_dead(session, attempt.key)

        self._database.run("node.round.dead", work)

    def input_sent(self, address: RoundAddress, data: JobData, *, now: datetime) -> None:
        """Store that a masked vector is about to leave, and which records went into it."""
        used = self._used(data)

        def work(session: Session) -> None:
            consent.require_key(session, self._record_key, adopt=True)
            participation.advance(session, key_of(address), AttemptState.INPUT_SENT)
            participation.note_snapshot(session, key_of(address), snapshot=used.digest, leaves=used.leaves)
            details = {"records": data.record_count, "snapshot": used.digest}
            self._note(session, now, "round.contributed", address, details)

        self._database.run("node.round.input", work)

    def earlier_sums(
        self, address: RoundAddress, compared: ComparedSums, *, this_round: bool = True
    ) -> tuple[frozenset[ClientId], ...]:
        """The members of earlier sums from which a sum of this attempt must keep its distance."""
        found = self._database.read(
            lambda session: history.earlier_sums(session, key_of(address), compared, this_round=this_round)
        )
        return tuple(frozenset(ClientId(site) for site in sites) for sites in found)

    def confirm_survivors(
        self,
        address: RoundAddress,
        survivors: Collection[str],
        compared: ComparedSums,
        *,
        earlier: Collection[frozenset[ClientId]],
    ) -> None:
        """Store over whom the sum will go, before this node's signature under that list leaves.

        Args:
            address: the attempt.
            survivors: the list.
            compared: which sums count.
            earlier: those with which the list has been compared.

        Raises:
            RefusalError: another sum has been confirmed since, which can only be a second process on this database.
        """

        def work(session: Session) -> None:
            key = key_of(address)
            if not set(history.earlier_sums(session, key, compared)) <= set(earlier):
                sentence = f"{address}: this node has confirmed another sum meanwhile; is it running twice?"
                raise RefusalError(sentence)
            participation.note_survivors(session, key, survivors)

        self._database.run("node.round.survivors", work)

    def unmask_released(self, address: RoundAddress, answer: bytes, *, now: datetime) -> None:
        """Store that shares are about to leave, and which, so that they can be sent again after a restart."""

        def work(session: Session) -> None:
            row = participation.advance(session, key_of(address), AttemptState.UNMASK_RELEASED)
            history.keep_answer(session, key_of(address), answer)
            self._note(session, now, "round.unmasked", address, {"survivors": json.loads(row.survivors)})

        self._database.run("node.round.unmask", work)

    def ciphertext_released(
        self, address: RoundAddress, members: Collection[str], sealed: SealedInput, *, now: datetime
    ) -> None:
        """Store that the ciphertext is about to leave, and among whose it may be summed."""
        details: dict[str, object] = {
            "committed": sorted(members),
            "key": sealed.key.hex(),
            "ciphertext": sealed.digest.hex(),
        }

        def work(session: Session) -> None:
            participation.note_survivors(session, key_of(address), members)
            participation.advance(session, key_of(address), AttemptState.UNMASK_RELEASED)
            self._note(session, now, "round.sealed", address, details)

        self._database.run("node.round.sealed", work)

    def scalars_right(self, address: RoundAddress, statement: str, *, now: datetime) -> None:
        """Note that the numbers opened about this node are those of its own vector."""
        self._database.run(
            "node.scalars.right",
            lambda session: self._note(session, now, "scalars.compared", address, {"statement": statement}),
        )

    def scalars_wrong(self, address: RoundAddress, error: Exception, evidence: bytes, *, now: datetime) -> None:
        """Note that they are not, or that nobody told; what this node was handed is kept as evidence."""
        details: dict[str, object] = {
            "code": type(error).__name__,
            "sentence": fitted(str(error)),
            "statement": hex_lines(evidence),
        }
        self._database.run(
            "node.scalars.wrong", lambda session: self._note(session, now, "scalars.wrong", address, details)
        )

    def open_answers(self) -> tuple[tuple[RoundAddress, bytes], ...]:
        """Shares that were released and of whose arrival this node has not heard."""
        found = self._database.read(history.open_answers)
        return tuple(
            (RoundAddress(Digest(key.job), key.stage, key.round, key.attempt), answer) for key, answer in found
        )

    def answer_settled(self, address: RoundAddress) -> None:
        """Store that released shares arrived, or that nobody wants them any more; they are not kept."""
        self._database.run("node.round.settle", lambda session: history.forget_answer(session, key_of(address)))

    def round_ended(self, address: RoundAddress, *, completed: bool) -> None:
        """Store the end of a round as the coordinator told it."""

        def work(session: Session) -> None:
            key = key_of(address)
            row = session.get(AttemptRow, key.values)
            if row is None:
                return
            if completed and row.state is AttemptState.UNMASK_RELEASED:
                row.state = AttemptState.COMPLETED
            elif row.state in (AttemptState.BEGUN, AttemptState.INPUT_SENT):
                participation.advance(session, key, AttemptState.ABANDONED)
            history.forget_answer(session, key)

        self._database.run("node.round.end", work)

    def refused(self, address: RoundAddress, error: Exception, *, now: datetime) -> None:
        """Note a refusal of this node's own; two contradicting messages are kept as evidence."""
        details: dict[str, object] = {"code": type(error).__name__, "sentence": fitted(str(error))}
        if isinstance(error, EquivocationDetected):
            details["conflicting"] = [hex_lines(message) for message in error.conflicting]
        self._database.run(
            "node.round.refuse", lambda session: self._note(session, now, "round.refused", address, details)
        )

    def _used(self, data: JobData) -> "_Used":
        """Leaves and digest of the records; the last set is remembered, because most rounds use the same one."""
        record_ids = data.record_ids
        if record_ids != self._last_used.record_ids:
            leaves = self._record_key.leaves(record_ids)
            self._last_used = _Used(record_ids=record_ids, leaves=leaves, digest=consent.root_of(leaves))
        return self._last_used

    def _note(
        self, session: Session, now: datetime, kind: str, address: RoundAddress, details: dict[str, object]
    ) -> None:
        where = {"stage": address.stage, "round": address.round, "attempt": address.attempt}
        subject = f"job/{address.job}"
        self._log.append(session, time=now, type=kind, actor=self._actor, subject=subject, details={**where, **details})


def key_of(address: RoundAddress) -> RoundKey:
    """The database key of an attempt."""
    return RoundKey(job=address.job, stage=address.stage, round=address.round, attempt=address.attempt)


def _earlier(session: Session, row: AttemptRow) -> EarlierAttempt:
    key = RoundKey(job=row.job, stage=row.stage, round=row.round, attempt=row.attempt)
    return EarlierAttempt(
        key=key,
        context=bytes.fromhex(row.context),
        roster=frozenset(ClientId(name) for name in history.roster_of(session, key)),
        corrupted=row.corrupted,
        threshold=row.threshold,
    )
