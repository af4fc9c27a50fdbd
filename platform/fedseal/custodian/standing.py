"""What a custodian's own folder and database say about it; nobody is asked over the network."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from fedseal import deadlines
from fedseal.custodian.vault import sealed_how
from fedseal.local import LocalParty
from fedseal_governance import custody
from fedseal_governance.policy.store import list_policies


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedStanding:
    """A job that was offered to the custodian.

    Attributes:
        key: digest of its public key, or empty.
        sealed: how its secret key is sealed at rest: "passphrase", "key file", "shares", or empty when it is gone.
        sums: sums that were opened.
    """

    name: str
    digest: str
    state: str
    key: str
    sealed: str
    sums: int
    destroyed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CustodianStanding:
    """A custodian on one screen."""

    federation: str
    name: str
    organisation: str
    coordinator: str | None
    certificate_until: datetime
    revocation_number: int
    revocation_due: datetime
    policies: tuple[str, ...]
    jobs: tuple[ServedStanding, ...]
    log_entries: int
    warnings: tuple[str, ...]


def custodian_standing(party: LocalParty, now: datetime) -> CustodianStanding:
    """Collect it; the certificate is verified on the way.

    Raises:
        CryptoError: The custodian's certificate is expired or revoked, or its revocation list is out of date.
    """
    member = party.folder.member(now)
    trust = party.trust(now)
    vault = party.folder.path / "vault"

    def work(session: Session) -> CustodianStanding:
        policies = [row.document.title for row in list_policies(session) if row.state.value == "in_force"]
        return CustodianStanding(
            federation=member.federation,
            name=member.name,
            organisation=member.organisation,
            coordinator=party.folder.record.coordinator,
            certificate_until=member.not_after,
            revocation_number=trust.revocations.number,
            revocation_due=trust.revocations.next_update,
            policies=tuple(sorted(policies)),
            jobs=tuple(
                ServedStanding(
                    name=row.name,
                    digest=row.digest,
                    state=row.state.value,
                    key=row.key_digest,
                    sealed=sealed_how(vault, row.digest),
                    sums=len(custody.opened_sums(session, row.digest)),
                    destroyed_at=row.destroyed_at,
                )
                for row in custody.served_jobs(session)
            ),
            log_entries=party.log().size(session),
            warnings=deadlines.party_warnings(member, trust.revocations, now),
        )

    return party.read(work)
