"""Invitations, requests and answers as files; and the applicant's side with everything that can go wrong."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fedseal.authority import applicant
from fedseal.authority.errors import (
    AnswerInvalid,
    AnswerLost,
    InvitationAltered,
    InvitationUnreadable,
    RequestRefused,
    TokenRefused,
)
from fedseal.authority.exchange import Answer, Application, parse_answer, parse_application
from fedseal.authority.invitations import Invitation, parse_invitation
from fedseal.errors import PlatformError
from fedseal.folders import FolderError, PartyFolder
from fedseal_crypto.certificates import ForeignCertificate
from fedseal_crypto.errors import CryptoError
from fedseal_crypto.identity import WrongPassphrase
from fedseal_crypto.secret import SecretBytes

if TYPE_CHECKING:
    from tests.unit.authority.conftest import Federation


def _begin(federation: "Federation", invitation: Invitation, folder: Path) -> applicant.Pending:
    return applicant.begin(invitation, folder, passphrase=None, now=federation.now, entropy=os.urandom)


def _leftovers(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir() if not item.name.startswith("authority"))


def test_an_invitation_survives_its_file(federation: "Federation") -> None:
    invitation = federation.invite("person", "ada", roles=("administrator", "node_operator"))
    assert parse_invitation(invitation.to_bytes(), filename="ada.json") == invitation
    assert invitation.coordinator == "hub.example.org:7443"
    assert federation.invite("coordinator", "coordinator").coordinator is None


@pytest.mark.parametrize("field", ["federation", "name", "organisation", "token", "expires", "authority", "roles"])
def test_any_altered_field_is_found(federation: "Federation", field: str) -> None:
    fields = json.loads(federation.invite("person", "ada").to_bytes())
    replacements: dict[str, object] = {"token": "0" * 64, "expires": "2099-01-01T00:00:00Z", "roles": ["administrator"]}
    fields[field] = replacements.get(field, "mallory")
    with pytest.raises(InvitationAltered, match="was changed after the authority wrote it"):
        parse_invitation(json.dumps(fields).encode(), filename="ada.json")


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00\xff\xfe", b"[]", b"{}", b"null", b'{"format": "fedseal-invitation/2"}', b'{"a":' * 500],
    ids=["empty", "binary", "list", "no fields", "null", "other format", "deep"],
)
@pytest.mark.parametrize("parse", [parse_invitation, parse_application, parse_answer])
def test_other_files_are_refused_in_one_sentence(data: bytes, parse: Callable[..., object]) -> None:
    with pytest.raises(InvitationUnreadable, match=r"letter\.json is not .*use the file as it was sent") as caught:
        parse(data, filename="letter.json")
    assert "\n" not in str(caught.value)


def test_a_request_carries_no_private_key(federation: "Federation", tmp_path: Path) -> None:
    pending = _begin(federation, federation.invite(), tmp_path / "node")
    assert b"PRIVATE" not in pending.application.to_bytes()
    assert parse_application(pending.application.to_bytes(), filename="r") == pending.application


def test_the_offline_way_needs_no_network_and_no_second_passphrase(federation: "Federation", tmp_path: Path) -> None:
    folder, phrase = tmp_path / "ada", SecretBytes(b"long enough")
    pending = applicant.begin(
        federation.invite("person", "ada"), folder, passphrase=phrase, now=federation.now, entropy=os.urandom
    )
    request = parse_application(pending.application.to_bytes(), filename="request.json")
    answer = parse_answer(federation.office.issue(request, now=federation.now).to_bytes(), filename="answer.json")
    made = applicant.finish(applicant.load_pending(folder), folder, answer, now=federation.now)
    assert made.verify(federation.now, phrase).label == "person/ada"
    assert _leftovers(tmp_path) == ["ada"]


def test_finishing_what_was_never_begun_says_so(tmp_path: Path) -> None:
    with pytest.raises(InvitationUnreadable, match="no enrolment was begun"):
        applicant.load_pending(tmp_path / "node")


def test_after_a_lost_answer_the_same_keys_are_sent_again(federation: "Federation", tmp_path: Path) -> None:
    invitation, folder = federation.invite(), tmp_path / "node"

    def lost(sent: Application) -> Answer:
        federation.office.issue(sent, now=federation.now)
        raise AnswerLost("the connection broke")

    with pytest.raises(AnswerLost):
        applicant.enrol(_begin(federation, invitation, folder), folder, exchange=lost, now=federation.now)
    assert not folder.exists()
    made = applicant.enrol(
        _begin(federation, invitation, folder),
        folder,
        exchange=lambda sent: federation.office.issue(sent, now=federation.now),
        now=federation.now,
    )
    assert made.verify(federation.now).label == "node/cleveland"
    assert _leftovers(tmp_path) == ["node"]


def test_the_keys_of_a_lost_attempt_stay_protected_by_their_first_passphrase(
    federation: "Federation", tmp_path: Path
) -> None:
    invitation, folder = federation.invite("person", "ada"), tmp_path / "ada"
    first, second = SecretBytes(b"the first one"), SecretBytes(b"the second one")
    applicant.begin(invitation, folder, passphrase=first, now=federation.now, entropy=os.urandom)
    with pytest.raises(WrongPassphrase):
        applicant.begin(invitation, folder, passphrase=second, now=federation.now, entropy=os.urandom)


def test_a_refusal_leaves_nothing_and_burns_nothing(federation: "Federation", tmp_path: Path) -> None:
    invitation, folder = federation.invite(), tmp_path / "node"

    def refused(_sent: Application) -> Answer:
        raise RequestRefused("no")

    with pytest.raises(RequestRefused):
        applicant.enrol(_begin(federation, invitation, folder), folder, exchange=refused, now=federation.now)
    assert _leftovers(tmp_path) == []
    assert federation.office.invitations(now=federation.now)[0].state == "open"


def test_an_expired_invitation_makes_no_keys(federation: "Federation", tmp_path: Path) -> None:
    invitation = federation.invite(hours=1)
    with pytest.raises(TokenRefused, match=r"expired on .* \(this machine's clock says .*\)"):
        applicant.begin(
            invitation, tmp_path / "node", passphrase=None, now=federation.later(hours=2), entropy=os.urandom
        )
    assert _leftovers(tmp_path) == []


def test_a_taken_folder_is_refused_before_anything_is_sent(federation: "Federation", tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "note").write_text("mine")
    with pytest.raises(FolderError, match="not an empty folder"):
        _begin(federation, federation.invite(), tmp_path / "node")


def test_answers_that_are_not_for_this_applicant_are_refused(
    federation: "Federation", foreign: "Federation", tmp_path: Path
) -> None:
    mine = _begin(federation, federation.invite(), tmp_path / "mine")
    other = _begin(federation, federation.invite("node", "va"), tmp_path / "other")
    others = federation.office.issue(other.application, now=federation.now)
    good = federation.office.issue(mine.application, now=federation.now)
    theirs = _begin(foreign, foreign.invite(), tmp_path / "theirs")
    foreign_answer = foreign.office.issue(theirs.application, now=foreign.now)
    cases: list[tuple[Answer, type[Exception], str]] = [
        (others, AnswerInvalid, "the certificates name node/va"),
        (foreign_answer, CryptoError, "not signed by this federation's authority"),
        (
            good.model_copy(update={"identity_certificate": foreign_answer.identity_certificate}),
            ForeignCertificate,
            "was not issued by the authority",
        ),
        (good.model_copy(update={"tls_certificate": "nonsense"}), CryptoError, "PEM certificate"),
    ]
    for answer, error, sentence in cases:
        with pytest.raises(error, match=sentence):
            applicant.finish(mine, tmp_path / "mine", answer, now=federation.now)
        assert not (tmp_path / "mine").exists()
    applicant.finish(mine, tmp_path / "mine", good, now=federation.now)


def test_certificates_for_other_keys_are_refused(federation: "Federation", tmp_path: Path) -> None:
    invitation = federation.invite()
    mine = _begin(federation, invitation, tmp_path / "mine")
    thief = _begin(federation, invitation, tmp_path / "thief")
    stolen = federation.office.issue(thief.application, now=federation.now)
    with pytest.raises(AnswerInvalid, match="certifies other keys"):
        applicant.finish(mine, tmp_path / "mine", stolen, now=federation.now)


def test_a_full_disk_while_finishing_keeps_the_keys_for_another_attempt(
    federation: "Federation", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "node"
    pending = _begin(federation, federation.invite(), folder)

    def full(_path: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("fedseal.authority.applicant.create_database", full)
        with pytest.raises(OSError, match="No space"):
            applicant.enrol(
                pending,
                folder,
                exchange=lambda sent: federation.office.issue(sent, now=federation.now),
                now=federation.now,
            )
    assert not folder.exists()
    made: PartyFolder = applicant.enrol(
        applicant.load_pending(folder),
        folder,
        exchange=lambda sent: federation.office.issue(sent, now=federation.now),
        now=federation.now,
    )
    assert made.verify(federation.now).label == "node/cleveland"


def test_a_new_invitation_replaces_a_pending_one(federation: "Federation", tmp_path: Path) -> None:
    first = _begin(federation, federation.invite(), tmp_path / "node")
    second = _begin(federation, federation.invite(), tmp_path / "node")
    assert first.application.tls_request != second.application.tls_request


def test_errors_of_this_package_are_platform_errors() -> None:
    import inspect

    from fedseal.authority import errors

    for _, kind in inspect.getmembers(errors, inspect.isclass):
        assert issubclass(kind, PlatformError)
