"""What a node's own folder and database say about it; nobody is asked over the network."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from fedseal import deadlines
from fedseal.local import LocalParty
from fedseal_governance.datasets import list_registered
from fedseal_governance.participation import NodeJobRow
from fedseal_governance.policy.store import in_force


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStanding:
    """A job that was offered to the node."""

    name: str
    digest: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStanding:
    """A node on one screen."""

    federation: str
    name: str
    organisation: str
    coordinator: str | None
    certificate_until: datetime
    revocation_number: int
    revocation_due: datetime
    datasets: tuple[str, ...]
    policies: tuple[str, ...]
    jobs: tuple[JobStanding, ...]
    log_entries: int
    warnings: tuple[str, ...]


def node_standing(party: LocalParty, now: datetime) -> NodeStanding:
    """Collect it; certificate and policies are verified on the way.

    Raises:
        CryptoError: The node's certificate is expired or revoked, or its revocation list is out of date.
        TamperError: A stored policy is not what officers signed.
    """
    member = party.folder.member(now)
    trust = party.trust(now)

    def work(session: Session) -> NodeStanding:
        datasets = tuple(item.name for item in list_registered(session))
        policies = [in_force(session, name, trust=trust, now=now) for name in datasets]
        offered = session.scalars(select(NodeJobRow).order_by(NodeJobRow.decided_at.desc()))
        return NodeStanding(
            federation=member.federation,
            name=member.name,
            organisation=member.organisation,
            coordinator=party.folder.record.coordinator,
            certificate_until=member.not_after,
            revocation_number=trust.revocations.number,
            revocation_due=trust.revocations.next_update,
            datasets=datasets,
            policies=tuple(sorted({item.document.title for item in policies if item is not None})),
            jobs=tuple(JobStanding(name=row.name, digest=row.digest, state=row.state.value) for row in offered),
            log_entries=party.log().size(session),
            warnings=deadlines.spoken(
                [
                    deadlines.list_warning(trust.revocations.number, trust.revocations.next_update, now),
                    deadlines.certificate_warning(member.label, member.not_after, now),
                ]
            ),
        )

    return party.read(work)
