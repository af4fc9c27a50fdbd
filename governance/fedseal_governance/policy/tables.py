"""Tables of a party's policies."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from fedseal_governance.columns import DIGEST_LENGTH, NAME_LENGTH, Base, UtcDateTime, Word
from fedseal_governance.policy.lifecycle import PolicyState

_IN_FORCE = text("state = 'in_force'")


class PolicyRow(Base):
    """One version of a policy; never deleted, its bytes never changed."""

    __tablename__ = "policies"

    digest: Mapped[str] = mapped_column(String(DIGEST_LENGTH), primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_LENGTH))
    version: Mapped[int]
    content: Mapped[bytes] = mapped_column(LargeBinary)
    signed: Mapped[bytes | None] = mapped_column(LargeBinary)
    state: Mapped[PolicyState] = mapped_column(Word(PolicyState))
    proposer: Mapped[str] = mapped_column(String(NAME_LENGTH))
    proposed_at: Mapped[datetime] = mapped_column(UtcDateTime())
    approved_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    in_force_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    reason: Mapped[str] = mapped_column(Text, default="")

    __table_args__ = (
        UniqueConstraint("name", "version"),
        # The database itself refuses a second version in force.
        Index(
            "ix_policies_one_in_force",
            "name",
            unique=True,
            sqlite_where=_IN_FORCE,
            postgresql_where=_IN_FORCE,
        ),
    )


class PolicySignatureRow(Base):
    """One officer's signature, for lists; what counts is the signed document itself."""

    __tablename__ = "policy_signatures"

    policy: Mapped[str] = mapped_column(ForeignKey(PolicyRow.digest), primary_key=True)
    signer: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(DIGEST_LENGTH))
    signed_at: Mapped[datetime] = mapped_column(UtcDateTime())


class PinnedPolicyRow(Base):
    """A policy of the federation that was verified here; never deleted, its bytes never changed."""

    __tablename__ = "pinned_policies"

    digest: Mapped[str] = mapped_column(String(DIGEST_LENGTH), primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_LENGTH))
    version: Mapped[int]
    signed: Mapped[bytes] = mapped_column(LargeBinary)
    officers: Mapped[str] = mapped_column(Text)
    approved_at: Mapped[datetime] = mapped_column(UtcDateTime())
    pinned_at: Mapped[datetime] = mapped_column(UtcDateTime())
    revocation: Mapped[bytes | None] = mapped_column(LargeBinary)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    reason: Mapped[str] = mapped_column(Text, default="")

    __table_args__ = (UniqueConstraint("name", "version"),)


class JobFederationPolicyRow(Base):
    """Which of the federation's policies a job was accepted under, at the coordinator and at each node."""

    __tablename__ = "job_federation_policies"

    job: Mapped[str] = mapped_column(String(DIGEST_LENGTH), primary_key=True)
    policy: Mapped[str] = mapped_column(ForeignKey(PinnedPolicyRow.digest), primary_key=True)
