"""The numbers about single contributions of one job's rounds: asking for them, and what the custodian answers.

Rules kept here:

1. An answer counts only if the custodian signed a statement of every node in the request, for exactly that request.
2. Every node is handed what was signed about it before the sum is asked for, so that it can compare; a member about
   which no number was opened, because it dropped out, is handed the custodian's signed
   word for that.
3. While the custodian is away the job waits, as for a sum.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from fedseal.coordinator.custody_events import CustodianDeclined, ScalarsDelivered
from fedseal.coordinator.custody_ledger import CustodyLedger
from fedseal.coordinator.job_custody import LATER, JobCustody
from fedseal.coordinator.sealed_round import SealedRound
from fedseal.errors import PeerFault, RefusalError
from fedseal.methods.judging import Numbers
from fedseal.protection.scalars import (
    OpenedScalars,
    Operands,
    ScalarRoll,
    read_roll,
    read_scalars,
    request_digest,
    terms_digest,
)
from fedseal.rounds import RoundAddress
from fedseal.wire._generated import coordination_pb2, custody_pb2
from fedseal.wire.custody import address_to_wire

if TYPE_CHECKING:
    from fedseal.coordinator.desk import Surroundings

_PAUSE = timedelta(seconds=30)


class JobScalars:
    """The engine's handle on a job's scalars. Only the engine's thread calls in."""

    def __init__(self, custody: JobCustody, around: "Surroundings") -> None:
        self._custody = custody
        self._around = around
        self._ledger = CustodyLedger(around.ledger)
        self._asked: RoundAddress | None = None
        self._task: custody_pb2.OpenScalars | None = None
        self._request = ""
        self._told: object = None
        self._waiting_since: datetime | None = None
        self._pause_until: datetime | None = None
        self._opened: dict[str, OpenedScalars] = {}
        self._statements: dict[str, bytes] = {}
        self._roll = b""

    def numbers(self, active: SealedRound, *, now: datetime) -> Mapping[str, Numbers] | None:
        """The opened numbers of each node; None while the custodian, which is asked here, has not opened them.

        Raises:
            RefusalError: the custodian was away for too long.
            PeerError: a ciphertext was changed since it arrived.
        """
        address = active.opened.plan.address
        if self._asked != address:
            self._begin(active, now)
        if self._opened:
            return {node: opened.values for node, opened in self._opened.items()}
        waited = (now - (self._waiting_since or now)).total_seconds()
        if waited >= self._around.settings.custodian_seconds:
            sentence = (
                f"the custodian {self._custody.name} did not open the scalars of {address} within "
                f"{self._around.settings.custodian_seconds:.0f} seconds; start it and submit the job again"
            )
            raise RefusalError(sentence)
        session = self._around.custodians.get(self._custody.name)
        paused = self._pause_until is not None and now < self._pause_until
        if session is not None and session is not self._told and not paused:
            self._told, self._pause_until = session, None
            session.send(custody_pb2.CustodianTask(open_scalars=self._task))
        return None

    def pending(self, address: RoundAddress | None) -> bool:
        """Whether these scalars are asked for and not opened."""
        return address is not None and self._asked == address and not self._opened

    def require_fetchable(self, custodian: str, address: RoundAddress) -> None:
        """Refuse a custodian that wants encrypted scalars of another round than it is asked for.

        Raises:
            RefusalError: it does.
        """
        if custodian != self._custody.name or self._asked != address:
            sentence = f"the scalars of {address} are not asked for, or of another custodian"
            raise RefusalError(sentence)

    def declined(self, event: CustodianDeclined, *, now: datetime) -> str:
        """Take a refusal; the reason if it is one for good.

        Raises:
            RefusalError: these scalars are not asked for.
        """
        address = event.address
        if address is None:
            sentence = "a refusal of scalars names no round"
            raise RefusalError(sentence)
        self.require_fetchable(event.custodian, address)
        self._ledger.sum_declined(event.custodian, address, event.code, event.sentence, now=now)
        if event.code == LATER:
            self._told, self._pause_until = None, now + _PAUSE
            return ""
        return f"{self._custody.name} does not open the scalars: {event.sentence}"

    def deliver(self, event: ScalarsDelivered, active: SealedRound, *, now: datetime) -> None:
        """Take opened scalars.

        Raises:
            RefusalError: they are not asked for.
            PeerFault, PeerError: the statements are not what was asked for; nothing changed.
        """
        self.require_fetchable(event.custodian, event.address)
        if self._opened:
            return
        judge = self._custody.judge(now)
        opened = [read_scalars(item, judge) for item in event.statements]
        survivors = active.driver.result.survivors
        if [item.node for item in opened] != list(survivors):
            sentence = f"{event.address}: {event.custodian} states scalars of other nodes than it was asked for"
            raise PeerFault(sentence)
        for item, own in zip(opened, active.operands(), strict=True):
            self._check(item, own, active)
        self._check_roll(read_roll(event.roll, judge), active)
        statements = dict(zip(map(str, survivors), event.statements, strict=True))
        self._ledger.scalars_opened(event.custodian, event.address, statements, now=now)
        self._opened = {item.node: item for item in opened}
        self._statements, self._roll = statements, event.roll

    @property
    def bounded(self) -> frozenset[str]:
        """The nodes about whose vectors every number was released, so that the next round may use them."""
        return frozenset(node for node, opened in self._opened.items() if None not in opened.values.values())

    def own(self, node: str) -> coordination_pb2.Instruction | None:
        """What to hand a node: the statement about it in the newest round with scalars, or that there is none."""
        if not self._statements or self._asked is None:
            return None
        statement = self._statements.get(node, b"")
        roll = b"" if statement else self._roll
        own = coordination_pb2.OwnScalars(address=self._asked.to_wire(), statement=statement, roll=roll)
        return coordination_pb2.Instruction(own_scalars=own)

    def _begin(self, active: SealedRound, now: datetime) -> None:
        scalars, address = active.opened.scalars, active.opened.plan.address
        if scalars is None:
            sentence = f"{address} has no scalars"
            raise PeerFault(sentence)
        request, operands = active.scalar_request(self._custody.evaluation()), active.operands()
        self._task = custody_pb2.OpenScalars(
            address=address_to_wire(address),
            request=request.encode(),
            member_certificates=self._around.ledger.roster_certificates(address),
            revocation_list=self._around.trust.revocation_list_pem(),
            terms=scalars.terms.encode(),
            ciphertexts=[own.ciphertext for own in operands],
            earlier=[own.earlier for own in operands],
        )
        members = [sealed.client for sealed in request.inputs]
        self._request = request_digest(request, scalars.terms, operands)
        self._ledger.scalars_asked(address, self._request, members, now=now)
        self._asked, self._told, self._pause_until, self._waiting_since = address, None, None, now
        self._opened, self._statements, self._roll = {}, {}, b""

    def _check_roll(self, roll: ScalarRoll, active: SealedRound) -> None:
        address, present = active.opened.plan.address, set(active.driver.result.survivors)
        roster = active.opened.plan.parameters.roster
        wanted = {
            "federation": self._around.federation,
            "job": address.job,
            "stage": address.stage,
            "round": address.round,
            "attempt": address.attempt,
            "request": self._request,
            "absent": tuple(str(client) for client in roster if client not in present),
        }
        for field, value in wanted.items():
            if getattr(roll, field) != value:
                sentence = f"{address}: {self._custody.name} lists another {field} of scalars than was asked for"
                raise PeerFault(sentence)

    def _check(self, opened: OpenedScalars, own: Operands, active: SealedRound) -> None:
        address, scalars = active.opened.plan.address, active.opened.scalars
        if scalars is None:
            sentence = f"{address} has no scalars"
            raise PeerFault(sentence)
        wanted = {
            "federation": self._around.federation,
            "job": address.job,
            "stage": address.stage,
            "round": address.round,
            "attempt": address.attempt,
            "request": self._request,
            "key": self._custody.scalar_key,
            "terms": terms_digest(scalars.terms),
            "shape": scalars.terms.shape,
            "ciphertext": own.ciphertext.hex(),
            "earlier": own.earlier.hex() or None,
        }
        for field, value in wanted.items():
            if getattr(opened, field) != value:
                sentence = f"{address}: {self._custody.name} states another {field} of scalars than was asked for"
                raise PeerFault(sentence)
        if opened.values.keys() != {term.name for term in scalars.terms.about(own.earlier)}:
            sentence = f"{address}: {self._custody.name} opened other scalars than it was asked for"
            raise PeerFault(sentence)
