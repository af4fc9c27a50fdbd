"""Which documents and models of a party are due for deletion, and deleting them.

What is looked at: at a coordinator the files of jobs that have ended (models, states, broadcasts, statistics, job
records); at a node the job records it received. Job files and policies stay, because they show why something was
allowed; rows of jobs, rounds and consents stay, because the protocol's promises rest on them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from fedseal.artefacts import ArtefactFolder
from fedseal.local import LocalParty, Person
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.errors import CryptoError
from fedseal_crypto.identity import PartyKind
from fedseal_governance.acts import Act
from fedseal_governance.audit.entries import REMOVED
from fedseal_governance.errors import GovernanceError, NotFound
from fedseal_governance.participation import NodeJobRow
from fedseal_governance.policy.model import PolicyDocument, load_policy
from fedseal_governance.policy.store import list_policies
from fedseal_governance.retention import (
    Hold,
    Removal,
    audit_years,
    holds_in_force,
    kept_until,
    model_years,
    note_removals,
)
from fedseal_governance.runs import AnswerRow, ArtefactRow, JobRow

RECORD = "job-record"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A document that the party still has.

    Attributes:
        job_names: Names of the jobs it belongs to.
        until: Until when the policies want it kept; None where no policy that decided can be read any more.
        hold: The legal hold that keeps it; None if there is none.
    """

    removal: Removal
    job_names: tuple[str, ...]
    until: datetime | None
    hold: Hold | None

    def due(self, now: datetime) -> bool:
        """Whether it may be deleted."""
        return self.until is not None and self.until <= now and self.hold is None


@dataclass(frozen=True, slots=True)
class _Use:
    """A document's part in one job."""

    digest: Digest
    kind: str
    job: Digest
    name: str
    until: datetime | None
    rule: str


def kept_documents(party: LocalParty) -> tuple[Kept, ...]:
    """Everything that retention speaks of, the earliest due first."""
    log, folder = party.log(), ArtefactFolder(party.folder.path / "artefacts")

    def work(session: Session) -> tuple[Kept, ...]:
        holds = holds_in_force(session, log)
        coordinates = party.folder.record.kind is PartyKind.COORDINATOR
        uses = _at_coordinator(session, folder) if coordinates else _at_node(session)
        by_digest: dict[Digest, list[_Use]] = {}
        for use in uses:
            by_digest.setdefault(use.digest, []).append(use)
        found = [_kept(digest, used, holds) for digest, used in by_digest.items()]
        return tuple(sorted(found, key=_order))

    return party.read(work)


def remove_due(party: LocalParty, person: Person, *, now: datetime) -> tuple[Kept, ...]:
    """Delete everything that is due, with an entry for each document; returns what was deleted.

    The entries and the tables change in one transaction; then the files go. Files that an interrupted run has left
    behind go too: their entries exist.

    Raises:
        HoldRefused: The person is no compliance officer; nothing was deleted.
    """
    due = tuple(item for item in kept_documents(party) if item.due(now))
    log, folder = party.log(), ArtefactFolder(party.folder.path / "artefacts")

    def work(act: Act) -> None:
        note_removals(act, log, (item.removal for item in due), officer=person.member, owner=owner_of(party))
        for item in due:
            _take_out(act.session, item.removal.digest)

    party.run("retention.apply", work, now=now, person=person)
    for digest in party.read(lambda session: tuple(_left_behind(session, party, folder))):
        folder.remove(digest)
    return due


def owner_of(party: LocalParty) -> str | None:
    """Whose compliance officers decide: a node's own; at the coordinator, which belongs to all, those of any site."""
    record = party.folder.record
    return str(record.organisation) if record.kind is PartyKind.NODE else None


def _kept(digest: Digest, used: list[_Use], holds: tuple[Hold, ...]) -> Kept:
    dated = [(use.until, use) for use in used if use.until is not None]
    # what one job must keep for good is not deleted for the others
    last = max(dated, key=lambda pair: pair[0])[1] if len(dated) == len(used) else None
    hold = next((hold for hold in holds if any(hold.covers(use.job) for use in used)), None)
    removal = Removal(
        digest=digest,
        kind=used[0].kind,
        jobs=tuple(sorted({use.job for use in used})),
        rule=used[0].rule if last is None else last.rule,
    )
    return Kept(
        removal=removal,
        job_names=tuple(sorted({use.name for use in used})),
        until=None if last is None else last.until,
        hold=hold,
    )


def _order(item: Kept) -> tuple[bool, float, str, str]:
    until = item.until
    return until is None, 0.0 if until is None else until.timestamp(), item.removal.kind, item.removal.digest


def _at_coordinator(session: Session, folder: ArtefactFolder) -> Iterator[_Use]:
    for job in session.scalars(select(JobRow).where(JobRow.finished_at.is_not(None))):
        answers = session.scalars(select(AnswerRow).where(AnswerRow.job == job.digest)).all()
        shown = {answer.policy: _policy_file(folder, answer.policy) for answer in answers if answer.policy}
        policies = [policy for policy in shown.values() if policy is not None]
        complete = len(policies) == len(shown)
        ended, digest = job.finished_at or job.submitted_at, Digest(job.digest)
        models = kept_until(ended, model_years(policies)) if complete else None
        evidence = kept_until(ended, audit_years(policies)) if complete else None
        for row in session.scalars(select(ArtefactRow).where(ArtefactRow.job == job.digest)):
            until, rule = (evidence, _rule("audit_years")) if row.kind == RECORD else (models, _rule("model_years"))
            yield _Use(Digest(row.digest), row.kind, digest, job.name, until, rule)


def _at_node(session: Session) -> Iterator[_Use]:
    policies: Mapping[str, PolicyDocument] = {item.digest: item.document for item in list_policies(session)}
    for job in session.scalars(select(NodeJobRow).where(NodeJobRow.record.is_not(None))):
        record, policy = job.record or b"", policies.get(job.policy)
        until = None if policy is None else kept_until(job.decided_at, audit_years([policy]))
        yield _Use(sha256_hex(record), RECORD, Digest(job.digest), job.name, until, _rule("audit_years"))


def _policy_file(folder: ArtefactFolder, digest: str) -> PolicyDocument | None:
    path = folder.path(digest)
    if not path.is_file():
        return None
    try:
        return load_policy(folder.get(digest), f"policy {digest[:12]}")
    except (CryptoError, GovernanceError):
        return None  # a rule that cannot be read allows nothing to be deleted


def _rule(name: str) -> str:
    return f"retention.{name} of every policy that decided about it is over"


def _take_out(session: Session, digest: Digest) -> None:
    session.execute(delete(ArtefactRow).where(ArtefactRow.digest == digest))
    for job in session.scalars(select(JobRow).where(JobRow.record.is_not(None))):
        if job.record is not None and sha256_hex(job.record) == digest:
            job.record = None
    for offered in session.scalars(select(NodeJobRow).where(NodeJobRow.record.is_not(None))):
        if offered.record is not None and sha256_hex(offered.record) == digest:
            offered.record = None


def _left_behind(session: Session, party: LocalParty, folder: ArtefactFolder) -> Iterator[str]:
    """Files whose deletion was noted and that no job uses again."""
    used = set(session.scalars(select(ArtefactRow.digest)))
    for entry in party.log().entries(session):
        digest = entry.subject.removeprefix("document/")
        if entry.type == REMOVED and digest not in used and folder.path(digest).is_file():
            yield digest


def job_digest(party: LocalParty, wanted: str) -> Digest:
    """The digest of a job that the party knows, by its name or the beginning of its digest; the newest of a name.

    Raises:
        NotFound: there is none.
    """

    def work(session: Session) -> str | None:
        for table, order in ((JobRow, JobRow.submitted_at), (NodeJobRow, NodeJobRow.decided_at)):
            known = or_(table.name == wanted, table.digest.startswith(wanted, autoescape=True))
            found = session.scalars(select(table.digest).where(known).order_by(order.desc()).limit(1)).first()
            if found is not None:
                return found
        return None

    digest = party.read(work)
    if digest is None:
        raise NotFound(f"{party.label} knows no job {wanted}; see `fedseal job list`")
    return Digest(digest)
