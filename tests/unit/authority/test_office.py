"""The office: who may be invited, when certificates are issued, what is revoked, and that the log tells it."""

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fedseal.authority import applicant
from fedseal.authority.errors import (
    AlreadyEnrolled,
    InviteeInvalid,
    RequestRefused,
    TokenRefused,
)
from fedseal.authority.exchange import Application
from fedseal.authority.invitations import Invitation
from fedseal.authority.office import Office
from fedseal.authority.views import Invitee
from fedseal.errors import SetupError
from fedseal_crypto.certificates import CertificateRevoked, RequestInvalid, SubjectInvalid
from fedseal_crypto.errors import CryptoError
from fedseal_crypto.secret import SecretBytes
from fedseal_governance.audit import AuditLog
from fedseal_governance.errors import NotFound, RefusedError

if TYPE_CHECKING:
    from tests.unit.authority.conftest import Federation


@pytest.fixture
def apply(tmp_path: Path, now: datetime) -> Callable[[Invitation], Application]:
    """Makes keys and requests for an invitation."""

    def applied(invitation: Invitation) -> Application:
        folder = tmp_path / "applicants" / os.urandom(4).hex()
        pending = applicant.begin(invitation, folder, passphrase=None, now=now, entropy=os.urandom)
        return pending.application

    return applied


Apply = Callable[[Invitation], Application]


def _entries(office: Office) -> list[tuple[str, str]]:
    log = AuditLog(office.home.origin)
    database = office.home.open_database()
    try:
        return database.read(lambda session: [(item.type, item.subject) for item in log.entries(session)])
    finally:
        database.close()


def test_an_invitation_becomes_certificates_that_say_what_the_authority_recorded(
    federation: "Federation", apply: Apply
) -> None:
    invitation = federation.invite("coordinator", "coordinator", hosts=("hub.example.org", "10.1.2.3"))
    answer = federation.office.issue(apply(invitation), now=federation.now)
    root = invitation.trust_root()
    revocations = root.load_revocations(answer.revocations.encode(), now=federation.now)
    member = root.verify_identity(answer.identity_certificate.encode(), now=federation.now, revocations=revocations)
    assert (member.label, member.organisation) == ("coordinator/coordinator", "Cleveland Clinic")
    assert _entries(federation.office) == [
        ("federation.created", "federation/heart"),
        ("invitation.created", "coordinator/coordinator"),
        ("certificate.issued", "coordinator/coordinator"),
    ]


def test_the_token_is_stored_nowhere(federation: "Federation") -> None:
    invitation = federation.invite()
    for path in federation.path.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert invitation.token.encode() not in data
            assert bytes.fromhex(invitation.token) not in data


def test_a_lost_answer_is_given_again_to_the_same_keys(federation: "Federation", apply: Apply) -> None:
    application = apply(federation.invite())
    first = federation.office.issue(application, now=federation.now)
    again = federation.office.issue(application.resent(federation.later(hours=1)), now=federation.later(hours=1))
    assert again == first
    assert [kind for kind, _ in _entries(federation.office)].count("certificate.issued") == 1


def test_a_used_token_serves_nobody_else_and_the_log_says_so(federation: "Federation", apply: Apply) -> None:
    invitation = federation.invite()
    federation.office.issue(apply(invitation), now=federation.now)
    with pytest.raises(TokenRefused, match="already used; if that was not you, tell the authority"):
        federation.office.issue(apply(invitation), now=federation.now)
    assert _entries(federation.office)[-1] == ("enrolment.refused", "node/cleveland")


def test_a_lost_answer_is_not_given_after_the_tokens_life(federation: "Federation", apply: Apply) -> None:
    application = apply(federation.invite(hours=1))
    federation.office.issue(application, now=federation.now)
    with pytest.raises(TokenRefused, match="expired on"):
        federation.office.issue(application, now=federation.later(hours=1))


def test_an_expired_token_is_refused_and_stays_unused(federation: "Federation", apply: Apply) -> None:
    application = apply(federation.invite(hours=2))
    with pytest.raises(TokenRefused, match=r"expired on .* UTC; ask the authority for a new one"):
        federation.office.issue(application, now=federation.later(hours=3))
    (view,) = federation.office.invitations(now=federation.later(hours=3))
    assert view.state == "expired"


def test_an_unknown_token_is_refused_and_leaves_no_trace_in_the_log(
    federation: "Federation", foreign: "Federation", apply: Apply
) -> None:
    application = apply(foreign.invite())
    before = _entries(federation.office)
    with pytest.raises(TokenRefused, match="is not known to this authority"):
        federation.office.issue(application, now=federation.now)
    assert _entries(federation.office) == before


def test_a_withdrawn_invitation_is_refused(federation: "Federation", apply: Apply) -> None:
    application = apply(federation.invite())
    assert federation.office.withdraw("node/cleveland", now=federation.now) == 1
    with pytest.raises(TokenRefused, match="was withdrawn"):
        federation.office.issue(application, now=federation.now)
    assert federation.office.withdraw("node/cleveland", now=federation.now) == 0


def test_an_invitation_altered_on_its_way_is_refused_even_with_a_fresh_digest(
    federation: "Federation", apply: Apply
) -> None:
    altered = federation.invite().model_copy(update={"organisation": "Mallory Inc"}).sealed()
    with pytest.raises(RequestRefused, match="was changed after it was written"):
        federation.office.issue(apply(altered), now=federation.now)


def test_requests_must_prove_possession_of_their_keys(federation: "Federation", apply: Apply) -> None:
    application = apply(federation.invite())
    damaged = application.model_copy(update={"tls_request": application.identity_request})
    with pytest.raises(RequestInvalid):
        federation.office.issue(damaged, now=federation.now)
    federation.office.issue(application, now=federation.now)  # the token was not burnt


def test_one_party_has_one_set_of_keys(federation: "Federation", apply: Apply) -> None:
    second = federation.invite()
    federation.office.issue(apply(federation.invite()), now=federation.now)
    with pytest.raises(AlreadyEnrolled, match="revoke them first"):
        federation.office.issue(apply(second), now=federation.now)
    with pytest.raises(AlreadyEnrolled, match="has certificates in force until"):
        federation.invite()


def test_one_name_belongs_to_one_party(federation: "Federation", apply: Apply) -> None:
    federation.office.issue(apply(federation.invite("node", "hub")), now=federation.now)
    with pytest.raises(AlreadyEnrolled, match="the name hub belongs to node/hub"):
        federation.invite("coordinator", "hub")
    for name in ("authority", "root"):
        with pytest.raises(InviteeInvalid, match="the authority's own name"):
            federation.invite("node", name)


def test_hosts_of_the_reserved_domain_cannot_be_asked_for(federation: "Federation") -> None:
    with pytest.raises(RequestRefused, match="only the authority assigns"):
        federation.invite("coordinator", "coordinator", hosts=("authority-00.fedseal.internal",))


@pytest.mark.parametrize(
    ("fields", "error", "sentence"),
    [
        ({"kind": "nod"}, InviteeInvalid, "did you mean 'node'"),
        ({"kind": "authority"}, InviteeInvalid, "is not a kind of party"),
        ({"kind": "person", "roles": ()}, InviteeInvalid, "needs at least one --role"),
        ({"kind": "person", "roles": ("administratr",)}, InviteeInvalid, "did you mean 'administrator'"),
        ({"kind": "node", "roles": ("auditor",)}, InviteeInvalid, "only people hold roles"),
        (
            {"kind": "person", "roles": ("data_scientist", "compliance_officer")},
            RefusedError,
            "cannot be both .* and",
        ),
        ({"name": "Cleveland"}, CryptoError, "is not a party name"),
        ({"organisation": "x" * 65}, SubjectInvalid, "1 to 64 printable characters"),
        ({"hosts": ("*.example.org",)}, SubjectInvalid, "neither an IP address nor"),
    ],
)
def test_impossible_invitations_are_refused(
    federation: "Federation", fields: dict[str, str], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        federation.invite(**fields)
    assert federation.office.invitations(now=federation.now) == ()


def test_a_revoked_party_is_on_the_next_list_and_may_be_invited_again(federation: "Federation", apply: Apply) -> None:
    answer = federation.office.issue(apply(federation.invite()), now=federation.now)
    done = federation.office.revoke("node/cleveland", reason="key_compromise", now=federation.now)
    assert (done.certificates, done.number) == (2, 2)
    root = federation.office.home.folder.trust_root()
    revocations = federation.office.revocations(now=federation.now)
    with pytest.raises(CertificateRevoked, match="key_compromise"):
        root.verify_identity(answer.identity_certificate.encode(), now=federation.now, revocations=revocations)
    assert {view.state for view in federation.office.members(now=federation.now) if view.name == "cleveland"} == {
        "revoked"
    }
    federation.office.issue(apply(federation.invite()), now=federation.now)
    assert _entries(federation.office)[3] == ("certificate.revoked", "node/cleveland")


def test_a_lost_answer_is_not_given_after_a_revocation(federation: "Federation", apply: Apply) -> None:
    application = apply(federation.invite())
    federation.office.issue(application, now=federation.now)
    federation.office.revoke("node/cleveland", reason="superseded", now=federation.now)
    with pytest.raises(TokenRefused, match="were revoked"):
        federation.office.issue(application, now=federation.now)


def test_impossible_revocations_are_refused(federation: "Federation") -> None:
    with pytest.raises(NotFound, match="has no certificate in force"):
        federation.office.revoke("node/cleveland", reason="superseded", now=federation.now)
    with pytest.raises(InviteeInvalid, match="did you mean 'key_compromise'"):
        federation.office.revoke("node/cleveland", reason="key_compromised", now=federation.now)
    with pytest.raises(InviteeInvalid, match="write KIND/NAME"):
        federation.office.revoke("cleveland", reason="superseded", now=federation.now)
    with pytest.raises(InviteeInvalid, match="cannot revoke itself"):
        federation.office.revoke("authority/authority", reason="superseded", now=federation.now)


def test_a_revocation_list_is_renewed_before_it_is_due(federation: "Federation") -> None:
    assert federation.office.renew_revocations(now=federation.later(days=80)) == 2
    renewed = federation.office.revocations(now=federation.later(days=120))
    assert (renewed.number, dict(renewed.serials)) == (2, {})


def test_without_its_keys_the_office_invites_but_does_not_sign(federation: "Federation", apply: Apply) -> None:
    locked = Office.open(federation.path)
    invitee = Invitee.parse(kind="node", name="va", organisation="VA", roles=(), hosts=())
    invitation = locked.invite(invitee, token=os.urandom(32), hours=None, now=federation.now)
    for sign in (
        lambda: locked.issue(apply(invitation), now=federation.now),
        lambda: locked.revoke("node/va", reason="superseded", now=federation.now),
        lambda: locked.renew_revocations(now=federation.now),
    ):
        with pytest.raises(SetupError, match="give the passphrase"):
            sign()
    locked.close()


def test_the_overview_counts(federation: "Federation", apply: Apply) -> None:
    federation.office.issue(apply(federation.invite()), now=federation.now)
    federation.invite("person", "ada")
    overview = federation.office.overview(now=federation.now)
    assert (overview.members, overview.open_invitations, overview.revocation_number) == (1, 1, 1)
    assert overview.coordinator == "hub.example.org:7443"
    assert overview.revocation_due - federation.now == timedelta(days=90)


def test_two_offices_on_one_folder_redeem_a_token_once(
    federation: "Federation", apply: Apply, passphrase: SecretBytes
) -> None:
    import threading

    invitation = federation.invite()
    other = Office.open(federation.path).unlock(passphrase)
    outcomes: list[str] = []

    def redeem(office: Office, application: Application) -> None:
        try:
            office.issue(application, now=federation.now)
            outcomes.append("issued")
        except TokenRefused:
            outcomes.append("refused")

    threads = [
        threading.Thread(target=redeem, args=(office, apply(invitation))) for office in (federation.office, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert sorted(outcomes) == ["issued", "refused"]
