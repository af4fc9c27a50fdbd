"""The authority's register: single use of tokens even under two redemptions at once, revocations, lists."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.orm import Session

from fedseal_crypto.certificates import RevocationReason
from fedseal_crypto.identity import PartyKind
from fedseal_governance import members
from fedseal_governance.errors import AlreadyDone, GovernanceError, NotFound, RefusedError

if TYPE_CHECKING:
    from tests.unit.governance.conftest import Office

WHEN = datetime(2026, 5, 4, 9, tzinfo=UTC)
TOKEN = "1" * 64
KEYS = members.KeyDigests(tls="2" * 64, identity="3" * 64)


def invitation_row(token: str = TOKEN, name: str = "hungary") -> members.InvitationRow:
    return members.InvitationRow(
        token_digest=token,
        invitation_digest="4" * 64,
        kind=PartyKind.NODE,
        name=name,
        organisation="Budapest",
        roles=[],
        hosts=["node.example"],
        created_at=WHEN,
        expires_at=WHEN + timedelta(hours=2),
    )


def certificate_row(serial: str, use: str = "tls") -> members.CertificateRow:
    return members.CertificateRow(
        serial=serial,
        use=use,
        kind=PartyKind.NODE,
        name="hungary",
        organisation="Budapest",
        roles=[],
        fingerprint=serial.rjust(64, "0"),
        pem="PEM",
        not_before=WHEN,
        not_after=WHEN + timedelta(days=90),
        issued_at=WHEN,
    )


Run = Callable[[Callable[[Session], object]], None]


@pytest.fixture
def run(office: "Office") -> Run:
    def work(change: Callable[[Session], object]) -> None:
        office.database.run("test", change)

    return work


@pytest.fixture
def invited(run: Run) -> Run:
    run(lambda session: members.add_invitation(session, invitation_row()))
    return run


def redeem(session: Session, now: datetime = WHEN) -> None:
    members.redeem(session, TOKEN, KEYS, now=now)


def test_token_is_redeemed_once(invited: Run, office: "Office") -> None:
    invited(redeem)
    row = office.read(lambda session: members.invitation(session, TOKEN))
    assert (row.used_at, row.tls_key_digest, row.identity_key_digest) == (WHEN, KEYS.tls, KEYS.identity)
    assert (row.kind, row.hosts) == (PartyKind.NODE, ["node.example"])
    with pytest.raises(AlreadyDone, match="node/hungary was used before; ask the authority for a new one"):
        invited(redeem)


def test_two_redemptions_at_once_do_not_both_succeed(invited: Run, office: "Office") -> None:
    barrier = threading.Barrier(6)
    results: list[str] = []

    def attempt() -> None:
        barrier.wait()
        try:
            invited(redeem)
        except GovernanceError as error:
            results.append(type(error).__name__)
        else:
            results.append("redeemed")

    threads = [threading.Thread(target=attempt) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["AlreadyDone"] * 5 + ["redeemed"]


def test_expired_withdrawn_and_unknown_tokens(invited: Run, office: "Office") -> None:
    with pytest.raises(RefusedError, match="expired at 2026-05-04 11:00 UTC"):
        invited(lambda session: redeem(session, WHEN + timedelta(hours=2)))
    with pytest.raises(NotFound, match="was not issued by this authority"):
        invited(lambda session: members.redeem(session, "9" * 64, KEYS, now=WHEN))
    count = office.database.run(
        "test", lambda session: members.withdraw_invitations(session, PartyKind.NODE, "hungary", now=WHEN)
    )
    assert count == 1
    with pytest.raises(RefusedError, match="was withdrawn"):
        invited(redeem)
    assert [row.token_digest for row in office.read(members.invitations)] == [TOKEN]


def test_certificates_in_force(run: Run, office: "Office") -> None:
    big = str(2**159)
    for serial, use in ((big, "tls"), ("7", "identity")):
        run(partial(members.add_certificate, row=certificate_row(serial, use)))

    def in_force(now: datetime) -> set[str]:
        rows = office.read(lambda session: members.certificates_in_force(session, PartyKind.NODE, "hungary", now=now))
        return {row.serial for row in rows}

    assert in_force(WHEN) == {big, "7"}
    assert in_force(WHEN + timedelta(days=90)) == set()
    reason = RevocationReason.KEY_COMPROMISE
    for new in (1, 0):
        count = office.database.run("test", lambda session: members.revoke(session, [big], reason, now=WHEN))
        assert count == new
    assert in_force(WHEN) == {"7"}
    (revoked,) = office.read(members.revocations)
    assert (revoked.serial, revoked.reason, revoked.revoked_at) == (2**159, reason, WHEN)
    with pytest.raises(NotFound, match="no certificate has the serial 8"):
        run(lambda session: members.revoke(session, ["8"], reason, now=WHEN))
    assert len(office.read(members.certificates)) == 2
    assert office.read(lambda session: members.certificates(session, kind=PartyKind.PERSON, name="x")) == ()


def test_lists_are_numbered_without_gaps(run: Run, office: "Office") -> None:
    with pytest.raises(NotFound, match="no revocation list was signed yet"):
        office.read(members.newest_list)

    def add(number: int) -> None:
        row = members.RevocationListRow(number=number, pem=f"list {number}", issued_at=WHEN, next_update=WHEN)
        run(lambda session: members.add_list(session, row))

    add(1)
    for wrong in (1, 3):
        with pytest.raises(RefusedError, match="the next one is 2"):
            add(wrong)
    add(2)
    assert office.read(members.newest_list).pem == "list 2"
    assert office.read(members.next_list_number) == 3
