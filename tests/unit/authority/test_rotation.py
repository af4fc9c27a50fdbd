"""Rotating keys and certificates: asked for with the present key, replaced together, the old ones still good."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import fedseal.files
import fedseal.replacement
from fedseal.authority import applicant, client, rotating
from fedseal.authority.errors import AnswerInvalid, AnswerLost, InvitationUnreadable, RequestRefused
from fedseal.authority.exchange import Answer
from fedseal.authority.rotation import MAX_ROTATION_BYTES, is_rotation
from fedseal.authority.service import start_server
from fedseal.folders import PartyFolder
from fedseal.wire.status import CallRefused
from fedseal_crypto.certificates import CertificateRevoked, Revocations
from fedseal_crypto.dsse import SignedDocument, sign_document
from fedseal_crypto.errors import CryptoError
from fedseal_crypto.secret import SecretBytes
from fedseal_governance.errors import NotFound

if TYPE_CHECKING:
    from tests.unit.authority.conftest import Federation


def enrol(
    federation: "Federation", folder: Path, passphrase: SecretBytes | None = None, **fields: object
) -> PartyFolder:
    invitation = federation.invite(**fields)  # type: ignore[arg-type]  # by name
    pending = applicant.begin(invitation, folder, passphrase=passphrase, now=federation.now, entropy=os.urandom)
    issue = federation.office.issue
    return applicant.enrol(pending, folder, exchange=lambda sent: issue(sent, now=federation.now), now=federation.now)


@pytest.fixture
def node(federation: "Federation", tmp_path: Path) -> PartyFolder:
    return enrol(federation, tmp_path / "cleveland")


@pytest.fixture
def tomorrow(federation: "Federation") -> datetime:
    return federation.later(days=1)


def rotate(federation: "Federation", folder: PartyFolder, now: datetime, passphrase: SecretBytes | None = None) -> None:
    pending = rotating.begin(folder, passphrase=passphrase, now=now, entropy=os.urandom)
    rotating.rotate(pending, exchange=lambda sent: federation.office.rotate(sent, now=now), now=now)


def revocations(federation: "Federation", now: datetime) -> Revocations:
    return federation.office.revocations(now=now)


def test_new_keys_and_the_old_certificates_still_good(
    federation: "Federation", node: PartyFolder, tomorrow: datetime
) -> None:
    before = node.identity_certificate(), node.tls_certificate(), node.member(tomorrow)
    rotate(federation, node, tomorrow)
    again = PartyFolder.load(node.path)
    after = again.verify(tomorrow)
    assert after.public != before[2].public
    assert (after.label, after.organisation, after.not_after > before[2].not_after) == (
        before[2].label,
        before[2].organisation,
        True,
    )
    root, listed = again.trust_root(), revocations(federation, tomorrow)
    assert root.verify_identity(before[0], now=tomorrow, revocations=listed).public == before[2].public
    assert root.verify_tls(before[1], now=tomorrow, revocations=listed).label == "node/cleveland"
    assert not any(name.name.startswith(".") for name in node.path.iterdir())
    assert federation.office.members(now=tomorrow)[-1].fingerprint == after.fingerprint


def test_roles_hosts_and_passphrase_stay(federation: "Federation", tmp_path: Path, tomorrow: datetime) -> None:
    secret = SecretBytes(b"another passphrase")
    ada = enrol(federation, tmp_path / "ada", secret, kind="person", name="ada", roles=("administrator",))
    rotate(federation, ada, tomorrow, secret)
    assert [role.value for role in ada.verify(tomorrow, secret).roles] == ["administrator"]
    assert ada.needs_passphrase()
    hub = enrol(federation, tmp_path / "hub", kind="coordinator", name="coordinator", hosts=("hub.example.org", "::1"))
    rotate(federation, hub, tomorrow)
    from fedseal.authority.inspection import describe

    hosts = describe(hub.tls_certificate(), filename="tls.pem").hosts
    assert hosts[0] == "hub.example.org"
    assert {"::1"} < set(hosts)
    assert len(hosts) == 3, "and the service name, once"


def test_a_lost_answer_is_fetched_again(federation: "Federation", node: PartyFolder, tomorrow: datetime) -> None:
    def lost(sent: bytes) -> Answer:
        federation.office.rotate(sent, now=tomorrow)
        raise AnswerLost("gone")

    pending = rotating.begin(node, passphrase=None, now=tomorrow, entropy=os.urandom)
    with pytest.raises(AnswerLost):
        rotating.rotate(pending, exchange=lost, now=tomorrow)
    assert node.verify(tomorrow), "nothing has changed"
    answers: list[Answer] = []

    def exchange(sent: bytes) -> Answer:
        answers.extend(federation.office.rotate(sent, now=federation.later(days=2)) for _ in range(2))
        return answers[0]

    pending = rotating.begin(node, passphrase=None, now=tomorrow, entropy=os.urandom)
    rotating.rotate(pending, exchange=exchange, now=tomorrow)
    assert answers[0] == answers[1]
    assert len([row for row in federation.office.certificates(now=tomorrow) if row.name == "cleveland"]) == 4


def test_a_replaced_key_cannot_make_a_new_one(federation: "Federation", node: PartyFolder, tomorrow: datetime) -> None:
    """Who stole an old key, or replays an old request, gets nothing."""
    stolen = shutil.copytree(node.path, node.path.with_name("stolen"))
    replayed = rotating.begin(node, passphrase=None, now=tomorrow, entropy=os.urandom).request
    rotate(federation, node, tomorrow)
    rotate(federation, node, federation.later(days=2))
    for request in (
        replayed,
        rotating.begin(PartyFolder.load(stolen), passphrase=None, now=tomorrow, entropy=os.urandom).request,
    ):
        with pytest.raises(RequestRefused, match="tell the authority's administrator at once"):
            federation.office.rotate(request, now=federation.later(days=3))


def test_a_revoked_party_does_not_rotate(federation: "Federation", node: PartyFolder, tomorrow: datetime) -> None:
    request = rotating.begin(node, passphrase=None, now=tomorrow, entropy=os.urandom).request
    federation.office.revoke("node/cleveland", reason="key_compromise", now=tomorrow)
    with pytest.raises(CertificateRevoked):
        federation.office.rotate(request, now=federation.later(days=1, minutes=10))


def test_only_the_party_itself_may_ask(federation: "Federation", node: PartyFolder, tmp_path: Path) -> None:
    now = federation.now
    request = rotating.begin(node, passphrase=None, now=now, entropy=os.urandom).request
    other = enrol(federation, tmp_path / "basel", name="basel")
    signed = SignedDocument.from_json(request)
    forged = sign_document(
        signed.envelope.payload_type,
        signed.payload,
        key=other.identity_key(),
        certificate_pem=other.identity_certificate(),
    )
    both = signed.countersigned(other.identity_key(), other.identity_certificate())
    for document in (forged, both):
        with pytest.raises(RequestRefused, match="not signed by that party alone"):
            federation.office.rotate(document.to_json(), now=now)


def test_a_key_is_certified_once(federation: "Federation", node: PartyFolder, tmp_path: Path) -> None:
    """A request that names keys of the party's own past, or somebody else's, is refused."""
    now, key, certificate = federation.now, node.identity_key(), node.identity_certificate()
    other = enrol(federation, tmp_path / "basel", name="basel")
    theirs = SignedDocument.from_json(
        rotating.begin(other, passphrase=None, now=now, entropy=os.urandom).request
    ).payload
    mine = SignedDocument.from_json(rotating.begin(node, passphrase=None, now=now, entropy=os.urandom).request).payload
    rotate(federation, other, now)
    fields = {**json.loads(mine), "identity_request": json.loads(theirs)["identity_request"]}
    payload = json.dumps(fields).encode()
    document = sign_document("application/vnd.fedseal.rotation+json", payload, key=key, certificate_pem=certificate)
    with pytest.raises(RequestRefused, match="was certified before"):
        federation.office.rotate(document.to_json(), now=now)


@pytest.mark.parametrize("garbage", [b"", b"{}", b"\x00" * 100, b"[" * 10_000, b"x" * (MAX_ROTATION_BYTES + 1)])
def test_garbage_is_refused_with_a_typed_error(federation: "Federation", garbage: bytes) -> None:
    assert not is_rotation(garbage)
    with pytest.raises(CryptoError):
        federation.office.rotate(garbage, now=federation.now)


def test_an_answer_for_other_keys_changes_nothing(federation: "Federation", node: PartyFolder, tmp_path: Path) -> None:
    now = federation.now
    other = enrol(federation, tmp_path / "basel", name="basel")
    wrong = federation.office.rotate(
        rotating.begin(other, passphrase=None, now=now, entropy=os.urandom).request, now=now
    )
    mine = Answer(
        tls_certificate=node.tls_certificate().decode(),
        identity_certificate=node.identity_certificate().decode(),
        revocations=node.revocations_pem().decode(),
    )
    pending = rotating.begin(node, passphrase=None, now=now, entropy=os.urandom)
    for answer, says in ((wrong, "the answer is for node/basel"), (mine, "certifies other keys")):
        with pytest.raises(AnswerInvalid, match=says):
            rotating.finish(pending, answer, now=now)
    assert node.verify(now)


def test_the_older_certificates_are_retired(federation: "Federation", node: PartyFolder, tomorrow: datetime) -> None:
    old = node.identity_certificate()
    with pytest.raises(NotFound, match="no older certificate"):
        federation.office.revoke("node/cleveland", reason="superseded", now=tomorrow, keep_newest=True)
    rotate(federation, node, tomorrow)
    done = federation.office.revoke("node/cleveland", reason="superseded", now=tomorrow, keep_newest=True)
    assert done.certificates == 2
    later = tomorrow + timedelta(minutes=10)
    with pytest.raises(CertificateRevoked):
        node.trust_root().verify_identity(old, now=later, revocations=revocations(federation, later))
    node.store_revocations(federation.office.revocations_pem(), later)
    assert PartyFolder.load(node.path).verify(later)


def test_a_rotation_that_was_not_begun_cannot_be_finished(node: PartyFolder) -> None:
    with pytest.raises(InvitationUnreadable, match="no rotation was begun"):
        rotating.load_pending(node)


# --- killed at any instruction ------------------------------------------------------------------------


class Killed(BaseException):
    """What a killed process does not catch."""


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], list[str]]]:
    """Lets the process die before the n-th change on disk; gives the list of changes made."""

    def arm(number: int) -> list[str]:
        made: list[str] = []

        def counted(what: str, work: Callable[..., object]) -> Callable[..., object]:
            def call(*arguments: object, **options: object) -> object:
                if len(made) == number:
                    raise Killed
                made.append(what)
                return work(*arguments, **options)

            return call

        monkeypatch.setattr(os, "open", counted("open", os.open))
        monkeypatch.setattr(os, "fsync", counted("fsync", os.fsync))
        monkeypatch.setattr(Path, "rename", counted("rename", Path.rename))
        monkeypatch.setattr(Path, "replace", counted("replace", Path.replace))
        monkeypatch.setattr(os, "unlink", counted("unlink", os.unlink))
        monkeypatch.setattr(os, "rmdir", counted("rmdir", os.rmdir))
        return made

    yield arm
    monkeypatch.undo()


def test_killed_at_any_change_on_disk(
    federation: "Federation",
    node: PartyFolder,
    tomorrow: datetime,
    kill_at: Callable[[int], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before the one rename the old keys count, afterwards the new ones; never a mixture, and never nothing."""
    pending = rotating.begin(node, passphrase=None, now=tomorrow, entropy=os.urandom)
    answer = federation.office.rotate(pending.request, now=tomorrow)
    old = node.member(tomorrow).fingerprint
    seen: list[bool] = []
    number = 0
    while True:
        trial = PartyFolder.load(Path(shutil.copytree(node.path, node.path.with_name(f"trial-{number}"))))
        made = kill_at(number)
        try:
            rotating.finish(rotating.load_pending(trial), answer, now=tomorrow)
            whole = True
        except Killed:
            whole = False
        monkeypatch.undo()
        assert whole or len(made) == number
        found = PartyFolder.load(trial.path).verify(tomorrow).fingerprint
        seen.append(found != old)
        shutil.rmtree(trial.path)
        if whole:
            break
        number += 1
    assert number > 20, "each file is opened, synced and renamed"
    assert (seen[0], seen[-1]) == (False, True)
    assert seen == sorted(seen), "once the new ones count, they count"


def test_two_processes_settle_the_same(federation: "Federation", node: PartyFolder, tomorrow: datetime) -> None:
    pending = rotating.begin(node, passphrase=None, now=tomorrow, entropy=os.urandom)
    answer = federation.office.rotate(pending.request, now=tomorrow)
    (pending.path / "certificates/tls.pem").write_text(answer.tls_certificate)
    (pending.path / "certificates/identity.pem").write_text(answer.identity_certificate)
    pending.path.rename(node.path / ".rotated")
    assert fedseal.replacement.settle(node.path)
    assert not fedseal.replacement.settle(node.path)
    assert PartyFolder.load(node.path).verify(tomorrow)


# --- over the network ---------------------------------------------------------------------------------


def test_over_the_network(federation: "Federation", node: PartyFolder, tomorrow: datetime) -> None:
    office = federation.office
    server, port = start_server(office, office.tls(), listen="127.0.0.1:0", clock=lambda: tomorrow)
    try:
        address, root = f"127.0.0.1:{port}", node.trust_root()
        pending = rotating.begin(node, passphrase=None, now=tomorrow, entropy=os.urandom)
        rotating.rotate(pending, exchange=lambda sent: client.rotate(address, root, sent), now=tomorrow)
        assert PartyFolder.load(node.path).verify(tomorrow)
        with pytest.raises(CallRefused):
            client.rotate(address, root, b"nothing")
    finally:
        server.stop(None).wait()
